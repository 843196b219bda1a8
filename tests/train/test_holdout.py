"""Whole people held out by patterns of ids: from recordings, and from the clips that a weak track learns from."""

import pytest
from clip_set import prepare_clip_set, tiny_weak_config

from tal_jax.data.knowledge import write
from tal_jax.train.build import KNOWLEDGE, build_stage, with_clips


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
    assert ids(trimmed.training, trimmed.train_index) == kept
    mgfn = build_stage(config, "mgfn", tmp_path)
    every = {str(id) for id in mgfn.training.ids}
    held = {id for id in every if id[1:] in {"01", "02", "03", "04"} or id.startswith("r1")}
    assert ids(mgfn.training, mgfn.eval_index) == held
    assert ids(mgfn.training, mgfn.train_index) == every - held
    # Knowledge of all clips, as an earlier training may have left it.
    (tmp_path / "trimmed").mkdir(exist_ok=True)
    width = 2 * 2 * 8
    write(tmp_path / "trimmed" / KNOWLEDGE, [(str(id), [0.0] * width) for id in trimmed.training.ids])
    assembler = with_clips(mgfn, config, tmp_path).assembler
    assert ids(assembler.clips.split, assembler.clips.index) == kept
    assert ids(assembler.splicer.split, assembler.splicer.index) == kept
