"""Composites: where spliced actions begin and end, which classes they are of, and that no segment is read."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clip_set import STRIDE, WIDTHS, Memory, prepare_clip_set

from tal_jax.data import composites
from tal_jax.data.composites import Excerpt, compose, excerpts
from tal_jax.data.dataset import open_split
from tal_jax.errors import InputError
from tal_jax.windows import Framing

STREAMS = tuple(WIDTHS)
WHOLE = Framing("window", 96)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """(recordings, clips)"""
    folder = tmp_path_factory.mktemp("set")
    prepare_clip_set(folder, dtype="float16")
    return open_split(folder / "data", "training"), open_split(folder / "data", "clips")


def made(splits, *, count=24, seed=0, framing=WHOLE, index=(0, 2, 4, 6, 8, 10), hosts=None):
    clips = excerpts(splits[1], np.arange(len(splits[1])), STREAMS)
    hosts = splits[0] if hosts is None else hosts
    return compose(hosts, np.array(index), clips, streams=STREAMS, framing=framing, count=count, seed=seed)


def numbered(*records, start=0.0):
    """A split of recordings of (stride, number of snippets, labels) with numbered snippets."""
    values = [start + 1000 * i + np.arange(n, dtype=np.float32)[:, None] for i, (_, n, _) in enumerate(records)]
    return Memory([(stride, x, labels) for (stride, _, labels), x in zip(records, values, strict=True)])


def same(a, b):
    assert (a.id, a.stride, a.duration, a.present.tolist()) == (b.id, b.stride, b.duration, b.present.tolist())
    for name in STREAMS:
        np.testing.assert_array_equal(a.features[name], b.features[name], strict=True)


@pytest.mark.parametrize("framing", [WHOLE, Framing("window", 48), Framing("window", 8), Framing("resize", 20)])
def test_actions_lie_where_the_truth_says_to_the_snippet(splits, framing):
    hosts, clips = splits
    made_of = {i: [clips[i].features[s] for s in STREAMS] for i in range(len(clips))}
    several, joined = 0, 0
    found = made(splits, framing=framing)
    for i, composition in enumerate(found.compositions):
        record, host = found[i], hosts[composition.host]
        segments, labels = composition.truth()
        units = segments / STRIDE
        assert (units == np.round(units)).all()
        inserted = np.zeros(found.num_snippets[i], bool)
        for (a, b), label in zip(units.astype(int), labels, strict=True):
            # The snippets of an action are those of one or two clips of its class, from the first snippet on.
            pieces, at = 0, a
            while at < b:
                (clip,) = [k for k, (x, _) in made_of.items() if (x[0] == record.features["imu"][at]).all()]
                assert clips[clip].present.tolist() == [label]
                for name, stored in zip(STREAMS, made_of[clip], strict=True):
                    n = min(len(stored), b - at)
                    np.testing.assert_array_equal(record.features[name][at : at + n], stored[:n], strict=True)
                at, pieces = at + n, pieces + 1
            assert pieces <= 2
            joined += pieces == 2
            assert not inserted[a:b].any()
            assert not inserted[max(a - 1, 0) : b + 1].any()  # something of the host lies between two actions
            inserted[a:b] = True
        several += len(labels) > 1
        for name in STREAMS:  # the rest is one piece of the host
            rest, whole = record.features[name][~inserted], host.features[name]
            (first,) = np.flatnonzero((whole == rest[0]).all(axis=1))
            np.testing.assert_array_equal(rest, whole[first : first + len(rest)], strict=True)
    if framing.snippets > 8:
        assert several
        assert joined


def test_classes_are_those_that_the_host_does_not_have(splits):
    hosts, _ = splits
    found = made(splits)
    counts = np.zeros(3, int)
    for i, composition in enumerate(found.compositions):
        present = set(hosts[composition.host].present.tolist())
        labels = composition.truth()[1]
        assert not present & set(labels.tolist())
        record = found[i]
        assert record.present.tolist() == sorted(present | set(labels.tolist()))
        assert record.present.dtype == np.int32
        assert len(record.segments) == len(record.labels) == 0
        counts += np.bincount(labels, minlength=3)
    assert counts.max() - counts.min() <= 2  # a host may lack only those that lead
    assert np.bincount([c.host for c in found.compositions], minlength=12).tolist() == [4, 0] * 6  # in turn


def test_what_the_pipeline_asks_of_a_split(splits):
    found = made(splits, count=5)
    assert len(found) == len(found.ids) == len(set(found.ids.tolist())) == 5
    for i in range(5):
        record = found[i]
        assert record.id == found.ids[i]
        assert {len(x) for x in record.features.values()} == {found.num_snippets[i]}
        assert record.duration == found.durations[i] == found.num_snippets[i] * STRIDE
    with pytest.raises(IndexError):
        found[5]


def test_composites_are_a_function_of_the_seed(splits):
    a, b, other = made(splits), made(splits), made(splits, seed=1)
    assert a.compositions == b.compositions
    for i in range(len(a)):
        same(a[i], b[i])
    assert any(x.insertions != y.insertions for x, y in zip(a.compositions, other.compositions, strict=True))


def test_segments_are_never_read(splits):
    hosts, clips = splits

    class Noisy:
        def __init__(self, split):
            self.split, self.directory, self.ids, self.metadata = split, split.directory, split.ids, split.metadata

        def __len__(self):
            return len(self.split)

        def __getitem__(self, i):
            return dataclasses.replace(self.split[i], segments=None, labels=None)

    plain, noisy = made(splits), made((Noisy(hosts), Noisy(clips)))
    for i in range(len(plain)):
        np.testing.assert_array_equal(plain.compositions[i].truth()[0], noisy.compositions[i].truth()[0])
        same(plain[i], noisy[i])


def test_a_clip_of_several_classes_is_left_out(splits):
    _, clips = splits
    assert clips[17].present.tolist() == [0, 2]
    found = excerpts(clips, np.arange(len(clips)), STREAMS)
    assert [clip.position for clip in found] == list(range(17))
    assert all(clip.first == 0 and clip.end == clips.num_snippets[clip.position] for clip in found)


def test_an_excerpt_at_another_stride():
    split = numbered((0.5, 9, [0]))
    clip = Excerpt(split, 0, 2, 9, 0.5, 0)  # snippets 2 .. 8
    assert [clip.snippets_at(s) for s in (0.5, 1.0, 3.0, 10.0, 0.25)] == [7, 3, 1, 1, 14]
    np.testing.assert_array_equal(clip.features(["x"], 0.5, 7)["x"][:, 0], np.arange(2, 9))
    np.testing.assert_array_equal(clip.features(["x"], 1.0, 3)["x"][:, 0], [2.5, 4.5, 6.5])
    np.testing.assert_array_equal(clip.features(["x"], 1.0, 2)["x"][:, 0], [2.5, 4.5])
    assert clip.features(["x"], 1.0, 3)["x"].dtype == np.float32


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    strides=st.lists(st.sampled_from([0.2, 0.5, 1.3]), min_size=2, max_size=2),
    clip_lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    framing=st.sampled_from([Framing("window", 16), Framing("window", 10, 2.0), Framing("resize", 12)]),
    seed=st.integers(0, 99),
)
def test_sizes(lengths, strides, clip_lengths, framing, seed):
    hosts = numbered(*((strides[0], n, [0]) for n in lengths))
    clips = numbered(*((strides[1], n, [1 + i % 2]) for i, n in enumerate(clip_lengths)), start=0.5)
    drawn = [Excerpt(clips, i, 0, n, strides[1], 1 + i % 2) for i, n in enumerate(clip_lengths)]
    index = np.arange(len(lengths))
    found = compose(hosts, index, drawn, streams=["x"], framing=framing, count=7, seed=seed)
    span = framing.snippets * framing.scale
    for i, c in enumerate(found.compositions):
        host, total = lengths[c.host], found.num_snippets[i]
        segments, _ = c.truth()
        units = segments / strides[0]
        inserted = np.diff(units, axis=1).sum()
        assert len(found[i].features["x"]) == total
        assert 1 <= len(segments) <= composites.MAX_INSERTIONS
        assert inserted >= 0.999
        assert inserted <= total / 2 + 1e-6
        assert (np.diff(units.ravel()) > 0.999).all()  # in order, apart, none of them empty
        assert units[0, 0] >= 0
        assert units[-1, 1] <= total + 1e-6
        if framing.mode == "window":
            assert np.diff(units, axis=1).max() <= span / 2 + 1e-6
            assert total <= (span if host <= span else composites.MAX_FRAMES * span)
            assert total >= min(host, span)  # the frame is used


def test_nothing_to_tell_apart_or_to_splice(splits):
    hosts = numbered((0.5, 20, [0, 1]), (0.5, 30, [1, 0]))
    clips = numbered((0.5, 6, [0]), (0.5, 5, [1]))
    drawn = [Excerpt(clips, i, 0, 5, 0.5, i) for i in range(2)]
    with pytest.raises(InputError, match=r"memory: no composite .* labelled with all classes"):
        compose(hosts, np.arange(2), drawn, streams=["x"], framing=WHOLE, count=3, seed=0)
    with pytest.raises(InputError, match=r"memory: nothing to splice .* --clips"):
        compose(hosts, np.arange(2), [], streams=["x"], framing=WHOLE, count=3, seed=0)
    # One host that lacks a class is enough, and a recording without any label lacks all of them.
    hosts = numbered((0.5, 20, [0, 1]), (0.5, 30, []))
    found = compose(hosts, np.arange(2), drawn, streams=["x"], framing=WHOLE, count=9, seed=0)
    assert {c.host for c in found.compositions} == {1}
    assert {int(k) for c in found.compositions for k in c.truth()[1]} == {0, 1}
