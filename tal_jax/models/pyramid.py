"""What a pyramid over time is made of: levels of halved resolution, their points, and which snippets they may see.

Letters: B batch, T snippets of the finest level, M points of all levels together, L levels, C channels. Level l has
T / 2^l positions; its position j lies at snippet 2^l j, the first of those that it stands for.
"""

import dataclasses
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Shaped

from tal_jax.types import Array


@flax.struct.dataclass
class Level:
    """Masks of one level."""

    real: Bool[Array, "B T"]  # snippets that exist: all outputs are zero elsewhere
    seen: Bool[Array, "B T"]  # what convolutions, pools and statistics may look at: see `seen_snippets`

    def halved(self) -> "Level":
        """The level above: every second position."""
        return Level(self.real[:, ::2], self.seen[:, ::2])


def seen_snippets(mask: Bool[Array, "B T"], released: int, multiple: int) -> Bool[Array, "B T"]:
    """Which snippets a network looks at.

    Those that exist: then padding changes no result. The released networks also look at padding, which norms and biases
    fill with values, up to a length R that the recording's length decides: R = `released` for those up to it, else the
    next multiple of `multiple`.

    Args:
      mask: [B, T], True where a snippet exists, from the first one on.
      released: the released code's `max_seq_len`; 0: only what exists.
      multiple: the released code's `max_div_factor`.
    """
    if not released:
        return mask
    real = jnp.sum(mask, axis=1, dtype=jnp.int32)
    reach = jnp.where(real <= released, released, -(-real // multiple) * multiple)
    return jnp.arange(mask.shape[1], dtype=jnp.int32)[None] < reach[:, None]


@dataclasses.dataclass(frozen=True)
class Points:
    """All positions of a pyramid, level by level: constants of its shape."""

    position: np.ndarray  # [M] float32, in snippets of the finest level
    stride: np.ndarray  # [M] float32, 2^l
    level: np.ndarray  # [M] int32

    @classmethod
    def of(cls, snippets: int, levels: int) -> "Points":
        """Those of a pyramid whose finest level has so many snippets, a multiple of 2^(levels - 1)."""
        counts = [snippets >> level for level in range(levels)]
        level = np.repeat(np.arange(levels, dtype=np.int32), counts)
        stride = np.float32(2) ** level.astype(np.float32)
        within = np.concatenate([np.arange(count, dtype=np.float32) for count in counts])
        return cls(within * stride, stride, level)


def padded_length(snippets: int, levels: int) -> int:
    """The next multiple of 2^(levels - 1), so that every level has half of the positions of the one below."""
    step = 1 << (levels - 1)
    return -(-snippets // step) * step


def side_by_side(levels: list[Shaped[Array, "B _ *C"]], gap: int) -> Shaped[Array, "B _ *C"]:
    """Levels one after the other along time with `gap` zeros behind each: one convolution serves all of them."""
    return jnp.concatenate([jnp.pad(x, ((0, 0), (0, gap)) + ((0, 0),) * (x.ndim - 2)) for x in levels], axis=1)


def apart(x: Any, counts: list[int], gap: int) -> list[Any]:
    """The levels of `side_by_side`, which have `counts` positions."""
    found, begin = [], 0
    for count in counts:
        found.append(x[:, begin : begin + count])
        begin += count + gap
    return found
