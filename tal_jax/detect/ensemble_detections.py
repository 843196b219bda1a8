"""Fusion of several systems' detections: scores brought to one height, union, and one NMS between systems."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from tal_jax.checks.units import FEW, are_fractions, refusal
from tal_jax.detect.ensemble_weights import normalized
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import SegmentTable, temporal_iou
from tal_jax.ops.nms import soft_nms_order
from tal_jax.types import Detections

BATCH = 64  # recordings at a time
SAME_SECONDS = 1e-3  # segments whose ends are as close are the same segment
MAX_SYSTEMS = 31  # each is one bit of an int32


def fuse(
    submissions: Sequence[Submission],
    weights: Sequence[float],
    *,
    method: str = "nms",
    sigma: float = 0.4,
    voting_iou: float = 0.6,
    detections: int = 200,
    advance: Callable[[int], Any] = lambda n: None,
) -> Submission:
    """Fuses detections recording by recording; a system alone, or with itself, comes out as it went in.

    1. A system's scores are divided by its best one in the recording and multiplied by the weighted mean of all
       systems' best ones: systems of different confidence count by their weights alone, and the recording keeps its
       place among the others.
    2. The union: the same segment of the same class is one detection with the sum of weight x score.
    3. "nms": Gaussian soft-NMS in which systems suppress each other's detections, not their own, which went through
       their own NMS. "voting" moves each detection that is left by those of other systems that overlap it: the mean of
       the ends, weighted by score x IoU.

    Args:
      submissions: the detections of N systems. One that does not list a recording has no say in it.
      weights: [N] numbers from 0 on, not all 0; over the systems that list a recording they are made to sum to 1.
      method: "nms" or "voting".
      sigma: the width of the soft-NMS's Gaussian.
      voting_iou: the temporal IoU from which on a detection votes on the ends of another.
      detections: how many are kept for each recording.
      advance: called with the number of recordings that were finished.

    Returns:
      The detections of all recordings, best first, in seconds.

    Raises:
      InputError: there are more than 31 systems, another number of weights, weights that are negative or all 0,
        proposals beside detections, or no recording in any system.
    """
    if method not in ("nms", "voting"):
        raise InputError(f"method {method!r}: there are nms and voting")
    if len(submissions) > MAX_SYSTEMS:
        raise InputError(f"{len(submissions)} systems: at most {MAX_SYSTEMS}")
    checked = np.asarray(weights, np.float64)
    if (
        checked.shape != (len(submissions),)
        or not np.isfinite(checked).all()
        or (checked < 0).any()
        or not checked.any()
    ):
        raise InputError(f"weights {list(weights)}: {len(submissions)} numbers from 0 on are needed, not all of them 0")
    ids = tuple(dict.fromkeys(id for s in submissions for id in s.recordings))
    labels = tuple(dict.fromkeys(label for s in submissions for label in s.labels))
    unlabelled = [bool((s.table.label < 0).any()) for s in submissions if len(s.table)]
    if any(unlabelled) and not all(unlabelled):
        raise InputError("proposals of some systems and detections of others: fuse one kind")
    if not ids:
        raise InputError('none of the systems lists a recording: give files whose "results" are not empty')
    found = [_by_recording(submission, labels) for submission in submissions]
    parts = [_union([tables.get(id) for tables in found], checked) for id in ids]
    fused: list[SegmentTable] = []
    for at in range(0, len(parts), BATCH):
        group = parts[at : at + BATCH]
        for (table, systems), kept in zip(group, _suppressed(group, sigma, detections), strict=True):
            fused.append(_voted(table, systems, kept, voting_iou) if method == "voting" else _taken(table, kept))
            advance(1)
    return Submission(
        ids,
        labels,
        SegmentTable(
            recording=np.repeat(np.arange(len(fused)), [len(t) for t in fused]),
            label=np.concatenate([t.label for t in fused]),
            segments=np.concatenate([t.segments for t in fused]),
            score=np.concatenate([t.score for t in fused]),
        ),
    )


def check_units(submissions: Sequence[Submission], names: Sequence[str]) -> None:
    """Raises InputError where one system's times are fractions of the recordings, which the others' show."""
    last: list[dict[str, float]] = []
    for submission in submissions:
        ends = np.zeros(len(submission.recordings))
        np.maximum.at(ends, submission.table.recording, submission.table.segments[:, 1])
        last.append(dict(zip(submission.recordings, ends.tolist(), strict=True)))
    for n, (submission, name) in enumerate(zip(submissions, names, strict=True)):
        others = [own for m, own in enumerate(last) if m != n]
        lengths = [max((own.get(id, 0.0) for own in others), default=0.0) for id in submission.recordings]
        ends = submission.table.segments[:, 1]
        if len(ends) >= FEW and are_fractions(ends, lengths):
            raise refusal(name, lengths, "multiply them by the durations")


def _by_recording(submission: Submission, labels: Sequence[str]) -> dict[str, SegmentTable]:
    """The detections of every recording that a system lists, with `labels` for its own."""
    number = {name: i for i, name in enumerate(labels)}
    names = np.array([number[name] for name in submission.labels] + [-1], np.int64)
    table = submission.table
    order = np.argsort(table.recording, kind="stable")
    table = SegmentTable(table.recording, names[table.label], table.segments, table.score).take(order)
    bounds = np.searchsorted(table.recording, np.arange(len(submission.recordings) + 1))
    return {id: table.take(np.arange(bounds[i], bounds[i + 1])) for i, id in enumerate(submission.recordings)}


def _union(found: Sequence[SegmentTable | None], weights: np.ndarray) -> tuple[SegmentTable, np.ndarray]:
    """Steps 1 and 2 for a recording: its detections, best first, and the systems that found each, as bits."""
    own = [(n, table) for n, table in enumerate(found) if table is not None]
    share = np.array(normalized([weights[n] for n, _ in own]))
    best = [table.score.max(initial=0.0) for _, table in own]
    height = float(share @ best)
    rows: dict[tuple[int, ...], int] = {}
    segments: list[np.ndarray] = []
    scores: list[float] = []
    systems: list[int] = []
    for w, top, (n, table) in zip(share, best, own, strict=True):
        times: dict[tuple[int, ...], int] = {}  # what a system gave twice stays two
        grid = np.round(table.segments / SAME_SECONDS).astype(np.int64).tolist()
        for label, place, segment, score in zip(
            table.label.tolist(), grid, table.segments, table.score.tolist(), strict=True
        ):
            key = (label, *place)
            times[key] = times.get(key, 0) + 1
            at = rows.setdefault((*key, times[key]), len(rows))
            if at == len(scores):
                segments.append(segment)
                scores.append(0.0)
                systems.append(0)
            scores[at] += w * score * (height / top if top > 0 else 0.0)
            systems[at] |= 1 << n
    order = np.argsort(-np.array(scores), kind="stable")
    table = SegmentTable(
        np.zeros(len(rows), np.int64),
        np.array([label for label, *_ in rows], np.int64)[order],
        np.array(segments).reshape(-1, 2)[order],
        np.array(scores)[order],
    )
    return table, np.array(systems, np.int64)[order]


def _suppressed(
    group: Sequence[tuple[SegmentTable, np.ndarray]], sigma: float, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows that are kept, best first, and their scores after soft-NMS."""
    size = 1 << max(max(len(table) for table, _ in group) - 1, 1).bit_length()
    d = Detections(
        segments=np.zeros((BATCH, size, 2), np.float32),
        labels=np.zeros((BATCH, size), np.int32),
        scores=np.zeros((BATCH, size), np.float32),
        mask=np.zeros((BATCH, size), bool),
    )
    systems = np.zeros((BATCH, size), np.int32)
    for i, (table, bits) in enumerate(group):
        n = len(table)
        d.segments[i, :n], d.labels[i, :n], d.scores[i, :n] = table.segments, table.label, table.score
        systems[i, :n], d.mask[i, :n] = bits, True
    order, scores, kept = jax.device_get(_order(d, systems, sigma, min(count, size)))
    return [(order[i][kept[i]], scores[i][kept[i]]) for i in range(len(group))]


