"""Several trainings in one program, on the four virtual devices."""

import json

import jax
import numpy as np
import pytest
from support.batches import make_batch
from support.runs import Killed, at_step
from support.sensor_set import tiny_config

from tal_jax.detect.detect import detect
from tal_jax.devices.mesh import make_mesh
from tal_jax.errors import InputError
from tal_jax.models.classifier import VideoClassifier
from tal_jax.stages.sections import OptimizerSection
from tal_jax.tasks.classifier import ClassifierTask
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import train_and_evaluate
from tal_jax.train.optimizer import build_optimizer
from tal_jax.train.population import make_program, population, spread

pytestmark = pytest.mark.slow


def config_of(data, members):
    config = tiny_config(data)
    config.population = members
    return config.to_dict()


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Four members, one on each device."""
    workdir = tmp_path_factory.mktemp("population")
    train_and_evaluate(config_of(data, 4), workdir, "bmn")
    return workdir


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-5), a, b)


def test_the_first_member_is_the_run_without_a_population(data, trained, tmp_path):
    train_and_evaluate(config_of(data, 0), tmp_path, "bmn")
    close(restore_params(trained, "bmn"), restore_params(tmp_path, "bmn"))


def test_members_differ_and_do_not_depend_on_how_many_there_are(data, trained, tmp_path):
    train_and_evaluate(config_of(data, 8), tmp_path, "bmn")  # two on each device
    members = [restore_params(trained, "bmn", member=k) for k in range(4)]
    for k in range(4):
        close(restore_params(tmp_path, "bmn", member=k), members[k])
    kernels = [m["params"]["base1"]["kernel"] for m in members]
    assert all(np.abs(kernels[i] - kernels[j]).max() > 1e-2 for i in range(4) for j in range(i))
    with pytest.raises(InputError, match="no member 4: there are 4, from 0"):
        restore_params(trained, "bmn", member=4)
    with pytest.raises(InputError, match="population 3 does not divide over 4 devices"):
        train_and_evaluate(config_of(data, 3), tmp_path / "three", "bmn")


def test_a_grid_of_learning_rates(data, tmp_path):
    config = config_of(data, 2)
    config["learning_rates"] = (1.0, 0.25)
    train_and_evaluate(config, tmp_path / "grid", "bmn")
    found = json.loads((tmp_path / "grid" / "bmn" / "population.json").read_text())
    assert [(m["seed"], m["learning_rate"]) for m in found["members"]] == [(0, 1), (0, 0.25), (1, 1), (1, 0.25)]
    assert [s["learning_rate"] for s in found["summary"]] == [1, 0.25]
    slow = config_of(data, 0)
    slow["stages"]["bmn"]["optimizer"]["learning_rate"] *= 0.25
    train_and_evaluate(slow, tmp_path / "slow", "bmn")
    close(restore_params(tmp_path / "grid", "bmn", member=1), restore_params(tmp_path / "slow", "bmn"))
    with pytest.raises(InputError, match="positive factors"):
        train_and_evaluate({**config, "learning_rates": (1.0, -1.0)}, tmp_path / "negative", "bmn")


def test_scores_their_mean_and_spread_are_written(trained):
    found = json.loads((trained / "bmn" / "population.json").read_text())
    assert [m["seed"] for m in found["members"]] == [0, 1, 2, 3]
    values = [m["AUC"] for m in found["members"]]
    (summary,) = found["summary"]
    assert summary["AUC"]["mean"] == pytest.approx(np.mean(values))
    assert summary["AUC"]["sd"] == pytest.approx(np.std(values, ddof=1))
    assert spread([{"a": 2.0}]) == {"a": {"mean": 2.0, "sd": 0.0}}


def test_every_member_detects(trained):
    scores = [detect(trained, "validation", stage="bmn", member=k).table.score for k in (0, 3)]
    assert len(scores[0])
    assert not np.array_equal(*scores)


def test_an_interrupted_population_goes_on_exactly(data, trained, tmp_path, monkeypatch):
    at_step(3, monkeypatch)
    config = config_of(data, 4)
    with pytest.raises(Killed):
        train_and_evaluate(config, tmp_path / "w", "bmn")
    train_and_evaluate(config, tmp_path / "w", "bmn")
    for k in range(4):
        a, b = (restore_params(workdir, "bmn", member=k) for workdir in (tmp_path / "w", trained))
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_equal_trainings_are_one_program():
    """Whatever a step depends on makes another one; the values of the example do not."""
    task = ClassifierTask(model=VideoClassifier(num_classes=3, hidden=4))
    batch = make_batch(classes=3)
    settings = OptimizerSection()

    def made(example=batch, steps=5, **changes):
        optimizer, _ = build_optimizer(settings, steps)
        return make_program(
            task, optimizer, make_mesh(), example, **({"seed": 0, "ema_decay": 0.0, "steps": steps} | changes)
        )

    program = made()
    assert made(example=batch.replace(features=batch.features + 1)) is program
    longer = batch.replace(features=np.concatenate([batch.features] * 2, axis=1))
    for change in (
        {"example": longer}, {"steps": 6}, {"seed": 1}, {"ema_decay": 0.9}, {"accumulate": 2},
        {"members": population(0, 4, ())},
    ):  # fmt: skip
        assert made(**change) is not program, change
        assert made() is program
