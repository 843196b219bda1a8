"""An exported model that detects: NumPy, a runtime and small readers of its files, no flax and no model code."""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tal_jax.batch_layout import INPUTS, LAYOUT, Sizes, empty
from tal_jax.deploy import model_folder as layout
from tal_jax.deploy.model_description import REMEDY, read_weights
from tal_jax.deploy.recording import Recording, ResolvedRecording, Segments
from tal_jax.deploy.results import in_seconds, rows_of
from tal_jax.deploy.runtimes import Program, programs
from tal_jax.errors import InputError
from tal_jax.frames import Place, by_recording, map_batches
from tal_jax.windows import (
    Framing,
    Normalization,
    Window,
    WindowDetections,
    concatenated,
    faults,
    read_window,
)

if TYPE_CHECKING:
    from tal_jax.deploy.video_encoder import VideoEncoder

__all__ = ["Model", "Recording", "Segments", "Stage", "load"]
MADE_BY = {"bmn": "proposals", "classifier": "class_scores"}  # in folders of older versions, which do not say it


@dataclass(frozen=True)
class Stage:
    """One stage of an exported model."""

    name: str
    kind: str  # the method's name in its config
    makes: str  # "proposals" or "class_scores", for the stages to come; anything else is of no use to them
    framing: Framing
    proposals: int  # P of its input
    classes: int  # K
    normalization: Normalization | None
    predict: Program
    merges: Mapping[int, Program]

    def windows_of(self, recording: ResolvedRecording) -> list[float]:
        """Where the windows of a recording start, in stored snippets."""
        return list(self.framing.offsets(len(recording)))

    def run(self, rows: Sequence[tuple[ResolvedRecording, float]], size: int) -> list[WindowDetections]:
        """Detections in seconds of the recordings, for each window.

        Args:
          rows: up to `size` windows as (recording, offset in stored snippets).
          size: B of the program; what is left is filled with rows without anything real.

        Raises:
          InputError: features are not finite, or what the program makes of them is not.
        """
        inputs, windows = self.inputs(rows, size)
        found = rows_of(self.predict(inputs))
        return [
            in_seconds(recording.id, row, window, x)
            for (recording, _), row, window, x in zip(rows, found, windows, inputs["features"], strict=False)
        ]  # some rows only fill the batch

    def inputs(
        self, rows: Sequence[tuple[ResolvedRecording, float]], size: int
    ) -> tuple[dict[str, np.ndarray], list[Window]]:
        """Inputs of the prediction for `size` rows, and the windows that the first ones show.

        Args:
          rows: up to `size` windows as (recording, offset in stored snippets).
          size: B of the batch; what is left is filled with rows without anything real.

        Raises:
          InputError: features are not finite.
        """
        t = self.framing.snippets
        channels = sum(x.shape[1] for x in rows[0][0].streams)
        inputs = empty(Sizes(t, channels, self.classes, proposals=self.proposals), size)
        windows = []
        for i, (recording, offset) in enumerate(rows):
            scale = self.framing.scale_of(len(recording))
            x = read_window(recording.streams, offset, scale, t, self.normalization)
            if fault := faults(x, self.normalization):
                raise InputError(f"record {recording.id}: {fault}")
            window = Window.at(offset, scale, len(x), snippets=t, stride=recording.stride, recording=recording.duration)
            inputs["features"][i], inputs["mask"][i] = window.padded(x)
            inputs["stride"][i], inputs["duration"][i] = window.stride, window.duration
            if self.proposals:
                assert recording.proposals is not None
                segments, scores = window.best(*recording.proposals, self.proposals)
                n = len(scores)
                inputs["proposals"][i, :n], inputs["proposal_scores"][i, :n] = segments, scores
                inputs["proposal_mask"][i, :n] = True
            if recording.class_scores is not None:
                inputs["class_scores"][i] = recording.class_scores
            windows.append(window)
        return {name: inputs[name] for name in INPUTS}, windows

    def merged(self, windows: Sequence[WindowDetections]) -> WindowDetections:
        """The detections of a recording from those of its windows."""
        if len(windows) == 1:
            return windows[0]
        found = concatenated(windows, least=min(self.merges))
        merge = self.merges[len(found.scores)]
        merged = WindowDetections(**merge({name: x[None] for name, x in _device_types(found)._asdict().items()}))
        return WindowDetections(*(x[0][merged.mask[0]] for x in merged))


