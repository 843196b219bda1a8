"""How one-stage pyramid detectors are trained, in plain PyTorch: windows, decay, rate of learning, mean of weights."""

import copy
import math
import random
from collections.abc import Iterable

import torch
from torch import Tensor, nn

TRIALS = 200  # windows that are drawn before one without segments is taken


def decayed(model: nn.Module) -> tuple[list[str], list[str]]:
    """Names of parameters that decay, the weights of convolutions, and of those that do not."""
    weights = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv1d)}
    names = [name for name, _ in model.named_parameters()]
    return [name for name in names if name in weights], [name for name in names if name not in weights]


def optimizer_of(model: nn.Module, rate: float = 1e-4, decay: float = 0.05) -> torch.optim.AdamW:
    """AdamW in two groups."""
    parameters = dict(model.named_parameters())
    does, does_not = ([parameters[name] for name in names] for names in decayed(model))
    return torch.optim.AdamW(
        [{"params": does, "weight_decay": decay}, {"params": does_not, "weight_decay": 0.0}], lr=rate
    )


def rate_at(step: int, base: float, warmup: int, steps: int, floor: float = 1e-8) -> float:
    """The rate of a step, counted from 0: a line from 0 to `base`, then half a cosine to `floor` at `steps`."""
    if step < warmup:
        return base * step / max(warmup - 1, 1)
    done = (step - warmup) / (steps - warmup)
    return floor + (base - floor) / 2 * (1 + math.cos(math.pi * done))


class MeanWeights:
    """An exponential mean of all weights, from a copy of the first ones on."""

    def __init__(self, model: nn.Module, keep: float = 0.999):
        self.model, self.keep = copy.deepcopy(model).eval().requires_grad_(False), keep

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """To be called after each step."""
        for mean, new in zip(self.model.parameters(), model.parameters(), strict=True):
            mean.copy_(self.keep * mean + (1 - self.keep) * new)


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float, means: MeanWeights | None = None,
    norm: float = 1.0,
) -> float:  # fmt: skip
    """One step at this rate, its gradient clipped by the norm of all of it -> the norm before."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    before = nn.utils.clip_grad_norm_(model.parameters(), norm)
    optimizer.step()
    if means is not None:
        means.update(model)
    return float(before)


def grid(seconds: Tensor, fps: float, stride: float, clip: float) -> Tensor:
    """Seconds to the grid on which g is the middle of clip g, of `clip` frames, one every `stride` frames."""
    return seconds * fps / stride - 0.5 * clip / stride


def in_window(segments: Tensor, start: int, length: int, offset: float, share: float) -> tuple[Tensor, Tensor]:
    """What of segments [S, 2] a window keeps: which, [S] bool, and those cut to it and counted from its start.

    A segment stays if at least `share` of its length lies inside [start - offset, start + length + offset].
    """
    cut = segments.clamp(start - offset, start + length + offset)
    inside = cut[:, 1] - cut[:, 0]
    stays = (inside > 0) & (inside >= share * (segments[:, 1] - segments[:, 0]))
    return stays, cut[stays] - start


def random_window(
    length: int, segments: Tensor, most: int, offset: float, share: float = 0.5,
    crop: tuple[float, float] | None = (0.9, 1.0), draw: random.Random | None = None,
) -> tuple[int, int, Tensor, Tensor]:  # fmt: skip
    """A window of training in a recording of `length` snippets -> its start and length, and as `in_window`.

    A longer recording than `most` gives a window of `most`, another one of a random share of itself (`crop`).
    """
    draw = draw or random.Random()
    if length > most:
        window = most
    else:
        low, high = crop or (1.0, 1.0)
        window = draw.randint(max(round(low * length), 1), min(round(high * length), length))
        if window == length:
            return 0, length, torch.ones(len(segments), dtype=torch.bool), segments
    for _ in range(TRIALS):
        start = draw.randint(0, length - window)
        stays, kept = in_window(segments, start, window, offset, share)
        if stays.any():
            break
    return start, window, stays, kept


def in_resized(segments: Tensor, length: int, offset: float = 0.5, share: float = 0.5) -> tuple[Tensor, Tensor]:
    """ActivityNet's segments in training, as `in_window`: what lies at or after length + offset is cut off."""
    cut = segments.clamp(max=length + offset)
    inside = cut[:, 1] - cut[:, 0]
    stays = (inside > 0) & (inside >= share * (segments[:, 1] - segments[:, 0]))
    return stays, cut[stays]


def collate(features: Iterable[Tensor], length: int) -> tuple[Tensor, Tensor]:
    """Recordings [C, L] padded with zeros -> [B, C, length] and the mask [B, 1, length]."""
    rows = list(features)
    x = torch.zeros(len(rows), rows[0].shape[0], length)
    mask = torch.zeros(len(rows), 1, length, dtype=torch.bool)
    for n, row in enumerate(rows):
        x[n, :, : row.shape[1]], mask[n, 0, : row.shape[1]] = row, True
    return x, mask
