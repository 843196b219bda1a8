"""The search of a weakly-supervised stage's decoding on held-out training recordings, without segment annotations."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tal_jax.data.composites import Excerpt, compose, excerpts
from tal_jax.data.dataset import CLIPS, open_split
from tal_jax.data.holdout import hold_out
from tal_jax.devices.mesh import local_mesh
from tal_jax.errors import InputError
from tal_jax.experiments.tune_trials import prepare_trials
from tal_jax.stages.plan import check_held_out
from tal_jax.stages.predictor import Predictor
from tal_jax.stages.sections import Config
from tal_jax.stages.stage import Stage, build_stage
from tal_jax.stages.tuned_decoding import write_tuned
from tal_jax.stages.workdir import read_config
from tal_jax.tasks.abilities import Tunable, as_tunable
from tal_jax.tasks.cas_decoding import Decoding
from tal_jax.tasks.task import Params
from tal_jax.train.checkpoint import restore_params
from tal_jax.words import hint

# Not searched: class_threshold and class_weight. A composite knows few classes to be absent, so it says little about
# false classes, and a search on it would let too many of them in.
GRID: dict[str, tuple[float, ...]] = {
    "smoothing": (0.0, 0.5, 1.0, 2.0, 3.0, 4.0),  # seconds
    "lowest": (0.05, 0.1, 0.2, 0.3, 0.4),
    "highest": (0.5, 0.6, 0.7, 0.8, 0.9),
    "inflation": (0.1, 0.25, 0.5),
    "nms_sigma": (0.1, 0.2, 0.3, 0.5, 0.8),
    "sharpness": (1.0, 1.5, 2.0),
    "regressed_weight": (0.5, 0.7, 0.85, 1.0),
}
SNIPPETS = (2.0, 3.0, 5.0)  # more values of smoothing, in snippets, where a snippet is longer than a second
SWEEPS = 3
MIN_GAIN = 5e-3  # of mAP; what is less is noise, and the present value stays
COMPOSITES = 200
MAX_CLIPS = 2000  # that are looked at
CUTS = 3  # pseudo-clips of one recording, at most
CORE = 0.8  # of a detection is taken for a pseudo-clip: its ends are the least certain


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The decoding that was chosen, and how it was."""

    before: Decoding  # the config's
    after: Decoding
    score_before: float  # average mAP on the composites, a fraction
    score_after: float
    composites: int
    recordings: int  # held out, that clips were spliced into
    source: str  # of the clips: "clips" or "detections"
    settings: int  # that were tried
    seconds: float


def tune(workdir: str | Path, *, stage: str = "", seed: int = 0) -> Tuning:
    """Searches the decoding that finds spliced actions best, and writes it to WORKDIR/STAGE/tuned.json.

    Args:
      workdir: the folder of a training with held-out recordings.
      stage: the name of a stage whose decoding can be searched; "" is the last one of the track.
      seed: the seed of the composites; all else follows from the data, the checkpoint and the config.

    Raises:
      InputError: there is no such workdir or stage, nothing is trained or held out, the data are others than those of
        the training, or no recording lacks any class.
    """
    begin = time.monotonic()
    config = read_config(workdir)
    name = stage or config.track[-1]
    if name not in config.track:
        raise InputError(f"--stage={name}: no such stage: {hint(name, config.track, 'the track is')}")
    if not config.stages[name].kind.tunable:
        method = config.stages[name].task
        raise InputError(f"--stage={name}: method {method!r} has no decoding to tune: choose a stage of method 'mgfn'")
    params = restore_params(workdir, name)
    built = _build(config, name, Path(workdir).absolute())
    task = as_tunable(built.task, f"--stage={name}")
    before = task.decoding
    batch_size = built.section.batch_size
    clips, source = _clips(built, config.data.holdout), "clips"
    if not clips:
        clips, source = _pseudo_clips(built, params, batch_size), "detections"
    composites = compose(
        built.training,
        built.recordings.eval_index,
        clips,
        streams=built.assembler.streams,
        framing=built.assembler.framing,
        count=COMPOSITES,
        seed=seed,
    )
    trials = prepare_trials(
        built.task,
        params,
        composites,
        built.assembler,
        batch_size=batch_size,
        least_probability=before.class_threshold,
        mesh=local_mesh(),
    )
    grid = fields_in_use(task, trials.stride)
    with tqdm(total=SWEEPS * sum(map(len, grid.values())), desc=f"{name} tune", unit="setting", disable=None) as bar:
        after, scores = search(trials.score, before, grid, advance=bar.update)
    result = Tuning(
        before=before,
        after=after,
        score_before=scores[before],
        score_after=scores[after],
        composites=len(composites),
        recordings=len({c.host for c in composites.compositions}),
        source=source,
        settings=len(scores),
        seconds=time.monotonic() - begin,
    )
    facts = {"score": result.score_after, "config_score": result.score_before, "composites": len(composites)}
    write_tuned(Path(workdir), name, after, {**facts, "seed": seed, "source": source})
    return result