@functools.partial(jax.jit, static_argnums=3)
def _order(d: Detections, systems: np.ndarray, sigma: float, count: int) -> tuple[Any, Any, Any]:
    return soft_nms_order(d, systems=systems, sigma=sigma, top_k=count)


def _taken(table: SegmentTable, kept: tuple[np.ndarray, np.ndarray]) -> SegmentTable:
    rows, scores = kept
    one = table.take(rows)
    return SegmentTable(one.recording, one.label, one.segments, scores.astype(np.float64))


def _voted(table: SegmentTable, systems: np.ndarray, kept: tuple[np.ndarray, np.ndarray], least: float) -> SegmentTable:
    one, own = _taken(table, kept), systems[kept[0]]
    iou = temporal_iou(one.segments[:, None], table.segments[None])  # [kept, all]
    votes = (one.label[:, None] == table.label[None]) & (iou >= least) & ((own[:, None] & systems[None]) == 0)
    weight = np.where(votes, iou * table.score[None], 0.0)
    itself = table.score[kept[0]]
    total = itself + weight.sum(axis=1)
    ends = itself[:, None] * one.segments + weight @ table.segments
    moved = np.where(total[:, None] > 0, ends / np.where(total > 0, total, 1.0)[:, None], one.segments)
    return SegmentTable(one.recording, one.label, moved, one.score)
