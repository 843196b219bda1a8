"""One-dimensional convolution, in the form that is fast where it runs."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from tal_jax.ops.by_platform import by_platform
from tal_jax.ops.convolution_winograd import conv1d_winograd
from tal_jax.types import Array

# Channels in times channels out from which minimal filtering pays on a CPU: 512 x 128 gains a fifth, 512 x 512 and
# 2048 x 512 a quarter to two fifths of a training step's convolution.
WINOGRAD_FROM = 2**16


def conv1d(
    x: Float[Array, "*B T C"],
    kernel: Float[Array, "taps C//{groups} O"],
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: int = 0,
    implementation: str = "auto",
) -> Float[Array, "*B (T+2*{padding}-{dilation}*(taps-1)-1)//{stride}+1 O"]:
    """Grouped 1-D convolution (cross-correlation) with zero padding.

    Args:
      x: sequences.
      kernel: output channel o belongs to group o // (O / groups).
      stride: step between outputs.
      dilation: distance between kernel taps.
      groups: number of channel groups; divides C and O.
      padding: zeros added at both ends.
      implementation: `lax` (the backend's convolution), `shifted` (shifted copies, a matrix product per group),
        `winograd` (half of the operations; three taps, no stride, groups or change of length, float32) or `auto`. On
        CPUs that is `shifted` for groups, where XLA's gradients of grouped convolutions are slow, and `winograd` where
        it can be and the channels are so many that operations are what takes the time; elsewhere `lax`.
    """
    minimal = kernel.shape[0] == 3 and stride == 1 and groups == 1 and padding == dilation and x.dtype == jnp.float32
    if implementation == "winograd" and not minimal:
        raise ValueError("winograd needs three taps, stride 1, one group, padding = dilation, and float32")
    sizes: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups, "padding": padding}
    forms = {
        "lax": functools.partial(_lax, **sizes),
        "shifted": functools.partial(_shifted, **sizes),
        "winograd": functools.partial(_winograd, dilation=dilation),
    }
    if implementation == "auto":
        minimal = minimal and kernel.shape[1] * kernel.shape[2] >= WINOGRAD_FROM
        on_cpu = "shifted" if groups > 1 else "winograd" if minimal else "lax"
        return forms["lax"](x, kernel) if on_cpu == "lax" else by_platform(forms[on_cpu], forms["lax"], x, kernel)
    if implementation not in forms:
        raise ValueError(f"implementation is 'auto', 'lax', 'shifted' or 'winograd', not {implementation!r}")
    return forms[implementation](x, kernel)


def _winograd(x: Array, kernel: Array, *, dilation: int) -> Array:
    y = conv1d_winograd(x.reshape((-1, *x.shape[-2:])), kernel, dilation)
    return y.reshape((*x.shape[:-2], *y.shape[-2:]))


def _lax(x: jax.Array, kernel: jax.Array, *, stride: int, dilation: int, groups: int, padding: int) -> Array:
    y = lax.conv_general_dilated(
        x.reshape((-1, *x.shape[-2:])),
        kernel,
        (stride,),
        [(padding, padding)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )
    return y.reshape((*x.shape[:-2], *y.shape[-2:]))


def _shifted(x: Array, kernel: Array, *, stride: int, dilation: int, groups: int, padding: int) -> Array:
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


def conv1d_of_whole_by_group(
    x: Float[Array, "groups N T C"], kernel: Float[Array, "T C O"]
) -> Float[Array, "groups N O//groups"]:
    """`conv1d` with as many taps as there are elements, on channels that are laid out group by group.

    C are the channels of a group. The kernel is as in `conv1d`; what is returned is the one output.
    """
    groups, n, t, c = x.shape
    weights = kernel.reshape(t, c, groups, -1).transpose(2, 0, 1, 3).reshape(groups, t * c, -1)
    return jnp.matmul(x.reshape(groups, n, t * c), weights)


def halving_by_group(
    even: Float[Array, "groups N half C"], odd: Float[Array, "groups N half C"], kernel: Float[Array, "3 C O"]
) -> Float[Array, "groups N half O//groups"]:
    """`conv1d` with three taps, stride 2 and padding 1, group by group, from even and odd elements.

    Output i reads elements 2 i - 1, 2 i and 2 i + 1: an even one and the odd ones on both sides. Nothing is copied or
    rearranged for that, as it is where all elements lie in one array. C are the channels of a group; the kernel is as
    in `conv1d`.
    """
    groups, n, half, c = even.shape
    weights = kernel.reshape(3, c, groups, -1).transpose(0, 2, 1, 3)  # [3, G, C / G, O / G]
    own = jnp.matmul(even.reshape(groups, n * half, c), weights[1])
    # What an odd element gives to the output before it and to the one after it.
    both = jnp.matmul(odd.reshape(groups, n * half, c), jnp.concatenate([weights[2], weights[0]], axis=-1))
    before, after = jnp.split(both.reshape(groups, n, half, -1), 2, axis=-1)
    after = jnp.pad(after, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
    return own.reshape(groups, n, half, -1) + before + after
