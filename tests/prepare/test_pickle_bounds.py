"""Pickles that ask for more work or memory than they have bytes: counted in instructions and bytes, not in seconds."""

import collections
import io
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from tal_jax.errors import InputError
from tal_jax.prepare import pickle_arrays, pickle_machine, safe_pickle
from tal_jax.prepare.feature_formats import File, load
from tal_jax.prepare.pickle_machine import Budget, Refused, run

ONE = b"K\1"
LATIN = b"\x8c\x06latin1"


def doubled(levels, of=b")", make=b"\x86"):
    """One value that holds the level below twice, so many levels deep: four bytes for each doubling."""
    return of + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + make for i in range(levels))


def called(name, *arguments):
    return b"c" + name.replace(".", "\n", 1).encode() + b"\n(" + b"".join(arguments) + b"tR"


def global_(module, name):
    return f"c{module}\n{name}\n".encode()


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def bombs():
    tuples, lists = doubled(40), doubled(40, b"]", b"\x86")
    code = global_("numpy", "dtype")
    rebuild = global_("numpy._core.multiarray", "_reconstruct") + b")R"
    tensor = global_("torch._utils", "_rebuild_tensor_v2")
    magic = pickle.dumps(safe_pickle.LEGACY_MAGIC, 2)
    plain = pickle.dumps(1, 2)
    yield "a key", b"\x80\x02}" + tuples + b"Ns.", "key of type tuple"
    yield "keys of DICT", b"\x80\x02(" + tuples + b"Nd.", "key of type tuple"
    yield "keys of SETITEMS", b"\x80\x02}(" + tuples + b"Nu.", "key of type tuple"
    yield "a set", b"\x80\x04\x8f(" + tuples + b"\x90.", "EMPTY_SET"
    yield "a frozenset", b"\x80\x04(" + tuples + b"\x91.", "FROZENSET"
    yield "what a function returned", b"\x80\x02}" + called("torch.Size", ONE + b"\x85") + b"Ns.", "key of type tuple"
    yield "shared tuples", b"\x80\x02" + tuples + b".", "again and again"
    yield "shared lists", b"\x80\x02" + lists + b".", "again and again"
    yield "a dtype", b"\x80\x02" + code + tuples + b"\x85R.", "dtype a tuple"
    yield "a byte order", b"\x80\x02" + code + text("f4") + b"\x85R" + b"(N" + tuples + b"tb.", "byte order"
    yield "a shape", b"\x80\x02" + rebuild + b"(N" + tuples + code + text("f4") + b"\x85R\x89C\0tb.", "sizes"
    yield "an encoding", b"\x80\x02" + called("_codecs.encode", text("x"), tuples) + b".", "encode for a tuple"
    yield "a storage", b"\x80\x02" + tensor + b"(" + tuples + b"K\0))tR.", "without a storage"
    yield "a persistent id", b"\x80\x02" + tuples + b"Q.", "outside the file"
    yield "legacy keys", magic + plain * 2 + plain + b"\x80\x02]" + tuples + b"a.", "list of keys"
    yield "a name", b"\x80\x04" + tuples + text("x") + b"\x93.", "no text"
    yield "itself", b"\x80\x02]q\0h\0a.", "nested too deeply"
    yield "depth", b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".", "nested too deeply"
    yield "dimensions", b"\x80\x02" + rebuild + b"(N(" + b"J\xff\xff\xff\x7f" * 5000 + b"tNNNtb.", "array of objects"
    yield "sizes", b"\x80\x02" + called("torch.Size", b"(" + b"J\xff\xff\xff\x7f" * 5000 + b"t") + b".", "short list"
    yield "memo", b"\x80\x02]r\xff\xff\xff\xff.", "memo"
    yield "a long", b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\xff.", "damaged"
    yield "a frame", b"\x80\x04\x95" + b"\xff" * 8 + b"X\xff\xff\xff\xff.", "damaged"
    yield "bytes", b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".", "damaged"
    yield "text", b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b".", "damaged"


@pytest.mark.parametrize(("data", "says"), [b[1:] for b in bombs()], ids=[b[0] for b in bombs()])
def test_a_pickle_takes_no_more_than_its_bytes(tmp_path, data, says):
    path = tmp_path / "x.pkl"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=says) as error:
            safe_pickle.read(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000 + 200 * len(data)
    finally:
        tracemalloc.stop()
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)


def test_an_instruction_is_a_step_whatever_it_holds():
    """40 levels are 2^40 tuples for a hash, and 121 steps here."""
    data = b"\x80\x02}" + doubled(40) + b"Ns."
    budget = Budget(0)
    with pytest.raises(Refused, match="key of type tuple"):
        run(io.BytesIO(data), {}, budget)
    used = pickle_machine.STEPS - budget.steps
    assert used == 3 + 3 * 40 + 2  # PROTO, {, () and three for each level, None, SETITEM
    with pytest.raises(Refused, match="too many instructions"):
        run(io.BytesIO(data), {}, Budget(0, steps=100))
    with pytest.raises(Refused, match="too many lists"):
        run(io.BytesIO(b"]" * 11 + b"."), {}, Budget(0, containers=10))


