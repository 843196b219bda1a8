"""Trials: what a setting of the decoding scores on composites, whatever the pieces, devices and classes left out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.clip_set import Memory

from tal_jax.data.composites import Composites, Composition, Excerpt, Insertion, compose
from tal_jax.data.rows import Assembler
from tal_jax.devices.mesh import make_mesh
from tal_jax.evaluation.segment_table import SegmentTable
from tal_jax.experiments import tune_trials as trials
from tal_jax.experiments.tune_trials import Outputs, Trials, prepare_trials, selectable
from tal_jax.models.mgfn import MGFN, MGFNOutput
from tal_jax.tasks.cas_decoding import Decoding
from tal_jax.tasks.mgfn import MGFNTask
from tal_jax.types import Batch
from tal_jax.windows import Framing


def outputs_of(sequence, probabilities, *, offsets=None, stride=0.5):
    """Outputs from a sequence [N, T, K] of logits."""
    n, t, k = sequence.shape
    offsets = np.zeros((n, t, 0, 2), np.float32) if offsets is None else offsets
    batch = Batch.make(np.zeros((n, t, 0), np.float32), num_classes=k, stride=np.full(n, stride, np.float32))
    return Outputs(sequence.astype(np.float32), offsets, probabilities.astype(np.float32), batch)


def random_outputs(n=5, t=24, k=12, anchors=0, seed=0):
    rng = np.random.default_rng(seed)
    sequence = np.cumsum(rng.normal(size=(n, t, k)), axis=1)
    offsets = rng.normal(0, 0.1, (n, t, anchors, 2)).astype(np.float32)
    return outputs_of(sequence, rng.uniform(size=(n, k)) ** 4, offsets=offsets)


@functools.partial(jax.jit, static_argnums=0)
def decoded(task, outputs, decoding):
    nothing = jnp.zeros((0, *outputs.batch.mask.shape), bool)
    output = MGFNOutput((), outputs.sequence, nothing, outputs.offsets)
    return task.decode((output, outputs.probabilities), outputs.batch, decoding)


@pytest.mark.parametrize("anchors", [(), (3.0, 6.0)])
def test_classes_that_no_setting_selects_change_nothing(anchors):
    task = MGFNTask(MGFN(12, anchors=anchors), thresholds=4, candidates=30, detections=15)
    whole = random_outputs(anchors=len(anchors))
    whole.sequence[..., 3] = whole.sequence[..., 7]  # ties, where the probability has no weight
    whole.probabilities[:, [3, 7]] = 0.5, 0.9
    fewer, classes = selectable(whole, 0.2)
    assert classes.shape[1] == (whole.probabilities >= 0.2).sum(axis=1).max() < 12
    for threshold, weight in ((0.2, 0.25), (0.4, 0.0), (1.1, 0.25)):
        decoding = Decoding(class_threshold=threshold, class_weight=weight)
        want, got = decoded(task, whole, decoding), decoded(task, fewer, decoding)
        assert want.mask.any()
        for name in ("mask", "scores", "segments"):
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
        labels = np.take_along_axis(classes, np.maximum(got.labels, 0), axis=1)
        np.testing.assert_array_equal(np.where(got.mask, labels, -1), want.labels)


def trial(outputs, truth, ignored=(), task=None, **kwargs):
    """Trials over windows; truth: rows (window, label, start, end), ignored: pairs (window, label)."""
    n, k = outputs.probabilities.shape
    hidden = np.zeros((n, k), bool)
    for pair in ignored:
        hidden[pair] = True
    truth = np.array(truth, float)
    table = SegmentTable(truth[:, 0].astype(int), truth[:, 1].astype(int), truth[:, 2:], np.ones(len(truth)))
    task = task or MGFNTask(MGFN(k), thresholds=3, candidates=20, detections=10)
    labels = tuple(f"c{i}" for i in range(k))
    return Trials(task, outputs, table, hidden, labels, least_probability=0.05, mesh=make_mesh(), **kwargs)


def steps(n, t, k, *actions):
    """Logits [n, t, k]: low, and high on the given (window, label, start, end)."""
    x = np.full((n, t, k), -9.0)
    for window, label, start, end in actions:
        x[window, start:end, label] = 9.0
    return x


def test_perfect_sequences_score_one_and_ignored_classes_do_not_count():
    actions = [(0, 1, 3, 12), (1, 0, 10, 18), (2, 1, 4, 9)]
    host = [(0, 0, 14, 20), (1, 2, 1, 7), (2, 2, 12, 15)]  # of classes that the hosts are labelled with
    probabilities = np.full((3, 3), 0.9)
    probabilities[0, 0] = 0.95
    outputs = outputs_of(steps(3, 24, 3, *actions, *host), probabilities)
    pairs = [(w, k) for w, k, _, _ in host]
    assert trial(outputs, actions, pairs).score(Decoding(lowest=0.4, highest=0.6)) == 1
    # Not ignored, that of class 0 comes before the true one, which halves its precision; class 2 has no truth.
    assert trial(outputs, actions).score(Decoding(lowest=0.4, highest=0.6)) == 0.75
    table = trial(outputs, actions, pairs).detections(Decoding(lowest=0.4, highest=0.6))
    assert {(int(r), int(k)) for r, k in zip(table.recording, table.label, strict=True)} == {(0, 1), (1, 0), (2, 1)}
    assert (np.diff(table.segments, axis=1) > 0).all()


def test_labels_are_those_of_all_classes():
    """One class of five is likely in each window: decoding sees that one alone."""
    actions = [(0, 4, 3, 12), (1, 2, 10, 18), (2, 3, 4, 9)]
    probabilities = np.full((3, 5), 0.01)
    probabilities[[0, 1, 2], [4, 2, 3]] = 0.9
    made = trial(outputs_of(steps(3, 24, 5, *actions), probabilities), actions)
    assert {piece.sequence.shape[2] for piece in made._pieces} == {1}
    assert made.score(Decoding(lowest=0.4, highest=0.6)) == 1


def test_pieces_and_devices_change_nothing(monkeypatch):
    outputs = random_outputs(n=11, k=3)
    truth = [(i, i % 3, 4 + i % 5, 12 + i % 7) for i in range(11)]
    once = trial(outputs, truth)
    assert len(once._pieces) == 2  # 8 rows on four devices, and the rest
    monkeypatch.setattr(trials, "BUDGET", 1)
    pieces = trial(outputs, truth)
    assert len(pieces._pieces) == 3  # a row for each of the four devices
    for decoding in (Decoding(), Decoding(smoothing=2.0, class_threshold=0.5)):
        a, b = once.detections(decoding), pieces.detections(decoding)
        assert len(a)
        assert set(a.recording.tolist()) <= set(range(11))
        for name in ("recording", "label", "segments", "score"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert once.score(decoding) == pieces.score(decoding) > 0


def composition(present, *actions, stride=0.5, length=30):
    """A composite of a host of `length` snippets; actions: (snippets of the host before it, label, snippets)."""
    inserted = tuple(Insertion(before, label, ((None, n),)) for before, label, n in actions)
    return Composition(0, 0, length, stride, present, inserted)


def test_the_truth_of_windows():
    """Windows of 20 snippets from 0 s, 4 s and 9.5 s; actions at 2 to 5 s and 8 to 12 s."""
    composites = Composites(
        Memory([(0.5, np.zeros((30, 1)), [2])], "abc"), ["x"], [composition((2,), (4, 0, 6), (10, 1, 8))]
    )
    windows = outputs_of(np.zeros((3, 20, 3)), np.zeros((3, 3))).batch
    truth, ignored = trials._truth(composites, [(0, 0.0), (0, 4.0), (0, 9.5)], windows)
    rows = zip(truth.recording, truth.label, truth.segments.tolist(), strict=True)
    # In the second window a third of the first action is left, in the first and the third enough of the second one.
    assert [(int(r), int(k), *s) for r, k, s in rows] == [(0, 0, 4, 10), (0, 1, 16, 20), (1, 1, 8, 16), (2, 1, 0, 5)]
    assert np.argwhere(ignored).tolist() == [[0, 2], [1, 0], [1, 2], [2, 2]]


class Oracle(MGFNTask):
    """Reads the classes off the features."""

    def forward(self, params, batch, labels=None):
        sequence = 18.0 * batch.features - 9.0
        nothing = jnp.zeros((0, *batch.mask.shape), bool)
        probabilities = jnp.max(jnp.where(batch.mask[..., None], batch.features, 0.0), axis=1)
        return MGFNOutput((), sequence, nothing, jnp.zeros((*batch.mask.shape, 0, 2))), probabilities


@pytest.mark.parametrize(
    ("framing", "least"),
    [
        (Framing("window", 64), 1.0), (Framing("window", 24), 1.0), (Framing("window", 24, overlap=0.0), 1.0),
        (Framing("window", 32, scale=2.0), 0.95), (Framing("resize", 64), 0.95),
    ],
)  # fmt: skip
def test_truth_and_features_agree_through_the_pipeline(framing, least):
    """Whoever knows the snippets' classes finds every action, and nothing else: in windows, resized and coarser."""
    rng = np.random.default_rng(0)
    hosts = [(0.5, np.zeros((int(n), 3), np.float32), [i % 3]) for i, n in enumerate(rng.integers(30, 60, 9))]
    for _, x, labels in hosts:
        x[5:15, labels] = 1  # where the host's class is does not matter
    clips = Memory([(0.5, np.eye(3, dtype=np.float32)[[i % 3] * (5 + i)], [i % 3]) for i in range(6)])
    drawn = [Excerpt(clips, i, 0, 5 + i, 0.5, i % 3) for i in range(6)]
    found = compose(Memory(hosts, "abc"), np.arange(9), drawn, streams=["x"], framing=framing, count=20, seed=0)
    rows = Assembler(framing=framing, streams=("x",), width=3, num_classes=3, max_segments=0, weak=True)
    task = Oracle(MGFN(3), thresholds=3, candidates=40, detections=20)
    made = prepare_trials(task, {}, found, rows, batch_size=8, least_probability=0.05, mesh=make_mesh())
    assert made.score(Decoding(lowest=0.45, highest=0.55)) >= least
    assert made.score(Decoding(lowest=0.45, highest=0.55, smoothing=10.0)) < 0.9
