"""Feature files of a set: finding them, telling their width and layout, reading one recording's stream as `[T, C]`."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tal_jax.errors import InputError
from tal_jax.prepare.feature_formats import EXTENSIONS, File, load, npy_shape
from tal_jax.tables import hdf5

LAYOUTS = ("TC", "CT")
AXES = {"TC": "[T, C]", "CT": "[C, T]"}
LARGEST = float(np.finfo(np.float32).max)
SAMPLE = 16  # formats without a header are read whole, so only so many files vote on the width


@dataclass(frozen=True)
class Stream:
    """One feature source of a set."""

    name: str
    width: int  # C
    layout: str | None  # of all files: "TC" or "CT"; None: that of every file follows from its shape


def find(name: str, source: str, ids: Iterable[str], flag: str = "features") -> dict[str, File]:
    """Finds the feature file of every recording that has one: `ID` or `v_ID`, with any known extension.

    Args:
      name: the name of the stream, for errors.
      source: a folder, or one HDF5 file with a group or dataset per recording.
      ids: the ids of the recordings.
      flag: the flag that named the source, for errors.

    Raises:
      InputError: no such folder or file, or two files for one recording.
    """
    if Path(source).is_file() and Path(source).suffix in (".h5", ".hdf5"):
        with hdf5.opened(source, name) as file:
            keys = hdf5.names(file, source)
        pairs = ((id, _first(_spellings(id), keys)) for id in ids)
        return {id: File(source, key) for id, key in pairs if key is not None}
    paths = find_files(source, ids, EXTENSIONS, f"--{flag}={name}")
    return {id: File(path) for id, path in paths.items()}


def find_files(folder: str, ids: Iterable[str], extensions: Sequence[str], flag: str) -> dict[str, str]:
    """Finds `ID` or `v_ID` with one of the extensions for every recording that has one.

    Raises:
      InputError: naming `flag`: no such folder, or two files for one recording.
    """
    stems: dict[str, list[str]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name, extension = os.path.splitext(entry.name)
                if extension in extensions:
                    stems.setdefault(name, []).append(entry.name)
    except OSError as e:
        raise InputError(f"{flag}={folder}: {e.strerror}: give a folder with a file per recording") from e
    found = {}
    for id in ids:
        if (stem := _first(_spellings(id), stems)) is not None:
            if len(stems[stem]) > 1:
                files = " and ".join(sorted(stems[stem]))
                raise InputError(f"{folder}: record {id}: it has {files}: keep one of them")
            found[id] = os.path.join(folder, stems[stem][0])
    return found


def agree(
    name: str, files: Mapping[str, File], width: int | None = None, layout: str | None = None
) -> tuple[Stream, str | None]:
    """Tells the width of a stream and its layout, `[T, C]` or `[C, T]`, from the shapes of all files.

    The width is the size that all files share. Where both axes are always the same (recordings resized to one length),
    the layout is taken to be `[T, C]`. Only headers are read where there are any; of other formats, a sample is read.

    Args:
      name: the name of the stream.
      files: the files of all recordings by id, at least one.
      width: number of channels C, if the user gave it.
      layout: "TC" or "CT", if the user gave it.

    Returns:
      The stream, and a remark where the layout was assumed.

    Raises:
      InputError: the files do not agree on a width, or leave the layout open; says which record, and what to do.
    """
    shapes, oriented = _shapes(name, files)
    if not shapes:
        return Stream(name, width or Counter(oriented).most_common(1)[0][0], layout), None
    axis_sizes = tuple(Counter(shape[axis] for shape in shapes.values()) for axis in (0, 1))
    if layout is not None:
        return Stream(name, width or axis_sizes[layout.index("C")].most_common(1)[0][0], layout), None
    remark = None
    if width is None:
        width = _vote(name, files, shapes, *axis_sizes)
        t, c = next(iter(shapes.values()))
        if len(axis_sizes[0]) == len(axis_sizes[1]) == 1 and len(shapes) > 1 and t != c:
            remark = f"every file is {t} x {c}, read as {t} snippets x {c} channels (otherwise: --layout={name}=CT)"
    layouts = {_layout(name, id, files[id], shape, width) for id, shape in shapes.items()} - {None}
    if not layouts:
        id = next(iter(shapes))
        raise InputError(
            f"{files[id].path}: record {id}: {width} x {width} of stream {name} is ambiguous: say which axis is time, "
            f"--layout={name}=TC or --layout={name}=CT"
        )
    return Stream(name, width, layouts.pop() if len(layouts) == 1 else None), remark


@dataclass(frozen=True)
class Opened:
    """One recording's stream, and what was told from its file."""

    features: np.ndarray  # [T, C] of the file's own floating or integer type, finite as float32, T > 0
    layout: str  # of the file, "TC" or "CT"
    notes: tuple[str, ...]  # what was assumed


