"""Recordings with actions whose ends are known without any annotation: held-out recordings, clips spliced into them.

A clip is inserted at a snippet boundary of a recording that is not labelled with the clip's class, and the rest moves
aside. So the class occurs there and nowhere else. Only labels of recordings and clips are read, never a segment.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tal_jax.data.dataset import Metadata, Split
from tal_jax.data.record import Record
from tal_jax.errors import InputError
from tal_jax.windows import Framing, resample

MAX_INSERTIONS = 3  # in one composite
JOINED = 0.5  # share of inserted actions that are two clips, one after the other: lengths vary then
MAX_FRAMES = 4  # of what is kept of a recording that is longer than the frame: an hour would cost hundreds of windows


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """Stored snippets [first, end) of a recording, all of them of one class: a clip."""

    split: Split
    position: int  # of the recording in `split`
    first: int
    end: int
    stride: float  # seconds per snippet
    label: int

    def snippets_at(self, stride: float) -> int:
        """How many whole snippets of another stride it fills, at least one."""
        return max(1, int((self.end - self.first) / self._scale(stride) + 1e-6))

    def features(self, streams: Sequence[str], stride: float, count: int) -> dict[str, np.ndarray]:
        """Its first `count` snippets at another stride: stream -> [count, C] in the storage type."""
        stored = self.split[self.position].features
        scale = self._scale(stride)
        found = {}
        for name in streams:
            x = stored[name][self.first : self.end]
            found[name] = resample(x.astype(np.float32), 0.0, scale, count).astype(x.dtype)
        return found

    def _scale(self, stride: float) -> float:
        return 1.0 if math.isclose(stride, self.stride, rel_tol=1e-6) else stride / self.stride


@dataclasses.dataclass(frozen=True)
class Insertion:
    """One action: clips of one class, one after the other."""

    position: int  # snippets of the excerpt of the host that come before it
    label: int
    clips: tuple[tuple[Excerpt, int], ...]  # and how many of the host's snippets each one fills

    @property
    def length(self) -> int:
        """In snippets of the host."""
        return sum(count for _, count in self.clips)


@dataclasses.dataclass(frozen=True)
class Composition:
    """How one composite is made."""

    host: int  # position in the hosts' split
    first: int  # stored snippets [first, first + length) of the host are kept
    length: int
    stride: float
    present: tuple[int, ...]  # classes that the host is labelled with: where they occur is not known
    insertions: tuple[Insertion, ...]  # by position

    @property
    def num_snippets(self) -> int:
        """Of the composite."""
        return self.length + sum(i.length for i in self.insertions)

    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Segments [G, 2] float64 in seconds and labels [G] int64 of the inserted actions."""
        lengths = np.array([i.length for i in self.insertions])
        start = np.array([i.position for i in self.insertions]) + np.cumsum(lengths) - lengths
        segments = np.stack([start, start + lengths], axis=1) * self.stride
        return segments, np.array([i.label for i in self.insertions], np.int64)


class Composites:
    """Composites by position, made when they are asked for; everything a pipeline asks of a `Split`.

    Attributes:
      compositions: [N] how each one is made.
      ids: [N] array of str.
      durations: [N] float64 seconds.
      num_snippets: [N] int64.
      metadata: of the hosts' set.
    """

    def __init__(self, hosts: Split, streams: Sequence[str], compositions: Sequence[Composition]):
        self._hosts, self._streams = hosts, tuple(streams)
        self.compositions = tuple(compositions)
        self.metadata: Metadata = hosts.metadata
        self.ids = np.array([f"{hosts.ids[c.host]}+{i}" for i, c in enumerate(self.compositions)])
        self.num_snippets = np.array([c.num_snippets for c in self.compositions], np.int64)
        self.durations = self.num_snippets * np.array([c.stride for c in self.compositions], np.float64)

    def __len__(self) -> int:
        return len(self.compositions)

    def __getitem__(self, i: int) -> Record:
        """The spliced recording: labels of host and clips, no segments.

        Raises:
          IndexError: no composite i.
          InputError: a shard is damaged.
        """
        c = self.compositions[i]
        return render(self._hosts[c.host], c, self._streams, str(self.ids[i]))


def render(host: Record, composition: Composition, streams: Sequence[str], id: str) -> Record:
    """The spliced recording: labels of host and clips, no segments.

    Raises:
      InputError: the shard of a clip is damaged.
    """
    c = composition
    parts: dict[str, list[np.ndarray]] = {name: [] for name in streams}
    at = c.first
    for insertion in c.insertions:
        clips = [clip.features(streams, c.stride, count) for clip, count in insertion.clips]
        for name, pieces in parts.items():
            pieces += [host.features[name][at : c.first + insertion.position], *(clip[name] for clip in clips)]
        at = c.first + insertion.position
    for name, pieces in parts.items():
        pieces.append(host.features[name][at : c.first + c.length])
    return Record(
        id=id,
        features={name: np.concatenate(pieces) for name, pieces in parts.items()},
        stride=c.stride,
        duration=c.num_snippets * c.stride,
        segments=np.zeros((0, 2)),
        labels=np.zeros(0, np.int32),
        present=np.array(sorted({*c.present, *(n.label for n in c.insertions)}), np.int32),
    )


