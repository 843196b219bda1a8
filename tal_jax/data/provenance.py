"""Where features come from: the encoder, its weights and which images it saw, as `encoder.json` beside them tells.

Features of another encoder look the same to a model and mean something else, so whatever was made of features carries
this on, and whoever joins the two compares.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from tal_jax.errors import InputError
from tal_jax.guarded import own_files

NAME = "encoder.json"
JOURNAL = "encoder.journal"  # with the number of a process: what stands here until NAME is written
FORMAT = 1
RANDOM = "random"  # in place of the digest of weights that nobody trained
# What identities that lack a key mean, for they were written before there was a choice; such a value is left out.
_USUAL: dict[str, Any] = {"times": "stamps", "flow": None}
_REMEDY = "encode the videos again, or take the file from where it was written"
# What of it says which features these are; the rest (versions, files, types) can differ.
_WORDS = {
    "encoder": "encoder", "weights": "weights", "rate": "images a second", "images": "images of a clip",
    "interval": "images from one of a clip to the next", "stride": "images from clip to clip",
    "phase": "moment of an image", "preprocessing": "preprocessing", "layer": "layer", "width": "channels",
    "times": "times of images by", "flow": "optical flow by",
}  # fmt: skip


@dataclass(frozen=True)
class Encoded:
    """What is known of one video's features."""

    stride: float  # seconds
    seconds: float  # of the video
    snippets: int  # T
    crc32c: int | None  # of the features' bytes, see `sum_of`; None where an earlier version wrote them
    details: Mapping[str, Any]  # its file, images and notes


@dataclass(frozen=True)
class Provenance:
    """Which features these are, and of which videos."""

    identity: Mapping[str, Any]  # the keys of _WORDS
    videos: Mapping[str, Encoded]

    @property
    def width(self) -> int:
        """Channels D."""
        return int(self.identity["width"])

    @property
    def random(self) -> bool:
        """Whether nobody trained the encoder."""
        return self.identity["weights"] == RANDOM

    def video(self, id: str) -> Encoded | None:
        """Of a recording, which annotations may call by its file's name with or without "v_"."""
        names = (id, f"v_{id}", id.removeprefix("v_"))
        return next((self.videos[name] for name in names if name in self.videos), None)


def read(folder: str | os.PathLike, unfinished: bool = False) -> Provenance | None:
    """Reads what lies beside features; None where nothing does.

    Args:
      folder: of the features.
      unfinished: whether some of the videos may still lack features.

    Raises:
      InputError: the file is damaged, or of a later version of this project; or not all videos are encoded.
    """
    path = Path(folder) / NAME
    if not unfinished and any(path.parent.glob(f"{JOURNAL}*")):
        raise InputError(
            f"{path.parent}: launch.encode has not finished here: start the same command again, it goes on where it "
            "stopped"
        )
    if not path.exists():
        return None
    values = own_files.read_object(path, _REMEDY)
    if values.get("format") != FORMAT:
        raise InputError(f"{path}: its format is {values.get('format')!r:.20}, not {FORMAT}: update tal_jax")
    identity = check_identity(path, own_files.member(path, values, "features", dict, _REMEDY))
    videos = {}
    for id, row in own_files.member(path, values, "videos", dict, _REMEDY).items():
        if not isinstance(row, dict):
            raise InputError(f"{path}: damaged, record {id!r:.60} is no object: {_REMEDY}")
        stride, seconds, snippets = (
            own_files.member(path, row, key, kind, _REMEDY)
            for key, kind in (("stride", float), ("seconds", float), ("snippets", int))
        )
        if not (0 < stride < 1e6 and 0 <= seconds < 1e9 and 0 < snippets < 1 << 31):
            raise InputError(f"{path}: damaged, record {id!r:.60} has a stride of {stride} s: {_REMEDY}")
        checked = row.get("crc32c") if isinstance(row.get("crc32c"), int) else None
        videos[id] = Encoded(float(stride), float(seconds), snippets, checked, row)
    return Provenance(identity, videos)


def check_identity(path: str | os.PathLike, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an identity that a file holds. Raises InputError: something of it is missing."""
    missing = [key for key in _WORDS if key not in {**_USUAL, **values}]
    if missing or not isinstance(values["width"], int) or not isinstance(values["weights"], str):
        raise InputError(f"{path}: damaged, it does not say the {_WORDS[(missing or ['width'])[0]]}: {_REMEDY}")
    return {key: values[key] for key in _WORDS if key in values}


def differences(mine: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What differs between two identities, in words: "images a second 15, not 25"; "" where nothing does."""
    mine, other = {**_USUAL, **mine}, {**_USUAL, **other}
    return "; ".join(
        f"{words} {_short(other.get(key))}, not {_short(mine.get(key))}"
        for key, words in _WORDS.items()
        if mine.get(key) != other.get(key)
    )


def times(identity: Mapping[str, Any]) -> Any:
    """How the images were timed, see `video.decode.Video`; whether it is one of these words is for who reads it."""
    return identity.get("times", _USUAL["times"])


def identity_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """An identity as it is stored: plain JSON, without what is usual."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return {key: value for key, value in plain.items() if key not in _USUAL or value != _USUAL[key]}


def sum_of(rows: np.ndarray, before: int = 0) -> int:
    """The CRC-32C of an array's bytes, row after row, after rows whose sum is `before`; rows may be a mapped file."""
    many = max(1, (1 << 22) // max(1, rows[:1].nbytes))  # at a time, so that an hour of video needs no more memory
    for first in range(0, len(rows), many):
        before = google_crc32c.extend(before, np.ascontiguousarray(rows[first : first + many]).tobytes())
    return before


def write(path: str | os.PathLike, values: Mapping[str, Any]) -> None:
    """Writes `encoder.json` as it stands in `values`."""
    from tal_jax.data import atomic

    atomic.write(path, (json.dumps({"format": FORMAT, **values}, indent=1, ensure_ascii=False) + "\n").encode())


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text.strip('"')[:12] + ".." if isinstance(value, str) and len(value) > 40 else text.strip('"')
