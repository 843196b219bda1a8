"""Folders of exported models whose files were changed: they detect what they did, or are refused by one line."""

import contextlib
import functools
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing import Case, Wrong
from benchmarks.fuzzing.mutation_files import damage, linked
from benchmarks.fuzzing.trained import STRIDE, WIDTH, make
from tal_jax.deploy import runtimes
from tal_jax.deploy.model import Model
from tal_jax.deploy.model_folder import SUMS, seal

KINDS = {"export": 14, "export resealed": 14}
SUFFIX = ".stablehlo"  # what is run; with sums of its own, it would be another program

PROGRAMS: dict[str, Any] = {}  # that were loaded, by the digests of their bytes


class Exports:
    """An export, and what it detects in a recording."""

    def __init__(self, folder: Path):
        self.model = make(folder) / "model"
        self.files = [p for p in sorted(self.model.rglob("*")) if p.is_file()]
        self.x = np.random.default_rng(0).normal(0, 1, (12, WIDTH)).astype(np.float32)

    @functools.cached_property
    def right(self) -> Any:
        """The detections of the folder as it is."""
        return self.detected(self.model)

    def detected(self, folder: Path) -> Any:
        """Detections in the recording; equal programs are compiled once."""
        with _programs_once():
            return Model(folder)(self.x, stride=STRIDE)

    def changed(self, files: list[Path], rng: random.Random, work: Path) -> Path:
        """A copy with a file or two changed."""
        folder = linked(self.model, work / "model")
        for path in rng.sample(files, rng.choice((1, 1, 1, 2))):
            damage(folder / path.relative_to(self.model), rng, [p for p in self.files if p != path])
        return folder

    def damaged_case(self, rng: random.Random, work: Path) -> None:
        """Any file, the sums among them."""
        folder = self.changed(self.files, rng, work)
        if rng.random() < 0.1:
            (folder / rng.choice(("more", "bmn/more"))).write_text("x")
        if self.detected(folder) != self.right:
            raise Wrong("other detections")

    def resealed_case(self, rng: random.Random, work: Path) -> None:
        """Any file but the programs, with sums that fit again: other detections, perhaps, but none that cannot be."""
        files = [p for p in self.files if p.name != SUMS and (p.suffix != SUFFIX or rng.random() < 0.1)]
        kept = [p for p in files if p.suffix == SUFFIX]
        folder = linked(self.model, work / "model")
        if kept and rng.random() < 0.5:  # of another place, or none
            one = folder / kept[0].relative_to(self.model)
            other = next(p for p in self.files if p.suffix == SUFFIX and p.name == one.name and p != kept[0])
            one.unlink()
            if rng.random() < 0.7:
                one.write_bytes(rng.choice((other.read_bytes(), b"", b"program")))
        else:
            for path in rng.sample([p for p in files if p not in kept], rng.choice((1, 1, 1, 2))):
                damage(folder / path.relative_to(self.model), rng, [p for p in self.files if p.suffix != SUFFIX])
        _resealed(folder)
        for row in self.detected(folder):
            numbers = [row["score"], *row["segment"]]
            if not np.isfinite(numbers).all() or not 0 <= numbers[0] <= 1 or not isinstance(row.get("label", ""), str):
                raise Wrong(f"{row} was detected")


def _resealed(folder: Path) -> None:
    (folder / SUMS).unlink()
    odd = [p for p in folder.rglob("*") if p.is_fifo() or (p.is_symlink() and str(p.readlink()).startswith("/dev"))]
    for path in odd:  # whose sums nobody can tell
        path.unlink()
    seal(folder)


@contextlib.contextmanager
def _programs_once() -> Iterator[None]:
    """For the time of a block, programs of equal bytes are compiled once."""
    real = runtimes._stablehlo

    def once(path: Path, *rest: Any) -> Any:
        key = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        if key not in PROGRAMS:
            PROGRAMS[key] = real(path, *rest)
        return PROGRAMS[key]

    runtimes._stablehlo = once
    try:
        yield
    finally:
        runtimes._stablehlo = real


def cases(folder: Path) -> dict[str, Case]:
    """With the sums of the export, and with sums that fit again."""
    bench = Exports(folder.with_name("trained"))
    return {"export": bench.damaged_case, "export resealed": bench.resealed_case}
