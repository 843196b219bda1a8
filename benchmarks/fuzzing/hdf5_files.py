"""HDF5 files of features: what was written is read, and what was never written, or lies elsewhere, is refused."""

import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.fuzzing import Case, Wrong
from benchmarks.fuzzing.mutation import mutated_bytes
from tal_jax.errors import InputError
from tal_jax.prepare.feature_files import agree, find, opened

KINDS = {"hdf5": 40, "hdf5 gaps": 30, "hdf5 bytes": 20}
DTYPES = ("<f2", "<f4", "<f8", ">f4", ">f8", "i1", "<i2", ">i4", "<i8", "u1", "<u4", "?")


def values(rng: random.Random) -> np.ndarray:
    """[T, C] numbers of a random type; T is not C, and no number is 0."""
    x = np.random.default_rng(rng.randrange(10**6)).normal(0, 9, (rng.randrange(4, 9), 3))
    x = np.where(np.abs(x) < 1, 1, x)
    dtype = np.dtype(rng.choice(DTYPES))
    return (np.abs(x) if dtype.kind == "u" else x).astype(dtype)


def options(x: np.ndarray, rng: random.Random) -> dict[str, Any]:
    """How a data set may be stored."""
    found: dict[str, Any] = {}
    if rng.random() < 0.5:
        found["chunks"] = (rng.randrange(1, len(x) + 1), rng.randrange(1, x.shape[1] + 1))
        found |= rng.choice(
            ({}, {"compression": "gzip"}, {"shuffle": True}, {"fletcher32": True}, {"compression": "lzf"})
        )
        found |= rng.choice(({}, {"maxshape": (None, x.shape[1])}))
    return found


def read(path: Path) -> np.ndarray:
    """As prepare reads a file of all recordings, or of one."""
    file = find("x", str(path if path.name == "all.h5" else path.parent), ["r"])["r"]
    stream, _ = agree("x", {"r": file}, 3)
    return opened(stream, "r", file).features


def place(path: Path, rng: random.Random) -> tuple[h5py.File, Any, str]:
    """A new file, and the group and the name that its data set is to have there."""
    file = h5py.File(path, "w", libver=rng.choice(("earliest", "latest", "v110")))
    name = rng.choice(("features", "x", "data", "c3d features"))
    if path.name != "all.h5":
        return file, file, name
    file["other"] = np.ones((4, 3))
    key = rng.choice(("r", "v_r"))
    return (file, file.create_group(key), name) if rng.random() < 0.5 else (file, file, key)


def path_of(work: Path, rng: random.Random) -> Path:
    """Of a file for all recordings, or for one."""
    return work / rng.choice(("all.h5", "r.h5", "r.hdf5"))


def good_case(rng: random.Random, work: Path) -> None:
    """Any layout, type and link within the file."""
    path, x = path_of(work, rng), values(rng)
    file, group, name = place(path, rng)
    with file:
        kind = rng.randrange(4)
        if kind == 0 and path.name == "all.h5":
            file["hidden"] = x
            group[name] = h5py.SoftLink("/hidden")
        elif kind == 1 and path.name == "all.h5":
            file["hidden"] = x
            group[name] = file["hidden"]
        elif kind == 2:
            made = group.create_dataset(name, (2, x.shape[1]), x.dtype, chunks=(2, 2), maxshape=(None, None))
            made.resize(x.shape)
            made[...] = x
        else:
            group.create_dataset(name, data=x, **options(x, rng))
    try:
        found = read(path)
    except InputError as e:
        raise Wrong(f"{x.dtype}, {kind}: refused: {e}") from e
    if not np.array_equal(found, x):
        raise Wrong(f"{x.dtype}, {kind}: other numbers")


def gap_case(rng: random.Random, work: Path) -> None:
    """What is not there, is no array of numbers, or means something else than it says: refused."""
    path, x = path_of(work, rng), values(rng).astype("f4")
    file, group, name = place(path, rng)
    kind = rng.choice(list(GAPS))
    with file:
        GAPS[kind](group, name, x, work, rng)
    found = read(path)
    raise Wrong(f"{kind}: read as {found.dtype} {found.shape}")


