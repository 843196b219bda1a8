"""MGFN as a task: its loss against the equations, switches, decoding, learning, padding, order and devices."""

import functools

import jax
import numpy as np
import pytest
from support import references
from support import weak_references as weak
from support.batches import make_batch, pad_further, reorder
from support.derivatives import check_along_directions, to_float64
from support.learning import losses_while_learning
from support.parameters import random_params
from support.sharded import on_four_devices

from tal_jax.errors import InputError
from tal_jax.models.mgfn import MGFN, ClassifierOutput
from tal_jax.tasks.cas_decoding import Decoding
from tal_jax.tasks.mgfn import MGFNTask, pooled_features
from tal_jax.types import Detections

K, BRANCHES, WIDTH = 3, 2, 5  # of each of two stages
PARTS = 2 * BRANCHES  # of the pooled features
LENGTHS = (12, 9, 3, 1)  # two are shorter than the largest dilation
ANCHORS = (2.0, 5.0)
KEY = jax.random.key(0)
MODELS = {
    "gap": MGFN(num_classes=K, hidden=6, branch_hidden=WIDTH, dilations=(1, 5), dropout=0.0, anchors=ANCHORS,
                regressor_hidden=4),
}  # fmt: skip
MODELS["topk"] = MODELS["gap"].clone(pooling="topk", topk_ratio=3, erase_threshold=0.5, activation="linear")
SIZES = {
    "gap": {"dilations": (1, 5), "anchors": 2},
    "topk": {"dilations": (1, 5), "anchors": 2, "top": 3, "threshold": 0.5, "activation": "linear"},
}
WEIGHTS = {"mmd_weight": 0.7, "oic_weight": 1.3}
COUNTS = {"thresholds": 5, "candidates": 40, "detections": 20}
TASKS = {
    "gap": MGFNTask(MODELS["gap"], max_contrast=0.45, **WEIGHTS, **COUNTS),
    "topk": MGFNTask(MODELS["topk"], oic_updates_cas=True, inflation=0.5, min_activation=0.3, **WEIGHTS, **COUNTS),
}
OIC = {
    "gap": {"gamma": 0.25, "min_activation": 0.1, "max_contrast": 0.45},
    "topk": {"gamma": 0.5, "min_activation": 0.3, "max_contrast": 0.7},
}


def make_clips(lengths=(6, 4, 5, 2)):
    """What a trimmed branch knows about clips; the third class has none."""
    rng = np.random.default_rng(1)
    clips = make_batch(seed=1, snippets=6, lengths=lengths, classes=K)
    clips.labels[:, 2] = 0
    return clips.replace(clip_features=rng.normal(0.5, 1, (len(lengths), PARTS * WIDTH)).astype(np.float32))


BATCH = make_batch(lengths=LENGTHS, classes=K).replace(
    labels=np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]], np.float32), clips=make_clips()
)
PARAMS = random_params(functools.partial(MODELS["gap"].init, train=False), BATCH.features, BATCH.mask, BATCH.labels)


@functools.partial(jax.jit, static_argnames="name")
def _loss_and_gradients(params, batch, rng, progress, *, name):
    return jax.value_and_grad(TASKS[name].loss, has_aux=True)(params, batch, rng, progress)


def loss_and_gradients(params, batch, rng=KEY, progress=1.0, name="gap"):
    return _loss_and_gradients(params, batch, rng, np.float32(progress), name=name)


predict = jax.jit(TASKS["gap"].predict)
outputs = jax.jit(TASKS["gap"].forward)


# The loss


def real_rows(batch):
    """Position and number of snippets of every recording that is one."""
    return [(b, int(n)) for b, n in enumerate(batch.mask.sum(axis=1)) if n]


def outputs_by_loop(params, batch, name):
    exact = to_float64(params)["params"]
    rows = real_rows(batch)
    return [weak.mgfn(exact, batch.features[b, :n].astype(float), batch.labels[b], **SIZES[name]) for b, n in rows]


def pooled_by_loop(output, labels, name):
    """[S R, D] of one recording."""
    found = np.concatenate([output["pooled1"], output["pooled2"]])  # [S R, K, D]
    if name == "gap":
        return found[:, 0]
    classes = np.flatnonzero(labels)
    return found[:, classes].mean(axis=1) if len(classes) else np.zeros((PARTS, WIDTH))


