"""Which recordings a stage learns from: those with labels alone are no background where segments are learned from."""

import json

import numpy as np
import pytest
from support.clip_set import tiny_weak_config
from support.sensor_set import STRIDE, tiny_config, write_files

from tal_jax.errors import InputError
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.stages.config import parse
from tal_jax.stages.recordings import open_recordings


def prepared(folder, change, **options):
    """A set of eight training and four validation recordings, after a change of the annotations."""
    database = write_files(folder)
    change(database)
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    prepare(
        Options(
            str(folder / "annotations.json"), {"imu": str(folder / "features")}, str(STRIDE), str(folder / "data"),
            workers=1, **options,
        )
    )  # fmt: skip
    return folder / "data"


def labels_alone(*ids):
    def change(database):
        for id in ids:
            database[id]["annotations"] = [{"label": a["label"]} for a in database[id]["annotations"]]

    return change


def found(config, stage):
    config = parse(config.to_dict())
    return open_recordings(config.data, config.stages[stage])


def test_recordings_with_labels_alone_are_left_out_of_supervised_training(tmp_path):
    data = prepared(tmp_path, labels_alone("r01", "r05", "r09"))
    supervised = found(tiny_config(data), "bmn")
    assert supervised.training.ids[supervised.train_index].tolist() == ["r00", "r02", "r03", "r04", "r06", "r07"]
    assert supervised.evaluation.ids[supervised.eval_index].tolist() == ["r08", "r10", "r11"]
    config = tiny_config(data)
    config.data.holdout = 0.25
    held = found(config, "bmn")
    assert held.training.ids[held.train_index].tolist() == ["r02", "r03", "r06", "r07"]
    assert held.training.ids[held.eval_index].tolist() == ["r00", "r04"]
    weak = found(tiny_weak_config(data), "mgfn")
    assert len(np.union1d(weak.train_index, weak.eval_index)) == 8


def test_supervised_training_without_any_segment_is_refused(tmp_path):
    data = prepared(tmp_path, labels_alone(*(f"r{i:02d}" for i in range(8))), accept=("no_segments",))
    with pytest.raises(InputError, match="no training recording has a segment to learn from"):
        found(tiny_config(data), "bmn")
    assert len(found(tiny_weak_config(data), "mgfn").training) == 8
