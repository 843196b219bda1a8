"""TCANet composed from the reference pieces; padding, order, precision and size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import references
from support.batches import make_batch, pad_further, reorder
from support.derivatives import check_along_directions, to_float64
from support.parameters import random_params

from tal_jax.models.tcanet import TCANet

SHARED = {"groups": 2, "encoders": 2, "stages": 2, "context": 4, "inside": 8, "heads": 4, "local_heads": 2, "window": 3}
MODEL = TCANet(**SHARED, num_classes=2, hidden=8, ffn=6, dropout=0.0, regressor_hidden=4, frame_hidden=4)
# The released variant clamps to the padded window and sees padding.
MODELS = {"report": MODEL, "released": MODEL.clone(variant="released")}
TUNED = {"context_inside": 0.25, "encoder_variant": "released"}
FIELDS = ("proposals", "ends", "center", "iou_logit", "class_logits", "segments")
BATCH = make_batch(lengths=(9, 6), snippets=9, proposals=2)


def inputs(batch):
    return batch.features, batch.mask, batch.duration, batch.proposals


PARAMS = random_params(functools.partial(MODEL.init, train=False), *inputs(BATCH))


@functools.partial(jax.jit, static_argnames=("variant", "train"))
def apply(params, *args, variant="report", train=False):
    return MODELS[variant].apply(params, *args, train=train).stages


def reference(params, features, given=None, **options):
    return [
        references.tcanet(
            params["params"],
            features[b],
            BATCH.mask[b],
            float(BATCH.duration[b]),
            BATCH.proposals[b].astype(float),
            given=None if given is None else [g[b] for g in given],
            **SHARED,
            **options,
        )
        for b in range(2)
    ]


@pytest.mark.parametrize(("variant", "train"), [("report", False), ("released", True), ("released", False)])
def test_forward_is_the_composition_of_the_references(variant, train):
    found = apply(PARAMS, *inputs(BATCH), variant=variant, train=train)
    expected = reference(to_float64(PARAMS), BATCH.features.astype(float), variant=variant, train=train)
    check_stages(found, expected)


def check_stages(found, expected):
    for stage, b in np.ndindex(2, 2):
        for name in FIELDS:
            got = np.asarray(getattr(found[stage], name))[b]
            np.testing.assert_allclose(got, expected[b][stage][name], rtol=1e-3, atol=1e-4, err_msg=f"{name} {stage}")


@pytest.mark.parametrize("snippets", [100, 1000])
def test_released_segments_may_end_beyond_the_window(snippets):
    """Clamped at 0 alone, stage after stage: what the next one samples and refines is the segment as it is."""
    rng = np.random.default_rng(4)
    batch = make_batch(lengths=(snippets,), snippets=snippets, proposals=40)
    start = rng.uniform(0, snippets - 1, (1, 40, 1)) * (np.arange(40) > 3)[:, None]
    proposals = np.concatenate([start, np.minimum(start + rng.exponential(snippets / 3, start.shape), snippets)], -1)
    # Neighbours are alike, as real ones are, and offsets small: a stage's rounding is not to be the next one's error.
    n = snippets // 20
    smooth = np.float32(n**0.5) * np.mean([np.roll(batch.features, i, axis=1) for i in range(n)], axis=0)
    batch = batch.replace(features=smooth, proposals=proposals.astype(np.float32))
    model = MODELS["released"].clone(encoders=0, stages=3)
    params = random_params(functools.partial(model.init, train=False), *inputs(batch))
    params = jax.tree.map_with_path(lambda path, x: x * np.float32(0.2 if "_out" in str(path) else 1), params)
    found = jax.jit(functools.partial(model.apply, train=False))(params, *inputs(batch)).stages
    expected = references.tcanet(
        to_float64(params)["params"], batch.features[0].astype(float), batch.mask[0], float(snippets),
        batch.proposals[0].astype(float), **{**SHARED, "encoders": 0, "stages": 3}, variant="released",
    )  # fmt: skip
    assert max(stage["segments"].max() for stage in expected[:2]) > snippets + 0.1  # a later stage is given such a one
    assert min(stage["segments"].min() for stage in expected) == 0
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.segments[0] * (8 / 15), theirs["segments"] * (8 / 15), atol=1e-3)


def test_options_beyond_the_report():
    """Contexts that reach inside, released encoders in the report's frame, and class logits of the snippets."""
    model = MODEL.clone(**TUNED, snippet_head=True)
    params = random_params(functools.partial(model.init, train=False), *inputs(BATCH))
    found = jax.jit(functools.partial(model.apply, train=False))(params, *inputs(BATCH))
    exact, features = to_float64(params), BATCH.features.astype(float)
    check_stages(found.stages, reference(exact, features, **TUNED))
    sizes = {name: SHARED[name] for name in ("encoders", "groups", "heads", "local_heads", "window")}
    for b in range(2):
        x = references.encode(exact["params"], features[b], BATCH.mask[b], **sizes, encoder_variant="released")
        expected = references.dense(exact["params"]["snippet_out"], x)
        np.testing.assert_allclose(found.snippet_logits[b], expected, rtol=1e-3, atol=1e-4)