def cas_by_loop(output, name):
    x = references.sigmoid(output["sequence"]) if name == "gap" else output["sequence"]
    return np.stack([weak.scaled(x[:, k]) for k in range(K)], axis=1)


def segments_by_loop(offsets):
    """The report's r_x = t_x + t_w p_x, r_w = t_w exp(p_w): [T, M, 2]."""
    found = np.zeros(offsets.shape)
    for t, m in np.ndindex(*offsets.shape[:2]):
        x, w = t + 0.5 + ANCHORS[m] * offsets[t, m, 0], ANCHORS[m] * np.exp(offsets[t, m, 1])
        found[t, m] = x - w / 2, x + w / 2
    return found


def loss_by_loop(params, batch, name, constants=None):
    """Parts of the loss in float64, and what of it is constant for differentiation."""
    found, rows = outputs_by_loop(params, batch, name), real_rows(batch)
    labels = [batch.labels[b] for b, _ in rows]
    parts = {}
    for stage in (1, 2):
        terms = [
            references.cross_entropy(z, float(labels[i][k]))
            for i, output in enumerate(found)
            for branch in output[f"logits{stage}"]
            for k, z in enumerate(branch)
        ]
        parts[f"classes{stage}"] = np.mean(terms) if terms else 0.0
    here = np.array([pooled_by_loop(o, y, name) for o, y in zip(found, labels, strict=True)])
    clips = [batch.clips.clip_features[b].reshape(PARTS, WIDTH).astype(float) for b, _ in real_rows(batch.clips)]
    parts["mmd"], now = 0.0, {"cas": [cas_by_loop(o, name) for o in found]}
    if len(found) >= 2 and len(clips) >= 2:
        pairs = [(here[:, i], np.array(clips)[:, i]) for i in range(PARTS)]
        now["bandwidths"] = [weak.median_distance(*pair) for pair in pairs]
        bandwidths = (constants or now)["bandwidths"]
        parts["mmd"] = np.mean([weak.mmd(*pair, width) for pair, width in zip(pairs, bandwidths, strict=True)])
    cas = now["cas"] if constants is None or TASKS[name].oic_updates_cas else constants["cas"]
    parts["oic"] = weak.oic_loss(cas, [segments_by_loop(o["offsets"]) for o in found], labels, **OIC[name])
    return parts, now


def total_of(parts, ramp=1.0, **weights):
    weights = {**WEIGHTS, **weights}
    return parts["classes1"] + parts["classes2"] + ramp * sum(weights[f"{x}_weight"] * parts[x] for x in ("mmd", "oic"))


def check_parts(found, expected):
    assert set(found) == {"classes1", "classes2", "mmd", "oic"}
    for part, value in found.items():
        np.testing.assert_allclose(value, expected[part], rtol=1e-3, atol=1e-5, err_msg=part)


def row_without(batch, *rows):
    """The given rows only fill the batch, and hold rubbish."""
    mask, features = batch.mask.copy(), batch.features.copy()
    mask[list(rows)], features[list(rows)] = False, 9
    return batch.replace(mask=mask, features=features)


VARIANTS = {
    "whole": BATCH,
    "filled": row_without(BATCH, 1, 3),
    "filled clips": BATCH.replace(clips=row_without(BATCH.clips, 0)),
    "one clip": BATCH.replace(clips=row_without(BATCH.clips, 0, 2, 3)),
}


@pytest.mark.parametrize(("name", "variant"), [*(("gap", v) for v in VARIANTS), ("topk", "whole"), ("topk", "filled")])
def test_loss_is_the_sum_of_its_parts(name, variant):
    batch = VARIANTS[variant]
    (loss, metrics), _ = loss_and_gradients(PARAMS, batch, name=name)
    expected, _ = loss_by_loop(PARAMS, batch, name)
    check_parts(metrics, expected)
    np.testing.assert_allclose(loss, total_of(expected), rtol=1e-3)
    assert expected["oic"] > 0.1
    assert (expected["mmd"] == 0) == (variant == "one clip")


