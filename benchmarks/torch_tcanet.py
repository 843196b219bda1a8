"""TCANet in plain PyTorch, as published: every proposal has a copy of its recording's features, for grid_sample.

Own code after the report and the released variant's description; names of parameters are the released ones.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attention_mask(snippets: int, heads: int = 8, local: int = 4, window: int = 9) -> Tensor:
    """What is hidden from every head: [1, heads, T, T] bool; the first `local` heads see a window."""
    distance = (torch.arange(snippets)[:, None] - torch.arange(snippets)[None]).abs()
    hidden_from_local = (distance > window / 2).expand(local, -1, -1)
    return torch.cat([hidden_from_local, torch.zeros(heads - local, snippets, snippets, dtype=torch.bool)])[None]


class Projections(nn.Module):
    """The parameters of multi-head attention."""

    def __init__(self, hidden: int):
        super().__init__()
        stacked = nn.Linear(hidden, 3 * hidden)
        self.in_proj_weight, self.in_proj_bias = stacked.weight, stacked.bias
        self.out_proj = nn.Linear(hidden, hidden)


def attend(x: Tensor, p: Projections, mask: Tensor, drop: nn.Module) -> Tensor:
    """Multi-head attention of x [B, T, H] to itself under a dense mask [1, heads, T, T]."""
    b, t, h = x.shape
    heads = mask.shape[1]
    stacked = F.linear(x, p.in_proj_weight, p.in_proj_bias)
    q, k, v = (y.reshape(b, t, heads, -1).transpose(1, 2) for y in stacked.chunk(3, dim=-1))
    scores = (q * (h // heads) ** -0.5) @ k.transpose(-1, -2)
    weights = drop(scores.masked_fill(mask, float("-inf")).softmax(-1))
    return p.out_proj((weights @ v).transpose(1, 2).reshape(b, t, h))


class Attention(nn.Module):
    """The mask and the projections, by their released names."""

    def __init__(self, snippets: int, hidden: int):
        super().__init__()
        self.register_buffer("mask_matrix", attention_mask(snippets))
        self.scale_attention = Projections(hidden)


class LGTE(nn.Module):
    """Local-global temporal encoder with a dense mask per head; T is fixed by the mask."""

    def __init__(self, snippets: int, hidden: int = 512, ffn: int = 256):
        super().__init__()
        self.self_atten = Attention(snippets, hidden)
        self.linear1, self.linear2 = nn.Linear(hidden, ffn), nn.Linear(ffn, hidden)
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, H] -> [B, T, H]."""
        attended = attend(x, self.self_atten.scale_attention, self.self_atten.mask_matrix, self.drop)
        x = self.norm1(x + self.drop(attended))
        return self.norm2(x + self.drop(self.linear2(self.drop(F.relu(self.linear1(x))))))


class FrameLevel(nn.Module):
    """A stack for the start context and one for the end context -> (ds, de)."""

    def __init__(self, hidden: int, frame: int):
        super().__init__()

        def boundary() -> nn.Sequential:
            return nn.Sequential(
                nn.Conv1d(hidden, frame, 3, 2, 1, groups=4),
                nn.ReLU(),
                nn.Conv1d(frame, frame, 3, 2, 1, groups=4),
                nn.ReLU(),
                nn.Conv1d(frame, 1, 8),
            )

        self.start_reg_conv, self.end_reg_conv = boundary(), boundary()

    def forward(self, start: Tensor, end: Tensor) -> Tensor:
        """[P, H, 32] each -> [P, 2]."""
        return torch.cat([self.start_reg_conv(start), self.end_reg_conv(end)], 1)[..., 0]


class SegmentLevel(nn.Module):
    """The stack on all points -> (dx, dw, iou logit)."""

    def __init__(self, hidden: int, width: int):
        super().__init__()
        self.reg_1d_b = nn.Sequential(
            nn.Conv1d(hidden, width, 3, 2, 1, groups=4),
            nn.ReLU(),
            nn.Conv1d(width, width, 3, 2, 1, groups=4),
            nn.ReLU(),
        )
        self.reg_1d_o = nn.Sequential(nn.Conv1d(width, width, 32, groups=4), nn.ReLU(), nn.Conv1d(width, 3, 1))

    def forward(self, points: Tensor) -> Tensor:
        """[P, H, 128] -> [P, 3]."""
        return self.reg_1d_o(self.reg_1d_b(points))[..., 0]


