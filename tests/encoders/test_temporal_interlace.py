"""TIN: the interlace in a loop, its gradients, where it sits, and its released names."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.encoders import released

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.resnet import ResNet
from tal_jax.encoders.temporal_interlace import Interlace, interlace
from tal_jax.errors import InputError

TINY = functools.partial(ResNet, depths=(1, 2, 1, 1), width=16, interlaced=4)
TIN = dataclasses.replace(catalogue.find("tin_resnet50"), make=TINY, images=4, side=32, width=512)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def in_a_loop(x, offsets, weights):
    """[F, Y, X, C] of one clip, offsets (o1, o2), weights [F, 2], by the equations."""
    images, quarter = len(x), x.shape[-1] // 4
    y = np.zeros_like(x)
    for t in range(images):
        for c in range(x.shape[-1]):
            group = c // quarter
            offset = (offsets[0], offsets[1], -offsets[0], -offsets[1])[group]
            s = int(np.floor(offset))
            a = offset - s
            for source, share in ((t - s, 1 - a), (t - s - 1, a)):
                if 0 <= source < images:
                    y[t, ..., c] += share * x[source, ..., c]
            y[t, ..., c] *= weights[t, group % 2]
    return y


@pytest.mark.parametrize("offsets", [(0.5, -1.3), (0.0, 2.0), (-2.0, 1.0), (1.99, -0.01)])
def test_the_interlace_in_a_loop(offsets):
    rng = np.random.default_rng(0)
    x, scales = rng.normal(size=(2, 5, 2, 3, 8)), rng.uniform(0, 2, (2, 5, 2))
    expected = [in_a_loop(clip, offsets, w) for clip, w in zip(x, scales, strict=True)]
    given = [jnp.asarray(value, jnp.float32) for value in (x, [offsets, offsets], scales)]
    np.testing.assert_allclose(interlace(*given), expected, rtol=1e-5, atol=1e-6)


def test_offsets_learn_through_their_fractions():
    """dy[t]/do = x[t - s - 1] - x[t - s], also where the offset is an integer."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 1, 1, 4)), jnp.float32)
    ones = jnp.ones((1, 5, 2))
    for offset, s in ((0.5, 0), (1.0, 1), (-1.25, -2)):

        def first(o):
            return interlace(x, jnp.stack([o, o])[None], ones)[0, :, 0, 0, 0]

        found = jax.jacobian(first)(jnp.float32(offset))
        source = np.pad(np.asarray(x[0, :, 0, 0, 0]), 5)
        expected = [source[5 + t - s - 1] - source[5 + t - s] for t in range(5)]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_layers_by_hand():
    rng = np.random.default_rng(0)
    network = Interlace(images=3)
    x = rng.normal(size=(2 * 3, 2, 2, 32)).astype(np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    p = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)
    expected = x.reshape(2, 3, 2, 2, 32).astype(np.float64)
    for clip in expected:
        z = np.pad(clip[..., :8].mean((1, 2)), ((1, 1), (0, 0)))
        taps = [z[t : t + 3] for t in range(3)]
        conv = lambda name: np.stack(  # noqa: E731
            [np.einsum("kc,kco->o", tap, p[name]["kernel"]) + p[name]["bias"] for tap in taps]  # noqa: B023
        )
        hidden = np.maximum(conv("offset_conv")[:, 0] @ p["offset_fc1"]["kernel"] + p["offset_fc1"]["bias"], 0)
        o = 4 * (sigmoid(hidden @ p["offset_fc2"]["kernel"] + p["offset_fc2"]["bias"]) - 0.5)
        clip[..., :8] = in_a_loop(clip[..., :8], o, 2 * sigmoid(conv("weight_conv")))
    found = network.apply({"params": p}, x)
    np.testing.assert_allclose(found, expected.reshape(x.shape), rtol=1e-4, atol=1e-5)


def test_where_it_starts():
    p = Interlace(images=3).init(jax.random.key(0), jnp.ones((3, 2, 2, 32)))["params"]
    np.testing.assert_allclose(4 * (sigmoid(p["offset_fc2"]["bias"]) - 0.5), [0.5, 0.5], atol=1e-4)
    np.testing.assert_array_equal(p["weight_conv"]["bias"], [0, 0])


def test_before_every_block():
    shapes = weights.shapes_of(catalogue.find("tin_resnet101"))
    assert sum(path.endswith("offset_fc1/kernel") for path in shapes) == 3 + 4 + 23 + 3
    assert shapes["interlace3_1/offset_conv/kernel"] == (3, 1024 // 4, 1)
    assert shapes["interlace1_0/weight_conv/kernel"] == (3, 64 // 4, 2)


def test_a_clip_of_another_length():
    clip = jax.ShapeDtypeStruct((1, 6, 32, 32, 3), jnp.float32)
    with pytest.raises(ValueError, match="this TIN has 4 images, which it was made for, not 6"):
        jax.eval_shape(TINY().init, jax.random.key(0), clip)


@pytest.mark.parametrize("family", ["tin", "mmaction2_tin"])
def test_released_names(tmp_path, family):
    tensors = released(TIN, family, np.random.default_rng(0))
    assert len(tensors) == len(weights.shapes_of(TIN))
    first = {"tin": "base_model.layer2.1.conv1.", "mmaction2_tin": "backbone.layer2.1.conv1.conv."}[family]
    parts = {
        "tin": ("biasnet.net.conv", "biasnet.net.fc", "biasnet.net.lastlayer", "weightnet.net.lastlayer"),
        "mmaction2_tin": ("offset_net.conv", "offset_net.fc1", "offset_net.fc2", "weight_net.conv"),
    }[family]
    shapes = ((1, 32, 3), (4, 4), (2, 4), (2, 32, 3))
    for part, shape in zip(parts, shapes, strict=True):
        assert tensors[f"{first}net1.{part}.weight"].shape == shape
    assert tensors[f"{first}net2.weight"].shape == (32, 128, 1, 1)
    np.savez(tmp_path / "w.npz", **tensors)
    found = weights.read(tmp_path / "w.npz", TIN)
    assert found.family == family
    kernel = found.variables["params"]["interlace2_1"]["offset_fc2"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors[f"{first}net1.{parts[2]}.weight"].T)


def test_weights_of_other_lengths_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", **released(TIN, "tin", np.random.default_rng(0)))
    longer = dataclasses.replace(TIN, make=functools.partial(TINY, interlaced=8), images=8)
    with pytest.raises(InputError, match=r"biasnet\.net\.fc\.bias is \(4,\) instead of \(8,\)"):
        weights.read(tmp_path / "w.npz", longer)
