"""A few steps of Adam in NumPy: nothing to compile, and nothing of the training loop in it."""

import jax
import numpy as np


def losses_while_learning(loss_and_gradients, params, batch, key, *, steps, rate=0.01):
    """The loss before each step."""
    zeros = jax.tree.map(np.zeros_like, params)
    first, second, history = zeros, zeros, []
    for step in range(1, steps + 1):
        (loss, _), grads = loss_and_gradients(params, batch, key)
        grads = jax.tree.map(np.asarray, grads)
        history.append(float(loss))
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g**2, second, grads)
        scale = rate * np.sqrt(1 - 0.99**step) / (1 - 0.9**step)
        params = jax.tree.map(
            lambda p, m, v, s=scale: (p - s * m / (np.sqrt(v) + 1e-8)).astype(np.float32), params, first, second
        )
    return history
