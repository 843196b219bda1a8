"""Whole people held out by patterns of ids: from recordings, and from the clips that a weak track learns from."""

import numpy as np
import pytest
from support.clip_set import prepare_clip_set, tiny_weak_config

from tal_jax.data.clip_features import write
from tal_jax.data.dataset import open_split
from tal_jax.data.holdout import grouped
from tal_jax.errors import InputError
from tal_jax.stages.artifacts import FILES
from tal_jax.stages.clips import with_clips
from tal_jax.stages.config import parse
from tal_jax.stages.stage import build_stage
from tal_jax.tasks.task import CLIP_FEATURES


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    prepare_clip_set(folder)
    config = tiny_weak_config(folder / "data", "full")
    config.data.holdout, config.data.holdout_ids = 0.0, ("?0[1-4]", "?1?")
    return config.to_dict()


def ids(split, index):
    return {str(split.ids[i]) for i in index}


def test_clips_of_held_out_people_are_not_learned_from(config, tmp_path):
    trimmed = build_stage(config, "trimmed", tmp_path)
    kept = {f"c{i:02d}" for i in (0, 5, 6, 7, 8, 9)}
    assert ids(trimmed.training, trimmed.recordings.train_index) == kept
    mgfn = build_stage(config, "mgfn", tmp_path)
    every = {str(id) for id in mgfn.training.ids}
    held = {id for id in every if id[1:] in {"01", "02", "03", "04"} or id.startswith("r1")}
    assert ids(mgfn.training, mgfn.recordings.eval_index) == held
    assert ids(mgfn.training, mgfn.recordings.train_index) == every - held
    # Knowledge of all clips, as an earlier training may have left it.
    (tmp_path / "trimmed").mkdir(exist_ok=True)
    width = 2 * 2 * 8
    write(tmp_path / "trimmed" / FILES[CLIP_FEATURES], [(str(id), [0.0] * width) for id in trimmed.training.ids])
    assembler = with_clips(mgfn, parse(config), tmp_path).assembler
    assert ids(assembler.clips.split, assembler.clips.index) == kept
    assert ids(assembler.splicer.split, assembler.splicer.index) == kept


def test_groups_are_what_the_expression_finds(config):
    split = open_split(config["data"]["dir"], "training")
    index = np.searchsorted(split.ids, ["r12", "r00", "r10", "r01"])
    assert split.ids[index].tolist() == ["r12", "r00", "r10", "r01"]
    assert grouped(split, index, r"^r\d").tolist() == ["r1", "r0", "r1", "r0"]
    assert grouped(split, index, r"\d$").tolist() == ["2", "0", "0", "1"]
    assert grouped(split, index, "").tolist() == index.tolist()


@pytest.mark.parametrize("expression", ["r1", "(r1)?"])
def test_an_id_without_a_group_is_refused(config, expression):
    split = open_split(config["data"]["dir"], "training")
    with pytest.raises(InputError, match="not found in id 'r00' of"):
        grouped(split, np.searchsorted(split.ids, ["r12", "r00"]), expression)