@pytest.mark.parametrize("name", TASKS)
def test_gradients(name):
    """Bandwidths, erased regions and votes are constants; the sequence that OIC reads, too, unless that moves it."""
    _, grads = loss_and_gradients(PARAMS, BATCH, name=name)
    _, constants = loss_by_loop(PARAMS, BATCH, name)

    def scalar(params):
        return total_of(loss_by_loop(params, BATCH, name, constants)[0])

    check_along_directions(scalar, PARAMS, grads, np.random.default_rng(2), leaf_by_leaf=name == "gap", rtol=5e-3)


def test_transfer_and_boundaries_are_ramped_up():
    at = {p: loss_and_gradients(PARAMS, BATCH, progress=p) for p in (0.0, 0.2, 0.35, 0.5, 1.0)}
    parts = at[1.0][0][1]
    for progress, ramp in {0.0: 0, 0.2: 0, 0.35: 0.5, 0.5: 1, 1.0: 1}.items():
        (loss, metrics), grads = at[progress]
        check_parts(metrics, parts)  # as they are, whatever they count
        np.testing.assert_allclose(loss, total_of(parts, ramp), rtol=1e-5)
        assert np.any(grads["params"]["offsets"]["kernel"] != 0) == (ramp > 0)


def switched(batch=BATCH, anchors=ANCHORS, **options):
    """The loss and its parts, compiled for these options alone."""
    task = MGFNTask(MODELS["gap"].clone(anchors=anchors), max_contrast=0.45, **{**WEIGHTS, **options})
    return jax.jit(task.loss)(PARAMS, batch, KEY)


@pytest.mark.parametrize(
    ("options", "off"),
    [
        ({"mmd_weight": 0.0}, {"mmd"}),
        ({"oic_weight": 0.0}, {"oic"}),
        ({"batch": BATCH.replace(clips=None), "oic_weight": 0.0}, {"mmd", "oic"}),
    ],
    ids=["no mmd", "no oic", "no clips"],
)
def test_parts_can_be_switched_off(options, off):
    parts = loss_and_gradients(PARAMS, BATCH)[0][1]
    loss, metrics = switched(**options)
    assert set(metrics) == set(parts) - off
    for part, value in metrics.items():
        np.testing.assert_allclose(value, parts[part], rtol=1e-5)
    np.testing.assert_allclose(loss, total_of(parts, **{f"{part}_weight": 0.0 for part in off}), rtol=1e-5)


def test_parts_that_have_nothing_to_work_on_are_off():
    for options, off in (
        ({"anchors": ()}, {"oic"}),
        ({"batch": BATCH.replace(clips=BATCH.clips.replace(clip_features=None))}, {"mmd"}),
    ):
        task = MGFNTask(MODELS["gap"].clone(anchors=options.get("anchors", ANCHORS)), **WEIGHTS)
        _, metrics = jax.eval_shape(task.loss, PARAMS, options.get("batch", BATCH), KEY)
        assert set(metrics) == {"classes1", "classes2", "mmd", "oic"} - off


def test_clip_features_of_another_model_is_refused():
    for width in (PARTS * WIDTH - 1, 2 * PARTS * WIDTH):
        clips = BATCH.clips.replace(clip_features=np.zeros((4, width), np.float32))
        with pytest.raises(InputError, match=rf"clip features: {width} numbers .* 4 branches of 5"):
            jax.eval_shape(TASKS["gap"].loss, PARAMS, BATCH.replace(clips=clips), KEY)


def test_pooled_features_are_the_mean_over_the_classes_that_are_present():
    rng = np.random.default_rng(3)
    pooled = rng.normal(size=(2, 4, K, WIDTH)).astype(np.float32)
    stages = tuple(ClassifierOutput(None, None, x, None) for x in (pooled, pooled[:, :, :1]))
    found = np.asarray(pooled_features(stages, BATCH.labels))
    assert found.shape == (4, 4, WIDTH)
    for b, classes in enumerate([[0, 2], [1], [], [0]]):
        expected = pooled[:, b, classes].mean(axis=1) if classes else np.zeros((2, WIDTH))
        np.testing.assert_allclose(found[b], np.concatenate([expected, pooled[:, b, 0]]), rtol=1e-5, atol=1e-6)


# What recordings may be like


def with_lengths(lengths):
    return BATCH.replace(mask=np.arange(12)[None] < np.array(lengths)[:, None])


