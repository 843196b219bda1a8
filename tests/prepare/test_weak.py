"""Rows for weak supervision: no segment gets in, clips and clip features come along."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sensor_set import STRIDE, write_files

from tal_jax.data.augmentation import Augmentation
from tal_jax.data.batches import detection_batches, training_batches
from tal_jax.data.dataset import open_split
from tal_jax.data.rows import Assembler, Clips
from tal_jax.errors import InputError
from tal_jax.prepare import prepare
from tal_jax.windows import Framing

NOISY = Augmentation(noise=0.1)
PADDED, WINDOWED, RESIZED = Framing("window", 32), Framing("window", 10), Framing("resize", 12)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """(folder, training split, clips split)."""
    folder = tmp_path_factory.mktemp("set")
    database = write_files(folder, training=7, validation=2)
    database["r00"]["annotations"].append({"label": "no_segment"})
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    (folder / "clips").mkdir()
    clips = {}
    for i in range(5):
        length = 6 + 3 * i  # some of them are longer than a frame
        np.save(folder / "clips" / f"c{i}.npy", np.random.default_rng(i).normal(size=(length, 3)).astype(np.float32))
        segment = [0.0, length * STRIDE]
        clips[f"c{i}"] = {"subset": "training", "annotations": [{"label": f"action_{i % 2}", "segment": segment}]}
    (folder / "clips.json").write_text(json.dumps({"database": clips}))
    prepare.prepare(
        prepare.Options(
            annotations=str(folder / "annotations.json"), features={"imu": str(folder / "features")},
            clips=str(folder / "clips.json"), clip_features={"imu": str(folder / "clips")},
            stride=str(STRIDE), out=str(folder / "data"), dtype="float32", workers=1,
        )
    )  # fmt: skip
    return folder, open_split(folder / "data", "training"), open_split(folder / "data", "clips")


def assembler(framing=PADDED, **fields):
    defaults = {"streams": ("imu",), "width": 3, "num_classes": 3, "max_segments": 0, "weak": True}
    return Assembler(**{"framing": framing, **defaults, **fields})


def drawing(split, index=(0, 1, 2, 3, 4), **fields):
    return Clips(split, np.array(index), assembler(Framing("window", 8), augmentation=NOISY, **fields))


def take(split, rows, count, *, size=2, seed=0, process=(0, 1)):
    index = np.arange(len(split))
    data = training_batches(split, rows, index=index, batch_size=size, seed=seed, process=process)
    return list(itertools.islice(data, count))


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y, strict=True), a, b)


class Noisy:
    """A split whose records have other segments."""

    def __init__(self, split, segments, labels):
        self.split, self.num_snippets, self.directory = split, split.num_snippets, split.directory
        self.noise = {"segments": segments, "labels": labels}

    def __len__(self):
        return len(self.split)

    def __getitem__(self, i):
        return dataclasses.replace(self.split[i], **self.noise)

    def read_ahead(self, i):
        self.split.read_ahead(i)


@st.composite
def noise(draw):
    count = draw(st.integers(0, 5))
    times = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 15)
    segments = draw(st.lists(st.tuples(times, times), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(-9, 9), min_size=count, max_size=count))
    return np.array(segments, np.float64).reshape(-1, 2), np.array(labels, np.int32)


def all_rows(split, clips, framing, slots):
    fields = {"max_segments": slots, "min_seconds": 1.5, "around_actions": 1.0}
    augmented = {"stride_jitter": 0.2, "augmentation": Augmentation(gain=0.3, noise=0.1)}
    drawn = Clips(clips, np.arange(len(clips)), assembler(Framing("window", 8), **fields, **augmented))
    training = take(split, assembler(framing, **fields, **augmented, clips=drawn), 7)
    return training, list(detection_batches(split, assembler(framing, **fields), index=np.arange(7), batch_size=4)[1])


@pytest.mark.parametrize("slots", [0, 4])
@pytest.mark.parametrize("framing", [PADDED, WINDOWED, RESIZED], ids=["padded", "windowed", "resized"])
def test_segments_change_no_bit_of_any_row(prepared, framing, slots):
    _, split, clips = prepared
    expected = all_rows(split, clips, framing, slots)
    for batch, _ in [*expected[0], *expected[1]]:
        assert batch.segments.shape == (len(batch.mask), slots, 2)
        assert not batch.segment_mask.any()

    @settings(max_examples=8)
    @given(noise())
    def check(found):
        same(all_rows(Noisy(split, *found), Noisy(clips, *found), framing, slots), expected)

    check()


def test_with_full_supervision_segments_do_change_rows(prepared):
    """The test above would notice."""
    _, split, _ = prepared
    noisy = Noisy(split, np.array([[1.0, 6.0]]), np.array([2]))
    for framing in (PADDED, WINDOWED):
        rows = assembler(framing, weak=False, max_segments=4)
        before, after = (take(s, rows, 7) for s in (split, noisy))
        assert any((a.labels != b.labels).any() for (a, _), (b, _) in zip(before, after, strict=True))
    offsets = [[o.offset for _, o in take(s, rows, 7)] for s in (split, noisy)]
    assert np.any(offsets[0] != np.array(offsets[1]))


@pytest.mark.parametrize("framing", [PADDED, WINDOWED, RESIZED], ids=["padded", "windowed", "resized"])
def test_every_window_has_the_labels_of_its_recording(prepared, framing):
    folder, split, _ = prepared
    database = json.loads((folder / "annotations.json").read_text())["database"]
    _, batches = detection_batches(split, assembler(framing), index=np.arange(7), batch_size=3)
    seen = 0
    for batch, origin in [*take(split, assembler(framing), 7), *batches]:
        for labels, i in zip(batch.labels, origin.index, strict=True):
            annotated = {a["label"] for a in database[str(split.ids[i])]["annotations"]} if i >= 0 else ()
            assert labels.tolist() == [float(name in annotated) for name in ("action_0", "action_1", "no_segment")]
            seen += labels[2] == 1
    assert seen >= 3


def test_windows_are_drawn_evenly(prepared):
    _, split, _ = prepared
    length = int(split.num_snippets[0])
    counts = np.zeros(length - 10 + 1)
    for seed in range(1500):
        origin = assembler(WINDOWED, around_actions=1.0).training_row(split[0], 0, np.random.default_rng(seed))[1]
        counts[round(float(origin.offset) / STRIDE)] += 1
    expected = counts.mean()
    assert ((counts - expected) ** 2 / expected).sum() < 3 * len(counts)


def test_clips_are_drawn_evenly_from_the_given_ones(prepared):
    folder, split, clips = prepared
    drawn = Clips(clips, np.array([0, 2, 3]), assembler(Framing("window", 16)))
    rows, counts = assembler(clips=drawn), {0: 0, 2: 0, 3: 0}
    stored = {i: np.load(folder / "clips" / f"c{i}.npy") for i in counts}
    for seed in range(300):
        row, _ = rows.training_row(split[1], 1, np.random.default_rng(seed))
        found = [i for i, x in stored.items() if np.array_equal(row.clips.features[: len(x)], x)]
        assert len(found) == 1
        counts[found[0]] += 1
        assert row.clips.mask.sum() == len(stored[found[0]])
        assert row.clips.labels.tolist() == [float(found[0] % 2 == k) for k in range(3)]
        assert row.clips.clips is None
    assert min(counts.values()) > 70


def test_clips_change_nothing_else_and_are_a_function_of_the_seed(prepared):
    _, split, clips = prepared
    for framing in (PADDED, WINDOWED):
        for fields in (
            {},
            {"augmentation": Augmentation(noise=0.2, gain=0.1), "stride_jitter": 0.1},
            {"weak": False, "max_segments": 4},
        ):
            rows = assembler(framing, **fields)
            plain = take(split, rows, 5)
            with_clips = take(split, dataclasses.replace(rows, clips=drawing(clips)), 5)
            assert {b.clips.features.shape for b, _ in with_clips} == {(2, 8, 3)}
            same([(dataclasses.replace(b, clips=None), o) for b, o in with_clips], plain)
            same(take(split, dataclasses.replace(rows, clips=drawing(clips)), 5), with_clips)
    other = take(split, dataclasses.replace(rows, clips=drawing(clips)), 5, seed=1)
    assert any((a.clips.features != b.clips.features).any() for (a, _), (b, _) in zip(with_clips, other, strict=True))


def test_proposals_are_drawn_before_the_clip(prepared):
    _, split, clips = prepared
    seconds = np.stack([np.arange(6.0), np.arange(6.0) + 2], axis=1)
    known = {str(id): (seconds, np.arange(6, dtype=np.float32)) for id in split.ids}
    rows = assembler(max_proposals=6, train_proposals=2, proposals=known)
    with_clips = take(split, dataclasses.replace(rows, clips=drawing(clips)), 5)
    same([(dataclasses.replace(b, clips=None), o) for b, o in with_clips], take(split, rows, 5))


def test_resuming_goes_on_with_the_next_clips(prepared):
    _, split, clips = prepared
    rows = assembler(WINDOWED, augmentation=NOISY, clips=drawing(clips))

    def start():
        return iter(training_batches(split, rows, index=np.arange(7), batch_size=3, seed=1))

    straight = start()
    expected = [next(straight) for _ in range(6)]
    stopped = start()
    for _ in range(3):
        next(stopped)
    resumed = start()
    resumed.set_state(json.loads(json.dumps(stopped.get_state())))
    for want in expected[3:]:
        same(next(resumed), want)


def test_processes_share_the_same_rows_and_clips(prepared):
    _, split, clips = prepared
    rows = assembler(WINDOWED, augmentation=NOISY, clips=drawing(clips))

    def single(batches):
        return [jax.tree.map(lambda x, i=i: x[i], batch) for batch in batches for i in range(len(batch[0].mask))]

    whole = single(take(split, rows, 6, size=4))
    halves = [single(take(split, rows, 6, size=2, process=(p, 2))) for p in range(2)]
    assert len(whole) == 24
    for n, row in enumerate(whole):
        same(halves[n % 4 // 2][n // 4 * 2 + n % 2], row)


def test_no_clips_to_draw_from_is_an_error(prepared):
    folder, _, clips = prepared
    with pytest.raises(InputError, match=f"{folder}/data: no clip .*'clips'.*--clips"):
        drawing(clips, index=())


def test_clip_features_are_joined_by_id(prepared):
    _, _, clips = prepared
    known = {f"c{i}": np.arange(4, dtype=np.float64) + i for i in range(4)}
    rows = assembler(clip_features=known)
    for row in (rows.detection_row(clips[2], 2, 0.0)[0], rows.training_row(clips[2], 2, np.random.default_rng(0))[0]):
        np.testing.assert_array_equal(row.clip_features, np.arange(4, dtype=np.float32) + 2, strict=True)
    with pytest.raises(InputError, match="record c4: "):
        rows.detection_row(clips[4], 4, 0.0)
    drawn = Clips(clips, np.array([3]), rows)
    batch, _ = take(open_split(clips.directory, "training"), assembler(clips=drawn), 1)[0]
    assert batch.clip_features is None
    np.testing.assert_array_equal(batch.clips.clip_features, [[3, 4, 5, 6]] * 2)


@pytest.mark.parametrize("carried", [False, True])
def test_rows_that_fill_a_batch_have_the_structure_of_the_others(prepared, carried):
    _, _, clips = prepared
    known = {str(id): np.full(4, i) for i, id in enumerate(clips.ids)} if carried else None
    rows = assembler(Framing("window", 8), clip_features=known, clips=drawing(clips), max_proposals=2)
    real, empty = rows.detection_row(clips[0], 0, 0.0), rows.empty_row()
    assert jax.tree.structure(real) == jax.tree.structure(empty)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), real) == jax.tree.map(lambda x: (x.shape, x.dtype), empty)
    count, batches = detection_batches(clips, rows, index=np.arange(5), batch_size=16)
    (batch, origin), *rest = list(batches)
    assert (count, rest, batch.clips) == (1, [], None)
    assert (origin.index < 0).any()
    if carried:
        np.testing.assert_array_equal(batch.clip_features[:, 0], np.maximum(origin.index, 0))
