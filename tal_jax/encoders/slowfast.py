"""SlowFast: a slow pathway of few images, a fast one of few channels (Feichtenhofer et al. 2019, arXiv:1812.03982).

Released code bases differ in what follows; their weights are not interchangeable.

| field | FAIR, PyTorchVideo | MMAction2 | X-Temporal |
|---|---|---|---|
| lateral_norm | True | False | False |
| fusion of 50 layers 8x8, of 101 | 7, 5 | 7, 7 | 5 |
| fast_first | False | True | False |
| sampling | linspace | stride | stride |
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32

from tal_jax.encoders.bottleneck import Bottleneck
from tal_jax.encoders.layers import Conv, ConvNorm, max_pool, mean_pool
from tal_jax.types import Array

STAGES = 4


def slow_images(images: int, alpha: int, sampling: str) -> Sequence[int]:
    """Which images of a clip the slow pathway sees.

    sampling="stride": every alpha-th. "linspace": images // alpha ones from the first to the last, evenly spaced in
    float32 and rounded down as in FAIR's code, so that 0, 4, 8, 13, 17, 22, 26, 31 are those of 32.
    """
    if sampling == "stride":
        return range(0, images, alpha)
    if sampling != "linspace":
        raise ValueError(f"sampling is 'linspace' or 'stride', not {sampling!r}")
    count = images // alpha
    step = np.float32(images - 1) / np.float32(max(count - 1, 1))
    numbers = np.arange(count, dtype=np.float32)
    from_end = np.float32(images - 1) - step * (np.float32(count - 1) - numbers)
    return np.where(numbers < max(count // 2, 1), step * numbers, from_end).astype(int).tolist()


class SlowFast(nn.Module):
    """Both pathways; D = 32 width (1 + 1 / beta), the slow one first unless `fast_first`."""

    depths: tuple[int, ...] = (3, 4, 6, 3)  # blocks of the stages: 50 layers
    alpha: int = 8  # images of the fast pathway to one of the slow one: 8 is called 4x16, 4 is 8x8
    beta: int = 8  # channels of the slow pathway to one of the fast one
    width: int = 64  # of the slow pathway's first convolution
    fusion: int = 5  # images that a lateral convolution sees
    slow_temporal: int | None = None  # blocks of the third stage that see neighbouring images; None: all
    fast_temporal: int | None = None
    lateral_norm: bool = True  # batch norm and ReLU after lateral convolutions
    fast_first: bool = False
    sampling: str = "linspace"  # see `slow_images`
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips: Float[Array, "B F Y X C"], train: bool = False) -> Float32[Array, "B D"]:
        """The pooled features of both pathways of every clip."""
        images = clips.shape[1]
        if images % self.alpha or images < self.alpha:
            raise ValueError(f"a clip has a multiple of alpha = {self.alpha} images, not {images}")
        slow = clips[:, np.array(slow_images(images, self.alpha, self.sampling))]
        narrow = self.width // self.beta
        slow = self._stem("slow", slow, self.width, 1, train)
        fast = self._stem("fast", clips, narrow, 5, train)
        for stage in range(STAGES):
            slow = jnp.concatenate([slow, self._lateral(stage, fast, train)], -1)
            inner, blocks = 2**stage, self.depths[stage]
            # The slow pathway sees neighbouring images from the third stage on.
            temporal = 0 if stage < 2 else self._temporal(stage, self.slow_temporal)
            slow = self._stage(f"slow{stage + 1}", slow, self.width * inner, blocks, stage, temporal, train)
            temporal = self._temporal(stage, self.fast_temporal)
            fast = self._stage(f"fast{stage + 1}", fast, narrow * inner, blocks, stage, temporal, train)
        pooled = [mean_pool(slow), mean_pool(fast)]
        return jnp.concatenate(pooled[::-1] if self.fast_first else pooled, -1)

    def _temporal(self, stage: int, limit: int | None) -> int:
        return self.depths[stage] if limit is None or stage != 2 else limit

    def _stem(self, name: str, x: Array, width: int, time: int, train: bool) -> Array:
        x = ConvNorm(width, (time, 7, 7), (1, 2, 2), dtype=self.dtype, name=f"{name}_stem")(x, train)
        return max_pool(x, (1, 3, 3), (1, 2, 2))

    def _lateral(self, stage: int, fast: Array, train: bool) -> Array:
        name, window, strides = f"lateral{stage}", (self.fusion, 1, 1), (self.alpha, 1, 1)
        width = 2 * fast.shape[-1]
        if self.lateral_norm:
            return ConvNorm(width, window, strides, dtype=self.dtype, name=name)(fast, train)
        return Conv(width, window, strides, dtype=self.dtype, name=name)(fast)

    def _stage(self, name: str, x: Array, inner: int, blocks: int, stage: int, temporal: int, train: bool) -> Array:
        for i in range(blocks):
            stride = 2 if stage and not i else 1
            time = 3 if i < temporal else 1
            x = Bottleneck(inner, stride, time, dtype=self.dtype, name=f"{name}_{i}")(x, train)
        return x
