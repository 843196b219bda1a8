"""MGFN against the equations; who gets gradients; padding, order, devices, precision and what recordings may lack."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import weak_references as weak
from support.batches import make_batch, pad_further, reorder
from support.derivatives import check_along_directions, to_float64
from support.parameters import random_params
from support.sharded import on_four_devices

from tal_jax.models.mgfn import MGFN

K = 3
LENGTHS = (12, 9, 3, 1)  # two are shorter than the largest dilation
BATCH = make_batch(lengths=LENGTHS, classes=K).replace(
    labels=np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]], np.float32)
)
FULL = MGFN(num_classes=K, hidden=6, branch_hidden=5, anchors=(2.0, 4.0), regressor_hidden=4)
MODELS = {
    "full": FULL,
    "cas": FULL.clone(dilations=(1,), cascade=False, anchors=()),
    "topk": FULL.clone(pooling="topk", topk_ratio=3, anchors=(), erase_threshold=0.4, activation="linear"),
    "late": FULL.clone(streams=(1, 3), dilations=(1, 2), anchors=(2.0,), erase_threshold=0.6),
}
REFERENCES = {
    "full": {"anchors": 2},
    "cas": {"dilations": (1,), "threshold": None},
    "topk": {"top": 3, "threshold": 0.4, "activation": "linear"},
    "late": {"streams": (1, 3), "dilations": (1, 2), "anchors": 1, "threshold": 0.6},
}


@functools.cache
def params_of(name):
    return random_params(functools.partial(MODELS[name].init, train=False), BATCH.features, BATCH.mask, BATCH.labels)


@functools.partial(jax.jit, static_argnames="name")
def apply(params, features, mask, labels=None, *, name="full"):
    return MODELS[name].apply(params, features, mask, labels, train=False)


def arrays(output):
    """A recording's real part of every field, as the references name them."""
    found = {"sequence": (0, output.sequence), "erased": (1, output.erased)}
    for i, stage in enumerate(output.stages, start=1):
        found[f"encoded{i}"] = (0, stage.encoded)
        found[f"sequence{i}"] = (0, stage.sequence)
        found[f"logits{i}"] = (1, stage.logits)
        found[f"pooled{i}"] = (1, stage.pooled)
    if output.offsets.shape[2]:
        found["offsets"] = (0, output.offsets)
    return {name: np.moveaxis(np.asarray(x), axis, 0) for name, (axis, x) in found.items()}


OVER_TIME = {"sequence": 0, "sequence1": 0, "sequence2": 0, "encoded1": 0, "encoded2": 0, "offsets": 0, "erased": 1}


def real(name, row, n):
    """Without padding."""
    return np.take(row, range(n), axis=OVER_TIME[name]) if name in OVER_TIME else row


def check_equal(found, expected, lengths=LENGTHS, order=None, atol=1e-5):
    found, expected = arrays(found), arrays(expected)
    for name, x in expected.items():
        for b, n in enumerate(lengths):
            row = found[name][b if order is None else order.index(b)]
            np.testing.assert_allclose(real(name, row, n), real(name, x[b], n), atol=atol, err_msg=f"{name} {b}")


@pytest.mark.parametrize("labelled", [True, False], ids=["labels", "predicted labels"])
@pytest.mark.parametrize("name", MODELS)
def test_forward_is_the_composition_of_the_equations(name, labelled):
    params = params_of(name)
    output = apply(params, BATCH.features, BATCH.mask, BATCH.labels if labelled else None, name=name)
    found, exact = arrays(output), to_float64(params)["params"]
    for b, n in enumerate(LENGTHS):
        features, labels = BATCH.features[b, :n].astype(float), BATCH.labels[b] if labelled else None
        expected = weak.mgfn(exact, features, labels, **REFERENCES[name])
        assert set(found) == set(expected)
        for key, value in expected.items():
            row = found[key][b]
            if key.startswith("pooled"):  # GAP is the same for every class
                row = np.broadcast_to(row, value.shape)
            np.testing.assert_allclose(real(key, row, n), value, rtol=1e-3, atol=1e-4, err_msg=f"{key} {b}")
            if key in ("sequence", "sequence1", "encoded1", "erased"):
                np.testing.assert_array_equal(np.moveaxis(row, OVER_TIME[key], 0)[n:], 0)
    if MODELS[name].cascade:  # some is erased of the long recordings, not everything
        long = found["erased"][:2, :, :9]
        assert long.any(axis=(1, 2)).all()
        assert not long.all(axis=2).any()
        assert found["erased"][2].any() != labelled  # a recording without labels keeps everything
    else:
        assert not found["erased"].any()


