"""The notes of an unfinished set after a crash: what cannot be trusted is said, or packed again."""

import numpy as np
import pytest
from support.sensor_set import STRIDE, write_files

from tal_jax.data import dataset
from tal_jax.errors import InputError
from tal_jax.prepare import prepare
from tal_jax.prepare import shards as packing
from tal_jax.prepare.plan import Options

DAMAGES = [b"", b"[]", bytes(40), b"\xff\xfe", b"{}", b'{"fingerprint": 3}', b'{"digest": ["x"]}']


@pytest.fixture
def options(tmp_path):
    """Of a set that is half packed: its first shard is whole."""
    write_files(tmp_path, training=2, validation=1)
    options = Options(
        annotations=str(tmp_path / "annotations.json"), features={"imu": str(tmp_path / "features")},
        stride=str(STRIDE), out=str(tmp_path / "data"), dtype="float32", workers=1,
    )  # fmt: skip
    plan = prepare.make_plan(options)
    with prepare._claim(tmp_path / "data", plan) as unfinished:
        packing.write_shard(next(prepare._shards(tmp_path / "data", unfinished, plan)), lambda: False)
    return options


@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_manifest_is_named(options, tmp_path, content):
    (tmp_path / "data" / "unfinished" / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match=r"manifest\.json: damaged, .*cannot be gone on with: remove .*/data, and pre"):
        prepare.prepare(options)


@pytest.mark.parametrize("content", DAMAGES)
def test_what_a_damaged_note_was_of_is_packed_again(options, tmp_path, content):
    (note,) = (tmp_path / "data" / "unfinished").glob("*.done.json")
    note.write_bytes(content)
    prepare.prepare(options)
    split = dataset.open_split(tmp_path / "data", "training")
    assert len(split) == 2
    for i, id in enumerate(split.ids):
        np.testing.assert_array_equal(split[i].features["imu"], np.load(tmp_path / "features" / f"{id}.npy"))
