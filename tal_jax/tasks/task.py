"""What a method is to the rest of the house: its functions, and what it declares of itself.

Adding a method is one module, one loss, one subclass of `Task`, one config, and one line that names it
(`stages.methods.METHODS`; or a config says `task="package.module:Class"`). Nothing else asks which task it is.
"""

import abc
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeGuard

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from tal_jax.types import Array, Batch, Detections

Params = Any

# The artifacts: what one stage makes for a later one. Proposals and class scores are of recordings, and part of all
# of their rows.
PROPOSALS, CLASS_SCORES, CLIP_FEATURES = "proposals", "class_scores", "clip_features"
ENCODER = "encoder"  # for no stage, but for launch.encode
OF_RECORDINGS = (PROPOSALS, CLASS_SCORES)
RECORDINGS, CLIPS, IMAGES = "recordings", "clips", "images"  # what a task learns from
STATISTICS = "batch_stats"  # running means: that collection of the parameters, and what a loss finds it to become
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What a task may take from the data where its config leaves it open."""

    num_classes: int  # K
    stream_widths: tuple[int, ...]  # channels of each stream in use
    snippets: int  # T of the frame
    scale: float  # stored snippets per frame snippet
    long_action: float  # stored snippets of a long training action; 0 where no segment may be known


@dataclasses.dataclass(frozen=True)
class Settings:
    """Keys of a stage's section that only one kind of task has: none."""


