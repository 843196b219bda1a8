"""Devices with three-axis sensors (accelerometer, gyroscope, magnetometer): all that one measures turns together.

A config names them, `data.triaxial`, or they are found by gravity. One rotation turns all sensors of a device:
angular velocity is a pseudo-vector, which a proper rotation turns like any vector.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tal_jax.data import atomic
from tal_jax.data.augmentation import Device, Turning
from tal_jax.data.dataset import Split
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.sensors.layouts import Layout, Unclear, tell, tell_companion
from tal_jax.words import fault, hint

RECORDINGS = 50  # to look at
VALUES = 2_000_000  # of a stream, to look at
ITEM = re.compile(r"(?P<stream>.+)\[(?P<channels>[-\d:, ]*)\]")

Named = Sequence[str | Sequence[str]]  # data.triaxial


@dataclasses.dataclass(frozen=True)
class Item:
    """A part of a device as a config names it."""

    text: str  # as it is written
    stream: str
    channels: tuple[int, ...] | None  # of the stream, x, y, z, ..; None: all of them


def write(path: Path, turning: Turning) -> None:
    """Stores what `find_devices` found (.json)."""
    atomic.write(path, json.dumps(dataclasses.asdict(turning)).encode())


def read(path: Path, width: int) -> Turning:
    """Reads what `write` stored, or the ranges of channels of one device that older versions wrote.

    Args:
      path: the file.
      width: how many channels there are.

    Raises:
      InputError: the file is missing or damaged, or names other channels.
    """
    remedy = "restore it, or remove it: the sensors are looked for anew"
    content = own_files.as_json(path, own_files.read_bytes(path, remedy), remedy)
    try:
        if isinstance(content, list):
            if not all(0 <= int(first) < int(last) <= width for first, last in content):
                raise ValueError("channels beyond the last one")  # before as many are counted up
            parts = tuple(tuple(range(int(first), int(last))) for first, last in content)
            turning = Turning((parts,) if parts else (), (_of_before(parts),))
        else:
            devices = tuple(tuple(tuple(map(int, part)) for part in device) for device in content["devices"])
            turning = Turning(devices, tuple(map(str, content["told"])))
        for part in (part for device in turning.devices for part in device):
            if not part or len(part) % 3 or min(part) < 0 or max(part) >= width:
                raise ValueError(f"channels {part}, of {width}")
        if any(fault(line) for line in turning.told):
            raise ValueError("not text")
    except (ValueError, TypeError, KeyError, OverflowError) as e:
        raise InputError(f"{path}: damaged, not a list of channel ranges or devices: {remedy}") from e
    return turning


def named_devices(named: Named, widths: Mapping[str, int], streams: Sequence[str]) -> tuple[tuple[Item, ...], ...]:
    """The devices that `data.triaxial` names, one tuple of items for each.

    Args:
      named: names of one device's streams, or one sequence of names for each of several devices. `imu` is a whole
        stream, `imu[0:6]`, `imu[0::2]` and `imu[2,0,1]` are channels of it, which are x, y, z, x, y, z, ..
      widths: stream -> channels.
      streams: the streams in use.

    Raises:
      InputError: a named stream is not in use, or has no such channels; they are no triples; one is named twice; or
        names and devices are mixed.
    """
    if not named:
        return ()
    plain = [isinstance(name, str) for name in named]
    if any(plain) != all(plain):
        raise InputError(
            "config: data.triaxial: names the streams of one device, ('acc', 'gyr'), or several devices, "
            "(('acc', 'gyr'), ('watch',)), not both"
        )
    found = []
    seen: set[tuple[str, int]] = set()
    for device in [named] if all(plain) else named:
        if not isinstance(device, Sequence) or not device or not all(isinstance(name, str) for name in device):
            raise InputError(f"config: data.triaxial: {device!r:.60}: a device is a list of streams")
        items = tuple(_item(str(name), widths, streams) for name in device)
        for item in items:
            channels = range(widths[item.stream]) if item.channels is None else item.channels
            for channel in channels:
                if (item.stream, channel) in seen:
                    raise InputError(f"config: data.triaxial: channel {channel} of {item.stream!r} is named twice")
                seen.add((item.stream, channel))
        found.append(items)
    return tuple(found)


def find_devices(named: Named, split: Split, streams: Sequence[str]) -> Turning:
    """The devices whose samples are in the streams, and what to say of them.

    Args:
      named: as of `named_devices`; where none are named, one is looked for: an accelerometer shows itself by gravity,
        and what lies beside it and is made alike belongs to it.
      split: the recordings to look at.
      streams: the streams in use, in the order in which they lie side by side.

    Raises:
      InputError: as of `named_devices`.
    """
    widths = split.metadata.streams
    devices = named_devices(named, widths, streams)
    wanted = [s for s in streams if not devices or any(item.stream == s for device in devices for item in device)]
    samples = {stream: _sample(split, stream) for stream in wanted}
    first = dict(zip(streams, np.cumsum([0, *(widths[s] for s in streams)]).tolist(), strict=False))
    if not devices:
        return _found(samples, first)
    turned, told = [], []
    for device in devices:
        layouts = _named_layouts(device, samples)
        parts, texts = [], []
        for item in device:
            text, channels = item.text, item.channels
            if channels is None:
                layout = layouts[item.stream]
                text += f" ({layout or 'x y z in turn, assumed'})"
                channels = layout.channels if layout else tuple(range(widths[item.stream]))
            parts.append(tuple(first[item.stream] + channel for channel in channels))
            texts.append(text)
        turned.append(tuple(parts))
        told.append(_line(texts, sum(map(len, parts)), "named in data.triaxial"))
    others = {stream: "not named in data.triaxial" for stream in streams if stream not in wanted}
    return Turning(tuple(turned), (*told, *_not_rotated(others)))


def _named_layouts(device: Sequence[Item], samples: Mapping[str, np.ndarray]) -> dict[str, Layout | None]:
    """The layouts of a device's whole streams; None where samples do not tell one."""
    seen = {item.stream: tell(samples[item.stream]) for item in device if item.channels is None}
    heavy = next((layout for layout in seen.values() if isinstance(layout, Layout)), None)
    found: dict[str, Layout | None] = {}
    for stream, layout in seen.items():
        if isinstance(layout, str) and heavy is not None:
            layout = tell_companion(samples[stream], "imu", heavy)  # it is a sensor, whatever its name
        found[stream] = layout if isinstance(layout, Layout) else None
    return found


