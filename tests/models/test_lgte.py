"""LGTE against equations 1-9, and against the released block, from its own parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import references
from support.derivatives import check_along_directions, to_float64
from support.parameters import random_params

from tal_jax.models.lgte import LGTE

T, C = 7, 8
SIZES = {"heads": 4, "local_heads": 2, "window": 3}


def inputs(t=T):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, t, C)).astype(np.float32)
    return x, np.arange(t)[None] < np.array([[t], [t - 2]]), rng.normal(size=(2, t, C)).astype(np.float32)


def params_of(module, x, mask):
    return random_params(functools.partial(module.init, train=False), x, mask)


@pytest.mark.parametrize("variant", ["report", "released"])
def test_values_and_gradients(variant):
    module = LGTE(**SIZES, ffn=6, variant=variant)
    x, mask, cotangent = inputs()
    params = params_of(module, x, mask)

    @jax.jit
    def forward_and_back(params, x):
        y, pull = jax.vjp(lambda p, x: module.apply(p, x, mask, train=False), params, x)
        return y, pull(jnp.asarray(cotangent))

    y, grads = forward_and_back(params, x)

    def forward(params, x):
        rows = zip(x, mask, strict=True)
        return np.stack([references.lgte(params["params"], *row, **SIZES, variant=variant) for row in rows])

    np.testing.assert_allclose(y, forward(to_float64(params), x.astype(float)), rtol=1e-4, atol=1e-5)
    # Every parameter by itself, and the input.
    check_along_directions(lambda a: np.sum(forward(*a) * cotangent), (params, x), grads, np.random.default_rng(2))


def test_padding_further_changes_nothing_in_the_report_variant():
    module = LGTE(**SIZES, ffn=6)
    apply = jax.jit(functools.partial(module.apply, train=False))
    x, mask, _ = inputs()
    params = params_of(module, x, mask)
    more = np.full((2, 5, C), 3, np.float32)
    padded = apply(params, np.concatenate([x, more], axis=1), np.concatenate([mask, np.zeros((2, 5), bool)], axis=1))
    np.testing.assert_allclose(np.asarray(padded)[:, :T][mask], np.asarray(apply(params, x, mask))[mask], atol=1e-5)


@pytest.mark.parametrize("local_heads", [0, 4])
def test_only_local_or_only_global_groups(local_heads):
    sizes = {**SIZES, "local_heads": local_heads}
    module = LGTE(**sizes, ffn=6)
    x, mask, _ = inputs()
    params = params_of(module, x, mask)
    y = jax.jit(functools.partial(module.apply, train=False))(params, x, mask)
    expected = references.lgte(to_float64(params)["params"], x[1].astype(float), mask[1], **sizes)
    np.testing.assert_allclose(y[1], expected, rtol=1e-4, atol=1e-5)


def test_channels_must_divide():
    with pytest.raises(ValueError, match=r"8 channels.*3 groups"):
        jax.eval_shape(lambda key: LGTE(heads=3).init(key, *inputs()[:2], train=False), jax.random.key(0))
