"""One step of training, with the smallest task there is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tal_jax.devices.mesh import make_mesh, rows_per_process
from tal_jax.errors import InputError
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


@dataclasses.dataclass(frozen=True)
class Fitting:
    """Least squares: a mean over rows."""

    def init(self, rng, batch):
        return {"w": jnp.arange(3.0)}

    def loss(self, params, batch, rng, progress=1.0):
        residual = batch["x"] @ params["w"] - batch["y"]
        return jnp.mean(residual**2), {"rows": jnp.float32(len(residual)), "first": batch["x"][0, 0]}


@pytest.mark.parametrize("accumulate", [2, 3, 6])
def test_parts_of_a_batch_have_the_gradients_of_the_whole(accumulate):
    rng = np.random.default_rng(0)
    batch = {
        name: rng.normal(size=size).astype(np.float32) for name, size in (("x", (6, 3)), ("y", 6), ("none", (6, 0)))
    }
    optimizer = optax.sgd(0.1)
    state = init_state(Fitting(), optimizer, batch, seed=0, ema=False)
    options = {"seed": 0, "ema_decay": 0.0, "steps": 4}
    whole, told = jax.jit(make_train_step(Fitting(), optimizer, **options))(state, batch)
    parts, found = jax.jit(make_train_step(Fitting(), optimizer, accumulate=accumulate, **options))(state, batch)
    np.testing.assert_allclose(parts.params["w"], whole.params["w"], rtol=1e-5)
    np.testing.assert_allclose(found["loss"], told["loss"], rtol=1e-5)
    assert found["rows"] == 6 // accumulate
    # Every accumulate-th row is one part's: the first rows of the parts are the first rows of the batch.
    np.testing.assert_allclose(found["first"], batch["x"][:accumulate, 0].mean(), rtol=1e-5)


def test_parts_are_split_over_devices():
    mesh = make_mesh()
    assert rows_per_process(mesh, 8, 2) == 8
    with pytest.raises(InputError, match="batch_size 8 does not divide over 4 devices times accumulate 4"):
        rows_per_process(mesh, 8, 4)
