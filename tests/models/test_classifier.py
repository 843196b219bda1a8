"""The video-level classifier against its definition."""

import functools

import jax
import numpy as np
import pytest
from support import references
from support.batches import LENGTHS, make_batch, pad_further, reorder
from support.derivatives import check_along_directions, to_float64
from support.parameters import random_params

from tal_jax.models.classifier import VideoClassifier

BATCH = make_batch()


@functools.cache
def built(top):
    model = VideoClassifier(num_classes=3, hidden=4, topk_ratio=top)
    params = random_params(functools.partial(model.init, train=False), BATCH.features, BATCH.mask)
    return params, jax.jit(functools.partial(model.apply, train=False))


def reference(params, features, top):
    """Mean of the ceil(length / top) highest logits of every class."""
    rows = []
    for x, length in zip(features, LENGTHS, strict=True):
        logits = references.dense(
            params["params"]["out"], references.base(params["params"], x, np.arange(len(x)) < length, 1)
        )
        votes = (length + top - 1) // top
        rows.append([np.mean(sorted(logits[:length, k], reverse=True)[:votes]) for k in range(logits.shape[1])])
    return np.array(rows)


@pytest.mark.parametrize("top", [1, 4, 100])
def test_values(top):
    params, apply = built(top)
    expected = reference(to_float64(params), BATCH.features.astype(float), top)
    np.testing.assert_allclose(apply(params, BATCH.features, BATCH.mask), expected, rtol=1e-4, atol=1e-5)


def test_gradients():
    params, apply = built(4)
    cotangent = np.random.default_rng(1).normal(size=(4, 3))
    pull = jax.jit(lambda p, x: jax.vjp(lambda p, x: apply(p, x, BATCH.mask), p, x)[1](cotangent.astype(np.float32)))
    check_along_directions(
        lambda args: np.sum(reference(*args, 4) * cotangent),
        (params, BATCH.features),
        pull(params, BATCH.features),
        np.random.default_rng(2),
    )


def test_padding_further_and_order_change_nothing():
    params, apply = built(4)
    expected = apply(params, BATCH.features, BATCH.mask)
    more, order = pad_further(BATCH, snippets=5), [2, 0, 3, 1]
    np.testing.assert_allclose(apply(params, more.features, more.mask), expected, atol=1e-5)
    shuffled = reorder(BATCH, order)
    np.testing.assert_allclose(apply(params, shuffled.features, shuffled.mask), reorder(expected, order), atol=1e-5)


def test_a_recording_without_snippets_scores_zero():
    params, apply = built(4)
    np.testing.assert_array_equal(apply(params, BATCH.features, np.zeros_like(BATCH.mask)), 0)
