"""What an unfinished run of `encode` has done, so that the same command goes on where it stopped.

A line is added after a video's features stand under their name; at the end all lines become `encoder.json`.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tal_jax.data import provenance
from tal_jax.devices import processes
from tal_jax.encoding import feature_file
from tal_jax.errors import InputError

_OF_A_ROW = {"id": str, "bytes": int, "snippets": int}


class Journal:
    """The videos that are done, of one folder of features."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], process: int = 0):
        """Reads what an earlier run left.

        Args:
          folder: of the features.
          identity: of the features that will be made.
          process: which of several processes writes here.

        Raises:
          InputError: the folder holds features of another encoder, or another sampling.
        """
        self._folder, self._identity = folder, dict(identity)
        self._path = folder / f"{provenance.JOURNAL}{process}"
        self.videos: dict[str, dict[str, Any]] = {}
        for found, videos in [_finished(folder), *map(_lines, sorted(folder.glob(f"{provenance.JOURNAL}*")))]:
            if videos and (other := provenance.differences(self._identity, found)):
                raise InputError(f"{folder}: holds features of another kind ({other}): give another --out")
            self.videos |= videos

    def done(self, id: str, source: Path) -> bool:
        """Whether a video's features are there, whole, and of this very file."""
        row = self.videos.get(id)
        if row is None or row["bytes"] != source.stat().st_size:
            return False
        features = self._folder / f"{id}.npy"
        if feature_file.is_whole(features, row["snippets"], self._identity["width"], row.get("crc32c")):
            return True
        if features.exists():
            processes.say(f"{features}: no longer as it was written: {source.name} is encoded again")
        return False

    def add(self, id: str, row: Mapping[str, Any]) -> None:
        """Notes a video whose features stand under their name. Raises OSError: the disk is full."""
        with self._path.open("ab") as file:
            lines = [{"features": self._identity}] if file.tell() == 0 else []
            # A line that a kill cut short ends here.
            text = ("\n" if file.tell() else "") + "".join(json.dumps(x) + "\n" for x in [*lines, {"id": id, **row}])
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        self.videos[id] = dict(row)

    def finish(self, values: Mapping[str, Any]) -> None:
        """Writes `encoder.json`, with `values` beside identity and videos, and removes the journals."""
        journals = sorted(self._folder.glob(f"{provenance.JOURNAL}*"))  # of the other processes as well
        for _, videos in map(_lines, journals):
            self.videos |= videos
        videos = {id: self.videos[id] for id in sorted(self.videos)}
        provenance.write(self._folder / provenance.NAME, {"features": self._identity, **values, "videos": videos})
        for path in journals:
            path.unlink()


def _finished(folder: Path) -> tuple[Mapping[str, Any], dict[str, dict[str, Any]]]:
    found = provenance.read(folder, unfinished=True)
    return ({}, {}) if found is None else (found.identity, {id: dict(v.details) for id, v in found.videos.items()})


def _lines(path: Path) -> tuple[Mapping[str, Any], dict[str, dict[str, Any]]]:
    """A journal's identity and videos; what a kill cut short is not there."""
    identity: Mapping[str, Any] = {}
    videos = {}
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("features"), dict):
            identity = row["features"]
        elif isinstance(row, dict) and all(isinstance(row.get(key), kind) for key, kind in _OF_A_ROW.items()):
            videos[row.pop("id")] = row
    return identity, videos if identity else {}
