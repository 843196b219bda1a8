"""Methods by the name that a config gives them, and the task of a stage's section."""

import dataclasses
import importlib

from tal_jax.data.dataset import Metadata
from tal_jax.data.framing import long_action_snippets
from tal_jax.errors import InputError
from tal_jax.stages.sections import StageSection
from tal_jax.tasks.task import DataFacts, Task, is_task, model_type
from tal_jax.windows import Framing
from tal_jax.words import hint

METHODS = {
    "bmn": "tal_jax.tasks.bmn:BMNTask",
    "tcanet": "tal_jax.tasks.tcanet:TCANetTask",
    "classifier": "tal_jax.tasks.classifier:ClassifierTask",
    "trimmed": "tal_jax.tasks.trimmed:TrimmedTask",
    "mgfn": "tal_jax.tasks.mgfn:MGFNTask",
    "joint": "tal_jax.tasks.joint:JointTask",
    "actionformer": "tal_jax.tasks.actionformer:ActionFormerTask",
    "actionformer_proposals": "tal_jax.tasks.actionformer:PyramidProposalsTask",
    "recognition": "tal_jax.recognition.task:RecognitionTask",
}


def find_method(name: object, where: str) -> type[Task]:
    """The class of a method's task.

    Args:
      name: a name in `METHODS`, or "package.module:Class" for a class of any package.
      where: the dotted key that has the name, for messages.

    Raises:
      InputError: there is no such name, or the class cannot be imported, or is no `Task`.
    """
    place = METHODS.get(str(name), str(name))
    module, _, attribute = place.partition(":")
    if not attribute:
        known = hint(place, sorted(METHODS), "it is one of")
        raise InputError(f"config: {where}: no method {name!r}: {known}, or package.module:Class of your own")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as e:  # whatever a module of someone else's does while it is imported
        reason = " ".join(f"{type(e).__name__}: {e}".split())
        raise InputError(f"config: {where}: {place!r} cannot be imported ({reason:.200}): is it installed?") from e
    if not is_task(found) or not dataclasses.is_dataclass(found):
        raise InputError(
            f"config: {where}: {place!r} is no task: derive a frozen dataclass from tal_jax.tasks.task.Task"
        )
    if not dataclasses.is_dataclass(model_type(found)):
        raise InputError(f"config: {where}: {place!r}: annotate its field `model` with the class of its module")
    return found


def build_task(section: StageSection, metadata: Metadata, framing: Framing, where: str) -> Task:
    """The task of a stage with its model; what the config leaves open comes from the data.

    Args:
      section: the section of the stage.
      metadata: that of the prepared set, with the streams in use alone.
      framing: the frame that the model sees.
      where: the dotted name of the section, for messages.

    Raises:
      InputError: a value does not fit its field, or two of them contradict each other.
    """
    facts = DataFacts(
        num_classes=len(metadata.labels),
        stream_widths=tuple(metadata.streams.values()),
        snippets=framing.snippets,
        scale=framing.scale,
        long_action=long_action_snippets(metadata),
    )
    try:
        return section.kind.from_config(section.model, section.options, section.settings, facts)
    except (ValueError, TypeError) as e:
        raise InputError(f"config: {where}: {e}") from e
