"""A prediction as an ONNX file: traced here, converted by jax2onnx, and held to the original in onnxruntime."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp

from tal_jax.deploy.model_folder import FIELDS
from tal_jax.deploy.stablehlo import Shapes
from tal_jax.errors import InputError
from tal_jax.types import Array

OPSET = 23
NEWER_OPSET = 26  # the first with BitCast, which pooling over the highest snippets needs
OUTPUTS = [f"found_{field}" for field in FIELDS]  # an input is called "mask" already
LARGEST = 2**31 - 1  # bytes that a protocol buffer holds


class NotConverted(Exception):
    """Raised where a program has no ONNX form, or one that does not compute the same; the text says why."""


def require_jax2onnx() -> None:
    """Raises InputError where the packages that convert are not installed."""
    try:
        import jax2onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as e:
        raise InputError(f"--onnx needs {e.name}: pip install 'tal_jax[onnx]'") from e


def converted(function: Callable[[Mapping[str, Array]], Mapping[str, Array]], inputs: Shapes) -> bytes:
    """An ONNX model of a function of inputs by name, with its constants inside.

    Args:
      function: takes arrays by name and returns those of FIELDS.
      inputs: the shapes and types of its inputs; those that it does not use are no inputs of the model.

    Returns:
      The model as a file's bytes.

    Raises:
      NotConverted: jax2onnx cannot convert it.
    """
    # Traced before jax2onnx looks: while it traces by itself, it puts its own functions in the place of JAX's loops.
    kept = _used(function, inputs)

    def of_kept(*xs: Array) -> list[Array]:
        rest = {name: jnp.zeros(x.shape, x.dtype) for name, x in inputs.items() if name not in kept}
        found = function(rest | dict(zip(kept, xs, strict=True)))
        return [found[field] for field in FIELDS]

    traced = jax.make_jaxpr(of_kept)(*(inputs[name] for name in kept))
    program = jax.extend.core.jaxpr_as_fun(jax.make_jaxpr(lambda *xs: on_cpu(traced, *xs))(*traced.in_avals))

    def whole(*xs: Array) -> tuple[Array, ...]:
        return tuple(program(*xs))

    shapes = [inputs[name] for name in kept]
    try:
        model = _to_onnx(whole, shapes, kept, OPSET)
        if any(node.op_type == "BitCast" for node in model.graph.node):
            model = _to_onnx(whole, shapes, kept, NEWER_OPSET)
    except Exception as e:  # whatever goes wrong within a converter of another project
        raise NotConverted(f"jax2onnx: {type(e).__name__}: {' '.join(str(e).split())[:200]}") from e
    if model.ByteSize() > LARGEST:
        raise NotConverted(f"{model.ByteSize() / 1e9:.1f} GB: an ONNX file holds 2 GB")
    return bytes(model.SerializeToString())


def on_cpu(program: Any, *xs: Array) -> list[Array]:
    """What a traced program computes, without its choices by platform (`ops.by_platform`): those for CPUs are made."""
    values = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    values |= dict(zip(program.jaxpr.invars, xs, strict=True))

    def value(x: Any) -> Any:
        return x.val if isinstance(x, jax.extend.core.Literal) else values[x]

    for eqn in program.jaxpr.eqns:
        given, params = [value(x) for x in eqn.invars], eqn.params
        inner = params.get("jaxpr") or params.get("call_jaxpr")
        if eqn.primitive.name == "platform_index":
            found: list[Any] = [jnp.zeros((), jnp.int32)]  # read by choices alone
        elif params.get("branches_platforms"):
            at = next(i for i, names in enumerate(params["branches_platforms"]) if names is None or "cpu" in names)
            found = on_cpu(params["branches"][at], *given[1:])
        elif eqn.primitive.name in ("jit", "custom_vjp_call") and "platform_index" in str(inner):
            found = on_cpu(inner, *given)
        else:
            found = _bound(eqn, given)
        values |= dict(zip(eqn.outvars, found, strict=True))
    return [value(x) for x in program.jaxpr.outvars]


def _bound(eqn: Any, given: list[Array]) -> list[Array]:
    found = eqn.primitive.bind(*given, **eqn.primitive.get_bind_params(eqn.params))
    return list(found) if eqn.primitive.multiple_results else [found]


def _used(function: Callable[[Mapping[str, Array]], Mapping[str, Array]], inputs: Shapes) -> list[str]:
    """The names of the inputs that the results depend on."""
    jaxpr = jax.make_jaxpr(lambda *xs: function(dict(zip(inputs, xs, strict=True))))(*inputs.values()).jaxpr
    used = {id(v) for v in [*(v for eqn in jaxpr.eqns for v in eqn.invars), *jaxpr.outvars]}
    return [name for name, v in zip(inputs, jaxpr.invars, strict=True) if id(v) in used]


def _to_onnx(function: Callable[..., Any], shapes: list[Any], names: list[str], opset: int) -> Any:
    import jax2onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that it imports
        model = jax2onnx.to_onnx(function, shapes, opset=opset, input_names=names, output_names=OUTPUTS)
    # Notes on the shapes of intermediate values, some of them wrong for loops; a runtime finds out by itself.
    for graph in _graphs(model.graph):
        del graph.value_info[:]
    return model


def _graphs(graph: Any) -> list[Any]:
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return [graph] + [g for each in inner for g in _graphs(each)]
