"""All rungs of a ladder one after the other: what `launch.ladder` does, its table, its files and its picture."""

import json
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tal_jax import bundled
from tal_jax.data import annotations, atomic
from tal_jax.data.annotations import Recording
from tal_jax.data.dataset import open_split
from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files as submission
from tal_jax.experiments.weak_ladder import Rung, Score, measure_rung, score, train_rung
from tal_jax.plots import cas as cas_figure
from tal_jax.plots import detections as figure
from tal_jax.plots.detections import Bar


def load_rows(path: str, rows: Sequence[str], data: str, seed: int) -> dict[str, dict[str, Any]]:
    """The config of every row, as plain nested values.

    Args:
      path: of a config file whose `get_config` takes the row's name, or the name of one of the package.
      rows: names.
      data: prepared set.
      seed: of the training.

    Raises:
      InputError: no such file, or no such row.
    """
    get_config = runpy.run_path(bundled.locate("configs", path)).get("get_config")
    configs = {}
    for row in rows:
        try:
            config = get_config(row)  # type: ignore[misc]
        except (TypeError, ValueError) as e:
            raise InputError(f"--config={path}: no row {row!r}: {e}") from e
        config.data.dir, config.seed = data, seed
        configs[row] = config.to_dict()
    return configs


def climb(
    configs: Mapping[str, dict[str, Any]],
    out: Path,
    *,
    ground_truth: str,
    split: str,
    supervised: str | None,
    pictured: int,
) -> str:
    """Trains, tunes and measures the rows, and writes OUT/ladder.json, scores.json, ROW.json and cas.png.

    Args:
      configs: by row, from simple to full.
      out: folder; each row has its workdir in it.
      ground_truth: annotation file; it is read for measuring alone.
      split: to measure on.
      supervised: a detections file to show beside the rows, or None.
      pictured: recordings in the picture.

    Returns:
      The ladder as a table.

    Raises:
      InputError: anything wrong with the configs or the data.
    """
    recordings = annotations.read(ground_truth)
    out.mkdir(parents=True, exist_ok=True)
    records = open_split(next(iter(configs.values()))["data"]["dir"], split)
    shown = cas_figure.choose([str(id) for id in records.ids if recordings[str(id)].instances], pictured)
    rungs: dict[str, Rung] = {}
    for row, config in configs.items():
        print(f"\nrow {row}", flush=True)
        train_rung(config, out.absolute() / row, out.absolute() / "shared")
        rungs[row] = measure_rung(config, out.absolute() / row, recordings, split, pictured=shown)
        submission.write(out / f"{row}.json", rungs[row].detections)
    beside = score(submission.read(supervised), recordings, split) if supervised else None
    _write_scores(out, rungs, beside)
    labels = records.metadata.labels
    strips = [_strip(id, recordings[id], labels, rungs) for id in shown]
    text = (
        f"{len(shown)} of {len(records)} recordings, evenly spaced by name: ground truth, then the class activation "
        "sequence of every row, scaled to [0, 1] and not smoothed."
    )
    figure.save(cas_figure.draw(strips, labels, text), out / "cas.png")
    return table(rungs, beside)


def table(rungs: Mapping[str, Rung], supervised: Score | None) -> str:
    """The ladder as text, in percent: both averages under every decoding."""
    decodings = {"unsmoothed": "not smoothed", "config": "as configured", "tuned": "tuned"}
    lines = [
        "average mAP (%) over 0.1:0.1:0.7 and over 0.5:0.05:0.95",
        f"{'row':<12}" + "".join(f"{title:>22}" for title in decodings.values()),
    ]

    def pair(value: Score) -> str:
        return f"{100 * value.low:.1f} / {100 * value.high:.1f}"

    for row, rung in rungs.items():
        lines.append(f"{row:<12}" + "".join(f"{pair(rung.scores[name]):>22}" for name in decodings))
    if supervised:
        lines.append(f"{'supervised':<12}{pair(supervised):>22}")
    return "\n".join(lines)


def _write_scores(out: Path, rungs: Mapping[str, Rung], supervised: Score | None) -> None:
    ladder = {row: rung.scores["config"].low for row, rung in rungs.items()}
    atomic.write(out / "ladder.json", json.dumps(ladder, indent=1).encode())
    details: dict[str, Any] = {
        row: {name: [value.low, value.high] for name, value in rung.scores.items()} for row, rung in rungs.items()
    }
    if supervised:
        details["supervised"] = [supervised.low, supervised.high]
    atomic.write(out / "scores.json", json.dumps(details, indent=1).encode())


def _strip(id: str, recording: Recording, labels: Sequence[str], rungs: Mapping[str, Rung]) -> cas_figure.Sequences:
    rows = {row: rung.sequences[id] for row, rung in rungs.items()}
    truth = tuple(
        Bar(i.start, i.end, labels.index(i.label) if i.label in labels else -1, 1.0) for i in recording.instances
    )
    duration = recording.duration or max(bar.end for bar in truth)
    return cas_figure.Sequences(id, duration, truth, duration / len(next(iter(rows.values()))), rows)
