"""The one-stage task: decoding against loops, padding, classes from outside, proposals, and what configs may say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.pyramids import CLEAN, filled

from tal_jax.models.actionformer import ActionFormer, PyramidOutput
from tal_jax.models.pyramid import Points
from tal_jax.tasks.actionformer import POSITIVES, ActionFormerTask, PyramidProposalsTask
from tal_jax.tasks.pyramid_decoding import Decoding, decode_points, with_video_classes
from tal_jax.tasks.task import STATISTICS, DataFacts, Settings
from tal_jax.types import Batch, Detections

K = 3
POINTS = Points.of(32, 3)


def outputs(seed, by_class=False):
    rng = np.random.default_rng(seed)
    m = len(POINTS.position)
    mask = np.stack([POINTS.position < 32, POINTS.position < 13])
    logits = rng.normal(-3, 2, (2, m, K)).astype(np.float32)
    return PyramidOutput(logits, rng.uniform(0, 4, (2, m, K if by_class else 1, 2)).astype(np.float32), mask)


def oracle(output, row, decoding):
    """The published decoding in NumPy, of one row."""
    from benchmarks import torch_onestage_decoding as published

    settings = published.Decoding(
        decoding.least_score, decoding.candidates, decoding.least_length, decoding.sigma, decoding.least_score,
        decoding.detections, not decoding.class_agnostic, decoding.voting,
        "score_iou" if decoding.voting_by_iou else "score",
    )  # fmt: skip
    levels = [POINTS.level == level for level in range(3)]
    distances = [np.asarray(output.distances)[row, own] for own in levels]
    found = published.candidates(
        [np.asarray(output.class_logits)[row, own].T for own in levels],
        [d if d.shape[1] > 1 else d[:, 0].T for d in distances],
        [np.asarray(output.mask)[row, own] for own in levels],
        settings,
    )
    return published.decode(found, settings)


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(detections=40),
        Decoding(candidates=7, detections=25, sigma=0.9, least_score=0.05, least_length=1.0),
        Decoding(class_agnostic=True, voting=0.7, detections=20),
        Decoding(class_agnostic=True, voting=0.5, voting_by_iou=False, detections=20, sigma=0.75),
    ],
)
@pytest.mark.parametrize("by_class", [False, True])
def test_decoding_is_the_published_one(decoding, by_class):
    output = outputs(1, by_class)
    found = jax.jit(lambda o: decode_points(o, POINTS, 0.5, decoding))(output)
    for row in range(2):
        expected = oracle(output, row, decoding)
        count = int(found.mask[row].sum())
        assert count == len(expected.scores)
        assert found.mask[row, :count].all()
        np.testing.assert_allclose(found.scores[row, :count], expected.scores, rtol=1e-4)
        np.testing.assert_array_equal(found.labels[row, :count], expected.labels)
        np.testing.assert_allclose(found.segments[row, :count] - 0.5, expected.segments, atol=1e-4)


def test_votes_within_a_class_are_of_that_class():
    decoding = Decoding(voting=0.3, detections=30)
    output = outputs(2)
    voted = decode_points(output, POINTS, 0.5, decoding)
    rolled = dataclasses.replace(output, class_logits=np.where(np.arange(K) == 0, output.class_logits, -20.0))
    alone = decode_points(rolled, POINTS, 0.5, decoding)
    for row in range(2):
        own = np.asarray(voted.labels[row]) == 0
        count = own.sum()
        assert count
        np.testing.assert_allclose(voted.segments[row, own], alone.segments[row, :count], atol=1e-4)


def test_classes_of_the_recording():
    found = Detections(
        segments=jnp.array([[[0.0, 2], [3, 5], [0, 0]]]),
        labels=jnp.zeros((1, 3), jnp.int32),
        scores=jnp.array([[0.64, 0.16, 0.0]]),
        mask=jnp.array([[True, True, False]]),
    )
    joined = with_video_classes(found, jnp.array([[0.25, 0.0, 1.0]]), 2, 200)
    real = np.asarray(joined.mask[0])
    np.testing.assert_allclose(joined.scores[0, real], [0.8, 0.4, 0.4, 0.2], rtol=1e-6)
    assert joined.labels[0, real].tolist() == [2, 0, 2, 0]
    assert joined.segments[0, real, 0].tolist() == [0, 0, 3, 3]
    one = with_video_classes(found, jnp.array([[0.25, 0.0, 1.0]]), 1, 1)
    assert np.asarray(one.mask).sum() == 1


@pytest.fixture(scope="module")
def task():
    return ActionFormerTask(CLEAN["attention"], decoding=Decoding(detections=20))


def batch(lengths, snippets, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.arange(snippets)[None] < np.array(lengths)[:, None]
    features = rng.normal(size=(len(lengths), snippets, 6)).astype(np.float32) * mask[..., None]
    start = rng.uniform(0, 0.6, (len(lengths), 4)) * np.array(lengths)[:, None]
    segments = np.stack([start, start + rng.uniform(1, 8, start.shape)], -1).astype(np.float32)
    return Batch.make(
        features, mask, segments=np.minimum(segments, np.array(lengths, np.float32)[:, None, None]), num_classes=K,
        segment_labels=rng.integers(0, K, start.shape).astype(np.int32),
    )  # fmt: skip


def begun(task, rows):
    return {**filled(task.model, 6), STATISTICS: {POSITIVES: jnp.float32(task.normalizer)}}


def test_padding_and_the_order_of_rows_change_neither_loss_nor_detections(task):
    rows = batch((40, 25), 40)
    params = begun(task, rows)
    calm = task.without_noise()
    wide = dataclasses.replace(
        rows,
        features=np.pad(rows.features, ((0, 0), (0, 24), (0, 0)), constant_values=9.0),
        mask=np.pad(rows.mask, ((0, 0), (0, 24))),
        segments=np.pad(rows.segments, ((0, 0), (0, 3), (0, 0))),
        segment_labels=np.pad(rows.segment_labels, ((0, 0), (0, 3))),
        segment_mask=np.pad(rows.segment_mask, ((0, 0), (0, 3))),
    )
    turned = jax.tree.map(lambda x: x[::-1], rows)
    loss = jax.jit(calm.loss)
    a, b, c = (loss(params, r, jax.random.key(0))[0] for r in (rows, wide, turned))
    assert a == pytest.approx(float(b), rel=1e-5) == pytest.approx(float(c), rel=1e-5)
    found, other = jax.jit(task.predict)(params, rows), jax.jit(task.predict)(params, wide)
    np.testing.assert_allclose(found.scores, other.scores, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.segments, other.segments, atol=1e-3)
    assert (np.asarray(found.segments[1]) <= 25).all()


def test_the_number_of_positives_is_carried_on(task):
    rows = batch((40, 25), 40)
    params = begun(task, rows)
    loss, metrics = jax.jit(task.loss)(params, rows, jax.random.key(0))
    after = float(metrics[STATISTICS][POSITIVES])
    assert 0.9 * task.normalizer < after < task.normalizer
    # Were it twice as large, all of the loss would be half.
    double = {**params, STATISTICS: {POSITIVES: jnp.float32(2 * after / 0.9 - (after - 0.9 * 100) / 0.9)}}
    other, rest = jax.jit(task.loss)(double, rows, jax.random.key(0))
    assert float(rest[STATISTICS][POSITIVES]) == pytest.approx(2 * after, rel=1e-5)
    assert float(loss) == pytest.approx(2 * float(other), rel=1e-5)
    assert set(task.init(jax.random.key(0), rows)) == {"params", STATISTICS}


def test_proposals_are_of_no_class(task):
    fields = {"hidden": 16, "levels": 3, "ffn": 24, "heads": 2, "windows": (5,)}
    facts = DataFacts(num_classes=K, stream_widths=(6,), snippets=40, scale=1.0, long_action=8.0)
    proposing = PyramidProposalsTask.from_config(fields, {"decoding": {"detections": 9}}, Settings(), facts)
    assert (proposing.makes, proposing.measured_by, proposing.needs({})) == ("proposals", "proposals", ())
    assert proposing.model.num_classes == 1
    rows = batch((40, 25), 40)
    params = begun(proposing, rows)
    found = jax.jit(proposing.predict)(params, rows)
    assert found.segments.shape == (2, 9, 2)
    assert (np.asarray(found.labels) == -1).all()
    others = dataclasses.replace(rows, segment_labels=(rows.segment_labels + 1) % K)
    key = jax.random.key(0)
    assert proposing.loss(params, rows, key)[0] == proposing.loss(params, others, key)[0]


def test_classes_from_outside_make_the_network_class_agnostic():
    facts = DataFacts(num_classes=K, stream_widths=(2, 4), snippets=40, scale=1.0, long_action=8.0)
    fields = {"hidden": 16, "levels": 3, "ffn": 24, "heads": 2, "stream_hidden": (4, 8)}
    task = ActionFormerTask.from_config(fields, {"classes": "video"}, Settings(), facts)
    assert (task.model.num_classes, task.model.stream_widths) == (1, (2, 4))
    assert ActionFormerTask.needs({"classes": "video"}) == ("class_scores",)
    rows = dataclasses.replace(batch((40, 25), 40), class_scores=np.float32([[0.1, 0.9, 0], [1, 0, 0]]))
    found = jax.jit(task.predict)(begun(task, rows), rows)
    assert set(np.unique(found.labels[0, found.mask[0]])) == {0, 1}
    assert set(np.unique(found.labels[1, found.mask[1]])) == {0}
    assert np.isfinite(task.loss(begun(task, rows), rows, jax.random.key(0))[0])


def test_outputs_of_several_models_are_averaged(task):
    rows = batch((40, 25), 40)
    output = task.forward(begun(task, rows), rows)
    same = task.fuse_outputs([output, output], jnp.array([0.3, 0.7]))
    np.testing.assert_allclose(same.class_logits, output.class_logits, atol=1e-4)
    np.testing.assert_allclose(same.distances, output.distances, rtol=1e-5)
    assert task.alike(40) == task.alike(38) != task.alike(64)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"classes": "both"}, "classes is 'head' or 'video', not 'both'"),
        ({"ranges": ((0.0, 4.0),)}, "ranges has 1 entries for 3 levels"),
        ({"classes": "video"}, "classes='video' is for model.num_classes=1, not 3"),
    ],
)
def test_options_out_of_range_are_refused(task, fields, text):
    with pytest.raises(ValueError, match=text):
        ActionFormerTask(task.model, **fields)


def test_ranges_double_from_level_to_level():
    task = ActionFormerTask(ActionFormer(K, 16, levels=4, heads=2))
    assert task.level_ranges == ((0, 4), (4, 8), (8, 16), (16, float("inf")))
