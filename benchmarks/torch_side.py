"""PyTorch's side of every case, or that of the published Python code: a function that makes a step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import (
    torch_actionformer,
    torch_bmn,
    torch_encoders,
    torch_mgfn,
    torch_onestage_loss,
    torch_onestage_sizes,
    torch_onestage_training,
    torch_recognition,
    torch_tcanet,
)
from benchmarks.inputs import attention_inputs, nms_inputs

Step = Callable[[], Any]


def _train_step(module: nn.Module, loss: Callable[[nn.Module], torch.Tensor], compiled: bool) -> Step:
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    forward: Any = torch.compile(module) if compiled else module

    def step() -> float:
        optimizer.zero_grad()
        value = loss(forward)
        value.backward()
        optimizer.step()
        return value.item()

    return step


def tcanet(rows: int, snippets: int, channels: int, proposals: int, compiled: bool = False) -> Step:
    """TCANet as published."""
    x = torch.randn(rows, channels, snippets)
    start = torch.rand(rows, proposals, 1) * 0.7
    given = torch.cat([start, start + 0.05 + torch.rand(rows, proposals, 1) * 0.25], -1)
    truth = (given + torch.randn_like(given) * 0.02).flatten(0, 1)
    module = torch_tcanet.TCANet(channels, snippets)
    return _train_step(module, lambda m: torch_tcanet.loss(m(x, given), truth), compiled)


def tcanet_predict(rows: int, snippets: int, channels: int, proposals: int, compiled: bool = False) -> Step:
    """Boundaries and confidences of all proposals; NMS is not counted on this side."""
    x = torch.randn(rows, channels, snippets)
    start = torch.rand(rows, proposals, 1) * 0.7
    given = torch.cat([start, start + 0.05 + torch.rand(rows, proposals, 1) * 0.25], -1)
    module = torch_tcanet.TCANet(channels, snippets).eval()
    return lambda: module.infer(x, given)


def bmn(rows: int, snippets: int, channels: int, compiled: bool = False) -> Step:
    """BMN as published."""
    x = torch.randn(rows, channels, snippets)
    label = (torch.rand(rows, snippets) > 0.9).float()
    iou = torch.rand(rows, snippets, snippets)
    module = torch_bmn.BMN(channels, snippets)
    return _train_step(module, lambda m: torch_bmn.loss(*m(x), label, label, iou), compiled)


def mgfn(rows: int, snippets: int, channels: int, classes: int, compiled: bool = False) -> Step:
    """KT-MGFN, the full row."""
    x = torch.randn(rows, channels, snippets)
    labels = torch.eye(classes)[torch.randint(0, classes, (rows,))]
    module = torch_mgfn.MGFN(channels, classes, (2.0, 4.0, 8.0, 16.0, 32.0, 64.0))
    knowledge = torch.randn(rows, 2 * 4 * 128)
    return _train_step(module, lambda m: torch_mgfn.loss(m(x, labels), labels, knowledge), compiled)


def _pyramid(channels: int, classes: int) -> torch_actionformer.Sizes:
    if channels == 2048:
        return dataclasses.replace(torch_onestage_sizes.THUMOS, classes=classes)
    return dataclasses.replace(
        torch_onestage_sizes.THUMOS, inputs=(channels,), width=128, head_width=128, classes=classes, max_seq_len=256
    )


def onestage(rows: int, snippets: int, channels: int, classes: int, compiled: bool = False) -> Step:
    """ActionFormer's training step: labels of points, losses, clipped gradients, AdamW, the mean of all weights."""
    module = torch_actionformer.OneStage(_pyramid(channels, classes)).train()
    x, mask = torch.randn(rows, channels, snippets), torch.ones(rows, 1, snippets, dtype=torch.bool)
    start = torch.rand(rows, 1, 1) * 0.7 * snippets
    segments = list(torch.cat([start, start + 0.2 * snippets], -1))
    points = torch_onestage_loss.points_of(snippets)
    normalizer, means = torch_onestage_loss.Normalizer(), torch_onestage_training.MeanWeights(module)
    optimizer = torch_onestage_training.optimizer_of(module)
    forward: Any = torch.compile(module) if compiled else module

    def step() -> float:
        targets = torch_onestage_loss.assign_batch(points, segments, [torch.zeros(1, dtype=torch.long)] * rows, classes)
        loss = torch_onestage_loss.one_stage_loss(*forward(x, mask).flat(), targets, normalizer)[0]
        return torch_onestage_training.step(module, optimizer, loss, 1e-4, means)

    return step