def test_integers_whose_hashes_are_all_one_are_no_keys(tmp_path):
    """2,000 multiples of 2^61 - 1 hash to 0; so many keys of a dict that is looked through each time."""
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({(2**61 - 1) * i: None for i in range(2000)}))
    with pytest.raises(InputError, match="key of type int"):
        safe_pickle.read(path)
    path.write_bytes(pickle.dumps({2**40 * i: i for i in range(2000)}))
    assert safe_pickle.read(path)[2**40 * 7] == 7


@pytest.mark.parametrize("way", ["encode", "array", "stream"])
def test_the_same_bytes_are_not_used_again_and_again(tmp_path, way):
    """100 kB of text, made bytes 1,000 times: 100 MB of work in 120 kB."""
    path = tmp_path / "x.pkl"
    long = text("x" * 100_000)
    if way == "encode":
        first = global_("_codecs", "encode") + b"q\1" + long + b"q\0" + LATIN + b"q\2"
        again = b"h\1h\0h\2\x86R"
    elif way == "array":
        first = global_("numpy._core.numeric", "_frombuffer") + b"q\1" + long + called("numpy.dtype", text("u1"))
        first += b"J" + struct.pack("<i", 100_000) + b"\x85" + text("C")
        again = b"h\1h\0R"
        first = first.replace(long, b"(" + long, 1) + b"tq\0"
    else:
        parts = (safe_pickle.LEGACY_MAGIC, 1, {}, [0] * 50_000, [])
        stream = b"".join(pickle.dumps(part, 2) for part in parts)
        first = global_("torch.storage", "_load_from_bytes") + b"q\1"
        first += b"B" + struct.pack("<I", len(stream)) + stream + b"q\0"
        again = b"h\1h\0\x85R"
    path.write_bytes(b"\x80\x04" + first + b"(" + again * 1000 + b"l.")
    with pytest.raises(InputError, match="the same bytes again and again"):
        safe_pickle.read(path)


def overlapping(path, first, count, payload):
    """A zip file of stored entries, each of which holds all after it: so is every size and checksum right."""
    data, entries = bytes(payload), []
    for i in reversed(range(count)):
        name = f"a/data/{i}".encode()
        sizes = struct.pack("<IIIHH", zlib.crc32(data), len(data), len(data), len(name), 0)
        entries.append((name, len(data), sizes))
        data = struct.pack("<IHHHHH", 0x04034B50, 20, 0, 0, 0, 0) + sizes + name + data
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", first)
    good = path.read_bytes()
    directory = good.index(b"PK\1\2")
    whole = good[:directory] + data
    listed = good[directory : good.index(b"PK\5\6")]
    for name, size, sizes in entries:
        offset = len(whole) - size - 30 - len(name)
        listed += struct.pack("<IHHHHHH", 0x02014B50, 20, 20, 0, 0, 0, 0) + sizes
        listed += struct.pack("<HHHII", 0, 0, 0, 0, offset) + name
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count + 1, count + 1, len(listed), len(whole), 0)
    path.write_bytes(whole + listed + end)
    return path


def test_entries_of_a_zip_file_over_each_other(tmp_path):
    """200 storages in the same 50 kB."""

    def one(i):
        kind = global_("torch", "ByteStorage")
        return b"(" + text("storage") + kind + text(str(i)) + text("cpu") + b"M\x50\xc3tQ"

    path = overlapping(tmp_path / "x.pt", b"\x80\x02(" + b"".join(map(one, range(200))) + b"l.", 200, 50_000)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == 201
    with pytest.raises(InputError, match=r"again and again|Overlapped"):
        safe_pickle.read(path)
    path = overlapping(tmp_path / "y.pt", b"\x80\x02" + one(0) + b".", 1, 50_000)
    data, sizes = path.read_bytes(), struct.pack("<II", 50_000, 50_000)
    assert data.count(sizes) == 2
    path.write_bytes(data.replace(sizes, struct.pack("<II", 2**31 - 1, 2**31 - 1)))
    with pytest.raises(InputError, match="beyond the file"):
        safe_pickle.read(path)


def test_lists_that_are_shared_within_reason_are_read(tmp_path):
    path = tmp_path / "x.pkl"
    row = [1.0, 2.0]
    path.write_bytes(pickle.dumps([row] * 1000))
    array = load("x", "x", File(str(path))).array
    np.testing.assert_array_equal(array, [[1.0, 2.0]] * 1000)


def test_text_of_python_2(tmp_path):
    """Its first protocol wrote arrays as quoted text with escapes."""
    path = tmp_path / "x.pkl"
    dtype = b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1\nI2\nt" + dtype
    path.write_bytes(array + rb"I00" + b"\n" + rb"S'\x00\x00\x80?\x00\x00\xc0\xbf'" + b"\ntb.")
    np.testing.assert_array_equal(safe_pickle.read(path), np.array([[1.0, -1.5]], np.float32))


def test_an_ordered_dict_stays_what_it_is(tmp_path):
    path = tmp_path / "x.pkl"
    for protocol in range(6):
        path.write_bytes(pickle.dumps(collections.OrderedDict(b=1, a=2), protocol))
        assert list(safe_pickle.read(path).items()) == [("b", 1), ("a", 2)]
    assert pickle_arrays.EXPANDED > 2304 * 2048  # features of half an hour of video, as lists