def whole(host: Record, position: int, streams: Sequence[str]) -> Composition:
    """A host without anything inserted."""
    length = min(len(host.features[name]) for name in streams)
    return Composition(position, 0, length, host.stride, tuple(map(int, host.present)), ())


def excerpts(split: Split, index: np.ndarray, streams: Sequence[str]) -> list[Excerpt]:
    """Whole clips of the given positions [N], without those of several classes: which is where is not known."""
    found = []
    for i in index:
        clip = split[int(i)]
        length = min(len(clip.features[name]) for name in streams)
        if len(clip.present) == 1 and length:
            found.append(Excerpt(split, int(i), 0, length, clip.stride, int(clip.present[0])))
    return found


def compose(
    hosts: Split,
    index: np.ndarray,
    clips: Sequence[Excerpt],
    *,
    streams: Sequence[str],
    framing: Framing,
    count: int,
    seed: int,
) -> Composites:
    """Plans composites: every host in turn, the classes as evenly as the hosts' labels allow.

    An action fills at most half of the frame, and all of them at most half of a composite. A host that fits into the
    frame is cut so that its composite does too; of a longer one an excerpt of at most MAX_FRAMES frames is used.

    Args:
      hosts: the split of the recordings to splice clips into.
      index: [N] positions of those that are used.
      clips: the clips to draw from.
      streams: names of the streams whose features are spliced.
      framing: how the stage frames recordings.
      count: number of composites.
      seed: the plan is a function of it.

    Raises:
      InputError: there is no clip, or every host is labelled with all classes of the clips.
    """
    if not clips:
        raise InputError(
            f"{hosts.directory}: nothing to splice into the held-out recordings: prepare the set with --clips"
        )
    rng = np.random.default_rng(seed)
    by_label: dict[int, list[Excerpt]] = {}
    for clip in sorted(clips, key=lambda clip: clip.label):
        by_label.setdefault(clip.label, []).append(clip)
    used = dict.fromkeys(by_label, 0)
    bare: dict[int, Composition] = {}  # hosts without anything inserted
    planned: list[Composition] = []
    while len(planned) < count:
        before = len(planned)
        for i in rng.permutation(index).tolist():
            if i not in bare:
                bare[i] = whole(hosts[i], i, streams)
            composition = insert(bare[i], by_label, used, framing, rng)
            if composition is not None:
                planned.append(composition)
            if len(planned) == count:
                break
        if len(planned) == before:
            raise InputError(
                f"{hosts.directory}: no composite can be made: every held-out recording of {hosts.split!r} is labelled "
                "with all classes that there are clips of; hold out more recordings, or prepare clips of other classes"
            )
    return Composites(hosts, streams, planned)


def insert(
    host: Composition,
    clips: Mapping[int, list[Excerpt]],
    used: dict[int, int],
    framing: Framing,
    rng: np.random.Generator,
) -> Composition | None:
    """A composite of a host, or None where no class is absent.

    Args:
      host: the recording, as `whole` makes it.
      clips: the clips to draw from, by label.
      used: how often each class was inserted so far; the rarest come next, and this call counts its own.
      framing: how the stage frames recordings.
      rng: the generator to draw with.
    """
    absent = [label for label in clips if label not in host.present]
    span = int(framing.native_span(host.length))
    limit = 2 * host.length
    if framing.mode == "window":
        limit = min(limit, span if host.length <= span else MAX_FRAMES * span)
    room = limit // 2
    longest = room if framing.mode == "resize" else min(room, span // 2)
    if not absent or longest < 1:
        return None
    actions: list[tuple[int, tuple[tuple[Excerpt, int], ...]]] = []
    total = 0
    for _ in range(rng.integers(1, MAX_INSERTIONS + 1)):
        least = min(used[label] for label in absent)
        label = int(rng.choice([label for label in absent if used[label] == least]))
        chosen = _draw(clips[label], host.stride, min(longest, room - total), rng)
        if not chosen and actions:
            break
        if not chosen:  # a clip that is too long is cut
            clip = clips[label][rng.integers(len(clips[label]))]
            chosen = ((clip, min(longest, clip.snippets_at(host.stride))),)
        actions.append((label, chosen))
        used[label] += 1
        total += sum(snippets for _, snippets in chosen)
    length = min(host.length, limit - total)
    first = int(rng.integers(host.length - length + 1))
    # Uniform, but far enough from each other for actions to stay apart.
    gap = max(1, length // (2 * len(actions)))
    free = length - gap * (len(actions) - 1)
    positions = np.sort(rng.integers(free + 1, size=len(actions))) + gap * np.arange(len(actions))
    inserted = tuple(Insertion(int(p), label, chosen) for p, (label, chosen) in zip(positions, actions, strict=True))
    return dataclasses.replace(host, first=first, length=length, insertions=inserted)


def _draw(
    clips: Sequence[Excerpt], stride: float, room: int, rng: np.random.Generator
) -> tuple[tuple[Excerpt, int], ...]:
    """Two different clips, or one, that fit into `room` snippets; () where the first one drawn does not."""
    wanted = 2 if rng.uniform() < JOINED else 1
    chosen: list[tuple[Excerpt, int]] = []
    for i in rng.permutation(len(clips))[:wanted].tolist():
        snippets = clips[i].snippets_at(stride)
        if snippets > room - sum(count for _, count in chosen):
            break
        chosen.append((clips[i], snippets))
    return tuple(chosen)
