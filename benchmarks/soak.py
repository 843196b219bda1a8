"""Kills a training again and again, and holds what comes out to an undisturbed one, bit for bit.

python -m benchmarks.soak --out=DIR --kills=20 --between=2,20 [--signal=KILL|TERM] -- COMMAND ...

COMMAND is a `python -m launch.train ..` without --workdir. It runs once undisturbed into DIR/whole, then (with
--together: at the same time) in DIR/killed, where it gets a signal after a random number of seconds and is started
again, until it was hit so many times and has ended. Status 1, with the reasons, if parameters, optimizer state or
metrics differ, a file is left over, or it failed.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging

from tal_jax.errors import RESTART_STATUS
from tal_jax.train.checkpoint import load

_OUT = flags.DEFINE_string("out", None, "Folder for both workdirs.", required=True)
_KILLS = flags.DEFINE_integer("kills", 20, "How many times.", lower_bound=0)
_BETWEEN = flags.DEFINE_list("between", ["2", "20"], "Seconds from a start to the signal: at least, at most.")
_SIGNAL = flags.DEFINE_enum("signal", "KILL", ["KILL", "TERM"], "Which signal.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")
_TOGETHER = flags.DEFINE_bool("together", False, "Both at once, for soaks of hours.")
CLOCK = {"step_seconds", "waiting"}  # metrics that are no function of the run


def main(argv: Sequence[str]) -> None:
    """Runs, compares, prints."""
    logging.set_verbosity(logging.FATAL)  # Orbax tells of every file that it reads
    command, out = [sys.executable, *argv[2:]] if argv[1] == "python" else list(argv[1:]), Path(_OUT.value).absolute()
    whole, killed = out / "whole", out / "killed"
    with ThreadPoolExecutor() as pool:
        undisturbed = pool.submit(run, [*command, f"--workdir={whole}"], out / "whole.log")
        if not _TOGETHER.value:
            wait([undisturbed])
        hits, summary = kill_until_it_ends([*command, f"--workdir={killed}"], killed, out / "killed.log")
        slope = undisturbed.result()[1]
    wrong = list(differences(whole, killed))
    if hits < _KILLS.value:
        wrong.append(f"it ended after {hits} of {_KILLS.value} hits: give it more steps")
    print(f"undisturbed: memory {growth(slope)}\n{summary}; " + ("; ".join(wrong) or "all the same"))
    if wrong:
        sys.exit(1)


def kill_until_it_ends(command: Sequence[str], workdir: Path, log: Path) -> tuple[int, str]:
    """How often it was hit, and a line about it."""
    hits, slopes = 0, []
    moments = random.Random(_SEED.value)
    begin = time.monotonic()
    while True:
        delay = moments.uniform(*map(float, _BETWEEN.value)) if hits < _KILLS.value else None
        status, slope = run(command, log, delay)
        slopes += slope
        if status == 0:
            break
        hits += 1
        print(f"[{time.monotonic() - begin:5.0f} s] hit {hits}/{_KILLS.value} at step {last_step(workdir)}", flush=True)
    return hits, f"{hits} hits in {time.monotonic() - begin:.0f} s; memory {growth(slopes)}"


def growth(slopes: Sequence[float]) -> str:
    """The median life's."""
    return f"{np.median(slopes):+.2f} MB a minute" if len(slopes) else "unknown, lives were too short"


def run(command: Sequence[str], log: Path, delay: float | None = None) -> tuple[int, list[float]]:
    """Runs until its end or the signal; its status, and the growth of its memory in MB a minute if it lived long."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        begin = time.monotonic()
        memory: list[tuple[float, float]] = []
        while process.poll() is None:
            age = time.monotonic() - begin
            if delay is not None and age > delay:
                process.send_signal(getattr(signal, f"SIG{_SIGNAL.value}"))
                process.wait()
                break
            memory.append((age, resident(process.pid)))
            time.sleep(0.1)
    status = process.returncode
    if status not in (0, -signal.SIGKILL, RESTART_STATUS):
        sys.exit(f"{log}: the command failed with status {status}")
    late = np.array([m for m in memory if m[0] > 10 and m[1]])  # past the start and compilation
    return status, [60 * float(np.polyfit(late[:, 0], late[:, 1], 1)[0])] if len(late) > 50 else []


def resident(pid: int) -> float:
    """Resident memory in MB, 0 where it cannot be told."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def metrics(workdir: Path) -> dict[str, list[dict[str, Any]]]:
    """Every stage's lines without wall-clock times."""
    found = {}
    for path in sorted(workdir.glob("*/metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        found[path.parent.name] = [{k: v for k, v in line.items() if k not in CLOCK} for line in lines]
    return found


def last_step(workdir: Path) -> str:
    """The last stage that has begun and its last step."""
    reached = [f"{name} {lines[-1]['step']}" for name, lines in metrics(workdir).items() if lines]
    return reached[-1] if reached else "0"


def differences(whole: Path, killed: Path) -> Iterator[str]:
    """What is not the same in both workdirs."""
    if metrics(whole) != metrics(killed):
        yield "metrics differ"
    for path in sorted(whole.glob("*/checkpoints")):
        steps = sorted(int(child.name) for child in path.iterdir() if child.name.isdigit())
        other = killed / path.relative_to(whole)
        if steps != sorted(int(child.name) for child in other.iterdir() if child.name.isdigit()):
            yield f"{other}: other steps are kept"
            continue
        a, b = load(path / str(steps[-1])), load(other / str(steps[-1]))
        yield from (f"{other}: {name} differs" for name in sorted(a.keys() ^ b.keys()))
        yield from (f"{other}: {k} differs" for k in sorted(a.keys() & b.keys()) if a[k].tobytes() != b[k].tobytes())
    names = [
        {str(p.relative_to(d)) for p in d.rglob("*") if p.is_file() and not p.name.startswith("events.out")}
        for d in (whole, killed)
    ]
    kept = [{n for n in found if "/checkpoints/" not in n} for found in names]
    yield from (f"{killed}: {name} is left over" for name in sorted(kept[1] - kept[0]))
    yield from (f"{killed}: {name} is missing" for name in sorted(kept[0] - kept[1]))
    yield from (f"{killed}: {name} is left over" for name in sorted(names[1]) if "tmp" in Path(name).name)


if __name__ == "__main__":
    app.run(main)
