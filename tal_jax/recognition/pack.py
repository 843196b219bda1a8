"""Videos and what they show to a packed set of images, to train encoders on: what `launch.pack` does.

The set is one of launch.prepare: the same shards, index, seal and metadata, and a run goes on where it stopped. Its
streams are images in place of features, of which `fps` a second are stored.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tal_jax.checks import ignored
from tal_jax.data import annotations, dataset
from tal_jax.data.annotations import Note
from tal_jax.data.images import JPEG, QUALITY, pillow
from tal_jax.errors import InputError
from tal_jax.prepare import damaged, prepare
from tal_jax.prepare.feature_files import Stream
from tal_jax.prepare.feature_formats import File
from tal_jax.prepare.plan import MIN_SHARD_BYTES, MIN_SHARDS, Plan, classes_of
from tal_jax.prepare.shards import Group
from tal_jax.recognition import clip_lists
from tal_jax.recognition.clip_lists import Clip
from tal_jax.recognition.cutting import FLOW, RGB, ClipItem, CutSettings
from tal_jax.video import folder
from tal_jax.video.decode import av
from tal_jax.video.pixels import BOUND, FlowMethod

SEGMENTS, WHOLE = "segments", "whole"  # what is packed of annotated videos
IMAGE_BYTES = 16_000  # of a JPEG file, about: how the work is divided


@dataclass(frozen=True)
class Options:
    """The arguments of launch.pack, as given."""

    videos: str  # a folder, or one video
    out: str
    annotations: str = ""  # ActivityNet layout
    clips_csv: str = ""  # in its place
    what: str = SEGMENTS
    fps: float = 15.0
    short_side: int = 256
    quality: int = QUALITY
    min_seconds: float = 0.0
    ignore_labels: Sequence[str] = ()
    blocked: str | None = None  # see `damaged.find`
    missing: str = "error"  # or "skip"
    workers: int | None = None  # processes; None: all cores
    shard_mb: int = 256
    flow: bool = False
    flow_method: FlowMethod = "denseflow"


def pack(options: Options) -> str:
    """Packs clips, or goes on with a set that was interrupted.

    Returns:
      The summary as text: what was kept, and what was left out and why.

    Raises:
      InputError: an argument or a file is wrong.
      OSError: the disk is full; free some and start again.
    """
    av()
    pillow()
    return prepare.run(plan(options), Path(options.out), options.workers)


def plan(options: Options) -> Plan:
    """Checks the arguments and finds the video of every clip. Raises InputError: naming file, record and remedy."""
    source, clips, notes = _clips(options)
    videos = folder.find(options.videos).videos
    listed, unknown = damaged.find(options.blocked, [{clip.video for clip in clips}])
    labels, untrained = classes_of(source, {clip.recording.id: clip.recording for clip in clips})
    found, more = _located(source, options, [clip for clip in clips if clip.video not in listed], videos)
    notes += [*more, *unknown, *untrained]
    settings = CutSettings(
        labels=labels,
        streams=(Stream(RGB, 3, None), *([Stream(FLOW, 2, None)] if options.flow else [])),
        stride=1 / options.fps,
        dtype=JPEG,
        min_seconds=options.min_seconds,
        ignored=tuple(sorted(options.ignore_labels)),
        fps=options.fps,
        short_side=options.short_side,
        quality=options.quality,
        flow_method=options.flow_method if options.flow else None,
    )
    items = [_item(clip, path, options.fps) for clip, path in found]
    items.sort(key=lambda item: item.recording.id)
    splits = {s: tuple(i for i in items if i.recording.subset == s) for s in dataset.SPLITS}
    groups = {split: Group(settings, members) for split, members in splits.items() if members}
    total = sum(sum(item.sizes) for item in items)
    flow = [f"stream {FLOW}: TV-L1 as {options.flow_method} has it, 8 bits for +-{BOUND:g} pixels"]
    said = f"{options.fps:g} images a second, short side {options.short_side}, JPEG quality {options.quality}"
    return Plan(
        splits=groups,
        proposals={},
        fractions=False,
        notes=notes,
        fingerprint=_fingerprint(settings, groups),
        shard_bytes=min(options.shard_mb << 20, max(total // MIN_SHARDS, MIN_SHARD_BYTES)),
        annotations=source,
        stride_flag=f"--fps={options.fps:g}",
        doubts=(),
        accept=("no_segments",),
        facts=[f"stream {RGB}: {said}", *(flow if options.flow else [])],
        encoders={},
    )


def _clips(options: Options) -> tuple[str, list[Clip], list[Note]]:
    """The file that says what is shown, its clips, and notes on those left out."""
    if bool(options.annotations) == bool(options.clips_csv):
        raise InputError("--annotations=A.json or --clips_csv=C.csv: give one of them, to say what the videos show")
    if options.clips_csv:
        if options.ignore_labels:
            raise InputError("--ignore_labels: goes with --annotations; take such rows out of --clips_csv")
        clips, notes = clip_lists.read_csv(options.clips_csv)
        return options.clips_csv, clips, notes
    recordings = annotations.read(options.annotations, keep_untimed=options.what == WHOLE)
    recordings, notes = ignored.leave_out(recordings, options.ignore_labels, options.annotations)
    if options.what == WHOLE:
        return options.annotations, clip_lists.whole(recordings), notes
    clips, more = clip_lists.segments(recordings, options.min_seconds)
    if not clips:
        raise InputError(f"{options.annotations}: no segment to pack: give labels of whole videos with --what=whole")
    return options.annotations, clips, [*notes, *more]


def _located(
    source: str, options: Options, clips: Sequence[Clip], videos: Mapping[str, Path]
) -> tuple[list[tuple[Clip, Path]], list[Note]]:
    """Clips with their videos, ID or v_ID; notes on those without."""
    found, notes = [], []
    for clip in clips:
        names = (clip.video, f"v_{clip.video}", clip.video.removeprefix("v_"))
        path = next((videos[name] for name in names if name in videos), None)
        if path is not None:
            found.append((clip, path))
        elif options.missing == "skip":
            notes.append(Note("missing video", clip.recording.id, f"no {clip.video} in {options.videos}"))
        else:
            raise InputError(
                f"{source}: {clip.video}: no such video in {options.videos}: add it, or leave such clips out with "
                "--missing=skip"
            )
    if not found:
        raise InputError(f"--videos={options.videos}: holds none of the videos of {source}: check both")
    return found, notes


def _item(clip: Clip, path: Path, fps: float) -> ClipItem:
    seconds = 30.0 if clip.end is None else clip.end - clip.begin  # a guess, to divide the work
    size = int(seconds * fps + 1) * IMAGE_BYTES
    return ClipItem(clip.recording, (File(str(path)),), (size,), 1 / fps, (None,), clip.begin, clip.end)


def _fingerprint(settings: CutSettings, groups: Mapping[str, Group]) -> str:
    """Of everything that decides what the set holds; a copy of the videos elsewhere is the same data."""
    items = {
        split: [
            [asdict(i.recording), Path(i.files[0].path).name, Path(i.files[0].path).stat().st_size, *_times(i)]
            for i in group.items
        ]
        for split, group in groups.items()
    }
    values = {"version": dataset.VERSION, "settings": repr(replace(settings, harmed=())), "items": items}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _times(item: object) -> tuple[float, float | None]:
    assert isinstance(item, ClipItem)
    return item.begin, item.end
