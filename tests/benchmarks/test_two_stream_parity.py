"""The two-stream encoders against PyTorch networks that somebody wrote from their papers without seeing these."""

import dataclasses
import functools

import numpy as np
import pytest
from support.encoders import assert_parity, randomize

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.bn_inception import BNInception
from tal_jax.encoders.p3d import P3D
from tal_jax.encoders.resnest import ResNeSt
from tal_jax.encoders.resnet import ResNet
from tal_jax.encoders.slowfast import SlowFast

torch = pytest.importorskip("torch", reason="the PyTorch models need the extra torch")
from benchmarks import torch_encoders, torch_p3d, torch_resnest, torch_two_stream  # noqa: E402

pytestmark = pytest.mark.slow

DEPTHS, WIDTH = (1, 2, 2, 1), 16
RESNET = functools.partial(torch_two_stream.ResNet, depths=DEPTHS, width=WIDTH)
RESNEST = functools.partial(torch_resnest.ResNeSt, depths=DEPTHS, stem=8, width=WIDTH)
# Entry of the catalogue -> our network, theirs, images of a clip, side, channels of the feature.
SMALL = {
    "tsn_bninception": (BNInception, torch_two_stream.BNInception, 2, 64, 1024),
    "tsn_bninception_flow": (BNInception, functools.partial(torch_two_stream.BNInception, 10), 1, 64, 1024),
    "tsn_resnet50_flow": (
        functools.partial(ResNet, depths=DEPTHS, width=WIDTH), functools.partial(RESNET, in_channels=10), 2, 32, 512
    ),
    "tsm_resnet50_flow": (
        functools.partial(ResNet, depths=DEPTHS, width=WIDTH, shift=True),
        functools.partial(RESNET, in_channels=10, temporal="shift"), 8, 32, 512,
    ),
    "tin_resnet50": (
        functools.partial(ResNet, depths=DEPTHS, width=WIDTH, interlaced=8),
        functools.partial(RESNET, temporal="interlace"), 8, 32, 512,
    ),
    "tsn_resnest50": (functools.partial(ResNeSt, depths=DEPTHS, stem=8, width=WIDTH), RESNEST, 2, 64, 512),
    "tsm_resnest50": (
        functools.partial(ResNeSt, depths=DEPTHS, stem=8, width=WIDTH, shift=True),
        functools.partial(RESNEST, images=8), 8, 64, 512,
    ),
    "p3d63": (
        functools.partial(P3D, depths=(2, 2, 3, 1), width=WIDTH),
        functools.partial(torch_p3d.P3D, depths=(2, 2, 3, 1), width=WIDTH), 16, 64, 512,
    ),
    "p3d199_flow": (
        functools.partial(P3D, depths=(1, 3, 2, 1), width=WIDTH),
        functools.partial(torch_p3d.P3D, depths=(1, 3, 2, 1), width=WIDTH, in_channels=2), 16, 64, 512,
    ),
    "slowfast101_8x8_flow": (
        functools.partial(SlowFast, depths=DEPTHS, width=WIDTH, alpha=4, fusion=5),
        functools.partial(torch_encoders.SlowFast, depths=DEPTHS, width=WIDTH, fusion=5, in_channels=2), 16, 32, 576,
    ),
}  # fmt: skip


def small(name: str) -> catalogue.Encoder:
    """The entry with our small network."""
    ours, _, images, side, width = SMALL[name]
    return dataclasses.replace(catalogue.find(name), make=ours, images=images, side=side, width=width)


def theirs(name: str):
    """The PyTorch network of clips [B, C, F, Y, X] with random weights, and its tensors by released names."""
    model = randomize(SMALL[name][1]().eval())
    tensors = {key: x.numpy() for key, x in model.state_dict().items()}
    if isinstance(model, torch_p3d.P3D | torch_encoders.SlowFast):
        return model, tensors
    return torch_two_stream.TSN(model).eval(), {f"module.base_model.{key}": x for key, x in tensors.items()}


@pytest.mark.parametrize("name", SMALL)
def test_it_computes_the_same(name, tmp_path):
    encoder = small(name)
    model, tensors = theirs(name)
    np.savez(tmp_path / "w.npz", **tensors)
    found = weights.read(tmp_path / "w.npz", encoder)
    shape = (2, encoder.images, encoder.side, encoder.side, encoder.channels)
    clips = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(clips).permute(0, 4, 1, 2, 3)).numpy()
    assert_parity(encoder, found, clips, lambda features: features, expected)
