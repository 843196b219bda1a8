"""VideoMAE: parity with transformers, and the names that its authors' files have."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from support.encoders import assert_parity, randomize, save_torch

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.videomae import VideoMAE, positions

MAKE = functools.partial(VideoMAE, width=32, depth=3, heads=4, mlp=64, images=4, side=32)
TINY = dataclasses.replace(catalogue.find("videomae_base"), make=MAKE, images=4, side=32, width=32)


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.VideoMAEConfig(
        image_size=32, num_frames=4, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        layer_norm_eps=1e-6, num_labels=5,
    )  # fmt: skip
    return randomize(transformers.VideoMAEForVideoClassification(config).eval())


def clips_and_pixels(images=4):
    import torch

    clips = np.random.default_rng(0).normal(size=(2, images, 32, 32, 3)).astype(np.float32)
    return clips, torch.from_numpy(clips).permute(0, 1, 4, 2, 3)


def test_parity_with_transformers(model, tmp_path):
    found = weights.read(save_torch(model, tmp_path / "w.pth"), TINY)
    assert found.family == "transformers"
    clips, pixels = clips_and_pixels()
    logits = model(pixels).logits.detach().numpy()
    assert_parity(TINY, found, clips, lambda f: f @ found.head["kernel"] + found.head["bias"], logits)


def test_parity_without_the_last_norm(model, tmp_path):
    bare = dataclasses.replace(TINY, make=functools.partial(MAKE, norm="none"))
    found = weights.read(save_torch(model.videomae, tmp_path / "w.pth"), bare)
    clips, pixels = clips_and_pixels()
    assert_parity(bare, found, clips, lambda f: f, model.videomae(pixels).last_hidden_state.mean(1).detach().numpy())


def test_parity_with_the_authors_code(tmp_path):
    """That of the second version, as the package cd-fvd has it: its names are those of both versions' files."""
    torch = pytest.importorskip("torch")
    released = pytest.importorskip("cdfvd.third_party.VideoMAEv2.videomaev2_finetune")
    model = released.VisionTransformer(
        img_size=32, patch_size=16, num_classes=5, embed_dim=32, depth=3, num_heads=4, mlp_ratio=2, qkv_bias=True,
        norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6), init_scale=1.0,
    )  # fmt: skip
    encoder = dataclasses.replace(TINY, make=functools.partial(MAKE, images=16), images=16)
    found = weights.read(save_torch(randomize(model.eval()), tmp_path / "w.pth", key="module"), encoder)
    assert found.family == "videomae"
    clips, pixels = clips_and_pixels(16)
    logits = model(pixels.permute(0, 2, 1, 3, 4)).detach().numpy()
    assert_parity(encoder, found, clips, lambda f: f @ found.head["kernel"] + found.head["bias"], logits)


@pytest.mark.parametrize("norm", ["after_mean", "none"])
def test_the_last_product_is_of_the_mean_token(monkeypatch, norm):
    """The same as the mean of all tokens, gradients too."""
    network = MAKE(norm=norm)
    rng = np.random.default_rng(0)
    clips = rng.normal(size=(2, 4, 32, 32, 3)).astype(np.float32)
    variables = network.init(jax.random.key(0), clips)
    found, pull = jax.vjp(lambda v: network.apply(v, clips), variables)
    monkeypatch.setattr(VideoMAE, "_mean_of_blocks", lambda self, x: self._blocks(x).mean(1))
    expected, pull_expected = jax.vjp(lambda v: network.apply(v, clips), variables)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    cotangent = rng.normal(size=found.shape).astype(np.float32)
    for mine, theirs in zip(*(jax.tree.leaves(p(cotangent)) for p in (pull, pull_expected)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_positions_in_a_loop():
    table = positions(5, 6)
    for p in range(5):
        for j in range(6):
            angle = p / 10000 ** (2 * (j // 2) / 6)
            assert abs(table[p, j] - (np.sin(angle) if j % 2 == 0 else np.cos(angle))) < 1e-6


def test_other_lengths_get_interpolated_positions():
    network = MAKE()
    clips = np.random.default_rng(0).normal(size=(1, 8, 48, 32, 3)).astype(np.float32)
    variables = network.init(jax.random.key(0), clips[:, :4, :32])
    assert network.apply(variables, clips).shape == (1, 32)
    with pytest.raises(ValueError, match="cannot be cut into tubes"):
        network.apply(variables, clips[:, :3])
