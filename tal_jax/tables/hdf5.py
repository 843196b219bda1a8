"""Features in HDF5 files: one array of a file or of a group in it, if all of it was written, and written there."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tal_jax.errors import InputError

PACKED = ("scale_factor", "add_offset")  # netCDF's: the stored numbers are not the values
FILLS = ("_FillValue", "missing_value")  # netCDF's


@contextlib.contextmanager
def opened(path: str, name: str) -> Iterator[Any]:
    """Opens an HDF5 file as a context.

    Args:
      path: the file.
      name: the name of the stream, for errors.

    Raises:
      InputError: it is no such file, or h5py is not installed.
    """
    try:
        import h5py
    except ImportError as e:
        raise InputError(f"{path}: stream {name} is HDF5: pip install 'tal_jax[hdf5]', or convert to .npy") from e
    try:
        file = h5py.File(path, "r")
    except OSError as e:
        raise InputError(f"{path}: not a readable HDF5 file ({e!s:.80}): extract it again") from e
    with file:
        yield file


def names(parent: Any, where: str) -> set[str]:
    """The names of the groups and data sets in a group.

    Raises:
      InputError: the file is damaged there; naming `where`.
    """
    try:
        return set(parent)
    except (RuntimeError, ValueError, OSError, KeyError) as e:  # h5py tells damage by any of these
        raise InputError(f"{where}: damaged, its names cannot be read ({e!s:.80}): extract it again") from e


def member(parent: Any, key: str, where: str) -> Any:
    """The group or data set of a name, which a link to another file is refused for.

    Raises:
      InputError: there is none, or it lies in another file.
    """
    import h5py

    link = parent.get(key, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise InputError(f"{where}: {key:.60} lies in another file, {link.filename:.60}: copy it into this one")
    if isinstance(link, h5py.SoftLink) and (link.path not in parent or parent[link.path].file != parent.file):
        raise InputError(f"{where}: {key:.60} is a link to {link.path:.60}, which is not in this file: copy it there")
    return parent[key]


def array(node: Any, where: str) -> np.ndarray:
    """The array of a data set.

    Raises:
      InputError: it holds anything but numbers, has parts that were never written or lie in other files, or holds its
        fill value.
    """
    if node.shape is None or node.dtype.kind not in "biuf":
        found = "nothing" if node.shape is None else f"an array of {node.dtype!s:.60}"
        raise InputError(f"{where}: expected an array of numbers, found {found}: save it as [T, C]")
    packed = [name for name in PACKED if name in node.attrs]
    if packed:
        raise InputError(f"{where}: its numbers are packed ({packed[0]}): unpack them, and write them as they are")
    settings = node.id.get_create_plist()
    if node.is_virtual or settings.get_external_count():
        kind = "a virtual data set" if node.is_virtual else "external storage"
        raise InputError(f"{where}: {kind}, its numbers lie in other files: write them into one, as h5repack does")
    if math.prod(node.shape):
        _all_written(node, where)
    x: np.ndarray = node[()]
    for fill in _fills(node, settings):
        rows = (x == fill).reshape(len(x), -1).any(axis=1) if x.ndim else np.asarray([x == fill])
        if rows.any():
            raise InputError(
                f"{where}: row {int(np.argmax(rows))} holds {fill!s:.20}, its value for what is missing: extract it "
                "again"
            )
    return x


def _all_written(node: Any, where: str) -> None:
    if node.chunks is None:
        # A compact data set lies within the header.
        missing = node.id.get_storage_size() == 0
        state = "it was never written"
    else:
        wanted = math.prod(-(-size // chunk) for size, chunk in zip(node.shape, node.chunks, strict=True))
        there = node.id.get_num_chunks()
        missing, state = there < wanted, f"{wanted - there} of {wanted} chunks were never written"
    if missing:
        raise InputError(f"{where}: {state}: extract it again or leave the recording out")


def _fills(node: Any, settings: Any) -> list[Any]:
    """The values that say that a number is missing; not 0, which is a number as good as any, nor NaN, found later."""
    import h5py

    found = [np.asarray(node.attrs[name]).reshape(-1) for name in FILLS if name in node.attrs]
    if settings.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED:
        found.append(np.asarray(node.fillvalue).reshape(-1))
    values = [x for one in found if one.dtype.kind in "biuf" for x in one.tolist()]
    return [x for x in values if x and not np.isnan(x)]
