"""The export of a workdir as a folder that detects without it: programs, weights, and how to make their inputs."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

import tal_jax
from tal_jax.data import atomic
from tal_jax.deploy import encoder_export
from tal_jax.deploy import model_folder as layout
from tal_jax.deploy.onnx import require_jax2onnx
from tal_jax.deploy.onnx_files import write as write_onnx
from tal_jax.deploy.stablehlo import flat, merging, prediction
from tal_jax.detect.detect import stage_named
from tal_jax.detect.remarks import unfinished
from tal_jax.errors import InputError
from tal_jax.stages.sections import Config
from tal_jax.stages.stage import Stage, build_stage
from tal_jax.stages.tuned_decoding import tuned
from tal_jax.stages.workdir import read_config
from tal_jax.train.checkpoint import restore_params
from tal_jax.windows import MERGE_CANDIDATES

LEAST_MERGE = 64

README = """# {title}

Finds {classes} classes in recordings of {streams}{stride}. Stages: {stages}.
Exported by tal_jax {version}; needs jax, numpy, safetensors, flatbuffers and tal_jax (no other dependency of it):

```python
import numpy as np
import tal_jax
model = tal_jax.load("{name}")
print(model(np.load("recording.npy"){arguments}))  # features [T, {channels}] -> [{{"label", "score", "segment"}}, ...]
```

