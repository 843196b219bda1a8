"""BMN against its NumPy composition; padding, order and precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import references
from support.batches import make_batch, pad_further, reorder
from support.derivatives import check_along_directions, to_float64
from support.parameters import random_params

from tal_jax.models.bmn import BMN

T, D = 6, 5
SIZES = {"durations": D, "groups": 2, "points": 2}
MODEL = BMN(**SIZES, hidden=4, proposal_hidden=3, map_hidden=4, map_conv_hidden=3, bins=3)
MAPS = ("start", "end", "regression", "classification")
BATCH = make_batch(lengths=(6, 4), snippets=T)


PARAMS = random_params(MODEL.init, BATCH.features, BATCH.mask)
apply = jax.jit(MODEL.apply)


def reference(params, features, **options):
    rows = zip(features, BATCH.mask, strict=True)
    outputs = [references.bmn(params["params"], *row, **(SIZES | options)) for row in rows]
    return {name: np.stack([o[name] for o in outputs]) for name in (*MAPS, "valid")}


def test_values_and_gradients():
    rng = np.random.default_rng(1)
    features = BATCH.features.astype(float)
    expected = reference(to_float64(PARAMS), features)
    cotangents = {name: rng.normal(size=expected[name].shape) for name in MAPS}

    @jax.jit
    def forward_and_back(params, features):
        def f(params, features):
            output = MODEL.apply(params, features, BATCH.mask)
            return sum(jnp.sum(getattr(output, n) * c.astype(np.float32)) for n, c in cotangents.items()), output

        return jax.grad(f, argnums=(0, 1), has_aux=True)(params, features)

    grads, output = forward_and_back(PARAMS, BATCH.features)
    np.testing.assert_array_equal(output.valid, expected["valid"])
    for name in MAPS:
        np.testing.assert_allclose(getattr(output, name), expected[name], rtol=1e-4, atol=1e-4, err_msg=name)

    def scalar(args):
        return sum(np.sum(reference(*args)[n] * c) for n, c in cotangents.items())

    check_along_directions(scalar, (PARAMS, BATCH.features), grads, np.random.default_rng(2))


def test_published_behaviour_lets_invalid_cells_through():
    model = MODEL.clone(masked_cells=False)
    output = jax.jit(model.apply)(PARAMS, BATCH.features, BATCH.mask)
    expected = reference(to_float64(PARAMS), BATCH.features.astype(float), masked_cells=False)
    np.testing.assert_allclose(output.regression, expected["regression"], rtol=1e-4, atol=1e-4)
    changed = np.abs(output.regression - apply(PARAMS, BATCH.features, BATCH.mask).regression)
    assert changed[np.asarray(output.valid)].max() > 1e-3


def test_padding_further_and_order_change_nothing():
    expected = jax.tree.map(np.asarray, apply(PARAMS, BATCH.features, BATCH.mask))
    more, swapped = pad_further(BATCH, snippets=3), reorder(BATCH, [1, 0])
    padded = jax.tree.map(np.asarray, apply(PARAMS, more.features, more.mask))
    back = reorder(apply(PARAMS, swapped.features, swapped.mask), [1, 0])
    assert not padded.valid[:, T:].any()
    np.testing.assert_array_equal(padded.valid[:, :T], expected.valid)
    for name in MAPS:
        real = BATCH.mask if name in ("start", "end") else expected.valid
        value = getattr(expected, name)[real]
        np.testing.assert_allclose(getattr(padded, name)[:, :T][real], value, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(getattr(back, name)[real], value, atol=1e-5, err_msg=name)


def test_bfloat16_stays_close_and_keeps_float32_parameters():
    model = MODEL.clone(dtype=jnp.bfloat16)
    shapes = jax.eval_shape(model.init, jax.random.key(0), BATCH.features, BATCH.mask)
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {np.dtype(np.float32)}
    found = jax.jit(model.apply)(PARAMS, BATCH.features, BATCH.mask)
    expected = apply(PARAMS, BATCH.features, BATCH.mask)
    for name in MAPS:
        value = getattr(found, name)
        assert value.dtype == jnp.float32
        scale = np.abs(getattr(expected, name)).max()
        np.testing.assert_allclose(value, getattr(expected, name), atol=0.03 * scale, err_msg=name)


@pytest.mark.parametrize("masked_cells", [True, False])
@pytest.mark.parametrize("sampling", ["truncated", "truncated_longer"])
def test_published_sampling_and_layout(sampling, masked_cells):
    options = {"sampling": sampling, "masked_cells": masked_cells, "durations": T, "map_layout": "start_end"}
    output = jax.jit(MODEL.clone(**options).apply)(PARAMS, BATCH.features, BATCH.mask)
    expected = reference(to_float64(PARAMS), BATCH.features.astype(float), **options)
    valid = expected["valid"]
    np.testing.assert_array_equal(output.valid, valid)
    for name in ("regression", "classification"):
        np.testing.assert_allclose(getattr(output, name)[valid], expected[name][valid], rtol=1e-4, atol=1e-4)


def test_layouts_that_do_not_fit():
    for options, words in (({"map_layout": "start_end"}, "durations"), ({"map_layout": "ends"}, "ends")):
        with pytest.raises(ValueError, match=words):
            jax.eval_shape(MODEL.clone(**options).apply, PARAMS, BATCH.features, BATCH.mask)
