"""The prediction loop with a task that knows the truth: windows, seams and units add nothing and lose nothing."""

import numpy as np
import pytest
from support.sensor_set import prepare_set

from tal_jax import windows
from tal_jax.data.dataset import open_split
from tal_jax.data.rows import Assembler
from tal_jax.devices.mesh import make_mesh
from tal_jax.ops.nms import soft_nms
from tal_jax.stages.predictor import Predictor, truth_table
from tal_jax.types import Detections
from tal_jax.windows import Framing


class Oracle:
    """Detects the ground truth that reaches it."""

    def predict(self, params, batch):
        """Every real segment, with the same score."""
        scores = np.ones(batch.segments.shape[:2], np.float32)
        return Detections(batch.segments, batch.segment_labels, scores * params, batch.segment_mask)

    def merge(self, detections):
        """Hard NMS."""
        return soft_nms(detections, method="hard", threshold=0.3, top_k=detections.scores.shape[-1], min_score=1e-6)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    prepare_set(folder, training=5, validation=1, length=70)
    return open_split(folder / "data", "training")


def detect(split, frame, batch_size=4):
    assembler = Assembler(framing=frame, streams=("imu",), width=3, num_classes=2, max_segments=16)
    predictor = Predictor(Oracle(), make_mesh())
    finished = []
    table = predictor(
        np.float32(0.5), split, assembler, index=np.arange(len(split)), batch_size=batch_size, advance=finished.append
    )
    assert sum(finished) == len(split)
    return table


# Windows of 20 snippets start elsewhere for each overlap: every seam moves through the actions.
@pytest.mark.parametrize(
    "frame",
    [Framing("window", 96), Framing("resize", 50)] + [Framing("window", 20, overlap=o) for o in (0.5, 0.55, 0.6, 0.7)],
)
def test_every_action_is_found_once_where_it_is(split, frame):
    found, truth = detect(split, frame), truth_table(split, np.arange(len(split)))
    whole = found.take(np.isclose(found.score, 0.5))
    assert len(whole) == len(truth)
    for column in ("recording", "label"):
        order = np.lexsort((whole.segments[:, 0], whole.recording))
        np.testing.assert_array_equal(getattr(whole, column)[order], getattr(truth, column))
    np.testing.assert_allclose(whole.segments[order], truth.segments, atol=1e-3)


def test_what_an_inner_edge_cuts_counts_less(split, monkeypatch):
    monkeypatch.setattr(windows, "EDGE_PENALTY", 1.0)
    found, truth = detect(split, Framing("window", 20, overlap=0.55)), truth_table(split, np.arange(len(split)))
    # Without it a piece of an action may win over the whole, seen by the next window.
    distance = np.abs(truth.segments[:, None] - found.segments[None]).max(axis=-1)
    distance[truth.recording[:, None] != found.recording[None]] = np.inf
    assert distance.min(axis=1).max() > 0.25


def test_too_many_candidates_are_cut_to_the_best(split, monkeypatch):
    monkeypatch.setattr(windows, "MERGE_CANDIDATES", 3)
    found = detect(split, Framing("window", 20, overlap=0.5))
    assert np.bincount(found.recording).max() <= 3
    assert len(found)
