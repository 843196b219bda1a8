"""AdamW with warm-up and a decaying schedule."""

import jax
import optax

from tal_jax.errors import InputError


def build_schedule(
    *, steps: int, learning_rate: float, warmup_steps: int, schedule: str, decay_at: float, decay_factor: float
) -> optax.Schedule:
    """Learning rate over steps.

    A linear warm-up from 0, then `step` (times decay_factor after decay_at * steps), `cosine` (to 0) or `constant`.

    Raises:
      InputError: an unknown schedule.
    """
    if schedule == "step":
        main = optax.piecewise_constant_schedule(
            learning_rate, {max(int(decay_at * steps) - warmup_steps, 0): decay_factor}
        )
    elif schedule == "cosine":
        main = optax.cosine_decay_schedule(learning_rate, max(steps - warmup_steps, 1))
    elif schedule == "constant":
        main = optax.constant_schedule(learning_rate)
    else:
        raise InputError(f"config: optimizer.schedule is 'step', 'cosine' or 'constant', not {schedule!r}")
    if warmup_steps == 0:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, learning_rate, warmup_steps), main], [warmup_steps])


def build_optimizer(
    *,
    steps: int,
    learning_rate: float = 4e-4,
    weight_decay: float = 1e-5,
    warmup_steps: int = 0,
    schedule: str = "step",
    decay_at: float = 0.78,
    decay_factor: float = 0.1,
    clip_norm: float = 0.0,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) behind optional clipping of the global gradient norm.

    Weight decay applies to kernels only, not to biases and norms. The default decays after 7 of 9 epochs, as published.

    Returns:
      (transformation, learning-rate schedule).
    """
    rate = build_schedule(
        steps=steps,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        schedule=schedule,
        decay_at=decay_at,
        decay_factor=decay_factor,
    )

    def kernels(params: optax.Params) -> optax.Params:
        return jax.tree.map(lambda x: x.ndim > 1, params)

    adamw = optax.adamw(rate, weight_decay=weight_decay, mask=kernels)
    return (optax.chain(optax.clip_by_global_norm(clip_norm), adamw) if clip_norm else adamw), rate
