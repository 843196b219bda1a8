"""Residual networks: parity with transformers, and TSM's shift in a loop and in a network."""

import dataclasses
import functools

import numpy as np
import pytest
from support.encoders import assert_order_counts_when_shifted, assert_parity, randomize, read, released, save_torch

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.resnet import ResNet, shifted, temporal_shift
from tal_jax.errors import InputError

TINY = functools.partial(ResNet, depths=(1, 2, 1, 1), width=8)
TSN = dataclasses.replace(catalogue.find("tsn_resnet50"), make=TINY, side=40, width=256)
TSM = dataclasses.replace(
    catalogue.find("tsm_resnet50"), make=functools.partial(TINY, shift=True), images=4, side=32, width=256
)


def test_parity_with_transformers(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[32, 64, 128, 256], depths=[1, 2, 1, 1], layer_type="bottleneck"
    )
    model = randomize(transformers.ResNetModel(config).eval())
    found = weights.read(save_torch(model, tmp_path / "w.pth"), TSN)
    assert found.family == "transformers"
    images = np.random.default_rng(1).normal(size=(3, 40, 40, 3)).astype(np.float32)
    pooled = model(torch.from_numpy(images).permute(0, 3, 1, 2)).pooler_output[:, :, 0, 0].detach().numpy()
    assert_parity(TSN, found, images[:, None], lambda f: f, pooled)


def test_the_shift_in_a_loop():
    x = np.random.default_rng(0).normal(size=(2 * 3, 2, 2, 16)).astype(np.float32)
    expected = x.copy()
    for clip in range(2):
        for image in range(3):
            for channel in range(16 // 4):
                source = image + 1 if channel < 2 else image - 1
                inside = 0 <= source < 3
                expected[3 * clip + image, ..., channel] = x[3 * clip + source, ..., channel] if inside else 0
    np.testing.assert_array_equal(temporal_shift(x, 3), expected)


def test_which_blocks_shift():
    assert all(shifted((3, 4, 6, 3), i) for i in range(6))
    assert [shifted((3, 4, 23, 3), i) for i in range(4)] == [True, False, True, False]


def test_tsm_sees_its_neighbours_and_tsn_does_not():
    assert_order_counts_when_shifted(TSM)


@pytest.mark.parametrize("family", ["tsm", "mmaction2_tsm"])
def test_tsm_is_told_by_its_names(tmp_path, family):
    tensors = released(TSM, family, np.random.default_rng(0))
    assert {"base_model.layer1.0.conv1.net.weight", "backbone.layer1.0.conv1.conv.net.weight"} & set(tensors)
    assert {"base_model.layer1.0.bn1.weight", "backbone.layer1.0.conv1.bn.weight"} & set(tensors)
    assert read(tmp_path, TSM, tensors).family == family
    with pytest.raises(InputError, match=r"not weights of tsn_resnet50 .*conv1.*net\.weight"):
        read(tmp_path, TSN, tensors)


@pytest.mark.parametrize("family", ["torchvision", "mmaction2", "transformers"])
def test_weights_of_images_need_a_word_to_be_shifted(tmp_path, family):
    tensors = released(TSN, family, np.random.default_rng(0))
    assert read(tmp_path, TSN, tensors).family == family
    with pytest.raises(InputError, match=rf"do not tell what .* were trained as: say so with --family={family}"):
        read(tmp_path, TSM, tensors)
    assert read(tmp_path, TSM, tensors, family).family == family


def test_names_of_torchvision():
    assert {
        "conv1.weight", "bn1.running_mean", "layer1.0.conv2.weight", "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.bias", "layer2.1.bn3.weight",
    } <= set(released(TSN, "torchvision", np.random.default_rng(0)))  # fmt: skip
