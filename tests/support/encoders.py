"""Random weights of encoders, in the layouts that weights are published in."""

import numpy as np

from tal_jax.encoders import weights
from tal_jax.encoders.catalogue import Encoder
from tal_jax.encoders.names.layouts import layouts_of


def released(encoder: Encoder, family: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random tensors by the names and in the shapes of a released layout, without a classifier."""
    (layout,) = (layout for layout in layouts_of(encoder.network(np.float32)) if layout.name == family)
    tensors = {}
    for rule in layout.rules_for(weights.shapes_of(encoder), layout.prefixes[0]):
        ours = rule.shape[1:] if rule.layers else rule.shape
        shape = [ours[rule.axes.index(axis)] for axis in range(len(rule.axes))]
        shape[0] //= len(rule.parts)
        for name in rule.names:
            values = rng.normal(size=shape, scale=np.prod(shape[1:]) ** -0.5)
            tensors[name] = (np.abs(values) + 0.5 if rule.path.endswith("var") else values).astype(np.float32)
    return tensors


def read(folder, encoder: Encoder, tensors: dict[str, np.ndarray], family: str | None = None) -> weights.Weights:
    """What is read of a file of these tensors."""
    np.savez(folder / "w.npz", **tensors)
    return weights.read(folder / "w.npz", encoder, family)


def assert_order_counts_when_shifted(encoder: Encoder) -> None:
    """The order of a clip's images counts for a network that shifts, and not for the same one without shifts."""
    import jax

    clips = np.random.default_rng(0).normal(size=(1, 4, 32, 32, 3)).astype(np.float32)
    network = encoder.network(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), clips)
    reordered = clips[:, [2, 0, 3, 1]]
    tsm, tsn = jax.jit(network.apply), jax.jit(network.clone(shift=False).apply)
    np.testing.assert_allclose(tsn(variables, clips), tsn(variables, reordered), rtol=1e-4, atol=1e-5)
    assert not np.allclose(tsm(variables, clips), tsm(variables, reordered), rtol=1e-2)


def randomize(model, seed: int = 0):
    """Gives a PyTorch module random weights and statistics of a size that keeps its activations near 1."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, x in model.state_dict().items():
            if not x.is_floating_point():
                continue
            values = torch.randn(x.shape, generator=generator)
            if x.ndim > 1:
                x.copy_(values * (2 / x[0].numel()) ** 0.5)
            elif name.endswith("running_var"):
                x.copy_(values.abs() + 0.5)
            elif "bias" in name or name.endswith("running_mean"):
                x.copy_(values * 0.2)
            else:
                x.copy_(1 + values * 0.2)
    return model


def save_torch(model, path, key: str = ""):
    """Saves a PyTorch module's state dict as released files have it, alone or under a key; returns the path."""
    import torch

    state = model.state_dict()
    torch.save({key: state, "epoch": 3} if key else state, path)
    return path


def assert_parity(encoder: Encoder, found: weights.Weights, clips: np.ndarray, after, expected: np.ndarray) -> None:
    """What `after` makes of the features, within 1e-4 of the largest of `expected`; in bfloat16 by its cosine."""
    import jax
    import jax.numpy as jnp

    for dtype in (jnp.float32, jnp.bfloat16):
        features = jax.jit(encoder.network(dtype).apply)(found.variables, clips)
        assert features.dtype == jnp.float32
        made = np.asarray(after(np.asarray(features)))
        assert made.shape == expected.shape
        if dtype == jnp.float32:
            error = np.abs(made - expected).max() / np.abs(expected).max()
            print(f"relative error {error:.1e}")
            assert error < 1e-4
            assert np.abs(expected).max() > 1e-2, "nothing to compare"
        else:
            norms = np.linalg.norm(made, axis=1) * np.linalg.norm(expected, axis=1)
            cosine = (made * expected).sum(1) / norms
            print(f"cosine in bfloat16 {cosine.min():.5f}")
            assert (cosine > 0.999).all()