def test_shapes_and_types():
    late = apply(params_of("late"), BATCH.features, BATCH.mask, BATCH.labels, name="late")
    assert late.offsets.shape == (4, 12, 1, 2)
    assert late.erased.shape == (2, 4, 12)
    assert late.stages[0].logits.shape == (4, 4, K)  # two branches of two streams
    assert late.stages[1].encoded.shape == (4, 12, 12)
    assert apply(params_of("cas"), BATCH.features, BATCH.mask, name="cas").offsets.shape == (4, 12, 0, 2)
    topk = apply(params_of("topk"), BATCH.features, BATCH.mask, name="topk")
    assert topk.stages[1].pooled.shape == (4, 4, K, 5)
    assert apply(params_of("full"), BATCH.features, BATCH.mask).stages[1].pooled.shape == (4, 4, 1, 5)


def test_parameters_of_the_report():
    """Two stages with weights of their own; three convolutions of 128 filters and one of 2M, all of kernel size 3."""
    model = MGFN(num_classes=K, anchors=(2.0, 4.0, 8.0))
    tree = jax.eval_shape(lambda key: model.init(key, BATCH.features, BATCH.mask, train=False), jax.random.key(0))
    kernels = {name: tree["params"][name]["kernel"].shape for name in tree["params"] if name != "cascade"}
    assert kernels == {
        "regressor1": (3, 512, 128),
        "regressor2": (3, 128, 128),
        "regressor3": (3, 128, 128),
        "offsets": (3, 128, 6),
    }
    first, second = (tree["params"]["cascade"][f"stage{i}"] for i in (1, 2))
    assert jax.tree.map(lambda x: x.shape, first) == jax.tree.map(lambda x: x.shape, second)
    names = {"base1", "base2"} | {f"{part}{rate}" for part in ("branch", "out") for rate in (1, 2, 3, 5)}
    assert set(first) == names
    stages = params_of("full")["params"]["cascade"]
    assert np.any(stages["stage1"]["base1"]["kernel"] != stages["stage2"]["base1"]["kernel"])


def test_offsets_are_bounded_whatever_the_features():
    params, labels = params_of("full"), BATCH.labels
    found = np.asarray(apply(params, np.float32(1e4) * BATCH.features, BATCH.mask, labels).offsets)
    extreme = np.abs(found[BATCH.mask]).max(axis=(0, 1))
    np.testing.assert_allclose(extreme, [0.5, np.log(2)], rtol=1e-5)  # reached, not passed


TERMS = ("logits1", "logits2", "pooled1", "pooled2", "sequence", "offsets")


def cotangents():
    rng = np.random.default_rng(3)
    found = arrays(apply(params_of("full"), BATCH.features, BATCH.mask, BATCH.labels))
    drawn = {name: rng.normal(size=found[name].shape) for name in TERMS}
    for name in ("sequence", "offsets"):
        drawn[name] *= BATCH.mask.reshape(BATCH.mask.shape + (1,) * (drawn[name].ndim - 2))
    return drawn


@functools.partial(jax.jit, static_argnames="name")
def slopes(params, features, mask, labels, weights, cotangents, *, name="full"):
    """Gradients by parameters and features of a weighted sum of the terms, each a random projection of an output."""

    def f(params, features):
        output = MODELS[name].apply(params, features, mask, labels, train=False)
        terms = {"sequence": output.sequence, "offsets": output.offsets}
        for i, stage in enumerate(output.stages, start=1):
            terms[f"logits{i}"] = stage.logits.swapaxes(0, 1)
            terms[f"pooled{i}"] = stage.pooled.swapaxes(0, 1)
        return sum(weights[name] * jnp.sum(terms[name] * c) for name, c in cotangents.items())

    return jax.grad(f, argnums=(0, 1))(params, features)


