"""The sealed set: no changed byte and no exchanged file is read, and what a set cannot hold is refused."""

import shutil

import google_crc32c
import numpy as np
import pytest
from support.sensor_set import prepare_set
from support.unsealed import unseal

from tal_jax.data import dataset, proposals, tfrecord
from tal_jax.data.record import Record, encode, record_features
from tal_jax.errors import InputError
from tal_jax.guarded import seal
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare

CHANGED = 4  # positions of each file that are changed, beside its first and last byte


def read_everything(folder):
    """What training, detection and a report read of a set: every record of every split, and its proposals."""
    for split in dataset.read_metadata(folder).splits:
        opened = dataset.open_split(folder, split)
        for _ in opened.records(range(len(opened))):
            pass
    proposals.read(folder)


def refused(folder, named=""):
    with pytest.raises(InputError) as error:
        read_everything(folder)
    assert "\n" not in str(error.value)
    assert named in str(error.value)
    return str(error.value)


def pack(folder, seed):
    """A set with equal ids, classes and sizes for every seed, and other features and proposals."""
    prepare_set(folder / "first", training=3, validation=2)
    rng = np.random.default_rng(seed)
    (folder / "proposals").mkdir()
    for file in (folder / "first" / "features").iterdir():
        np.save(file, np.load(file) + rng.normal(0, 1, 3).astype(np.float32))
        (folder / "proposals" / f"{file.stem}.csv").write_text(f"start,end,score\n1.0,{seed + 2}.0,0.5\n")
    shutil.rmtree(folder / "first" / "data")
    first = folder / "first"
    prepare(
        Options(
            annotations=str(first / "annotations.json"), features={"imu": str(first / "features")}, stride="0.5",
            out=str(folder / "data"), dtype="float32", workers=1, proposals=str(folder / "proposals"),
        )
    )  # fmt: skip
    return folder / "data"


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return tuple(pack(tmp_path_factory.mktemp(f"set{seed}"), seed) for seed in (1, 2))


@pytest.fixture
def one(sets, tmp_path):
    """A copy, to be changed."""
    return shutil.copytree(sets[0], tmp_path / "data")


def test_every_file_is_sealed(sets):
    names = {path.name for path in sets[0].iterdir()}
    shards = {name for name in names if ".tfrecord-" in name}
    assert len(shards) == 2
    assert seal.read_seal(sets[0]).digests.keys() == names - shards - {"seal.json"}
    assert {"dataset_info.json", "features.json", "metadata.json", "proposals.parquet"} < names
    read_everything(sets[0])


def test_a_changed_byte_anywhere_is_refused(sets, one):
    """At the ends and in between, one bit or all: of every file."""
    rng = np.random.default_rng(0)
    for path in sorted(one.iterdir()):
        content = path.read_bytes()
        for at in {0, len(content) - 1, *rng.integers(0, len(content), CHANGED).tolist()}:
            for change in (1, 0xFF):
                path.write_bytes(content[:at] + bytes([content[at] ^ change]) + content[at + 1 :])
                refused(one, path.name)
        for other in (content[:-1], content + b"\n", b""):
            path.write_bytes(other)
            refused(one, path.name)
        path.unlink()
        refused(one, path.name if path.name != "dataset_info.json" else "its preparation has not finished")
        path.write_bytes(content)
    read_everything(one)


def test_an_exchanged_file_is_refused(sets, one):
    """The other set has equal ids and sizes."""
    exchanged = []
    for path in sorted(one.iterdir()):
        content, other = path.read_bytes(), (sets[1] / path.name).read_bytes()
        if content == other:
            continue  # of what both sets have in common
        if ".tfrecord-" in path.name:
            assert len(content) == len(other)
        path.write_bytes(other)
        # The seal of another set is whole, and none of the files that differ are its own.
        refused(one, "" if path.name == "seal.json" else path.name)
        exchanged.append(path.name)
        path.write_bytes(content)
    assert {"metadata.json", "proposals.parquet", "seal.json", "training.index.npz"} < set(exchanged)
    assert sum(".tfrecord-" in name for name in exchanged) == 2
    shard = f"{dataset.NAME}-training.tfrecord-00000-of-00001"
    for name in (shard, "training.index.npz"):
        shutil.copy(sets[1] / name, one / name)
    refused(one, "training.index.npz")


def test_an_older_set_is_read_with_a_word(one, capsys):
    index = one / "training.index.npz"
    with np.load(index) as arrays:
        np.savez(index, **{name: array for name, array in arrays.items() if name != "crc32c"})
    read_everything(unseal(one))
    words = capsys.readouterr().err.splitlines()
    assert len(words) == 1  # however often it is opened
    assert f"{one}: prepared by an older version, and not sealed" in words[0]


def test_a_new_set_without_its_seal_is_refused(one):
    (one / "seal.json").unlink()
    refused(one, "seal.json: missing: restore the file, or delete the set and run launch.prepare again")


