"""Feature files as inputs of an exported model: of one recording or a folder of them, without a prepared set."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tal_jax.deploy.model import Model, Recording, Segments
from tal_jax.errors import InputError
from tal_jax.prepare.feature_files import Stream, find_files, read
from tal_jax.prepare.feature_formats import EXTENSIONS, File, npy_shape


def find(model: Model, sources: Sequence[str]) -> dict[str, dict[str, File]]:
    """The files of every recording: id -> stream -> file, in order of the ids.

    Args:
      model: the model whose streams are wanted.
      sources: PATH for a model of one stream, NAME=PATH for each stream otherwise; a path is a file or a folder.

    Raises:
      InputError: the model has no such stream, a path has no feature files, or a recording lacks a stream.
    """
    paths = {}
    for source in sources:
        name, equals, path = source.partition("=")
        if not equals or os.path.exists(source):
            if len(model.streams) > 1:
                raise InputError(f"--features={source}: the model has streams: give --features=NAME=PATH for each")
            name, path = next(iter(model.streams)), source
        paths[name] = path
    for name in model.streams.keys() | paths.keys():
        if name not in paths or name not in model.streams:
            raise InputError(f"--features={name}=..: the model has the streams {', '.join(model.streams)}: give each")
    found: dict[str, dict[str, File]] = {}
    for name, path in paths.items():
        for id, file in _files(name, path).items():
            found.setdefault(id, {})[name] = file
    for id, files in found.items():
        for name, path in paths.items():
            if name not in files:
                raise InputError(f"{path}: record {id}: no file of stream {name}: add it, or remove the other streams'")
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

    Raises:
      InputError: a file is damaged, or its width is not the model's; the headers of all `.npy` files are read first.
    """
    for id, streams in files.items():
        for name, file in streams.items():
            if file.path.endswith(".npy"):
                _turned(npy_shape(id, file), id, file, model.streams[name])
    for id, streams in files.items():
        yield Recording(
            [_array(id, name, streams[name], width) for name, width in model.streams.items()],
            id,
            strides.get(id) if stride is None else stride,
            durations.get(id),
            proposals.get(id),
            class_scores.get(id),
        )


def _array(id: str, name: str, file: File, width: int) -> np.ndarray:
    if not file.path.endswith(".npy"):
        return read(Stream(name, width, None), id, file)
    shape = npy_shape(id, file)
    array = np.load(file.path, mmap_mode="r", allow_pickle=False).reshape(shape)
    return array.T if _turned(shape, id, file, width) else array


def _turned(shape: tuple[int, int], id: str, file: File, width: int) -> bool:
    """Whether an array of this shape is [C, T], and not [T, C]."""
    if width not in shape:
        raise InputError(f"{file.path}: record {id}: an array of {shape}, but the model takes {width} channels")
    return shape[1] != width
