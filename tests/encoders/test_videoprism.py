"""VideoPrism: parity with transformers, other lengths and sizes, and the published npz."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.encoders import assert_parity, randomize, save_torch

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.videoprism import VideoPrism

MAKE = functools.partial(VideoPrism, width=32, spatial=2, temporal=1, heads=4, mlp=48, images=4, side=36)
TINY = dataclasses.replace(catalogue.find("videoprism_base"), make=MAKE, images=4, side=36, width=32)


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.VideoPrismVisionConfig(
        image_size=36, num_frames=4, hidden_size=32, num_spatial_layers=2, num_temporal_layers=1,
        num_attention_heads=4, intermediate_size=48, attn_implementation="eager",
    )  # fmt: skip
    model = randomize(transformers.VideoPrismVisionModel(config).eval())
    for name, x in model.named_parameters():
        if "layernorm" in name and name.endswith("weight"):
            x.data -= 1  # the difference from 1 is stored
    return model


@pytest.mark.parametrize(("images", "side"), [(4, 36), (6, 36), (3, 54)])
def test_parity_with_transformers(model, tmp_path, images, side):
    import torch

    found = weights.read(save_torch(model, tmp_path / "w.pth"), TINY)
    assert found.family == "transformers"
    clips = np.random.default_rng(0).uniform(size=(2, images, side, side, 3)).astype(np.float32)
    with torch.no_grad():
        out = model(torch.from_numpy(clips).permute(0, 1, 4, 2, 3), interpolate_pos_encoding=(images, side) != (4, 36))
    tokens = out.last_hidden_state.numpy()
    assert_parity(TINY, found, clips, lambda f: f, tokens.mean(1))
    by_image = TINY.network(jnp.float32).apply(found.variables, clips, method="images_of")
    np.testing.assert_allclose(by_image, tokens.reshape(2, images, -1, 32).mean(2), rtol=1e-4, atol=1e-5)


def published(state):
    """The npz of the same weights, by the table of its keys and axes."""
    x = {name: value.numpy() for name, value in state.items()}
    arrays = {
        "patch_projection/linear/kernel": x["spatial_embeddings.patch_embeddings.projection.weight"][:, :, 0]
        .transpose(2, 3, 1, 0)
        .reshape(972, 32),
        "patch_projection/linear/bias": x["spatial_embeddings.patch_embeddings.projection.bias"],
        "spatial_pos_emb/emb_var": x["spatial_embeddings.position_embeddings"][0],
        "temporal_pos_emb/emb_var": x["temporal_embeddings.position_embeddings"][0],
    }
    for encoder, norm, count in (("spatial", "layernorm1", 2), ("temporal", "layernorm2", 1)):
        arrays[f"{encoder}_ln/scale"], arrays[f"{encoder}_ln/bias"] = x[f"{norm}.weight"], x[f"{norm}.bias"]

        def stacked(name, change=lambda a: a, encoder=encoder, count=count):
            return np.stack([change(x[f"{encoder}_layers.{i}.{name}"]) for i in range(count)])

        place = f"{encoder}_encoder/transformers_stack/x_layers"
        for ours, theirs in (("layer_norm", "layernorm_before"), ("ff_layer/layer_norm", "layernorm_after")):
            arrays[f"{place}/{ours}/scale"] = stacked(f"{theirs}.weight")
            arrays[f"{place}/{ours}/bias"] = stacked(f"{theirs}.bias")
        for name in ("query", "key", "value"):
            linear = f"attention.{name[0]}_proj"
            arrays[f"{place}/self_attention/{name}/w"] = stacked(f"{linear}.weight", lambda a: a.T.reshape(32, 4, 8))
            arrays[f"{place}/self_attention/{name}/b"] = stacked(f"{linear}.bias", lambda a: a.reshape(4, 8))
        arrays[f"{place}/self_attention/post/w"] = stacked("attention.o_proj.weight", lambda a: a.reshape(32, 4, 8))
        arrays[f"{place}/self_attention/post/b"] = stacked("attention.o_proj.bias")
        for i in (1, 2):
            arrays[f"{place}/ff_layer/ffn_layer{i}/linear/kernel"] = stacked(f"mlp.fc{i}.weight", lambda a: a.T)
            arrays[f"{place}/ff_layer/ffn_layer{i}/linear/bias"] = stacked(f"mlp.fc{i}.bias")
    return arrays


@pytest.mark.parametrize("prefix", ["params/", "params/vision_encoder/"])
def test_the_published_npz(model, tmp_path, prefix):
    expected = weights.read(save_torch(model, tmp_path / "w.pth"), TINY)
    arrays = published(model.state_dict())
    assert len(arrays) == 40
    more = {"params/text_encoder/cls_emb": np.zeros(3)} if "vision" in prefix else {}
    np.savez(tmp_path / "w.npz", **{prefix + name: x for name, x in arrays.items()}, **more)
    found = weights.read(tmp_path / "w.npz", TINY)
    assert found.family == "videoprism"
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected.variables)


def test_the_order_of_images_matters():
    clips = np.random.default_rng(0).uniform(size=(1, 4, 36, 36, 3)).astype(np.float32)
    network = MAKE()
    variables = network.init(jax.random.key(0), clips)
    assert not np.allclose(network.apply(variables, clips), network.apply(variables, clips[:, ::-1]), atol=1e-5)
