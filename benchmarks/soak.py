"""Kills a command again and again, and holds what comes out to an undisturbed run, bit for bit.

python -m benchmarks.soak --out=DIR --kills=20 --between=2,20 [--signal=KILL|TERM] -- COMMAND ...
python -m benchmarks.soak --out=DIR --kills=20 --spread [--flag=out] [--name=d.json] [--start=W] -- COMMAND ...

The first is for a `python -m launch.train ..` without --workdir. It runs once undisturbed into DIR/whole, then (with
--together: at the same time) in DIR/killed, where it gets a signal after a random number of seconds and is started
again, until it was hit so many times and has ended.

The second is for any command, without the flag that names its result: --flag, which gets DIR/whole/NAME and
DIR/killed/NAME; --start is copied there first, for a command that changes a workdir. The signals come at moments spread
evenly over its undisturbed run. A run that has ended before its moment is looked at, and begun anew, with the moments
spread over its own length.

Status 1, with the reasons, if results differ (parameters, optimizer state, metrics, the bytes of every file), a file is
left over, also among the temporary ones of the system, or it failed.
"""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from absl import app, flags, logging

from tal_jax.errors import RESTART_STATUS
from tal_jax.train.checkpoint import load

_OUT = flags.DEFINE_string("out", None, "Folder for both workdirs.", required=True)
_KILLS = flags.DEFINE_integer("kills", 20, "How many times.", lower_bound=0)
_BETWEEN = flags.DEFINE_list("between", ["2", "20"], "Seconds from a start to the signal: at least, at most.")
_SIGNAL = flags.DEFINE_enum("signal", "KILL", ["KILL", "TERM"], "Which signal.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")
_TOGETHER = flags.DEFINE_bool("together", False, "Both at once, for soaks of hours.")
_SPREAD = flags.DEFINE_bool("spread", False, "At moments spread over the undisturbed run, of any command.")
_FLAG = flags.DEFINE_string("flag", "workdir", "With --spread: the command's flag that names its result.")
_NAME = flags.DEFINE_string("name", "", "With --spread: the result's name, where it is not the whole folder.")
_START = flags.DEFINE_string("start", "", "With --spread: a folder whose copy the command changes.")
TRIES = 5  # of a moment that the run has ended before
CLOCK = {"step_seconds", "waiting"}  # metrics that are no function of the run
TIMED = {"seconds"}  # likewise, in the tables and JSON files of a study


def main(argv: Sequence[str]) -> None:
    """Runs, compares, prints."""
    logging.set_verbosity(logging.FATAL)  # Orbax tells of every file that it reads
    command, out = [sys.executable, *argv[2:]] if argv[1] == "python" else list(argv[1:]), Path(_OUT.value).absolute()
    if _SPREAD.value:
        wrong = list(spread_kills(command, out))
        print("; ".join(wrong) or f"{_KILLS.value} moments: all the same")
        sys.exit(1 if wrong else 0)
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


def spread_kills(command: Sequence[str], out: Path) -> Iterator[str]:
    """What is wrong after signals at moments spread over a run of any command."""

    def begun(name: str) -> tuple[Path, list[str]]:
        shutil.rmtree(out / name, ignore_errors=True)
        if _START.value:
            shutil.copytree(_START.value, out / name)
        else:
            (out / name).mkdir(parents=True)
        return out / name, [*command, f"--{_FLAG.value}={out / name / _NAME.value}"]

    temporary = out / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(temporary)
    for _ in range(2):  # the second one finds its programs compiled, as those that are killed do
        whole, undisturbed = begun("whole")
        begin = time.monotonic()
        run(undisturbed, out / "whole.log")
        length = time.monotonic() - begin
    killed, disturbed = begun("killed")
    hits = 0
    for i in range(_KILLS.value):
        for _ in range(TRIES):
            moment = length * (i + 0.5) / _KILLS.value
            begin = time.monotonic()
            status, _ = run(disturbed, out / "killed.log", moment)
            took = time.monotonic() - begin
            left = ", ".join(sorted(path.name for path in killed.iterdir())[:6]) or "nothing"
            print(f"{moment:6.1f} of {length:.1f} s: status {status}, there is {left}", flush=True)
            if status != 0:
                hits += 1
                break
            # It ended before its moment: the machine has less to do now than when the length was measured.
            length = min(length, took)
            yield from unlike(whole, killed)
            killed, disturbed = begun("killed")
    if hits < _KILLS.value:
        yield f"it ended before {_KILLS.value - hits} of {_KILLS.value} moments, {TRIES} times each"
    run(disturbed, out / "killed.log")
    yield from unlike(whole, killed)
    yield from (f"{path}: is left over" for path in sorted(temporary.iterdir()))


def unlike(whole: Path, killed: Path) -> Iterator[str]:
    """What is not the same in both folders, file by file."""
    if any(whole.glob("**/checkpoints")):
        for home in sorted({path.parent.parent for path in whole.glob("**/checkpoints")}):
            yield from differences(home, killed / home.relative_to(whole))
    found = []
    for folder in (whole, killed):
        files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("events.out"))
        found.append({str(path.relative_to(folder)): path for path in files if "checkpoints" not in path.parts})
    yield from (f"{killed}: {name} is left over" for name in sorted(found[1].keys() - found[0].keys()))
    yield from (f"{killed}: {name} is missing" for name in sorted(found[0].keys() - found[1].keys()))
    for name in sorted(found[0].keys() & found[1].keys()):
        if not name.endswith("metrics.jsonl") and content(found[0][name], whole) != content(found[1][name], killed):
            yield f"{killed}: {name} differs"


def content(path: Path, root: Path) -> object:
    """A file's content without its own place and without what the clock says."""
    data = path.read_bytes().replace(str(root).encode(), b"")
    try:
        if path.suffix == ".json":
            return _timeless(json.loads(data))
        if path.suffix == ".parquet":
            return [_timeless(row) for row in pq.read_table(path).to_pylist()]
        if path.suffix == ".csv":
            return [_timeless(row) for row in csv.DictReader(data.decode().splitlines())]
    except ValueError:
        pass
    return data


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(inner) for k, inner in value.items() if not TIMED & set(str(k).split("_"))}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


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