def as_float32(values):
    return {name: x.astype(np.float32) for name, x in values.items()}


def slopes_of(*terms, batch=BATCH, **options):
    weights = {name: np.float32(name in terms) for name in TERMS}
    projections = as_float32(cotangents())
    more = batch.mask.shape[1] - BATCH.mask.shape[1]
    for name in ("sequence", "offsets"):
        x = projections[name]
        projections[name] = np.pad(x, [(0, 0), (0, more)] + [(0, 0)] * (x.ndim - 2))
    return slopes(params_of("full"), batch.features, batch.mask, batch.labels, weights, projections, **options)


def test_gradients():
    """The erased snippets do not move with the parameters, here nor in finite differences."""
    projections = cotangents()

    def scalar(args):
        params, features = args
        total = 0.0
        for b, n in enumerate(LENGTHS):
            found = weak.mgfn(params["params"], features[b, :n], BATCH.labels[b], anchors=2)
            for name, c in projections.items():
                value = found[name][:, :1] if name.startswith("pooled") else found[name]
                total += np.sum(value * real(name, c[b], n))
        return total

    check_along_directions(
        scalar, (params_of("full"), BATCH.features), slopes_of(*TERMS), np.random.default_rng(4), rtol=5e-3
    )


def test_gradients_of_top_k_pooling():
    """The choice of snippets is a constant."""
    rng = np.random.default_rng(5)
    projections = {"logits1": rng.normal(size=(4, 4, K)), "pooled2": rng.normal(size=(4, 4, K, 5))}
    params = params_of("topk")

    def scalar(args):
        total = 0.0
        for b, n in enumerate(LENGTHS):
            found = weak.mgfn(args[0]["params"], args[1][b, :n], BATCH.labels[b], **REFERENCES["topk"])
            total += sum(np.sum(found[name] * c[b]) for name, c in projections.items())
        return total

    point = (params, BATCH.features)
    found = slopes(
        *point,
        BATCH.mask,
        BATCH.labels,
        dict.fromkeys(projections, np.float32(1)),
        as_float32(projections),
        name="topk",
    )
    check_along_directions(scalar, point, found, np.random.default_rng(6), leaf_by_leaf=False)


def moved(*terms):
    """Parts of the model whose parameters have a gradient."""
    tree = slopes_of(*terms)[0]["params"]
    parts = {f"{stage}/{part}": leaves for stage in tree["cascade"] for part, leaves in tree["cascade"][stage].items()}
    parts |= {part: leaves for part, leaves in tree.items() if part != "cascade"}
    return {part for part, leaves in parts.items() if any(np.any(x != 0) for x in jax.tree.leaves(leaves))}


def test_each_term_moves_only_its_own_parameters():
    base = {"base1", "base2"}
    branches, out = ({f"{part}{rate}" for rate in (1, 2, 3, 5)} for part in ("branch", "out"))
    first, second = ({f"{stage}/{part}" for part in base | branches | out} for stage in ("stage1", "stage2"))
    regressor = {"regressor1", "regressor2", "regressor3", "offsets"}
    assert moved("logits1") == first
    # Nothing reaches the first stage through what it erases.
    assert moved("logits2") == second
    assert moved("pooled1") == {f"stage1/{part}" for part in base | branches}
    assert moved("pooled2") == {f"stage2/{part}" for part in base | branches}
    assert moved("sequence") == first | second
    assert moved("offsets") == {f"stage1/{part}" for part in base} | regressor


def test_the_second_stage_does_not_see_what_is_erased():
    erased = np.asarray(apply(params_of("full"), BATCH.features, BATCH.mask, BATCH.labels).erased[0])
    _, dx = slopes_of("logits2")
    np.testing.assert_array_equal(np.asarray(dx)[erased | ~BATCH.mask], 0)
    assert (np.abs(np.asarray(dx)[:3]).max(axis=-1) > 0)[~erased[:3] & BATCH.mask[:3]].all()
    _, dx = slopes_of("logits1")
    assert (np.abs(np.asarray(dx)).max(axis=-1) > 0)[erased].all()


