"""One-dimensional convolution, in the form that is fast on the backend at hand."""

import jax
import jax.numpy as jnp
from jax import lax

from tal_jax.types import Array


def conv1d(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: int = 0,
    implementation: str = "auto",
) -> Array:
    """Grouped 1-D convolution (cross-correlation) with zero padding.

    Args:
      x: [..., T, C].
      kernel: [K, C / groups, O]; output channel o belongs to group o // (O / groups).
      stride: step between outputs.
      dilation: distance between kernel taps.
      groups: number of channel groups; divides C and O.
      padding: zeros added at both ends.
      implementation: `lax` (the backend's convolution), `shifted` (shifted copies, a matrix product per group) or
        `auto`: `shifted` for groups on CPUs, where XLA's gradients of grouped convolutions are slow, `lax` elsewhere.

    Returns:
      [..., T', O] with T' = (T + 2 padding - dilation (K - 1) - 1) // stride + 1.
    """
    if implementation == "auto":
        implementation = "shifted" if groups > 1 and jax.default_backend() == "cpu" else "lax"
    if implementation == "lax":
        flat = x.reshape((-1, *x.shape[-2:]))
        y = lax.conv_general_dilated(
            flat,
            kernel,
            (stride,),
            [(padding, padding)],
            rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=groups,
        )
        return y.reshape((*x.shape[:-2], *y.shape[-2:]))
    if implementation != "shifted":
        raise ValueError(f"implementation is 'auto', 'lax' or 'shifted', not {implementation!r}")
    taps, group_in, out = kernel.shape
    group_out = out // groups
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(padding, padding), (0, 0)])
    length = (x.shape[-2] - dilation * (taps - 1) - 1) // stride + 1
    shifted = [
        lax.slice_in_dim(x, k * dilation, k * dilation + (length - 1) * stride + 1, stride, axis=x.ndim - 2)
        for k in range(taps)
    ]
    # Per group the taps join the contracted axis: one matrix product [T', K C / groups] x [K C / groups, O / groups].
    outputs = []
    for g in range(groups):
        columns = jnp.concatenate([s[..., g * group_in : (g + 1) * group_in] for s in shifted], axis=-1)
        weights = kernel[:, :, g * group_out : (g + 1) * group_out].reshape((taps * group_in, group_out))
        outputs.append(columns @ weights)
    return jnp.concatenate(outputs, axis=-1) if groups > 1 else outputs[0]
