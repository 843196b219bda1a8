"""ResNeSt: split attention and a block in NumPy, TSM's shift in it, and its released names."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.encoders import assert_order_counts_when_shifted, read, released

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.resnest import Block, ResNeSt, SplitAttention
from tal_jax.errors import InputError

TINY = functools.partial(ResNeSt, depths=(1, 2, 1, 1), stem=8, width=8)
TSN = dataclasses.replace(catalogue.find("tsn_resnest50"), make=TINY, side=32, width=256)
TSM = dataclasses.replace(
    catalogue.find("tsm_resnest50"), make=functools.partial(TINY, shift=True), images=4, side=32, width=256
)


def random_variables(network, *inputs):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *inputs)

    def made(path, s):
        x = rng.normal(size=s.shape).astype(np.float32) * 0.5
        return np.abs(x) + 0.5 if path[-1].key == "var" else x

    return jax.tree_util.tree_map_with_path(made, shapes)


def norm(x, variables, *path):
    p, s = variables["params"], variables["batch_stats"]
    for key in path:
        p, s = p[key], s[key]
    return (x - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"]


def attention(x, variables, *path):
    """[N, Y, X, p] by the equations."""
    p = variables["params"]
    for key in path:
        p = p[key]
    width, (_, rows, columns, channels) = p["conv"]["kernel"].shape[-1] // 2, x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    u = np.zeros((*x.shape[:3], 2 * width))
    for half in range(2):  # a group sees half of the channels and makes one of U0, U1
        inputs = slice(half * channels // 2, (half + 1) * channels // 2)
        outputs = slice(half * width, (half + 1) * width)
        for i in range(3):
            for j in range(3):
                seen = padded[:, i : i + rows, j : j + columns, inputs]
                u[..., outputs] += seen @ p["conv"]["kernel"][i, j][:, outputs]
    u = np.maximum(norm(u, variables, *path, "bn0"), 0)
    u0, u1 = u[..., :width], u[..., width:]
    g = (u0 + u1).mean((1, 2))
    inner = np.maximum(norm(g @ p["fc1"]["kernel"] + p["fc1"]["bias"], variables, *path, "bn1"), 0)
    e = np.exp((inner @ p["fc2"]["kernel"] + p["fc2"]["bias"]).reshape(-1, 2, width))
    a = (e / e.sum(1, keepdims=True))[:, :, None, None]
    return a[:, 0] * u0 + a[:, 1] * u1


def test_split_attention_in_numpy():
    x = np.random.default_rng(1).normal(size=(2, 4, 5, 8)).astype(np.float32)
    network = SplitAttention(8)
    variables = random_variables(network, x)
    assert variables["params"]["fc1"]["kernel"].shape == (8, 32)  # not a quarter of 16
    np.testing.assert_allclose(network.apply(variables, x), attention(x, variables), rtol=1e-4, atol=1e-4)


def test_the_first_block_of_a_stage_in_numpy():
    """Averages take the place of strides, with zeros counted, in the shortcut without them; rows are odd."""
    x = np.random.default_rng(1).normal(size=(1, 5, 4, 6)).astype(np.float32)
    block = Block(8, 2, True, jnp.float32)
    variables = random_variables(block, x, x)
    p = variables["params"]
    y = np.maximum(norm(x @ p["conv1"]["conv"]["kernel"][0, 0], variables, "conv1", "bn"), 0)
    y = np.pad(attention(y, variables, "conv2"), ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = sum(y[:, i : i + 5 : 2, j : j + 3 : 2] for i in range(3) for j in range(3)) / 9
    y = norm(y @ p["conv3"]["conv"]["kernel"][0, 0], variables, "conv3", "bn")
    rows = [x[:, 0:2], x[:, 2:4], x[:, 4:]]  # the last window has one row inside
    short = np.stack([np.stack([part[:, :, k : k + 2].mean((1, 2)) for k in (0, 2)], 1) for part in rows], 1)
    short = norm(short @ p["shortcut"]["conv"]["kernel"][0, 0], variables, "shortcut", "bn")
    expected = np.maximum(y + short, 0)
    np.testing.assert_allclose(block.apply(variables, x, x), expected, rtol=1e-3, atol=1e-3)


def test_the_shortcut_does_not_see_the_shift():
    x = np.random.default_rng(1).normal(size=(1, 4, 4, 32)).astype(np.float32)
    block = Block(8, 1, False, jnp.float32)
    variables = random_variables(block, x, x)
    variables["params"]["conv3"]["bn"] = {"scale": np.zeros(32, np.float32), "bias": np.zeros(32, np.float32)}
    np.testing.assert_array_equal(block.apply(variables, x, 0 * x), np.maximum(x, 0))


def test_tsm_sees_its_neighbours_and_tsn_does_not():
    assert_order_counts_when_shifted(TSM)


def test_released_names_and_shapes():
    encoder = dataclasses.replace(catalogue.find("tsn_resnest50"), make=functools.partial(ResNeSt, depths=(1, 1, 1, 1)))
    tensors = released(encoder, "resnest", np.random.default_rng(0))
    assert len(tensors) == len(weights.shapes_of(encoder))
    shapes = {
        "conv1.0.weight": (32, 3, 3, 3), "conv1.1.running_mean": (32,), "conv1.3.weight": (32, 32, 3, 3),
        "conv1.4.weight": (32,), "conv1.6.weight": (64, 32, 3, 3), "bn1.weight": (64,),
        "layer1.0.conv2.conv.weight": (128, 32, 3, 3), "layer1.0.conv2.bn0.running_var": (128,),
        "layer1.0.conv2.fc1.weight": (32, 64), "layer1.0.conv2.fc1.bias": (32,), "layer1.0.conv2.bn1.bias": (32,),
        "layer1.0.conv2.fc2.weight": (128, 32), "layer1.0.conv1.weight": (64, 64, 1, 1), "layer1.0.bn3.bias": (256,),
        "layer1.0.downsample.1.weight": (256, 64, 1, 1), "layer4.0.downsample.2.bias": (2048,),
    }  # fmt: skip
    assert shapes == {name: tensors[name].shape for name in shapes}


def test_the_attention_is_stored_as_convolutions(tmp_path):
    tensors = released(TSN, "resnest", np.random.default_rng(0))
    stored = {n: x[..., None, None] if ".fc" in n and n.endswith("weight") else x for n, x in tensors.items()}
    stored["fc.weight"] = np.ones((5, 256), np.float32)
    found = read(tmp_path, TSN, stored)
    assert found.family == "resnest"
    kernel = found.variables["params"]["layer1_0"]["conv2"]["fc1"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["layer1.0.conv2.fc1.weight"].T)
    assert found.head["kernel"].shape == (256, 5)


def test_a_shifted_one_is_told_by_its_names(tmp_path):
    tensors = released(TSM, "tsm", np.random.default_rng(0))
    assert {
        "base_model.layer2.1.conv1.net.weight",
        "base_model.layer2.1.bn1.weight",
        "base_model.conv1.0.weight",
    } <= set(tensors)
    assert read(tmp_path, TSM, tensors).family == "tsm"
    with pytest.raises(InputError, match=r"not weights of tsn_resnest50 .*conv1.*net\.weight"):
        read(tmp_path, TSN, tensors)
    plain = released(TSN, "resnest", np.random.default_rng(0))
    with pytest.raises(InputError, match=r"do not tell what .* were trained as: say so with --family=resnest"):
        read(tmp_path, TSM, plain)
    assert read(tmp_path, TSM, plain, "resnest").family == "resnest"
