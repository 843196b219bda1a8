"""What a training logged in `metrics.jsonl` of its stages, as points of curves."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.report.inputs import Point

SCALARS = "metrics.jsonl"


def read_history(workdir: str | Path, stages: list[str]) -> tuple[Point, ...]:
    """All logged numbers, ordered by stage, metric and step.

    Args:
      workdir: the folder of a training; a stage that has logged nothing yet has no points.
      stages: the names of the stages, in the order wanted.

    Raises:
      InputError: `metrics.jsonl` holds a line that is not an object with a step.
    """
    points = []
    for stage in stages:
        values: dict[str, dict[int, float | None]] = {}
        for step, logged in _lines(Path(workdir) / stage / SCALARS):
            for metric, value in logged.items():
                values.setdefault(metric, {}).setdefault(step, value)
        points += [
            Point(stage, metric, step, value)
            for metric, curve in values.items()
            for step, value in sorted(curve.items())
        ]
    return tuple(points)


def last_scores(folder: Path) -> dict[str, float]:
    """The scores of a stage's last evaluation, fractions in [0, 1] by name; {} without any.

    Args:
      folder: the stage's, WORKDIR/STAGE.

    Raises:
      InputError: see `read_history`.
    """
    found = [values for _, values in _lines(folder / SCALARS) if "average" in values]
    return {name: value for name, value in found[-1].items() if value is not None} if found else {}


def _lines(path: Path) -> Iterator[tuple[int, dict[str, float | None]]]:
    """The step and the numbers of every line."""
    if not os.path.lexists(path):
        return
    remedy = "restore it, or remove it: the curves are lost with it, and nothing else"
    lines = own_files.as_text(path, own_files.read_bytes(path, remedy), remedy).splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            content = json.loads(line)
            step = int(content.pop("step"))
            found = {str(metric): _finite(value) for metric, value in content.items()}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as e:
            if number == len(lines):
                return  # cut short by a kill
            raise InputError(f"{path}: line {number} is damaged ({e!r:.60}): remove it") from e
        yield step, found


def _finite(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None
