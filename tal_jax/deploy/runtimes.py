"""Runtimes of an exported model's programs: JAX on whatever devices it finds, or onnxruntime."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tal_jax.deploy import model_folder as layout
from tal_jax.deploy.model_description import REMEDY, check_shapes
from tal_jax.errors import InputError
from tal_jax.guarded import own_files

Shape = tuple[int | None, ...]
Program = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]  # arrays of the host by name -> the same
RUNTIMES = ("jax", "onnxruntime")


def programs(
    home: Path,
    weights: Mapping[str, np.ndarray],
    merges: list[int],
    runtime: str,
    inputs: Mapping[str, Shape] | None = None,
) -> tuple[Program, dict[int, Program]]:
    """The programs of a stage: its prediction, and its mergings by how many detections they take.

    Args:
      home: the stage's folder in the exported model.
      weights: the arrays of the prediction by their paths; an ONNX file carries its own.
      merges: how many detections each of the merging programs in the folder takes.
      runtime: one of RUNTIMES.
      inputs: the shapes that the prediction will be given by name, None for an axis of any length; None: not compared.

    Raises:
      InputError: there is no such runtime, it is not installed, or the folder has no programs for it; or they are
        damaged, or take other weights or inputs.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"runtime {runtime!r}: there are {' and '.join(RUNTIMES)}")
    if runtime == "onnxruntime":
        return _onnx(home / layout.ONNX, inputs), {
            size: _onnx(home / layout.merge_file(size, layout.ONNX)) for size in merges
        }
    import jax

    device = {name: jax.device_put(x) for name, x in weights.items()}
    exported = _stablehlo(home / layout.PREDICT)
    if inputs is not None:
        _check_prediction(home / layout.PREDICT, exported, weights, inputs)
    predict = jax.jit(exported.call)
    merging = {size: jax.jit(_stablehlo(home / layout.merge_file(size)).call) for size in merges}
    return (
        lambda inputs: jax.device_get(dict(predict(device, inputs))),
        {size: _of_fields(program) for size, program in merging.items()},
    )


def function(path: Path, weights: Mapping[str, np.ndarray], shapes: list[tuple[int, ...]]) -> Callable[..., np.ndarray]:
    """A program of weights by path and of arrays in order, which gives one array back.

    Args:
      path: of the program.
      weights: its weights, which stay on the device.
      shapes: of the arrays that it will be given.

    Raises:
      InputError: it is damaged, or takes other weights or arrays.
    """
    import jax

    exported = _stablehlo(path)
    try:
        (own, *taken), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
        found = {name: tuple(x.shape) for name, x in own.items()}
        arrays = [tuple(x.shape) for x in taken]
    except (ValueError, TypeError, AttributeError) as e:
        raise InputError(f"{path}: not a program of weights and arrays: {REMEDY}") from e
    check_shapes(path, found, {name: x.shape for name, x in weights.items()})
    check_shapes(path, dict(enumerate_names(arrays)), dict(enumerate_names(shapes)))
    device = {name: jax.device_put(x) for name, x in weights.items()}
    call = jax.jit(exported.call)
    return lambda *arrays: jax.device_get(call(device, *arrays))


def enumerate_names(shapes: list[tuple[int, ...]]) -> list[tuple[str, tuple[int, ...]]]:
    """Names for arrays that have none."""
    return [(f"array {i}", shape) for i, shape in enumerate(shapes)]


def _stablehlo(path: Path) -> Any:
    import jax

    content = own_files.read_bytes(path, REMEDY, largest=1 << 40)
    try:
        return jax.export.deserialize(bytearray(content))
    except Exception as e:  # flatbuffers end in whatever the damaged bytes mean
        raise InputError(f"{path}: damaged, not a program ({' '.join(str(e).split()):.80}): {REMEDY}") from e


def _check_prediction(
    path: Path, exported: Any, weights: Mapping[str, np.ndarray], inputs: Mapping[str, Shape]
) -> None:
    """Raises InputError where a program takes other weights or inputs than those of its folder."""
    import jax

    try:
        (own, taken), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
        shapes = [{name: tuple(x.shape) for name, x in arrays.items()} for arrays in (own, taken)]
    except (ValueError, TypeError, AttributeError) as e:
        raise InputError(f"{path}: not a prediction of weights and inputs: {REMEDY}") from e
    check_shapes(path, shapes[0], {name: x.shape for name, x in weights.items()})
    check_shapes(path, shapes[1], inputs)


def _of_fields(merge: Callable[..., Any]) -> Program:
    import jax

    return lambda fields: jax.device_get(dict(merge(*(fields[name] for name in layout.FIELDS))))


def _onnx(path: Path, inputs: Mapping[str, Shape] | None = None) -> Program:
    try:
        import onnxruntime
    except ImportError as e:
        raise InputError("onnxruntime is not installed: pip install onnxruntime") from e
    if not path.exists():
        raise InputError(f"{path}: missing: the model was exported without --onnx, or could not be converted")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: unused constants of a loop are no news
    try:
        session = onnxruntime.InferenceSession(path, options, providers=onnxruntime.get_available_providers())
    except Exception as e:  # of the runtime, which has a type for every reason
        raise InputError(f"{path}: damaged, not a program ({' '.join(str(e).split()):.80}): {REMEDY}") from e
    names = [x.name for x in session.get_inputs()]
    if inputs is not None:
        taken = {x.name: tuple(x.shape) for x in session.get_inputs()}
        check_shapes(path, taken, {name: inputs[name] for name in names if name in inputs})  # it keeps what it uses

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = [
            session.run(None, {name: inputs[name][i : i + 1] for name in names})  # the file is of one row
            for i in range(len(inputs[names[0]]))
        ]
        return {field: np.concatenate(parts) for field, *parts in zip(layout.FIELDS, *rows, strict=True)}

    return run
