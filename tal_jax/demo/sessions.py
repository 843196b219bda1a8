"""A data set that needs no download: untrimmed sessions composed from real smart-watch recordings.

The package seglearn (BSD-3) ships 140 recordings of ten people doing seven shoulder exercises with a watch at the
wrist (Burns et al. 2018, arXiv:1802.01489): acceleration and angular velocity at 50 Hz, 20 to 50 seconds of one
exercise each. A session strings stretches of one person together: actions of 6 to 15 s, which are two different
exercises one after the other, between stretches of background. So the signal is real, and where every action begins and
ends is known to the sample.
"""

import hashlib
import importlib.util
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.data import atomic
from tal_jax.demo.encoders import ENCODERS
from tal_jax.errors import InputError

RATE = 50  # samples per second
STRIDE = 0.2  # seconds per snippet

PEOPLE = {"training": (1, 2, 3, 4), "validation": (8, 9, 10)}
CLIP_PEOPLE = (5, 6, 7)
ACTIONS = {"action_0": (0, 1), "action_1": (2, 3), "action_2": (4, 5)}  # exercises, in either order
BACKGROUND = 6  # exercise
SESSION_SECONDS = (40.0, 90.0)
BACKGROUND_SECONDS = (3.0, 10.0)
EXERCISE_SECONDS = (3.0, 7.5)  # half an action
CLIP_SECONDS = (6.0, 10.0)
ACTIONS_PER_SESSION = (2, 5)

_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"


@dataclass(frozen=True, eq=False)
class Source:
    """The recordings as they come with the package."""

    signals: tuple[np.ndarray, ...]  # each [samples, 6] float64
    exercise: np.ndarray  # [recordings] int, 0 .. 6
    subject: np.ndarray  # [recordings] int, 1 .. 10


@dataclass(frozen=True)
class Stretch:
    """A piece of one source recording."""

    source: int
    first: int  # sample
    samples: int


@dataclass(frozen=True)
class Part:
    """An action (two stretches), a clip, or background (label None)."""

    label: str | None
    stretches: tuple[Stretch, ...]

    @property
    def samples(self) -> int:
        """Length in samples."""
        return sum(stretch.samples for stretch in self.stretches)


@dataclass(frozen=True)
class Session:
    """A recording to be composed: a plan, no samples."""

    id: str
    subset: str
    subject: int
    parts: tuple[Part, ...]

    @property
    def samples(self) -> int:
        """Length in samples."""
        return sum(part.samples for part in self.parts)


def compose(
    out: str | os.PathLike,
    seed: int = 0,
    sessions: tuple[int, int] = (300, 100),
    encoders: Sequence[str] = ("features",),
) -> None:
    """Writes the data set: a function of (seed, sessions).

    `OUT/annotations.json` and `OUT/features/ID.npy` are the untrimmed sessions, `OUT/clips.json` and `OUT/clips/ID.npy`
    the trimmed clips of other people, labelled by the action their exercise belongs to. Features are float16 [T, 48],
    standardised with the statistics of the training sessions. Snippets take `STRIDE` seconds. Other encoders than
    "features" write `OUT/NAME/ID.npy` and `OUT/NAME_clips/ID.npy`.

    Args:
      out: the folder to write to, made where it is missing. Files of the same names are replaced, annotations last.
      seed: decides which recordings are composed, and how.
      sessions: how many for training and validation, both positive.
      encoders: names of encoders, some of `encoders.ENCODERS`.

    Raises:
      InputError: seglearn is missing or ships other data, or the folder cannot be made.
    """
    source = load()
    plan = plan_sessions(source, seed, dict(zip(PEOPLE, sessions, strict=True)))
    clips = plan_clips(source, seed)
    folder = Path(out)
    folders = {
        name: (folder / name, folder / ("clips" if name == "features" else f"{name}_clips")) for name in encoders
    }
    try:
        for pair in folders.values():
            for each in pair:
                each.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as e:
        raise InputError(f"{e.filename}: cannot be made a folder ({e.strerror}): choose another --out") from e
    for name in (
        "annotations.json",
        "clips.json",
    ):  # without them, a half-replaced data set cannot be taken for a whole
        (folder / name).unlink(missing_ok=True)
    for name, (untrimmed, trimmed) in folders.items():
        raw = {session.id: ENCODERS[name](signal(source, session)) for session in (*plan, *clips)}
        training = np.concatenate([raw[session.id] for session in plan if session.subset == "training"])
        mean, std = training.mean(axis=0), training.std(axis=0)
        for place, group in ((untrimmed, plan), (trimmed, clips)):
            for session in group:
                _save(place / f"{session.id}.npy", (raw[session.id] - mean) / std)
    _write_annotations(folder / "clips.json", "watch clips", clips)
    _write_annotations(folder / "annotations.json", "watch sessions", plan)


