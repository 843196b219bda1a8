"""Linen modules around `ops.convolution`, and masking."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32

from tal_jax.ops.convolution import conv1d
from tal_jax.types import Array

# Fan-in is taps * inputs: what one output really sees.
HE_NORMAL = nn.initializers.he_normal(in_axis=(0, 1), out_axis=2)


def masked(x: Float[Array, "B T C"], mask: Bool[Array, "B T"]) -> Float[Array, "B T C"]:
    """Zeroes padded snippets. Convolutions then see what they see of a shorter sequence."""
    return jnp.where(mask[..., None], x, jnp.zeros((), x.dtype))


class Conv1D(nn.Module):
    """Grouped 1-D convolution, with bias unless `bias` is None; same length by default for odd kernels."""

    features: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    padding: int | None = None  # None: dilation * (kernel_size - 1) // 2
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = HE_NORMAL
    bias: float | None = 0.0  # at the start

    @nn.compact
    def __call__(self, x: Float[Array, "*B T C"]) -> Float[Array, "*B _ {self.features}"]:
        """Applies the convolution in `dtype`; parameters are float32."""
        kernel = self.param("kernel", self.kernel_init, (self.kernel_size, x.shape[-1] // self.groups, self.features))
        padding = self.dilation * (self.kernel_size - 1) // 2 if self.padding is None else self.padding
        y = conv1d(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
            padding=padding,
        )
        if self.bias is None:
            return y
        bias = self.param("bias", nn.initializers.constant(self.bias), (self.features,))
        return y + jnp.asarray(bias, self.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


class ConvWeights(nn.Module):
    """The parameters of a `Conv1D`, for those who apply it in another form."""

    features: int
    kernel_size: int
    groups: int = 1

    @nn.compact
    def __call__(
        self, channels: int
    ) -> tuple[
        Float32[Array, "{self.kernel_size} {channels//self.groups} {self.features}"], Float32[Array, "{self.features}"]
    ]:
        """Kernel and bias."""
        kernel = self.param("kernel", HE_NORMAL, (self.kernel_size, channels // self.groups, self.features))
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))
