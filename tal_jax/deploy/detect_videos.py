"""Detections in video files with an exported model that carries its encoder, ready to be written."""

import sys
from pathlib import Path

from tqdm import tqdm

from tal_jax.deploy.model import Model
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import Submission
from tal_jax.evaluation.segment_table import table_of
from tal_jax.video import annotate, folder, subtitles


def detect_in_videos(
    path: str | Path,
    source: str,
    *,
    strict: bool = False,
    plot: str | Path = "",
    subtitled: str = "",
    annotated: str = "",
    least: float = 0.3,
) -> Submission:
    """Detects as `detect_videos` does, and shows what was found.

    Args:
      path: see `detect_videos`.
      source: likewise.
      strict: likewise.
      plot: file of a picture of some videos (.png, .pdf or .svg); "" draws none.
      subtitled: file of subtitles (.vtt or .srt) for the one video there is; "" writes none.
      annotated: file of the same video with labels in its images (.mp4); "" writes none.
      least: score of what is shown; the best of a video is shown in any case.

    Raises:
      InputError: see `detect_videos`; or subtitles or a video are asked for of several, or of another format.
    """
    from tal_jax.plots import detections as figure

    videos = folder.find(source, "--video").videos
    if (subtitled or annotated) and len(videos) > 1:
        raise InputError(
            f"--video={source}: has {len(videos)} videos; subtitles and annotations are of one: give a file"
        )
    if subtitled:
        subtitles.check(subtitled)
    if annotated:
        annotate.check(annotated)
    if plot:
        figure.require_matplotlib()
    submission, lengths = detect_videos(path, source, strict=strict)
    table = submission.table
    kept = table.score >= min(least, table.score.max(initial=0.0))
    rows = zip(table.segments[kept].tolist(), table.label[kept].tolist(), table.score[kept].tolist(), strict=True)
    shown = [(start, end, submission.labels[k] if k >= 0 else "proposal", s) for (start, end), k, s in rows]
    if subtitled:
        subtitles.write(subtitled, shown)
    if annotated:
        annotate.write(next(iter(videos.values())), annotated, shown)
    if plot:
        strips = figure.strips_without_truth(submission, lengths, 6, least)
        text = figure.caption(strips, len(submission.recordings), least)
        figure.save(figure.draw(strips, submission.labels, text), str(plot))
    return submission


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
    found = folder.find(source, "--video")
    for error in found.refused.values():
        raise error
    parts, lengths = [], {}
    for id, video in tqdm(found.videos.items(), desc="detecting", unit="video", disable=None):
        recording, notes = model.recording_of(video, id, strict=strict)
        for note in notes:
            print(f"{video}: {note}", file=sys.stderr)
        parts += list(model.detect([recording]))
        lengths[id] = float(recording.duration or 0)
    return Submission(tuple(found.videos), model.labels, table_of(enumerate(parts))), lengths
