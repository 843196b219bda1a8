"""Feature files as inputs of an exported model: of one recording or a folder of them, without a prepared set."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tal_jax.deploy.model import Model, Recording, Segments
from tal_jax.errors import InputError
from tal_jax.prepare.feature_files import AXES, Opened, Stream, find_files, opened
from tal_jax.prepare.feature_formats import EXTENSIONS, File, npy_shape


def find(model: Model, sources: Sequence[str]) -> dict[str, dict[str, File]]:
    """The files of every recording: id -> stream -> file, in order of the ids.

    Args:
      model: the model whose streams are wanted.
      sources: PATH for a model of one stream, NAME=PATH otherwise; a path is a file or a folder, and a stream may have
        several.

    Raises:
      InputError: the model has no such stream, a path has no feature files, a recording lacks a stream or has it twice.
    """
    paths: dict[str, list[str]] = {}
    for source in sources:
        name, equals, path = source.partition("=")
        if not equals or os.path.exists(source):
            if len(model.streams) > 1:
                raise InputError(f"--features={source}: the model has streams: give --features=NAME=PATH for each")
            name, path = next(iter(model.streams)), source
        paths.setdefault(name, []).append(path)
    for name in model.streams.keys() | paths.keys():
        if name not in paths or name not in model.streams:
            raise InputError(f"--features={name}=..: the model has the streams {', '.join(model.streams)}: give each")
    found: dict[str, dict[str, File]] = {}
    for name, path in ((name, path) for name, given in paths.items() for path in given):
        for id, file in _files(name, path).items():
            if name in (known := found.setdefault(id, {})):
                raise InputError(f"{path}: record {id}: {known[name].path} is of this recording too: give one of them")
            known[name] = file
    for id, files in found.items():
        for name, given in paths.items():
            if name not in files:
                where = ", ".join(given)
                raise InputError(
                    f"{where}: record {id}: no file of stream {name}: add it, or remove the other streams'"
                )
    return dict(sorted(found.items()))


def _files(name: str, path: str) -> dict[str, File]:
    if os.path.isfile(path):
        stem, extension = os.path.splitext(os.path.basename(path))
        if extension not in EXTENSIONS:
            raise InputError(f"{path}: not a feature file: give one of {', '.join(EXTENSIONS)}")
        return {stem: File(path)}
    if not os.path.isdir(path):
        raise InputError(f"--features={path}: no such file or folder")
    stems = sorted(p.stem for p in Path(path).iterdir() if p.suffix in EXTENSIONS)
    found = find_files(path, stems, EXTENSIONS, f"--features={name}")
    if not found:
        raise InputError(f"{path}: no feature file ({', '.join(EXTENSIONS)}): give another folder")
    return {id: File(file) for id, file in found.items()}


def recordings(
    model: Model,
    files: Mapping[str, Mapping[str, File]],
    *,
    stride: float | None,
    durations: Mapping[str, float],
    strides: Mapping[str, float],
    proposals: Mapping[str, Segments],
    class_scores: Mapping[str, np.ndarray],
    said: Counter[tuple[str, str]],
) -> Iterator[Recording]:
    """The recordings of `find`, each opened when its turn comes; `.npy` files stay on disk but for the rows at work.

    Args:
      model: the model that shall detect in them.
      files: id -> stream -> file, as `find` returns them.
      stride: seconds per snippet; None takes the model's.
      durations: seconds by id, of the recordings whose durations are known.
      strides: seconds per snippet by id, in place of the model's.
      proposals: segments [P, 2] in seconds and scores [P] by id, of the recordings that have any.
      class_scores: [K] by id, of the recordings that have them.
      said: is told what was assumed of the files: stream and note -> number of files.

    Raises:
      InputError: a file is damaged, or its width is not the model's; the headers of all `.npy` files are read first.
    """
    squares = {name: _layout_of_squares(files, name, width) for name, width in model.streams.items()}
    for id, streams in files.items():
        arrays = []
        for name, width in model.streams.items():
            array, notes = _array(id, streams[name], Stream(name, width, None), squares[name])
            arrays.append(array)
            said.update((name, note) for note in notes)
        yield Recording(
            arrays,
            id,
            strides.get(id) if stride is None else stride,
            durations.get(id),
            proposals.get(id),
            class_scores.get(id),
        )


def _array(id: str, file: File, stream: Stream, square: str | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """The array [T, C] of a file, and what was assumed. `square`: the layout of one that is as long as wide."""
    if file.path.endswith(".npy"):
        shape = npy_shape(id, file)
        layout = _layout(shape, id, file, stream.width) or square
        if layout is None:
            raise InputError(
                f"{file.path}: record {id}: {shape[0]} x {shape[1]} is ambiguous, as other files are both [T, C] and "
                "[C, T]: store all in one layout"
            )
        array = np.load(file.path, mmap_mode="r", allow_pickle=False)
        file.check_sum(f"{file.path}: record {id}", array)
        array = array.reshape(shape)
        found = Opened(array if layout == "TC" else array.T, layout, ())
    else:
        found = opened(stream, id, file, square)
    notes = list(found.notes)
    if found.features.shape[0] == stream.width:
        notes.append(f"{stream.width} x {stream.width}, read as {AXES[found.layout]}")
    elif found.layout == "CT":
        notes.append(f"read as {AXES[found.layout]}")
    return found.features, tuple(notes)


def _layout_of_squares(files: Mapping[str, Mapping[str, File]], name: str, width: int) -> str | None:
    """That of a stream's other `.npy` files, [T, C] where there is none, and None where they are of both layouts."""
    layouts = set()
    for id, streams in files.items():
        if streams[name].path.endswith(".npy"):
            layouts.add(_layout(npy_shape(id, streams[name]), id, streams[name], width))
    known = layouts - {None}
    return known.pop() if len(known) == 1 else None if known else "TC"


def _layout(shape: tuple[int, int], id: str, file: File, width: int) -> str | None:
    """The layout that follows from a shape; None for one that is as long as wide."""
    if width not in shape:
        raise InputError(f"{file.path}: record {id}: an array of {shape}, but the model takes {width} channels")
    if shape[0] == shape[1]:
        return None
    return "TC" if shape[1] == width else "CT"
