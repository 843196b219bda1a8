"""Workdirs whose files were changed: what training and detection make of them is what it was, or one line."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import Case, Wrong
from benchmarks.fuzzing.mutation_files import damage, linked
from benchmarks.fuzzing.trained import facts, make
from tal_jax.detect.detect import completed
from tal_jax.stages.remembered import FILES, SEAL
from tal_jax.stages.stage import build_stage
from tal_jax.stages.track import plan_track
from tal_jax.stages.tuned_decoding import tuned
from tal_jax.stages.workdir import read_config
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.history import last_scores, read_history

KINDS = {"workdir detect": 12, "workdir train": 12, "workdir curves": 4, "checkpoint": 6}
STAGES = ("bmn", "tcanet")
CORRECTED = ("config.json",)  # files that people write in: other values may be meant, in all others none is


def detected(workdir: Path, stage: str) -> Any:
    """All that detections follow from, but for the parameters."""
    config = read_config(workdir)
    built = build_stage(config, stage, workdir)
    task = tuned(built.task, workdir, stage)
    rows = completed(built, built.recordings.evaluation)
    return [task, rows, built.trained_on.labels, built.streams, built.framing]


def planned(workdir: Path, right: Any) -> Any:
    """What a training that is started again would do: which stages run, and all that they are."""
    plan = plan_track(right, workdir)
    kept = ("name", "section", "trained_on", "longest", "streams", "framing", "task")
    return {name: [getattr(stage, field) for field in kept] for name, stage in plan.running.items()}


def curves(workdir: Path, stage: str) -> Any:
    """What was logged."""
    return [read_history(workdir, list(STAGES)), last_scores(workdir / stage)]


class Workdirs:
    """Two finished trainings of equal configs on sets of equal ids."""

    def __init__(self, folder: Path):
        self.home = make(folder)
        self.one, self.two = folder / "one", folder / "two"
        self.config = read_config(self.one)
        self.files = [
            p for p in sorted(self.one.rglob("*")) if p.is_file() and not p.name.startswith(("lock", "events"))
        ]

        self.found: dict[str, Any] = {}

    def right(self, reader: Callable[..., Any], argument: Any) -> Any:
        """What a reader finds in the workdir as it is."""
        key = f"{reader.__name__} {argument!s:.20}"
        if key not in self.found:
            self.found[key] = facts(reader(self.one, argument), self.one)
        return self.found[key]

    def case(
        self, reader: Callable[..., Any], argument: Any, files: list[Path], rng: random.Random, work: Path
    ) -> None:
        """Changes a file or two, and reads."""
        workdir, meant = linked(self.one, work / "one"), False
        for path in rng.sample(files, rng.choice((1, 1, 1, 2))):
            name = path.relative_to(self.one)
            others = [self.two / name, *(self.one / stage / name.name for stage in STAGES)]
            if (workdir / name).is_file():
                other = damage(workdir / name, rng, [p for p in others if p.is_file() and p != path])
                meant |= other and path.name in CORRECTED
        found = facts(reader(workdir, argument), workdir)
        if not meant and found != self.right(reader, argument):
            raise Wrong("something else than before")

    def of(self, *names: str) -> list[Path]:
        """The files of these names; all of them but those of checkpoints where there are none."""
        return [p for p in self.files if (p.name in names if names else "checkpoints" not in p.parts)]

    def detect_case(self, rng: random.Random, work: Path) -> None:
        """Detection."""
        self.case(detected, rng.choice(STAGES), self.of(), rng, work)

    def train_case(self, rng: random.Random, work: Path) -> None:
        """A training that is started again. A stage whose mark is gone, or damaged, is not finished."""
        files = [p for p in self.of() if p.name != "finished.json"]
        if rng.random() < 0.3:
            one = linked(self.one, work / "begun")
            (one / rng.choice(STAGES) / "finished.json").unlink()
            begun = Workdirs.__new__(Workdirs)
            begun.__dict__ |= vars(self) | {"one": one, "found": {}}
            renamed = [one / p.relative_to(self.one) for p in files]
            begun.case(planned, self.config, [p for p in renamed if p.is_file()], rng, work)
            return
        self.case(planned, self.config, files, rng, work)

    def curves_case(self, rng: random.Random, work: Path) -> None:
        """Reports, and the result that a training ends with; a last line that was cut short is left out."""
        workdir = linked(self.one, work / "one")
        damage(workdir / rng.choice(STAGES) / "metrics.jsonl", rng)
        curves(workdir, rng.choice(STAGES))

    def checkpoint_case(self, rng: random.Random, work: Path) -> None:
        """Parameters, whose checksums are kept beside them; those of another training are not those of this one."""
        if rng.random() < 0.2:
            self.exchanged_case(rng, work)
            return
        files = [p for p in self.files if "checkpoints" in p.parts]
        self.case(restore_params, rng.choice(STAGES), files, rng, work)

    def exchanged_case(self, rng: random.Random, work: Path) -> None:
        """Files that are right beside each other, and of another training than the rest: never read."""
        workdir, stage = linked(self.one, work / "one"), rng.choice(STAGES)
        other = self.two if rng.random() < 0.7 else self.one
        source = stage if other == self.two else next(name for name in STAGES if name != stage)
        if rng.random() < 0.5:
            shutil.rmtree(workdir / stage / "checkpoints")
            linked(other / source / "checkpoints", workdir / stage / "checkpoints")
        else:
            for name in (SEAL, *FILES):
                (workdir / stage / name).unlink()
                shutil.copy(other / source / name, workdir / stage / name)
        detected(workdir, stage)
        restore_params(workdir, stage)
        raise Wrong("read with files of another training")


def cases(folder: Path) -> dict[str, Case]:
    """Of detection, training, reports and checkpoints."""
    bench = Workdirs(folder.with_name("trained"))
    return dict(
        zip(KINDS, (bench.detect_case, bench.train_case, bench.curves_case, bench.checkpoint_case), strict=True)
    )
