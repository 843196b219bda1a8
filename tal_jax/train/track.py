"""The check of a track before its first step: which stages are to run, and whether all of them can."""

from pathlib import Path

from tal_jax.devices.mesh import make_mesh, rows_per_process
from tal_jax.errors import InputError
from tal_jax.stages.config import nearest
from tal_jax.stages.recordings import open_clips
from tal_jax.stages.sections import Config
from tal_jax.stages.stage import StagePlan, plan_stage
from tal_jax.stages.workdir import check_config, finished
from tal_jax.train.optimizer import build_optimizer
from tal_jax.train.population import check_population, population


def check_track(config: Config, workdir: Path, stage: str = "") -> list[str]:
    """Checks every stage that is to run, and that finished ones belong to this config and set.

    Args:
      config: the config of the track.
      workdir: the folder of the track.
      stage: the only stage to run; "" runs the whole track.

    Returns:
      The names of the stages to run, finished ones among them, in order.

    Raises:
      InputError: something is wrong with the config, the set or a file, so far as it can be known before training.
    """
    if stage and stage not in config.track:
        hint = nearest(stage, config.track) or f"the track is {', '.join(config.track)}"
        raise InputError(f"--stage={stage}: no such stage: {hint}")
    names = [stage] if stage else list(config.track)
    if not names:
        raise InputError("config: track: names no stage")
    anew = bool(stage) and finished(workdir, stage)  # its folder will be moved away
    if not anew:
        check_config(config, workdir, names)
    for name in names:
        if name == stage or needed(config, name):
            plan = plan_stage(config, name, workdir, anew=anew)
            check_stage(config, plan)
            if not plan.trained_on.is_set_of(plan.recordings.training.metadata):
                raise _other_set(name, plan.recordings.training.directory, workdir)
    return names


def check_stage(config: Config, plan: StagePlan) -> None:
    """Builds what a stage is trained with, as far as that needs no results of other stages.

    Args:
      config: the config of the track.
      plan: the plan of the stage, see `plan_stage`.

    Raises:
      InputError: the optimizer, the batch or the population is impossible, or a file that the config names is missing.
    """
    section = plan.section
    build_optimizer(section.optimizer, section.steps)
    mesh = make_mesh(config.mesh.model)
    rows_per_process(mesh, section.batch_size, section.accumulate)
    check_population(population(config.seed, config.population, config.learning_rates), mesh)
    for artifact, file in section.files.items():
        if file and not Path(file).exists():
            what = artifact.replace("_", " ")
            raise InputError(f"{file}: no such file of {what}: check --config.stages.{plan.name}.{artifact}")
    for artifact in section.needs:
        makers = [n for n in config.track if n != plan.name and config.stages[n].kind.makes == artifact]
        if not makers and not section.files.get(artifact):
            what, key = artifact.replace("_", " "), f"--config.stages.{plan.name}.{artifact}=FILE"
            raise InputError(f"config: no stage in the track makes the {what} of stage {plan.name!r}: give {key}")
    if section.splice:
        open_clips(config.data)


def _other_set(name: str, directory: Path, workdir: Path) -> InputError:
    return InputError(
        f"{workdir}: stage {name} was begun with another data set than {directory}: give the one it had with "
        f"--config.data.dir, or remove {workdir / name} to train it anew"
    )


def needed(config: Config, name: str) -> bool:
    """Whether another stage of the track needs what the stage `name` makes, or it is the user who wants it.

    A stage whose artifact is replaced by files that the config names is not needed.
    """
    made = config.stages[name].kind.makes
    others = [config.stages[other] for other in config.track if other != name]
    takers = [section for section in others if made in section.kind.accepts]
    return not takers or any(made in section.needs and not section.files.get(made) for section in takers)
