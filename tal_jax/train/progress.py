"""The progress of a training: a line or bar for its user, `metrics.jsonl`, TensorBoard events."""

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

from tal_jax.data import atomic
from tal_jax.train.events import EventFile


class Progress:
    """Shows step time and time left, as a bar on a terminal; writes every metric as a JSON line and as an event.

    The time left is that of the stage; where others follow, also that of the track, as if their steps took as long.

    A run that goes on from a checkpoint drops the lines of later steps, which it will write again.
    """

    def __init__(self, directory: Path, *, name: str, total: int, start: int, later: int = 0):
        """Opens the files.

        Args:
          directory: the stage's folder.
          name: the stage's name.
          total: the stage's steps.
          start: how many of them are taken.
          later: steps of the stages that follow.
        """
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "metrics.jsonl"
        if path.exists():
            # A line cut short by a kill, or damaged by a crash, is dropped with the later steps.
            kept = [line for line in path.read_text("utf-8", "replace").splitlines() if _step(line) <= start]
            atomic.write(path, "".join(f"{line}\n" for line in kept).encode())
        self._file = path.open("a")
        self._events = EventFile(directory, start=start + 1 if start else None)
        self._name, self._total, self._later = name, total, later
        # disable=None: a bar only on a terminal; a log file gets a line for every logged step instead.
        self._bar = tqdm(total=total, initial=start, desc=name, unit="step", disable=None, dynamic_ncols=True)
        self._clock, self._last, self._waited = time.monotonic(), start, 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Times what the block waits for: the share of time spent so is logged as `waiting`."""
        begin = time.monotonic()
        yield
        self._waited += time.monotonic() - begin

    def advance(self, steps: int = 1) -> None:
        """Moves the bar by so many steps."""
        self._bar.update(steps)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the scalars of a step; where `loss` is among them, also the seconds of a step since the last ones."""
        now = time.monotonic()
        values = {k: float(v) for k, v in metrics.items()}
        if "loss" in values and step > self._last:
            values["step_seconds"] = (now - self._clock) / (step - self._last)
            values["waiting"] = self._waited / max(now - self._clock, 1e-9)
            self._clock, self._last, self._waited = now, step, 0.0
        group = "train" if "loss" in values else "validation"  # TensorBoard has a section for each; a run is a stage
        self._events.add(step, {f"{group}/{name}": value for name, value in values.items()})
        # JSON knows no NaN; null says "not a number" to every reader.
        line = {k: v if math.isfinite(v) else None for k, v in values.items()}
        self._file.write(json.dumps({"step": step, **line}) + "\n")
        self._file.flush()
        if "loss" not in values:
            self._clock, self._waited = time.monotonic(), 0.0  # an evaluation is not part of a step
        shown = {str(k): f"{v:.3g}" for k, v in values.items() if k in ("loss", "waiting", "average_mAP", "AR@100")}
        if "step_seconds" in values:
            shown["ms"] = f"{1000 * values['step_seconds']:.0f}"
        left = self._left(step, values.get("step_seconds"))
        self._bar.set_postfix({**shown, **{k: v for k, v in left.items() if k == "track"}}, refresh=False)
        if self._bar.disable:
            text = "".join(f" {k}={v}" for k, v in {**shown, **left}.items())
            print(f"{self._name} {step}/{self._total}{text}", flush=True)

    def _left(self, step: int, seconds: float | None) -> dict[str, str]:
        """The time that is left, for the line or bar; nothing where no step was timed."""
        if seconds is None:
            return {}
        own = seconds * (self._total - step)
        found = {"left": tqdm.format_interval(own)}
        if self._later:
            found["track"] = f"about {tqdm.format_interval(own + seconds * self._later)}"
        return found

    def close(self) -> None:
        """Ends the bar and the files."""
        self._bar.close()
        self._file.close()
        self._events.close()


class Silent(Progress):
    """The progress of all processes but the first: nothing is shown or written."""

    def __init__(self) -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        """Does nothing."""

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Does not take the time."""
        yield

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def _step(line: str) -> float:
    """The step of a line; infinity where it is damaged."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf
