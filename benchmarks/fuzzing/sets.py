"""Mutated annotations and feature files for prepare, and mutated files of a prepared set for those who read it."""

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.fuzzing import Case, Wrong
from benchmarks.fuzzing.mutation import mutated_bytes, mutated_tree
from tal_jax.data.batches import training_batches
from tal_jax.data.dataset import SPLITS, open_split, read_metadata
from tal_jax.data.rows import Assembler
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.windows import Framing

KINDS = {"annotations": 15, "features": 10, "set": 15}


class Bench:
    """A small good set, its files, and what is right for them."""

    def __init__(self, folder: Path):
        self.folder = folder
        rng = np.random.default_rng(0)
        there = folder.exists()
        (folder / "features").mkdir(parents=True, exist_ok=True)
        database = {}
        for i in range(4):
            x = rng.normal(size=(20 + i, 3)).astype(np.float32)
            if not there:
                np.save(folder / "features" / f"r{i}.npy", x)
            segments = [{"segment": [1.0, 4.0], "label": "a"}, {"segment": [5.0, 8.0], "label": "b"}]
            subset = "validation" if i == 3 else "training"
            database[f"r{i}"] = {"subset": subset, "duration": (20 + i) * 0.5, "annotations": segments}
        self.content = {"version": "1", "database": database}
        self.annotations = folder / "annotations.json"
        self.data = folder / "data"
        if not there:
            self.annotations.write_text(json.dumps(self.content))
            self.prepare(self.annotations, folder / "features", self.data)
        self.right = self.read(self.data)

    def prepare(self, annotations: Path, features: Path, out: Path) -> None:
        """By the real code, in this process."""
        prepare(Options(str(annotations), {"x": str(features)}, "0.5", str(out), dtype="float32", workers=1))

    def read(self, data: Path) -> dict[str, list[bytes]]:
        """Every record of every split, and two batches of the pipeline."""
        found: dict[str, list[bytes]] = {}
        for name in SPLITS:
            if name not in read_metadata(data).splits:
                continue
            split = open_split(data, name)
            found[name] = [
                repr((r.id, r.stride, r.duration)).encode() + r.segments.tobytes() + r.labels.tobytes()
                + r.features["x"].tobytes()
                for r in (split[i] for i in range(len(split)))
            ]  # fmt: skip
        split = open_split(data, "training")
        rows = Assembler(
            framing=Framing("window", 8), streams=("x",), width=split.metadata.streams["x"],
            num_classes=len(split.metadata.labels), max_segments=4,
        )  # fmt: skip
        batches = iter(training_batches(split, rows, index=np.arange(len(split)), batch_size=2, seed=0))
        found["batches"] = [next(batches)[0].features.tobytes() for _ in range(2)]
        return found

    def annotation_case(self, rng: random.Random, work: Path) -> None:
        """Mutated annotations: every recording that is still named is in the set, or in its notes."""
        if rng.random() < 0.5:
            text = mutated_bytes(self.annotations.read_bytes(), rng)
        else:
            text = json.dumps(mutated_tree(self.content, rng)).encode("utf-8", "surrogatepass")
        (work / "annotations.json").write_bytes(text)
        self.prepare(work / "annotations.json", self.folder / "features", work / "data")
        database = json.loads(text)["database"]
        held = {str(i) for name in SPLITS for i in self._ids(work / "data", name)}
        summary = json.loads((work / "data" / "summary.json").read_text())
        noted = {id for notes in summary["notes"].values() for id, _ in notes}
        lost = set(database) - held - noted
        if lost:
            raise Wrong(f"{sorted(lost)} neither in the set nor in the notes")
        self.read(work / "data")

    def _ids(self, data: Path, name: str) -> Sequence[str]:
        return list(open_split(data, name).ids) if name in read_metadata(data).splits else []

    def feature_case(self, rng: random.Random, work: Path) -> None:
        """A mutated feature file: what is packed is what NumPy reads."""
        shutil.copytree(self.folder / "features", work / "features")
        path = work / "features" / f"r{rng.randrange(4)}.npy"
        path.write_bytes(mutated_bytes(path.read_bytes(), rng))
        self.prepare(self.annotations, work / "features", work / "data")
        for name in SPLITS:
            for i, id in enumerate(self._ids(work / "data", name)):
                stored = open_split(work / "data", name)[i].features["x"]
                given = np.load(work / "features" / f"{id}.npy")
                if not np.array_equal(stored, given.astype(np.float32).reshape(stored.shape)):
                    raise Wrong(f"{id}: other features than in its file")
        self.read(work / "data")

    def record_case(self, rng: random.Random, work: Path) -> None:
        """A mutated file of a prepared set: what is read is what was written."""
        shutil.copytree(self.data, work / "data")
        path = rng.choice(sorted(p for p in (work / "data").iterdir() if p.is_file() and p.name != "summary.json"))
        path.write_bytes(mutated_bytes(path.read_bytes(), rng))
        found = self.read(work / "data")
        if found != {name: self.right[name] for name in found} or found.keys() != self.right.keys():
            raise Wrong(f"{path.name}: other records than were written")


def cases(folder: Path) -> dict[str, Case]:
    """Of annotations, features, and the files of a prepared set."""
    bench = Bench(folder / "good")
    return {"annotations": bench.annotation_case, "features": bench.feature_case, "set": bench.record_case}
