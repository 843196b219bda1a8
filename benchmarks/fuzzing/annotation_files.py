"""Annotation files as people write them: their times and labels are known, and nothing of them is lost in silence."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing import Case, Wrong
from tal_jax.errors import InputError
from tal_jax.prepare.plan import Options, make_plan

KINDS = {"annotations known": 40, "annotations wrong": 40}
STRIDE, LENGTHS = 0.5, (60, 48, 80, 72, 64)  # snippets
LABELS = ("jump", "跳ぶ", "drive-by", "a b", "پریدن", "🏃", "x,y", "=1+1", "naïve", "0", "none")
SUBSETS = {
    "training": ("training", "train", "Training", "TRAIN"), "validation": ("validation", "val", "Val"),
}  # fmt: skip
ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le")


class Annotations:
    """Recordings of known lengths, whose annotations every case writes in its own way."""

    def __init__(self, folder: Path):
        self.features = folder / "features"
        if not self.features.exists():
            self.features.mkdir()
            for i, length in enumerate(LENGTHS):
                np.save(self.features / f"r{i}.npy", np.zeros((length, 3), np.float32))

    def database(self, rng: random.Random) -> dict[str, Any]:
        """Two to six segments in each recording, plain as they can be."""
        labels = rng.sample(LABELS, 3)
        found = {}
        for i, length in enumerate(LENGTHS):
            seconds = length * STRIDE
            starts = [round(rng.uniform(0, seconds - 4), 3) for _ in range(rng.randrange(2, 7))]
            segments = [
                {"segment": [s, round(s + rng.uniform(0.5, 4), 3)], "label": labels[(i + j) % 3]}
                for j, s in enumerate(starts)
            ]
            subset = "training" if i < 3 else "validation"
            found[f"r{i}"] = {"subset": subset, "duration": seconds, "annotations": segments}
        return found

    def plan(self, database: Any, work: Path, rng: random.Random) -> dict[str, list[tuple[float, float, str]]]:
        """Writes the annotations in one of several encodings; the segments of every recording that would be packed."""
        path = work / "annotations.json"
        content = {"version": "1", "database": database} if isinstance(database, dict) else database
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=rng.random() < 0.5)
        path.write_bytes(text.encode(rng.choice(ENCODINGS)))
        plan = make_plan(Options(str(path), {"x": str(self.features)}, str(STRIDE), str(work / "out"), workers=1))
        items = [item.recording for group in plan.splits.values() for item in group.items]
        self.notes = {(note.kind, note.id) for note in plan.notes}
        return {r.id: [(i.start, i.end, i.label) for i in r.instances] for r in items}

    def known_case(self, rng: random.Random, work: Path) -> None:
        """In every spelling of the same annotations, they are the same."""
        database = self.database(rng)
        right = expected(database)
        for entry in database.values():
            entry["subset"] = rng.choice(SUBSETS[entry["subset"]])
            if rng.random() < 0.2:
                entry["duration"] = rng.choice((str(entry["duration"]), int(entry["duration"]), None))
            if rng.random() < 0.2:
                entry |= {"url": "https://x", "resolution": "320x240", "frame": 30, "fps": 25.0, "note": None}
            for a in entry["annotations"]:
                if rng.random() < 0.2:
                    a["segment"] = [str(x) for x in a["segment"]]
                if rng.random() < 0.2:
                    a |= {"id": 3, "annotator": "b", "score": 1.0}
            rng.shuffle(entry["annotations"])
        try:
            found = self.plan(database, work, rng)
        except InputError as e:
            raise Wrong(f"refused: {e}") from e
        if {id: sorted(x) for id, x in found.items()} != {id: sorted(x) for id, x in right.items()}:
            raise Wrong("other segments than were written")

    def wrong_case(self, rng: random.Random, work: Path) -> None:
        """Times that are not seconds from start to end, or have other names: refused, whoever is concerned."""
        database = self.database(rng)
        name = rng.choice(list(FAULTS))
        given = FAULTS[name](database, rng)
        self.plan(given, work, rng)
        raise Wrong(f"{name} was read")


def expected(database: dict[str, Any]) -> dict[str, list[tuple[float, float, str]]]:
    """What a database says."""
    return {
        id: [(*map(float, a["segment"]), a["label"]) for a in entry["annotations"]] for id, entry in database.items()
    }


def _each(change: Callable[[dict[str, Any], float], None]) -> Callable[[dict[str, Any], random.Random], Any]:
    """Changes every annotation, in place; it is called with the annotation and the recording's duration."""

    def changed(database: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        for entry in database.values():
            for a in entry["annotations"]:
                change(a, entry["duration"])
        return database

    return changed


def _one(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any], random.Random], Any]:
    """Changes one annotation of one recording."""

    def changed(database: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        change(rng.choice(rng.choice(list(database.values()))["annotations"]))
        return database

    return changed


def _scale(factor: float) -> Callable[[dict[str, Any], random.Random], Any]:
    return _each(lambda a, seconds: a.update(segment=[x * factor for x in a["segment"]]))


def _renamed(start: str, end: str) -> Callable[[dict[str, Any]], None]:
    def change(a: dict[str, Any]) -> None:
        a[start], a[end] = a.pop("segment")

    return change


def _entry(**values: Any) -> Callable[[dict[str, Any], random.Random], Any]:
    def changed(database: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        rng.choice(list(database.values())).update(values)
        return database

    return changed


def _repeated(database: dict[str, Any], rng: random.Random) -> str:
    text = json.dumps({"database": database})
    twice = rng.choice(('"r1"', '"annotations"', '"segment"', '"label"', '"duration"'))
    return text.replace(twice, f"{twice}: {rng.choice(('1', '[]', '{}', 'null'))}, {twice}", 1)


def _durations(factor: float) -> Callable[[dict[str, Any], random.Random], Any]:
    def changed(database: dict[str, Any], rng: random.Random) -> dict[str, Any]:
        for entry in database.values():
            entry["duration"] *= factor
        return database

    return changed


NAMES = (("start", "end"), ("t_start", "t_end"), ("startTime", "endTime"), ("t0", "t1"), ("begin", "stop"),
         ("start_frame", "end_frame"), ("from", "to"), ("xmin", "xmax"), ("onset", "offset"), ("Start (s)", "End (s)"),
         ("start_sec", "end_sec"), ("START", "END"), ("segment_start", "segment_end"))  # fmt: skip
LISTS = ("segments", "interval", "timestamps", "time", "Segment", "times", "span")
FAULTS: dict[str, Callable[[dict[str, Any], random.Random], Any]] = {
    "milliseconds": _scale(1000), "images": _scale(25), "samples": _scale(50), "snippets of 0.1 s": _scale(10),
    "fractions": _each(lambda a, seconds: a.update(segment=[x / seconds for x in a["segment"]])),
    "lengths": _each(lambda a, seconds: a.update(segment=[a["segment"][0] + 5, a["segment"][1] - a["segment"][0]])),
    "reversed": _each(lambda a, seconds: a.update(segment=a["segment"][::-1])),
    "durations in ms": _durations(1000), "durations in images": _durations(25), "durations of 0.6": _durations(0.6),
    "repeated": _repeated,
    "no database": lambda database, rng: json.dumps(rng.choice(([], {}, {"data": database}, None, database))),
    "no recordings": lambda database, rng: {},
    "subset": _entry(subset="trainval"), "no subset": _entry(subset=None), "duration 0": _entry(duration=0),
    "duration text": _entry(duration="1:30"), "annotations {}": _entry(annotations={"0": []}),
    "null": _one(lambda a: a.update(segment=None)), "one time": _one(lambda a: a.update(segment=[1.0])),
    "NaN": _one(lambda a: a.update(segment=[float("nan"), 2.0])),
    "clock": _one(lambda a: a.update(segment=["0:01", "0:02"])),
    "nested": _one(lambda a: a.update(segment=[a["segment"]])), "no label": _one(lambda a: a.pop("label")),
    "label 3": _one(lambda a: a.update(label=3)),
    "label of two lines": _one(lambda a: a.update(label="a\nb")),
    "label of escape": _one(lambda a: a.update(label="\x1b[2J")),
    "label of nothing": _one(lambda a: a.update(label=" ")),
    "zero byte": _one(lambda a: a.update(label="\x00")),
    "id with a slash": lambda database, rng: {**database, "../r0": database["r0"]},
    **{f"{start} and {end}": _one(_renamed(start, end)) for start, end in NAMES},
    **{f"{name} for segment": _one(lambda a, name=name: a.update({name: a.pop("segment")})) for name in LISTS},
}  # fmt: skip


def cases(folder: Path) -> dict[str, Case]:
    """Of annotations that mean the same, and of those that cannot be meant."""
    bench = Annotations(folder)
    return {"annotations known": bench.known_case, "annotations wrong": bench.wrong_case}
