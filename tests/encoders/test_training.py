"""The networks train: they use and move the statistics of batches, and gradients reach every kernel."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.encoders.bn_inception import Mixed
from tal_jax.encoders.p3d import P3D
from tal_jax.encoders.resnest import ResNeSt
from tal_jax.encoders.resnet import ResNet
from tal_jax.encoders.slowfast import SlowFast

pytestmark = pytest.mark.slow

DEPTHS = (1, 1, 1, 1)
NETWORKS = {
    "bninception_block": (Mixed((2, 2, 2, 2, 2, 3)), (8, 8, 5)),  # all of them take a minute to compile
    "bninception_halving_block": (Mixed((0, 2, 3, 2, 4, 0)), (8, 8, 5)),
    "tsm_resnet_flow": (ResNet(DEPTHS, 16, shift=True), (4, 64, 64, 10)),
    "tin_resnet": (ResNet(DEPTHS, 16, interlaced=4), (4, 64, 64, 3)),
    "tsm_resnest": (ResNeSt(DEPTHS, 8, 16, shift=True), (4, 64, 64, 3)),
    "slowfast_flow": (SlowFast(DEPTHS, alpha=4, width=16), (8, 64, 64, 2)),
    "p3d_flow": (P3D(DEPTHS, 16), (16, 64, 64, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_statistics_move_and_gradients_flow(name):
    network, shape = NETWORKS[name]
    rng = np.random.default_rng(0)
    clips = jnp.asarray(rng.normal(size=(3, *shape)), jnp.float32)
    variables = jax.jit(network.init)(jax.random.key(0), clips)
    for path, block in variables["params"].items():
        if path.startswith("interlace"):  # whose few ReLUs may all start at zero
            block["offset_fc1"]["bias"] += 1.0
    features = jax.eval_shape(network.apply, variables, clips)
    wanted = jnp.asarray(rng.normal(size=features.shape), jnp.float32)

    @jax.jit
    def step(params):
        def loss(params):
            rest = {"params": params, "batch_stats": variables["batch_stats"]}
            found, changed = network.apply(rest, clips, train=True, mutable=["batch_stats"])
            return (found * wanted).sum(), changed["batch_stats"]

        return jax.grad(loss, has_aux=True)(params)

    gradients, moved = step(variables["params"])
    assert jax.tree.structure(moved) == jax.tree.structure(variables["batch_stats"])
    for new, old in zip(jax.tree.leaves(moved), jax.tree.leaves(variables["batch_stats"]), strict=True):
        assert np.isfinite(new).all()
        assert (new != old).any()
    for path, x in flax.traverse_util.flatten_dict(gradients, sep="/").items():
        assert np.isfinite(x).all(), path
        assert path.endswith("bias") or np.abs(x).max() > 0, path  # a bias before a norm has none
