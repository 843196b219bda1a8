"""Averages of models' outputs: by loops, across strides, and of a model with itself, which change nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import make_batch
from support.parameters import random_params

from tal_jax.models.bmn import BMN, BMNOutput
from tal_jax.models.classifier import VideoClassifier
from tal_jax.models.mgfn import MGFN
from tal_jax.models.tcanet import TCANet
from tal_jax.tasks.bmn import BMNTask
from tal_jax.tasks.classifier import ClassifierTask
from tal_jax.tasks.fusion import along, durations, mean, mean_of_logits
from tal_jax.tasks.mgfn import MGFNTask
from tal_jax.tasks.tcanet import TCANetTask

BATCH = make_batch()
K = BATCH.labels.shape[-1]
TASKS = {
    "bmn": BMNTask(
        model=BMN(durations=8, groups=2, bins=4, points=2, hidden=8, proposal_hidden=4, map_hidden=8, map_conv_hidden=4)
    ),
    "tcanet": TCANetTask(
        model=TCANet(
            num_classes=K, hidden=8, groups=2, encoders=1, heads=2, local_heads=1, window=3, ffn=8, stages=2,
            regressor_hidden=8, frame_hidden=4, context=4, inside=8,
        ),
        thresholds=(0.5, 0.6),
        confidence_stages=(1,),
        classes="head",
    ),
    "mgfn": MGFNTask(model=MGFN(num_classes=K, hidden=8, branch_hidden=4, anchors=(3.0, 6.0), cascade=True)),
    "classifier": ClassifierTask(model=VideoClassifier(num_classes=K, hidden=8)),
}  # fmt: skip


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def made(task, seed):
    return random_params(task.init, BATCH, seed=seed)


@settings(max_examples=20, deadline=None)
@given(n=st.sampled_from([1, 3, 8]), size=st.sampled_from([1, 4, 8, 13]), seed=st.integers(0, 99))
def test_along_is_linear_between_centres(n, size, seed):
    x = np.random.default_rng(seed).normal(size=(2, n, 3)).astype(np.float32)
    centre = (np.arange(n) + 0.5) / n
    expected = [[np.interp((np.arange(size) + 0.5) / size, centre, x[b, :, c]) for c in range(3)] for b in range(2)]
    np.testing.assert_allclose(along(x, size), np.moveaxis(expected, 1, 2), atol=1e-5)


def test_durations_are_lengths_of_the_same_frame():
    """Entry d is of d + 1 snippets: 8 snippets of a frame of 16 are 4 of one of 8."""
    x = np.arange(1, 9, dtype=np.float32)[None, None] / 16  # each says its length
    np.testing.assert_allclose(durations(x, 4, (16, 8))[0, 0], np.arange(1, 5) / 8, atol=1e-6)
    np.testing.assert_array_equal(durations(x, 8, (16, 16)), x)
    longer = durations(x[..., :4], 6, (16, 16))[0, 0]
    np.testing.assert_allclose(longer, [1 / 16, 2 / 16, 3 / 16, 4 / 16, 4 / 16, 4 / 16])


def test_means_by_hand():
    a, b = np.array([0.0, 2.0, -3.0], np.float32), np.array([1.0, -2.0, -3.0], np.float32)
    weights = np.array([0.25, 0.75], np.float32)
    np.testing.assert_allclose(mean([a, b], weights), 0.25 * a + 0.75 * b, rtol=1e-6)
    p = 0.25 * sigmoid(a) + 0.75 * sigmoid(b)
    np.testing.assert_allclose(mean_of_logits([a, b], weights), np.log(p / (1 - p)), rtol=1e-5, atol=1e-6)
    far = np.array([-60.0, -20.0, 20.0, 60.0], np.float32)  # where 1 - p is lost in rounding
    np.testing.assert_allclose(mean_of_logits([far, far], np.array([0.3, 0.7], np.float32)), far, rtol=1e-5)


def test_means_of_positions_are_no_matrix_products():
    """Whose precision is the device's: with bfloat16 products, positions near 1,000 move by snippets."""
    rng = np.random.default_rng(0)
    values = [rng.uniform(990, 1000, (2, 5, 2)).astype(np.float32) for _ in range(3)]
    weights = np.array([0.2, 0.5, 0.3], np.float32)
    with jax.default_matmul_precision("bfloat16"):
        found = jax.jit(mean)(values, weights)
        program = jax.make_jaxpr(mean)(values, weights)
    exact = sum(w * x.astype(float) for w, x in zip(weights.astype(float), values, strict=True))
    np.testing.assert_allclose(found, exact, atol=1e-3)
    assert "dot_general" not in str(program)


