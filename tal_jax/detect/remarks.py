"""What a user is told of a trained stage before its detections: that it is unfinished, or meets another time scale."""

import numpy as np

from tal_jax.data.dataset import Split
from tal_jax.devices.processes import say
from tal_jax.stages.stage import Stage
from tal_jax.stages.workdir import changed_since, finished, newest_step
from tal_jax.windows import strange_stride


def remark(stage: Stage, records: Split) -> None:
    """Prints what makes a stage's detections in these recordings doubtful, if anything."""
    for line in (changed(stage), unfinished(stage), other_stride(stage, records)):
        if line:
            say(line)


def changed(stage: Stage) -> str:
    """A line where the workdir's config is no longer what the stage was trained with; "" otherwise."""
    found = changed_since(stage.config, stage.workdir, stage.name)
    return f"stage {stage.name}: config.json has changed since its training: {'; '.join(found[:5])}" if found else ""


def unfinished(stage: Stage) -> str:
    """A line where a stage has steps left to take; "" otherwise, and for one that was converted, which takes none."""
    done, taken = finished(stage.workdir, stage.name), newest_step(stage.workdir, stage.name)
    steps = stage.section.steps
    if done or not taken or taken >= steps:
        return ""
    return f"stage {stage.name}: trained for {taken} of {steps} steps: launch.train goes on with it"


def other_stride(stage: Stage, records: Split) -> str:
    """A line where the snippets of most recordings are far longer, or shorter, than those of the training."""
    if stage.framing.mode == "resize":
        return ""
    own = records.metadata.stride
    stride = float(np.median(records.durations / records.num_snippets)) if own is None else own
    note = strange_stride(stride, stage.trained_on.stride)
    return note and f"{records.directory}: {note}"