class Task(abc.ABC):
    """A module, its loss and its decoding; a frozen dataclass whose fields are its options.

    All methods are pure and can be traced. Segments are in snippet units.
    """

    makes: ClassVar[str] = ""  # what a trained stage writes: PROPOSALS, CLASS_SCORES, CLIP_FEATURES or ENCODER
    accepts: ClassVar[tuple[str, ...]] = ()  # artifacts it can take; each is a config key, for a file of it
    learns_from: ClassVar[str] = RECORDINGS  # or CLIPS, the trimmed ones of a set; or IMAGES, of a packed set
    weak: ClassVar[bool] = False  # True: it never sees a segment annotation
    # or "proposals", "labels" (of recordings), "best_label" (the likeliest), "top_labels" (and the five likeliest)
    measured_by: ClassVar[str] = "detections"
    any_length: ClassVar[bool] = False  # True: no shape ties it to the frame, so that an export takes longer ones
    fusable: ClassVar[bool] = False  # True: it is an `abilities.Fusable`
    tunable: ClassVar[bool] = (
        False  # True: it is an `abilities.Tunable`, whose decoding can be searched without segments
    )
    splices: ClassVar[bool] = False  # True: trimmed clips may be inserted into its training recordings
    from_data: ClassVar[tuple[str, ...]] = ("num_classes",)  # fields of the model that no config says
    left_open: ClassVar[Mapping[str, Any]] = {}  # fields of the model whose default in a config says: from the data
    settings: ClassVar[type[Settings]] = Settings

    model: Any

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The artifacts of `accepts` that the task takes with these options.

        Args:
          options: every field of the task by its name, as its config section has them.
        """
        del options
        return cls.accepts

    @classmethod
    def from_config(
        cls, model: Mapping[str, Any], options: Mapping[str, Any], settings: Settings, facts: DataFacts
    ) -> Self:
        """The task of a stage.

        Args:
          model: the values of the model's fields by their names; `dtype` is itself a name, see `named_dtype`.
          options: the values of the task's own fields by their names.
          settings: the other keys of the section, an instance of `cls.settings`.
          facts: what the data say about fields that the config leaves open.

        Raises:
          ValueError: a value does not fit its field, or two of them contradict each other.
        """
        del settings
        fields: dict[str, Any] = {**options, "model": build_model(cls, model, facts)}
        return cls(**fields)

    @classmethod
    def snippets(cls, model: Mapping[str, Any], settings: Settings) -> int | None:
        """T, where the method and not the data decide it; arguments as of `from_config`. Raises as it does."""
        del model, settings
        return None

    @property
    def image(self) -> tuple[int, int, int] | None:
        """(Y, X, C) of the images that it sees in place of feature vectors; None where it sees none."""
        return None

    def rows(self, settings: Settings, streams: Sequence[str], class_of: np.ndarray | None) -> Any:
        """What makes rows of records, with the methods of `data.rows.Assembler`; None: an `Assembler` does.

        Args:
          settings: of its stage's section.
          streams: of the set, that are in use.
          class_of: [L] the model's class of each of the set's, -1 for none; None: the same ones.
        """
        del settings, streams, class_of
        return None

    @property
    def begins_with_a_file(self) -> bool:
        """Whether a training begins with what `begin` makes of fresh parameters, and not with these."""
        return False

    def begin(self, params: Params) -> Params:
        """The parameters of a file in the place of fresh ones; on the host. Raises InputError: a bad file."""
        return params

    @abc.abstractmethod
    def init(self, rng: PRNGKeyArray, batch: Batch) -> Params:
        """Fresh parameters for batches of this shape.

        Args:
          rng: key of the random start.
          batch: any batch; only its shapes and types count.
        """

    @abc.abstractmethod
    def loss(
        self, params: Params, batch: Batch, rng: PRNGKeyArray, progress: Array | float = 1.0
    ) -> tuple[Array, dict[str, Array]]:
        """The training loss over the global batch.

        Args:
          params: the model's parameters.
          batch: B rows, over all devices.
          rng: key of the step's dropout and of whatever else the loss draws.
          progress: the fraction of the training that is done, in [0, 1]; losses that are ramped up read it.

        Returns:
          The loss, a float32 scalar, and its parts and other metrics by name, scalars as well. A task with running
          means adds, under STATISTICS, what that collection of the parameters becomes.
        """

    @abc.abstractmethod
    def predict(self, params: Params, batch: Batch) -> Detections:
        """Detections [B, P] in snippet units, best first; P depends on shapes alone."""

    @abc.abstractmethod
    def merge(self, detections: Detections) -> Detections:
        """One set of detections from those of a recording's windows.

        Args:
          detections: [1, P], the detections of all windows side by side, in any one unit of time, padded.

        Returns:
          [1, P'] with P' <= P, best first, in the same unit.
        """

    def decoded_from(self, outputs: Any) -> Any:
        """What of the model's outputs must be finite for its detections to count: arrays [B, ..].

        `predict` marks rows where they are not, see `finite.marked`.
        """
        return outputs

    def without_noise(self) -> Self:
        """The task whose training loss draws nothing at random but what its equations ask for: no dropout."""
        return dataclasses.replace(self, model=without_dropout(self.model))  # type: ignore[type-var]

    def class_probabilities(self, params: Params, batch: Batch) -> Array:
        """Probabilities [B, K] that each class occurs in the row. Only tasks that are measured by labels have them."""
        raise NotImplementedError(f"{type(self).__name__} is not measured by labels")

    def view_probabilities(self, params: Params, batch: Batch) -> Array:
        """Probabilities [B, V, K] by each view of a row. Only tasks that are measured by top labels have them."""
        raise NotImplementedError(f"{type(self).__name__} is not measured by top labels")

    def clip_features(self, params: Params, batch: Batch) -> Array:
        """The features of each clip, [B, ..], float32. Only tasks that make CLIP_FEATURES have them."""
        raise NotImplementedError(f"{type(self).__name__} makes no clip features")

    def write_encoder(
        self, path: Path, params: Params, labels: tuple[str, ...], stride: float | None, origin: Mapping[str, str]
    ) -> None:
        """Writes the trained encoder into a file. Only tasks that make ENCODER do.

        Args:
          path: of the file.
          params: of the training.
          labels: [K] names of the classes.
          stride: seconds from one image to the next, of the set.
          origin: of set and parameters, see `stages.artifacts`.
        """
        raise NotImplementedError(f"{type(self).__name__} trains no encoder")

    def clip_feature_width(self) -> int:
        """D, how many numbers the clip features have that the loss compares with; 0 where it compares with none."""
        return 0

    @property
    def sequence_names(self) -> tuple[str, ...]:
        """What makes the class activation sequences of `sequences`, from the simplest to the final one; () for none."""
        return ()

    def sequences(self, params: Params, batch: Batch) -> tuple[tuple[Array, ...], Array]:
        """Class activation sequences [B, T, K], one for each of `sequence_names`, and [B, K] how likely each class is.

        A class that the decoding would not take up has a likelihood below 0.
        """
        raise NotImplementedError(f"{type(self).__name__} has no class activation sequences")


def is_task(cls: Any) -> TypeGuard[type["Task"]]:
    """Whether something is a class of tasks."""
    return isinstance(cls, type) and issubclass(cls, Task)


def model_type(task: type[Task]) -> type[nn.Module]:
    """The module that a task's field `model` is annotated with."""
    return typing.get_type_hints(task)["model"]


def build_model(task: type[Task], fields: Mapping[str, Any], facts: DataFacts) -> Any:
    """The module of a task.

    Args:
      task: the class, whose field `model` says which module it is.
      fields: the values of the module's fields by their names; `dtype` is itself a name.
      facts: what the data say; the number of classes comes from here unless `fields` has it.

    Raises:
      ValueError: there is no such dtype, or a value does not fit its field.
    """
    kind = model_type(task)
    known = {field.name for field in dataclasses.fields(kind)}
    values = {"num_classes": facts.num_classes, **fields} if "num_classes" in known else dict(fields)
    if "dtype" in values:
        values["dtype"] = named_dtype(values["dtype"])
    return kind(**values)


def named_dtype(name: Any) -> Any:
    """The type of numbers that a config names, "float32" or "bfloat16". Raises ValueError for any other name."""
    if name not in DTYPES:
        raise ValueError(f"model.dtype is {' or '.join(map(repr, DTYPES))}, not {name!r}")
    return DTYPES[name]


def without_dropout(model: Any) -> Any:
    """The module with `dropout` 0, its own and that of modules that are its fields; it takes the same parameters."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if field.name == "dropout" and value:
            changes["dropout"] = 0.0
        elif isinstance(value, nn.Module) and field.name not in ("parent", "name"):
            changes[field.name] = without_dropout(value)
    return model.clone(**changes) if changes else model
