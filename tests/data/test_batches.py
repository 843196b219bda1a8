"""From records to batches: units, joins, windows, order, processes, resuming."""

import dataclasses
import itertools
import shutil

import grain
import jax
import numpy as np
import pytest
from support.sensor_set import STRIDE, prepare_set

from tal_jax.data import batches as pipeline
from tal_jax.data import normalization
from tal_jax.data.augmentation import Augmentation
from tal_jax.data.batches import detection_batches, training_batches
from tal_jax.data.dataset import open_split
from tal_jax.data.normalization import measure
from tal_jax.data.rows import Assembler
from tal_jax.errors import InputError
from tal_jax.windows import Framing


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    database = prepare_set(folder, training=7, validation=3)
    return folder, database, open_split(folder / "data", "training")


def assembler(frame=None, **fields):
    fields = {"framing": frame or Framing("window", 32), "streams": ("imu",), "width": 3, "num_classes": 2} | fields
    return Assembler(max_segments=8, **fields)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_padded_row_holds_what_the_files_hold(prepared):
    folder, database, split = prepared
    row, origin = assembler().detection_row(split[2], 2, 0.0)
    id = str(split.ids[2])
    stored = np.load(folder / "features" / f"{id}.npy")
    t = len(stored)
    np.testing.assert_array_equal(row.features[:t], stored)
    assert not row.features[t:].any()
    assert row.mask.sum() == t
    assert (origin.index, origin.offset) == (2, 0)
    assert (row.stride, row.duration) == (np.float32(STRIDE), t)
    truth = database[id]["annotations"]
    got = row.segments[row.segment_mask] * row.stride
    np.testing.assert_allclose(got, [a["segment"] for a in truth], rtol=1e-6)
    labels = [int(a["label"][-1]) for a in truth]
    assert row.segment_labels[row.segment_mask].tolist() == labels
    assert row.labels.tolist() == [float(k in labels) for k in range(2)]


@pytest.mark.parametrize("frame", [Framing("resize", 10), Framing("window", 8, 2.5), Framing("window", 12)])
def test_seconds_come_back_from_every_frame(prepared, frame):
    _, database, split = prepared
    for i in range(len(split)):
        found = []
        for offset in frame.offsets(int(split.num_snippets[i])):
            row, origin = assembler(frame).detection_row(split[i], i, offset)
            seconds = row.segments[row.segment_mask] * row.stride + origin.offset
            end = origin.offset + row.duration * row.stride
            # Segments that a window cuts are shorter there; the whole ones must be exact.
            found += [s for s in seconds if s[0] > origin.offset + 1e-4 and s[1] < end - 1e-4]
        for annotation in database[str(split.ids[i])]["annotations"]:
            assert min(np.abs(s - annotation["segment"]).max() for s in found) < 1e-4


def test_proposals_and_class_scores_are_joined_by_id(prepared):
    _, _, split = prepared
    id = str(split.ids[1])
    seconds = np.array([[1.0, 3.0], [2.0, 6.0], [4.0, 5.0], [200.0, 300.0]])
    rows = assembler(
        max_proposals=2,
        proposals={id: (seconds, np.array([0.1, 0.9, 0.5, 1.0], np.float32))},
        class_scores={id: np.array([0.25, 0.75])},
    )
    row, _ = rows.detection_row(split[1], 1, 0.0)
    np.testing.assert_allclose(row.proposals * STRIDE, [[2, 6], [4, 5]])  # the best two that lie in the recording
    np.testing.assert_allclose(row.proposal_scores, [0.9, 0.5])
    assert row.class_scores.tolist() == [0.25, 0.75]
    other, _ = rows.detection_row(split[2], 2, 0.0)
    assert not other.proposal_mask.any()
    assert not other.class_scores.any()


def test_training_draws_among_the_best_proposals(prepared):
    _, _, split = prepared
    seconds = np.stack([np.arange(6.0), np.arange(6.0) + 2], axis=1)
    rows = assembler(
        max_proposals=4, train_proposals=2, proposals={str(split.ids[0]): (seconds, np.arange(6, dtype=np.float32))}
    )
    seen = set()
    for seed in range(30):
        row, _ = rows.training_row(split[0], 0, np.random.default_rng(seed))
        assert row.proposals.shape == (2, 2)
        seen |= {int(p) for p in (row.proposals[:, 0] * STRIDE).round()}
    assert seen == {2, 3, 4, 5}


