"""R(2+1)D against torchvision's, and against that with the widths that TSP has."""

import dataclasses
import functools

import numpy as np
import pytest
from support.encoders import assert_parity, randomize, save_torch

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.r2plus1d import R2Plus1D, between

DEPTHS = (1, 2, 1, 1)


@pytest.fixture(scope="module")
def video_resnet():
    pytest.importorskip("torch")
    try:
        from torchvision.models.video import resnet
    except (ImportError, RuntimeError):  # RuntimeError: built for another PyTorch
        pytest.skip("torchvision is not installed")
    return resnet


def encoder(**fields):
    make = functools.partial(R2Plus1D, depths=DEPTHS, **fields)
    return dataclasses.replace(catalogue.find("r2plus1d34_tsp"), make=make, images=8, side=32)


@pytest.mark.parametrize("middle", ["block", "own"])
def test_parity_with_torchvision(video_resnet, tmp_path, middle):
    import torch

    blocks = [video_resnet.Conv2Plus1D] * 4
    model = video_resnet.VideoResNet(video_resnet.BasicBlock, blocks, DEPTHS, video_resnet.R2Plus1dStem, num_classes=5)
    if middle == "own":
        for width in (128, 256, 512):  # the blocks whose second pair has another width between than the first
            stage = {128: model.layer2, 256: model.layer3, 512: model.layer4}[width]
            stage[0].conv2[0] = video_resnet.Conv2Plus1D(width, width, 9 * width // 4)
    randomize(model.eval())
    tiny = encoder(middle=middle, eps=1e-5)
    found = weights.read(save_torch(model, tmp_path / "w.pth"), tiny)
    assert found.family == "torchvision"
    clips = np.random.default_rng(0).normal(size=(2, 8, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        logits = model(torch.from_numpy(clips).permute(0, 4, 1, 2, 3)).numpy()
    assert_parity(tiny, found, clips, lambda f: f @ found.head["kernel"] + found.head["bias"], logits)


def test_files_of_tsp(tmp_path):
    from support.encoders import released

    tensors = released(encoder(), "tsp", np.random.default_rng(0))
    assert "features.layer1.0.conv1.0.3.weight" in tensors
    np.savez(tmp_path / "w.npz", **tensors, **{"fc1.weight": np.zeros((5, 512)), "fc2.bias": np.zeros(2)})
    found = weights.read(tmp_path / "w.npz", encoder())
    assert found.family == "tsp"
    assert found.head is None


def test_the_width_between():
    assert between(64, 64) == 144
    assert between(64, 128) == 230
    assert between(128, 128) == 288
