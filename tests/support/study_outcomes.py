"""Outcomes of a made-up study: detections that are off by some seconds."""

import numpy as np

from tal_jax.evaluation.detection import HIGH_TIOU, LOW_TIOU, evaluate_detections
from tal_jax.evaluation.segment_table import SegmentTable
from tal_jax.experiments.study_summary import Outcome

LABELS = ("a", "b")
RECORDINGS = 40


def outcome(row, seed, blur, fold="all", groups=None, **values):
    """Detections around the truth, off by `blur` seconds; recordings differ in how hard they are."""
    rng = np.random.default_rng(len(fold) if seed < 5 else seed)  # seed 5: another set
    recording = np.repeat(np.arange(RECORDINGS), 3)
    start = np.tile([2.0, 22.0, 42.0], RECORDINGS)
    truth = SegmentTable(
        recording, rng.integers(0, 2, len(start)), np.stack([start, start + 10], -1), np.ones(len(start))
    )
    rng = np.random.default_rng([seed, len(fold)])
    hard = np.repeat(rng.uniform(0.5, 2, RECORDINGS), 3)[:, None]
    segments = truth.segments + blur * hard * rng.choice([-1, 1], (len(start), 2))
    found = SegmentTable(recording, truth.label, segments, rng.uniform(0.1, 1, len(start)))
    if not values:
        values = {
            "average_mAP": evaluate_detections(truth, found, LABELS, HIGH_TIOU).average,
            "low_mAP": evaluate_detections(truth, found, LABELS, LOW_TIOU).average,
        }
    every = np.arange(RECORDINGS)
    return Outcome(row, fold, seed, values, truth, found, every, LABELS, every if groups is None else groups)
