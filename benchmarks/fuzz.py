"""Damaged input of every kind: it is read rightly, or refused by one line that says what is wrong.

python -m benchmarks.fuzz [--count=10000] [--seed=0] [--only=N]

Case N is a function of N and the seed. Anything but a correct result or one `InputError` of one line is a finding: it
is printed with its number, and the status is 1. What was found once is kept in tests/prepare/test_fuzz.py. The kinds
are the modules of benchmarks/fuzzing.
"""

import contextlib
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks.fuzzing import Case, bodies, pickles, sets
from tal_jax.errors import InputError

GENERATORS = (sets, bodies, pickles)
_COUNT = flags.DEFINE_integer("count", 10_000, "How many cases.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of all cases.")
_ONLY = flags.DEFINE_integer("only", -1, "Only this case, with its traceback.")
PATIENCE = 20  # seconds after which a case hangs


def every_case(folder: Path) -> list[Case]:
    """The cases of all generators, each of which has a folder of its own."""
    found: list[Case] = []
    for generator in GENERATORS:
        (home := folder / generator.__name__.rpartition(".")[2]).mkdir(parents=True)
        found += generator.cases(home)
    return found


def run_case(cases: Sequence[Case], folder: Path, number: int, seed: int) -> tuple[str, str]:
    """Outcome of a case, "right" or "refused" or a finding, and the message."""
    rng = random.Random(f"{seed}/{number}")
    case = rng.choice(cases)
    with tempfile.TemporaryDirectory(dir=folder) as work, patience():
        try:
            case(rng, Path(work))
        except InputError as e:
            return ("refused", str(e)) if "\n" not in str(e).strip() else ("several lines", str(e))
        except Exception as e:
            return f"{type(e).__name__} in {getattr(case, '__name__', case)}", traceback.format_exc()
    return "right", ""


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Ends what hangs with an exception."""

    def over(number: int, frame: Any) -> None:
        raise TimeoutError(f"nothing within {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main(argv: Sequence[str]) -> None:
    """Runs the cases and prints what they come to."""
    del argv
    counts: dict[str, int] = {}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        cases = every_case(Path(folder))
        for number in range(_COUNT.value) if _ONLY.value < 0 else [_ONLY.value]:
            outcome, text = run_case(cases, Path(folder), number, _SEED.value)
            counts[outcome] = counts.get(outcome, 0) + 1
            if outcome not in ("right", "refused") or _ONLY.value >= 0:
                shown = text if _ONLY.value >= 0 else text.strip().splitlines()[-1][:300]
                print(f"case {number}: {outcome}: {shown}", flush=True)
            if (number + 1) % 1000 == 0:
                print(f"[{time.monotonic() - begin:5.0f} s] {number + 1}/{_COUNT.value} {counts}", flush=True)
    print(f"{counts} in {time.monotonic() - begin:.0f} s")
    if set(counts) - {"right", "refused"}:
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
