"""Several processes on one machine: the same results, one end for all of them, and none that waits for ever."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import numpy as np
import pytest
from support import videos
from support.clip_set import prepare_clip_set
from support.commands import PATIENCE, environment, logged, run, started, until
from support.packed_set import pack_videos
from support.runs import losses
from support.sensor_set import prepare_set

from tal_jax.devices.processes import TIMEOUT, connect, on_cluster
from tal_jax.errors import InputError
from tal_jax.train.checkpoint import folder as checkpoints_of
from tal_jax.train.checkpoint import load

pytestmark = pytest.mark.slow

STEPS = 20
SUPERVISED = f"""
from tal_jax.configs import supervised
from support.sensor_set import tiny_config

def get_config():
    config = tiny_config("", refinements=1)
    supervised.choose_classes(config, "classifier")
    config.stages.classifier.model.hidden = 8
    config.stages.classifier.optimizer.warmup_steps = 0
    config.checkpoint.every_steps = 3
    for stage in (config.stages.bmn, config.stages.classifier, config.stages.tcanet):
        stage.batch_size, stage.steps, stage.eval_every_steps = 4, {STEPS}, 0
    return config
"""
WEAK = f"""
from support.clip_set import tiny_weak_config

def get_config():
    config = tiny_weak_config("", "full")
    config.log_every_steps = 1
    for stage in (config.stages.trimmed, config.stages.mgfn):
        stage.batch_size, stage.steps, stage.eval_every_steps = 4, {STEPS}, 0
    return config
"""


RECOGNITION = """
from support import small_encoder
from support.packed_set import recognition_config

small_encoder.add()

def get_config():
    return recognition_config(steps=12, crop="corners", flip=0.5)