def read(stream: Stream, id: str, file: File) -> np.ndarray:
    """One recording's stream, [T, C]: the features of `opened`, whose arguments and errors these are."""
    return opened(stream, id, file).features


def opened(stream: Stream, id: str, file: File, square: str | None = None) -> Opened:
    """Reads one recording's stream.

    Args:
      stream: the stream that `agree` returned.
      id: the id of the recording, for errors.
      file: the file that `find` returned.
      square: the layout of a file that is as long as wide, where the stream does not tell; None refuses it.

    Raises:
      InputError: the file is missing, damaged, empty, of another width, ambiguous, or holds NaN, infinity, or numbers
        that are infinite as float32.
    """
    where = f"{file.path}: record {id}"
    array, oriented, notes = load(stream.name, id, file)
    if array.size == 0:
        raise InputError(f"{where}: stream {stream.name} is empty: extract it again or leave the recording out")
    layout = "TC" if oriented else stream.layout
    if layout is None:
        layout = _layout(stream.name, id, file, array.shape, stream.width) or square
    if layout is None:
        raise InputError(
            f"{where}: {stream.width} x {stream.width} of stream {stream.name} is ambiguous, as other files are both "
            f"[T, C] and [C, T]: store all in one layout"
        )
    features = array if layout == "TC" else array.T
    if features.shape[1] != stream.width:
        raise _wrong_width(stream.name, id, file, array.shape, stream.width)
    finite = np.isfinite(features) if array.dtype.itemsize <= 4 else np.abs(features) <= LARGEST
    if not finite.all():
        t = int(np.argmin(finite.all(axis=1)))
        x = features[t][~finite[t]][0]
        found = f"{x:.4g}, too large for float32," if np.isfinite(x) else "NaN or infinity"
        raise InputError(f"{where}: {found} in snippet {t} of stream {stream.name}: extract it again or leave it out")
    return Opened(features, layout, notes)


def _spellings(id: str) -> Sequence[str]:
    # ActivityNet's own feature files are named v_ID where its annotations say ID; other releases do the opposite
    return (id, f"v_{id}", id[2:]) if id.startswith("v_") else (id, f"v_{id}")


def _first(names: Iterable[str], known: Iterable[str]) -> str | None:
    return next((name for name in names if name in known), None)


def _vote(
    name: str,
    files: Mapping[str, File],
    shapes: Mapping[str, tuple[int, int]],
    rows: Counter[int],
    columns: Counter[int],
) -> int:
    """The width that the shapes agree on: all last axes, else all first axes, else the one size found in every file."""
    if len(columns) == 1:
        return next(iter(columns))
    likely, count = columns.most_common(1)[0]
    if len(rows) == 1:
        # equal first axes can also be recordings resized to one length, one of them of a wrong width
        if count * 2 < len(shapes):
            return next(iter(rows))
    else:
        common = set.intersection(*(set(shape) for shape in shapes.values()))
        if len(common) == 1:
            return common.pop()
        likely = (rows + columns).most_common(1)[0][0]
    id = next(id for id, (t, c) in shapes.items() if c != likely and (len(rows) == 1 or t != likely))
    t, c = shapes[id]
    raise InputError(
        f"{files[id].path}: record {id}: {t} x {c} does not fit the other files of stream {name}, most of which have "
        f"{likely} channels: extract it again, or say what is right with --width={name}=C"
    )


def _layout(name: str, id: str, file: File, shape: tuple[int, ...], width: int) -> str | None:
    """The layout that follows from one shape, None if it is square."""
    if width not in shape:
        raise _wrong_width(name, id, file, shape, width)
    if shape[0] == shape[1]:
        return None
    return "TC" if shape[1] == width else "CT"


def _wrong_width(name: str, id: str, file: File, shape: tuple[int, ...], width: int) -> InputError:
    return InputError(
        f"{file.path}: record {id}: wrong width: {shape[0]} x {shape[1]}, and stream {name} has {width} channels: "
        f"extract it again, or correct --width={name}=C"
    )


def _shapes(name: str, files: Mapping[str, File]) -> tuple[dict[str, tuple[int, int]], list[int]]:
    """Shapes of all files with a header and of a sample of the others; widths where the layout of a file is known."""
    shapes: dict[str, tuple[int, int]] = {}
    oriented_widths = []
    headless = []
    for id, file in files.items():
        if file.path.endswith(".npy"):
            shapes[id] = npy_shape(id, file)
        else:
            headless.append(id)
    step = max(1, len(headless) // SAMPLE)
    for id in headless[::step][:SAMPLE]:
        array, oriented, _ = load(name, id, files[id])
        if oriented:
            oriented_widths.append(array.shape[1])
        else:
            shapes[id] = (array.shape[0], array.shape[1])
    return shapes, oriented_widths
