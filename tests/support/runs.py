"""What tests of trainings share: what a run has logged, and a stop in the middle of it."""

import json

from tal_jax.train import loop


class Killed(Exception):
    """Stands for the end of a process."""


def kill():
    """Ends the training that calls it."""
    raise Killed


def at_step(step, monkeypatch, happens=kill):
    """Lets something happen once, when a step has been logged: the training ends, if nothing else is given."""
    real, done = loop.Progress.log, []

    def log(self, at, metrics):
        real(self, at, metrics)
        if at == step and not done:
            done.append(at)
            happens()

    monkeypatch.setattr(loop.Progress, "log", log)


def losses(workdir, stage):
    """Losses by step: wall-clock times are left out."""
    lines = [json.loads(line) for line in (workdir / stage / "metrics.jsonl").read_text().splitlines()]
    return {x["step"]: x["loss"] for x in lines if "loss" in x}
