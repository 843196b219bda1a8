"""A workdir's part in a report: its training curves, the loss of every recording, its activation sequences."""

from pathlib import Path

import numpy as np

from tal_jax.data.dataset import open_split
from tal_jax.detect.cas_by_stage import stage_sequences
from tal_jax.detect.detect import completed
from tal_jax.detect.recording_losses import recording_losses
from tal_jax.detect.remarks import remark
from tal_jax.errors import InputError
from tal_jax.evaluation.ground_truth import Selection
from tal_jax.plots.cas import choose
from tal_jax.report.inputs import Curve, Material
from tal_jax.stages.plan import with_dataset
from tal_jax.stages.stage import build_stage
from tal_jax.stages.tuned_decoding import tuned
from tal_jax.stages.workdir import read_config
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.history import read_history


def read_material(
    name: str, workdir: str, chosen: Selection, split: str, *, data_dir: str = "", pictured: int = 200
) -> Material:
    """Reads and runs the last stage of a training.

    Args:
      name: what the page calls the workdir.
      workdir: the folder of a training.
      chosen: the recordings of the report, and their truth.
      split: the name of the split that has them, in the prepared set.
      data_dir: folder of another prepared set than the one trained on; "" is the training's own.
      pictured: how many recordings get sequences at most, evenly spaced by name.

    Raises:
      InputError: there is no such workdir, split or checkpoint, or none of the recordings is in the split.
    """
    config = read_config(workdir)
    if data_dir:
        config = with_dataset(config, data_dir, split)
    path, stage_name = Path(workdir).absolute(), config.track[-1]
    records = open_split(config.data.dir, split)
    stage = build_stage(config, stage_name, path)
    remark(stage, records)
    params = restore_params(path, stage_name)
    assembler = completed(stage, records)
    batch_size = stage.section.batch_size

    wanted = set(chosen.recordings)
    index = np.flatnonzero([str(id) in wanted for id in records.ids])
    if len(index) == 0:
        raise InputError(
            f"{config.data.dir}: none of the {len(records)} recordings of split {split} is in the report (first: "
            f"{str(records.ids[0])!r}): give the set that the annotations are of with --data=DATA"
        )
    values = recording_losses(stage.task, params, records, assembler, index=index, batch_size=batch_size)
    losses = {str(records.ids[i]): float(v) for i, v in zip(index, values, strict=True) if np.isfinite(v)}

    sequences: dict[str, dict[str, Curve]] = {}
    task = tuned(stage.task, path, stage_name)
    if task.sequence_names:
        true: dict[str, set[str]] = {}
        for r, k in zip(chosen.truth.recording.tolist(), chosen.truth.label.tolist(), strict=True):
            true.setdefault(chosen.recordings[r], set()).add(chosen.labels[k])
        ids = {str(records.ids[i]): int(i) for i in index if str(records.ids[i]) in true}
        present = {ids[id]: frozenset(true[id]) for id in (choose(list(ids), pictured) if ids else [])}
        found = stage_sequences(
            task,
            params,
            records,
            assembler,
            present=present,
            labels=stage.trained_on.labels,
            batch_size=batch_size,
        )
        sequences = {str(records.ids[i]): rows for i, rows in found.items()}
    return Material(name, read_history(path, list(config.track)), losses, stage_name, sequences)