def search(
    score: Callable[[Decoding], float],
    start: Decoding,
    grid: Mapping[str, Sequence[float]],
    *,
    advance: Callable[[int], Any] = lambda n: None,
) -> tuple[Decoding, dict[Decoding, float]]:
    """Coordinate ascent: one field after the other takes its best value, SWEEPS times or until nothing changes.

    A value is taken only if it gains more than MIN_GAIN over the present one; of equal ones the first.

    Args:
      score: the score of a setting, which is to be large; it is called once for each setting.
      start: the setting to begin with.
      grid: the values to try, by field.
      advance: called with the number of grid values that were tried.

    Returns:
      The best setting, and the score of every setting that was tried.
    """
    best, scores = start, {start: score(start)}
    for _ in range(SWEEPS):
        before = best
        for field, values in grid.items():
            candidates = [best]
            for value in values:
                trial = dataclasses.replace(best, **{field: value})
                if trial.lowest < trial.highest:
                    if trial not in scores:
                        scores[trial] = score(trial)
                    candidates.append(trial)
                advance(1)
            winner = max(candidates, key=lambda trial: scores[trial])
            if scores[winner] > scores[best] + MIN_GAIN:
                best = winner
        if best == before:
            break
    return best, scores


def fields_in_use(task: Tunable, stride: float) -> dict[str, tuple[float, ...]]:
    """GRID without the fields that the task's decoding does not read, and with values of smoothing that fit the stride.

    Args:
      task: the task whose decoding is searched.
      stride: seconds per snippet of the frame.

    Returns:
      The values to try, by field.
    """
    read = task.decoding_fields()
    grid = {name: values for name, values in GRID.items() if name in read}
    grid["smoothing"] = tuple(s for s in GRID["smoothing"] if s == 0 or s > stride)  # less than a snippet is none
    if stride > 1:
        grid["smoothing"] = tuple(sorted({*grid["smoothing"], *(n * stride for n in SNIPPETS)}))
    return grid


def table(result: Tuning) -> str:
    """The choice as a table in text: every field before and after, and the scores."""
    rows = [("", "config", "tuned")]
    for field in dataclasses.fields(Decoding):
        rows.append((field.name, f"{getattr(result.before, field.name):g}", f"{getattr(result.after, field.name):g}"))
    rows.append(("average mAP", f"{100 * result.score_before:.2f}", f"{100 * result.score_after:.2f}"))
    where = "clips" if result.source == "clips" else "detections of other held-out recordings, for want of clips"
    return "\n".join(
        [
            *(f"{name:<18}{before:>8}{after:>8}" for name, before, after in rows),
            f"on {result.composites} composites of {result.recordings} held-out recordings, with actions from {where}",
            f"{result.settings} settings in {result.seconds:.1f} s",
        ]
    )


def _build(config: Config, name: str, workdir: Path) -> Stage:
    """The stage, with the config's decoding."""
    built = build_stage(config, name, workdir)
    data = config.data
    if (data.holdout <= 0 and not data.holdout_ids) or len(built.recordings.eval_index) == 0:
        raise InputError(
            f"{workdir}: stage {name} held out no training recording (data.holdout {data.holdout}): train "
            "with --config.data.holdout=0.1 in another --workdir"
        )
    if not built.on_its_own_set:
        raise InputError(f"{workdir}: stage {name} was trained on another data set than {data.dir} is now: restore it")
    check_held_out(built.recordings, data, name, workdir)
    return built


def _clips(stage: Stage, holdout: float) -> list[Excerpt]:
    """The held-out clips; [] where the set has no clips."""
    if CLIPS not in stage.training.metadata.splits:
        return []
    split = open_split(stage.training.directory, CLIPS)
    _, index = hold_out(len(split), holdout)
    learned = {str(id) for id in np.delete(stage.training.ids, stage.recordings.eval_index)}
    index = index[[str(split.ids[i]) not in learned for i in index]]  # a clip may be cut from a recording
    spread = np.unique(np.linspace(0, len(index) - 1, min(len(index), MAX_CLIPS)).astype(int))
    return excerpts(split, index[spread], stage.assembler.streams)


def _pseudo_clips(stage: Stage, params: Params, batch_size: int) -> list[Excerpt]:
    """The cores of the best detections of every held-out recording's own classes."""
    split, found = stage.training, []
    index = stage.recordings.eval_index
    table = Predictor(stage.task, local_mesh())(params, split, stage.assembler, index=index, batch_size=batch_size)
    for i in index.tolist():
        record = split[i]
        rows = table.take((table.recording == i) & np.isin(table.label, record.present))
        best = np.argsort(-rows.score, kind="stable")[:CUTS]
        length = min(len(record.features[name]) for name in stage.assembler.streams)
        for (start, end), label in zip(rows.segments[best] / record.stride, rows.label[best], strict=True):
            rest = (1 - CORE) / 2 * (end - start)
            first, last = int(np.ceil(start + rest)), min(int(end - rest), length)
            if last > first:
                found.append(Excerpt(split, i, first, last, record.stride, int(label)))
    return found
