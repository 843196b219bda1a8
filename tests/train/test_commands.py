"""launch.train and launch.detect as a user types them: a whole run, a kill, and bad input in one line."""

import json
import os
import shutil
import signal
import subprocess

import numpy as np
import pytest
from support.commands import logged, run, started, until
from support.runs import losses
from support.sensor_set import prepare_set

pytestmark = pytest.mark.slow

CONFIG = """
from support.sensor_set import tiny_config

def get_config():
    return tiny_config("", refinements=1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    prepare_set(folder)
    (folder / "config.py").write_text(CONFIG)
    return folder


def train(folder, workdir, *arguments, data="data"):
    return (
        "train", f"--config={folder / 'config.py'}", f"--workdir={workdir}", f"--config.data.dir={folder / data}",
        *arguments,
    )  # fmt: skip


def refused(result, *words, status=2):
    assert result.returncode == status, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("launch.")
    for word in words:
        assert word in lines[0], lines[0]


def test_from_records_to_map_with_a_kill_on_the_way(folder, tmp_path):
    longer = ("--config.stages.bmn.steps=24", "--config.checkpoint.every_steps=4")
    arguments = train(folder, tmp_path / "w", *longer)
    with started(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(logged(tmp_path / "w", "bmn", 5), process)
        process.send_signal(signal.SIGKILL)
    again = run(*arguments)
    assert again.returncode == 0, again.stderr
    assert not again.stderr
    straight = run(*train(folder, tmp_path / "v", *longer, "--stage=bmn"))
    assert straight.returncode == 0, straight.stderr
    assert losses(tmp_path / "w", "bmn") == losses(tmp_path / "v", "bmn")

    out = tmp_path / "d.json"
    found = run("detect", f"--workdir={tmp_path / 'w'}", "--split=validation", f"--out={out}")
    assert found.returncode == 0, found.stderr
    scores = tmp_path / "r.json"
    measured = run(
        "evaluate", f"--ground_truth={folder / 'annotations.json'}", f"--detections={out}", "--subset=validation",
        f"--json={scores}",
    )  # fmt: skip
    assert measured.returncode == 0, measured.stderr
    assert 0 <= json.loads(scores.read_text())["average_mAP"] <= 1


def test_damaged_shards_are_named(folder, tmp_path):
    shard = "tal_jax-training.tfrecord-00000-of-00001"
    shutil.copytree(folder / "data", folder / "flipped")
    damaged = np.fromfile(folder / "flipped" / shard, np.uint8)
    damaged[len(damaged) // 2] ^= 1
    damaged.tofile(folder / "flipped" / shard)
    refused(run(*train(folder, tmp_path / "a", data="flipped")), shard, "record r0", "launch.prepare")
    shutil.copytree(folder / "data", folder / "cut")
    os.truncate(folder / "cut" / shard, len(damaged) - 50)
    refused(run(*train(folder, tmp_path / "b", data="cut")), shard, "record r07", "truncated", "launch.prepare")


def test_a_loss_that_is_not_finite_is_no_bad_input(folder, tmp_path):
    result = run(*train(folder, tmp_path / "w", "--stage=bmn", "--config.stages.bmn.optimizer.learning_rate=1e30"))
    refused(result, "error: stage bmn: loss or gradient is not finite at step", "recordings r0", status=70)


def test_bad_arguments(folder, tmp_path):
    refused(run(*train(folder, tmp_path, "--config.stages.bmn.stepz=3")), "bmn.stepz", "did you mean 'steps'?")
    raw = run(*train(folder, tmp_path / "w", data="features"))
    refused(raw, "no complete data set, but 12 files NAME.npy: if they are features, pack them first")
    assert raw.stdout == ""
    assert not (tmp_path / "w").exists()
    refused(run("detect", f"--workdir={tmp_path}", f"--out={tmp_path / 'd.json'}"), "not the workdir of a training")
