"""Writes a trained workdir as a folder that detects with JAX and NumPy alone.

python -m launch.export --workdir=W --out=E [--stage=NAME] [--checkpoint=best] [--member=3] [--onnx]

Trained on features of launch.encode, with the encoder's weights it becomes a model of videos, then or later:

python -m launch.export --workdir=W --weights=FILE --out=E
python -m launch.export --model=WITHOUT --weights=FILE --out=E
"""

import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tal_jax.commands import app

_WORKDIR = flags.DEFINE_string("workdir", "", "Folder of the training.")
_MODEL = flags.DEFINE_string("model", "", "In place of --workdir: an exported model that lacks its encoder.")
_OUT = flags.DEFINE_string("out", None, "Folder to write; an earlier export there is replaced.", required=True)
_STAGE = flags.DEFINE_string("stage", "", "Stage; the last of the track by default, with those it builds on.")
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "last", ["last", "best"], "Which checkpoint.")
_ONNX = flags.DEFINE_bool("onnx", False, "Write ONNX programs too, as far as jax2onnx manages (extra onnx).")
_WEIGHTS = flags.DEFINE_string("weights", "", "Weights of the features' encoder, which is exported as well.")
_ENCODER = flags.DEFINE_string("encoder", "", "Its name; that of the features by default.")
_FAMILY = flags.DEFINE_string("family", None, "Whose names the weights have, where the file does not tell.")
_MEMBER = flags.DEFINE_integer("member", 0, "Of a population, which member, from 0.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Exports and says what was written."""
    del argv
    if bool(_WORKDIR.value) == bool(_MODEL.value):
        app.fail("give --workdir=W (a training) or --model=E (an exported model that lacks its encoder), one of them")
    if _MODEL.value:
        out = _with_encoder()
    else:
        out = _export()
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {size / 1e6:.1f} MB; {out / 'README.md'} says how to load it")


def _with_encoder() -> Path:
    from tal_jax.deploy.encoder_export import add

    if not _WEIGHTS.value:
        app.fail("--weights is missing: --model=E is given the encoder of its features")
    of_trainings = (_STAGE, _CHECKPOINT, _ONNX, _MEMBER)
    for flag in of_trainings:
        if flag.present:
            app.fail(f"--{flag.name}: only of a training: --model=E stays as it is but for its encoder")
    return add(_MODEL.value, _OUT.value, weights=_WEIGHTS.value, encoder=_ENCODER.value, family=_FAMILY.value)


def _export() -> Path:
    from tal_jax.deploy.export import export
    from tal_jax.deploy.model_folder import ONNX, read_model

    out = export(
        _WORKDIR.value,
        _OUT.value,
        stage=_STAGE.value,
        checkpoint=_CHECKPOINT.value,
        member=_MEMBER.value,
        onnx=_ONNX.value,
        weights=_WEIGHTS.value,
        encoder=_ENCODER.value,
        family=_FAMILY.value,
    )
    for stage in read_model(out)["stages"] if _ONNX.value else []:
        name, onnx = stage["name"], stage["onnx"]
        same = f"{out / name / ONNX}: finds the same in onnxruntime"
        print(f"{name}: {same if onnx == ONNX else f'no ONNX: {onnx}'}")
    return out


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main, reads=[_WORKDIR, _MODEL, _WEIGHTS], fills=[_OUT])
