"""One stage of an exported model: its programs, and from recordings to their inputs and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.batch_layout import INPUTS, LAYOUT, Sizes, empty
from tal_jax.deploy import model_folder as layout
from tal_jax.deploy.model_description import read_weights
from tal_jax.deploy.recording import ResolvedRecording
from tal_jax.deploy.results import in_seconds, rows_of
from tal_jax.deploy.runtimes import Program, programs
from tal_jax.errors import InputError
from tal_jax.windows import (
    Framing,
    Normalization,
    Window,
    WindowDetections,
    concatenated,
    faults,
    read_window,
)

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


def read_stage(path: Path, entry: Mapping[str, Any], classes: int, channels: int, runtime: str) -> Stage:
    """Reads a stage from its entry of MODEL. Raises InputError: something of it is damaged."""
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


def _device_types(found: WindowDetections) -> WindowDetections:
    return WindowDetections(found.segments.astype(np.float32), found.labels.astype(np.int32), *found[2:])
