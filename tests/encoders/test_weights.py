"""Weights of an encoder: every tensor accounted for, or one line; and the published ones of EfficientNet-Lite0."""

import jax
import numpy as np
import pytest
from support.encoders import released

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.resnet import ResNet
from tal_jax.errors import InputError


@pytest.fixture(scope="module")
def lite0():
    """Random weights of EfficientNet-Lite0 as PyTorch names them, with a classifier of 5 classes."""
    rng = np.random.default_rng(0)
    tensors = released(catalogue.find("efficientnet_lite0"), "efficientnet_pytorch", rng)
    tensors["_fc.weight"] = rng.normal(size=(5, 1280)).astype(np.float32)
    return tensors | {"_fc.bias": np.zeros(5, np.float32)}


def read(tmp_path, tensors, name="efficientnet_lite0", family=None):
    np.savez(tmp_path / "w.npz", **tensors)
    return weights.read(tmp_path / "w.npz", catalogue.find(name), family)


def test_every_tensor_finds_its_place(tmp_path, lite0):
    found = read(tmp_path, lite0)
    assert found.family == "efficientnet_pytorch"
    block = found.variables["params"]["block1"]
    np.testing.assert_array_equal(
        block["expand"]["conv"]["kernel"][0, 0], lite0["_blocks.1._expand_conv.weight"][:, :, 0, 0].T
    )
    np.testing.assert_array_equal(block["depthwise"]["conv"]["kernel"].shape, (3, 3, 1, 96))
    np.testing.assert_array_equal(
        found.variables["batch_stats"]["block1"]["project"]["bn"]["var"], lite0["_blocks.1._bn2.running_var"]
    )
    np.testing.assert_array_equal(found.head["kernel"], lite0["_fc.weight"].T)
    assert found.head["bias"].shape == (5,)
    assert len(found.sha256) == 64


def test_without_a_classifier(tmp_path, lite0):
    assert read(tmp_path, {name: x for name, x in lite0.items() if "_fc" not in name}).head is None


def test_missing_and_left_over_tensors_are_named(tmp_path, lite0):
    rest = {name: x for name, x in lite0.items() if name != "_bn1.weight"}
    with pytest.raises(InputError, match=r"w\.npz: not weights of efficientnet_lite0 .*1 missing: _bn1\.weight"):
        read(tmp_path, rest)
    with pytest.raises(InputError, match=r"1 left over: more"):
        read(tmp_path, lite0 | {"more": np.zeros(1)})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("_conv_stem.weight", np.zeros((32, 3, 5, 5)), r"_conv_stem.weight is \(32, 3, 5, 5\) instead of \(32, 3, 3,"),
        ("_bn0.bias", np.full(32, np.nan), "NaN or infinity in _bn0.bias"),
        ("_fc.weight", np.zeros((5, 7)), r"_fc.weight is \(5, 7\) instead of \(classes, 1280\)"),
        ("_fc.bias", np.zeros(4), "not one classifier"),
    ],
)
def test_wrong_values(tmp_path, lite0, name, value, said):
    with pytest.raises(InputError, match=said):
        read(tmp_path, lite0 | {name: value})


def test_a_family_that_there_is_not(tmp_path, lite0):
    with pytest.raises(InputError, match=r"--family=timm: weights of efficientnet_lite0 are read from efficientnet_"):
        read(tmp_path, lite0, family="timm")


def test_the_catalogue_suggests_the_nearest():
    with pytest.raises(InputError, match=r"--encoder=efficientnet-lite: .*did you mean 'efficientnet_lite0'\?"):
        catalogue.find("efficientnet-lite")


def test_weights_of_images_as_a_start_for_flow():
    """Of a grey image, whose colours are alike, flow makes the same: with three tenths of it in each channel."""
    network = ResNet(depths=(1, 1, 1, 1), width=16)
    grey = np.random.default_rng(0).normal(size=(1, 2, 32, 32, 1)).astype(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), grey.repeat(3, -1))
    found = weights.cross_modality(variables, 10)
    kernel = variables["params"]["stem"]["conv"]["kernel"]
    assert found["params"]["stem"]["conv"]["kernel"].shape == (7, 7, 10, 16)
    np.testing.assert_allclose(found["params"]["stem"]["conv"]["kernel"][..., 9, :], kernel.mean(2), rtol=1e-6)
    assert variables["params"]["stem"]["conv"]["kernel"].shape == (7, 7, 3, 16)  # left as they were
    apply = jax.jit(network.apply)
    expected = apply(variables, grey.repeat(3, -1))
    np.testing.assert_allclose(apply(found, 0.3 * grey.repeat(10, -1)), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="no kernel sees the three colours"):
        weights.cross_modality(found, 2)


def test_the_bias_of_a_first_convolution_stays():
    variables = {"params": {"stem": {"kernel": np.ones((7, 7, 3, 4), np.float32), "bias": np.arange(4.0)},
                            "gate": {"kernel": np.ones((3, 3, 2), np.float32)}}}  # fmt: skip
    found = weights.cross_modality(variables, 2)["params"]
    assert found["stem"]["kernel"].shape == (7, 7, 2, 4)
    np.testing.assert_array_equal(found["stem"]["bias"], np.arange(4.0))
    assert found["gate"]["kernel"].shape == (3, 3, 2)
