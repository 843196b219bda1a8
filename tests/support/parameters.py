"""Random parameters without compiling a module's initialisation."""

import jax
import numpy as np


def random_params(init, *args, seed=0):
    """A tree of the shapes that init(key, *args) gives, with no value at the neutral one that it would start from."""
    shapes = jax.eval_shape(lambda key: init(key, *args), jax.random.key(0))
    rng = np.random.default_rng(seed)

    def fill(path, x):
        noise = rng.normal(size=x.shape)
        if "kernel" in path[-1].key:
            noise *= np.sqrt(2 / np.prod(x.shape[:-1]))
        else:  # above zero, so that most ReLUs are open
            noise = 0.1 + 0.2 * noise + ("scale" in path[-1].key)
        return noise.astype(x.dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes)
