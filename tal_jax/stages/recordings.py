"""Which recordings, or clips, a stage learns from, and which it is measured on."""

import dataclasses
import hashlib
import json

import numpy as np

from tal_jax.data.dataset import CLIPS as CLIPS_SPLIT
from tal_jax.data.dataset import SPLITS, Split, open_split, read_metadata, split_named
from tal_jax.data.holdout import hold_out, hold_out_ids, without
from tal_jax.errors import InputError
from tal_jax.stages.sections import DataSection, StageSection
from tal_jax.tasks.task import CLIPS
from tal_jax.words import hint


@dataclasses.dataclass(frozen=True)
class Recordings:
    """The splits that a stage learns from and is measured on, and which recordings of them."""

    training: Split
    train_index: np.ndarray  # [N] positions in `training` to learn from
    evaluation: Split
    eval_index: np.ndarray  # [M] positions in `evaluation` for the periodic evaluation; M = 0 where there is none

    @property
    def longest(self) -> int:
        """Stored snippets of the longest of all recordings of both splits."""
        return int(max(self.training.num_snippets.max(), self.evaluation.num_snippets.max()))


def held_out_digest(recordings: Recordings) -> str:
    """SHA-256 of the ids of the training recordings that are held out; of none where another split is measured."""
    own = recordings.evaluation is recordings.training
    ids = recordings.training.ids[recordings.eval_index].tolist() if own else []
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def open_recordings(data: DataSection, section: StageSection) -> Recordings:
    """Opens the splits of a stage and holds out what the config says.

    Args:
      data: the section `data` of the config.
      section: the section of the stage.

    Raises:
      InputError: there is no prepared set or no such split, or what is to be held out does not exist.
    """
    if not data.dir:
        raise InputError("config: data.dir is empty: give the prepared set with --config.data.dir=DATA")
    if section.kind.learns_from == CLIPS:
        clips, kept, held = open_clips(data)
        return Recordings(clips, kept, clips, held)
    training = open_split(data.dir, data.train_split)
    if data.holdout_ids:
        kept, held = hold_out_ids(training, data.holdout_ids)
        return _located(Recordings(training, kept, training, held), section)
    kept, held = hold_out(len(training), data.holdout)
    if data.eval_split and split_named(data.eval_split) not in (*SPLITS, CLIPS_SPLIT):
        known = hint(data.eval_split, SPLITS, "there are")
        raise InputError(f"config: data.eval_split: no split {data.eval_split!r}: {known}")
    if len(held) or split_named(data.eval_split) not in training.metadata.splits:
        return _located(Recordings(training, kept, training, held), section)
    evaluation = open_split(data.dir, data.eval_split)
    return _located(Recordings(training, kept, evaluation, np.arange(len(evaluation))), section)


def located(split: Split, index: np.ndarray) -> np.ndarray:
    """Of positions in a split, those of recordings that do not have labels alone: where actions are is known there."""
    return index[~split.weak_only[index]]


def _located(found: Recordings, section: StageSection) -> Recordings:
    """Without recordings that have labels and no segment, where segments are learned from: they are no background.

    Raises:
      InputError: none is left to learn from.
    """
    if section.kind.weak:
        return found
    kept, measured = located(found.training, found.train_index), located(found.evaluation, found.eval_index)
    if len(found.train_index) and not len(kept):
        raise InputError(
            f"{found.training.directory}: no {found.training.split} recording has a segment to learn from, but "
            "labels alone: annotate segments, or take a weak config"
        )
    return dataclasses.replace(found, train_index=kept, eval_index=measured)


def open_clips(data: DataSection) -> tuple[Split, np.ndarray, np.ndarray]:
    """The split of a set's trimmed clips, positions of those to learn from, and of those held out.

    Clips whose id matches `holdout_ids` are in neither: they show people, say, whom the training is not to know.

    Raises:
      InputError: the set has no clips.
    """
    if CLIPS_SPLIT not in read_metadata(data.dir).splits:
        raise InputError(
            f"{data.dir}: holds no clips to learn from: prepare it with --clips=C.json --clip_features=NAME=DIR, or "
            "take a row without transfer (:ccm)"
        )
    split = open_split(data.dir, CLIPS_SPLIT)
    kept, held = hold_out(len(split), data.holdout)
    return split, without(split, kept, data.holdout_ids), held
