"""What `encoder.json` beside features says of them: strides, widths and lengths, and which encoder they are of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tal_jax.checks.doubts import ENCODER, Doubt
from tal_jax.data import provenance
from tal_jax.data.annotations import some
from tal_jax.data.provenance import Provenance
from tal_jax.errors import InputError
from tal_jax.prepare import shards as packing
from tal_jax.prepare.feature_files import Stream
from tal_jax.prepare.strides import Strides, parse

EXACT = 1e-6  # relative: a stride that differs by more is another one


def read(sources: Mapping[str, str], flag: str) -> dict[str, Provenance]:
    """Of every stream whose folder has one, what it says.

    Args:
      sources: the folder, or HDF5 file, of every stream.
      flag: that named them.

    Raises:
      InputError: one is damaged, is not finished, or is not there.
    """
    for name, source in sources.items():
        if not Path(source).exists():
            raise InputError(f"--{flag}={name}={source}: no such folder or file: give the features of {name}")
    found = {name: provenance.read(source) for name, source in sources.items() if Path(source).is_dir()}
    return {name: known for name, known in found.items() if known is not None}


def strides(
    sources: Mapping[str, str],
    found: Sequence[Mapping[str, Provenance]],
    stride: str | None,
    images_per_snippet: str | float | None,
) -> Strides:
    """The strides of a set: as the flags say, or without flags as the features' encoders do.

    Args:
      sources: the folder of every stream.
      found: what `read` found of recordings, and of clips if there are any.
      stride: see `strides.parse`.
      images_per_snippet: likewise.

    Raises:
      InputError: neither flags nor encoders say anything, or they contradict each other.
    """
    if stride is not None or images_per_snippet is not None or not any(found):
        return parse(stride, images_per_snippet)
    listed: dict[str, float] = {}
    for streams in found:
        for name, known in streams.items():
            for id, video in known.videos.items():
                if abs(listed.setdefault(id, video.stride) - video.stride) > EXACT * video.stride:
                    raise InputError(
                        f"{sources.get(name, name)}: record {id}: its snippets are {video.stride:g} s apart, those of "
                        f"another stream {listed[id]:g} s: encode all streams with one stride"
                    )
    values = set(listed.values())
    return Strides(provenance.NAME, listed=listed) if len(values) > 1 else Strides(provenance.NAME, one=values.pop())


def doubts(
    sources: Mapping[str, str],
    found: Mapping[str, Provenance],
    streams: Sequence[Stream],
    items: Sequence[packing.Item],
) -> list[Doubt]:
    """What contradicts the encoders: other strides by flag, other lengths or widths than were written.

    Args:
      sources: the folder of every stream.
      found: see `read`.
      streams: the streams as their files have them.
      items: the recordings with their strides and the shapes of their files.
    """
    for at, stream in enumerate(streams):
        if (known := found.get(stream.name)) is None:
            continue
        where = Path(sources[stream.name]) / provenance.NAME
        if known.width != stream.width:
            return [_doubt(f"{where}: features have {known.width} channels, the files {stream.width}")]
        other = []
        for item in items:
            if (video := known.video(item.recording.id)) is None:
                continue
            if item.stride is not None and abs(item.stride - video.stride) > EXACT * video.stride:
                apart = f"its snippets are {video.stride:g} s apart, not {item.stride:g}"
                return [_doubt(f"{where}: record {item.recording.id}: {apart}", "leave out --stride")]
            if (shape := item.shapes[at]) is not None and video.snippets not in shape:
                other.append(item.recording.id)
        if other:
            return [_doubt(f"{where}: record {some(other)}: its file has another length than was encoded")]
    return []


def with_sums(
    found: Mapping[str, Provenance], streams: Sequence[Stream], items: Sequence[packing.Item]
) -> tuple[packing.Item, ...]:
    """The recordings, whose files will be compared with the sums of what was encoded."""
    result = []
    for item in items:
        files = []
        for stream, file in zip(streams, item.files, strict=True):
            video = found[stream.name].video(item.recording.id) if stream.name in found else None
            files.append(file if video is None else replace(file, crc32c=video.crc32c))
        result.append(replace(item, files=tuple(files)))
    return tuple(result)


def unlike(of_recordings: Mapping[str, Provenance], of_clips: Mapping[str, Provenance]) -> list[Doubt]:
    """Clips whose features are not of the recordings' encoder."""
    for name, known in of_recordings.items():
        other = of_clips.get(name)
        differ = provenance.differences(known.identity, other.identity) if other else f"no {provenance.NAME}"
        if differ:
            return [_doubt(f"--clip_features={name}: not the encoder of the recordings' features ({differ})")]
    return []


def lines(found: Mapping[str, Provenance]) -> list[str]:
    """What the summary says of the encoders."""
    result = []
    for name, known in found.items():
        rate = known.identity["rate"]
        images = f"{rate:g} images a second" if isinstance(rate, int | float) else "the video's own rate"
        nobody = "; its weights are random: good for nothing but trying the way" if known.random else ""
        result.append(f"stream {name}: {known.identity['encoder']}, {images}, as {provenance.NAME} says{nobody}")
    return result


def _doubt(text: str, remedy: str = "encode the videos again") -> Doubt:
    return Doubt(ENCODER, f"{text}: {remedy}")
