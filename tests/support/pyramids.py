"""Small networks over pyramids, with parameters among which none hides."""

import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.models.actionformer import ActionFormer

_SMALL = {"num_classes": 3, "hidden": 16, "levels": 3, "stem_blocks": 1, "heads": 2, "ffn": 24}
CLEAN = {
    "attention": ActionFormer(**_SMALL, windows=(5, 4, 1)),
    "positions": ActionFormer(**_SMALL, windows=(5,), position=True),
    "granularity": ActionFormer(**_SMALL, backbone="granularity", kernel=3, kernel_factor=1.2, bins=3, head_taps=5),
    "pool": ActionFormer(**{**_SMALL, "stem_blocks": 0}, backbone="pool", neck="group"),
}


def filled(model, channels, snippets=16, seed=0):
    """Parameters drawn so that nothing that starts at 0, 1 or 1e-4 hides."""
    x, mask = jnp.zeros((1, snippets, channels)), jnp.ones((1, snippets), bool)
    like = jax.eval_shape(lambda: model.init(jax.random.key(seed), x, mask, train=False))
    rng = np.random.default_rng(seed)

    def drawn(path, x):
        name, fan = path[-1].key, int(np.prod(x.shape[:-1]))
        start = 1.0 if name.startswith("scale") else 0.0
        return jnp.float32(start + rng.normal(size=x.shape) * (fan**-0.5 if name == "kernel" else 0.3))

    return jax.tree.map_with_path(drawn, like)
