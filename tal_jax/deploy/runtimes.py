"""Runtimes of an exported model's programs: JAX on whatever devices it finds, or onnxruntime."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.deploy import model_folder as layout
from tal_jax.errors import InputError

Program = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]  # arrays of the host by name -> the same
RUNTIMES = ("jax", "onnxruntime")


def programs(
    home: Path, weights: Mapping[str, np.ndarray], merges: list[int], runtime: str
) -> tuple[Program, dict[int, Program]]:
    """The programs of a stage: its prediction, and its mergings by how many detections they take.

    Args:
      home: the stage's folder in the exported model.
      weights: the arrays of the prediction by their paths; an ONNX file carries its own.
      merges: how many detections each of the merging programs in the folder takes.
      runtime: one of RUNTIMES.

    Raises:
      InputError: there is no such runtime, it is not installed, or the folder has no programs for it.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"runtime {runtime!r}: there are {' and '.join(RUNTIMES)}")
    if runtime == "onnxruntime":
        return _onnx(home / layout.ONNX), {size: _onnx(home / layout.merge_file(size, layout.ONNX)) for size in merges}
    import jax

    device = {name: jax.device_put(x) for name, x in weights.items()}
    predict = _stablehlo(home / layout.PREDICT)
    merging = {size: _stablehlo(home / layout.merge_file(size)) for size in merges}
    return (
        lambda inputs: jax.device_get(dict(predict(device, inputs))),
        {size: _of_fields(program) for size, program in merging.items()},
    )


def _stablehlo(path: Path) -> Callable[..., Any]:
    import jax

    return jax.jit(jax.export.deserialize(bytearray(path.read_bytes())).call)


def _of_fields(merge: Callable[..., Any]) -> Program:
    import jax

    return lambda fields: jax.device_get(dict(merge(*(fields[name] for name in layout.FIELDS))))


def _onnx(path: Path) -> Program:
    try:
        import onnxruntime
    except ImportError as e:
        raise InputError("onnxruntime is not installed: pip install onnxruntime") from e
    if not path.exists():
        raise InputError(f"{path}: missing: the model was exported without --onnx, or could not be converted")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: unused constants of a loop are no news
    session = onnxruntime.InferenceSession(path, options, providers=onnxruntime.get_available_providers())
    names = [x.name for x in session.get_inputs()]

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = [
            session.run(None, {name: inputs[name][i : i + 1] for name in names})  # the file is of one row
            for i in range(len(inputs[names[0]]))
        ]
        return {field: np.concatenate(parts) for field, *parts in zip(layout.FIELDS, *rows, strict=True)}

    return run
