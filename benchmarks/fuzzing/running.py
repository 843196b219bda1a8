"""Runs cases: one after the other in this process, or shared out to processes that may die of them."""

import contextlib
import importlib
import io
import multiprocessing
import random
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.fuzzing import Case
from tal_jax.errors import InputError

GENERATORS = (
    "sets", "prepared_sets", "bodies", "pickles", "csv_files", "annotation_files", "hdf5_files", "numpy_files",
    "id_files", "detection_files", "artifact_files", "output_paths", "flag_values", "workdirs", "exports",
)  # fmt: skip
PATIENCE = 60  # seconds after which a case hangs; other programs may be at work


class Outcome(NamedTuple):
    """What a case came to."""

    number: int
    kind: str
    state: str  # "right", "refused", or what was found
    text: str  # the message, or a traceback
    seconds: float  # of this process

    @property
    def found(self) -> bool:
        """Whether it is a finding."""
        return self.state not in ("right", "refused")


def module(name: str) -> Any:
    """A generator by its name."""
    return importlib.import_module(f"benchmarks.fuzzing.{name}")


def kinds() -> dict[str, int]:
    """The names of all kinds of cases, and their shares."""
    return {kind: share for name in GENERATORS for kind, share in module(name).KINDS.items()}


def kind_of(number: int, seed: int, shares: Mapping[str, int]) -> tuple[str, random.Random]:
    """The kind of a case, and the random generator that makes it: functions of number and seed."""
    rng = random.Random(f"{seed}/{number}")
    (kind,) = rng.choices(list(shares), list(shares.values()))
    return kind, rng


def every_case(folder: Path, wanted: Sequence[str] = ()) -> dict[str, Case]:
    """The cases by kind; each generator has a folder of its own in this one, for its own files.

    Args:
      folder: where they are, or will be made.
      wanted: the kinds that will be run; all by default. Those of the same generators are there as well.
    """
    found: dict[str, Case] = {}
    for name in GENERATORS:
        generator = module(name)
        if not wanted or set(wanted) & generator.KINDS.keys():
            (home := folder / name).mkdir(parents=True, exist_ok=True)
            cases = generator.cases(home)
            assert cases.keys() == generator.KINDS.keys()
            found |= cases
    return found


def run_case(cases: Mapping[str, Case], folder: Path, number: int, seed: int) -> Outcome:
    """Runs a case in a folder of its own within `folder`; its kind is one of `cases`."""
    kind, rng = kind_of(number, seed, kinds())
    begin = time.process_time()
    with tempfile.TemporaryDirectory(dir=folder) as work, patience():
        state, text = _run(cases[kind], rng, Path(work))
    return Outcome(number, kind, state, text, time.process_time() - begin)


def _run(case: Case, rng: random.Random, work: Path) -> tuple[str, str]:
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("error", RuntimeWarning)  # a line of NumPy's is none that users understand
            case(rng, work)
    except InputError as e:
        return ("refused", str(e)) if "\n" not in str(e).strip() else ("several lines", str(e))
    except Exception as e:
        return type(e).__name__, traceback.format_exc()
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


def run(numbers: Sequence[int], seed: int, folder: Path, wanted: Sequence[str], processes: int) -> Iterator[Outcome]:
    """Runs cases in several processes; one that ends a process is a finding, and another process goes on.

    Args:
      numbers: which cases.
      seed: of all of them.
      folder: see `every_case`, which made all that they need.
      wanted: the kinds of the cases.
      processes: how many.
    """
    context = multiprocessing.get_context("spawn")
    left = {}

    def start(part: Sequence[int]) -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(part, seed, folder, wanted, theirs), daemon=True)
        process.start()
        theirs.close()
        left[ours] = (process, list(part))

    for i in range(processes):
        start(numbers[i::processes])
    while left:
        for connection in wait(list(left)):
            assert isinstance(connection, Connection)
            process, part = left[connection]
            try:
                outcome = connection.recv()
                part.remove(outcome.number)
                yield outcome
            except (EOFError, OSError):
                process.join()
                del left[connection]
                if part:  # they are run in order: it died of the first
                    kind = kind_of(part[0], seed, kinds())[0]
                    yield Outcome(part[0], kind, "process died", f"exit code {process.exitcode}", 0.0)
                    start(part[1:])


def _work(part: Sequence[int], seed: int, folder: Path, wanted: Sequence[str], results: Connection) -> None:
    cases = every_case(folder, wanted)
    with results, tempfile.TemporaryDirectory() as work:
        for number in part:
            results.send(run_case(cases, Path(work), number, seed))
