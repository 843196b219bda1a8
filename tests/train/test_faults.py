"""What disks, clocks and other people do to a training, really done to it: a stated end, and nothing is lost."""

import json
import os
import shutil
import subprocess
import time

import jax
import numpy as np
import pytest
from support.commands import PATIENCE, logged, run, started, until
from support.runs import Killed, at_step
from support.sensor_set import prepare_set, tiny_config

from tal_jax.errors import InputError
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import train_and_evaluate

pytestmark = pytest.mark.slow

CONFIG = "from support.sensor_set import tiny_config\ndef get_config(): return tiny_config('')\n"
SHARD = "tal_jax-training.tfrecord-00000-of-00001"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """An undisturbed run of the first stage."""
    workdir = tmp_path_factory.mktemp("run")
    train_and_evaluate(config_of(data), workdir, "bmn")
    return workdir


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another set of the same make."""
    folder = tmp_path_factory.mktemp("other")
    prepare_set(folder, seed=5)
    return folder / "data"


def config_of(data):
    config = tiny_config(data)
    config.checkpoint.every_steps = 1
    return config.to_dict()


def same_parameters(workdir, trained):
    jax.tree.map(np.testing.assert_array_equal, restore_params(workdir, "bmn"), restore_params(trained, "bmn"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte, and a function that enlarges it or makes it read-only."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a file system takes root")
    path = tmp_path / "disk"
    path.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {made.stderr.strip()}")
    yield path, lambda options: subprocess.run(["mount", "-o", f"remount,{options}", path], check=True)
    subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_while_saving(data, trained, small_disk, tmp_path):
    disk, change = small_disk
    (tmp_path / "config.py").write_text(
        "from support.sensor_set import tiny_config\ndef get_config(): return tiny_config('')\n"
    )
    arguments = (
        "train", f"--config={tmp_path / 'config.py'}", f"--workdir={disk / 'w'}", f"--config.data.dir={data}",
        "--stage=bmn", "--config.checkpoint.every_steps=1",
    )  # fmt: skip
    (disk / "filler").write_bytes(bytes(2**20 - 2**16))
    result = run(*arguments)
    assert result.returncode == 2, result.stderr
    assert "no space left on the device" in result.stderr.strip().splitlines()[-1]
    (disk / "filler").unlink()
    change("size=100m")
    again = run(*arguments)
    assert again.returncode == 0, again.stderr
    # The command has one device, this process four.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        restore_params(disk / "w", "bmn"),
        restore_params(trained, "bmn"),
    )


@pytest.mark.parametrize("fault", ["deleted", "of another set", "index of another set"])
def test_shards_that_are_not_those_of_the_set(data, trained, other, tmp_path, monkeypatch, fault):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    config, workdir = config_of(copy), tmp_path / "w"

    at_step(2, monkeypatch)
    with pytest.raises(Killed):
        train_and_evaluate(config, workdir, "bmn")
    if fault == "deleted":
        (copy / SHARD).unlink()
    elif fault == "of another set":
        shutil.copy(other / SHARD, copy / SHARD)
    else:
        shutil.copy(other / "training.index.npz", copy / "training.index.npz")
    with pytest.raises(InputError, match=rf"{copy}.*launch.prepare"):
        train_and_evaluate(config, workdir, "bmn")
    for name in (SHARD, "training.index.npz"):
        shutil.copy(data / name, copy / name)
    train_and_evaluate(config, workdir, "bmn")
    same_parameters(workdir, trained)


def test_records_rewritten_while_training(data, trained, other, tmp_path, monkeypatch):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    config, workdir = config_of(copy), tmp_path / "w"

    def rewrite():
        with open(copy / SHARD, "r+b") as file:  # in place: what is open already changes as well
            file.write((other / SHARD).read_bytes())
        time.sleep(0.2)

    at_step(1, monkeypatch, rewrite)
    config["stages"]["bmn"]["steps"] = 12
    with pytest.raises(InputError, match=rf"{copy / SHARD}: record r\d+"):
        train_and_evaluate(config, workdir, "bmn")
    shutil.copy(data / SHARD, copy / SHARD)
    train_and_evaluate(config, workdir, "bmn")
    whole = config_of(data)
    whole["stages"]["bmn"]["steps"] = 12
    whole["checkpoint"]["every_steps"] = 12  # how often it saves changes nothing, and takes most of its time
    train_and_evaluate(whole, tmp_path / "whole", "bmn")
    same_parameters(workdir, tmp_path / "whole")


def test_a_clock_that_was_set_back(data, trained, tmp_path, monkeypatch):
    workdir = tmp_path / "w"

    at_step(3, monkeypatch)
    with pytest.raises(Killed):
        train_and_evaluate(config_of(data), workdir, "bmn")
    later = time.time() + 400 * 86_400
    for path in [workdir, *workdir.rglob("*")]:
        os.utime(path, (later, later))  # all that was written lies in the future now
    train_and_evaluate(config_of(data), workdir, "bmn")
    same_parameters(workdir, trained)


def test_a_read_only_data_directory(data, trained, small_disk, tmp_path):
    disk, change = small_disk
    shutil.copytree(data, disk / "data")
    change("ro")
    train_and_evaluate(config_of(disk / "data"), tmp_path / "w", "bmn")
    same_parameters(tmp_path / "w", trained)
    with pytest.raises(InputError, match=r"cannot be written .*: choose another --workdir"):
        train_and_evaluate(config_of(disk / "data"), disk / "w", "bmn")


def test_a_second_writer_is_turned_away_and_the_first_goes_on(data, tmp_path):
    (tmp_path / "config.py").write_text(
        "from support.sensor_set import tiny_config\ndef get_config(): return tiny_config('')\n"
    )
    arguments = (
        "train", f"--config={tmp_path / 'config.py'}", f"--workdir={tmp_path / 'w'}", f"--config.data.dir={data}",
        "--stage=bmn", "--config.stages.bmn.steps=2000", "--config.checkpoint.every_steps=1000",
    )  # fmt: skip
    with started(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as first:
        until(logged(tmp_path / "w", "bmn", 3), first)
        second = run(*arguments)
        assert second.returncode == 2
        assert f"process {first.pid} on" in second.stderr
        assert second.stderr.count("\n") == 1
        assert first.poll() is None
        first.terminate()
        _, errors = first.communicate(timeout=PATIENCE)
    assert first.returncode == 75, errors
    metrics = (tmp_path / "w" / "bmn" / "metrics.jsonl").read_text()
    steps = [json.loads(line)["step"] for line in metrics.splitlines()]
    assert steps == sorted(set(steps))
