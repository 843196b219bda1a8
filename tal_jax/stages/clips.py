"""Trimmed clips in the training rows of recordings: some are spliced in, and their features come along."""

import dataclasses

import numpy as np

from tal_jax.data.dataset import Split
from tal_jax.data.framing import choose_framing
from tal_jax.data.rows import Clips
from tal_jax.data.splicing import Splicer
from tal_jax.stages.artifacts import Artifact, check_inputs, check_set, read_artifact
from tal_jax.stages.recordings import open_clips
from tal_jax.stages.stage import Stage
from tal_jax.stages.workdir import newest_step
from tal_jax.tasks.task import CLIP_FEATURES
from tal_jax.tasks.task import CLIPS as LEARNS_FROM_CLIPS


def with_clips(stage: Stage) -> Stage:
    """The stage with the rows that it is to be trained on.

    Where it splices, clips are inserted into some of the rows. Where its loss compares with clip features, every row
    carries a clip and that clip's features.

    Args:
      stage: the stage as `complete_stage` makes it.

    Raises:
      InputError: the set has no clips, or their features are missing or were made from another set.
    """
    config, workdir = stage.config, stage.workdir
    share, compared = stage.section.splice, CLIP_FEATURES in stage.section.needs
    if not share and not compared:
        return stage
    split, index, _ = open_clips(config.data)
    assembler, artifacts = stage.assembler, dict(stage.artifacts)
    if share:
        splicer = Splicer(split, index, assembler.streams, assembler.framing, share)
        assembler = dataclasses.replace(assembler, splicer=splicer)
    if compared:
        known = read_artifact(config, stage.name, CLIP_FEATURES, workdir, stage.trained_on.labels)
        check_set(known, split.metadata, split.directory)
        if newest_step(workdir, stage.name):
            check_inputs(workdir, stage.name, {CLIP_FEATURES: known})
        artifacts[CLIP_FEATURES] = known
        assembler = dataclasses.replace(assembler, clips=_clips(stage, split, index, known))
    return dataclasses.replace(stage, assembler=assembler, artifacts=artifacts)


def _clips(stage: Stage, split: Split, index: np.ndarray, known: Artifact) -> Clips:
    """The clips that training rows carry, those with features, in the frame of the stage that made them."""
    index = index[[str(id) in known.values for id in split.ids[index]]]
    makers = [s for s in stage.config.stages.values() if s.kind.learns_from == LEARNS_FROM_CLIPS]
    frame = makers[0].data if makers else stage.section.data
    framing = choose_framing(split.metadata.without_segments(), int(split.num_snippets.max()), **frame.framing_fields())
    return Clips(split, index, dataclasses.replace(stage.assembler, framing=framing, clip_features=known.values))
