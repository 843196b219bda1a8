"""Attention of vision transformers: its forms for CPUs and for the rest are one function, with their gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.encoders import transformer


@pytest.mark.parametrize("cap", [0.0, 5.0])
@pytest.mark.parametrize("cached", [1_300_000, 40, 7])  # whole heads, parts of them, and parts that never fit
@pytest.mark.parametrize(("queries", "keys", "short"), [(12, 9, 0), (7, 7, 0), (12, 9, 108)])
def test_both_forms_are_attention(monkeypatch, cap, cached, queries, keys, short):
    monkeypatch.setattr(transformer, "CACHED", cached)
    monkeypatch.setattr(transformer, "SHORT", short)  # logits up to which a head is not taken alone
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(2, n, 3, 4)) * 3, jnp.float32) for n in (queries, keys, keys))
    expected = np.zeros(q.shape)
    for b in range(2):
        for h in range(3):
            logits = np.asarray(q[b, :, h] @ k[b, :, h].T, np.float64) / 2
            logits = cap * np.tanh(logits / cap) if cap else logits
            weights = np.exp(logits - logits.max(-1, keepdims=True))
            expected[b, :, h] = weights / weights.sum(-1, keepdims=True) @ np.asarray(v[b, :, h], np.float64)
    np.testing.assert_allclose(transformer.attention(q, k, v, cap), expected, rtol=1e-5, atol=3e-5)
    cotangent = jnp.asarray(rng.normal(size=q.shape), jnp.float32)
    found, back = jax.vjp(lambda *x: transformer._head_by_head(*x, cap), q / 2, k, v)
    plain, plain_back = jax.vjp(lambda *x: transformer._together(*x, cap), q / 2, k, v)
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=3e-5)
    for mine, theirs in zip(back(cotangent), plain_back(cotangent), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=1e-4)


def test_half_precision_keeps_its_type():
    q, k, v = (jnp.ones((1, 4, 2, 8), jnp.bfloat16) for _ in range(3))
    found = transformer.attention(q, k, v)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), 1.0)


def test_gelu():
    """Against erfc in float64, whose tail does not cancel."""
    x = np.linspace(-9, 9, 2001)
    expected = np.array([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x])
    np.testing.assert_allclose(transformer.gelu(jnp.asarray(x, jnp.float32)), expected, atol=1e-6)
    half = transformer.gelu(jnp.asarray(x, jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), expected, rtol=2e-2, atol=2e-2)
