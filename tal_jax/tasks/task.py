"""What a method is to the rest of the house: its functions, and what it declares of itself.

Adding a method is one module, one loss, one subclass of `Task`, one config, and one line that names it
(`stages.methods.METHODS`; or a config says `task="package.module:Class"`). Nothing else asks which task it is.
"""

import abc
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeGuard

import flax.linen as nn
import jax.numpy as jnp

from tal_jax.errors import InputError
from tal_jax.types import Array, Batch, Detections

Params = Any

# What one stage hands on to a later one. Proposals and class scores are of recordings, and part of all of their rows.
PROPOSALS, CLASS_SCORES, CLIP_FEATURES = "proposals", "class_scores", "clip_features"
OF_RECORDINGS = (PROPOSALS, CLASS_SCORES)
RECORDINGS, CLIPS = "recordings", "clips"  # what a task learns from
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

    makes: ClassVar[str] = ""  # what a trained stage writes: PROPOSALS, CLASS_SCORES or CLIP_FEATURES
    accepts: ClassVar[tuple[str, ...]] = ()  # artifacts it can take; each is a config key, for a file of it
    learns_from: ClassVar[str] = RECORDINGS  # or CLIPS, the trimmed ones of a set
    weak: ClassVar[bool] = False  # True: it never sees a segment annotation
    measured_by: ClassVar[str] = "detections"  # or "proposals", "labels" (of recordings), "best_label" (the likeliest)
    any_length: ClassVar[bool] = False  # True: no shape ties it to the frame, so that an export takes longer ones
    fusable: ClassVar[bool] = False  # True: it is a `Fusable`
    tunable: ClassVar[bool] = False  # True: it is a `Tunable`, whose decoding can be searched without segments
    has_sequences: ClassVar[bool] = False  # True: `sequences` gives class activation sequences
    splices: ClassVar[bool] = False  # True: trimmed clips may be inserted into its training recordings
    from_data: ClassVar[tuple[str, ...]] = ("num_classes",)  # fields of the model that no config says
    settings: ClassVar[type[Settings]] = Settings

    model: Any

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The artifacts of `accepts` that it takes with these options (all of them, by name)."""
        del options
        return cls.accepts

    @classmethod
    def from_config(
        cls, model: Mapping[str, Any], options: Mapping[str, Any], settings: Settings, facts: DataFacts
    ) -> Self:
        """The task of a stage.

        Args:
          model: fields of the model, by name; `dtype` by its name.
          options: fields of the task.
          settings: an instance of `cls.settings`.
          facts: what the data say about fields that the config leaves open.

        Raises:
          ValueError: a value that does not fit.
        """
        del settings
        fields: dict[str, Any] = {**options, "model": build_model(cls, model, facts)}
        return cls(**fields)

    @abc.abstractmethod
    def init(self, rng: Array, batch: Batch) -> Params:
        """Parameters for batches of this shape."""

    @abc.abstractmethod
    def loss(
        self, params: Params, batch: Batch, rng: Array, progress: Array | float = 1.0
    ) -> tuple[Array, dict[str, Array]]:
        """Scalar training loss over the global batch, and scalar metrics; progress in [0, 1] drives ramps."""

    @abc.abstractmethod
    def predict(self, params: Params, batch: Batch) -> Detections:
        """Detections in snippet units, best first."""

    @abc.abstractmethod
    def merge(self, detections: Detections) -> Detections:
        """One set of detections from the windows of a recording, padded together: [1, P] -> [1, P']."""

    def without_noise(self) -> Self:
        """The task whose training loss draws nothing at random but what its equations ask for: no dropout."""
        return dataclasses.replace(self, model=without_dropout(self.model))  # type: ignore[type-var]

    def class_probabilities(self, params: Params, batch: Batch) -> Array:
        """Probabilities [B, K] that each class occurs; of tasks that are measured by labels."""
        raise NotImplementedError(f"{type(self).__name__} is not measured by labels")

    def clip_features(self, params: Params, batch: Batch) -> Array:
        """What it knows of each clip, [B, ..]; of tasks that make CLIP_FEATURES."""
        raise NotImplementedError(f"{type(self).__name__} makes no clip features")

    def clip_feature_width(self) -> int:
        """How many numbers a clip's features have that its loss takes; 0: it takes none."""
        return 0

    def sequences(self, params: Params, batch: Batch) -> tuple[dict[str, Array], Array]:
        """Class activation sequences by the name of what made them, and how likely each class is.

        A class that the decoding would not take up has a likelihood below 0.

        Returns:
          (name -> [B, T, K], from the simplest to the final one; [B, K]).
        """
        raise NotImplementedError(f"{type(self).__name__} has no class activation sequences")


class Fusable(Protocol):
    """A task whose outputs can be averaged over models before they are decoded."""

    def forward(self, params: Params, batch: Batch) -> Any:
        """What the model says, before decoding."""
        ...

    def fuse_outputs(self, outputs: Sequence[Any], weights: Array) -> Any:
        """One output from those of several models of this kind for the same frames, on the first one's time axis."""
        ...

    def decode(self, outputs: Any, batch: Batch) -> Detections:
        """predict = decode(forward(..), ..)."""
        ...

    def alike(self, snippets: int) -> dict[str, Any]:
        """What two tasks must agree in for their outputs to be averaged, by a name for it; frames of T snippets."""
        ...


class Tunable(Protocol):
    """A task that decodes sequences by numbers that can be searched: one compilation serves all of them."""

    model: Any
    decoding: Any

    def forward(self, params: Params, batch: Batch) -> Any:
        """What the model says, and class probabilities [B, K]."""
        ...

    def decode(self, outputs: Any, batch: Batch, decoding: Any = None) -> Detections:
        """Detections from outputs; `decoding`, which may be traced, takes the place of the task's own."""
        ...

    def decoding_fields(self) -> tuple[str, ...]:
        """The fields of `decoding` that its decoding reads."""
        ...


def as_tunable(task: Task, where: str) -> Tunable:
    """The task as one whose decoding can be searched. Raises InputError: it is none, naming `where`."""
    if not task.tunable:
        raise InputError(f"{where}: a {type(task).__name__} has no decoding to tune: choose a stage of method 'mgfn'")
    return typing.cast(Tunable, task)


def is_task(cls: Any) -> TypeGuard[type["Task"]]:
    """Whether something is a class of tasks."""
    return isinstance(cls, type) and issubclass(cls, Task)


def model_type(task: type[Task]) -> type[nn.Module]:
    """The module that a task's field `model` is annotated with."""
    return typing.get_type_hints(task)["model"]


def build_model(task: type[Task], fields: Mapping[str, Any], facts: DataFacts) -> Any:
    """The task's module: fields of the config, `dtype` by its name, and the number of classes where it has that field.

    Raises:
      ValueError: an unknown dtype, or a value that does not fit.
    """
    kind = model_type(task)
    known = {field.name for field in dataclasses.fields(kind)}
    values = {"num_classes": facts.num_classes, **fields} if "num_classes" in known else dict(fields)
    if "dtype" in values:
        values["dtype"] = named_dtype(values["dtype"])
    return kind(**values)


def named_dtype(name: Any) -> Any:
    """The type that a config names. Raises ValueError: there is none of this name."""
    if name not in DTYPES:
        raise ValueError(f"dtype is {' or '.join(map(repr, DTYPES))}, not {name!r}")
    return DTYPES[name]


def without_dropout(model: Any) -> Any:
    """The module with `dropout` 0, its own and that of modules that are its fields; parameters stay as they are."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(model):
        value = getattr(model, field.name)
        if field.name == "dropout" and value:
            changes["dropout"] = 0.0
        elif isinstance(value, nn.Module) and field.name not in ("parent", "name"):
            changes[field.name] = without_dropout(value)
    return model.clone(**changes) if changes else model