"""


@pytest.fixture(scope="module")
def supervised(tmp_path_factory):
    folder = tmp_path_factory.mktemp("supervised")
    prepare_set(folder)
    (folder / "config.py").write_text(SUPERVISED)
    return folder


@pytest.fixture(scope="module")
def alone(supervised):
    """An undisturbed run of the supervised track in one process with one device."""
    workdir = supervised / "alone"
    result = run(*train(supervised, workdir))
    assert result.returncode == 0, result.stderr
    return workdir


LONGER = ("--stage=bmn", "--config.stages.bmn.steps=40", "--config.checkpoint.every_steps=1000")


@pytest.fixture(scope="module")
def longer(supervised):
    """One undisturbed stage of forty steps."""
    workdir = supervised / "longer"
    assert run(*train(supervised, workdir, *LONGER)).returncode == 0
    return workdir


def train(folder, workdir, *arguments):
    config, data = folder / "config.py", folder / "data"
    return ("train", f"--config={config}", f"--workdir={workdir}", f"--config.data.dir={data}", *arguments)


def free_port():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def start(folder, workdir, *arguments):
    """The two processes of one training, each with two devices."""
    return start_command(workdir, *train(folder, workdir, *arguments))


@contextlib.contextmanager
def start_command(log_name, *arguments, count=2):
    """The processes of one command, which write to LOG_NAME.I.log; none outlives the block."""
    port = free_port()
    devices = {"XLA_FLAGS": environment()["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2"}
    with contextlib.ExitStack() as stack:
        processes = []
        for i in range(count):
            own = (f"--coordinator=localhost:{port}", f"--num_processes={count}", f"--process_id={i}")
            log = stack.enter_context(log_name.with_name(f"{log_name.name}.{i}.log").open("w"))
            options = {"stdout": log, "stderr": log, "env": environment() | devices}
            processes.append(stack.enter_context(started(*arguments, *own, **options)))
        yield processes


def ends(processes):
    """Statuses, all within the time."""
    until = time.monotonic() + PATIENCE
    return [p.wait(max(until - time.monotonic(), 0.1)) for p in processes]


def same_losses(found, expected, stages):
    for stage in stages:
        assert losses(found, stage).keys() == losses(expected, stage).keys()
        np.testing.assert_allclose(
            list(losses(found, stage).values()), list(losses(expected, stage).values()), rtol=1e-5, err_msg=stage
        )


def test_two_processes_train_and_detect_like_one(supervised, alone, tmp_path):
    with start(supervised, tmp_path / "w") as processes:
        assert ends(processes) == [0, 0], (tmp_path / "w.0.log").read_text()
    same_losses(tmp_path / "w", alone, ("bmn", "classifier", "tcanet"))
    arguments = ("detect", f"--workdir={tmp_path / 'w'}", "--split=training")
    with start_command(tmp_path / "detect", *arguments, f"--out={tmp_path / 'both.json'}") as both:
        assert run(*arguments, f"--out={tmp_path / 'one.json'}").returncode == 0
        assert ends(both) == [0, 0], (tmp_path / "detect.0.log").read_text()
    one, two = (json.loads((tmp_path / name).read_text())["results"] for name in ("one.json", "both.json"))
    assert list(one) == list(two)
    for id in one:
        assert [d["label"] for d in one[id]] == [d["label"] for d in two[id]]
        for key in ("score", "segment"):
            np.testing.assert_allclose([d[key] for d in one[id]], [d[key] for d in two[id]], atol=2e-3)
    assert "error" not in (tmp_path / "w.1.log").read_text()


def test_the_weak_track_in_two_processes(tmp_path):
    prepare_clip_set(tmp_path)
    (tmp_path / "config.py").write_text(WEAK)
    with start(tmp_path, tmp_path / "two") as processes:
        assert run(*train(tmp_path, tmp_path / "one")).returncode == 0
        assert ends(processes) == [0, 0], (tmp_path / "two.0.log").read_text()
    same_losses(tmp_path / "two", tmp_path / "one", ("trimmed", "mgfn"))


def test_recognition_in_two_processes(tmp_path):
    """Statistics of batch norms are those of the whole batch, which lies on four devices of two processes."""
    pytest.importorskip("av")
    pack_videos(tmp_path, count=2)
    (tmp_path / "set").rename(tmp_path / "data")
    (tmp_path / "config.py").write_text(RECOGNITION)
    with start(tmp_path, tmp_path / "two") as processes:
        assert run(*train(tmp_path, tmp_path / "one")).returncode == 0
        assert ends(processes) == [0, 0], (tmp_path / "two.0.log").read_text()
    same_losses(tmp_path / "two", tmp_path / "one", ("recognition",))
    one, two = (load(checkpoints_of(tmp_path / name, "recognition") / "12") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_sigterm_saves_and_the_same_command_goes_on(supervised, longer, tmp_path):
    options = {"text": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with started(*train(supervised, tmp_path / "w", *LONGER), **options) as process:
        until(logged(tmp_path / "w", "bmn", 5), process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 75
    assert "saved: the same command goes on" in errors.strip().splitlines()[-1]
    result = run(*train(supervised, tmp_path / "w", *LONGER))
    assert result.returncode == 0
    assert "going on from step" in result.stdout
    a, b = (load(checkpoints_of(workdir, "bmn") / "40") for workdir in (longer, tmp_path / "w"))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    assert losses(longer, "bmn") == losses(tmp_path / "w", "bmn")


def test_sigterm_to_one_of_two_stops_both_and_one_process_goes_on(supervised, longer, tmp_path):
    with start(supervised, tmp_path / "w", *LONGER) as processes:
        until(logged(tmp_path / "w", "bmn", 2), *processes)
        processes[1].send_signal(signal.SIGTERM)
        assert ends(processes) == [75, 75], (tmp_path / "w.0.log").read_text()
    assert len(losses(tmp_path / "w", "bmn")) < 40
    assert run(*train(supervised, tmp_path / "w", *LONGER)).returncode == 0
    same_losses(tmp_path / "w", longer, ("bmn",))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_or_hung_process_ends_the_other(supervised, tmp_path, sent):
    # Within that time the two must also meet, which takes a busy machine a while.
    arguments = ("--stage=bmn", "--config.stages.bmn.steps=100000", "--timeout=20")
    with start(supervised, tmp_path / "w", *arguments) as processes:
        until(logged(tmp_path / "w", "bmn", 2), *processes)
        processes[1].send_signal(sent)
        assert processes[0].wait(TIMEOUT / 2) != 0  # left to the default, it would wait for longer


def test_two_processes_encode_like_one(tmp_path):
    """Each takes videos of its own; together they leave the same files."""
    pytest.importorskip("av")
    (tmp_path / "videos").mkdir()
    for i, count in enumerate((40, 20, 65)):
        draw = lambda k, i=i: videos.numbered(k + 100 * i)  # noqa: E731
        videos.write(tmp_path / "videos" / f"v{i}.mp4", videos.regular(count), draw=draw)
    encode = ("encode", f"--videos={tmp_path}/videos", "--encoder=efficientnet_lite0", "--weights=random", "--rate=10")
    with start_command(tmp_path / "log", *encode, f"--out={tmp_path}/two") as processes:
        assert ends(processes) == [0, 0], (tmp_path / "log.0.log").read_text()
    assert run(*encode, f"--out={tmp_path}/one").returncode == 0
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert sorted(one) == ["encoder.json", "v0.npy", "v1.npy", "v2.npy"]
    assert one == two


def test_processes_are_numbered_and_named_together():
    with pytest.raises(InputError, match="belong together"):
        connect("localhost:1", 2)
    with pytest.raises(InputError, match="numbered 0 to 1"):
        connect("localhost:1", 2, 2)
    with pytest.raises(InputError, match="cannot be reached within 1 s"):
        connect("localhost:1", 2, 1, timeout=1)
    with pytest.raises(InputError, match="give host:port"):
        connect("localhost", 2, 1)


def test_clusters_are_known_by_their_environment():
    assert on_cluster({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"})
    assert on_cluster({"TPU_WORKER_HOSTNAMES": "a,b"})
    assert not on_cluster({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"})
    assert not on_cluster({"SLURM_NTASKS": "4"})  # inside an allocation, but not a task of it
    assert not on_cluster({"TPU_WORKER_HOSTNAMES": "localhost"})
    assert not on_cluster(os.environ)
