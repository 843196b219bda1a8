"""The sections of a config: one dataclass each. Its fields are the keys, and nowhere else is a default written."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tal_jax.tasks.task import Settings, Task
from tal_jax.windows import Framing


@dataclasses.dataclass(frozen=True)
class MeshSection:
    """How devices share the work."""

    model: int = 1  # devices that share a row of a batch: BMN's map by duration, TCANet's proposals


@dataclasses.dataclass(frozen=True)
class CheckpointSection:
    """When a training saves."""

    every_steps: int = 1000


@dataclasses.dataclass(frozen=True)
class DataSection:
    """The prepared set, which of its recordings are learned from, and which are measured."""

    dir: str = ""
    streams: tuple[str, ...] = ()  # (): all
    widths: Mapping[str, int] = dataclasses.field(default_factory=dict)  # stream -> channels that the config is for
    train_split: str = "training"
    eval_split: str = "validation"
    holdout: float = 0.0  # this share of the training recordings is measured instead of eval_split
    holdout_ids: tuple[str, ...] = ()  # or those whose ids match one of these patterns, such as "person1_*"
    accept_encoders: bool = False  # take features of another encoder than those of the training
    normalize: bool = False  # by the training set's mean and standard deviation
    # Streams of one device's three-axis sensors, which turn together in training, or several devices, each a tuple of
    # streams; "imu[0:6]" are channels of a stream. (): found by gravity
    triaxial: tuple[str | tuple[str, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class FrameSection:
    """How recordings become frames and rows; 0 is chosen from the training set."""

    mode: str = "window"  # pad, or cut what is longer; or "resize"
    snippets: int = 0  # T
    scale: float = 0.0  # stored snippets per frame snippet
    overlap: float = 0.5  # of neighbouring windows in detection, as a fraction of T
    keep: float = 0.75  # training keeps a segment that lies in the window with at least this fraction
    longest_action: int = 64  # frame snippets that a long action may span, where `scale` is chosen
    max_snippets: int = 512  # of the frame, where `snippets` is chosen
    proposals: int = 0  # P, of a stage that takes proposals
    train_proposals: int = 0  # drawn from them in training; 0: all
    min_seconds: float = 0.0  # training leaves out segments up to this length
    stride_jitter: float = 0.0  # training stretches time by up to this fraction
    rotation: float = 0.0  # of three-axis sensors in training, radians: see data.triaxial
    half_turns: bool = False
    gain: float = 0.0
    shift: float = 0.0
    noise: float = 0.0
    around_actions: float = 0.75  # share of training windows drawn around an action, where recordings are windowed

    def framing_fields(self) -> dict[str, Any]:
        """The fields that `data.framing.choose_framing` takes, by name."""
        names = (*(f.name for f in dataclasses.fields(Framing)), "longest_action", "max_snippets")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True)
class OptimizerSection:
    """AdamW, or SGD with momentum: see `train.optimizer`."""

    method: str = "adamw"  # or sgd
    learning_rate: float = 4e-4
    weight_decay: float = 1e-5
    momentum: float = 0.9  # of SGD
    nesterov: bool = False
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)  # "*/head/*" -> times the learning rate
    warmup_steps: int = 0
    schedule: str = "step"  # or cosine, constant
    decay_at: float = 0.78  # of all steps: after 7 of 9 epochs, as published
    drops: tuple[float, ...] = ()  # shares of all steps, after each of which the rate decays, in place of decay_at
    decay_factor: float = 0.1
    clip_norm: float = 0.0  # of the gradient; 0: not clipped

    def __hash__(self) -> int:
        return hash(repr(self))  # a mapping has none of its own, and programs are known by their settings


@dataclasses.dataclass(frozen=True)
class StageSection:
    """One stage of a track. Its last fields are the keys that its kind of task declares."""

    task: str
    steps: int = 20_000
    batch_size: int = 16
    eval_every_steps: int = 5_000  # 0: only after the last step
    ema_decay: float = 0.0  # of the average of parameters that is evaluated; 0: none
    accumulate: int = 0  # parts of a batch, one after the other, whose gradients are averaged; 0: at once
    data: FrameSection = FrameSection()
    optimizer: OptimizerSection = OptimizerSection()
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # fields of the task's module
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # fields of the task
    kind: type[Task] = Task  # type: ignore[type-abstract]
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)  # artifact -> a file instead of a stage's
    settings: Settings = Settings()  # noqa: RUF009

    @property
    def needs(self) -> tuple[str, ...]:
        """The artifacts that the task takes with the options of this section."""
        return self.kind.needs(self.options)

    @property
    def splice(self) -> float:
        """The share of training recordings that clips are spliced into, of a task that splices."""
        return getattr(self.settings, "splice", 0.0)


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole config: the track, its stages and what they share."""

    seed: int = 0
    population: int = 0  # trainings in one program, with seeds from `seed` on; 0: one
    learning_rates: tuple[float, ...] = ()  # times the stages' own: each seed is trained with each of them at once
    track: tuple[str, ...] = ()  # names of stages, in order
    log_every_steps: int = 50
    data: DataSection = DataSection()
    mesh: MeshSection = MeshSection()
    checkpoint: CheckpointSection = CheckpointSection()
    stages: Mapping[str, StageSection] = dataclasses.field(default_factory=dict)
