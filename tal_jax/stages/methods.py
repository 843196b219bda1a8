"""From a stage's section of a config to its model and task."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from tal_jax.data.dataset import Metadata
from tal_jax.data.framing import long_action_snippets
from tal_jax.errors import InputError
from tal_jax.models.bmn import BMN
from tal_jax.models.classifier import VideoClassifier
from tal_jax.models.joint import Joint
from tal_jax.models.mgfn import MGFN
from tal_jax.models.tcanet import TCANet
from tal_jax.stages.config import checked
from tal_jax.tasks.bmn import BMNTask
from tal_jax.tasks.cas_decoding import Decoding
from tal_jax.tasks.classifier import ClassifierTask
from tal_jax.tasks.joint import JointTask
from tal_jax.tasks.mgfn import MGFNTask
from tal_jax.tasks.task import Task
from tal_jax.tasks.tcanet import TCANetTask
from tal_jax.windows import Framing

TASKS: dict[str, tuple[type, type]] = {
    "bmn": (BMNTask, BMN),
    "tcanet": (TCANetTask, TCANet),
    "classifier": (ClassifierTask, VideoClassifier),
    "trimmed": (MGFNTask, MGFN),
    "mgfn": (MGFNTask, MGFN),
    "joint": (JointTask, Joint),
}
WEAK = ("trimmed", "mgfn")  # tasks that never see a segment annotation
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build_task(stage: Mapping[str, Any], metadata: Metadata, framing: Framing, where: str, part: str = "") -> Task:
    """Model and task of a stage; what is 0 or empty in the config comes from the data.

    Args:
      stage: the stage's section.
      metadata: of the prepared set.
      framing: of the stage.
      where: the section's name, for messages.
      part: of a stage of several networks, the one meant: the section's model and options are those of that part.

    Raises:
      InputError: unknown kind, unknown key, or a value that does not fit.
    """
    kind = stage.get("task")
    if kind not in TASKS:
        raise InputError(f"config: {where}.task is one of {', '.join(sorted(TASKS))}, not {kind!r}")
    task_type, model_type = TASKS[kind]
    of_part = f".{part}" if part else ""
    of_model, of_options = f"{where}.model{of_part}", f"{where}.options{of_part}"
    model = checked(stage.get("model", {}), model_type, of_model)
    options = checked(stage.get("options", {}), task_type, of_options)
    if kind == "joint":
        return _joint(model, options, metadata, framing, where)
    if "dtype" in model:
        if model["dtype"] not in DTYPES:
            raise InputError(f"config: {of_model}.dtype is 'float32' or 'bfloat16', not {model['dtype']!r}")
        model["dtype"] = DTYPES[model["dtype"]]
    if kind == "bmn" and not model.get("durations"):
        # A tenth more than the long training actions: new recordings hold longer ones.
        model["durations"] = max(4, math.ceil(1.1 * long_action_snippets(metadata) / framing.scale))
    if kind in ("classifier", *WEAK) or (kind == "tcanet" and options.get("classes", "head") != "video"):
        model.setdefault("num_classes", len(metadata.labels))
    if kind in WEAK:
        _weak_fields(stage, metadata, framing, where, model)
        options["decoding"] = Decoding(**checked(options.get("decoding", {}), Decoding, f"{of_options}.decoding"))
    try:
        return task_type(model=model_type(**model), **options)
    except (ValueError, TypeError) as e:
        raise InputError(f"config: {f'{where}, {part}' if part else where}: {e}") from e


def _joint(
    model: dict[str, Any], options: dict[str, Any], metadata: Metadata, framing: Framing, where: str
) -> JointTask:
    """Both networks and their tasks, each from its own part of the section; BMN's grid is coarser."""
    pool = model.get("pool", 1)
    if not isinstance(pool, int) or pool < 1:
        raise InputError(f"config: {where}.model.pool is a whole number from 1 on, not {pool!r}")
    coarse = dataclasses.replace(framing, scale=framing.scale * pool)
    parts = {}
    for kind, own in (("bmn", coarse), ("tcanet", framing)):
        section = {"task": kind, "model": model.get(kind, {}), "options": options.get(kind, {})}
        parts[kind] = build_task(section, metadata, own, where, kind)
    if parts["tcanet"].classes != "head":  # type: ignore[attr-defined]
        raise InputError(f"config: {where}.options.tcanet.classes: classes of a joint stage are those of its head")
    networks = {kind: part.model for kind, part in parts.items()}  # type: ignore[attr-defined]
    return JointTask(model=Joint(**networks, pool=pool), **{**options, **parts})


def _weak_fields(
    stage: Mapping[str, Any], metadata: Metadata, framing: Framing, where: str, model: dict[str, Any]
) -> None:
    """Fills in what MGFN's model takes from the data: streams and anchors."""
    fusion = stage.get("fusion", "early")
    if fusion not in ("early", "late"):
        raise InputError(f"config: {where}.fusion is 'early' or 'late', not {fusion!r}")
    if fusion == "late":
        model["streams"] = tuple(metadata.streams.values())
    if not stage.get("regressor"):
        model["anchors"] = ()
    elif not model.get("anchors"):
        # Powers of two from 2 snippets to half the frame: a guess that looks at no annotation.
        model["anchors"] = tuple(2.0**i for i in range(1, max(2, int(math.log2(framing.snippets)))))