ODD = {
    "no labels": BATCH.replace(labels=np.zeros_like(BATCH.labels)),
    "all labels": BATCH.replace(labels=np.ones_like(BATCH.labels)),
    "shorter than the dilation": with_lengths((4, 3, 2, 4)),
    "one snippet": with_lengths((1, 1, 1, 1)),
    "some filler": row_without(BATCH, 2, 3),
    "only filler": row_without(BATCH, 0, 1, 2, 3),
    "only filler and clips": row_without(BATCH, 0, 1, 2, 3).replace(clips=row_without(BATCH.clips, 0, 1, 2, 3)),
    "constant": BATCH.replace(features=np.ones_like(BATCH.features)),
    "nothing known": BATCH.replace(
        features=np.zeros_like(BATCH.features),
        clips=BATCH.clips.replace(clip_features=np.zeros((4, PARTS * WIDTH), np.float32)),
    ),
    "huge": BATCH.replace(features=np.float32(1e6) * BATCH.features),
    "padded with nan": BATCH.replace(features=np.where(BATCH.mask[..., None], BATCH.features, np.float32(np.nan))),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_recordings_give_finite_losses_gradients_and_sensible_detections(case):
    batch = ODD[case]
    (loss, metrics), grads = loss_and_gradients(PARAMS, batch)
    assert np.isfinite(loss)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((metrics, grads)))
    found = jax.tree.map(np.asarray, predict(PARAMS, batch))
    for b, n in enumerate(batch.mask.sum(axis=1)):
        real = found.mask[b]
        assert np.isfinite(found.segments[b]).all()
        assert (found.segments[b] >= 0).all()
        assert (found.segments[b] <= n).all()
        assert (found.segments[b, real, 0] < found.segments[b, real, 1]).all()
        assert (np.diff(found.scores[b]) <= 0).all()
        assert (found.scores[b, real] > 0).all()
        assert set(found.labels[b, real].tolist()) <= set(range(K))
        if n == 0:
            assert not real.any()
    if case in ("no labels", "some filler"):
        assert found.mask[:2].any()
    if case == "only filler":
        assert loss == 0
        assert not any(np.any(g) for g in jax.tree.leaves(grads))


def test_classes_of_the_clips_are_not_looked_at():
    """Their features are pooled already, whatever class is absent from them."""
    expected = loss_and_gradients(PARAMS, BATCH)
    for labels in (np.zeros_like(BATCH.clips.labels), np.ones_like(BATCH.clips.labels)):
        batch = BATCH.replace(clips=BATCH.clips.replace(labels=labels))
        jax.tree.map(np.testing.assert_array_equal, loss_and_gradients(PARAMS, batch), expected)


# Padding, order, devices


def close(found, expected, rtol=1e-4, atol=1e-4):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), found, expected)


def test_padding_further_changes_nothing():
    more = pad_further(BATCH, snippets=5).replace(clips=pad_further(BATCH.clips, snippets=3))
    close(loss_and_gradients(PARAMS, more), loss_and_gradients(PARAMS, BATCH))
    close(predict(PARAMS, more), predict(PARAMS, BATCH))


def test_order_changes_nothing():
    """Neither of the recordings nor of the clips, which belong to no recording."""
    expected, order = loss_and_gradients(PARAMS, BATCH), [2, 0, 3, 1]
    close(loss_and_gradients(PARAMS, reorder(BATCH, order)), expected)
    close(loss_and_gradients(PARAMS, BATCH.replace(clips=reorder(BATCH.clips, order))), expected)
    close(predict(PARAMS, reorder(BATCH, order)), reorder(predict(PARAMS, BATCH), order))


def test_number_of_devices_changes_nothing():
    params, batch = on_four_devices(PARAMS, BATCH)
    close(loss_and_gradients(params, batch), loss_and_gradients(PARAMS, BATCH))
    close(predict(params, batch), predict(PARAMS, BATCH))


# Decoding


