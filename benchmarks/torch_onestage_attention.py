"""ActionFormer's transformer block in plain PyTorch: attention within a window or to all, and what surrounds it.

Local attention has two forms with the same result: a dense band mask, whose cost grows with T squared, and blocks of
queries that meet the keys around them, whose cost grows with T times the window.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.torch_onestage_parts import LayerNorm, MaskedConv, drop_path, every

HIDDEN = -1e4  # added to the score of a masked key within a window: its weight is exactly 0 in float32
BAND_FORMS = ("blocks", "dense")


def dense_band(q: Tensor, k: Tensor, v: Tensor, valid: Tensor, half: int, position: Tensor | None = None) -> Tensor:
    """Attention to keys at most `half` away, under a dense mask.

    q, scaled already, k and v are [B, H, T, d], `valid` is [B, T] bool, `position` [H, 2 half + 1] is added to the
    scores at j - t + half -> [B, H, T, d], 0 where not valid.
    """
    index = torch.arange(q.shape[2], device=q.device)
    offset = index[None] - index[:, None]
    scores = q @ k.transpose(-1, -2)
    if position is not None:
        scores = scores + position[:, (offset + half).clamp(0, 2 * half)]
    scores = scores + HIDDEN * (~valid)[:, None, None].to(q.dtype)
    weights = scores.masked_fill(offset.abs() > half, -math.inf).softmax(-1)
    return weights @ v * valid[:, None, :, None]


def blocked_band(q: Tensor, k: Tensor, v: Tensor, valid: Tensor, half: int, position: Tensor | None = None) -> Tensor:
    """The same as `dense_band` by blocks of `half` queries, each with three blocks of keys."""
    t = q.shape[2]
    blocks = -(-t // half)
    pad = blocks * half - t

    def around(x: Tensor) -> Tensor:  # [B, H, T, d] -> [B, H, blocks, d, 3 half]
        return F.pad(x, (0, 0, half, half + pad)).unfold(2, 3 * half, half)

    query = torch.arange(half, device=q.device)
    offset = torch.arange(-half, 2 * half, device=q.device)[None] - query[:, None]
    scores = F.pad(q, (0, 0, 0, pad)).unflatten(2, (blocks, half)) @ around(k)
    if position is not None:
        scores = scores + position[:, None, (offset + half).clamp(0, 2 * half)]
    hidden = F.pad(HIDDEN * (~valid).to(q.dtype), (half, half + pad), value=-math.inf)  # beyond the ends is nothing
    scores = scores + hidden.unfold(1, 3 * half, half)[:, None, :, None]
    weights = scores.masked_fill(offset.abs() > half, -math.inf).softmax(-1)
    return (weights @ around(v).transpose(-1, -2)).flatten(2, 3)[:, :, :t] * valid[:, None, :, None]


def attend(q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
    """Attention to all valid keys: [B, H, T, d] each, q scaled already, `valid` [B, T] bool -> [B, H, T, d]."""
    scores = (q @ k.transpose(-1, -2)).masked_fill(~valid[:, None, None], -math.inf)
    return scores.softmax(-1) @ (v * valid[:, None, :, None])


class Attention(nn.Module):
    """Masked attention of several heads after depthwise convolutions, which also halve at stride 2.

    A window of at most 1 is attention to all; an even one acts as the next odd one.
    """

    def __init__(
        self, width: int, heads: int, window: int, stride: int = 1, dropout: float = 0.0, relative: bool = False,
        form: str = "blocks",
    ):  # fmt: skip
        super().__init__()
        if form not in BAND_FORMS:
            raise ValueError(f"{form!r} is none of {BAND_FORMS}")
        self.heads, self.window, self.form = heads, window, form
        self.query_conv, self.key_conv, self.value_conv = (
            MaskedConv(width, width, 3, stride, width, bias=False) for _ in range(3)
        )
        self.query_norm, self.key_norm, self.value_norm = (LayerNorm(width) for _ in range(3))
        self.query, self.key, self.value, self.proj = (nn.Conv1d(width, width, 1) for _ in range(4))
        self.drop = nn.Dropout(dropout)
        self.rel_pe = None
        if relative and window > 1:
            if window % 2 == 0:
                raise ValueError("relative positions need an odd window")
            self.rel_pe = nn.Parameter(torch.zeros(1, 1, heads, window))
            nn.init.trunc_normal_(self.rel_pe, std=(2 / width) ** 0.5)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, D, T], [B, 1, T] -> [B, D, T / stride], 0 where masked, and its mask."""

        def projected(conv: nn.Module, norm: nn.Module, last: nn.Module) -> Tensor:  # [B, H, T / stride, d]
            return last(norm(conv(x, mask)[0])).unflatten(1, (self.heads, -1)).transpose(2, 3)

        q = projected(self.query_conv, self.query_norm, self.query)
        k = projected(self.key_conv, self.key_norm, self.key)
        v = projected(self.value_conv, self.value_norm, self.value)
        mask = every(mask, self.query_conv.stride)
        q = q * q.shape[-1] ** -0.5
        if self.window > 1:
            band = blocked_band if self.form == "blocks" else dense_band
            position = None if self.rel_pe is None else self.rel_pe[0, 0]
            out = band(q, k, v, mask[:, 0], self.window // 2, position)
        else:
            out = attend(q, k, v, mask[:, 0])
        return self.drop(self.proj(out.transpose(2, 3).flatten(1, 2))) * mask, mask


class TransformerBlock(nn.Module):
    """Attention and a perceptron, each after a norm and beside a skip; stride 2 halves, the skip by max-pooling."""

    def __init__(
        self, width: int, heads: int, window: int, stride: int = 1, dropout: float = 0.0, drop_rate: float = 0.1,
        relative: bool = False, form: str = "blocks",
    ):  # fmt: skip
        super().__init__()
        self.ln1, self.ln2 = LayerNorm(width), LayerNorm(width)
        self.attn = Attention(width, heads, window, stride, dropout, relative, form)
        self.pool_skip = nn.MaxPool1d(3, 2, 1) if stride > 1 else nn.Identity()
        self.mlp = nn.Sequential(
            nn.Conv1d(width, 4 * width, 1), nn.GELU(), nn.Dropout(dropout), nn.Conv1d(4 * width, width, 1),
            nn.Dropout(dropout),
        )  # fmt: skip
        self.drop_path_attn, self.drop_path_mlp = drop_path(width, drop_rate), drop_path(width, drop_rate)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, D, T], [B, 1, T] -> [B, D, T / stride], [B, 1, T / stride]."""
        attended, halved = self.attn(self.ln1(x), mask)
        x = self.pool_skip(x) * halved + self.drop_path_attn(attended)
        return x + self.drop_path_mlp(self.mlp(self.ln2(x)) * halved), halved
