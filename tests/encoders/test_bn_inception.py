"""BN-Inception: shapes through the network, the pools of its blocks, and its released names."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.encoders import released

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.bn_inception import MIXED, BNInception, Mixed

RGB, FLOW = catalogue.find("tsn_bninception"), catalogue.find("tsn_bninception_flow")


def abstract(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_shapes_through_the_network():
    network, clips = BNInception(), abstract(1, 2, 224, 224, 3)
    variables = jax.eval_shape(network.init, jax.random.key(0), clips)
    seen = functools.partial(
        network.apply, capture_intermediates=lambda m, _: isinstance(m, Mixed), mutable=["intermediates"]
    )
    found = jax.eval_shape(seen, variables, clips)[1]["intermediates"]
    sides = {"3a": 28, "3b": 28, "3c": 14, "4a": 14, "4b": 14, "4c": 14, "4d": 14, "4e": 7, "5a": 7, "5b": 7}
    widths = dict(zip(MIXED, (256, 320, 576, 576, 576, 608, 608, 1056, 1024, 1024), strict=True))
    shapes = {name: found[f"inception_{name}"]["__call__"][0].shape for name in MIXED}
    assert shapes == {name: (2, sides[name], sides[name], widths[name]) for name in MIXED}


@pytest.mark.parametrize(("widths", "largest"), [((2, 2, 2, 2, 2, 3), False), ((2, 2, 2, 2, 2, 3), True)])
def test_the_branch_of_the_pool(widths, largest):
    """The last channels: the average, zeros counted, or the largest value of 3 x 3 places, then a convolution."""
    block = Mixed(widths, largest)
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 5)).astype(np.float32)
    variables = block.init(jax.random.key(0), x)
    found = block.apply(variables, x)[..., -3:]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf if largest else 0)
    places = np.stack([padded[:, i : i + 4, j : j + 4] for i in range(3) for j in range(3)])
    pooled = places.max(0) if largest else places.sum(0) / 9
    kernel = variables["params"]["pool_proj"]["conv"]["kernel"][0, 0]
    np.testing.assert_allclose(found, np.maximum(pooled @ kernel, 0) / np.sqrt(1 + 1e-5), rtol=1e-4, atol=1e-5)


def test_a_block_that_halves_hands_its_input_on():
    block = Mixed((0, 2, 3, 2, 4, 0))
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 5)).astype(np.float32)
    found = block.apply(block.init(jax.random.key(0), x), x)
    assert found.shape == (1, 2, 2, 12)
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-np.inf)
    expected = np.stack([padded[:, i : i + 3 : 2, j : j + 3 : 2] for i in range(3) for j in range(3)]).max(0)
    np.testing.assert_array_equal(found[..., 7:], expected)


def test_sides_that_do_not_halve():
    with pytest.raises(ValueError, match="multiples of 32, not 64 x 50"):
        jax.eval_shape(BNInception().init, jax.random.key(0), abstract(1, 1, 64, 50, 3))


@pytest.mark.parametrize(("encoder", "prefix"), [(FLOW, "base_model."), (RGB, "")], ids=["flow", "rgb"])
def test_released_names(tmp_path, encoder, prefix):
    tensors = released(encoder, "tsn", np.random.default_rng(0))
    assert len(tensors) == len(weights.shapes_of(encoder)) == 69 * 6
    assert {
        "base_model.conv1_7x7_s2.weight", "base_model.conv1_7x7_s2.bias", "base_model.conv1_7x7_s2_bn.running_var",
        "base_model.conv2_3x3_reduce.weight", "base_model.inception_3a_1x1_bn.weight",
        "base_model.inception_3c_double_3x3_2.bias", "base_model.inception_4e_3x3_reduce.weight",
        "base_model.inception_5b_pool_proj.weight",
    } <= set(tensors)  # fmt: skip
    stem = tensors["base_model.conv1_7x7_s2.weight"]
    assert stem.shape == (64, encoder.channels, 7, 7)
    tensors["base_model.conv1_7x7_s2_bn.weight"] = tensors["base_model.conv1_7x7_s2_bn.weight"][None]  # as in old files
    named = {name.replace("base_model.", prefix): x for name, x in tensors.items()}
    np.savez(tmp_path / "w.npz", **named, **{"new_fc.weight": np.ones((7, 1024), np.float32)})
    found = weights.read(tmp_path / "w.npz", encoder)
    assert found.head["kernel"].shape == (1024, 7)
    kernel = found.variables["params"]["conv1_7x7_s2"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, stem.transpose(2, 3, 1, 0))
    assert found.variables["params"]["conv1_7x7_s2"]["bn"]["scale"].shape == (64,)
