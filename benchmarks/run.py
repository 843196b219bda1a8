"""Measures this project against PyTorch, side by side on this machine: what `make bench` runs.

python -m benchmarks.run [--cases=NAME,NAME] [--seconds=45]

Both sides of a case are processes of their own, on the same threads, in float32. After warming up they take steps in
alternation, so that a busy machine slows both; the medians are compared, and the peak memory of each process. This
project's side is run twice: the first one compiles, the second one, which is compared, reads what it compiled. Writes
benchmarks/results.json and the table in benchmarks/README.md; a run of some cases replaces theirs only.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import report
from benchmarks.cases import CASES, MAP_CLASSES, MAP_DETECTIONS, MAP_RECORDINGS, Case
from tal_jax.commands import allocation

_CASES = flags.DEFINE_list("cases", [], "Only these: names of cases, `map` and `growth`; empty: everything.")
_SECONDS = flags.DEFINE_float("seconds", 45.0, "How long the sides of one case take steps, about.", lower_bound=1.0)
MIN_ROUNDS, MAX_ROUNDS = 3, 9
COMPILE_PATIENCE = 240.0  # seconds that torch.compile may take to get ready
ROOT = Path(__file__).parents[1]


def command_environment(**more: str) -> dict[str, str]:
    """The environment that `python -m launch.X` gives itself."""
    return {**(allocation.wanted(os.environ) or os.environ), **more}


class Side:
    """A worker process."""

    def __init__(self, side: str, case: Case, environment: Mapping[str, str] | None = None):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", side, case.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if side == "compile" else None,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        self.times: list[float] = []
        self.peak = 0

    def read(self, key: str) -> float:
        """Waits for an answer that has the key; other lines are not for us."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)[key]
        raise RuntimeError(f"worker ended with status {self.process.wait()}")

    def step(self) -> float:
        """Takes a step; its seconds."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        self.times.append(self.read("seconds"))
        return self.times[-1]

    def end(self) -> None:
        """Ends the worker and asks for its memory."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.peak = int(self.read("peak_bytes"))
        self.process.wait()


def run_case(case: Case, seconds: float) -> dict[str, Any]:
    """Both sides of a case in alternation."""
    # Started one after the other: each warms up alone.
    with tempfile.TemporaryDirectory() as cache:
        environment = command_environment(JAX_COMPILATION_CACHE_DIR=cache)
        first = Side("jax", case, environment)
        first_ready = first.read("ready")
        first.end()
        ours = Side("jax", case, environment)
        ready = ours.read("ready")
    theirs = Side("torch", case)
    theirs.read("ready")
    begin = time.perf_counter()
    rounds = 0
    while rounds < MIN_ROUNDS or (rounds < MAX_ROUNDS and time.perf_counter() - begin < seconds):
        ours.step()
        theirs.step()
        rounds += 1
    ours.end()
    theirs.end()
    found = {
        "ours_seconds": float(np.median(ours.times)),
        "torch_seconds": float(np.median(theirs.times)),
        "ratio": float(np.median(np.array(theirs.times)) / np.median(ours.times)),
        "rounds": rounds,
        "ours_peak_bytes": ours.peak,
        "torch_peak_bytes": theirs.peak,
        "ours_ready_seconds": ready,
        "ours_first_peak_bytes": first.peak,
        "ours_first_ready_seconds": first_ready,
    }
    if case.compiled:
        found["torch_compile"] = run_alone("compile", case)
    if case.compiled or case.kind == "recognition":
        found["torch_allocation"] = run_alone("torch", case, command_environment())
    return found


def run_alone(name: str, case: Case, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Another side on the same step, alone; or why it does not work."""
    side = Side(name, case, environment)
    try:
        out, errors = side.process.communicate("\n" * MIN_ROUNDS, timeout=COMPILE_PATIENCE)
    except subprocess.TimeoutExpired:
        side.process.kill()
        side.process.communicate()
        return {"error": f"not ready within {COMPILE_PATIENCE:.0f} s"}
    answers = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    times = [a["seconds"] for a in answers if "seconds" in a]
    if side.process.returncode or not times:
        lines = [line for line in errors.splitlines() if line.strip()]
        return {"error": lines[-1][:200] if lines else f"status {side.process.returncode}"}
    return {"seconds": float(np.median(times))}


def run_map() -> dict[str, Any]:
    """mAP from two files, parsing included."""
    from benchmarks.inputs import map_inputs
    from tal_jax.data import annotations
    from tal_jax.evaluation import detection_files as submission
    from tal_jax.evaluation import ground_truth as selection
    from tal_jax.evaluation.detection import evaluate_detections

    truth, found = map_inputs(MAP_RECORDINGS, MAP_CLASSES, MAP_DETECTIONS)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        chosen = selection.select(annotations.read(truth), submission.read(found), "validation")
        evaluate_detections(chosen.truth, chosen.detections, chosen.labels, np.linspace(0.5, 0.95, 10))
        times.append(time.perf_counter() - begin)
    return {"seconds": float(np.median(times))}


def run_growth() -> dict[str, Any]:
    """Seconds of local attention at growing T, in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=command_environment(),
        cwd=ROOT,
    )
    return json.loads(found.stdout)


def environment() -> dict[str, Any]:
    """The machine and the versions."""
    model = "unknown"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    packages = {name: version(name) for name in ("jax", "jaxlib", "flax", "numpy", "torch")}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **packages,
    }


def main(argv: Sequence[str]) -> None:
    """Runs what was asked for, and writes results and table."""
    del argv
    wanted = set(_CASES.value)
    known = {c.name for c in CASES} | {"map", "growth"}
    if wanted - known:
        raise app.UsageError(f"--cases: no {', '.join(sorted(wanted - known))}: there are {', '.join(sorted(known))}")
    results = report.read()
    begin = time.perf_counter()
    for i, case in enumerate(CASES):
        if wanted and case.name not in wanted:
            continue
        print(f"[{time.perf_counter() - begin:5.0f} s] {i + 1}/{len(CASES)} {case.title}", flush=True)
        results["cases"][case.name] = found = run_case(case, _SECONDS.value)
        print(f"          {found['ours_seconds']:.4g} s against {found['torch_seconds']:.4g} s: {found['ratio']:.2f}")
    for name, work in (("map", run_map), ("growth", run_growth)):
        if not wanted or name in wanted:
            print(f"[{time.perf_counter() - begin:5.0f} s] {name}", flush=True)
            results[name] = work()
    results["environment"] = environment()
    report.write(results)
    print(report.table(results))


if __name__ == "__main__":
    app.run(main)
