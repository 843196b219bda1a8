"""Splicing as augmentation: what is inserted where, and what stays as it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clip_set import Memory, prepare_clip_set, tiny_weak_config

from tal_jax.data.rows import Assembler
from tal_jax.data.splicing import Splicer
from tal_jax.errors import InputError
from tal_jax.stages.clips import with_clips
from tal_jax.stages.stage import build_stage
from tal_jax.windows import Framing

FRAMING = Framing("window", 40)
# Hosts count up from 0, clips from 1000 times their number: every snippet tells where it comes from.
HOSTS = Memory(
    [(0.5, np.arange(20.0, dtype=np.float32)[:, None], [0]), (0.5, np.arange(9.0, dtype=np.float32)[:, None], [0, 1])],
    "abc",
)
CLIPS = Memory(
    [(0.5, 1000.0 * (i + 1) + np.arange(3 + i, dtype=np.float32)[:, None], [i % 3]) for i in range(6)], "abc"
)


def splicer(share=1.0):
    return Splicer(CLIPS, np.arange(6), ("x",), FRAMING, share)


@given(st.integers(0, 2**31), st.integers(0, 1))
def test_whole_clips_of_absent_classes_between_the_host_s_snippets(seed, host):
    record = HOSTS[host]
    found = splicer()(record, np.random.default_rng(seed))
    x = found.features["x"][:, 0]
    own, foreign = x[x < 1000], x[x >= 1000]
    # A host that lies in the frame is cut so that all of it still does; its snippets keep their order.
    np.testing.assert_array_equal(np.diff(own), 1)
    assert len(x) <= FRAMING.snippets
    assert found.duration == len(x) * record.stride
    assert (len(found.segments), len(found.labels)) == (0, 0)
    numbers = {int(v) // 1000 - 1 for v in foreign}
    labels = {int(CLIPS[n].present[0]) for n in numbers}
    assert not labels & set(record.present.tolist())
    assert set(found.present.tolist()) == labels | set(record.present.tolist())
    for n in numbers:  # as much of a clip as there is of it, in order and in one piece
        places = np.flatnonzero(x // 1000 == n + 1)
        starts = places[x[places] % 1000 == 0]
        assert len(starts) >= 1
        for start in starts:
            length = min(len(CLIPS[n].features["x"]), len(x) - start)
            run = x[start : start + length] - x[start]
            assert np.all((run == np.arange(length)) | (run >= 1000) | (run < 0))


def test_the_share_is_kept_and_the_rest_untouched():
    rng = np.random.default_rng(0)
    changed = [splicer(0.3)(HOSTS[0], rng) is not HOSTS[0] for _ in range(400)]
    assert 0.22 < np.mean(changed) < 0.38
    assert splicer(0.0)(HOSTS[0], rng) is HOSTS[0]


def test_a_function_of_the_rng():
    a, b, c = (splicer()(HOSTS[0], np.random.default_rng(seed)).features["x"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert a.shape != c.shape or (a != c).any()


def test_a_recording_with_every_class_stays_as_it_is():
    full = Memory([(0.5, np.zeros((9, 1), np.float32), [0, 1, 2])], "abc")[0]
    assert splicer()(full, np.random.default_rng(0)) is full


def test_training_rows_alone_are_spliced():
    assembler = Assembler(FRAMING, ("x",), 1, 3, 0, weak=True, splicer=splicer())
    row, _ = assembler.training_row(HOSTS[0], 0, np.random.default_rng(0))
    assert row.features.max() >= 1000
    assert row.labels.sum() > 1
    row, _ = assembler.detection_row(HOSTS[0], 0, 0.0)
    np.testing.assert_array_equal(row.features[:20, 0], np.arange(20))
    assert row.labels.tolist() == [1, 0, 0]


def test_the_config_asks_for_it(tmp_path):
    prepare_clip_set(tmp_path)
    config = tiny_weak_config(tmp_path / "data", "full")
    config.stages.mgfn.options.mmd_weight = 0.0  # splicing alone needs no trimmed branch

    def build():
        plain = config.to_dict()
        return with_clips(build_stage(plain, "mgfn", tmp_path / "run"))

    assert build().assembler.splicer.share == 0.5
    assert build().assembler.clips is None
    config.stages.mgfn.splice = 0.0
    assert build().assembler.splicer is None
    config.stages.mgfn.splice = 1.5
    with pytest.raises(InputError, match=r"stages\.mgfn\.splice is a share"):
        build()