def byte_case(rng: random.Random, work: Path) -> None:
    """Changed bytes: the file is refused, or numbers changed, which nothing protects; the shape did not."""
    path, x = path_of(work, rng), values(rng)
    file, group, name = place(path, rng)
    with file:
        group.create_dataset(name, data=x, **options(x, rng))
    path.write_bytes(mutated_bytes(path.read_bytes(), rng))
    try:
        found = read(path)
    except KeyError as e:
        if e.args != ("r",):  # prepare says that the recording has no features
            raise
        return
    if found.ndim != 2 or found.dtype.kind not in "biuf":
        raise Wrong(f"read as {found.dtype} {found.shape}")


def _never(group: Any, name: str, x: np.ndarray, work: Path, rng: random.Random) -> None:
    group.create_dataset(name, x.shape, "f4", chunks=rng.choice((None, True, (1, 1), (2, 3))))


def _partly(group: Any, name: str, x: np.ndarray, work: Path, rng: random.Random) -> None:
    made = group.create_dataset(name, x.shape, "f4", chunks=(1, 3), fillvalue=rng.choice((None, -999)))
    for row in rng.sample(range(len(x)), rng.randrange(1, len(x))):
        made[row] = x[row]


def _resized(group: Any, name: str, x: np.ndarray, work: Path, rng: random.Random) -> None:
    group.create_dataset(name, data=x, chunks=(1, 3), maxshape=(None, None)).resize((len(x) + 3, 3))


def _filled(group: Any, name: str, x: np.ndarray, work: Path, rng: random.Random) -> None:
    made = group.create_dataset(name, data=x)
    made.attrs[rng.choice(("_FillValue", "missing_value"))] = x[rng.randrange(len(x)), 1]


def _packed(group: Any, name: str, x: np.ndarray, work: Path, rng: random.Random) -> None:
    group.create_dataset(name, data=x).attrs[rng.choice(("scale_factor", "add_offset"))] = 0.01


def _virtual(group: Any, name: str, x: np.ndarray, work: Path, rng: random.Random) -> None:
    layout = h5py.VirtualLayout(x.shape, "f4")
    if rng.random() < 0.5:
        with h5py.File(work / "source.h5", "w") as other:
            other["x"] = x
    layout[:] = h5py.VirtualSource(str(work / "source.h5"), "x", x.shape)
    group.create_virtual_dataset(name, layout, fillvalue=0)


def _external(group: Any, name: str, x: np.ndarray, work: Path, rng: random.Random) -> None:
    group.create_dataset(name, x.shape, "f4", external=[(str(work / "raw"), 0, x.nbytes)])[...] = x


def _linked(group: Any, name: str, x: np.ndarray, work: Path, rng: random.Random) -> None:
    with h5py.File(work / "other.h5", "w") as other:
        other["x"] = x
    there = h5py.ExternalLink(str(work / "other.h5"), "/x")
    group[name] = rng.choice((there, h5py.SoftLink("/nothing"), h5py.SoftLink(f"{group.name.rstrip('/')}/{name}")))


def _other(group: Any, name: str, x: np.ndarray, work: Path, rng: random.Random) -> None:
    pairs = np.zeros(x.shape, [("a", "f4"), ("b", "f4")])
    kinds: list[Any] = [
        x.astype("c8"), x.astype("S9"), pairs, h5py.Empty("f4"), "text", x[0], x[0, 0],
        x[:0], x[:, :0], np.full(x.shape, np.nan), np.full(x.shape, np.inf), x[None].repeat(2, 0), x[:, :2],
    ]  # fmt: skip
    group.create_dataset(name, data=rng.choice(kinds))


def _several(group: Any, name: str, x: np.ndarray, work: Path, rng: random.Random) -> None:
    if group.name == "/":
        group.pop("other", None)
    here = group if group.name != "/" else group.create_group(name)
    here["one"], here["two"] = x, x


GAPS = {
    "never written": _never, "partly written": _partly, "resized": _resized, "fill value": _filled, "packed": _packed,
    "virtual": _virtual, "external storage": _external, "link": _linked, "no numbers": _other, "several": _several,
}  # fmt: skip


def cases(folder: Path) -> dict[str, Case]:
    """Of whole files, of those with gaps, and of damaged ones."""
    return {"hdf5": good_case, "hdf5 gaps": gap_case, "hdf5 bytes": byte_case}
