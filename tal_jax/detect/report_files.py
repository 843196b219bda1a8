"""The page of a report from files of annotations and detections, and from workdirs."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from tal_jax.checks.ignored import leave_out
from tal_jax.data import annotations
from tal_jax.evaluation import detection_files, ground_truth
from tal_jax.evaluation.detection import parse_tiou
from tal_jax.report import Analysis, analyse, compose, named, require_libraries, write_report
from tal_jax.report.analysis import likely_subset
from tal_jax.report.page import check_out


def report_on(
    ground_truth_file: str,
    detections: Sequence[str],
    out: str | Path,
    *,
    workdirs: Sequence[str] = (),
    subset: str = "",
    tiou: str = "0.5:0.95:0.05",
    blocked_file: str = "",
    ignore_labels: Collection[str] = (),
    units: str = "",
    shown: int | None = None,
    pictured: int = 200,
    data_dir: str = "",
) -> tuple[Path, list[Analysis]]:
    """Evaluates files of detections, runs the models of workdirs, and writes one page on all of them.

    Args:
      ground_truth_file: JSON file of annotations in the ActivityNet layout.
      detections: files in the submission layout, as PATH or NAME=PATH.
      out: the folder that is written.
      workdirs: folders of trainings, as PATH or NAME=PATH, whose curves, losses and activation sequences are shown.
      subset: the subset to evaluate on; "" is that of the first file's recordings.
      tiou: the thresholds as text, see `parse_tiou`.
      blocked_file: a file with the ids of recordings to leave out, one on each line; "" leaves out none.
      ignore_labels: classes that do not count, see `ignored.leave_out`.
      units: of the detections' times, see `time_units.in_seconds`.
      shown: see `compose`.
      pictured: how many recordings get activation sequences at most.
      data_dir: folder of another prepared set for the workdirs than the one each was trained on; "" is each one's own.

    Returns:
      The path of the page, and the numbers of every file of detections.

    Raises:
      InputError: something is wrong with files, names, workdirs or thresholds, or a library is missing.
    """
    require_libraries()
    check_out(out)
    thresholds = parse_tiou(tiou)
    recordings, _ = leave_out(annotations.read(ground_truth_file), ignore_labels, ground_truth_file)
    blocked = ground_truth.read_blocked(blocked_file) if blocked_file else frozenset()
    files = {name: detection_files.read(path) for name, path in named(detections, "--detections").items()}
    wanted = subset or likely_subset(recordings, next(iter(files.values())))
    subset = ground_truth.subset_name(recordings, wanted)
    runs = [analyse(name, recordings, content, subset, thresholds, blocked, units) for name, content in files.items()]
    materials = []
    if workdirs:
        from tal_jax.detect.report_inputs import read_material  # which starts jax

        for name, path in named(workdirs, "--workdir").items():
            chosen = runs[0].selection
            materials.append(read_material(name, path, chosen, subset, data_dir=data_dir, pictured=pictured))
    title = f"Detections of {os.path.basename(ground_truth_file)}, {subset}"
    return write_report(out, compose(runs, recordings, materials, title=title, shown=shown)), runs
