"""Pyramid networks compute what their published PyTorch forms compute; padding changes nothing in the clean ones."""

from dataclasses import replace

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.pyramids import CLEAN, filled

from tal_jax.convert.families import FAMILIES
from tal_jax.convert.match import parameters_of, tensors_of
from tal_jax.models.actionformer import ActionFormer
from tal_jax.models.pyramid_heads import expected_distance

C, K = 6, 3


def network(model, params, features, mask, train=False):
    return jax.jit(lambda p, x, m: model.apply(p, x, m, train=train))(params, features, mask)


def rows(lengths, snippets, seed=0):
    features = np.random.default_rng(seed).normal(size=(len(lengths), snippets, C)).astype(np.float32)
    mask = np.arange(snippets)[None] < np.array(lengths)[:, None]
    return features * mask[..., None], mask


@pytest.mark.parametrize("name", CLEAN)
def test_padding_and_neighbours_change_nothing(name):
    model = CLEAN[name]
    features, mask = rows((40, 23, 1), 40)
    params = filled(model, C)
    whole = network(model, params, features, mask)
    rng = np.random.default_rng(1)
    for order, snippets in (((2, 0, 1), 64), ((1,), 23)):
        lengths = [(40, 23, 1)[row] for row in order]
        others = rng.normal(size=(len(order), snippets, C)).astype(np.float32)  # padding may hold anything
        own = np.arange(snippets)[None] < np.array(lengths)[:, None]
        for at, (row, length) in enumerate(zip(order, lengths, strict=True)):
            others[at, :length] = features[row, :length]
        found = network(model, params, others, own)
        for at, (row, length) in enumerate(zip(order, lengths, strict=True)):
            for level in range(model.levels):
                real = -(-length // 2**level)
                here, there = (np.flatnonzero(model.points(t).level == level)[:real] for t in (40, snippets))
                assert np.array_equal(whole.mask[row, here], found.mask[at, there])
                for field in ("class_logits", "distances"):
                    a, b = getattr(whole, field)[row, here], getattr(found, field)[at, there]
                    np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * max(1, np.abs(a).max()), err_msg=field)


@pytest.mark.parametrize("name", ["attention", "granularity", "pool"])
def test_gradients_are_finite_and_padding_has_none(name):
    model = CLEAN[name]
    features, mask = rows((40, 0), 40)

    def total(x, p):
        out = model.apply(p, x, mask, train=True, rngs={"dropout": jax.random.key(0)})
        return jnp.sum(jnp.where(out.mask[..., None], out.class_logits**2, 0)) + jnp.sum(
            jnp.where(out.mask[..., None, None], out.distances**2, 0)
        )

    by_input, by_params = jax.jit(jax.grad(total, (0, 1)))(features, filled(model, C))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(by_params))
    assert np.abs(by_input[0]).max() > 0
    assert not np.any(by_input[1])


def test_trident_distances_are_means_of_distributions():
    rng = np.random.default_rng(0)
    t, b, k = 7, 4, 2
    boundary, bins = rng.normal(size=(1, t, k)).astype(np.float32), rng.normal(size=(1, t, b + 1)).astype(np.float32)
    for forward in (False, True):
        found = expected_distance(boundary, bins, forward)
        for at in range(t):
            for c in range(k):
                places = [at + i if forward else at - i for i in range(b + 1)]
                own = np.array([boundary[0, p, c] if 0 <= p < t else 0.0 for p in places])
                logits = own + (bins[0, at] if forward else bins[0, at, ::-1])
                weights = np.exp(logits) / np.exp(logits).sum()
                np.testing.assert_allclose(found[0, at, c], weights @ np.arange(b + 1), rtol=1e-5)


def test_a_path_is_dropped_for_whole_rows():
    model = CLEAN["attention"].clone(path_dropout=0.99, stem_blocks=1, levels=1)
    features, mask = rows((16, 16, 16, 16), 16)
    params = filled(model, C)
    out = [
        model.apply(params, features, mask, train=True, rngs={"dropout": jax.random.key(seed)}).class_logits
        for seed in range(2)
    ]
    bare = flax.traverse_util.path_aware_map(
        lambda path, x: jnp.zeros_like(x) if path[-2] in ("path1", "path2") else x, params
    )
    none = network(model, bare, features, mask).class_logits
    assert min(np.abs(o[r] - none[r]).max() for o in out for r in range(4)) < 1e-5


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"backbone": "lstm"}, "model.backbone is one of attention, granularity, pool, not 'lstm'"),
        ({"neck": "batch"}, "model.neck is 'layer' or 'group', not 'batch'"),
        ({"levels": 0}, "model.levels is at least 1"),
    ],
)
def test_fields_out_of_range_are_refused(fields, text):
    with pytest.raises(ValueError, match=text):
        ActionFormer(K, **fields)


