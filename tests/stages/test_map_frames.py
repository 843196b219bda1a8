"""A step over the frames of a split: batch size, order and filling change nothing, on one device or on all."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.sensor_set import prepare_set

from tal_jax.data.dataset import open_split
from tal_jax.data.rows import Assembler
from tal_jax.devices.mesh import by_row, make_mesh, put_batch
from tal_jax.stages.map_frames import map_frames, rows_of
from tal_jax.windows import Framing


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    prepare_set(folder, training=5, validation=1, length=70)
    return open_split(folder / "data", "training")


ROWS = Assembler(framing=Framing("window", 32), streams=("imu",), width=3, num_classes=2, max_segments=16)


def step(batch):
    return {"sums": jnp.sum(batch.features, axis=1, where=batch.mask[..., None]), "batch": batch}


def frames(split, index, batch_size, **options):
    return list(map_frames(jax.jit(step), split, ROWS, index=index, batch_size=batch_size, **options))


def expected(split, index):
    for i in index:
        for offset in ROWS.framing.offsets(int(split.num_snippets[i])):
            yield ROWS.detection_row(split[i], i, float(offset))


def test_every_frame_once_whatever_the_batches(split):
    for index in (range(5), [3, 0, 4]):
        want = list(expected(split, index))
        assert len(want) > len(index)
        for size in (1, 3, 4, 50):
            got = frames(split, index, size)
            assert [(f.position, f.start) for f in got] == [(int(o.index), float(o.offset)) for _, o in want]
            for frame, (row, _) in zip(got, want, strict=True):
                for one in (frame.row, frame.result["batch"]):
                    jax.tree.map(partial(np.testing.assert_array_equal, strict=False), one, row)
                assert frame.row.features.shape == row.features.shape
                np.testing.assert_allclose(frame.result["sums"], row.features.sum(axis=0), rtol=1e-4, atol=1e-5)
    assert frames(split, [], 4) == []


def test_on_a_mesh(split):
    mesh = make_mesh()
    spread = jax.jit(step, in_shardings=by_row(mesh), out_shardings=by_row(mesh))
    size = 2 * mesh.size
    got = list(map_frames(spread, split, ROWS, index=range(5), batch_size=size, put=partial(put_batch, mesh)))
    for frame, alone in zip(got, frames(split, range(5), 1), strict=True):
        jax.tree.map(np.testing.assert_array_equal, frame.row, alone.row)
        assert isinstance(frame.result["sums"], np.ndarray)
        np.testing.assert_allclose(frame.result["sums"], alone.result["sums"], rtol=1e-5)


def test_rows_of_any_tree():
    tree = {"a": np.arange(6).reshape(3, 2), "b": (np.arange(3.0), np.zeros((3, 0, 2)))}
    rows = list(rows_of(tree))
    assert [row["a"].tolist() for row in rows] == [[0, 1], [2, 3], [4, 5]]
    assert [float(row["b"][0]) for row in rows] == [0, 1, 2]
    assert rows[0]["b"][1].shape == (0, 2)
