"""SlowFast: FAIR's form against PyTorchVideo, the choice of images, and what other code bases do differently."""

import dataclasses
import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.encoders import assert_parity, randomize, released, save_torch

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.names.layouts import layouts_of
from tal_jax.encoders.slowfast import SlowFast, slow_images

TINY = functools.partial(SlowFast, depths=(1, 2, 2, 1), width=16, alpha=4, fusion=7)
ENCODER = dataclasses.replace(
    catalogue.find("slowfast50_8x8"), name="tiny", make=TINY, images=16, side=32, width=32 * 18
)


@pytest.fixture(scope="module")
def slowfast():
    pytest.importorskip("torch")
    if "torchvision" not in sys.modules:  # which PyTorchVideo wants one name of, for detection
        stand_in = types.ModuleType("torchvision")
        stand_in.ops = types.ModuleType("torchvision.ops")
        stand_in.ops.RoIAlign = object
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "torchvision", stand_in)
            patch.setitem(sys.modules, "torchvision.ops", stand_in.ops)
            slowfast = pytest.importorskip("pytorchvideo.models.slowfast")
    else:
        slowfast = pytest.importorskip("pytorchvideo.models.slowfast")
    return slowfast


def test_parity_with_pytorchvideo(slowfast, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setitem(slowfast._MODEL_STAGE_DEPTH, 18, TINY().depths)
    model = slowfast.create_slowfast(
        model_depth=18, model_num_class=7, slowfast_channel_reduction_ratio=8, slowfast_conv_channel_fusion_ratio=2,
        slowfast_fusion_conv_kernel_size=(7, 1, 1), slowfast_fusion_conv_stride=(4, 1, 1),
        stem_dim_outs=(16, 2), head_pool_kernel_sizes=((4, 1, 1), (16, 1, 1)),
    )  # fmt: skip
    path = save_torch(randomize(model.eval()), tmp_path / "w.pyth", key="model_state")
    found = weights.read(path, ENCODER)
    assert found.family == "pytorchvideo"
    clips = np.random.default_rng(1).normal(size=(2, 16, 32, 32, 3)).astype(np.float32)

    x = torch.from_numpy(clips).permute(0, 4, 1, 2, 3)
    logits = model([x[:, :, torch.linspace(0, 15, 4).long()], x]).detach().numpy()
    head = found.head["kernel"], found.head["bias"]
    assert_parity(ENCODER, found, clips, lambda f: f @ head[0] + head[1], logits)


@pytest.mark.parametrize(("images", "alpha"), [(32, 4), (32, 8), (64, 4), (16, 4), (8, 8)])
def test_images_of_the_slow_pathway(images, alpha):
    torch = pytest.importorskip("torch")
    expected = torch.linspace(0, images - 1, images // alpha).long().tolist()
    assert list(slow_images(images, alpha, "linspace")) == expected
    nearest = torch.nn.functional.interpolate(
        torch.arange(images)[None, None].float(), scale_factor=1 / alpha, mode="nearest"
    )
    assert list(slow_images(images, alpha, "stride")) == nearest[0, 0].int().tolist()


def test_the_images_of_the_paper():
    assert slow_images(32, 4, "linspace") == [0, 4, 8, 13, 17, 22, 26, 31]


@pytest.mark.parametrize("name", ["slowfast50_8x8", "slowfast50_8x8_mmaction2", "slowfast101_xtemporal"])
def test_all_released_layouts_give_the_same(tmp_path, name):
    """Random tensors under the names of each code base; those of the same numerics give one feature."""
    make = functools.partial(catalogue.find(name).make, depths=(1, 2, 2, 1), width=16)
    encoder = dataclasses.replace(catalogue.find(name), make=make, images=8, side=16, width=32 * 18)
    found = []
    for layout in layouts_of(make()):
        np.savez(tmp_path / "w.npz", **released(encoder, layout.name, np.random.default_rng(0)))
        found.append(weights.read(tmp_path / "w.npz", encoder))
        assert found[-1].family == layout.name
    for other in found[1:]:
        jax.tree.map(np.testing.assert_array_equal, other.variables, found[0].variables)


def test_released_names():
    """Some of each, as the code bases have them."""
    make = functools.partial(SlowFast, depths=(3, 1, 1, 1), width=16)
    encoder = dataclasses.replace(catalogue.find("slowfast50_8x8"), make=make, side=16, width=32 * 18)

    def names(family, **fields):
        fair = dataclasses.replace(encoder, make=functools.partial(make, **fields))
        return set(released(fair, family, np.random.default_rng(0)))

    assert {
        "s1.pathway0_stem.conv.weight", "s1.pathway1_stem.bn.running_var", "s1_fuse.conv_f2s.weight",
        "s1_fuse.bn.weight", "s2.pathway0_res0.branch1.weight", "s2.pathway0_res0.branch1_bn.weight",
        "s4.pathway0_res0.branch2.a.weight", "s2.pathway1_res2.branch2.c_bn.running_mean",
    } <= names("pyslowfast")  # fmt: skip
    assert {
        "conv1_w", "t_conv1_w", "res2_0_branch2a_w", "t_res2_0_branch2a_w", "res_conv1_bn_s", "res_conv1_bn_riv",
        "t_pool1_subsample_w", "t_pool1_subsample_bn_rm", "t_res2_2_branch2c_bn_subsample_w", "res2_0_branch1_bn_b",
    } <= names("caffe2")  # fmt: skip
    assert {
        "backbone.slow_path.conv1.conv.weight", "backbone.fast_path.layer1.0.conv1.conv.weight",
        "backbone.slow_path.conv1_lateral.conv.weight", "backbone.slow_path.layer1_lateral.conv.weight",
        "backbone.slow_path.layer1.0.downsample.bn.bias",
    } <= names("mmaction2", lateral_norm=False, fast_first=True)  # fmt: skip
    assert {
        "fast_conv1.weight", "fast_bn1.weight", "fast_res2.0.conv1.weight", "fast_res2.0.bn1.weight",
        "slow_res4.0.conv1.weight", "lateral_p1.weight", "lateral_res2.weight", "lateral_res4.weight",
    } <= names("xtemporal", lateral_norm=False)  # fmt: skip


def test_what_mmaction2_does_differently():
    clips = jax.random.normal(jax.random.key(0), (1, 8, 16, 16, 3))
    plain = TINY(depths=(1, 1, 1, 1), lateral_norm=False, sampling="stride")
    variables = jax.jit(plain.init)(jax.random.key(1), clips)
    slow_first, fast_first, sampled = jax.jit(
        lambda *inputs: [
            network.apply(*inputs)
            for network in (plain, plain.clone(fast_first=True), plain.clone(sampling="linspace"))
        ]
    )(variables, clips)
    np.testing.assert_array_equal(fast_first, jnp.concatenate([slow_first[:, 512:], slow_first[:, :512]], -1))
    assert not np.allclose(sampled, slow_first, rtol=1e-3)


def test_a_clip_of_wrong_length():
    with pytest.raises(ValueError, match="a multiple of alpha = 4 images, not 6"):
        jax.eval_shape(TINY().init, jax.random.key(0), jax.ShapeDtypeStruct((1, 6, 16, 16, 3), jnp.float32))
