"""AdamW with warm-up and a decaying schedule."""

import jax
import optax

from tal_jax.devices.compilation import made_once
from tal_jax.errors import InputError
from tal_jax.stages.sections import OptimizerSection


def build_schedule(settings: OptimizerSection, steps: int) -> optax.Schedule:
    """Learning rate over steps.

    A linear warm-up from 0, then `step` (times decay_factor after decay_at * steps), `cosine` (to 0) or `constant`.

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
        decay = max(int(settings.decay_at * steps) - warmup, 0)
        main = optax.piecewise_constant_schedule(rate, {decay: settings.decay_factor})
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
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) behind optional clipping of the global gradient norm.

    Weight decay applies to kernels only, not to biases and norms.

    Args:
      settings: the section `optimizer` of a stage.
      steps: how many steps the whole training has.

    Returns:
      The optimizer, and the schedule of its learning rate.

    Raises:
      InputError: there is no schedule of that name.
    """
    rate = build_schedule(settings, steps)

    def kernels(params: optax.Params) -> optax.Params:
        return jax.tree.map(lambda x: x.ndim > 1, params)

    adamw = optax.adamw(rate, weight_decay=settings.weight_decay, mask=kernels)
    clip = settings.clip_norm
    return (optax.chain(optax.clip_by_global_norm(clip), adamw) if clip else adamw), rate