class Model:
    """An exported model: its stages, one after the other."""

    def __init__(self, path: str | Path, runtime: str = "jax"):
        """Reads and checks a folder that launch.export wrote.

        Args:
          path: the path of the folder.
          runtime: "jax", or "onnxruntime" for a model that was exported with ONNX programs; JAX is not needed then.

        Raises:
          InputError: it is no exported model, or is damaged, or the runtime is not installed or has no programs there.
        """
        self.path = Path(path)
        model = layout.read_model(self.path)
        self.labels: tuple[str, ...] = tuple(model["labels"])
        self.streams: dict[str, int] = model["streams"]  # name -> channels, in the order of the input
        self.stride: float | None = model["stride"]  # seconds per snippet in training; None: one of each recording
        self.encoders: dict[str, Any] = model.get("encoders", {})  # stream -> of which encoder it was, if known
        self._has_encoder = "encoder" in model
        self.needs: tuple[str, ...] = tuple(model["needs"])  # "proposals", "class_scores": from outside
        self.stages = tuple(
            _stage(self.path, entry, len(self.labels), self.channels, runtime) for entry in model["stages"]
        )

    @functools.cached_property
    def encoder(self) -> "VideoEncoder | None":
        """Makes features of videos, where the model was exported with it. Raises InputError: it is damaged."""
        from tal_jax.deploy import video_encoder

        return video_encoder.VideoEncoder(self.path / video_encoder.HOME) if self._has_encoder else None

    @property
    def channels(self) -> int:
        """C, the channels of all streams together."""
        return sum(self.streams.values())

    def __call__(self, features: Any, stride: float | None = None, **fields: Any) -> list[dict[str, Any]]:
        """Detections of one recording, best first: [{"label", "score", "segment": [start, end] in seconds}].

        Args:
          features: [T, C], or the array [T, C_i] of each stream by its name.
          stride: seconds per snippet; None takes the model's.
          **fields: other fields of `Recording`.

        Raises:
          InputError: see `checked`.
        """
        streams = [features[name] for name in self.streams] if isinstance(features, Mapping) else [features]
        (found,) = self.detect([Recording(streams, stride=stride, **fields)])
        return self.rows(found)

    def rows(self, found: WindowDetections) -> list[dict[str, Any]]:
        """Detections as a submission file has them; proposals have no label."""
        segments, scores = found.segments.tolist(), found.scores.tolist()
        return [
            ({"label": self.labels[k]} if k >= 0 else {}) | {"score": score, "segment": segment}
            for k, score, segment in zip(found.labels.tolist(), scores, segments, strict=True)
        ]

    def detect(self, recordings: Iterable[Recording], batch_size: int = 1) -> Iterator[WindowDetections]:
        """Detections of each recording in seconds, best first, without padding.

        Args:
          recordings: recordings of any length, read as they are needed.
          batch_size: how many recordings, and how many windows, are computed together.

        Raises:
          InputError: see `checked`.
        """
        recordings = iter(recordings)
        while group := [self.checked(r) for r in itertools.islice(recordings, batch_size)]:
            for stage in self.stages:
                self._run(stage, group, batch_size)
            yield from (r.found for r in group if r.found is not None)

    def _run(self, stage: Stage, group: Sequence[ResolvedRecording], size: int) -> None:
        def batches() -> Iterator[tuple[dict[str, np.ndarray], list[Place[tuple[Window, np.ndarray]] | None]]]:
            offsets = ((i, offset) for i, recording in enumerate(group) for offset in stage.windows_of(recording))
            while part := list(itertools.islice(offsets, size)):
                inputs, windows = stage.inputs([(group[i], offset) for i, offset in part], size)
                rows = zip(windows, inputs["features"], strict=False)
                real = [Place(i, row[0].start, row) for (i, _), row in zip(part, rows, strict=True)]
                yield inputs, [*real, *[None] * (size - len(part))]

        frames = map_batches(stage.predict, batches(), rows_of)
        found = ((f.position, in_seconds(group[f.position].id, f.result, *f.row)) for f in frames)
        for position, windows in by_recording(found):
            self.finish(stage, group[position], windows)

    def finish(self, stage: Stage, recording: ResolvedRecording, windows: Sequence[WindowDetections]) -> None:
        """Stores in a recording what a stage found in its windows, for the stages to come."""
        recording.found = stage.merged(windows)
        if len(recording.found.labels) and recording.found.labels.max() >= len(self.labels):
            raise InputError(f"{self.path}: stage {stage.name} finds classes that have no label: {REMEDY}")
        if stage.makes == "proposals":
            recording.proposals = (recording.found.segments, recording.found.scores)
        if stage.makes == "class_scores":
            recording.class_scores = np.zeros(len(self.labels), np.float32)
            recording.class_scores[recording.found.labels] = recording.found.scores

    def checked(self, recording: Recording) -> ResolvedRecording:
        """A recording that fits the model.

        Raises:
          InputError: its arrays are not [T, C] with the model's C, it is empty, its stride or duration is unknown or
            not positive, or what the model needs from outside is missing.
        """
        where = f"record {recording.id}"
        shapes = [np.shape(x) for x in recording.streams]
        wanted = tuple(self.streams.values())
        widths = tuple(s[-1] for s in shapes if len(s) == 2)
        if len(widths) != len(shapes) or widths not in (wanted, (self.channels,)) or not all(s[0] for s in shapes):
            axes = ", ".join(f"{name} [T, {c}]" for name, c in self.streams.items())
            raise InputError(f"{where}: features of shape {', '.join(map(str, shapes))}: the model takes {axes}")
        count = min(s[0] for s in shapes)
        stride, duration = recording.stride or self.stride, recording.duration
        if stride is None and duration is not None:
            stride = duration / count
        if stride is None:
            raise InputError(
                f"{where}: no stride, the model's recordings had one each: give its duration, or its stride"
            )
        duration = count * stride if duration is None else duration
        if not (math.isfinite(stride) and stride > 0 and math.isfinite(duration) and duration > 0):
            raise InputError(f"{where}: stride {stride} and duration {duration}: both are positive numbers of seconds")
        for name in self.needs:
            if getattr(recording, name) is None:
                raise InputError(
                    f"{where}: no {name.replace('_', ' ')}: the model has no stage that makes them: give some"
                )
        scores = recording.class_scores
        if scores is not None and np.shape(scores) != (len(self.labels),):
            raise InputError(f"{where}: {np.shape(scores)} class scores for {len(self.labels)} classes")
        return ResolvedRecording(recording.id, recording.streams, stride, duration, recording.proposals, scores)


def load(path: str | Path, runtime: str = "jax") -> Model:
    """Reads an exported model. Arguments and errors: see `Model`."""
    return Model(path, runtime)


def _device_types(found: WindowDetections) -> WindowDetections:
    return WindowDetections(found.segments.astype(np.float32), found.labels.astype(np.int32), *found[2:])


def _stage(path: Path, entry: Mapping[str, Any], classes: int, channels: int, runtime: str) -> Stage:
    home, framing = path / entry["name"], Framing(**entry["framing"])
    arrays, normalization = read_weights(home / layout.WEIGHTS, channels)
    sizes = Sizes(framing.snippets, channels, classes, proposals=entry["proposals"])
    inputs = {name: (None, *sizes.shape(LAYOUT[name][0])) for name in INPUTS}
    predict, merges = programs(home, arrays, entry["merges"], runtime, inputs)
    return Stage(
        name=entry["name"],
        kind=entry["kind"],
        makes=entry.get("makes", MADE_BY.get(entry["kind"], "")),
        framing=framing,
        proposals=entry["proposals"],
        classes=classes,
        normalization=normalization,
        predict=predict,
        merges=merges,
    )