@pytest.mark.parametrize("kind", TASKS)
def test_a_model_with_itself_changes_nothing(kind):
    task = TASKS[kind]
    params = made(task, 1)

    @jax.jit
    def both(params, weights):
        output = task.forward(params, BATCH)
        return task.decode(task.fuse_outputs([output, output, output], weights), BATCH), task.predict(params, BATCH)

    together, alone = both(params, np.array([0.2, 0.5, 0.3], np.float32))
    assert np.asarray(alone.mask).sum() > 8
    for field in ("segments", "labels", "scores", "mask"):
        np.testing.assert_allclose(getattr(together, field), getattr(alone, field), atol=2e-5)


@pytest.mark.parametrize("kind", TASKS)
def test_weights_decide(kind):
    """All weight on one model gives its detections; half on each gives others than either's."""
    task = TASKS[kind]
    one, other = made(task, 1), made(task, 2)

    @jax.jit
    def fused(weights):
        return task.decode(task.fuse_outputs([task.forward(p, BATCH) for p in (one, other)], weights), BATCH)

    alone = [jax.jit(task.predict)(p, BATCH) for p in (one, other)]
    for weights, expected in (([1.0, 0.0], alone[0]), ([0.0, 1.0], alone[1])):
        np.testing.assert_allclose(fused(np.array(weights, np.float32)).scores, expected.scores, atol=2e-5)
    half = fused(np.array([0.5, 0.5], np.float32)).scores
    assert all(np.abs(np.asarray(half) - np.asarray(x.scores)).max() > 1e-3 for x in alone)


def test_maps_of_another_stride():
    """Outputs that are functions of where a cell lies in the frame, seen on 12 and on 24 snippets."""

    def seen(t, d):
        start = (np.arange(t) + 0.5) / t
        length = (np.arange(d) + 1) / t
        line = np.broadcast_to(0.3 + 0.4 * start, (4, t))
        grid = np.broadcast_to(0.2 + 0.3 * start[:, None] + 0.2 * length[None], (4, t, d))
        logits = [np.log(x / (1 - x)).astype(np.float32) for x in (line, line, grid, grid)]
        return BMNOutput(*logits, valid=np.ones((4, t, d), bool))

    fine, coarse = seen(24, 16), seen(12, 8)
    fused = TASKS["bmn"].fuse_outputs([coarse, fine], jnp.array([0.5, 0.5]))
    for name in ("start", "end", "regression", "classification"):
        inside = np.s_[:, 1:-1]  # beyond the outermost centres values are constant
        # Probabilities are linear, logits between two snippets nearly.
        np.testing.assert_allclose(
            sigmoid(getattr(fused, name))[inside], sigmoid(getattr(coarse, name))[inside], atol=2e-3
        )


def test_segments_of_another_stride():
    task = TASKS["tcanet"]
    output = jax.jit(task.forward)(made(task, 1), BATCH)
    t = BATCH.features.shape[1]
    stretched = dataclasses.replace(
        output,
        stages=tuple(dataclasses.replace(s, segments=2 * s.segments) for s in output.stages),
        snippet_logits=jnp.zeros((4, 2 * t, 0)),
    )
    fused = task.fuse_outputs([output, stretched], jnp.array([0.3, 0.7]))
    for a, b in zip(fused.stages, output.stages, strict=True):
        np.testing.assert_allclose(a.segments, b.segments, rtol=1e-5)
