"""Prepared sets whose files were changed, or exchanged with those of a set of the same recordings: never other data."""

import random
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import Case, Wrong
from benchmarks.fuzzing.mutation_files import damage, linked
from benchmarks.fuzzing.trained import facts, make_set
from tal_jax.data.dataset import open_split, read_metadata
from tal_jax.prepare.metadata import read_summary

KINDS = {"set exchanged": 30}


class Sets:
    """Two sets of equal ids and sizes, and other numbers."""

    def __init__(self, folder: Path):
        self.one, self.two = make_set(folder / "one", 0), make_set(folder / "two", 1)
        self.right = self.read(self.one)

    def read(self, data: Path) -> Any:
        """All that the set holds."""
        metadata = read_metadata(data)
        splits = {name: open_split(data, name) for name in metadata.splits}
        records = {name: [split[i] for i in range(len(split))] for name, split in splits.items()}
        known = {name: [s.ids, s.durations, s.strides, s.num_snippets, s.weak_only] for name, s in splits.items()}
        return facts([metadata, records, known, read_summary(data).table()], data)

    def case(self, rng: random.Random, work: Path) -> None:
        """Changes a file or two, and reads."""
        data = linked(self.one, work / "data")
        files = sorted(data.iterdir())
        for path in rng.sample(files, rng.choice((1, 1, 1, 2, 3))):
            damage(path, rng, [self.two / path.name, *(p for p in files if p != path and p.is_file())])
        if self.read(data) != self.right:
            raise Wrong("something else than was written")


def cases(folder: Path) -> dict[str, Case]:
    """Of all files of a set."""
    return {"set exchanged": Sets(folder).case}
