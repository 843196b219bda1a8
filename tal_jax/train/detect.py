"""Detections of a trained stage over a split, ready to be written."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from tal_jax.data.dataset import open_split
from tal_jax.errors import InputError
from tal_jax.evaluation.submission import Submission
from tal_jax.train.build import build_stage
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.predict import Predictor
from tal_jax.train.sharding import make_mesh
from tal_jax.train.workdir import read_config


def detect(
    workdir: str | Path, split: str, *, stage: str = "", data_dir: str = "", checkpoint: str = "last"
) -> Submission:
    """Runs the last stage (or the given one) over every recording of a split.

    Args:
      workdir: of a training.
      split: name in the prepared set.
      stage: name; "" is the last of the track.
      data_dir: another prepared set than the one trained on, with the same streams.
      checkpoint: "last" or "best".

    Raises:
      InputError: no such workdir, stage, split or checkpoint.
    """
    config = read_config(workdir)
    if data_dir:
        config["data"]["dir"] = data_dir
    name = stage or config["track"][-1]
    if name not in config["stages"]:
        raise InputError(f"--stage={name}: no such stage: the track is {', '.join(config['track'])}")
    built = build_stage(config, name, Path(workdir).absolute())
    params = restore_params(workdir, name, which=checkpoint)
    records = open_split(config["data"]["dir"], split)
    predictor = Predictor(built.task, make_mesh())
    with tqdm(total=len(records), desc=f"detect {split}", unit="recording", disable=None) as bar:
        table = predictor(
            params,
            records,
            built.assembler,
            index=np.arange(len(records)),
            batch_size=config["stages"][name]["batch_size"],
            advance=bar.update,
        )
    return Submission(tuple(str(i) for i in records.ids), tuple(records.metadata.labels), table)