def further(batch, snippets, rubbish):
    """Padding of `batch`, and more of it, holds rubbish."""
    more = pad_further(batch, snippets=snippets)
    return more.replace(features=np.where(more.mask[..., None], more.features, np.float32(rubbish)))


def test_padding_further_and_order_change_nothing():
    expected, expected_slopes = apply(params_of("full"), *inputs(BATCH)), slopes_of(*TERMS)
    order = [2, 0, 3, 1]
    check_equal(apply(params_of("full"), *inputs(reorder(BATCH, order))), expected, order=order)
    for rubbish in (9, np.nan):
        batch = further(BATCH, 5, rubbish)
        check_equal(apply(params_of("full"), *inputs(batch)), expected)
        dparams, dx = slopes_of(*TERMS, batch=batch)
        for found, value in zip(jax.tree.leaves(dparams), jax.tree.leaves(expected_slopes[0]), strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(dx[:, :12], expected_slopes[1], atol=1e-4)
        np.testing.assert_array_equal(np.asarray(dx)[~batch.mask], 0)


def test_padding_changes_nothing_for_class_wise_pooling_and_streams():
    batch = further(BATCH, 5, 9)
    for name in ("topk", "late"):
        expected = apply(params_of(name), *inputs(BATCH)[:2], name=name)
        check_equal(apply(params_of(name), *inputs(batch)[:2], name=name), expected)


def inputs(batch):
    return batch.features, batch.mask, batch.labels


def test_four_devices_give_the_same():
    params, batch = on_four_devices(params_of("full"), inputs(BATCH))
    check_equal(apply(params, *batch), apply(params_of("full"), *inputs(BATCH)))
    found = slopes(params, *batch, dict.fromkeys(TERMS, np.float32(1)), as_float32(cotangents()))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(slopes_of(*TERMS)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_batch_without_labels_or_snippets():
    params = params_of("full")
    none = BATCH.replace(labels=np.zeros_like(BATCH.labels))
    output = apply(params, *inputs(none))
    assert not np.any(output.erased)
    empty = BATCH.replace(mask=np.zeros_like(BATCH.mask))
    for stage in apply(params, *inputs(empty)).stages:
        np.testing.assert_array_equal(stage.logits, 0)
        np.testing.assert_array_equal(stage.pooled, 0)
    for batch in (none, empty):
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes_of(*TERMS, batch=batch)))


def test_dropout_spares_what_the_regressor_reads():
    params = params_of("full")

    @jax.jit
    def run(key):
        return FULL.apply(params, *inputs(BATCH), train=True, rngs={"dropout": key})

    one, other, quiet = run(jax.random.key(0)), run(jax.random.key(1)), apply(params, *inputs(BATCH))
    assert np.abs(one.stages[0].logits - other.stages[0].logits).max() > 0.01
    np.testing.assert_allclose(one.stages[0].encoded, quiet.stages[0].encoded, atol=1e-6)
    np.testing.assert_allclose(one.offsets, quiet.offsets, atol=1e-5)


def test_bfloat16_stays_close_and_keeps_float32_parameters():
    model = FULL.clone(dtype=jnp.bfloat16, cascade=False)
    shapes = jax.eval_shape(lambda key: model.init(key, *inputs(BATCH), train=False), jax.random.key(0))
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {np.dtype(np.float32)}
    found = jax.jit(functools.partial(model.apply, train=False))(params_of("full"), *inputs(BATCH))
    expected = apply(params_of("full"), *inputs(BATCH))
    pairs = [(found.offsets, expected.offsets)]
    pairs += [(getattr(found.stages[0], n), getattr(expected.stages[0], n)) for n in ("logits", "pooled", "sequence")]
    for a, b in pairs:
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, atol=0.06 * float(np.abs(b).max()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"streams": (2, 3)}, "4 channels"),
        ({"pooling": "max"}, "'max'"),
        ({"activation": "tanh"}, "'tanh'"),
        ({"dilations": (2, 3)}, r"dilations \(2, 3\): the first is 1"),
        ({"dilations": ()}, "the first is 1"),
    ],
)
def test_what_the_model_refuses(change, message):
    model = FULL.clone(**change)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda key: model.init(key, *inputs(BATCH), train=False), jax.random.key(0))
