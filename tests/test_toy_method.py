"""A method that no file of the house knows of: prepared, trained, detected, evaluated, exported and loaded like any."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from support import toy_method
from support.commands import run
from support.sensor_set import STRIDE, prepare_set
from support.toy_method.task import PointTask

import tal_jax
from tal_jax.batch_layout import Sizes
from tal_jax.detect.recording_losses import recording_losses
from tal_jax.errors import InputError
from tal_jax.stages.config import parse
from tal_jax.stages.stage import build_stage
from tal_jax.train.checkpoint import restore_params
from tal_jax.types import Batch

pytestmark = pytest.mark.slow

CONFIG = Path(toy_method.__path__[0]) / "config.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained workdir `w`, beside its set, all by commands as a user types them."""
    folder = tmp_path_factory.mktemp("toy")
    prepare_set(folder, training=24, validation=8)
    done = run("train", f"--config={CONFIG}", f"--workdir={folder / 'w'}", f"--config.data.dir={folder / 'data'}")
    assert done.returncode == 0, done.stderr
    assert "task: support.toy_method.task:PointTask" in done.stdout
    return folder


def test_no_file_of_the_house_knows_it():
    house = Path(tal_jax.__path__[0])
    assert not [
        path for path in house.rglob("*.py") if re.search("PointTask|PointDetector|toy_method", path.read_text())
    ]


def test_it_detects_what_it_has_learned(folder):
    out = folder / "d.json"
    done = run("detect", f"--workdir={folder / 'w'}", "--split=validation", f"--out={out}")
    assert done.returncode == 0, done.stderr
    done = run(
        "evaluate", f"--ground_truth={folder / 'annotations.json'}", f"--detections={out}", "--subset=validation",
        "--tiou=0.3:0.7:0.1", f"--json={folder / 'r.json'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "r.json").read_text())["average_mAP"] > 0.5  # chance: below 0.1


def test_an_export_detects_the_same(folder):
    done = run("export", f"--workdir={folder / 'w'}", f"--out={folder / 'model'}")
    assert done.returncode == 0, done.stderr
    model = tal_jax.load(folder / "model")
    found = model(np.load(folder / "features" / "r25.npy"), stride=STRIDE)
    expected = tal_jax.detect(folder / "w", "validation")
    rows = expected.table.take(expected.table.recording == expected.recordings.index("r25"))
    assert len(found) == len(rows) > 0
    np.testing.assert_allclose([row["segment"] for row in found], rows.segments, atol=1e-4)
    np.testing.assert_allclose([row["score"] for row in found], rows.score, atol=1e-5)
    assert {row["label"] for row in found} <= {"action_0", "action_1"}


def test_what_it_declares_by_default(folder):
    stage = build_stage(json.loads((folder / "w" / "config.json").read_text()), "points", folder / "w")
    assert (stage.task.makes, stage.task.weak, stage.task.measured_by, stage.task.any_length) == (
        "",
        False,
        "detections",
        False,
    )
    assert stage.task.without_noise().model.dropout == 0.0
    scores = [line for line in (folder / "w/points/metrics.jsonl").read_text().splitlines() if "average_mAP" in line]
    assert scores
    index = np.arange(len(stage.recordings.evaluation))
    losses = recording_losses(
        stage.task, restore_params(folder / "w", "points"), stage.recordings.evaluation, stage.assembler, index=index,
        batch_size=4,
    )  # fmt: skip
    assert np.isfinite(losses).all()


def test_its_keys_are_checked_like_others():
    tree = {"track": ("points",), "stages": {"points": {"task": "support.toy_method.task:PointTask"}}}
    section = parse(tree).stages["points"]
    assert section.options == {"candidates": 100, "detections": 20, "nms_sigma": 0.4}
    assert section.model == {"hidden": 16, "dropout": 0.1, "dtype": "float32"}
    tree["stages"]["points"]["options"] = {"nms_sigm": 1.0}
    with pytest.raises(InputError, match="did you mean 'nms_sigma'"):
        parse(tree)


def test_its_modules_are_those_that_a_user_could_call():
    """Without any config: the model, and a task around it."""
    task = PointTask(PointTask.__annotations__["model"](num_classes=3))
    batch = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), Batch.spec(Sizes(16, 4, 3, segments=2), 2))
    batch = dataclasses.replace(batch, segments=batch.segments * np.array([2, 8], np.float32))
    params = task.init(jax.random.key(0), batch)
    assert np.isfinite(task.loss(params, batch, jax.random.key(1))[0])
