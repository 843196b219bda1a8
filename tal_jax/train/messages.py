"""The messages of a training: before its first step, when a loss is not finite, and of a population at its end."""

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from tal_jax.data import atomic
from tal_jax.data.augmentation import Augmentation
from tal_jax.data.rows import Origin
from tal_jax.devices.processes import first, say
from tal_jax.errors import InputError, TrainingDiverged
from tal_jax.stages.remembered import read_set
from tal_jax.stages.sections import Config
from tal_jax.stages.stage import Stage
from tal_jax.stages.track import TrackPlan
from tal_jax.stages.workdir import has_checkpoint
from tal_jax.train.history import last_scores
from tal_jax.train.population import Member, spread
from tal_jax.train.step import TrainState


def report_missing_proposals(stage: Stage) -> None:
    """Prints how many training recordings have no proposals, where the stage takes them; it learns nothing from those.

    Raises:
      InputError: none of the training recordings has proposals.
    """
    known = stage.assembler.proposals
    if known is None:
        return
    ids = [str(i) for i in stage.training.ids[stage.recordings.train_index]]
    bare = [i for i in ids if i not in known]
    if len(bare) == len(ids):
        raise InputError(
            f"stage {stage.name}: the proposals are of none of the recordings ({ids[0]}, ..): compare the ids in both"
        )
    if bare:
        say(f"stage {stage.name}: {len(bare)} training recordings have no proposals: {', '.join(bare[:5])}")


def report_population(stage: Stage, members: Sequence[Member], results: Sequence[Mapping[str, float]]) -> None:
    """Prints each member's scores, mean and spread for each learning rate, and writes STAGE/population.json.

    Args:
      stage: the stage that was trained.
      members: the N members of the population; nothing is printed or written without any.
      results: [N] scores of each member by name, as `evaluate_stage` returns them.
    """
    names = list(results[0])
    if not names:
        say(f"stage {stage.name}: a population without an evaluation: give data.eval_split or data.holdout(_ids)")
        return

    def line(*cells: Any) -> str:
        first, second, *values = cells
        return f"  {first!s:<6}{second!s:>14}" + "".join(f"{v:>14}" for v in values)

    lines = [f"stage {stage.name}: {len(results)} members", line("seed", "learning rate", *names)]
    for m, r in zip(members, results, strict=True):
        lines.append(line(m.seed, f"x {m.learning_rate:g}", *(f"{r[n]:.4f}" for n in names)))
    summary = []
    for rate in dict.fromkeys(m.learning_rate for m in members):
        found = spread([r for m, r in zip(members, results, strict=True) if m.learning_rate == rate])
        summary.append({"learning_rate": rate, **found})
        for key in ("mean", "sd"):
            lines.append(line(key, f"x {rate:g}", *(f"{found[n][key]:.4f}" for n in names)))
    say("\n".join(lines))
    if first():
        rows = [{**dataclasses.asdict(m), **r} for m, r in zip(members, results, strict=True)]
        text = json.dumps({"members": rows, "summary": summary}, indent=1)
        atomic.write(stage.workdir / stage.name / "population.json", text.encode())


def check_finite(stage: Stage, step: int, metrics: Mapping[str, Any], origin: Origin) -> None:
    """Stops a run whose loss or gradient is NaN or infinite; the parameters are still those of the step before.

    Args:
      stage: the stage that is trained.
      step: the number of the step.
      metrics: what the step returned, `finite` among it.
      origin: which recordings its batch came from.

    Raises:
      TrainingDiverged: the text names the step and the recordings of its batch.
    """
    if not float(metrics["finite"]):
        ids = ", ".join(str(stage.training.ids[i]) for i in origin.index)
        raise TrainingDiverged(
            f"stage {stage.name}: loss or gradient is not finite at step {step}, recordings {ids}: look at their "
            "features, or lower the learning rate; the last checkpoint is kept"
        )


def describe(stage: Stage, state: TrainState, start: int) -> str:
    """The lines printed before the first step: parameters per module, shapes, where the run starts.

    Args:
      stage: the stage that is about to be trained.
      state: the state of one training; only its shapes count.
      start: how many steps are taken already.
    """
    framing, section = stage.assembler.framing, stage.section
    counts = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in state.params.get("params", {}).items()}
    width = max(len(n) for n in [*counts, "parameters"])
    rows = [f"  {name:<{width}} {count:>12,}" for name, count in counts.items()]
    return "\n".join(
        [
            f"stage {stage.name}: {len(stage.recordings.train_index)} recordings{left_out(stage)}, "
            f"{section.steps} steps of {section.batch_size}" + (f", going on from step {start}" if start else ""),
            f"  frame: {framing.mode}, {framing.snippets} snippets of {framing.scale:g} stored ones",
            *turning(stage.assembler.augmentation),
            *unmeasured(stage),
            *rows,
            f"  {'parameters':<{width}} {sum(counts.values()):>12,}",
        ]
    )


def left_out(stage: Stage) -> str:
    """How many recordings are not learned from, as they have labels and no segment; "" where that is none."""
    count = 0 if stage.task.weak else int(stage.training.weak_only.sum())
    return f" ({count} with labels alone are left out)" if count else ""


def unmeasured(stage: Stage) -> list[str]:
    """The line that says why nothing is measured during training; no line where something is."""
    split, index = stage.recordings.evaluation, stage.recordings.eval_index
    if len(index):
        return []
    data, splits = stage.config.data, split.metadata.splits
    reason = f"no split {data.eval_split!r} (it has {', '.join(splits)})"
    if data.eval_split in splits:
        reason = f"no recording of {data.eval_split!r} with segments"
    remedy = "data.holdout=0.2 keeps training recordings for it"
    if len(stage.recordings.train_index) < 2:
        remedy = "and only one recording to learn from, of which none can be kept for it: add some"
    return [f"  not measured: {data.dir} has {reason}: {remedy}"]


def outcome(track: TrackPlan) -> str:
    """The lines at the end of a training: the last scores of every stage, in percent.

    A log that cannot be read is said, and no more: what was trained is whole without it.
    """
    found = []
    for name in track.names:
        try:
            scores = last_scores(track.workdir / name)
        except InputError as e:
            found.append(f"stage {name}: trained; {e}")
            continue
        text = "  ".join(f"{key} {100 * value:.1f}" for key, value in scores.items() if key != "average")
        if has_checkpoint(track.workdir, name):
            found.append(f"stage {name}: {f'{text} (%)' if text else 'trained, not measured'}")
    return "\n".join(found)


def next_command(config: Config, workdir: str, stage: str, detect: str) -> str:
    """The command that shows what was learned, on the recordings that nothing was learned from where there are any.

    Args:
      config: the config of the track.
      workdir: the folder of the training, as it was given.
      stage: the only stage that was to run; "" where all were.
      detect: how launch.detect is called here.
    """
    found = read_set(Path(workdir).absolute(), stage or config.track[-1])
    splits = found[0].splits if found is not None else {}
    split = config.data.eval_split if config.data.eval_split in splits else config.data.train_split
    part = f" --stage={stage}" if stage not in ("", config.track[-1]) else ""
    return f"next: {detect} --workdir={shlex.quote(workdir)}{part} --split={split} --out=D.json"


def turning(augmentation: Augmentation) -> list[str]:
    """The lines on what is rotated in training, and what not; none where the config asks for no rotation."""
    return list(augmentation.triaxial.told) if augmentation.turns else []
