"""Event files as TensorBoard's own message definitions read them."""

import json
import math
import struct
import subprocess
import sys

import numpy as np
import pytest

from tal_jax.data import tfrecord
from tal_jax.train.events import EventFile
from tal_jax.train.progress import Progress


def events(folder):
    """All events of a folder, in the order in which TensorBoard reads them; `scan` and `read` check the framing."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        offsets, lengths = tfrecord.scan(path)
        with path.open("rb") as file:
            for offset, length in zip(offsets.tolist(), lengths.tolist(), strict=True):
                found.append(Event.FromString(tfrecord.read(file.fileno(), path, offset, length, "event")))
    return found


def test_scalars_by_the_published_messages(tmp_path):
    large = 2**40 + 5
    file = EventFile(tmp_path)
    file.add(1, {"loss": 0.1, "AR@1": 0.5, "größe": -2.0})
    file.add(large, {"loss": math.nan, "grad_norm": math.inf, "huge": 1e300})
    found = events(tmp_path)  # before it is closed: a reader looks on
    file.close()
    assert [event.WhichOneof("what") for event in found] == ["file_version", "summary", "summary"]
    assert found[0].file_version == "brain.Event:2"
    assert [event.step for event in found] == [0, 1, large]
    assert all(1e9 < event.wall_time < 1e11 for event in found)
    first, second = ({v.tag: v.simple_value for v in event.summary.value} for event in found[1:])
    assert first == {"loss": np.float32(0.1), "AR@1": 0.5, "größe": -2.0}
    assert math.isnan(second["loss"])
    assert (second["grad_norm"], second["huge"]) == (math.inf, math.inf)


@pytest.mark.parametrize("start", [1, 127, 128, 300, 10**6])
def test_a_file_that_goes_on_tells_readers_what_is_written_again(tmp_path, start):
    from tensorboardX.proto.event_pb2 import SessionLog

    file = EventFile(tmp_path, start=start)
    file.close()
    version, again = events(tmp_path)
    assert (version.file_version, again.step, again.session_log.status) == ("brain.Event:2", start, SessionLog.START)


def test_tags_are_grouped_and_lines_are_not(tmp_path):
    """TensorBoard shows a section for what is before the slash, and a run for the folder of each stage."""
    progress = Progress(tmp_path / "bmn", name="bmn", total=2, start=0)
    progress.log(1, {"loss": 0.5, "learning_rate": 0.25})
    progress.log(2, {"average_mAP": 0.75, "mAP@0.50": 1.0})
    progress.close()
    _, train, validation = events(tmp_path / "bmn")
    values = {v.tag: v.simple_value for v in train.summary.value}
    assert {"train/loss", "train/learning_rate", "train/step_seconds", "train/waiting"} == set(values)
    assert (values["train/loss"], values["train/learning_rate"]) == (0.5, 0.25)
    assert {v.tag: v.simple_value for v in validation.summary.value} == {
        "validation/average_mAP": 0.75,
        "validation/mAP@0.50": 1.0,
    }
    first, second = map(json.loads, (tmp_path / "bmn" / "metrics.jsonl").read_text().splitlines())
    assert (first["step"], first["loss"]) == (1, 0.5)
    assert second == {"step": 2, "average_mAP": 0.75, "mAP@0.50": 1.0}


def test_the_framing_is_that_of_another_writer(tmp_path):
    from tensorboardX.record_writer import RecordWriter

    data = bytes(range(256)) * 3
    writer = RecordWriter(str(tmp_path / "theirs"))
    writer.write(data)
    writer.close()
    assert (tmp_path / "theirs").read_bytes() == tfrecord.framed(data)
    assert tfrecord.framed(b"")[:8] == struct.pack("<Q", 0)


def test_a_training_logs_without_other_frameworks():
    """PyTorch alone takes 1.5 s of every start where it is installed."""
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "tensorflow", "tensorboardX"):
            raise AssertionError(name)
sys.meta_path.insert(0, Refuse())
import tal_jax.train.progress
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
