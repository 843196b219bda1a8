"""Runs cases: one after the other in this process, or shared out to processes that may die of them."""

import contextlib
import dataclasses
import importlib
import io
import math
import multiprocessing
import random
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from benchmarks.fuzzing import Case
from tal_jax.errors import InputError

GENERATORS = (
    "sets", "prepared_sets", "bodies", "pickles", "csv_files", "annotation_files", "hdf5_files", "numpy_files",
    "id_files", "detection_files", "artifact_files", "output_paths", "flag_values", "workdirs", "exports",
)  # fmt: skip
PATIENCE = 60  # seconds after which a case hangs; other programs may be at work
LAST = 1.5  # times as long, its process is ended: what hangs in native code hears no signal
MEMORY = 8 << 30  # bytes of addresses that a process may take beside those that it began with


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


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a process has to know to run cases."""

    seed: int  # of all of them
    folder: Path  # see `every_case`, which made all that they need
    wanted: Sequence[str]  # the kinds of the cases
    shares: Mapping[str, int]  # of all kinds, see `kinds`
    make: Callable[[Path, Sequence[str]], Mapping[str, Case]] = every_case
    patience: int = PATIENCE


def run_case(
    cases: Mapping[str, Case], folder: Path, number: int, seed: int, shares: Mapping[str, int] | None = None,
    patience: int = PATIENCE,
) -> Outcome:  # fmt: skip
    """Runs a case in a folder of its own within `folder`; its kind is one of `cases`."""
    kind, rng = kind_of(number, seed, shares or kinds())
    begin = time.process_time()
    with tempfile.TemporaryDirectory(dir=folder) as work, ending(patience):
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
def ending(seconds: int) -> Iterator[None]:
    """Ends what hangs with an exception."""

    def over(number: int, frame: Any) -> None:
        raise TimeoutError(f"nothing within {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(numbers: Sequence[int], setting: Setting, processes: int) -> Iterator[Outcome]:
    """Runs cases in several processes; one that ends a process, or hangs it, is a finding, and another goes on.

    Args:
      numbers: which cases.
      setting: what they are.
      processes: how many.
    """
    left = [_Worker(numbers[i::processes], setting) for i in range(processes)]
    while left:
        heard = wait([worker.results for worker in left], timeout=1.0)
        for worker in list(left):
            if worker.results not in heard:
                worker.end_if_it_hangs()
                continue
            try:
                yield from worker.outcome()
            except (EOFError, OSError):
                left.remove(worker)
                yield from worker.died()
                if len(worker.part) > 1:
                    left.append(_Worker(worker.part[1:], setting))


class _Worker:
    """A process that runs cases in order."""

    def __init__(self, part: Sequence[int], setting: Setting):
        context = multiprocessing.get_context("spawn")
        self.part, self.setting, self.hung = list(part), setting, False
        self.results, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(part, setting, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.since = math.inf  # it says when it begins

    def outcome(self) -> Iterator[Outcome]:
        """What it said: that it begins, or the outcome of the first case that is left. Raises EOFError if it ended."""
        found, self.since = self.results.recv(), time.monotonic()
        if found is not None:
            self.part.remove(found.number)
            yield found

    def end_if_it_hangs(self) -> None:
        """Ends the process where nothing came for too long; it is heard of as one that died."""
        if not self.hung and time.monotonic() - self.since > LAST * self.setting.patience:
            self.hung = True
            self.process.kill()

    def died(self) -> Iterator[Outcome]:
        """The finding, where a case is left: they are run in order, so it died of the first."""
        self.process.join()
        if self.part:
            state = "process hung" if self.hung else "process died"
            kind = kind_of(self.part[0], self.setting.seed, self.setting.shares)[0]
            yield Outcome(self.part[0], kind, state, f"exit code {self.process.exitcode}", 0.0)


def _work(part: Sequence[int], setting: Setting, results: Connection) -> None:
    import resource  # of Unix alone

    logging.set_verbosity(logging.FATAL)
    cases = setting.make(setting.folder, setting.wanted)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, resource.RLIM_INFINITY))
    with results, tempfile.TemporaryDirectory() as work:
        results.send(None)
        for number in part:
            results.send(run_case(cases, Path(work), number, setting.seed, setting.shares, setting.patience))
