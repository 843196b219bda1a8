"""AdamW, or SGD with momentum, with warm-up and a decaying schedule."""

import fnmatch
from collections.abc import Mapping
from typing import Any

import jax
import optax

from tal_jax.devices.compilation import made_once
from tal_jax.errors import InputError
from tal_jax.stages.sections import OptimizerSection


def build_schedule(settings: OptimizerSection, steps: int) -> optax.Schedule:
    """Learning rate over steps.

    A linear warm-up from 0, then `step` (times decay_factor after decay_at * steps, or after each of drops * steps),
    `cosine` (to 0) or `constant`.

    Args:
      settings: the section `optimizer` of a stage.
      steps: how many steps the whole training has.

    Returns:
      A function from the step to the learning rate.

    Raises:
      InputError: there is no schedule of that name.
    """
    rate, warmup = settings.learning_rate, settings.warmup_steps
    if settings.schedule == "step":
        drops = [max(int(share * steps) - warmup, 0) for share in settings.drops or (settings.decay_at,)]
        factor = settings.decay_factor
        main = optax.piecewise_constant_schedule(rate, {step: factor ** drops.count(step) for step in drops})
    elif settings.schedule == "cosine":
        main = optax.cosine_decay_schedule(rate, max(steps - warmup, 1))
    elif settings.schedule == "constant":
        main = optax.constant_schedule(rate)
    else:
        raise InputError(f"config: optimizer.schedule is 'step', 'cosine' or 'constant', not {settings.schedule!r}")
    if warmup == 0:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, rate, warmup), main], [warmup])


@made_once  # the same functions for equal settings: part of what a program is known by
def build_optimizer(settings: OptimizerSection, steps: int) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), or SGD with momentum, behind clipping of the gradient's norm.

    SGD is v <- momentum v + (g + weight_decay p), p <- p - rate v, with Nesterov's momentum p <- p - rate (g +
    weight_decay p + momentum v), as PyTorch has it. Weight decay applies to kernels only, not to biases and norms.

    Args:
      settings: the section `optimizer` of a stage.
      steps: how many steps the whole training has.

    Returns:
      The optimizer, and the schedule of its learning rate.

    Raises:
      InputError: there is no schedule or method of that name.
    """
    rate = build_schedule(settings, steps)

    def kernels(params: optax.Params) -> optax.Params:
        return jax.tree.map(lambda x: x.ndim > 1, params)

    if settings.method == "adamw":
        parts = [optax.adamw(rate, weight_decay=settings.weight_decay, mask=kernels)]
    elif settings.method == "sgd":
        parts = [
            optax.add_decayed_weights(settings.weight_decay, mask=kernels),
            optax.sgd(rate, momentum=settings.momentum, nesterov=settings.nesterov),
        ]
    else:
        raise InputError(f"config: optimizer.method is 'adamw' or 'sgd', not {settings.method!r}")
    if settings.clip_norm:
        parts.insert(0, optax.clip_by_global_norm(settings.clip_norm))
    if settings.rates:
        parts.append(_times(settings.rates))
    return (optax.chain(*parts) if len(parts) > 1 else parts[0]), rate


def _times(rates: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies the changes of parameters by the factors of all patterns that fit their names.

    A name is as in "params/head/dense/bias", a pattern as in "*/head/*". Both methods' changes are proportional to the
    learning rate.
    """

    def scaled(path: Any, x: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        for pattern, factor in rates.items():
            if fnmatch.fnmatchcase(name, pattern):
                x = factor * x
        return x

    return optax.stateless(lambda updates, _: jax.tree_util.tree_map_with_path(scaled, updates))