class TBR(nn.Module):
    """One temporal boundary regressor."""

    def __init__(self, hidden: int = 512, frame: int = 128):
        super().__init__()
        self.reg1se, self.reg1xw = FrameLevel(hidden, frame), SegmentLevel(hidden, hidden)

    def forward(self, features: Tensor, segments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """features [P, H, T], each proposal's own copy; segments [P, 2] in [0, 1] of T -> ends, center, iou logit."""
        s, e = segments.unbind(-1)
        half = (e - s) / 2
        parts = ((s - half, s, 32), (s, e, 64), (e, e + half, 32))
        start, inside, end = (sample(features, a.clamp(0, 1), b.clamp(0, 1), n) for a, b, n in parts)
        out = self.reg1xw(torch.cat([start, inside, end], -1))
        return self.reg1se(start, end), out[:, :2], out[:, 2]


def sample(features: Tensor, a: Tensor, b: Tensor, n: int) -> Tensor:
    """n points of [a, b], a fraction of T: features [P, H, T] -> [P, H, n]."""
    theta = torch.zeros(len(a), 2, 3, dtype=features.dtype)
    theta[:, 0, 0] = b - a
    theta[:, 0, 2] = a + b - 1
    grid = F.affine_grid(theta, [len(a), features.shape[1], 1, n], align_corners=False)
    return F.grid_sample(features[:, :, None], grid, align_corners=False)[:, :, 0]


class TCANet(nn.Module):
    """Base convolutions, two LGTEs, three TBRs; its state dict is the released one."""

    def __init__(self, channels: int, snippets: int, hidden: int = 512, ffn: int = 256, frame: int = 128):
        super().__init__()
        self.x_1d_b_f = nn.Sequential(
            nn.Conv1d(channels, hidden, 3, padding=1, groups=4),
            nn.ReLU(),
            nn.Conv1d(hidden, hidden, 3, padding=1, groups=4),
            nn.ReLU(),
        )
        self.lgtes = nn.ModuleList(self.encoder(snippets, hidden, ffn) for _ in range(2))
        self.tbr1, self.tbr2, self.tbr3 = (self.regressor(hidden, frame) for _ in range(3))

    def encoder(self, snippets: int, hidden: int, ffn: int) -> nn.Module:
        """One LGTE."""
        return LGTE(snippets, hidden, ffn)

    def regressor(self, hidden: int, frame: int) -> nn.Module:
        """One TBR."""
        return TBR(hidden, frame)

    def encode(self, features: Tensor) -> Tensor:
        """features [B, C, T] -> [B, 512, T]."""
        x = self.x_1d_b_f(features).transpose(1, 2)
        for lgte in self.lgtes:
            x = lgte(x)
        return x.transpose(1, 2)

    def refine(self, encoded: Tensor, proposals: Tensor, recording: Tensor) -> list[tuple[Tensor, ...]]:
        """encoded [B, 512, T], proposals [N, 2], recording [N] -> (given, ends, center, iou logit, next) per stage."""
        copies = encoded[recording]  # [N, 512, T]
        stages = []
        for tbr in (self.tbr1, self.tbr2, self.tbr3):
            ends, center, iou = tbr(copies, proposals)
            w = proposals[:, 1:] - proposals[:, :1]
            by_ends = proposals + (1.0 if self.training else 0.2) * ends * w
            middle = proposals.mean(1, keepdim=True) + 0.1 * center[:, :1] * w
            width = w * torch.exp(0.2 * center[:, 1:])
            by_center = torch.cat([middle - width / 2, middle + width / 2], 1)
            refined = ((by_ends + by_center) / 2).clamp(min=0)  # an end may lie beyond the window, as published
            stages.append((proposals, ends, center, iou, refined))
            proposals = refined.detach()
        return stages

    def forward(self, features: Tensor, proposals: Tensor) -> list[tuple[Tensor, ...]]:
        """features [B, C, T], proposals [B, P, 2] in [0, 1] -> the stages of all B x P proposals."""
        recording = torch.arange(len(features)).repeat_interleave(proposals.shape[1])
        return self.refine(self.encode(features), proposals.flatten(0, 1), recording)

    @torch.no_grad()
    def infer(self, features: Tensor, proposals: Tensor, chunk: int = 100) -> tuple[Tensor, Tensor]:
        """Boundaries of the last stage and confidence of the second, a hundred proposals at a time as published."""
        encoded = self.encode(features)
        recording = torch.arange(len(features)).repeat_interleave(proposals.shape[1])
        flat = proposals.flatten(0, 1)
        outputs = [
            self.refine(encoded, flat[i : i + chunk], recording[i : i + chunk]) for i in range(0, len(flat), chunk)
        ]
        return torch.cat([o[-1][4] for o in outputs]), torch.cat([o[1][3].sigmoid() for o in outputs])


def iou_of(a: Tensor, b: Tensor) -> Tensor:
    """IoU of segments, pair by pair: [N, 2], [N, 2] -> [N]."""
    overlap = (torch.minimum(a[:, 1], b[:, 1]) - torch.maximum(a[:, 0], b[:, 0])).clamp(min=0)
    return overlap / ((a[:, 1] - a[:, 0]) + (b[:, 1] - b[:, 0]) - overlap)


def loss(
    stages: list[tuple[Tensor, ...]],
    truth: Tensor,
    thresholds: tuple[float, ...] = (0.5, 0.6, 0.7),
    *,
    draw: bool = True,
) -> Tensor:
    """Regression of both levels and confidence, summed over stages; truth [N, 2] is each proposal's ground truth.

    draw=False gives the negatives of the confidence the expectation of the published random draw.
    """
    total = torch.zeros(())
    for (given, ends, center, logit, _), threshold in zip(stages, thresholds, strict=True):
        iou = iou_of(given, truth)
        w = (given[:, 1] - given[:, 0]).clamp(min=1e-5)
        w_truth = (truth[:, 1] - truth[:, 0]).clamp(min=1e-5)
        to_ends = (truth - given) / w[:, None]
        to_center = torch.stack([(truth.mean(1) - given.mean(1)) / w, torch.log(w_truth / w)], 1)
        positive = (iou >= threshold).float()
        count = positive.sum().clamp(min=1)
        for found, target in ((ends, to_ends), (center, to_center)):
            total = total + (F.smooth_l1_loss(found, target, reduction="none").sum(1) * positive).sum() / count
        high = iou > threshold
        weight = high.float()
        for pool in ((iou > 0.3) & ~high, iou <= 0.3):
            index = pool.nonzero()[:, 0]
            if draw:
                weight[index[torch.randperm(len(index))[: int(high.sum())]]] = 1.0
            else:
                weight[index] = (high.sum() / max(len(index), 1)).clamp(max=1)
        confidence = F.smooth_l1_loss(logit.sigmoid(), iou, reduction="none")
        total = total + (confidence * weight).sum() / weight.sum().clamp(min=1)
    return total
