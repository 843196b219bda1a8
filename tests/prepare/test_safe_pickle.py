"""The restricted unpickler: reads what NumPy and PyTorch write, and runs nothing."""

import builtins
import collections
import contextlib
import io
import operator
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tal_jax.errors import InputError
from tal_jax.prepare import safe_pickle


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced


def read_bytes(tmp_path, data):
    path = tmp_path / "file.pkl"
    path.write_bytes(data)
    return safe_pickle.read(path)


def assert_same(got, expected):
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        for key in expected:
            assert_same(got[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert type(got) is type(expected)
        for a, b in zip(got, expected, strict=True):
            assert_same(a, b)
    elif isinstance(expected, np.ndarray | np.generic):
        np.testing.assert_array_equal(got, expected, strict=isinstance(expected, np.ndarray))
    else:
        assert got == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_reads_numpy_in_every_protocol(tmp_path, protocol):
    value = {
        "c": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big endian": np.arange(3, dtype=">i4"),
        "bool": np.array([True, False]),
        "half": np.ones((1, 2), np.float16),
        "empty": np.zeros((0, 4)),
        "scalar": np.float64(2.5),
        "plain": [1, "x", (None, 2.5, b"\xff"), {"k": -1}],
        "ordered": collections.OrderedDict(a=1),
    }
    got = read_bytes(tmp_path, pickle.dumps(value, protocol=protocol))
    assert_same(got, value)
    assert type(got["ordered"]) is dict


@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.uint64, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0),
    ),
    st.integers(0, 5),
)
def test_round_trip(tmp_path_factory, array, protocol):
    got = read_bytes(tmp_path_factory.getbasetemp(), pickle.dumps(array, protocol=protocol))
    np.testing.assert_array_equal(got, array, strict=True)


