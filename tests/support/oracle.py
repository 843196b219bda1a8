"""An exported model of one stage that detects what its input shows, and long recordings that show something."""

import jax
import numpy as np

from tal_jax.deploy.model import Model, Stage
from tal_jax.ops.nms import soft_nms
from tal_jax.types import Detections

ACTIONS = 10  # in one window, at most


def runs_of(row, mask):
    """[start, end) of the runs of ones."""
    padded = np.concatenate([[0], (row > 0.5) & mask, [0]])
    return np.flatnonzero(np.diff(padded)).reshape(-1, 2)


def shown(inputs):
    """Detects the runs of channel 0: class 0, score 0.9, at most ACTIONS of them."""
    b = len(inputs["mask"])
    found = {
        "segments": np.zeros((b, ACTIONS, 2), np.float32), "labels": np.zeros((b, ACTIONS), np.int32),
        "scores": np.zeros((b, ACTIONS), np.float32), "mask": np.zeros((b, ACTIONS), bool),
    }  # fmt: skip
    for i in range(b):
        runs = runs_of(inputs["features"][i, :, 0], inputs["mask"][i])
        n = len(runs)
        found["segments"][i, :n], found["scores"][i, :n], found["mask"][i, :n] = runs, 0.9, True
    return found


def merge(inputs):
    d = soft_nms(Detections(**inputs), sigma=0.4, top_k=inputs["scores"].shape[-1])
    return jax.device_get({"segments": d.segments, "labels": d.labels, "scores": d.scores, "mask": d.mask})


def model_of(framing, streams=None):
    model = Model.__new__(Model)
    model.path, model.labels, model.streams, model.stride, model.needs = None, ("a",), streams or {"x": 2}, 0.5, ()
    model.encoders, model._has_encoder = {}, False
    merges = {64 << i: merge for i in range(8)}
    model.stages = (Stage("s", "mgfn", "", framing, 0, 1, None, shown, merges),)
    return model


def long_recording(shift, count=13_500, seed=0):
    """Actions of 5 to 12 snippets all along, `shift` snippets later."""
    rng = np.random.default_rng(seed)
    x, truth, at = np.zeros((shift + count, 2), np.float32), [], shift + 3
    while at + 12 < len(x):
        n = int(rng.integers(5, 13))
        x[at : at + n, 0] = 1
        truth.append((at, at + n))
        at += n + int(rng.integers(4, 20))
    return x, np.array(truth)
