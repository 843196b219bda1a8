"""Damaged and odd input of every kind: it is read rightly, or refused by one line that says what is wrong.

python -m benchmarks.fuzz [--count=20000] [--seed=0] [--processes=2] [--kinds=csv,..] [--only=N] [--folder=DIR]

Case N is a function of N and the seed. Anything but a correct result or one `InputError` of one line is wrong: it is
printed with its number, and the status is 1. So is a case that ends its process, takes all memory or never ends, for
they are run in processes of their own. What was found once is kept in tests/benchmarks/test_fuzz.py and beside the
tests of what it was found in. The generators are the modules of benchmarks/fuzzing, each with the shares of its kinds;
with --kinds, only the cases of those kinds are run of all --count.
"""

import contextlib
import io
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from absl import app, flags, logging

# Programs are compiled to be compared with themselves, and not to be fast.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.fuzzing.running import Outcome, Setting, every_case, kind_of, kinds, run, run_case

_COUNT = flags.DEFINE_integer("count", 20_000, "How many cases.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of all cases.")
_ONLY = flags.DEFINE_integer("only", -1, "Only this case, with its traceback.")
_KINDS = flags.DEFINE_list("kinds", [], "Only cases of these kinds.")
_FOLDER = flags.DEFINE_string("folder", None, "Keeps what the cases need, for the next call; made if it is not there.")
_PROCESSES = flags.DEFINE_integer("processes", 2, "How many cases at a time.", lower_bound=1)


def table(outcomes: Iterable[Outcome]) -> str:
    """Counts of every kind as text, with the seconds that its cases took of one core."""
    by_kind: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_kind.setdefault(outcome.kind, []).append(outcome)
    rows = []
    for kind in [*sorted(by_kind), "all"]:
        part = by_kind.get(kind) or [o for found in by_kind.values() for o in found]
        states = Counter("wrong" if o.found else o.state for o in part)
        counts = [len(part), *(states[state] for state in ("right", "refused", "wrong"))]
        seconds = sum(o.seconds for o in part)
        rows.append([kind, *map(str, counts), f"{seconds:.1f}", f"{1000 * seconds / max(len(part), 1):.1f}"])
    names = ["kind", "cases", "right", "refused", "wrong", "seconds", "ms each"]
    widths = [max(len(row[i]) for row in [names, *rows]) for i in range(len(names))]
    return "\n".join(
        "  ".join(x.ljust(w) if i == 0 else x.rjust(w) for i, (x, w) in enumerate(zip(row, widths, strict=True)))
        for row in [names, *rows]
    )


def main(argv: Sequence[str]) -> None:
    """Runs the cases and prints what they come to."""
    del argv
    shares = kinds()
    for kind in _KINDS.value:
        if kind not in shares:
            sys.exit(f"--kinds={kind}: there are {', '.join(shares)}")
    logging.set_verbosity(logging.FATAL)  # Orbax tells what it does
    with contextlib.ExitStack() as stack:
        folder = Path(_FOLDER.value or stack.enter_context(tempfile.TemporaryDirectory()))
        if _ONLY.value >= 0:
            cases = every_case(folder, [kind_of(_ONLY.value, _SEED.value, shares)[0]])
            with tempfile.TemporaryDirectory() as work:
                one = run_case(cases, Path(work), _ONLY.value, _SEED.value)
            print(f"case {one.number}, {one.kind}: {one.state}: {one.text}")
            sys.exit(int(one.found))
        sys.exit(_run_all(folder, _KINDS.value or list(shares), shares))


def _run_all(folder: Path, wanted: Sequence[str], shares: Mapping[str, int]) -> int:
    """Runs the cases of the wanted kinds and prints what they come to; the exit status."""
    begin, outcomes = time.monotonic(), []
    with contextlib.redirect_stdout(io.StringIO()):  # trainings tell how they go
        every_case(folder, wanted)
    making = time.process_time()
    print(f"[{time.monotonic() - begin:5.0f} s] ready", flush=True)
    numbers = [n for n in range(_COUNT.value) if kind_of(n, _SEED.value, shares)[0] in wanted]
    for outcome in run(numbers, Setting(_SEED.value, folder, wanted, shares), _PROCESSES.value):
        outcomes.append(outcome._replace(text=""))
        if outcome.found:
            last = (outcome.text.strip().splitlines() or [""])[-1][:300]
            print(f"case {outcome.number}, {outcome.kind}: {outcome.state}: {last}", flush=True)
        if len(outcomes) % 1000 == 0:
            print(f"[{time.monotonic() - begin:5.0f} s] {len(outcomes)}/{len(numbers)}", flush=True)
    times = os.times()
    used = times.children_user + times.children_system
    print(
        f"\n{table(outcomes)}\n\nseed {_SEED.value}: {time.monotonic() - begin:.0f} s; of cores {making:.0f} s to make "
        f"ready what the cases need, {used:.0f} s in {_PROCESSES.value} processes"
    )
    return int(any(outcome.found for outcome in outcomes))


if __name__ == "__main__":
    app.run(main)