`{sums}` holds the checksums (`sha256sum --check {sums}`), `{model}` labels, stride and framing,
`STAGE/predict.stablehlo` the prediction for CPUs, CUDA and TPUs (`jax.export.deserialize`), `STAGE/weights.safetensors`
its first argument by name. {onnx}
"""

WITH_ONNX = """`STAGE/predict.onnx` is the same prediction of one frame with its weights inside:
`tal_jax.load("{name}", runtime="onnxruntime")` needs numpy, safetensors, onnxruntime and tal_jax, no jax."""


def export(
    workdir: str | Path,
    out: str | Path,
    *,
    stage: str = "",
    checkpoint: str = "last",
    member: int = 0,
    onnx: bool = False,
    weights: str = "",
    encoder: str = "",
    family: str | None = None,
) -> Path:
    """Writes the last stage (or the given one) of a workdir, and the stages it builds on, as a folder of its own.

    Args:
      workdir: the folder of a training.
      out: the folder to be made; an earlier export there is replaced when the new one is complete.
      stage: the stage's name; "" is the last one of the track.
      checkpoint: "last", or "best" by the periodic evaluation.
      member: which training of a population, from 0, of the last stage.
      weights: the file of the encoder's weights, to export the encoder as well; "" exports none.
      encoder: its name; "" is that of the features that were trained on.
      family: whose names the weights have, where the file does not tell.
      onnx: write ONNX programs as well; where a stage cannot have them, MODEL says why.

    Returns:
      The path `out`.

    Raises:
      InputError: there is no such workdir, stage, checkpoint or member, its parameters are not finite, `out` holds
        something else than an export, or a package that ONNX needs is not installed; or the weights are not of the
        encoder that was trained on.
    """
    workdir, out = Path(workdir).absolute(), Path(out)
    if onnx:
        require_jax2onnx()
    config = read_config(workdir)
    name = stage_named(config, stage)
    layout.check_free(out)
    last = build_stage(config, name, workdir)
    if last.task.image is not None:
        raise InputError(
            f"{workdir}: stage {name} makes an encoder, which finds nothing by itself: give its encoder.safetensors to "
            "launch.encode --weights, or to launch.export --weights with a model of its features"
        )
    known = {stream: last.trained_on.encoders.get(stream) for stream in last.assembler.streams}
    planned = encoder_export.plan(f"stage {name}", known, weights, encoder, family) if weights else None
    before, needs = _before(config, last)
    with atomic.making(out) as temporary:
        built = [(build_stage(config, other, workdir), 0) for other in before] + [(last, member)]
        entries = [_write(one, temporary, workdir, checkpoint, which, onnx) for one, which in built]
        own = encoder_export.write(temporary / encoder_export.HOME, planned) if planned else None
        _describe(temporary, out.name, last, entries, needs, own)
        layout.seal(temporary)
    return out


def _before(config: Config, last: Stage) -> tuple[list[str], list[str]]:
    """The names of the stages whose artifacts a stage takes, and the artifacts that have to come from outside."""
    before, outside = [], []
    for artifact in last.artifacts:
        makers = [name for name in config.track if config.stages[name].kind.makes == artifact]
        if makers and not last.section.files.get(artifact):
            before.append(makers[0])
        else:
            outside.append(artifact)
    return before, outside


def _write(stage: Stage, folder: Path, workdir: Path, checkpoint: str, member: int, onnx: bool) -> dict[str, Any]:
    """Writes the programs and weights of a stage, and returns its entry in MODEL."""
    if line := unfinished(stage):
        print(line)
    params = restore_params(workdir, stage.name, which=checkpoint, member=member)
    arrays = {name: np.asarray(x, order="C") for name, x in flat(params).items()}
    _check_finite(workdir / stage.name, arrays)
    task, assembler = tuned(stage.task, workdir, stage.name), stage.assembler
    home = folder / stage.name
    home.mkdir()
    any_length, sizes = task.any_length, assembler.sizes
    (home / layout.PREDICT).write_bytes(prediction(task, params, sizes, any_length=any_length))
    merges = []
    if assembler.framing.mode == "window":
        merges = [LEAST_MERGE << i for i in range((MERGE_CANDIDATES // LEAST_MERGE).bit_length())]
    for size in merges:
        (home / layout.merge_file(size)).write_bytes(merging(task, size))
    if assembler.normalization is not None:
        arrays |= {f"normalization/{k}": v for k, v in dataclasses.asdict(assembler.normalization).items()}
    save_file(arrays, home / layout.WEIGHTS)
    entry = {
        "name": stage.name,
        "kind": stage.section.task,
        "makes": task.makes,
        "framing": dataclasses.asdict(assembler.framing),
        "proposals": assembler.max_proposals,
        "merges": merges,
        "snippets": f"t >= {assembler.framing.snippets}" if any_length else assembler.framing.snippets,
    }
    if onnx:
        reason = write_onnx(home, task, params, sizes, merges)
        entry["onnx"] = reason or layout.ONNX
    return entry


def _check_finite(where: Path, arrays: Mapping[str, np.ndarray]) -> None:
    for name, x in arrays.items():
        if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
            raise InputError(
                f"{where}: parameter {name} holds numbers that are not finite, with which nothing is detected: export "
                "another checkpoint (--checkpoint=best), or train the stage anew"
            )


def _describe(
    folder: Path, name: str, last: Stage, entries: list[dict[str, Any]], needs: list[str], encoder: Any
) -> None:
    """Writes MODEL and the README."""
    trained_on, assembler = last.trained_on, last.assembler
    streams = {s: trained_on.streams[s] for s in assembler.streams}
    model = {
        "format": layout.FORMAT,
        "made_by": {"tal_jax": tal_jax.__version__, "jax": jax.__version__},
        "labels": list(trained_on.labels),
        "streams": streams,
        "stride": trained_on.stride,
        "needs": needs,
        "stages": entries,
        **({"encoders": trained_on.encoders} if trained_on.encoders else {}),
        **({"encoder": encoder} if encoder else {}),
    }
    (folder / layout.MODEL).write_text(json.dumps(model, indent=1))
    arguments = "" if trained_on.stride else ", duration=SECONDS"
    text = README.format(
        title=name,
        name=name,
        classes=len(trained_on.labels),
        streams=" and ".join(f"{s} ({c} channels)" for s, c in streams.items()),
        stride=f", one snippet every {trained_on.stride:g} s" if trained_on.stride else "",
        stages=", ".join(entry["name"] for entry in entries),
        version=tal_jax.__version__,
        channels=assembler.width,
        arguments=arguments + "".join(f", {need}=..." for need in needs),
        sums=layout.SUMS,
        model=layout.MODEL,
        onnx=WITH_ONNX.format(name=name) if all(entry.get("onnx") == layout.ONNX for entry in entries) else "",
    )
    (folder / "README.md").write_text(text)
