"""Detections in video files with an exported model that carries its encoder, ready to be written."""

import sys
from pathlib import Path

from tqdm import tqdm

from tal_jax.deploy.model import Model, Recording
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import table_of
from tal_jax.video import folder


def detect_videos(path: str | Path, source: str, *, strict: bool = False) -> tuple[Submission, dict[str, float]]:
    """Detects in a video, or in all of a folder; of an hour of video a few images are held at a time.

    Args:
      path: the folder of a model that was exported with its encoder.
      source: a video, or a folder of videos.
      strict: damage is an error; otherwise what can be decoded counts, and is told on stderr.

    Returns:
      The detections in seconds, and the seconds of every video by id.

    Raises:
      InputError: the model has no encoder, or needs what no video gives, or a video cannot be read.
    """
    model = Model(path)
    encoder = model.encoder
    if encoder is None:
        raise InputError(f"{path}: the model was exported without its encoder: export it with --weights=FILE")
    if model.needs:
        raise InputError(f"{path}: the model takes {', '.join(model.needs)} from outside, which no video gives")
    found = folder.find(source)
    for error in found.refused.values():
        raise error
    parts, lengths = [], {}
    for id, video in tqdm(found.videos.items(), desc="detecting", unit="video", disable=None):
        encoded = encoder.encode(str(video), strict=strict)
        for note in encoded.notes:
            print(f"{video}: {note}", file=sys.stderr)
        recording = Recording([encoded.features], id, encoded.stride, max(encoded.seconds, encoded.stride))
        parts += list(model.detect([recording]))
        lengths[id] = encoded.seconds
    return Submission(tuple(found.videos), model.labels, table_of(enumerate(parts))), lengths
