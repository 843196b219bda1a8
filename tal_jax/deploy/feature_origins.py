"""Feature files under an exported model: are they of the encoder that it was trained with, and how far apart?"""

import os
from collections.abc import Collection, Mapping
from dataclasses import replace

from tal_jax.checks.doubts import ENCODER
from tal_jax.data import provenance
from tal_jax.data.provenance import Provenance
from tal_jax.deploy.model import Model
from tal_jax.errors import InputError
from tal_jax.prepare.feature_formats import File


def of(files: Mapping[str, Mapping[str, File]]) -> dict[str, Provenance]:
    """What `encoder.json` beside the files of each stream says, of those that have one. Raises InputError: damaged."""
    folders = {
        stream: os.path.dirname(file.path) or "." for streams in files.values() for stream, file in streams.items()
    }
    found = {stream: provenance.read(folder) for stream, folder in folders.items()}
    return {stream: known for stream, known in found.items() if known is not None}


def check(model: Model, found: Mapping[str, Provenance], accept: Collection[str]) -> None:
    """Compares encoders.

    Args:
      model: the exported model.
      found: see `of`.
      accept: "encoder" takes features of any.

    Raises:
      InputError: features are of another encoder than the model's, or do not say of which, where the model knows.
    """
    if ENCODER in accept:
        return
    for stream, identity in model.encoders.items():
        own = found.get(stream)
        if own is None:
            differ = f"no {provenance.NAME} beside the files says what they are"
        elif not (differ := provenance.differences(identity, own.identity)):
            continue
        raise InputError(
            f"{model.path}: features {stream!r} are not of the encoder that the model was trained with: {differ}: "
            "encode the videos in the same way, or insist with --accept=encoder"
        )


def with_sums(
    files: Mapping[str, Mapping[str, File]], found: Mapping[str, Provenance], accept: Collection[str]
) -> dict[str, dict[str, File]]:
    """The files, which will be compared with the sums of what was encoded; see `check`."""

    def of(stream: str, id: str, file: File) -> File:
        video = found[stream].videos.get(id) if stream in found and ENCODER not in accept else None
        return file if video is None else replace(file, crc32c=video.crc32c)

    return {id: {stream: of(stream, id, file) for stream, file in streams.items()} for id, streams in files.items()}


def strides(found: Mapping[str, Provenance]) -> dict[str, float]:
    """Seconds per snippet by id, as the encoders say."""
    return {id: video.stride for known in found.values() for id, video in known.videos.items()}


def durations(found: Mapping[str, Provenance]) -> dict[str, float]:
    """Seconds of the videos by id, as far as they are known."""
    return {id: video.seconds for known in found.values() for id, video in known.videos.items() if video.seconds > 0}
