"""An exported model that detects: NumPy, a runtime and small readers of its files, no flax and no model code."""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tal_jax.deploy import model_folder as layout
from tal_jax.deploy.model_description import REMEDY
from tal_jax.deploy.model_stage import Stage, read_stage
from tal_jax.deploy.recording import Recording, ResolvedRecording, Segments
from tal_jax.deploy.results import in_seconds, rows_of
from tal_jax.errors import InputError
from tal_jax.frames import Place, by_recording, map_batches
from tal_jax.windows import (
    Window,
    WindowDetections,
)

if TYPE_CHECKING:
    from tal_jax.deploy.video_encoder import VideoEncoder

__all__ = ["Model", "Recording", "Segments", "Stage", "load"]


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
            read_stage(self.path, entry, len(self.labels), self.channels, runtime) for entry in model["stages"]
        )

    def recording_of(
        self, video: str | Path, id: str = "", *, strict: bool = False
    ) -> tuple[Recording, tuple[str, ...]]:
        """A video as a recording to detect in, and notes on its damage.

        Raises:
          InputError: the model has no encoder, or needs what no video gives, or the video cannot be read.
        """
        if not self._has_encoder:
            raise InputError(
                f"{self.path}: the model was exported without its encoder: add it with "
                f"launch.export --model={self.path} --weights=FILE"
            )
        if self.needs:
            raise InputError(f"{self.path}: the model takes {', '.join(self.needs)} from outside, which no video gives")
        return self.encoder.recording(str(video), id or Path(video).stem, strict=strict)

    @property
    def takes_videos(self) -> bool:
        """Whether it needs nothing but a video."""
        return self._has_encoder and not self.needs

    @functools.cached_property
    def encoder(self) -> "VideoEncoder":
        """Makes features of videos, where the model was exported with it. Raises InputError: it is damaged."""
        from tal_jax.deploy import video_encoder

        return video_encoder.VideoEncoder(self.path / video_encoder.HOME)

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

    @overload
    def detect(self, recordings: Iterable[Recording], batch_size: int = 1) -> Iterator[WindowDetections]: ...

    @overload
    def detect(self, recordings: str | Path) -> list[dict[str, Any]]: ...

    def detect(self, recordings: Any, batch_size: int = 1) -> Any:
        """Detections of each recording in seconds, best first, without padding.

        Args:
          recordings: recordings of any length, read as they are needed; or the path of one video, for a model that
            was exported with its encoder, whose detections come as those of a call.
          batch_size: how many recordings, and how many windows, are computed together.

        Raises:
          InputError: see `checked`.
        """
        if isinstance(recordings, str | Path):
            (found,) = self._detect([self.recording_of(recordings)[0]], batch_size)
            return self.rows(found)
        return self._detect(recordings, batch_size)

    def _detect(self, recordings: Iterable[Recording], batch_size: int) -> Iterator[WindowDetections]:
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
