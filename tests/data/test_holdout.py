"""A share held out; whole people held out by patterns of ids, from recordings and from clips of a weak track."""

import numpy as np
import pytest
from support.clip_set import prepare_clip_set, tiny_weak_config

from tal_jax.data.clip_features import write
from tal_jax.data.dataset import open_split
from tal_jax.data.holdout import grouped, hold_out, hold_out_ids
from tal_jax.errors import InputError
from tal_jax.stages.artifacts import FILES
from tal_jax.stages.clips import with_clips
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
    assembler = with_clips(mgfn).assembler
    assert ids(assembler.clips.split, assembler.clips.index) == kept
    assert ids(assembler.splicer.split, assembler.splicer.index) == kept


def test_ids_may_be_written_as_lists_write_them_and_the_nearest_is_named(config):
    split = open_split(config["data"]["dir"], "training")
    kept, held = hold_out_ids(split, ["v_r00", "r01.npy ", "r1?"])
    assert ids(split, held) == {str(id) for id in split.ids if id in ("r00", "r01") or id.startswith("r1")}
    assert len(kept) + len(held) == len(split)
    with pytest.raises(InputError, match=r"data\.holdout_ids: 'rr00' matches none .* did you mean 'r00'"):
        hold_out_ids(split, ["r00", "rr00"])


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


@pytest.mark.parametrize("count", [2, 3, 7, 10, 40, 101])
@pytest.mark.parametrize("share", [0.01, 0.15, 0.3, 0.4, 0.6, 0.75, 0.9, 0.99])
def test_a_share_is_held_out_exactly_and_evenly(count, share):
    kept, held = hold_out(count, share)
    if round(1 / share) * share != 1:
        assert len(held) == min(max(round(share * count), 1), count - 1)
    assert sorted([*kept, *held]) == list(range(count))
    assert len(kept) > 0
    # Evenly: any stretch of positions has its share, but for one at either end.
    at = np.isin(np.arange(count), held).cumsum()
    assert np.abs(at - len(held) / count * np.arange(1, count + 1)).max() <= 1


@pytest.mark.parametrize("n", [2, 3, 4, 5, 7, 10, 20, 100])
def test_a_share_of_one_in_n_is_every_nth(n):
    for count in (2, n, n + 1, 5 * n - 1, 5 * n):
        if count > 1:
            kept, held = hold_out(count, 1 / n)
            assert held.tolist() == [i for i in range(count) if i % n == 0]
            assert kept.tolist() == [i for i in range(count) if i % n]
    assert hold_out(12, round(1 / n, 2))[1][0] == 0


def test_no_share_holds_out_none_and_of_one_recording_none_can_be():
    for count, share in ((5, 0.0), (0, 0.5), (1, 0.5), (1, 0.4)):
        kept, held = hold_out(count, share)
        assert kept.tolist() == list(range(count))
        assert held.tolist() == []


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan")])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(InputError, match=r"data\.holdout: .* give a number in \[0, 1\)"):
        hold_out(10, share)