def test_detections_are_regressed_segments_cut_to_the_recording():
    output, probabilities = outputs(PARAMS, BATCH)
    found = jax.tree.map(np.asarray, predict(PARAMS, BATCH))
    assert found.mask.sum() > 10
    for b, n in enumerate(LENGTHS):
        cas = cas_by_loop({"sequence": np.asarray(output.sequence, float)[b, :n]}, "gap")
        candidates = segments_by_loop(np.asarray(output.offsets, float)[b, :n]).reshape(-1, 2)
        for segment, label in zip(found.segments[b], found.labels[b], strict=True):
            if label >= 0 and n > 1:  # of one snippet, the recording itself is found
                distance = np.abs(np.clip(candidates, 0, n) - segment).max(axis=1)
                assert distance.min() < 1e-4
                # Those that stand out too little are dropped, here as in training.
                assert weak.contrast(cas[:, label], *candidates[distance.argmin()], 0.25) < 0.45 + 1e-4
        logits = weak.mgfn(to_float64(PARAMS)["params"], BATCH.features[b, :n].astype(float), **SIZES["gap"])["logits1"]
        np.testing.assert_allclose(probabilities[b], references.sigmoid(logits.mean(axis=0)), rtol=1e-3)


def test_thresholded_segments_need_no_regressor_and_may_replace_it():
    output, probabilities = outputs(PARAMS, BATCH)
    task = MGFNTask(MODELS["gap"], segments="thresholded", max_contrast=0.45, **COUNTS)
    found = jax.jit(task.decode)((output, probabilities), BATCH, Decoding())
    bare = MGFNTask(MODELS["gap"].clone(anchors=()), max_contrast=0.45, **COUNTS)
    without = output.replace(offsets=output.offsets[:, :, :0])
    close(jax.jit(bare.decode)((without, probabilities), BATCH, Decoding()), found)
    regressed = predict(PARAMS, BATCH)
    starts, others = (set(d.segments[d.mask][:, 0].tolist()) - {0.0} for d in (found, regressed))
    assert starts
    assert others
    assert not starts & others


def test_one_compilation_serves_all_decodings():
    traced = []

    @jax.jit
    def decode(output, probabilities, batch, decoding):
        traced.append(1)
        return TASKS["gap"].decode((output, probabilities), batch, decoding)

    given = outputs(PARAMS, BATCH)
    decodings = [
        Decoding(), Decoding(smoothing=3.0), Decoding(class_threshold=0.9), Decoding(lowest=0.5),
        Decoding(inflation=1.0), Decoding(class_weight=0.0), Decoding(nms_sigma=0.05),
    ]  # fmt: skip
    found = [decode(*given, BATCH, jax.tree.map(np.float32, d)) for d in decodings]
    assert len(traced) == 1
    close(found[0], predict(PARAMS, BATCH))
    for other in found[1:]:  # each number counts
        assert np.abs(other.scores - found[0].scores).max() > 1e-3


def test_merging_windows_keeps_classes_apart_and_drops_nothing():
    windows = Detections(
        segments=np.array([[[0, 4], [0, 4], [1, 4], [0, 0]]], np.float32),
        labels=np.array([[0, 1, 0, 0]], np.int32),
        scores=np.array([[0.9, 0.5, 0.8, 0]], np.float32),
        mask=np.array([[True, True, True, False]]),
    )
    for sigma in (0.3, 0.8):
        merged = jax.jit(MGFNTask(MODELS["gap"], Decoding(nms_sigma=sigma)).merge)(windows)
        rows = [(0.9, 0), (0.5, 1), (0.8 * np.exp(-(0.75**2) / sigma), 0)]
        expected = sorted(rows, reverse=True)
        np.testing.assert_array_equal(merged.mask, [[True, True, True, False]])
        np.testing.assert_allclose(merged.scores[0, :3], [score for score, _ in expected], rtol=1e-5)
        np.testing.assert_array_equal(merged.labels, [[*(label for _, label in expected), -1]])


# Learning


def test_learns_a_small_batch():
    history = losses_while_learning(loss_and_gradients, PARAMS, BATCH, KEY, steps=40)
    assert history[-1] < 0.7 * history[0]


def test_dropout_follows_its_key():
    task = MGFNTask(MODELS["gap"].clone(dropout=0.5), **WEIGHTS)
    loss = jax.jit(task.loss)
    one, again, other = (float(loss(PARAMS, BATCH, jax.random.key(i))[0]) for i in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"segments": "all"}, "not 'all'"),
        ({"segments": "regressed", "model": MODELS["gap"].clone(anchors=())}, "needs a boundary regressor"),
        ({"ramp_start": 0.5, "ramp_end": 0.5}, "below ramp_end"),
        ({"ramp_start": -0.1}, "ramp_start -0.1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        MGFNTask(**{"model": MODELS["gap"], **options})
