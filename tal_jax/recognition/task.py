"""Recognition as a task: an encoder and a classifier trained on packed clips; what it makes is an encoder."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from tal_jax.encoders import catalogue, trained, weights
from tal_jax.encoders.entry import Encoder
from tal_jax.errors import InputError
from tal_jax.losses.recognition import recognition_loss
from tal_jax.recognition.partial_norm import first_norm, frozen_parameters, frozen_statistics
from tal_jax.recognition.recogniser import Recogniser
from tal_jax.recognition.rows import ClipRows
from tal_jax.recognition.sampling import Cropping, Times
from tal_jax.tasks.task import ENCODER, IMAGES, STATISTICS, DataFacts, Params, Settings, Task
from tal_jax.tasks.whole_rows import covering
from tal_jax.types import Array, Batch, Detections


@dataclasses.dataclass(frozen=True)
class ImageSettings(Settings):
    """How images of a clip are chosen, cropped and changed; see `recognition.sampling`."""

    sampling: str = "segments"  # an image of each of F equal parts of a clip; or "dense", `interval` apart
    interval: int = 0  # packed images from one to the next, where dense; 0: as the encoder has
    views: int = 1  # of a clip in evaluation, whose probabilities are averaged
    crop: str = "corners"  # in training; or "random", "centre"
    crop_scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)  # of corners
    flip: float = 0.5  # share of training clips that are mirrored
    jitter: float = 0.0  # of colours, plus and minus

    def times(self, encoder: Encoder, images: int) -> Times:
        """Which images the network sees. Raises ValueError: a value is none of those above."""
        if self.sampling not in ("segments", "dense"):
            raise ValueError(f"sampling is 'segments' or 'dense', not {self.sampling!r}")
        if min(self.views, images) < 1 or self.interval < 0:
            raise ValueError(f"views {self.views}, images {images} and interval {self.interval} are 1 or more")
        stack = max(encoder.channels // 2, 1) if encoder.channels != 3 else 1
        return Times(images, self.interval or encoder.interval, self.sampling == "dense", stack)

    def cropping(self) -> Cropping:
        """How training crops. Raises ValueError: no such kind."""
        if self.crop not in ("corners", "random", "centre"):
            raise ValueError(f"crop is 'corners', 'random' or 'centre', not {self.crop!r}")
        if not self.crop_scales or not all(0 < scale <= 1 for scale in self.crop_scales):
            raise ValueError(f"crop_scales are in (0, 1], not {self.crop_scales}")
        if not (0 <= self.flip <= 1 and 0 <= self.jitter <= 1):
            raise ValueError(f"flip {self.flip} and jitter {self.jitter} are in [0, 1]")
        return Cropping(cast(Any, self.crop), self.crop_scales)


@dataclasses.dataclass(frozen=True)
class RecognitionTask(Task):
    """Classification of clips; batch norms use the statistics of the whole batch, over all devices."""

    makes: ClassVar = ENCODER
    learns_from: ClassVar = IMAGES
    weak: ClassVar = True
    measured_by: ClassVar = "top_labels"
    settings: ClassVar[type[Settings]] = ImageSettings

    model: Recogniser
    label_smoothing: float = 0.0
    partial_norm: bool = False  # only the first batch norm learns, as TSN does on small sets
    weights: str = ""  # a file of released weights, or an encoder trained here, to begin with; "": random ones
    family: str = ""  # whose names they have, where the file does not tell
    cross_modality: bool = False  # the weights are those of the encoder that sees RGB: the first kernel is averaged

    @classmethod
    def snippets(cls, model: Mapping[str, Any], settings: Settings) -> int | None:
        """F, the images that the network sees at once."""
        return int(model["images"] or catalogue.find(model["encoder"]).images)

    @classmethod
    def from_config(
        cls, model: Mapping[str, Any], options: Mapping[str, Any], settings: Settings, facts: DataFacts
    ) -> Self:
        """As of `Task`; also looks at the settings of images. Weights are read where a training begins."""
        task = super().from_config(model, options, settings, facts)
        assert isinstance(settings, ImageSettings)
        settings.times(task.encoder, task.model.images or task.encoder.images)
        settings.cropping()
        if not 0 <= task.label_smoothing < 1:
            raise ValueError(f"options.label_smoothing is in [0, 1), not {task.label_smoothing}")
        if task.cross_modality and (not task.encoder.sees_flow or not task.weights):
            raise ValueError("options.cross_modality: for an encoder of flow that begins with weights of RGB")
        return task

    @property
    def encoder(self) -> Encoder:
        """The entry of the catalogue."""
        return catalogue.find(self.model.encoder)

    @property
    def image(self) -> tuple[int, int, int]:
        """Of the encoder."""
        return self.encoder.side, self.encoder.side, self.encoder.channels

    def init(self, rng: PRNGKeyArray, batch: Batch) -> Params:
        """Parameters, with the statistics of batch norms, for batches of this shape, see `Task.init`."""
        found = self.model.init(rng, batch.features)
        return {STATISTICS: {}, **found}

    def rows(self, settings: Settings, streams: Sequence[str], class_of: np.ndarray | None) -> ClipRows:
        """Rows of images in place of feature vectors."""
        assert isinstance(settings, ImageSettings)
        (stream,) = streams
        return ClipRows(
            self.encoder,
            stream,
            self.model.num_classes,
            settings.times(self.encoder, self.model.images or self.encoder.images),
            settings.cropping(),
            settings.views,
            settings.flip,
            settings.jitter,
            class_of,
        )

    @property
    def begins_with_a_file(self) -> bool:
        """Where there are weights."""
        return bool(self.weights)

    def begin(self, params: Params) -> Params:
        """The weights that the options name in the encoder; the classifier stays fresh."""
        if not Path(self.weights).is_file():
            raise InputError(f"config: options.weights={self.weights}: no such file: give released weights, or none")
        entry = dataclasses.replace(self.encoder, channels=3) if self.cross_modality else self.encoder
        found: Any = weights.read(self.weights, entry, self.family or None).variables
        if self.cross_modality:
            found = weights.cross_modality(found, self.encoder.channels)
        own = {
            "params": {**params["params"], "encoder": found["params"]},
            STATISTICS: {"encoder": found[STATISTICS]} if STATISTICS in found else {},
        }
        fits = jax.tree.map(np.shape, own) == jax.tree.map(np.shape, params)
        if not fits:
            raise InputError(f"{self.weights}: its shapes are not those of {self.model.encoder} in this training")
        return own

    def loss(
        self, params: Params, batch: Batch, rng: PRNGKeyArray, progress: Array | float = 1.0
    ) -> tuple[Array, dict[str, Array]]:
        """Cross-entropy, see `losses.recognition`; `accuracy` of the likeliest class, and the new statistics."""
        variables = {"params": params["params"], STATISTICS: jax.lax.stop_gradient(params[STATISTICS])}
        if self.partial_norm:
            first = first_norm(self.model, jax.ShapeDtypeStruct(batch.features.shape, batch.features.dtype))
            variables["params"] = frozen_parameters(variables["params"], variables[STATISTICS], first)
        with frozen_statistics() if self.partial_norm else contextlib.nullcontext():
            logits, changed = self.model.apply(
                variables, batch.features, train=True, rngs={"dropout": rng}, mutable=[STATISTICS]
            )
        logits = jnp.asarray(logits).mean(1)
        best = jnp.argmax(logits, axis=-1)
        right = jnp.take_along_axis(batch.labels, best[:, None], axis=1)[:, 0]
        metrics: dict[str, Any] = {"accuracy": jnp.mean(right), STATISTICS: changed.get(STATISTICS, {})}
        return recognition_loss(logits, batch.labels, self.label_smoothing), metrics

    def view_probabilities(self, params: Params, batch: Batch) -> Array:
        """[B, V, K]: the softmax of the logits of each view."""
        logits: Any = self.model.apply(params, batch.features)
        return jax.nn.softmax(logits.astype(jnp.float32), axis=-1)

    def class_probabilities(self, params: Params, batch: Batch) -> Array:
        """[B, K]: of the views of a clip the mean."""
        return self.view_probabilities(params, batch).mean(1)

    def predict(self, params: Params, batch: Batch) -> Detections:
        """Detections [B, K]: class k covers the clip with its probability."""
        return covering(self.class_probabilities(params, batch), batch)

    def merge(self, detections: Detections) -> Detections:
        """The same: a clip is one row, whatever its length."""
        return detections

    def write_encoder(
        self, path: Path, params: Params, labels: tuple[str, ...], stride: float | None, origin: Mapping[str, str]
    ) -> None:
        """The encoder with its classifier, for `launch.encode --weights=PATH`."""
        own = {"params": params["params"]["encoder"], STATISTICS: params[STATISTICS].get("encoder", {})}
        dense, rate = params["params"]["head"]["dense"], None if stride is None else 1 / stride
        trained.write(path, self.model.encoder, own, dense, labels, rate, origin)
