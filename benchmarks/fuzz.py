"""Mutates annotations, feature files and prepared sets: prepare and the pipeline answer rightly, or name what is wrong.

python -m benchmarks.fuzz [--count=10000] [--seed=0] [--only=N]

Case N is a function of N and the seed. Anything but a correct result or one `InputError` of one line is a finding: it
is printed with its number, and the status is 1. What was found once is kept in tests/prepare/test_fuzz.py.
"""

import contextlib
import copy
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from tal_jax.data.batches import training_batches
from tal_jax.data.dataset import SPLITS, open_split, read_metadata
from tal_jax.data.rows import Assembler
from tal_jax.errors import InputError
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.windows import Framing

_COUNT = flags.DEFINE_integer("count", 10_000, "How many cases.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of all cases.")
_ONLY = flags.DEFINE_integer("only", -1, "Only this case, with its traceback.")
PATIENCE = 20  # seconds after which a case hangs
TOKENS = [
    b"NaN", b"-Infinity", b"1e999", b"null", b"true", b"-1", b"[]", b"{}", b'""', b'"training"', b"[[[[[[", b"\\ud800",
    b"\xff",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, -1, 0, 1e308, 2**80, float("nan"), "", "training", "x" * 300, "a/b", "\ud800", [], {}, [[]], [1],
    [3, 1], [0, 1, 2], {"segment": [0, 1]}, {"label": ""},
]  # fmt: skip


class Wrong(Exception):
    """A result that is not the right one."""


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few changes to raw bytes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(out) + 1)
        size = rng.choice((1, 1, 4, 16, 200))
        kind = rng.randrange(6)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at : at + size]
        elif kind == 2:
            out[at:at] = rng.randbytes(size)
        elif kind == 3:
            out[at:at] = out[at : at + size]
        elif kind == 4:
            del out[at:]
        else:
            out[at : at + size] = rng.choice(TOKENS)
    return bytes(out)


def mutated_tree(tree: Any, rng: random.Random) -> Any:
    """A few changes to the structure of JSON values."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.choice((1, 1, 2, 4))):
        node, path = tree, []
        while isinstance(node, dict | list) and node and (not path or rng.random() < 0.8):
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            path.append((node, key))
            node = node[key]
        if not path:
            continue
        parent, key = path[-1]
        kind = rng.randrange(4)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[rng.choice(("", "x", "../x", "a\nb", key + " "))] = parent.pop(key)
        elif kind == 2 and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            parent[key] = copy.deepcopy(rng.choice(VALUES))
    return tree


class Bench:
    """A small good set, its files, and what is right for them."""

    def __init__(self, folder: Path):
        self.folder = folder
        rng = np.random.default_rng(0)
        (folder / "features").mkdir(parents=True)
        database = {}
        for i in range(4):
            np.save(folder / "features" / f"r{i}.npy", rng.normal(size=(20 + i, 3)).astype(np.float32))
            segments = [{"segment": [1.0, 4.0], "label": "a"}, {"segment": [5.0, 8.0], "label": "b"}]
            subset = "validation" if i == 3 else "training"
            database[f"r{i}"] = {"subset": subset, "duration": (20 + i) * 0.5, "annotations": segments}
        self.content = {"version": "1", "database": database}
        self.annotations = folder / "annotations.json"
        self.annotations.write_text(json.dumps(self.content))
        self.data = folder / "data"
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


def run_case(bench: Bench, number: int, seed: int) -> tuple[str, str]:
    """Outcome of a case, "right" or "refused" or a finding, and the message."""
    rng = random.Random(f"{seed}/{number}")
    kinds: Sequence[Callable[[random.Random, Path], None]]
    kinds = (bench.annotation_case, bench.feature_case, bench.record_case)
    kind = rng.choice(kinds)
    with tempfile.TemporaryDirectory(dir=bench.folder) as work, patience():
        try:
            kind(rng, Path(work))
        except InputError as e:
            return ("refused", str(e)) if "\n" not in str(e).strip() else ("several lines", str(e))
        except Exception as e:
            return f"{type(e).__name__} in {kind.__name__}", traceback.format_exc()
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
        bench = Bench(Path(folder) / "good")
        for number in range(_COUNT.value) if _ONLY.value < 0 else [_ONLY.value]:
            outcome, text = run_case(bench, number, _SEED.value)
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
