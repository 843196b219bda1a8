"""Proposals and class scores of other systems, in Parquet, CSV and JSON: what is read is what was written."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.fuzzing import Case, Wrong
from benchmarks.fuzzing.mutation import mutated_bytes, mutated_tree
from tal_jax.data import class_scores, clip_features, proposals
from tal_jax.errors import InputError

KINDS = {"proposals": 30, "proposals csv": 20, "class scores": 30, "parquet bytes": 15}
LABELS = ("a", "b", "跳")
IDS = ("r1", "r2", "v_r3", "x y")


def rows(rng: random.Random) -> dict[str, list[list[float]]]:
    """start, end and score of the proposals of each recording."""
    found = {}
    for id in rng.sample(IDS, rng.randrange(1, 4)):
        starts = [rng.uniform(0, 50) for _ in range(rng.randrange(1, 6))]
        found[id] = [[s, s + rng.uniform(0.5, 9), rng.uniform(0, 1)] for s in starts]
    return found


def best_first(table: list[list[float]]) -> np.ndarray:
    """[P, 3] float32, sorted by falling score."""
    x = np.array(table, np.float32).reshape(-1, 3)
    return x[np.argsort(-x[:, 2], kind="stable")]


def proposal_case(rng: random.Random, work: Path) -> None:
    """A table whose columns have any type, with or without something that is no proposal."""
    given, path = rows(rng), work / "p.parquet"
    flat = [(id, *row) for id, table in given.items() for row in table]
    if rng.random() < 0.5:
        rng.shuffle(flat)
    ids, start, end, score = (list(column) for column in zip(*flat, strict=True))
    odd, at = rng.random() < 0.5, rng.randrange(len(flat))
    columns: dict[str, Any] = {"id": ids, "start": start, "end": end, "score": score}
    name = rng.choice(list(columns))
    if odd:
        value = rng.choice(
            (None, float("nan"), float("inf"), -1e39, "text", []) if name != "id" else (None, 3, b"\xff")
        )
        if name == "end" and rng.random() < 0.3:
            value = start[at]
        columns[name][at] = value
    try:
        types = {"id": rng.choice((pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())))}
        number = rng.choice((pa.float64(), pa.float32()))
        arrays = {k: pa.array(v, None if odd and k == name else types.get(k, number)) for k, v in columns.items()}
    except (pa.ArrowException, TypeError, ValueError):
        return  # nobody can write such a file
    if odd and rng.random() < 0.2:
        arrays.pop(name)
        columns[name][at] = None
    if columns["id"] == [3]:  # of all recordings: some have numbers for ids
        given, odd = {"3": given.popitem()[1]}, False
    pq.write_table(pa.table(arrays), path, row_group_size=rng.choice((1, 2, 100)))
    found = _read(lambda: proposals.read(path), odd)
    if odd or set(found) != set(given):
        raise Wrong(f"{columns[name][at]!r} as {name} was read")
    for id, table in given.items():
        if not np.allclose(np.c_[found[id][0], found[id][1]], best_first(table), rtol=1e-6):
            raise Wrong(f"other proposals of {id}")


def csv_case(rng: random.Random, work: Path) -> None:
    """Proposals of one recording, in the dialects of BSN, BMN and others."""
    table, path = next(iter(rows(rng).values())), work / "r.csv"
    names = rng.choice((["start", "end", "score"], ["xmin", "xmax", "xscore"], ["t-start", "t-end", "Score"]))
    extra = rng.random() < 0.3
    lines = [[*names, *["iou"] * extra], *([*map(repr, row), *["0.5"] * extra] for row in table)]
    odd = rng.random() < 0.5
    if odd:
        at, column = rng.randrange(len(lines)), rng.randrange(3)
        odd_cells = ("", "x", "nan", "1,5", "1e999", "1_0", "\u0663", "0x3")
        lines[at][column] = rng.choice(odd_cells[:3] if column == 0 else odd_cells)  # R numbers rows without a name
        if rng.random() < 0.2:
            lines[at].pop(column)
    order = list(range(len(lines[0])))
    if not odd:
        rng.shuffle(order)
        lines = [[line[i] for i in order] for line in lines]
    text = rng.choice(("\n", "\r\n")).join(map(",".join, lines)) + rng.choice(("", "\n", "\n\n"))
    path.write_bytes(text.encode(rng.choice(("utf-8", "utf-8-sig", "utf-16"))))
    segments, scores = _read(lambda: proposals.read_csv(path), odd)
    if odd or not np.allclose(np.c_[segments, scores], np.array(table), rtol=1e-6):
        raise Wrong(f"read as {scores}: {text!r:.300}")


def score_case(rng: random.Random, work: Path) -> None:
    """Class scores in each layout, in any order of the classes; damaged, what is read is what the file says."""
    given = {id: {label: round(rng.uniform(0, 1), 3) for label in LABELS} for id in rng.sample(IDS, 2)}
    names = rng.sample(LABELS, 3)
    layout = rng.randrange(4)
    if layout == 3:
        arrays = {id: np.array([scores[n] for n in names]) for id, scores in given.items()}
        if odd := rng.random() < 0.5:
            names = rng.choice((names[:2], [*names, "c"], [names[0]] * 3, ["a", "b", "c"]))
        path = work / "s.parquet"
        table = pa.table({"id": list(arrays), "scores": pa.array([*map(list, arrays.values())])})
        pq.write_table(table.replace_schema_metadata({b"labels": json.dumps(names).encode()}), path)
    else:
        path = work / "s.json"
        content: Any = (
            given,
            {"results": {id: [{"label": k, "score": v} for k, v in s.items()] for id, s in given.items()}},
            {"class": names, "results": {id: [s[n] for n in names] for id, s in given.items()}},
        )[layout]
        if odd := rng.random() < 0.5:
            content = mutated_tree(content, rng)
        path.write_text(json.dumps(content), errors="surrogatepass")
    found = _read(lambda: class_scores.read(path, LABELS), odd)
    if odd and layout < 3:
        given = _said(content)
    elif odd:
        raise Wrong(f"labels {names} were read")
    for id in given:
        if not np.allclose(found[id], [float(given[id].get(label, 0)) for label in LABELS], rtol=1e-6):
            raise Wrong(f"other scores of {id}")


def _said(content: Any) -> dict[str, dict[str, Any]]:
    """What JSON of one of the layouts says."""
    results = content.get("results", content)
    if "class" in content:
        return {id: dict(zip(content["class"], row, strict=True)) for id, row in results.items()}
    return {id: row if isinstance(row, dict) else {x["label"]: x["score"] for x in row} for id, row in results.items()}


def byte_case(rng: random.Random, work: Path) -> None:
    """Changed bytes of a Parquet file: refused, or numbers that can be."""
    path, kind = work / "p.parquet", rng.randrange(3)
    if kind == 0:
        proposals.write(path, [(id, np.array(t)[:, :2], np.array(t)[:, 2]) for id, t in rows(rng).items()], {"a": "b"})
    elif kind == 1:
        class_scores.write(path, LABELS, [("r1", [0.1, 0.2, 0.3]), ("r2", [0.0, 1.0, 0.5])], {"a": "b"})
    else:
        clip_features.write(path, [("c1", np.ones(4)), ("c2", np.zeros(4))], {"a": "b"})
    path.write_bytes(mutated_bytes(path.read_bytes(), rng))
    if kind == 0:
        dict(proposals.read(path))
    elif kind == 1:
        class_scores.read(path, LABELS)
    else:
        clip_features.read(path)


def _read(function: Any, odd: bool) -> Any:
    try:
        return function()
    except InputError as e:
        if not odd:
            raise Wrong(f"refused: {e}") from e
        raise


def cases(folder: Path) -> dict[str, Case]:
    """Of Parquet, CSV and JSON."""
    found = (proposal_case, csv_case, score_case, byte_case)
    return dict(zip(KINDS, found, strict=True))
