"""A stage without a data set: its task and random batches, of given sizes or of those that its method decides."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tal_jax.batch_layout import Sizes, empty
from tal_jax.data.dataset import Metadata
from tal_jax.errors import InputError
from tal_jax.stages.config import parse
from tal_jax.stages.methods import build_task
from tal_jax.stages.plan import method_snippets
from tal_jax.stages.sections import Config, StageSection
from tal_jax.tasks.task import IMAGES, PROPOSALS, Task
from tal_jax.types import Batch
from tal_jax.windows import Framing
from tal_jax.words import hint


def random_batch(
    rows: int, *, snippets: int, channels: int, classes: int, proposals: int = 0, segments: int = 1, seed: int = 0
) -> Batch:
    """A random batch of recordings of full length; proposals lie around their segments.

    Args:
      rows: B.
      snippets: T.
      channels: C.
      classes: K.
      proposals: P.
      segments: G, all of them real.
      seed: the seed of all draws.
    """
    rng = np.random.default_rng(seed)
    t = snippets
    start = rng.uniform(0, 0.7, (rows, segments)) * t
    truth = np.stack([start, start + rng.uniform(0.05, 0.3, start.shape) * t], axis=-1)
    near = truth[:, np.arange(proposals) % max(segments, 1)] + rng.normal(0, 0.03 * t, (rows, proposals, 2))
    label = rng.integers(0, classes, (rows, segments))
    present = np.zeros((rows, classes), np.float32)
    np.put_along_axis(present, label, 1.0, axis=1)
    return Batch.make(
        rng.normal(size=(rows, t, channels)).astype(np.float32),
        labels=present,
        segments=truth.astype(np.float32),
        segment_labels=label.astype(np.int32),
        proposals=np.sort(np.clip(near, 0, t), axis=-1).astype(np.float32),
        proposal_scores=rng.uniform(0.1, 1, (rows, proposals)).astype(np.float32),
        class_scores=rng.dirichlet(np.ones(classes), rows).astype(np.float32),
    )


def random_images(rows: int, *, snippets: int, image: tuple[int, int, int], classes: int, seed: int = 0) -> Batch:
    """A random batch of clips of images, each of one class.

    Args:
      rows: B.
      snippets: T, images of a clip.
      image: (Y, X, C).
      classes: K.
      seed: the seed of all draws.
    """
    rng = np.random.default_rng(seed)
    fields = empty(Sizes(snippets, image[2], classes, pixels=image[:2]), rows)
    fields["features"] = rng.integers(0, 256, (rows, snippets, *image), np.uint8)
    fields["mask"][...], fields["duration"][...] = True, snippets
    np.put_along_axis(fields["labels"], rng.integers(0, classes, (rows, 1)), 1.0, axis=1)
    return Batch(**fields)


def _section(config: Config | Mapping[str, Any], stage: str) -> StageSection:
    stages = parse(config).stages
    if stage not in stages:
        raise InputError(f"--stage={stage}: no such stage: {hint(stage, stages, 'the config has')}")
    return stages[stage]


def data_sizes(
    config: Config | Mapping[str, Any], stage: str, usual: Mapping[str, int], *, classes: int, **given: int
) -> dict[str, int]:
    """The sizes of a stage's data: `snippets` T, `channels` C, `classes` K and `proposals` P.

    Args:
      config: the config as plain nested values.
      stage: the stage's name.
      usual: T, C and P where they are not given.
      classes: K.
      **given: T, C and P; 0, or left out, is not given.

    Raises:
      InputError: there is no such stage, or its method sees images, whose number and size nobody else decides.
    """
    section = _section(config, stage)
    if section.kind.learns_from != IMAGES:
        return {**usual, **{name: size for name, size in given.items() if size}, "classes": classes}
    for name, size in given.items():
        if size:
            raise InputError(
                f"--{name} does not go with stage {stage!r}, whose encoder says what it sees: leave it out"
            )
    snippets = method_snippets(section, f"stages.{stage}") or 0
    image = synthetic_task(config, stage, snippets=snippets, channels=0, classes=classes)[0].image
    assert image is not None
    return {"snippets": snippets, "channels": image[2], "proposals": 0, "classes": classes}


def synthetic_task(
    config: Config | Mapping[str, Any], stage: str, *, snippets: int, channels: int, classes: int
) -> tuple[Task, StageSection]:
    """The task of a stage for data of these sizes, and the stage's section.

    Args:
      config: the config as plain nested values.
      stage: the stage's name.
      snippets: T of the frame.
      channels: C of the one stream.
      classes: K.

    Raises:
      InputError: there is no such stage, or the config does not fit these sizes.
    """
    section = _section(config, stage)
    labels = tuple(f"class {k:04d}" for k in range(classes))
    metadata = Metadata(labels, {"features": channels}, 1.0, {"training": 1}, (), {}, 1, {"features": "float32"}, "")
    return build_task(section, metadata, Framing("window", snippets), f"stages.{stage}"), section


def synthetic_batch(task: Task, rows: int, *, snippets: int, channels: int, classes: int, proposals: int) -> Batch:
    """A random batch with all that the task's loss reads, clips and their features too; sizes as of `data_sizes`."""
    if task.image is not None:
        return random_images(rows, snippets=snippets, image=task.image, classes=classes)
    batch = random_batch(
        rows,
        snippets=snippets,
        channels=channels,
        classes=classes,
        proposals=proposals if PROPOSALS in task.accepts else 0,
    )
    width = task.clip_feature_width()
    if width:
        pooled = np.random.default_rng(1).normal(size=(rows, width)).astype(np.float32)
        clips = random_batch(rows, snippets=8, channels=channels, classes=classes, seed=2)
        batch = dataclasses.replace(batch, clips=dataclasses.replace(clips, clip_features=pooled))
    return batch


def prediction_batch(task: Task, section: StageSection, batch: Batch) -> Batch:
    """What `task.predict` sees, from a batch of training: no trimmed clips, and of images all views of a clip."""
    rows = task.rows(section.settings, ("features",), None)
    if rows is None:
        return dataclasses.replace(batch, clips=None)
    views = rows.framing.snippets // batch.features.shape[1]
    several = [np.concatenate([x] * views, axis=1) for x in (batch.features, batch.mask)]
    return dataclasses.replace(batch, features=several[0], mask=several[1], duration=batch.duration * np.float32(views))
