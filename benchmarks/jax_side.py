"""This project's side of every case: a function that makes a step, whose call does the work once."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.inputs import attention_inputs, nms_inputs, records
from tal_jax.data.dataset import open_split
from tal_jax.encoders import catalogue
from tal_jax.experiments.step_cost import compiled_predict_step, compiled_train_step
from tal_jax.experiments.synthetic import synthetic_batch, synthetic_task
from tal_jax.ops.attention import local_attention
from tal_jax.ops.nms import soft_nms
from tal_jax.recognition.recogniser import Recogniser
from tal_jax.recognition.task import RecognitionTask
from tal_jax.stages.sections import OptimizerSection, StageSection
from tal_jax.types import Batch, Detections

Step = Callable[[], Any]
CONFIGS = Path(__file__).parents[1] / "configs"


def _made(file: str, variant: tuple[str, ...], stage: str, changes: dict[str, Any], sizes: dict[str, int]):
    config = runpy.run_path(str(CONFIGS / file))["get_config"](*variant)
    config.stages[stage].model.update(changes)
    data = {"snippets": sizes["snippets"], "channels": sizes["channels"], "classes": sizes.get("classes", 2)}
    task, section = synthetic_task(config.to_dict(), stage, **data)
    batch = synthetic_batch(task, sizes["rows"], proposals=sizes.get("proposals", 0), **data)
    return task, section, jax.device_put(batch)


def _train_step(*args: Any) -> Step:
    task, section, batch = _made(*args)
    state, train, _ = compiled_train_step(task, section, batch)
    return _stepping(state, train, batch)


def _stepping(state: Any, train: Any, batch: Batch) -> Step:
    box = [state]  # the one who holds it: its memory is given to the step
    del state

    def step() -> Any:
        box[0], metrics = train(box[0], batch)
        return jax.block_until_ready(metrics)

    return step


def tcanet(**sizes: int) -> Step:
    """TCANet with the released numerics; no class head, as published."""
    return _train_step("supervised_hacs.py", ("released",), "tcanet", {}, sizes)


def bmn(**sizes: int) -> Step:
    """BMN as published: no mask inside the map."""
    changes = {"masked_cells": False, "durations": sizes["snippets"]}
    return _train_step("supervised_activitynet.py", (), "bmn", changes, sizes)


def mgfn(**sizes: int) -> Step:
    """KT-MGFN, the full row."""
    return _train_step("weak_hacs.py", ("full",), "mgfn", {"anchors": (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)}, sizes)


def tcanet_predict(**sizes: int) -> Step:
    """Everything up to detections after soft-NMS."""
    task, _, batch = _made("supervised_hacs.py", ("released",), "tcanet", {}, sizes)
    params = jax.jit(task.init)(jax.random.key(0), batch)
    predict, _ = compiled_predict_step(task, params, batch)
    return lambda: jax.block_until_ready(predict(params, batch))


def _onestage(**sizes: int) -> tuple[str, tuple[str, ...], str, dict[str, Any], dict[str, int]]:
    config = "onestage_thumos.py" if sizes["channels"] == 2048 else "onestage_geotec.py"
    return config, (), "actionformer", {}, sizes


def onestage(**sizes: int) -> Step:
    """ActionFormer at THUMOS14's sizes, or the small one."""
    return _train_step(*_onestage(**sizes))


def onestage_predict(**sizes: int) -> Step:
    """Everything up to detections after soft-NMS."""
    task, _, batch = _made(*_onestage(**sizes))
    params = jax.jit(task.init)(jax.random.key(0), batch)
    predict, _ = compiled_predict_step(task, params, batch)
    return lambda: jax.block_until_ready(predict(params, batch))


def nms(**sizes: int) -> Step:
    """Gaussian soft-NMS of all recordings at once."""
    segments, scores = nms_inputs(**sizes)
    found = Detections(segments, np.zeros(scores.shape, np.int32), scores, np.ones(scores.shape, bool))
    found = jax.device_put(found)
    step = jax.jit(lambda d: soft_nms(d, sigma=0.4, power=2.0, top_k=100))
    return lambda: jax.block_until_ready(step(found))


def records_(**sizes: int) -> Step:
    """Every record of a prepared set once, in random order, decoded and checked."""
    split = open_split(records(**sizes)[0], "training")
    order = np.random.default_rng(0).permutation(len(split))
    return lambda: float(sum(record.features["rgb"][0, 0] for record in split.records(order)))


def attention(snippets: int) -> Step:
    """The form that `local_attention` chooses."""
    q, k, v = jax.device_put(attention_inputs(snippets))
    mask = np.ones((1, snippets), bool)
    step = jax.jit(lambda q, k, v: local_attention(q, k, v, mask, window=9, scale=0.125))
    return lambda: jax.block_until_ready(step(q, k, v))


def encoder(rows: int, name: str) -> Step:
    """The features of clips, in float32 and without what is done to images before."""
    entry = catalogue.find(name)
    module = entry.network(np.float32)
    shape = (rows, entry.images, entry.side, entry.side, 3)
    clips = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    variables, clips = jax.device_put((jax.jit(module.init)(jax.random.key(0), clips[:1]), clips))
    forward = jax.jit(module.apply)
    return lambda: jax.block_until_ready(forward(variables, clips))


def recognition(rows: int, classes: int = 400) -> Step:
    """A training step of TSM's ResNet-50 on images of bytes, which the step normalises."""
    entry = catalogue.find("tsm_resnet50")
    task = RecognitionTask(Recogniser(entry.name, classes))
    images = np.random.default_rng(0).integers(0, 256, (rows, entry.images, entry.side, entry.side, 3), np.uint8)
    batch = jax.device_put(Batch.make(images, labels=np.eye(classes, dtype=np.float32)[:rows]))
    optimizer = OptimizerSection(method="sgd", learning_rate=0.01, weight_decay=1e-4, clip_norm=20.0)
    state, train, _ = compiled_train_step(task, StageSection(task="recognition", optimizer=optimizer), batch)
    return _stepping(state, train, batch)


MAKERS: dict[str, Callable[..., Step]] = {
    "tcanet": tcanet,
    "tcanet_predict": tcanet_predict,
    "bmn": bmn,
    "mgfn": mgfn,
    "onestage": onestage,
    "onestage_predict": onestage_predict,
    "nms": nms,
    "records": records_,
    "attention": attention,
    "encoder": encoder,
    "recognition": recognition,
}
