"""P3D: its three blocks in turn, shapes through the network, and its released names."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.encoders import released

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.p3d import P3D, Block

TINY = functools.partial(P3D, depths=(1, 2, 2, 1), width=8)
ENCODER = dataclasses.replace(catalogue.find("p3d63"), make=TINY, side=32, width=256)


def orders(network, shape):
    """Of the blocks, and the shapes that they make."""
    found = []

    def look(call, args, kwargs, context):
        y = call(*args, **kwargs)
        if isinstance(context.module, Block):
            found.append((context.module.order, y.shape))
        return y

    with nn.intercept_methods(look):
        jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    return found


def test_the_order_of_the_blocks_goes_on_through_the_stages():
    found = orders(P3D(depths=(3, 8, 36, 3)), (1, 16, 160, 160, 3))
    assert [order for order, _ in found] == [*("ABC" * 16)[:47], "", "", ""]


def test_shapes_through_the_network():
    shapes = [shape for _, shape in orders(P3D(), (1, 16, 160, 160, 3))]
    assert (
        shapes
        == [(1, 8, 40, 40, 256)] * 3 + [(1, 4, 20, 20, 512)] * 4 + [(1, 2, 10, 10, 1024)] * 6 + [(1, 5, 5, 2048)] * 3
    )


@pytest.mark.parametrize("order", ["A", "B", "C", ""])
def test_the_blocks_in_numpy(order):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4, 4, 8) if order else (2, 4, 4, 8)).astype(np.float32)
    block = Block(4, 2, order, jnp.float32)
    shapes = jax.eval_shape(block.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda s: rng.uniform(0.5, 1, s.shape).astype(np.float32) - 0.6, shapes)
    variables["batch_stats"] = jax.tree.map(lambda s: np.abs(s) + 0.3, variables["batch_stats"])

    def brick(name, x, strided=False):
        """The convolution, place by place, and its norm."""
        p, s = variables["params"][name], variables["batch_stats"][name]["bn"]
        kernel = p["conv"]["kernel"]
        window = kernel.shape[:-2]
        if strided:
            x = x[..., ::2, ::2, :]
        padded = np.pad(x, ((0, 0), *[(k // 2, k // 2) for k in window], (0, 0)))
        y = np.zeros((*x.shape[:-1], kernel.shape[-1]))
        for place in np.ndindex(*window):
            cut = tuple(slice(i, i + n) for i, n in zip(place, x.shape[1:-1], strict=True))
            y += padded[(slice(None), *cut)] @ kernel[place]
        return (y - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["bn"]["scale"] + p["bn"]["bias"]

    relu = lambda x: np.maximum(x, 0)  # noqa: E731
    over_places, over_times = (lambda x, name=name: relu(brick(name, x)) for name in ("space", "time"))
    y = relu(brick("conv1", x, strided=True))
    s = over_places(y)
    if order:
        y = {"A": lambda: over_times(s), "B": lambda: s + over_times(y), "C": lambda: s + over_times(s)}[order]()
    else:
        y = s
    expected = relu(brick("conv4", y) + brick("shortcut", x, strided=True))
    assert expected.max() > 0
    np.testing.assert_allclose(block.apply(variables, x), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("images", [8, 15, 32])
def test_a_clip_of_another_length(images):
    clip = jax.ShapeDtypeStruct((1, images, 32, 32, 3), jnp.float32)
    with pytest.raises(ValueError, match=f"a clip of P3D has 16 images, not {images}"):
        jax.eval_shape(TINY().init, jax.random.key(0), clip)


def test_released_names(tmp_path):
    tensors = released(ENCODER, "p3d", np.random.default_rng(0))
    assert len(tensors) == len(weights.shapes_of(ENCODER))
    shapes = {
        "conv1_custom.weight": (8, 3, 1, 7, 7), "bn1.running_mean": (8,), "layer1.0.conv2.weight": (8, 8, 1, 3, 3),
        "layer1.0.conv3.weight": (8, 8, 3, 1, 1), "layer2.1.bn3.weight": (16,), "layer2.0.bn4.bias": (64,),
        "layer2.0.downsample.0.weight": (64, 32, 1, 1, 1), "layer2.0.downsample.1.running_var": (64,),
        "layer4.0.conv1.weight": (64, 128, 1, 1), "layer4.0.conv_normal.weight": (64, 64, 3, 3),
        "layer4.0.bn_normal.weight": (64,), "layer4.0.conv4.weight": (256, 64, 1, 1),
    }  # fmt: skip
    assert shapes == {name: tensors[name].shape for name in shapes}
    np.savez(tmp_path / "w.npz", **tensors, **{"fc.weight": np.ones((5, 256), np.float32)})
    found = weights.read(tmp_path / "w.npz", ENCODER)
    assert found.family == "p3d"
    kernel = found.variables["params"]["layer2_1"]["time"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, tensors["layer2.1.conv3.weight"].transpose(2, 3, 4, 1, 0))