class TestAgainstPyTorch:
    """Outputs on random weights within 1e-4 of the largest, and state dicts in and out bit for bit."""

    @staticmethod
    def sizes():
        pytest.importorskip("torch", reason="the PyTorch models need the extra torch")
        from benchmarks.torch_actionformer import Sizes

        small = Sizes((C,), width=16, head_width=16, branch=3, windows=(3, 4, 1, 5), classes=K, max_seq_len=64)
        granular = replace(
            small, backbone="sgp", head="trident", windows=(3,) * 4, sgp_width=24, sgp_factor=1.2, bins=4,
            head_width=24, head_kernel=5, boundary_kernel=1,
        )  # fmt: skip
        pool = replace(small, backbone="maxpool", stem=0, windows=(), neck="group")
        return {
            "local": small,
            "positions": replace(small, absolute=True, branch=5, windows=(7, 7, 7, 7, 7, -1)),
            "streams": replace(small, inputs=(2, 3, 1), streams=(4, 8, 4), heads=2, branch=4, windows=(9,) * 5),
            "granularity": granular,
            "granularity_positions": replace(granular, absolute=True, head_kernel=3, boundary_kernel=3),
            "pool": pool,
        }

    @staticmethod
    def model(sizes):
        return ActionFormer(
            sizes.classes,
            sizes.width,
            sizes.levels,
            {"sgp": "granularity", "maxpool": "pool"}.get(sizes.backbone, "attention"),
            sizes.embedding,
            sizes.stem,
            sizes.heads,
            sizes.windows or (1,),
            sizes.sgp_width if sizes.backbone == "sgp" else 4 * sizes.width,
            kernel=sizes.windows[0] if sizes.backbone == "sgp" else 1,
            kernel_factor=sizes.sgp_factor,
            head_hidden=sizes.head_width,
            head_layers=sizes.head_layers,
            head_taps=sizes.head_kernel,
            bins=sizes.bins if sizes.head == "trident" else 0,
            boundary_taps=sizes.boundary_kernel,
            neck=sizes.neck,
            position=sizes.absolute,
            stream_hidden=sizes.streams,
            stream_widths=sizes.inputs if sizes.streams else (),
            released=sizes.max_seq_len,
        )

    @pytest.mark.parametrize(
        "name",
        [
            *("local", "granularity", "pool"),
            *(pytest.param(n, marks=pytest.mark.slow) for n in ("positions", "streams", "granularity_positions")),
        ],
    )
    def test_same_outputs(self, name):
        sizes = self.sizes()[name]
        import torch

        from benchmarks.torch_actionformer import OneStage, padded, padded_length

        torch.manual_seed(0)
        module = OneStage(sizes).eval()
        with torch.no_grad():
            for parameter in module.parameters():  # nothing that starts at 0, 1 or 1e-4 hides
                parameter += 0.3 * torch.randn_like(parameter)
        state = {key: x.detach().numpy() for key, x in module.state_dict().items()}
        model = self.model(sizes)
        family = FAMILIES[{"sgp": "tridet", "maxpool": "temporalmaxer"}.get(sizes.backbone, "actionformer")]
        fields = {field: getattr(model, field) for field in model.__dataclass_fields__}
        told = family.settings(sizes.max_seq_len, state)["model"]
        assert {key: fields[key] for key in told} == {key: told[key] or fields[key] for key in told}
        fitted = family.fitted(fields)
        like = jax.eval_shape(lambda: filled(model, C))["params"]
        shapes = {k: np.zeros(x.shape, np.float32) for k, x in flax.traverse_util.flatten_dict(like, sep="/").items()}
        parameters = parameters_of(fitted, state, shapes, sizes.max_seq_len, "x.pth")
        params = {"params": flax.traverse_util.unflatten_dict(parameters, sep="/")}
        back = tensors_of(fitted, parameters, sizes.max_seq_len, "w")
        assert back.keys() == state.keys()
        assert all(np.array_equal(back[key], state[key]) for key in state)

        rng = np.random.default_rng(0)
        longest = 100
        for lengths in ((64, 63, 30, 1), (longest, 65)):
            frame = 64 if max(lengths) <= 64 else longest
            rows = [rng.normal(size=(n, C)).astype(np.float32) for n in lengths]
            features = np.stack([np.pad(x, ((0, frame - len(x)), (0, 0))) for x in rows])
            mask = np.arange(frame)[None] < np.array(lengths)[:, None]
            found = network(model, params, features, mask)
            points = model.points(frame)
            for row, own in enumerate(rows):
                with torch.no_grad():
                    expected = module(*padded(torch.from_numpy(own.T.copy()), padded_length(len(own), sizes)))
                for level in range(sizes.levels):
                    at = np.flatnonzero(points.level == level)
                    real = expected.masks[level][0, 0].numpy()
                    count = int(real.sum())
                    assert np.array_equal(np.flatnonzero(found.mask[row, at]), np.arange(count))
                    logits = expected.logits[level][0].numpy().T[:count]
                    distances = expected.distances[level][0].numpy()
                    distances = distances[:count] if distances.ndim == 3 else distances.T[:count, None]
                    for a, b in ((found.class_logits, logits), (found.distances, distances)):
                        tolerance = 1e-4 * max(1.0, np.abs(b).max())
                        np.testing.assert_allclose(a[row, at[:count]], b, rtol=0, atol=tolerance)