def test_old_module_names_and_python_2_strings(tmp_path):
    data = pickle.dumps(np.arange(3, dtype=np.int64), protocol=2)
    assert b"numpy._core" in data
    assert_same(read_bytes(tmp_path, data.replace(b"numpy._core", b"numpy.core")), np.arange(3))
    # Python 2 wrote the raw bytes as a str: SHORT_BINSTRING
    python2 = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR(I1\n(I2\ntcnumpy\ndtype\n"
        b"(U\x02u1I0\nI1\ntR(I3\nU\x01|NNNI-1\nI-1\nI0\ntbI00\nU\x02\xff\x01tb."
    )
    assert_same(read_bytes(tmp_path, python2), np.array([255, 1], np.uint8))


def torch_values(torch):
    base = torch.arange(24.0).reshape(2, 3, 4)
    return {
        "contiguous": base,
        "transposed": base.transpose(0, 2),
        "sliced": torch.arange(10)[2:9:3],
        "shared": base[1],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "half": torch.ones(3).half(),
        "bool": torch.tensor([True, False]),
        "int": torch.tensor([[-1]], dtype=torch.int8),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
    }


def assert_torch_values(got, values):
    for key, tensor in values.items():
        np.testing.assert_array_equal(got[key], tensor.detach().numpy(), strict=True)


def test_reads_torch_in_all_three_formats(tmp_path):
    torch = pytest.importorskip("torch")
    values = torch_values(torch)
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pt"
        torch.save(values, path, _use_new_zipfile_serialization=zipped)
        assert zipfile.is_zipfile(path) == zipped
        assert_torch_values(safe_pickle.read(path), values)
    for protocol in (2, 5):
        assert_torch_values(read_bytes(tmp_path, pickle.dumps(values, protocol=protocol)), values)
    path = tmp_path / "bf16.pt"
    torch.save(torch.full((2,), 1.5, dtype=torch.bfloat16), path)
    assert safe_pickle.read(path).dtype.name == "bfloat16"
    assert safe_pickle.read(path).astype(np.float32).tolist() == [1.5, 1.5]
    torch.save(torch.nn.Linear(2, 1).state_dict(), path)  # an OrderedDict with attributes
    assert {k: v.shape for k, v in safe_pickle.read(path).items()} == {"weight": (1, 2), "bias": (1,)}


def test_refuses_torch_modules_and_truncated_files(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pt"
    torch.save(torch.nn.Linear(2, 1), path)
    with pytest.raises(InputError, match=r"torch\.nn\.modules\.linear\.Linear.*convert"):
        safe_pickle.read(path)
    for zipped in (True, False):
        torch.save(torch.arange(1000.0), path, _use_new_zipfile_serialization=zipped)
        data = path.read_bytes()
        for size in (len(data) - 1, len(data) // 2, 100, 10):
            path.write_bytes(data[:size])
            with pytest.raises(InputError, match=r"model\.pt"):
                safe_pickle.read(path)


def legacy(payload):
    """A torch.save stream of the legacy format around a payload."""
    system = {"little_endian": True}
    parts = [safe_pickle.LEGACY_MAGIC, 1001, system]
    return b"".join(pickle.dumps(part, 2) for part in parts) + payload + pickle.dumps([], 2)


def malicious(marker):
    touch = f"touch {marker}"
    evil = pickle.dumps(Call(os.system, touch), 2)
    yield "os.system", evil
    yield "eval", pickle.dumps(Call(eval, f"__import__('os').system({touch!r})"))
    yield "exec", pickle.dumps(Call(exec, f"__import__('os').system({touch!r})"))
    yield "getattr", pickle.dumps(Call(getattr, "x", "__class__"))
    yield "open", pickle.dumps(Call(open, str(marker), "w"))
    yield "bytearray", pickle.dumps(Call(builtins.bytearray, 1 << 40))
    yield "methodcaller", pickle.dumps(Call(operator.methodcaller, "x"), 4)
    yield "inst", f"(S'{touch}'\nios\nsystem\n.".encode()
    yield "obj", b"(cos\nsystem\nS'" + touch.encode() + b"'\no."
    yield "dotted global", b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__class__\x93."
    yield "submodule", b"cnumpy\nload\n(S'x'\ntR."
    yield "runstring", b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR."
    yield "legacy", legacy(evil)
    yield "nested", b"ctorch.storage\n_load_from_bytes\n" + pickle.dumps(legacy(evil), 4)[2:-1] + b"\x85R."
    yield "extension", b"\x80\x02\x82\x01."
    yield "persistent", b"Panything\n."
    yield "call an array type", b"cnumpy\nndarray\n(I3\ntR."
    yield "newobj of a function", b"\x80\x02cnumpy\ndtype\nU\x02f4\x85\x81."
    yield "state on a function", b"cnumpy\ndtype\n}U\x05_callNsb."
    yield "slot state on a function", b"\x80\x02cnumpy\ndtype\nN}U\x05_callNs\x86b."
    yield "state on a type", b"cnumpy\nndarray\n}U\x05dtypeNsb."
    yield "bare function", b"cnumpy\ndtype\n."
    yield "object array", pickle.dumps(np.array([None, {}], dtype=object))
    yield "structured array", pickle.dumps(np.zeros(2, [("a", "f4")]))
    yield "string array", pickle.dumps(np.array(["a"]))
    yield "void array", pickle.dumps(np.zeros(2, "V8"))


def test_runs_nothing_and_says_what_it_refused(tmp_path):
    marker = tmp_path / "marker"
    for name, data in malicious(marker):
        with pytest.raises(InputError, match=r"file\.pkl") as error:
            read_bytes(tmp_path, data)
        assert "\n" not in str(error.value), name
        assert "convert" in str(error.value), name
        assert not marker.exists(), name
    path = tmp_path / "evil.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Call(os.system, f"touch {marker}"), 2))
    with pytest.raises(InputError, match="system"):
        safe_pickle.read(path)
    assert not marker.exists()
    with pytest.raises(InputError, match=r"posix\.system|nt\.system"):
        read_bytes(tmp_path, pickle.dumps(Call(os.system, "true")))


def test_an_array_cannot_carry_object_flags(tmp_path):
    """A pickled dtype holds flags that NumPy trusts: with them, raw bytes would be taken for pointers."""
    dtype = b"cnumpy\ndtype\n(S'i8'\nI0\nI1\ntR(I3\nS'<'\nNNNI8\nI8\nI63\ntb"
    data = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1\nt" + dtype
    got = read_bytes(tmp_path, data + b"I00\nS'" + b"A" * 8 + b"'\ntb.")
    assert got.dtype == np.dtype("<i8")
    assert not got.dtype.hasobject
    with pytest.raises(InputError):
        read_bytes(tmp_path, data + b"I00\nS'" + b"A" * 7 + b"'\ntb.")


class FloatStorage:
    """Stands for the class that a persistent id names."""


def rebuild(*_):
    raise AssertionError("pickled by name only")


def zip_tensor(path, *, numel=6, offset=0, size=(2, 3), stride=(3, 1), data=None, **zip_options):
    """A torch.save file of float32 made by hand."""
    storage, out = object(), io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", FloatStorage, "0", "cpu", numel) if obj is storage else None

    Pickler(out, 2).dump(Call(rebuild, storage, offset, size, stride, False, collections.OrderedDict()))
    here = f"c{__name__}\n".encode()
    text = out.getvalue().replace(here + b"rebuild\n", b"ctorch._utils\n_rebuild_tensor_v2\n")
    text = text.replace(here + b"FloatStorage\n", b"ctorch\nFloatStorage\n")
    with zipfile.ZipFile(path, "w", **zip_options) as archive:
        archive.writestr("archive/data.pkl", text)
        archive.writestr("archive/data/0", np.arange(6, dtype=np.float32).tobytes() if data is None else data)
    return path


def test_sizes_strides_and_offsets_stay_inside_the_file(tmp_path):
    path = tmp_path / "t.pt"
    np.testing.assert_array_equal(safe_pickle.read(zip_tensor(path)), np.arange(6).reshape(2, 3))
    column = safe_pickle.read(zip_tensor(path, offset=1, size=(2,), stride=(3,)))
    assert column.tolist() == [1, 4]
    for wrong in (
        {"size": (2, 4)},
        {"size": (3, 3)},
        {"offset": 1},
        {"offset": -1},
        {"stride": (3, 2)},
        {"stride": (-3, 1)},
        {"stride": (1 << 61, 1)},
        {"size": (1 << 40, 1 << 40), "stride": (0, 0)},
        {"size": (100,), "stride": (0,)},
        {"size": (2.0, 3)},
        {"size": (2, 3), "stride": (3,)},
        {"numel": 7},
        {"numel": 1 << 60},
        {"data": b"123"},
        {"compression": zipfile.ZIP_DEFLATED},
    ):
        with pytest.raises(InputError, match=r"t\.pt"):
            safe_pickle.read(zip_tensor(path, **wrong))


def test_a_pickle_cannot_claim_more_memory_than_it_has_bytes(tmp_path):
    for data, named in (
        (b"\x80\x02]r" + struct.pack("<I", 1 << 31) + b".", "memo"),  # LONG_BINPUT: it would take 32 GiB
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", "damaged"),  # BYTEARRAY8
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".", "damaged"),  # BINBYTES8
    ):
        with pytest.raises(InputError, match=named):
            read_bytes(tmp_path, data)


def test_shared_containers_are_visited_once(tmp_path):
    shared = [np.zeros(2)]
    for _ in range(20):
        shared = [shared, shared]
    got = read_bytes(tmp_path, pickle.dumps(shared))
    assert got[0] is got[1]


@given(st.binary(max_size=200))
def test_noise_is_refused_or_read_but_never_fails_otherwise(tmp_path_factory, data):
    with contextlib.suppress(InputError):
        read_bytes(tmp_path_factory.getbasetemp(), data)


@given(st.integers(0, 400), st.integers(0, 255))
def test_damaged_pickles_are_refused_or_read_but_never_fail_otherwise(tmp_path_factory, position, value):
    data = bytearray(pickle.dumps({"a": np.arange(5.0), "b": [np.float32(1)]}))
    data[position % len(data)] = value
    with contextlib.suppress(InputError):
        read_bytes(tmp_path_factory.getbasetemp(), bytes(data))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.pkl"):
        safe_pickle.read(tmp_path / "absent.pkl")
