"""The ONNX programs of a stage: written beside its StableHLO, and kept where both find the same."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tal_jax.batch_layout import Sizes
from tal_jax.deploy import model_folder as layout
from tal_jax.deploy.agreement import random_inputs, unmatched_fraction
from tal_jax.deploy.onnx import NotConverted, converted
from tal_jax.deploy.runtimes import Program, programs
from tal_jax.deploy.stablehlo import flat, inputs, merger, merger_inputs, predictor
from tal_jax.tasks.task import Params, Task

BATCHES = (1, 3)
SCORE = 1e-4  # how far scores may differ
TIME = 1e-4  # and times, as a share of the frame
MOST_UNMATCHED = 0.02  # fraction of the detections: NMS may take equal ones in another order


def write(home: Path, task: Task, params: Params, sizes: Sizes, merges: Sequence[int]) -> str:
    """Converts a stage's prediction and mergings, and compares them in onnxruntime with the ones that lie there.

    Args:
      home: the stage's folder, with its StableHLO.
      task: the task of the trained stage.
      params: the task's parameters.
      sizes: the sizes of the prediction's inputs.
      merges: how many detections each of the merging programs takes.

    Returns:
      "", or why there are no ONNX programs; no file is left then.
    """
    # One frame: jax2onnx has operations that it cannot write down for a number of rows that is a symbol.
    predict = predictor(task)
    try:
        content = converted(lambda row: predict(params, row), inputs(sizes, 1, sizes.snippets))
        (home / layout.ONNX).write_bytes(content)
        for size in merges:
            (home / layout.merge_file(size, layout.ONNX)).write_bytes(converted(merger(task), merger_inputs(size)))
        _compare(home, params, sizes, list(merges))
    except NotConverted as e:
        for path in home.glob(f"*{Path(layout.ONNX).suffix}"):
            path.unlink()
        return str(e)
    return ""


def _compare(home: Path, params: Params, sizes: Sizes, merges: list[int]) -> None:
    weights = {name: np.asarray(x) for name, x in flat(params).items()}
    predict, merge = programs(home, weights, merges, "jax")
    try:
        other_predict, other_merge = programs(home, {}, merges, "onnxruntime")
    except Exception as e:  # of a runtime that does not take the file
        raise NotConverted(f"onnxruntime: {' '.join(str(e).split())[:200]}") from e
    rng = np.random.default_rng(0)
    for batch in BATCHES:
        shapes = {name: x.shape for name, x in inputs(sizes, batch, sizes.snippets).items()}
        _same("prediction", predict, other_predict, random_inputs(shapes, rng), sizes.snippets)
    for size in merges:
        segments = np.sort(rng.uniform(0, size, (1, size, 2)), axis=-1).astype(np.float32)
        fields = {
            "segments": segments,
            "labels": rng.integers(0, sizes.classes, (1, size)).astype(np.int32),
            "scores": rng.uniform(size=(1, size)).astype(np.float32),
            "mask": np.ones((1, size), bool),
        }
        _same(f"merging of {size}", merge[size], other_merge[size], fields, size)


def _same(name: str, one: Program, other: Program, fields: dict[str, np.ndarray], length: float) -> None:
    expected = one(fields)
    try:
        found = other(fields)
    except Exception as e:  # of the runtime, at whatever node
        raise NotConverted(f"onnxruntime: {name}: {' '.join(str(e).split())[:200]}") from e
    share = unmatched_fraction(expected, found, score=SCORE, time=TIME * length)
    if share > MOST_UNMATCHED:
        raise NotConverted(f"onnxruntime: {name}: {share:.1%} of the detections are not those of the original")