def test_short_and_cut_segments_are_left_out_in_training_only(prepared):
    _, _, split = prepared
    record = dataclasses.replace(split[0], segments=np.array([[1.0, 1.4], [2.0, 5.0]]), labels=np.array([0, 1]))
    rows = assembler(min_seconds=0.5)
    row, _ = rows.training_row(record, 0, np.random.default_rng(0))
    assert row.segment_labels[row.segment_mask].tolist() == [1]
    assert row.labels.tolist() == [0, 1]
    row, _ = rows.detection_row(record, 0, 0.0)
    assert row.segment_labels[row.segment_mask].tolist() == [0, 1]


def test_windows_are_drawn_around_actions(prepared):
    _, _, split = prepared
    record = dataclasses.replace(
        split[0], features={"imu": np.zeros((4000, 3), np.float32)}, duration=2000.0,
        segments=np.array([[1000.0, 1002.0]]), labels=np.array([1]),
    )  # fmt: skip
    rows = assembler(Framing("window", 16), around_actions=1.0)
    hits = [rows.training_row(record, 0, np.random.default_rng(s))[0].segment_mask.any() for s in range(40)]
    assert all(hits)
    uniform = assembler(Framing("window", 16), around_actions=0.0)
    hits = [uniform.training_row(record, 0, np.random.default_rng(s))[0].segment_mask.any() for s in range(40)]
    assert sum(hits) < 10


def test_stride_jitter_moves_segments_with_the_signal(prepared):
    _, _, split = prepared
    rows = assembler(Framing("window", 40), stride_jitter=0.3)
    strides = set()
    for seed in range(5):
        row, _ = rows.training_row(split[0], 0, np.random.default_rng(seed))
        strides.add(float(row.stride))
        for segment, label in zip(row.segments[row.segment_mask], row.segment_labels[row.segment_mask], strict=True):
            centre = int(segment.mean())
            assert row.features[centre, label] > 0.5
            assert row.features[int(segment[0]) - 1, label] < 0.5
    assert len(strides) == 5


def test_shift_is_one_offset_per_channel_in_training_only(prepared):
    _, _, split = prepared
    plain, _ = assembler().detection_row(split[0], 0, 0.0)
    rows = assembler(augmentation=Augmentation(shift=0.5))
    offsets = []
    for seed in range(200):
        row, _ = rows.training_row(split[0], 0, np.random.default_rng(seed))
        moved = (row.features - plain.features)[row.mask]
        np.testing.assert_allclose(moved, np.broadcast_to(moved[:1], moved.shape), atol=1e-5)
        assert not row.features[~row.mask].any()
        offsets.append(moved[0])
    np.testing.assert_allclose(np.std(offsets, axis=0), 0.5, rtol=0.2)
    assert abs(np.corrcoef(np.transpose(offsets)) - np.eye(3)).max() < 0.3
    again, _ = rows.detection_row(split[0], 0, 0.0)
    np.testing.assert_array_equal(again.features, plain.features)