def test_gradients_stop_between_the_stages():
    """Directional derivatives of the reference whose later stages are given fixed proposals."""
    rng = np.random.default_rng(1)
    base = reference(to_float64(PARAMS), BATCH.features.astype(float))
    given = [np.stack([base[b][stage]["proposals"] for b in range(2)]) for stage in range(2)]
    cotangents = {
        name: rng.normal(size=(2, 2, *base[0][0][name].shape))
        for name in ("ends", "center", "iou_logit", "class_logits")
    }

    def scalar(args):
        outputs = reference(*args, given=given)
        return sum(np.sum(outputs[b][s][n] * c[s, b]) for n, c in cotangents.items() for s, b in np.ndindex(2, 2))

    @jax.jit
    def grads(params, features):
        def f(params, features):
            outputs = MODEL.apply(params, features, BATCH.mask, BATCH.duration, BATCH.proposals, train=False).stages
            return sum(
                jnp.sum(getattr(o, n) * c[s].astype(np.float32))
                for n, c in cotangents.items()
                for s, o in enumerate(outputs)
            )

        return jax.grad(f, argnums=(0, 1))(params, features)

    point = (PARAMS, BATCH.features)
    check_along_directions(scalar, point, grads(*point), np.random.default_rng(2), leaf_by_leaf=False)


def test_padding_further_and_order_change_nothing_in_the_report_variant():
    expected = apply(PARAMS, *inputs(BATCH))
    padded = apply(PARAMS, *inputs(pad_further(BATCH, snippets=4, proposals=3)))
    swapped = apply(PARAMS, *inputs(reorder(BATCH, [1, 0])))
    for e, p, s in zip(expected, padded, swapped, strict=True):
        for name in FIELDS:
            np.testing.assert_allclose(np.asarray(getattr(p, name))[:, :2], getattr(e, name), atol=1e-4)
            np.testing.assert_allclose(reorder(getattr(s, name), [1, 0]), getattr(e, name), atol=1e-4)


def test_bfloat16_stays_close_and_keeps_float32_parameters():
    model = MODEL.clone(dtype=jnp.bfloat16)
    with jax.numpy_dtype_promotion("standard"):  # jax.nn.dot_product_attention itself promotes to float32
        shapes = jax.eval_shape(lambda key: model.init(key, *inputs(BATCH), train=False), jax.random.key(0))
        found = jax.jit(functools.partial(model.apply, train=False))(PARAMS, *inputs(BATCH))
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {np.dtype(np.float32)}
    for stage, expected in zip(found.stages, apply(PARAMS, *inputs(BATCH)), strict=True):
        for name in FIELDS:
            value = getattr(stage, name)
            assert value.dtype == jnp.float32
            assert np.isfinite(value).all()
        np.testing.assert_allclose(stage.iou_logit, expected.iou_logit, atol=0.2)
        np.testing.assert_allclose(stage.segments, expected.segments, atol=1.0)


def test_number_of_parameters_at_the_published_sizes():
    batch = make_batch(lengths=(16,), snippets=16, channels=2304, proposals=2)
    tree = jax.eval_shape(lambda key: TCANet().init(key, *inputs(batch), train=False), jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(tree)) == 11_570_191


def test_unknown_variant():
    with pytest.raises(ValueError, match="published"):
        jax.eval_shape(
            lambda key: TCANet(variant="published").init(key, *inputs(BATCH), train=False), jax.random.key(0)
        )
