"""What a training logged: `metrics.jsonl` and TensorBoard events of its stages, as points of curves."""

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tal_jax.errors import InputError
from tal_jax.report.inputs import Point

SCALARS = "metrics.jsonl"
EVENTS = "events.out.tfevents.*"


def read_history(workdir: str | Path, stages: list[str]) -> tuple[Point, ...]:
    """All logged numbers, by stage, metric and step.

    A number that is in both files is taken from `metrics.jsonl`; events fill in what it lacks. What a later run of the
    same stage purged counts no more.

    Args:
      workdir: of a training.
      stages: in the order wanted.

    Raises:
      InputError: `metrics.jsonl` holds a line that is not an object with a step.
    """
    points = []
    for stage in stages:
        folder = Path(workdir) / stage
        values: dict[str, dict[int, float | None]] = {}
        for metric, step, value in (*_lines(folder / SCALARS), *_events(folder)):
            values.setdefault(metric, {}).setdefault(step, value)
        points += [
            Point(stage, metric, step, value)
            for metric, curve in values.items()
            for step, value in sorted(curve.items())
        ]
    return tuple(points)


def _lines(path: Path) -> Iterator[tuple[str, int, float | None]]:
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            content = json.loads(line)
            step = int(content.pop("step"))
            found = [(str(metric), step, _finite(value)) for metric, value in content.items()]
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as e:
            if number == len(lines):
                return  # cut short by a kill
            raise InputError(f"{path}: line {number} is damaged ({e!r:.60}): remove it") from e
        yield from found


def _finite(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _events(folder: Path) -> list[tuple[str, int, float | None]]:
    """Scalars of all event files in the order in which they were begun."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found: dict[tuple[str, int], float | None] = {}
    for path in sorted(folder.glob(EVENTS)):
        for record in _records(path):
            event = Event.FromString(record)
            if event.WhichOneof("what") == "session_log" and event.session_log.status == SessionLog.START:
                found = {key: value for key, value in found.items() if key[1] < event.step}
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    found[value.tag, event.step] = _finite(value.simple_value)
    return [(metric, step, value) for (metric, step), value in found.items()]


def _records(path: Path) -> Iterator[bytes]:
    """The records of a file in TFRecord framing; one that a kill cut short ends it."""
    content = path.read_bytes()
    at = 0
    while at + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        end = at + 12 + length + 4
        if end > len(content):
            return
        yield content[at + 12 : end - 4]
        at = end
