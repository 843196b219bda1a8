"""Feature files: every format gives the same [T, C]; width and layout are told or refused, never guessed wrongly."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tal_jax.errors import InputError
from tal_jax.prepare import feature_files as features
from tal_jax.prepare import feature_formats
from tal_jax.prepare.feature_formats import File

ARRAY = np.arange(35, dtype=np.float32).reshape(7, 5) / 4


def save(path, array, key="features"):
    """Writes an array in the format that the extension names."""
    extension = path.suffix
    if extension == ".npy":
        np.save(path, array)
    elif extension == ".npz":
        np.savez(path, **{key: array, "other": np.zeros(3)} if key == "features" else {key: array})
    elif extension == ".csv":
        header = ",".join(f"f{i}" for i in range(array.shape[1])) if key == "features" else ""
        np.savetxt(path, array, delimiter=",", header=header, comments="")
    elif extension in (".h5", ".hdf5"):
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file[key] = array
    elif extension in (".pt", ".pth"):
        torch = pytest.importorskip("torch")
        tensor = torch.from_numpy(array)
        torch.save(tensor if key == "features" else {key: tensor, "fps": 15}, path)
    else:
        path.write_bytes(pickle.dumps(array if key == "features" else {key: array, "fps": 15}))
    return File(str(path))


@pytest.mark.parametrize("extension", feature_formats.EXTENSIONS)
@pytest.mark.parametrize("key", ["features", "rgb"])
def test_every_format_gives_the_same_array(tmp_path, extension, key):
    (tmp_path / "id").mkdir()
    file = save(tmp_path / "id" / f"r{extension}", ARRAY, key)
    assert features.find("rgb", str(tmp_path / "id"), ["r", "absent"]) == {"r": file}
    stream, remark = features.agree("rgb", {"r": file})
    assert (stream, remark) == (features.Stream("rgb", 5, "TC"), None)
    expected = ARRAY.astype(float) if extension == ".csv" else ARRAY  # text has all of its digits
    np.testing.assert_array_equal(features.read(stream, "r", file), expected, strict=True)


@pytest.mark.parametrize("length", [9, 6])  # 6 snippets of 6 channels: square, but the file tells
def test_slowfast_layout(tmp_path, length):
    torch = pytest.importorskip("torch")
    slow, fast = torch.rand(1, 4, length), torch.rand(1, 2, length)
    for name, value in {
        "tensors": {"slow_feature": slow, "fast_feature": fast, "feature_frames": torch.arange(9)},
        "arrays": {"slow_feature": slow.numpy(), "fast_feature": fast.numpy(), "feature_frames": [1]},
    }.items():
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(pickle.dumps(value))
        stream, _ = features.agree("sf", {"r": File(str(path))})
        assert stream.width == 6
        got = features.read(stream, "r", File(str(path)))
        np.testing.assert_array_equal(got, np.concatenate([slow[0].numpy().T, fast[0].numpy().T], axis=1))
    value["fast_feature"] = fast.numpy()[..., :5]
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(InputError, match=f"slow has {length} snippets, fast 5"):
        features.read(stream, "r", File(str(path)))


def test_one_hdf5_file_for_all(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "all.h5"
    with h5py.File(path, "w") as file:
        file["v_a"] = ARRAY  # ActivityNet's own layout: v_ID/c3d_features
        file["b/c3d"] = ARRAY + 1
    found = features.find("c3d", str(path), ["a", "b", "v_b", "c"])
    assert found == {"a": File(str(path), "v_a"), "b": File(str(path), "b"), "v_b": File(str(path), "b")}
    stream, _ = features.agree("c3d", found)
    np.testing.assert_array_equal(features.read(stream, "b", found["b"]), ARRAY + 1)


def test_finding(tmp_path):
    for name in ("v_a.npy", "b.npy", "v_b.npy", "c.npy", "c.csv", "d.txt", "e.f.npy"):
        (tmp_path / name).touch()
    found = features.find("x", str(tmp_path), ["a", "v_a", "b", "v_b", "d", "e.f"])
    assert {id: file.path.rsplit("/")[-1] for id, file in found.items()} == {
        "a": "v_a.npy",
        "v_a": "v_a.npy",
        "b": "b.npy",
        "v_b": "v_b.npy",
        "e.f": "e.f.npy",
    }
    with pytest.raises(InputError, match=r"record c.*c\.csv and c\.npy"):
        features.find("x", str(tmp_path), ["c"])
    with pytest.raises(InputError, match=r"--features=x=.*absent"):
        features.find("x", str(tmp_path / "absent"), [])


def npys(folder, *shapes):
    files = {}
    for i, shape in enumerate(shapes):
        path = folder / f"{i}.npy"
        np.save(path, np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
        files[str(i)] = File(str(path))
    return files


@pytest.mark.parametrize(
    ("shapes", "options", "expected"),
    [
        (["9,5", "7,5"], {}, (5, "TC")),
        (["5,9", "5,7", "5,8"], {}, (5, "CT")),
        (["9,5", "5,7", "8,5"], {}, (5, None)),
        (["1,9,5", "1,1,7,5"], {}, (5, "TC")),
        (["9,5", "5,5"], {}, (5, "TC")),  # the first file tells the layout of the square one
        (["5,9", "5,5", "5,7", "5,8"], {}, (5, "CT")),
        (["100,16", "100,16"], {}, (16, "TC")),
        (["100,16", "100,16"], {"width": 100}, (100, "CT")),
        (["100,16", "100,16"], {"layout": "CT"}, (100, "CT")),
        (["5,5", "5,5"], {"layout": "CT"}, (5, "CT")),
        (["5,7", "5,9"], {"width": 5}, (5, "CT")),
        (["0,5", "7,5"], {}, (5, "TC")),
    ],
)
def test_width_and_layout(tmp_path, shapes, options, expected):
    files = npys(tmp_path, *(tuple(map(int, shape.split(","))) for shape in shapes))
    stream, remark = features.agree("x", files, **options)
    assert (stream.width, stream.layout) == expected
    assert (remark is not None) == (shapes == ["100,16", "100,16"] and not options)
    for id, file in files.items():
        array = np.load(file.path).reshape(np.load(file.path).shape[-2:])
        if array.size:
            got = features.read(stream, id, file)
            assert got.shape[1] == stream.width
            assert any(np.array_equal(got, a) for a in (array, array.T))


@pytest.mark.parametrize(
    ("shapes", "options", "named"),
    [
        (["5,5", "5,5"], {}, "record 0: 5 x 5 .* ambiguous.*--layout=x=TC"),
        (["5,5"], {"width": 5}, "record 0: 5 x 5 .* ambiguous"),
        (["9,5", "7,5", "8,6"], {}, "record 2: 8 x 6 .* 5 channels"),
        (["100,5", "100,5", "100,6"], {}, "record 2: 100 x 6 .* 5 channels"),
        (["9,5", "7,5", "8,6"], {"width": 5}, "record 2: wrong width: 8 x 6"),
        (["9,5", "7,5"], {"width": 4}, "record 0: wrong width.*--width=x=C"),
        (["9"], {}, r"record 0: .*shape \(9,\)"),
        (["2,9,5"], {}, r"record 0: .*shape \(2, 9, 5\)"),
    ],
)
def test_disagreement_is_an_error(tmp_path, shapes, options, named):
    files = npys(tmp_path, *(tuple(map(int, shape.split(","))) for shape in shapes))
    with pytest.raises(InputError, match=named):
        features.agree("x", files, **options)


def test_a_mixed_set_refuses_squares_and_a_wrong_layout(tmp_path):
    files = npys(tmp_path, (9, 5), (5, 7), (5, 5), (8, 5))
    stream, _ = features.agree("x", files)
    assert stream.layout is None
    with pytest.raises(InputError, match=r"record 2: 5 x 5 .*ambiguous"):
        features.read(stream, "2", files["2"])
    with pytest.raises(InputError, match="record 1: wrong width: 5 x 7"):
        features.read(features.Stream("x", 5, "TC"), "1", files["1"])


@given(
    lengths=st.lists(st.integers(1, 40), min_size=4, max_size=8, unique=True),
    width=st.integers(1, 40),
    layout=st.sampled_from(["TC", "CT"]),
)
def test_varied_lengths_always_tell_the_layout(tmp_path_factory, lengths, width, layout):
    folder = tmp_path_factory.mktemp("set")
    shapes = [(t, width) if layout == "TC" else (width, t) for t in lengths]
    stream, _ = features.agree("x", npys(folder, *shapes))
    assert (stream.width, stream.layout) == (width, layout)


def broken(folder):
    nan = ARRAY.copy()
    nan[3, 2] = np.nan
    np.save(folder / "nan.npy", nan)
    np.save(folder / "inf.npy", np.where(ARRAY == 1, np.inf, ARRAY).astype(np.float16))
    np.save(folder / "empty.npy", ARRAY[:0])
    np.save(folder / "objects.npy", np.array([[None] * 5]), allow_pickle=True)
    np.save(folder / "text.npy", np.array([["a"] * 5]))
    np.save(folder / "complex.npy", ARRAY.astype(complex))
    np.save(folder / "cut.npy", ARRAY)
    data = (folder / "cut.npy").read_bytes()
    (folder / "cut.npy").write_bytes(data[:-1])
    (folder / "header.npy").write_bytes(data[:20])
    (folder / "none.npy").write_bytes(b"")
    (folder / "none.csv").write_text("")
    (folder / "head.csv").write_text("a,b,c,d,e\n")
    (folder / "ragged.csv").write_text("1,2,3,4,5\n1,2\n")
    (folder / "words.csv").write_text("a,b,c,d,e\n1,2,x,4,5\n")
    (folder / "noise.npz").write_bytes(b"PK\x03\x04noise")
    (folder / "noise.h5").write_bytes(b"noise")
    np.savez(folder / "two.npz", a=ARRAY, b=ARRAY)
    (folder / "text.pkl").write_bytes(pickle.dumps("text"))
    (folder / "two.pkl").write_bytes(pickle.dumps({"a": ARRAY, "b": ARRAY}))
    (folder / "call.pkl").write_bytes(pickle.dumps(print))


def test_broken_files_name_the_record_and_a_remedy(tmp_path):
    pytest.importorskip("h5py")
    broken(tmp_path)
    files = sorted(path for path in tmp_path.iterdir())
    assert len(files) == 19
    for path in [
        *files,
        tmp_path / "absent.npy",
        tmp_path / "absent.csv",
        tmp_path / "absent.h5",
        tmp_path / "absent.pkl",
    ]:
        with pytest.raises(InputError) as error:
            features.read(features.Stream("rgb", 5, "TC"), "REC", File(str(path)))
        message = str(error.value)
        assert message.startswith(str(path)), path
        assert "\n" not in message, path
        if path.suffix != ".h5":
            assert "record REC" in message, path
    with pytest.raises(InputError, match=r"cut\.npy: record REC: truncated"):
        features.agree("rgb", {"REC": File(str(tmp_path / "cut.npy"))})
    with pytest.raises(InputError, match="snippet 3 of stream rgb"):
        features.read(features.Stream("rgb", 5, "TC"), "REC", File(str(tmp_path / "nan.npy")))


def test_only_headers_are_read_to_agree(tmp_path, monkeypatch):
    files = npys(tmp_path, (9, 5), (7, 5))
    monkeypatch.setattr(features, "load", lambda *_: pytest.fail("read a whole file"))
    assert features.agree("x", files)[0].width == 5