def test_order_is_global_and_shared_out_over_processes(prepared):
    _, _, split = prepared
    index = np.arange(len(split))

    def rows(process, size, batches):
        data = training_batches(
            split,
            assembler(augmentation=Augmentation(noise=0.1)),
            index=index,
            batch_size=size,
            seed=3,
            process=process,
        )
        return [
            (int(i), x) for b, o in itertools.islice(iter(data), batches)
            for i, x in zip(o.index, b.features, strict=True)
        ]  # fmt: skip

    whole = rows((0, 1), 4, 7)
    halves = [rows((p, 2), 2, 7) for p in range(2)]
    for n, (i, x) in enumerate(whole):  # of each batch of four, the first two rows are the first process's
        j, y = halves[n % 4 // 2][n // 4 * 2 + n % 2]
        assert i == j
        np.testing.assert_array_equal(x, y)
    first, second = [i for i, _ in whole[:7]], [i for i, _ in whole[7:14]]
    assert sorted(first) == sorted(second) == list(range(7))  # every recording once an epoch
    assert first != second
    assert first != list(range(7))


def test_the_disk_is_asked_for_the_records_that_come_next(prepared, monkeypatch):
    folder, _, _ = prepared
    split = open_split(folder / "data", "training")
    monkeypatch.setattr(pipeline, "AHEAD", 3)
    asked = []
    # Of this object alone: threads of an earlier test may still read ahead in theirs.
    monkeypatch.setattr(type(split), "read_ahead", lambda self, i: asked.append(i) if self is split else None)
    positions = grain.MapDataset.source([4, 0, 2, 6, 5, 1])
    data = pipeline.reading_ahead(positions.map(lambda i: split[i].id), split, positions)
    assert [data[n] for n in range(len(data))] == [split.ids[i] for i in (4, 0, 2, 6, 5, 1)]
    assert asked == [6, 5, 1]


@pytest.mark.parametrize("size", [1, 2])
def test_a_run_may_begin_with_any_batch(prepared, size):
    _, _, split = prepared
    options = {"index": np.arange(len(split)), "batch_size": size, "seed": 3}
    whole = list(
        itertools.islice(training_batches(split, assembler(augmentation=Augmentation(noise=0.1)), **options), 9)
    )
    for start in (1, 4):
        rest = itertools.islice(
            training_batches(split, assembler(augmentation=Augmentation(noise=0.1)), **options, start=start), 3
        )
        for a, b in zip(whole[start:], rest, strict=False):
            same(a, b)


def test_reading_ahead_leaves_errors_to_the_reader(prepared, tmp_path):
    folder, _, _ = prepared
    shutil.copytree(folder / "data", tmp_path / "data")
    split = open_split(tmp_path / "data", "training")
    for path in (tmp_path / "data").glob("*.tfrecord*"):
        path.unlink()
    split.read_ahead(0)
    with pytest.raises(InputError, match="No such file"):
        split[0]


def test_detection_sees_every_window_once_and_fills_the_last_batch(prepared):
    _, _, split = prepared
    frame = Framing("window", 10, overlap=0.5)
    count, data = detection_batches(split, assembler(frame), index=np.arange(len(split)), batch_size=4)
    batches = list(data)
    assert len(batches) == count
    found = [(int(i), float(s)) for _, o in batches for i, s in zip(o.index, o.offset, strict=True) if i >= 0]
    assert found == [(i, o * STRIDE) for i in range(len(split)) for o in frame.offsets(int(split.num_snippets[i]))]
    assert {b.features.shape for b, _ in batches} == {(4, 10, 3)}
    fill = batches[-1][1].index < 0
    assert not batches[-1][0].mask[fill].any()


def test_statistics_are_those_of_the_training_features(prepared, tmp_path):
    folder, _, split = prepared
    x = np.concatenate([np.load(folder / "features" / f"{i}.npy") for i in split.ids]).astype(np.float64)
    found = measure(split, ("imu",))
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.std, x.std(0), rtol=1e-5)
    path = tmp_path / "normalization.npz"
    normalization.write(path, found)
    again = normalization.read(path, len(found.mean))
    np.testing.assert_array_equal(again.mean, found.mean)
    assert [p.name for p in tmp_path.iterdir()] == ["normalization.npz"]


def test_a_recording_of_many_windows_is_read_once(prepared, monkeypatch):
    """And others as before, by both threads; the rows are the same."""
    *_, split = prepared
    read = []

    class Counting(type(split)):
        def __getitem__(self, i):
            read.append(i)
            return super().__getitem__(i)

    counting = Counting(split.directory, split.split)
    windowed, whole = assembler(Framing("window", 8)), assembler()
    count, batches = detection_batches(counting, windowed, index=[3, 1], batch_size=4)
    rows = [origin.index.tolist() for _, origin in batches]
    assert (read, len(rows)) == ([3, 1], count)
    assert len(windowed.framing.offsets(int(split.num_snippets[3]))) > 2
    for (batch, origin), (_, expected) in zip(
        detection_batches(counting, windowed, index=[3], batch_size=1)[1],
        ((None, offset) for offset in windowed.framing.offsets(int(split.num_snippets[3]))),
        strict=True,
    ):
        same(jax.tree.map(lambda x: x[0], batch), windowed.detection_row(split[3], 3, expected)[0])
        assert origin.index[0] == 3
    read.clear()
    list(detection_batches(counting, whole, index=[0, 2], batch_size=2)[1])
    assert sorted(read) == [0, 2]
