"""TFRecord framing, records, and random access to a split."""

import concurrent.futures
import dataclasses
import json
import os
import pickle
import struct
import sys
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.unsealed import unseal

from tal_jax.data import atomic, dataset, tfrecord
from tal_jax.data.record import Record, decode, encode, record_features, storage
from tal_jax.errors import InputError
from tal_jax.prepare import prepare


def crc32c(data):
    """CRC-32C bit by bit, from its polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(data):
    def masked(part):
        crc = crc32c(part)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) % (1 << 32))

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_framing_is_that_of_tensorflow(tmp_path_factory, records):
    path = tmp_path_factory.getbasetemp() / "shard"
    offsets, lengths = tfrecord.write_shard(path, iter(records))
    assert path.read_bytes() == b"".join(map(frame, records))
    with open(path, "rb") as file:
        got = [tfrecord.read(file.fileno(), path, o, n, "r") for o, n in zip(offsets, lengths, strict=True)]
    assert got == records
    for a, b in zip(tfrecord.scan(path), (offsets, lengths), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_the_checksum_is_in_c():
    assert google_crc32c.implementation == "c"


def test_every_flipped_byte_and_every_truncation_is_found(tmp_path):
    path = tmp_path / "shard"
    (_, offset), (_, length) = tfrecord.write_shard(path, [b"first", b"second record"])
    data = path.read_bytes()
    start = len(frame(b"first"))

    def read():
        with open(path, "rb") as file:
            return tfrecord.read(file.fileno(), path, offset, length, "R7")

    assert read() == b"second record"
    for position in range(start, len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        with pytest.raises(InputError, match=r"shard: record R7: .*damaged.*launch\.prepare"):
            read()
        path.write_bytes(data[:position])
        with pytest.raises(InputError, match=r"shard: record R7: .*truncated.*launch\.prepare"):
            read()
        if position > start:
            with pytest.raises(InputError, match="shard"):
                tfrecord.scan(path)


def test_a_failed_write_leaves_nothing(tmp_path):
    def records():
        yield b"one"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="shard") as error:
        tfrecord.write_shard(tmp_path / "shard", records())
    assert error.value.errno == 28
    assert list(tmp_path.iterdir()) == []
    atomic.write(tmp_path / "x", b"1")

    def fail():
        with atomic.writing(tmp_path / "x") as temporary:
            temporary.write_bytes(b"2")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("x", b"1")]


@pytest.mark.parametrize("dtype", dataset.DTYPES)
@pytest.mark.parametrize("labels", [(), ("a b", "ç")])
def test_records_round_trip_and_are_the_same_bytes_always(dtype, labels):
    dtypes = {"rgb": dtype, "flow": "float32"}
    spec = record_features(labels, {"rgb": 3, "flow": 1}, dtypes)
    count = 2 if labels else 0
    features = {"rgb": np.arange(12.0).reshape(4, 3) / 8, "flow": np.ones((4, 1))}
    record = Record(
        id="é",
        features={name: array.astype(storage(dtypes[name])) for name, array in features.items()},
        stride=8 / 15,  # not a float32
        duration=0.1 + 0.2,
        segments=np.array([[0.1, 0.3], [1 / 3, 2]])[:count],
        labels=np.array([1, 0], np.int32)[:count],
        present=np.array([0, 1], np.int32)[:count],
    )
    data = encode(spec, record)
    again = encode(record_features(labels, {"rgb": 3, "flow": 1}, dtypes), record)
    assert data == again
    got = decode({"rgb": 3, "flow": 1}, dtypes, data)
    assert (got.id, got.stride, got.duration) == (record.id, record.stride, record.duration)
    assert got.features.keys() == record.features.keys()
    for a, b in [
        *((got.features[k], v) for k, v in record.features.items()),
        (got.segments, record.segments),
        (got.labels, record.labels),
        (got.present, record.present),
    ]:
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A set of 60 recordings in several shards."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "features").mkdir()
    rng = np.random.default_rng(0)
    arrays, database = {}, {}
    for i in range(60):
        id, length = f"r{i:02d}", int(rng.integers(5, 50))
        arrays[id] = rng.standard_normal((length, 2048)).astype(np.float32)
        np.save(folder / "features" / f"{id}.npy", arrays[id])
        subset = "training" if i % 3 else "validation"
        annotations = [{"segment": [0.1 * j, 0.1 * j + 1], "label": "ab"[j % 2]} for j in range(i % 4 + (i < 2))]
        database[id] = {"subset": subset, "duration": length / 2, "annotations": annotations}
    (folder / "a.json").write_text(json.dumps({"database": database}))
    prepare.prepare(
        prepare.Options(
            annotations=str(folder / "a.json"),
            features={"x": str(folder / "features")},
            stride="0.5",
            out=str(folder / "data"),
            workers=1,
            shard_mb=1,
        )
    )
    return folder / "data", arrays, database


def test_random_access(prepared):
    folder, arrays, database = prepared
    for split, count in (("training", 40), ("validation", 20)):
        data = dataset.open_split(folder, split)
        assert len(data) == count
        assert len(list(folder.glob(f"*{split}.tfrecord*"))) > 3
        assert sorted(data.ids) == list(data.ids) == [id for id in database if database[id]["subset"] == split]
        for i in reversed(range(count)):
            record = data[i]
            array, entry = arrays[record.id], database[record.id]
            assert record.id == data.ids[i]
            np.testing.assert_array_equal(record.features["x"], array.astype(np.float16), strict=True)
            assert record.duration == data.durations[i] == entry["duration"]
            assert len(array) == data.num_snippets[i]
            segments = [a["segment"] for a in entry["annotations"] if a["segment"][0] < entry["duration"]]
            np.testing.assert_allclose(record.segments, np.reshape(segments, (-1, 2)).clip(0, record.duration))
            assert [data.metadata.labels[k] for k in record.labels] == ["ab"[j % 2] for j in range(len(segments))]
            # also of segments behind the end, which are not stored
            assert [data.metadata.labels[k] for k in record.present] == sorted(
                {a["label"] for a in entry["annotations"]}
            )
    assert data[-1].id == data.ids[-1]
    with pytest.raises(IndexError):
        data[count]


def test_records_come_in_the_order_that_is_asked_for(prepared, monkeypatch):
    split = dataset.open_split(prepared[0], "training")
    monkeypatch.setattr(dataset, "AHEAD", 2)
    asked = []
    monkeypatch.setattr(type(split), "read_ahead", lambda self, i: asked.append(i))
    order = np.arange(len(split))[::-1]
    assert [r.id for r in split.records(order)] == [split.ids[i] for i in order]
    assert asked == order[2:].tolist()


def test_metadata(prepared):
    folder, arrays, database = prepared
    metadata = dataset.read_metadata(folder)
    assert (metadata.labels, metadata.streams, metadata.stride) == (("a", "b"), {"x": 2048}, 0.5)
    assert metadata.splits == {"training": 40, "validation": 20}
    durations = [len(arrays[id]) / 2 for id in database if database[id]["subset"] == "validation"]
    assert metadata.recording_seconds["validation"] == tuple(np.quantile(durations, dataset.QUANTILES))
    assert metadata.segment_seconds[4] == pytest.approx(1)
    assert len(metadata.segment_seconds) == len(dataset.QUANTILES)
    assert metadata.segments_per_recording == 3
    assert dataset.Metadata.from_json(metadata.to_json()) == metadata
    weak = metadata.without_segments()
    assert (weak.segment_seconds, weak.segments_per_recording) == ((), 0)
    assert dataclasses.replace(weak, segment_seconds=metadata.segment_seconds, segments_per_recording=3) == metadata


def test_tfds_opens_it_and_reads_every_record(prepared):
    import tensorflow_datasets as tfds

    folder, arrays, _ = prepared
    builder = tfds.builder_from_directory(folder)
    assert builder.info.features["labels"].feature.names == ["a", "b"]
    assert builder.info.features["features"]["x"].shape == (None, 2048)
    assert builder.info.metadata["tal_jax"]["labels"] == ["a", "b"]
    assert builder.info.file_format.value == "tfrecord"
    assert set(builder.info.splits) == {"training", "validation"}
    seen = {}
    for info in builder.info.splits.values():
        counts = []
        for path in info.filepaths:
            offsets, lengths = tfrecord.scan(path)
            counts.append(len(offsets))
            with open(path, "rb") as file:
                for offset, length in zip(offsets, lengths, strict=True):
                    data = tfrecord.read(file.fileno(), path, offset, length, "?")
                    example = builder.info.features.deserialize_example_np(data)
                    seen[example["id"].decode()] = example["features"]["x"]
        assert counts == list(info.shard_lengths)
        assert info.num_examples == sum(counts)
    assert seen.keys() == arrays.keys()
    for id, array in arrays.items():
        np.testing.assert_array_equal(seen[id], array.astype(np.float16))


def test_split_pickles_without_descriptors_and_serves_threads(prepared):
    data = dataset.open_split(prepared[0], "training")
    before = data[3]
    copy = pickle.loads(pickle.dumps(data))
    assert copy._descriptors == {}
    np.testing.assert_array_equal(copy[3].features["x"], before.features["x"])
    order = list(range(len(data))) * 5
    np.random.default_rng(0).shuffle(order)
    fresh = dataset.open_split(prepared[0], "training")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert [record.id for record in pool.map(fresh.__getitem__, order)] == [data.ids[i] for i in order]
    open_before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    del fresh, data, copy
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) < open_before


def clone(source, target):
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_damage_is_reported_with_shard_and_record(prepared, tmp_path):
    folder = clone(prepared[0], tmp_path / "data")
    data = dataset.open_split(folder, "training")
    shard = Path(data._paths[1])
    content = shard.read_bytes()
    first = int(np.flatnonzero(data._shard == 1)[0])
    shard.write_bytes(content[:-1])
    with pytest.raises(InputError, match=rf"{shard.name}: record {data.ids[data._shard == 1][-1]}.*truncated"):
        dataset.open_split(folder, "training")
    with pytest.raises(InputError, match="truncated"):
        data[int(np.flatnonzero(data._shard == 1)[-1])]
    position = int(data._offset[first]) + 20
    shard.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
    data = dataset.open_split(folder, "training")
    with pytest.raises(InputError, match=rf"{shard.name}: record {data.ids[first]}.*damaged"):
        data[first]
    assert data[first + 1].id == data.ids[first + 1]
    shard.unlink()
    with pytest.raises(InputError, match=shard.name):
        dataset.open_split(folder, "training")


def test_incomplete_sets_are_refused(prepared, tmp_path):
    with pytest.raises(InputError, match=r"launch\.prepare"):
        dataset.read_metadata(tmp_path / "absent")
    folder = clone(prepared[0], tmp_path / "data")
    with pytest.raises(InputError, match="no split 'testing'"):
        dataset.open_split(folder, "test")
    with pytest.raises(InputError, match=r"no split 'trainig': did you mean 'training'\?"):
        dataset.open_split(folder, "trainig")
    assert [dataset.open_split(folder, name).split for name in ("train", "Training ")] == ["training"] * 2
    (folder / "training.index.npz").write_bytes(b"PK\x03\x04noise")
    with pytest.raises(InputError, match=r"training\.index\.npz"):
        dataset.open_split(folder, "training")
    unseal(folder)
    values = json.loads((folder / "metadata.json").read_text())
    for version, change in (("1", {}), ("4", {"version": 4})):
        changed = {name: value for name, value in values["tal_jax"].items() if name != "version"} | change
        (folder / "metadata.json").write_text(json.dumps({"tal_jax": changed}))
        with pytest.raises(
            InputError, match=rf"metadata\.json: .*\(layout {version},.*run launch\.prepare again"
        ) as error:
            dataset.open_split(folder, "training")
        assert "\n" not in str(error.value)
    for content in ("{}", "[", '{"tal_jax": {"labels": 3}}', '{"tal_jax": {"version": 2}}'):
        (folder / "metadata.json").write_text(content)
        with pytest.raises(InputError, match=r"metadata\.json"):
            dataset.read_metadata(folder)
    (folder / "dataset_info.json").unlink()
    with pytest.raises(InputError, match=r"not finished.*launch\.prepare"):
        dataset.read_metadata(folder)


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff", b"\x0a\x02\x08"], ids=["empty", "no message", "cut short"])
def test_bytes_that_are_no_record_are_refused(data):
    with pytest.raises(ValueError, match="not a record of this set"):
        decode({"rgb": 3}, {"rgb": "float32"}, data)
