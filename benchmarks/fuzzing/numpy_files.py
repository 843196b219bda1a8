"""`.npy` and `.npz` files: every type, order and version that NumPy writes, and headers that lie."""

import io
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing import Case, Wrong
from benchmarks.fuzzing.mutation import mutated_bytes
from tal_jax.errors import InputError
from tal_jax.prepare.feature_formats import File, load

KINDS = {"npy": 30, "npy header": 40, "npz": 40}
NUMBERS = ("<f2", "<f4", ">f4", "<f8", ">f8", "i1", "u1", "<i2", ">i4", "<u4", "<i8", "?")
OTHERS: tuple[Any, ...] = (
    "<c8", "<U5", "S5", "O", [("a", "<f4"), ("b", "<f4")], "<M8[s]", "<m8[ms]", "V4", [("x", "<f4", (3,))],
)  # fmt: skip
SIZES = (
    "(5,)", "(5, 3, )", "(5,3)", "(15,)", "()", "(-5, -3)", "(-1, 0)", "(0, 3)", "(5, 10000000000)", f"(0, {10**40})",
    "(True, 3)", "(5.0, 3)", "5, 3", "[5, 3]", "(5, 3", "('5', 3)", "(5, (3))", "(5L, 3L)", "(1, 5, 3)", "(5, 3, 1)",
    "(0x5, 3)", "(5_0, 3)", "None", "(*[5], 3)", "(5, 3) + ()", "(" * 300, "(05, 3)", "(5, 3, 4)", "(3, 5)",
)  # fmt: skip
DESCRS = ("'<f4'", "'f4'", "'float32'", "'<f8'", "'|O'", "'<f4,<f4'", "None", "[('a', '<f4')]", "'<U9'",
          "'<f16'", "'>f4'", "'<f3'", "'<V4'", "'[<f4]'", "'<c8'", "'<m8[s]'", "'\\x3cf4'", "'bfloat16'",
          "<f4", "''")  # fmt: skip


def array(rng: random.Random, dtype: Any = None) -> np.ndarray:
    """[T, C] of a type that features may have, or of the given one."""
    x = np.random.default_rng(rng.randrange(10**6)).normal(0, 9, (rng.randrange(2, 9), rng.randrange(2, 5)))
    made = np.zeros(x.shape, dtype or rng.choice(NUMBERS))
    if dtype is None:
        made[...] = np.abs(x) if made.dtype.kind == "u" else x
    return np.asfortranarray(made) if rng.random() < 0.4 else made


def saved(x: np.ndarray, rng: random.Random) -> bytes:
    """The file, in one of the versions of the format."""
    file = io.BytesIO()
    np.lib.format.write_array(file, x, rng.choice(((1, 0), (2, 0), (3, 0))), allow_pickle=True)
    return file.getvalue()


def npy_case(rng: random.Random, work: Path) -> None:
    """What NumPy writes: numbers are read, everything else is refused."""
    path, numbers = work / "r.npy", rng.random() < 0.7
    x = array(rng, None if numbers else np.dtype(rng.choice(OTHERS)))
    if numbers and rng.random() < 0.2:
        x = x[None]
    path.write_bytes(saved(x, rng))
    same(path, x if numbers else None)


def header_case(rng: random.Random, work: Path) -> None:
    """A header that may lie: what is read is what NumPy reads."""
    path, data = work / "r.npy", np.arange(15, dtype="<f4").tobytes()
    entries = {"descr": "'<f4'", "fortran_order": "False", "shape": "(5, 3)"}
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(list(entries))
        known = {"descr": DESCRS, "shape": SIZES, "fortran_order": ("True", "0", "None", "'False'", "false", "1")}
        entries[name] = rng.choice(known[name])
    items = list(entries.items())
    if rng.random() < 0.1:
        rng.shuffle(items)
    if rng.random() < 0.1:
        items.append(rng.choice((("x", "1"), items[0], ("shape", "(3, 5)"))))
    if rng.random() < 0.1:
        items.pop()
    header = (
        "{" + ", ".join(f"'{name}': {value}" for name, value in items) + rng.choice((", }", "}", "", "}}", "} # x"))
    )
    text = header.encode() + b" " * rng.choice((0, 1, 63, 5000)) + rng.choice((b"\n", b""))
    version = rng.choice((1, 1, 1, 2, 3, 4, 0, 255))
    length = struct.pack("<H" if version == 1 else "<I", rng.choice((len(text), len(text), len(text), 0, 65535)))
    path.write_bytes(b"\x93NUMPY" + bytes((version, rng.choice((0, 0, 0, 1)))) + length + text + data)
    found = load("x", "r", File(str(path))).array
    right = np.load(path, allow_pickle=False)
    if not np.array_equal(found, right.reshape(right.shape[-2:])):
        raise Wrong("other numbers than NumPy reads")


def npz_case(rng: random.Random, work: Path) -> None:
    """Archives of one array, or of one called "features"; damaged, they are refused."""
    path, x = work / "r.npz", array(rng)
    names = rng.choice((["features"], ["x"], ["arr_0"], ["a", "features"], ["a", "b"], [], ["a/b"], ["features.npy"]))
    with zipfile.ZipFile(path, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name in names:
            other = saved(x if name == names[-1] else array(rng), rng)
            archive.writestr(f"{name}.npy", other[: -1 if rng.random() < 0.05 else None] + b"x" * (rng.random() < 0.05))
        if rng.random() < 0.1:
            archive.writestr("README", "text")
    if rng.random() < 0.5:
        path.write_bytes(mutated_bytes(path.read_bytes(), rng))
    found = load("x", "r", File(str(path))).array
    if not np.array_equal(found, x):
        raise Wrong(f"{names}: other numbers")


def same(path: Path, x: np.ndarray | None) -> None:
    """Raises Wrong where a file is read otherwise than as `x`; None is not to be read at all."""
    try:
        found = load("x", "r", File(str(path))).array
    except InputError as e:
        if x is not None:
            raise Wrong(f"{x.dtype} {x.shape} was refused: {e}") from e
        raise
    if x is None:
        raise Wrong(f"read as {found.dtype}")
    if not np.array_equal(found, x.reshape(x.shape[-2:])):
        raise Wrong(f"{x.dtype}: other numbers")


def cases(folder: Path) -> dict[str, Case]:
    """Of arrays, of headers, and of archives."""
    return {"npy": npy_case, "npy header": header_case, "npz": npz_case}