def onestage_predict(rows: int, snippets: int, channels: int, classes: int, compiled: bool = False) -> Step:
    """Classes and distances of all points; decoding and NMS are not counted on this side."""
    module = torch_actionformer.OneStage(_pyramid(channels, classes)).eval()
    x, mask = torch.randn(rows, channels, snippets), torch.ones(rows, 1, snippets, dtype=torch.bool)

    def step() -> Any:
        with torch.inference_mode():
            return module(x, mask)

    return step


MEASURED_RECORDINGS = 4  # of the Python loop, which takes seconds for all of them: its time is scaled up


def nms(rows: int, proposals: int, compiled: bool = False) -> Step:
    """The published loop over Python lists, one recording after the other."""
    segments, scores = nms_inputs(rows, proposals)

    def iou(s1: float, e1: float, s2: float, e2: float) -> float:
        if s2 > e1 or s1 > e2:
            return 0.0
        overlap = min(e1, e2) - max(s1, s2)
        return overlap / ((e1 - s1) + (e2 - s2) - overlap)

    def one(segment: np.ndarray, score: np.ndarray) -> list[float]:
        starts, ends, left = list(segment[:, 0]), list(segment[:, 1]), list(score)
        kept: list[float] = []
        while len(left) > 1 and len(kept) < 100:
            best = left.index(max(left))
            for i in range(len(left)):
                if i != best:
                    overlap = iou(starts[best], ends[best], starts[i], ends[i])
                    if overlap > 0:
                        left[i] = left[i] * np.exp(-np.square(overlap) / 0.4)
            kept.append(left[best])
            for values in (starts, ends, left):
                values.pop(best)
        return kept

    return lambda: [one(segments[i], scores[i]) for i in range(MEASURED_RECORDINGS)]


def records_(records: int, compiled: bool = False) -> Step:
    """One `np.load` per recording, in random order."""
    from benchmarks.inputs import records as made

    folder = made(records)[1]
    order = np.random.default_rng(0).permutation(records)
    return lambda: float(sum(np.load(folder / f"r{i:05d}.npy")[0, 0] for i in order))


def attention(snippets: int, compiled: bool = False) -> Step:
    """Dense attention under a mask that hides the outside of the window."""
    q, k, v = (torch.from_numpy(x).transpose(1, 2) for x in attention_inputs(snippets))
    at = torch.arange(snippets)
    hidden = (at[:, None] - at[None]).abs() > 4

    @torch.no_grad()
    def step() -> torch.Tensor:
        scores = (q * 0.125) @ k.transpose(-1, -2)
        return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v

    return step


def encoder(rows: int, name: str, compiled: bool = False) -> Step:
    """The features of clips, already normalised."""
    make, images, side = torch_encoders.ENCODERS[name]
    clips = torch.randn(rows, 3, images, side, side)
    module: Any = make().eval()
    forward = torch.compile(module) if compiled else module

    def step() -> Any:
        with torch.inference_mode():
            return forward(clips)

    return step


def recognition(rows: int, classes: int = 400, compiled: bool = False) -> Step:
    """A training step of TSM's ResNet-50 on images that are normalised already."""
    clips, labels = torch.randn(rows, 3, 8, 224, 224), torch.arange(rows)
    module: Any = torch_recognition.Recognizer(torch_encoders.TSM(8), 2048, classes).train()
    optimizer = torch_recognition.optimizer_of(module, torch_recognition.Recipe(decay=1e-4))
    forward = torch.compile(module) if compiled else module

    def step() -> float:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(forward(clips), labels)
        value.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 20)
        optimizer.step()
        return value.item()

    return step


MAKERS: dict[str, Callable[..., Step]] = {
    "tcanet": tcanet,
    "tcanet_predict": tcanet_predict,
    "bmn": bmn,
    "mgfn": mgfn,
    "onestage": onestage,
    "onestage_predict": onestage_predict,
    "nms": nms,
    "records": records_,
    "attention": attention,
    "encoder": encoder,
    "recognition": recognition,
}
SCALE = {"nms": lambda sizes: sizes["rows"] / MEASURED_RECORDINGS}
