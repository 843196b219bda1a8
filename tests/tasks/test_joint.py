"""Joint training: the parts are those of the two stages, both losses reach the encoder, and padding changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.batches import make_batch
from support.parameters import random_params

from tal_jax.losses.bmn import bmn_loss
from tal_jax.models.bmn import BMN
from tal_jax.models.joint import Joint, pooled_mean
from tal_jax.models.tcanet import TCANet
from tal_jax.tasks.bmn import BMNTask
from tal_jax.tasks.joint import JointTask
from tal_jax.tasks.tcanet import TCANetTask

K, P, POOL = 3, 5, 2
BATCH = make_batch(proposals=0, classes=K)
PROPOSER = BMN(durations=4, hidden=8, proposal_hidden=4, map_hidden=8, map_conv_hidden=4, groups=2, bins=4)
REFINER = TCANet(
    num_classes=K, groups=2, encoders=1, stages=1, context=4, inside=8, heads=4, local_heads=2, window=3,
    hidden=8, ffn=6, dropout=0.0, regressor_hidden=8, frame_hidden=4,
)  # fmt: skip
TASK = JointTask(
    model=Joint(PROPOSER, REFINER, POOL),
    bmn=BMNTask(PROPOSER, candidates=20, proposals=P),
    tcanet=TCANetTask(REFINER, thresholds=(0.5,), confidence_stages=(0,), candidates=12, detections=8),
    bmn_weight=3.0,
)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def params():
    return random_params(lambda key, batch: TASK.init(key, batch), BATCH)


@pytest.fixture(scope="module")
def output(params):
    return jax.jit(TASK.forward)(params, BATCH)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_pooling_is_the_mean_over_real_snippets(size):
    rng = np.random.default_rng(size)
    x = rng.normal(size=(3, 11, 2)).astype(np.float32)
    mask = np.arange(11)[None] < np.array([[11], [4], [0]])
    pooled, coarse = pooled_mean(jnp.asarray(x), jnp.asarray(mask), size)
    assert pooled.shape == (3, -(-11 // size), 2)
    for b in range(3):
        for i in range(pooled.shape[1]):
            real = [x[b, t] for t in range(size * i, min(size * (i + 1), 11)) if mask[b, t]]
            assert coarse[b, i] == bool(real)
            np.testing.assert_allclose(pooled[b, i], np.mean(real, axis=0) if real else np.zeros(2), atol=1e-6)


def test_the_regressors_refine_what_the_map_finds(params, output):
    own = {"params": params["params"]["tcanet"]}
    arguments = (BATCH.features, BATCH.mask, BATCH.duration, output.proposals.segments)
    alone = jax.jit(functools.partial(REFINER.apply, train=False))(own, *arguments)
    np.testing.assert_allclose(output.tcanet.stages[0].segments, alone.stages[0].segments, atol=1e-5)
    np.testing.assert_allclose(output.tcanet.stages[0].class_logits, alone.stages[0].class_logits, atol=1e-5)


def test_proposals_are_the_decoding_of_the_coarse_map_in_fine_snippets(output):
    coarse_mask = np.asarray(pooled_mean(jnp.asarray(BATCH.features), jnp.asarray(BATCH.mask), POOL)[1])
    np.testing.assert_array_equal(output.bmn.valid[:, :, 0], coarse_mask)  # what the loss takes for the mask
    coarse = BATCH.replace(mask=coarse_mask, duration=BATCH.duration / POOL)
    found = TASK.bmn.decode(output.bmn, coarse)
    assert found.mask.any()
    np.testing.assert_array_equal(output.proposals.mask, found.mask)
    np.testing.assert_allclose(output.proposals.segments, found.segments * POOL, atol=1e-5)
    assert (np.asarray(output.proposals.segments[..., 1]) <= np.asarray(BATCH.duration)[:, None] + 1e-5).all()


def test_the_loss_is_the_sum_of_both(params, output):
    """Without dropout and jitter, training sees what detection sees."""
    total, parts = jax.jit(TASK.loss)(params, BATCH, KEY)
    coarse_mask = np.asarray(output.bmn.valid[:, :, 0])
    proposing, _ = bmn_loss(output.bmn, BATCH.segments / POOL, BATCH.segment_mask, coarse_mask)
    batch = BATCH.replace(
        proposals=output.proposals.segments,
        proposal_scores=output.proposals.scores,
        proposal_mask=output.proposals.mask,
    )
    refining, more = TASK.tcanet.loss_of(output.tcanet, batch, KEY)
    np.testing.assert_allclose(total, refining + 3.0 * proposing, rtol=1e-4)
    assert set(parts) == {*more, "bmn_boundary", "bmn_regression", "bmn_classification"}


def test_both_losses_reach_the_encoder_and_only_their_own_heads(params):
    @jax.jit  # once: the weights are arguments
    def gradients(bmn_weight, w):
        tcanet = TCANetTask(
            REFINER, thresholds=(0.5,), confidence_stages=(0,), ends_weight=w, center_weight=w, confidence_weight=w,
            class_weight=w,
        )  # fmt: skip
        task = JointTask(TASK.model, TASK.bmn, tcanet, bmn_weight)
        g = jax.grad(lambda p: task.loss(p, BATCH, KEY)[0])(params)["params"]
        return {"encoder": g["tcanet"]["base1"], "bmn": g["bmn"], "tcanet": g["tcanet"]["tbr1"]}

    def moves(tree):
        return any(np.abs(x).max() > 1e-8 for x in jax.tree.leaves(tree))

    assert {k: moves(v) for k, v in gradients(1.0, 0.0).items()} == {"encoder": True, "bmn": True, "tcanet": False}
    assert {k: moves(v) for k, v in gradients(0.0, 1.0).items()} == {"encoder": True, "bmn": False, "tcanet": True}


def test_padding_changes_nothing(params):
    longer = BATCH.replace(
        features=np.pad(BATCH.features, ((0, 0), (0, 5), (0, 0)), constant_values=7.0),
        mask=np.pad(BATCH.mask, ((0, 0), (0, 5))),
    )
    for a, b in zip(
        jax.tree.leaves(jax.jit(TASK.predict)(params, BATCH)),
        jax.tree.leaves(jax.jit(TASK.predict)(params, longer)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_jitter_moves_training_proposals(params):
    tcanet = TCANetTask(REFINER, thresholds=(0.5,), confidence_stages=(0,), jitter=0.3)
    moved = JointTask(TASK.model, TASK.bmn, tcanet, 3.0)
    ends = [jax.jit(task.loss)(params, BATCH, KEY)[1]["ends"] for task in (moved, TASK)]
    assert float(ends[0]) != float(ends[1])
