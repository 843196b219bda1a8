"""Detections files against ground truth: mAP as a plain loop finds it, or one line."""

import json
import random
from pathlib import Path
from typing import Any

from benchmarks.fuzzing import Case, Wrong
from benchmarks.fuzzing.mutation import mutated_bytes, mutated_tree
from tal_jax.data import annotations
from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.ground_truth import select
from tal_jax.evaluation.proposals import evaluate_proposals

KINDS = {"detections": 60, "detections damaged": 40}
TIOU = (0.3, 0.5, 0.7)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


def content(rng: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """Annotations and detections, of which some fit, some are wild, and some are of other recordings and classes."""
    labels = rng.sample(("a", "b", "跳", "x y"), 2)
    database, results = {}, {}
    for i in range(rng.randrange(1, 4)):
        segments = [
            {"segment": sorted(rng.uniform(0, 30) for _ in range(2)), "label": rng.choice(labels)}
            for _ in range(rng.randrange(1, 5))
        ]
        subset = rng.choice(("validation", "validation", "training")) if i else "validation"
        database[f"r{i}"] = {"subset": subset, "duration": 30.0, "annotations": segments}
        rows = []
        for s in segments:
            start, end = s["segment"]
            wild = [rng.uniform(-5, 35), rng.uniform(-5, 35)]
            near = [start + rng.uniform(-1, 1), end + rng.uniform(-1, 1)]
            for segment in rng.choice(([near], [near, wild], [wild], [near, near, list(s["segment"])])):
                label = s["label"] if rng.random() < 0.8 else rng.choice((*labels, "other"))
                rows.append({"label": label, "score": rng.uniform(-1, 1), "segment": segment})
        results[rng.choice((f"r{i}", f"r{i}", f"r{i}", "unknown"))] = rows
    results.setdefault("r0", []).append({"label": labels[0], "score": 2.0, "segment": [1.0, 31.0]})
    return {"database": database}, {"version": "1", "results": results, "external_data": {}}


def measured(truth: Path, detections: Path) -> tuple[float, dict[str, float]]:
    """Average mAP and that of each class, as the command measures it."""
    submission = detection_files.read(detections)
    if (submission.table.label < 0).any():
        raise InputError("detections without a label")  # as the command says
    chosen = select(annotations.read(truth), submission, "validation")
    found = evaluate_detections(chosen.truth, chosen.detections, chosen.labels, TIOU, chosen.excusing)
    evaluate_proposals(chosen.truth, chosen.detections, TIOU)
    return found.average, dict(zip(found.labels, found.per_class.mean(axis=0).tolist(), strict=True))


def iou(a: Any, b: Any) -> float:
    """Of two segments; 0 where one has no length."""
    inside = min(a[1], b[1]) - max(a[0], b[0])
    union = (a[1] - a[0]) + (b[1] - b[0]) - inside
    return inside / union if inside > 0 and union > 0 else 0.0


def by_loop(truth: dict[str, Any], results: dict[str, Any]) -> tuple[float, dict[str, float]]:
    """The same, one detection after the other."""
    known = truth["database"]
    counted = {id for id, entry in known.items() if entry["subset"] == "validation"}
    labels = sorted({a["label"] for id in counted for a in known[id]["annotations"]})
    averages = {}
    for label in labels:
        wanted = [(id, a["segment"]) for id in counted for a in known[id]["annotations"] if a["label"] == label]
        rows = [
            (float(row["score"]), n, id, [float(x) for x in row["segment"]])
            for n, (id, row) in enumerate((id, row) for id, rows in results.items() for row in rows)
            if row["label"] == label and (id in counted or id not in known)
        ]
        precision = []
        for threshold in TIOU:
            free, hits = set(range(len(wanted))), []
            for _, _, id, segment in sorted(rows, reverse=True):
                fits = [(iou(segment, wanted[i][1]), i) for i in free if wanted[i][0] == id]
                best = max(fits, default=(0.0, -1))
                hits.append(best[0] >= threshold)
                free -= {best[1]} if hits[-1] else set()
            curve = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
            precision.append(sum(max(curve[n:]) for n, hit in enumerate(hits) if hit) / len(wanted))
        averages[label] = sum(precision) / len(TIOU)
    return sum(averages.values()) / len(averages), averages


def equal(one: tuple[float, dict[str, float]], two: tuple[float, dict[str, float]]) -> bool:
    """Whether two results are, but for rounding."""
    return one[1].keys() == two[1].keys() and all(abs(x - two[1][k]) < 1e-9 for k, x in one[1].items())


def good_case(rng: random.Random, work: Path) -> None:
    """Any spelling of detections is measured as the loop measures it."""
    truth, found = content(rng)
    for rows in found["results"].values():
        for row in rows:
            if rng.random() < 0.2:
                row |= {"score": str(row["score"]), "segment": [str(x) for x in row["segment"]]}
            if rng.random() < 0.1:
                row["extra"] = None
    (work / "a.json").write_text(json.dumps(truth))
    text = json.dumps(found, ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1)))
    (work / "d.json").write_bytes(text.encode(rng.choice(ENCODINGS)))
    right = by_loop(truth, found["results"])
    try:
        value = measured(work / "a.json", work / "d.json")
    except InputError as e:
        raise Wrong(f"refused: {e}") from e
    if not equal(value, right):
        raise Wrong(f"{value}, and not {right}")


def damaged_case(rng: random.Random, work: Path) -> None:
    """What is measured is what the file says."""
    truth, found = content(rng)
    (work / "a.json").write_text(json.dumps(truth))
    if rng.random() < 0.6:
        data = json.dumps(mutated_tree(found, rng)).encode("utf-8", "surrogatepass")
    else:
        data = mutated_bytes(json.dumps(found).encode(), rng)
    (work / "d.json").write_bytes(data)
    value = measured(work / "a.json", work / "d.json")
    if not equal(value, by_loop(truth, json.loads(data)["results"])):
        raise Wrong(f"{value} is not what the file says")


def cases(folder: Path) -> dict[str, Case]:
    """Of good detections, and of damaged ones."""
    return {"detections": good_case, "detections damaged": damaged_case}