def _item(text: str, widths: Mapping[str, int], streams: Sequence[str]) -> Item:
    where = "config: data.triaxial:"
    match = None if text in streams else ITEM.fullmatch(text)
    stream = match["stream"] if match else text
    if stream not in streams:
        raise InputError(f"{where} no stream {stream!r} in use: {hint(stream, streams, 'there are')}")
    width = widths[stream]
    if match is None:
        if width % 3:
            raise InputError(
                f"{where} stream {stream!r} has {width} channels, no triples of x, y and z: leave it out, or name "
                f"channels of it, such as '{stream}[0:{width // 3 * 3}]'"
            )
        return Item(text, stream, None)
    channels: list[int] = []
    for part in match["channels"].split(","):
        numbers = part.strip().split(":")
        try:
            values = [int(number) if number.strip() else None for number in numbers]
            if len(values) == 1 and values[0] is not None:
                channels.append(range(width)[values[0]])
                continue
            picked = range(width)[slice(*values)] if 2 <= len(values) <= 3 else range(0)
        except (ValueError, IndexError) as e:
            raise InputError(f"{where} {text!r}: stream {stream!r} has channels 0 to {width - 1}") from e
        channels += picked
    if not channels or len(channels) % 3:
        raise InputError(f"{where} {text!r} names {len(channels)} channels, no triples of x, y and z")
    return Item(text, stream, tuple(channels))


def _found(samples: Mapping[str, np.ndarray], first: Mapping[str, int]) -> Turning:
    """One device of all streams in which sensors are seen; samples alone cannot tell several devices apart.

    Where a stream may be another sensor of it, nothing turns: half a device must not.
    """
    seen = {stream: tell(x) for stream, x in samples.items()}
    heavy = [layout for layout in seen.values() if isinstance(layout, Layout)]
    if heavy:
        for stream, layout in seen.items():
            if isinstance(layout, str):
                results = [tell_companion(samples[stream], stream, one) for one in heavy]
                seen[stream] = min(results, key=lambda r: (isinstance(r, str), not isinstance(r, Unclear)))
    layouts = {stream: layout for stream, layout in seen.items() if isinstance(layout, Layout)}
    reasons = {stream: layout for stream, layout in seen.items() if isinstance(layout, str)}
    unclear = [stream for stream, reason in reasons.items() if isinstance(reason, Unclear)]
    if unclear:
        reasons |= {stream: f"{layout}, but {unclear[0]} may turn with it" for stream, layout in layouts.items()}
        return Turning((), tuple(_not_rotated({stream: reasons[stream] for stream in samples}, nothing=True)))
    parts = tuple(tuple(first[s] + c for c in layout.channels) for s, layout in layouts.items())
    told = []
    if parts:
        because = "gravity is seen"
        if len(heavy) > 1:
            because += " several times: data.triaxial names devices that turn each on its own"
        told = [_line([f"{s} ({layout})" for s, layout in layouts.items()], sum(map(len, parts)), because)]
    return Turning((parts,) if parts else (), (*told, *_not_rotated(reasons, nothing=not parts)))


def _line(texts: Sequence[str], channels: int, because: str) -> str:
    return f"  rotated in training, as one device: {' + '.join(texts)}: {channels} channels ({because})"


def _not_rotated(reasons: Mapping[str, str], *, nothing: bool = False) -> list[str]:
    """The line of the streams that do not turn, where there are any."""
    if not reasons:
        return []
    what = "rotated in training: nothing; " if nothing else "not rotated: "
    remedy = " (data.triaxial names what turns)" if nothing else ""
    return [f"  {what}{'; '.join(f'{stream}: {reason}' for stream, reason in reasons.items())}{remedy}"]


def _of_before(device: Device) -> str:
    count = sum(map(len, device))
    return f"  rotated in training: {f'{count} channels' if count else 'nothing'} (as when the training began)"


def _sample(split: Split, stream: str) -> np.ndarray:
    """Snippets [T, C] of some recordings, float32."""
    index = np.unique(np.linspace(0, len(split) - 1, min(RECORDINGS, len(split))).astype(int))
    found: list[np.ndarray] = []
    for record in split.records(index):
        found.append(record.features[stream])
        if sum(x.size for x in found) > VALUES:
            break
    return np.concatenate(found).astype(np.float32)
