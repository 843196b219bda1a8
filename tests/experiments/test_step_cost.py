"""Measuring steps: the command, its figures, and what it refuses."""

import json

import jax
import numpy as np
import pytest
from support import small_encoder
from support.commands import run
from support.packed_set import recognition_config

from tal_jax.errors import InputError
from tal_jax.experiments.step_cost import USUAL, measure
from tal_jax.experiments.synthetic import data_sizes, random_batch, synthetic_batch, synthetic_task
from tal_jax.tasks.mgfn import MGFNTask

pytestmark = pytest.mark.slow

SIZES = {"snippets": 16, "channels": 8, "classes": 3}
ARGUMENTS = [f"--{name}={value}" for name, value in SIZES.items()]


TINY = {"bmn": "support.sensor_set import tiny_config", "tcanet": "support.sensor_set import tiny_config"}
TINY["mgfn"] = "support.clip_set import tiny_weak_config"


@pytest.mark.parametrize("stage", TINY)
def test_the_command_measures_every_kind_of_stage(stage, tmp_path):
    path, config = tmp_path / "figures.json", tmp_path / "config.py"
    config.write_text(f"from {TINY[stage]} as tiny\ndef get_config():\n    return tiny('')\n")
    arguments = [*ARGUMENTS, "--proposals=4", "--batch=2", "--steps=2", f"--json={path}"]
    done = run("benchmark", f"--config={config}", f"--stage={stage}", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(path.read_text())
    assert found.items() >= {"stage": stage, "batch": 2, **SIZES, "backend": "cpu"}.items()
    assert found["proposals"] == (4 if stage == "tcanet" else 0)
    for name in (
        "train_step_seconds", "predict_step_seconds", "train_compile_seconds", "train_flops", "peak_memory_bytes",
        "matmul_flops_per_second",
    ):  # fmt: skip
        assert found[name] > 0, name
    assert found["train_recordings_per_second"] == pytest.approx(2 / found["train_step_seconds"])
    assert all(name in done.stdout for name in found)


def test_an_unknown_stage_is_refused():
    done = run("benchmark", "--config=configs/weak_watch.py", "--stage=bmn", *ARGUMENTS)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("--stage=bmn: no such stage: the config has mgfn, trimmed")


@pytest.mark.parametrize(("name", "arguments"), [("benchmark", ["--stage=bmn"]), ("train", ["--workdir=W"])])
def test_a_config_that_is_not_there_is_one_line(name, arguments):
    done = run(name, "--config=configs/nothing.py", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"launch.{name}: error: ")
    assert "configs/nothing.py: no such file: " in line


def test_batches_are_what_losses_read():
    batch = random_batch(3, snippets=20, channels=2, classes=4, proposals=5, segments=2)
    assert batch.proposals.shape == (3, 5, 2)
    assert (batch.segments[..., 0] < batch.segments[..., 1]).all()
    assert (batch.segments <= 20).all()
    assert (np.diff(batch.proposals, axis=-1) >= 0).all()
    rows = np.arange(3)[:, None]
    assert (batch.labels[rows, batch.segment_labels] == 1).all()


def test_clips_carry_features_of_the_model_s_width():
    from tal_jax.configs.weak_watch import get_config

    config = get_config("full")
    config.stages.mgfn.model.update(hidden=8, branch_hidden=8)
    config = config.to_dict()
    task, _ = synthetic_task(config, "mgfn", **SIZES)
    assert isinstance(task, MGFNTask)
    batch = synthetic_batch(task, 2, proposals=0, **SIZES)
    params = jax.jit(task.init)(jax.random.key(0), batch)
    loss, metrics = jax.jit(lambda p: task.loss(p, batch, jax.random.key(0)))(params)
    assert np.isfinite(loss)
    assert "mmd" in metrics


def test_a_stage_that_sees_images_is_measured():
    with small_encoder.known():
        found = measure(recognition_config(views=2).to_dict(), "recognition", rows=2, steps=1, classes=4)
    assert (found["batch"], found["snippets"], found["channels"], found["proposals"]) == (2, 3, 3, 0)
    assert found["train_step_seconds"] > 0
    assert found["predict_step_seconds"] > 0


@pytest.mark.parametrize("name", ["snippets", "channels", "proposals"])
def test_the_encoder_of_a_stage_says_what_it_sees(name):
    with small_encoder.known(), pytest.raises(InputError, match=f"--{name} does not go with stage 'recognition'"):
        data_sizes(recognition_config().to_dict(), "recognition", USUAL, classes=4, **{name: 16})


def test_sizes_that_are_not_given_are_the_usual_ones():
    from tal_jax.configs.weak_watch import get_config

    found = data_sizes(get_config().to_dict(), "mgfn", USUAL, classes=4, snippets=7, channels=0)
    assert found == {**USUAL, "snippets": 7, "classes": 4}
