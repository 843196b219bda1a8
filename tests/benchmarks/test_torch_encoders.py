"""The PyTorch encoders that speed is measured against compute what this project's do, with weights by their names."""

import dataclasses
import functools

import numpy as np
import pytest
from support.encoders import assert_parity, randomize, save_torch

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.resnet import ResNet
from tal_jax.encoders.slowfast import SlowFast
from tal_jax.encoders.videomae import VideoMAE

torch = pytest.importorskip("torch", reason="the PyTorch models need the extra torch")
from benchmarks import torch_encoders  # noqa: E402

DEPTHS, WIDTH = (1, 2, 2, 1), 16
VIT = {"width": 24, "depth": 2, "heads": 3, "mlp": 48}
SMALL = {
    "tsm_resnet50": (
        functools.partial(ResNet, depths=DEPTHS, width=WIDTH, shift=True),
        functools.partial(torch_encoders.TSM, depths=DEPTHS, width=WIDTH), 8, 32 * WIDTH,
    ),
    "slowfast50_8x8": (
        functools.partial(SlowFast, depths=DEPTHS, width=WIDTH, alpha=4, fusion=7),
        functools.partial(torch_encoders.SlowFast, depths=DEPTHS, width=WIDTH), 16, 36 * WIDTH,
    ),
    "videomae_base": (
        functools.partial(VideoMAE, **VIT, side=32), functools.partial(torch_encoders.VideoMAE, **VIT, side=32), 16, 24
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_it_computes_the_same(name, tmp_path):
    ours, theirs, images, width = SMALL[name]
    encoder = dataclasses.replace(catalogue.find(name), make=ours, images=images, side=32, width=width)
    model = randomize(theirs().eval())
    found = weights.read(save_torch(model, tmp_path / "w.pth"), encoder, {"tsm_resnet50": "tsm"}.get(name))
    clips = np.random.default_rng(1).normal(size=(2, images, 32, 32, 3)).astype(np.float32)
    expected = model(torch.from_numpy(clips).permute(0, 4, 1, 2, 3)).detach().numpy()
    assert_parity(encoder, found, clips, lambda features: features, expected)


@pytest.mark.parametrize("name", torch_encoders.ENCODERS)
def test_both_sides_measure_the_same_network(name):
    make, images, side = torch_encoders.ENCODERS[name]
    encoder = catalogue.find(name)
    assert (encoder.images, encoder.side) == (images, side)
    shapes = weights.shapes_of(encoder)
    own = sum(int(np.prod(shape)) for path, shape in shapes.items() if not path.endswith(("mean", "var")))
    assert own == sum(p.numel() for p in make().parameters())