def test_an_empty_file_is_no_sign_of_a_complete_set(one):
    (unseal(one) / "dataset_info.json").write_bytes(b"")
    refused(one, "dataset_info.json: damaged, empty")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("durations", lambda x: x * np.nan, "durations of record r00 cannot be nan"),
        ("durations", lambda x: -x, "durations of record"),
        ("offsets", lambda x: x * 0, "offsets of record r00 cannot be 0"),
        ("offsets", lambda x: x + 1, "the offsets of .* are not those of its records"),
        ("lengths", lambda x: x * 0 + (2**63 - 1), "record r00: the shard is truncated"),
        ("lengths", lambda x: x - 2**62, "lengths of record r00 cannot be"),
        ("shards", lambda x: x + 2**40, "shards of record r00 cannot be"),
        ("shards", lambda x: np.arange(len(x)), "no such file|No such file|longer than its records|are not those"),
        ("num_snippets", lambda x: x * 0, "num_snippets of record r00 cannot be 0"),
        ("num_snippets", lambda x: x + 1, "record r00: not the one of its index"),
        ("ids", lambda x: x[::-1], "ids of record"),
        ("ids", lambda x: x.astype("S"), "ids has an unexpected type"),
        ("crc32c", lambda x: x + 1, "record r00: not the record that the set was sealed with"),
    ],
)
def test_an_index_that_cannot_be_is_refused_without_a_seal(one, name, change, words):
    path = unseal(one) / "training.index.npz"
    with np.load(path) as arrays:
        changed = {**arrays, name: change(arrays[name])}
    np.savez(path, **changed)
    with pytest.raises(InputError, match=words):
        read_everything(one)


def test_an_index_of_fewer_recordings_is_refused(one):
    path = unseal(one) / "training.index.npz"
    with np.load(path) as arrays:
        fewer = {name: array[:-1] for name, array in arrays.items()}
    np.savez(path, **fewer)
    refused(one, "it has 2 recordings, the set's metadata say 3")
    (one / "seal.json").touch()
    unseal(one, splits={"training": 2, "validation": 2})
    assert "bytes longer than its records" in refused(one)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stride": np.nan}, "a stride of nan s"),
        ({"stride": 0.0}, "a stride of 0.0 s"),
        ({"duration": np.inf}, "a duration of inf s"),
        ({"segments": np.array([[2.0, 1.0]])}, "a segment from 2.0 to 1.0 s"),
        ({"segments": np.array([[np.nan, 1.0]])}, "a segment from nan to 1.0 s"),
        ({"segments": np.array([[1.0, 99.0]])}, "a segment from 1.0 to 99.0 s in a recording of"),
        ({"segments": np.zeros((0, 2))}, "0 segments with 1 labels"),
        ({"labels": np.array([99], np.int32)}, "class number 99, the set has 2 classes"),
        ({"present": np.array([-1, 0], np.int32)}, "class number -1"),
        ({"features": {"imu": np.zeros((0, 3), np.float32)}}, "streams of"),
    ],
)
def test_a_record_that_cannot_be_is_refused_though_its_checksum_is_right(one, change, words):
    """As another program might write it."""
    split = dataset.open_split(one, "training")
    spec = record_features(split.metadata.labels, split.metadata.streams, split.metadata.dtypes)
    records = [vars(record) for record in split.records(range(len(split)))]
    good = {"segments": np.array([[1.0, 2.0]]), "labels": np.array([0], np.int32), "present": np.array([0], np.int32)}
    encoded = [encode(_plain(spec), Record(**{**r, **good, **(change if not i else {})}))
               for i, r in enumerate(records)]  # fmt: skip
    path = dataset.shard_paths(one, "training", 1)[0]
    offsets, lengths = tfrecord.write_shard(path, encoded)
    index = unseal(one) / "training.index.npz"
    with np.load(index) as arrays:
        crc = np.array([google_crc32c.value(data) for data in encoded])
        changed = {**arrays, "offsets": offsets, "lengths": lengths, "crc32c": crc}
    np.savez(index, **changed)
    with pytest.raises(InputError, match=f"{path.name}: record r00: {words}"):
        read_everything(one)


def _plain(spec):
    """The features without a check of class numbers, which TFDS would refuse."""
    import tensorflow_datasets as tfds

    numbers = tfds.features.Sequence(np.int64)
    return tfds.features.FeaturesDict({**dict(spec), "labels": numbers, "present": numbers})


@pytest.mark.parametrize(
    "change",
    [
        {"streams": {}}, {"streams": {"imu": -3}}, {"streams": ["imu"]}, {"splits": {"training": "3"}}, {"stride": -1},
        {"labels": ["a", "a"]}, {"labels": [1, 2]}, {"dtypes": {"imu": "int8"}}, {"recording_seconds": []},
    ],
)  # fmt: skip
def test_metadata_that_cannot_be_are_refused(one, change):
    refused(unseal(one, **change), "metadata.json")


@pytest.mark.parametrize("content", [b"[]", b"", b"\xff\xfe{}", b"[" * 50_000, b'{"tal_jax": []}', b'{"sha256": 3}'])
@pytest.mark.parametrize("name", ["metadata.json", "seal.json"])
def test_files_of_other_layouts_are_refused(one, name, content):
    if name != "seal.json":
        unseal(one)
    (one / name).write_bytes(content)
    text = refused(one, name)
    assert "object has no attribute" not in text
    assert "Error(" not in text
