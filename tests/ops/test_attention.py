"""Equations 1-6: every implementation against the loop, values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import references
from support.derivatives import gradient

from tal_jax.ops import attention_banded as banded_attention
from tal_jax.ops.attention import global_attention, local_attention

IMPLEMENTATIONS = ["gather", "banded", "dense"]
SCALE = 0.7


def inputs(t, *, b=2, n=2, h=2, seed=0):
    rng = np.random.default_rng(seed)
    q, k, v, cotangent = rng.normal(size=(4, b, t, n, h))
    return q, k, v, cotangent


def reference(q, k, v, mask, radius=None):
    rows = zip(q, k, v, mask, strict=True)
    return np.stack([references.attention(*row, scale=SCALE, radius=radius) for row in rows])


@functools.partial(jax.jit, static_argnums=0)
def forward_and_back(attend, q, k, v, mask, cotangent):
    y, pull = jax.vjp(lambda q, k, v: attend(q, k, v, mask), q, k, v)
    return y, pull(cotangent)


def check(attend, t, mask, radius, **kwargs):
    """Values and gradients of attend(q, k, v, mask) and of the loop."""
    q, k, v, cotangent = inputs(t, **kwargs)

    y, grads = forward_and_back(attend, *(x.astype(np.float32) for x in (q, k, v)), mask, cotangent.astype(np.float32))
    np.testing.assert_allclose(y, reference(q, k, v, mask, radius), rtol=1e-4, atol=1e-5)
    for place, found in enumerate(grads):

        def scalar(z, place=place):
            args = [q, k, v]
            args[place] = z
            return np.sum(reference(*args, mask, radius) * cotangent)

        np.testing.assert_allclose(found, gradient(scalar, (q, k, v)[place]), rtol=1e-3, atol=1e-4)


def gap_mask(t):
    """The second recording is padded, and has a hole that hides whole windows."""
    mask = np.ones((2, t), bool)
    mask[1, t - 2 :] = False
    mask[1, 1:4] = False
    return mask


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_local_values_and_gradients(implementation):
    # Radius 1 and a hole of three snippets: snippet 2 sees nothing and gives zero.
    attend = functools.partial(local_attention, window=3, scale=SCALE, implementation=implementation)
    check(attend, 7, gap_mask(7), 1, h=1)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("t", "window"),
    [(39, 9), (40, 67), (5, 21), (1, 1), (4, 1)],
    ids=["several blocks", "radius beyond a block", "window beyond the sequence", "one snippet", "window of one"],
)
def test_local_values_in_other_shapes(t, window, implementation):
    q, k, v, _ = inputs(t, n=1)
    mask = np.arange(t)[None] < np.array([[t], [max(t - 3, 1)]])
    attend = functools.partial(local_attention, window=window, scale=SCALE, implementation=implementation)
    y = jax.jit(attend)(*(x.astype(np.float32) for x in (q, k, v)), mask)
    np.testing.assert_allclose(y, reference(q, k, v, mask, window // 2), rtol=1e-4, atol=1e-5)


@settings(max_examples=8)  # each is two compilations
@given(
    st.integers(1, 40), st.integers(0, 10), st.integers(1, 3), st.sampled_from(["gather", "banded"]), st.integers(0, 99)
)
def test_any_shape_is_like_the_dense_form(t, radius, heads, implementation, seed):
    """Values and gradients, with snippets hidden at random."""
    q, k, v, cotangent = (x.astype(np.float32) for x in inputs(t, n=heads, h=3, seed=seed))
    mask = np.random.default_rng(seed).uniform(size=(2, t)) < 0.8

    def result(form):
        attend = functools.partial(local_attention, window=2 * radius + 1, scale=SCALE, implementation=form)
        return jax.tree.leaves(forward_and_back(attend, q, k, v, mask, cotangent))

    for found, expected in zip(result(implementation), result("dense"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("implementation", ["gather", "banded"])
def test_local_gradients_over_several_blocks(implementation):
    """Held against the dense form, which the loop holds in small."""
    q, k, v, cotangent = (x.astype(np.float32) for x in inputs(39, n=1))
    mask = np.arange(39)[None] < np.array([[39], [30]])

    def grads(form):
        attend = functools.partial(local_attention, window=9, scale=SCALE, implementation=form)
        return forward_and_back(attend, q, k, v, mask, cotangent)[1]

    for found, expected in zip(grads(implementation), grads("dense"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("t", "chunk", "window"), [(39, 8, 5), (40, 8, 9), (23, 6, 21), (9, 8, 3)])
def test_chunks_change_nothing(t, chunk, window, monkeypatch):
    """Values and gradients, also where the last chunk overlaps the one before and the window exceeds a chunk."""
    q, k, v, cotangent = (x.astype(np.float32) for x in inputs(t, n=2))
    mask = np.arange(t)[None] < np.array([[t], [t - 7]])

    def run(form):
        attend = functools.partial(local_attention, window=window, scale=SCALE, implementation=form)
        return jax.tree.leaves(forward_and_back(attend, q, k, v, mask, cotangent))

    expected = run("dense")
    monkeypatch.setattr(banded_attention, "CHUNK", chunk)
    for found, value in zip(run("banded"), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-5)


def test_chunks_drop_alike_forward_and_back(monkeypatch):
    """With v as the only variable, gradients of dropped attention are those of a linear function."""
    monkeypatch.setattr(banded_attention, "CHUNK", 8)
    q, k, v, cotangent = (x.astype(np.float32) for x in inputs(20, n=1))
    key = jax.random.key(3)

    def f(v):
        mask = np.ones((2, 20), bool)
        options = {"window": 5, "scale": SCALE, "dropout_rate": 0.4, "rng": key, "implementation": "banded"}
        return jnp.sum(local_attention(q, k, v, mask, **options) * cotangent)

    np.testing.assert_allclose(jnp.sum(jax.grad(f)(v) * v), f(v), rtol=1e-4)


def test_global_values_and_gradients():
    check(functools.partial(global_attention, scale=SCALE), 5, gap_mask(5), None)


def test_global_attention_one_head_at_a_time_drops_the_same_weights():
    q, k, v, cotangent = (x.astype(np.float32) for x in inputs(7))
    mask = np.array([[True] * 7, [True] * 4 + [False] * 3])

    def run(by_head):
        options = {"scale": SCALE, "dropout_rate": 0.4, "rng": jax.random.key(5), "by_head": by_head}
        return jax.tree.leaves(
            forward_and_back(functools.partial(global_attention, **options), q, k, v, mask, cotangent)
        )

    for found, expected in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_heads_of_global_attention_drop_other_weights():
    q, k, v, _ = (np.repeat(x[:, :, :1], 2, axis=2).astype(np.float32) for x in inputs(7))
    options = {"scale": SCALE, "dropout_rate": 0.4, "rng": jax.random.key(5)}
    for by_head in (False, True):
        y = np.asarray(global_attention(q, k, v, np.ones((2, 7), bool), by_head=by_head, **options))
        assert np.abs(y[:, :, 0] - y[:, :, 1]).max() > 0.1


FORMS = {
    **{
        name: functools.partial(local_attention, window=3, scale=SCALE, implementation=name) for name in IMPLEMENTATIONS
    },
    "global": functools.partial(global_attention, scale=SCALE),
}
COMPILED = {name: jax.jit(form) for name, form in FORMS.items()}


@pytest.mark.parametrize("form", FORMS)
def test_a_recording_without_snippets_gives_zero_and_no_gradient(form):
    q, k, v, cotangent = (x.astype(np.float32) for x in inputs(6))
    y, grads = forward_and_back(FORMS[form], q, k, v, np.array([[True] * 6, [False] * 6]), cotangent)
    np.testing.assert_array_equal(y[1], 0)
    for grad in grads:
        assert np.isfinite(grad).all()
        np.testing.assert_array_equal(grad[1], 0)


@pytest.mark.parametrize("form", FORMS)
def test_hidden_keys_do_not_matter_and_large_scores_do_not_overflow(form):
    q, k, v, _ = (x.astype(np.float32) for x in inputs(6))
    mask = np.array([[True] * 6, [True] * 4 + [False] * 2])
    y = np.asarray(COMPILED[form](q, k, v, mask))
    k2, v2 = k.copy(), v.copy()
    k2[1, 4:], v2[1, 4:] = 1e4, -1e4
    np.testing.assert_array_equal(np.asarray(COMPILED[form](q, k2, v2, mask))[1], y[1])
    assert np.isfinite(COMPILED[form](1e3 * q, 1e3 * k, v, mask)).all()


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_stays_close(form):
    q, k, v, _ = (x.astype(np.float32) for x in inputs(6))
    mask = np.ones((2, 6), bool)
    with jax.numpy_dtype_promotion("standard"):  # jax.nn.dot_product_attention itself promotes to float32
        y = COMPILED[form](*(x.astype(jnp.bfloat16) for x in (q, k, v)), mask)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(np.float32), COMPILED[form](q, k, v, mask), atol=0.05)


@pytest.mark.parametrize("form", FORMS)
def test_dropout_keeps_the_expectation_and_follows_its_key(form):
    q, k, v, _ = (x.astype(np.float32) for x in inputs(6))
    mask = np.ones((2, 6), bool)
    dropped = jax.jit(lambda q, k, v, mask, key: FORMS[form](q, k, v, mask, dropout_rate=0.5, rng=key))
    keys = list(jax.random.split(jax.random.key(0), 300))
    samples = np.stack([dropped(q, k, v, mask, key) for key in keys])
    assert np.abs(samples[0] - samples[1]).max() > 0.1
    np.testing.assert_array_equal(samples[0], dropped(q, k, v, mask, keys[0]))
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(axis=0) - COMPILED[form](q, k, v, mask)) < 6 * error + 1e-6).all()


@pytest.mark.parametrize("window", [0, 4, -3])
def test_even_and_empty_windows_are_refused(window):
    x = np.zeros((1, 3, 1, 1), np.float32)
    with pytest.raises(ValueError, match=f"window.*{window}"):
        local_attention(x, x, x, np.ones((1, 3), bool), window=window, scale=1.0)


def test_unknown_implementation():
    x = np.zeros((1, 3, 1, 1), np.float32)
    with pytest.raises(ValueError, match="sparse"):
        local_attention(x, x, x, np.ones((1, 3), bool), window=3, scale=1.0, implementation="sparse")
