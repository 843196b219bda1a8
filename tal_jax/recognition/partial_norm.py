"""TSN's partial batch norm: of all batch norms but the first, statistics and parameters stay as they are."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from tal_jax.encoders.layers import BatchNorm
from tal_jax.types import Array


def frozen_statistics() -> contextlib.AbstractContextManager[Any]:
    """While it lasts, all batch norms but the first that is called use, and keep, the statistics that they have."""
    first: list[tuple[str, ...]] = []

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if not isinstance(module, BatchNorm) or context.method_name != "__call__":
            return call(*args, **kwargs)
        first[:] = first or [module.path]
        return call(*args, **kwargs) if module.path == first[0] else call(args[0])

    return nn.intercept_methods(intercept)


def frozen_parameters(params: Mapping[str, Any], statistics: Mapping[str, Any], first: str) -> dict[str, Any]:
    """The parameters, without a gradient through those of batch norms.

    Args:
      params: of the network.
      statistics: of its batch norms; where these have some, `params` have a scale and a bias.
      first: the path of the norm that learns, as in "encoder/stem/bn".
    """
    norms = {path[:-1] for path in flatten_dict(statistics)} - {tuple(first.split("/"))}
    flat = {
        path: jax.lax.stop_gradient(x) if path[:-1] in norms else x for path, x in flatten_dict(dict(params)).items()
    }
    return dict(unflatten_dict(flat))


def first_norm(network: nn.Module, clips: Array | jax.ShapeDtypeStruct) -> str:
    """The path of the batch norm that is called first, "" where there is none; by shapes alone."""
    paths: list[str] = []

    def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if isinstance(context.module, BatchNorm):
            paths.append("/".join(context.module.path))
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        jax.eval_shape(network.init, jax.random.key(0), clips)
    return paths[0] if paths else ""
