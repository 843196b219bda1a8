"""Finite differences of float64 functions, to hold gradients against."""

import jax
import numpy as np

STEP = 1e-5


def gradient(f, x):
    """Central differences of the scalar f at x, element by element; x may hold any number of axes."""
    x = np.array(x, np.float64)
    g = np.zeros_like(x)
    for i in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[i] += STEP
        down[i] -= STEP
        g[i] = (f(up) - f(down)) / (2 * STEP)
    return g


def to_float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def check_along_directions(f, params, grads, rng, *, leaf_by_leaf=True, rtol=2e-3):
    """Derivatives of f along random directions agree with grads: one direction per leaf, or three over all leaves."""
    leaves, structure = jax.tree.flatten(to_float64(params))
    slopes = jax.tree.leaves(to_float64(grads))
    directions = [[rng.normal(size=x.shape) for x in leaves] for _ in range(3)]
    if leaf_by_leaf:
        directions = [
            [rng.normal(size=x.shape) if i == j else np.zeros(x.shape) for i, x in enumerate(leaves)]
            for j in range(len(leaves))
        ]
    scale = max(float(np.abs(g).max()) for g in slopes)
    assert scale > 0
    for direction in directions:

        def moved(step, direction=direction):
            return f(jax.tree.unflatten(structure, [x + step * d for x, d in zip(leaves, direction, strict=True)]))

        expected = (moved(STEP) - moved(-STEP)) / (2 * STEP)
        found = sum(float(np.sum(g * d)) for g, d in zip(slopes, direction, strict=True))
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * scale)
