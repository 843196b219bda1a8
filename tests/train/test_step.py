"""One step of training, with the smallest task there is."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax

from tal_jax.train.step import init_state, make_train_step


@dataclasses.dataclass(frozen=True)
class Telling:
    """A task of one parameter whose metrics repeat what the step told it."""

    def init(self, rng, batch):
        return {"w": jnp.ones(())}

    def loss(self, params, batch, rng, progress=1.0):
        return params["w"] * batch, {"progress": progress}


def test_the_loss_is_told_how_far_the_training_is():
    optimizer = optax.sgd(0.1)
    batch = jnp.float32(2.0)
    state = init_state(Telling(), optimizer, batch, seed=0, ema=False)
    step = make_train_step(Telling(), optimizer, seed=0, ema_decay=0.0, steps=4)
    told = []
    for _ in range(4):
        state, metrics = step(state, batch)
        told.append(float(metrics["progress"]))
    np.testing.assert_allclose(told, [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(state.params["w"], 1 - 4 * 0.1 * 2, rtol=1e-6)