def load() -> Source:
    """Reads the recordings out of the installed package, without importing it.

    Raises:
      InputError: the package is missing, or its file is not the one this composition was made for.
    """
    spec = importlib.util.find_spec("seglearn")
    if spec is None or not spec.submodule_search_locations:
        raise InputError('seglearn is not installed: the demo data comes with it: pip install "tal_jax[demo]"')
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / "watch_dataset.npy"
    remedy = 'pip install --force-reinstall "tal_jax[demo]"'
    try:
        content = path.read_bytes()
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}): {remedy}") from e
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise InputError(f"{path}: not the recordings of seglearn 1.2.5: {remedy}")
    # The file is a pickled dict, which np.load may open here because the checksum says that it is the reviewed one.
    data: Mapping[str, Any] = np.load(io.BytesIO(content), allow_pickle=True).item()
    return Source(tuple(data["X"]), np.asarray(data["y"]), np.asarray(data["subject"]))


def plan_sessions(source: Source, seed: int, counts: Mapping[str, int]) -> list[Session]:
    """Draws sessions; each has its own random stream, so a longer data set begins with the shorter one.

    Args:
      source: the recordings.
      seed: decides which recordings are composed, and how.
      counts: number of sessions by subset, shared out evenly among the people of the subset.
    """
    plan = []
    for number, (subset, people) in enumerate(PEOPLE.items()):
        for i in range(counts[subset]):
            rng = np.random.default_rng([seed, number, i])
            plan.append(_session(source, rng, f"watch_{subset}_{i:04d}", subset, people[i % len(people)]))
    return plan


def plan_clips(source: Source, seed: int) -> list[Session]:
    """Cuts the recordings of other people into clips of a single exercise, one after the other without overlap."""
    rng = np.random.default_rng([seed, len(PEOPLE)])
    label_of = {exercise: label for label, exercises in ACTIONS.items() for exercise in exercises}
    clips: list[Session] = []
    for index in np.flatnonzero(np.isin(source.subject, CLIP_PEOPLE) & (source.exercise != BACKGROUND)):
        first, label = 0, label_of[int(source.exercise[index])]
        while True:
            samples = _samples(rng, CLIP_SECONDS)
            if first + samples > len(source.signals[index]):
                break
            part = Part(label, (Stretch(int(index), first, samples),))
            clips.append(Session(f"clip_{len(clips):04d}", "training", int(source.subject[index]), (part,)))
            first += samples
    return clips


def signal(source: Source, session: Session) -> np.ndarray:
    """The composed signal: [samples, 6] float64 at `RATE`."""
    stretches = (stretch for part in session.parts for stretch in part.stretches)
    return np.concatenate([source.signals[s.source][s.first : s.first + s.samples] for s in stretches])


def annotations(session: Session) -> dict[str, Any]:
    """The session's entry in the ActivityNet layout, with `duration` and `subject`."""
    found, first = [], 0
    for part in session.parts:
        if part.label is not None:
            found.append({"label": part.label, "segment": [first / RATE, (first + part.samples) / RATE]})
        first += part.samples
    return {
        "subset": session.subset,
        "duration": session.samples / RATE,
        "subject": session.subject,
        "annotations": found,
    }


def _session(source: Source, rng: np.random.Generator, key: str, subset: str, subject: int) -> Session:
    shortest, longest = (round(seconds * RATE) for seconds in SESSION_SECONDS)
    while True:  # the length of a session follows from its parts: draw until it fits
        count = int(rng.integers(ACTIONS_PER_SESSION[0], ACTIONS_PER_SESSION[1] + 1))
        kinds = rng.permutation(list(ACTIONS))[: rng.integers(1, 3)]
        labels = [*kinds, *rng.choice(kinds, count - len(kinds))]
        parts = [_background(source, rng, subject)]
        for label in rng.permutation(labels):
            exercises = rng.permutation(ACTIONS[str(label)])
            parts.append(Part(str(label), tuple(_cut(source, rng, subject, e, EXERCISE_SECONDS) for e in exercises)))
            parts.append(_background(source, rng, subject))
        session = Session(key, subset, subject, tuple(parts))
        if shortest <= session.samples <= longest:
            return session


def _background(source: Source, rng: np.random.Generator, subject: int) -> Part:
    return Part(None, (_cut(source, rng, subject, BACKGROUND, BACKGROUND_SECONDS),))


def _cut(
    source: Source, rng: np.random.Generator, subject: int, exercise: int, seconds: tuple[float, float]
) -> Stretch:
    index = int(rng.choice(np.flatnonzero((source.subject == subject) & (source.exercise == exercise))))
    samples = _samples(rng, seconds)
    return Stretch(index, int(rng.integers(len(source.signals[index]) - samples + 1)), samples)


def _samples(rng: np.random.Generator, seconds: tuple[float, float]) -> int:
    return int(rng.integers(round(seconds[0] * RATE), round(seconds[1] * RATE) + 1))


def _save(path: Path, features: np.ndarray) -> None:
    with atomic.writing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, features.astype(np.float16), allow_pickle=False)


def _write_annotations(path: Path, version: str, sessions: Sequence[Session]) -> None:
    database = {session.id: annotations(session) for session in sessions}
    atomic.write(path, json.dumps({"version": version, "taxonomy": [], "database": database}).encode())
