"""Recordings split over devices: BMN's map by duration, TCANet's proposals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.runs import losses
from support.sensor_set import tiny_config

from tal_jax.devices.mesh import make_mesh, rows_per_process
from tal_jax.errors import InputError
from tal_jax.ops.model_axis import split_over_model
from tal_jax.train import population as program
from tal_jax.train.loop import train_and_evaluate

pytestmark = pytest.mark.slow


def test_an_axis_is_spread_where_the_mesh_has_one_for_it():
    def spread(mesh, x):
        with jax.set_mesh(mesh):
            return jax.jit(lambda x: split_over_model(x, 1) + 1)(x).sharding.shard_shape(x.shape)

    assert spread(make_mesh(2), jnp.zeros((4, 6, 5))) == (2, 3, 5)
    assert spread(make_mesh(4), jnp.zeros((4, 8, 5))) == (4, 2, 5)
    assert spread(make_mesh(2), jnp.zeros((4, 5, 5))) == (4, 5, 5)  # five do not divide by two
    assert spread(make_mesh(), jnp.zeros((4, 6, 5))) == (4, 6, 5)
    assert split_over_model(jnp.zeros((2, 2)), 1).shape == (2, 2)  # no mesh at all


def test_split_recordings_train_alike(data, tmp_path, monkeypatch):
    texts = []
    real = program.compile_step

    def kept(*arguments):
        compiled = real(*arguments)
        texts.append(compiled.as_text())
        return compiled

    monkeypatch.setattr(program, "compile_step", kept)
    for model in (1, 2):
        config = tiny_config(data, encoders=1)
        config.mesh.model = model
        train_and_evaluate(config.to_dict(), tmp_path / str(model))
    for stage in ("bmn", "tcanet"):
        split, whole = (list(losses(tmp_path / name, stage).values()) for name in "21")
        np.testing.assert_allclose(split, whole, rtol=1e-5)
    # Neighbouring durations are asked for by the map's convolutions: only a map that is split exchanges them.
    assert "collective-permute" not in texts[0]
    assert "collective-permute" in texts[2]


def test_meshes_divide():
    assert dict(make_mesh(2).shape) == {"data": 2, "model": 2}
    assert rows_per_process(make_mesh(2), 2) == 2
    with pytest.raises(InputError, match=r"mesh\.model 3 does not divide the 4 devices"):
        make_mesh(3)


def test_a_population_is_not_split(data, tmp_path):
    config = tiny_config(data)
    config.mesh.model, config.population = 2, 4
    with pytest.raises(InputError, match="leave it at 1 for a population"):
        train_and_evaluate(config.to_dict(), tmp_path)
