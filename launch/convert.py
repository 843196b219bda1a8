"""Turns a checkpoint of a PyTorch system into a stage of a workdir, or, with --reverse, a stage into its state dict.

python -m launch.convert --family=F --checkpoint=x.pth --config=configs/X.py[:variant] --workdir=W
    [--config.data.dir=DATA ...]
python -m launch.convert --family=F --checkpoint=new.pth --workdir=W --reverse

Families: tcanet_released, tcanet_mmaction2, bmn_jjboy, bmn_mmaction2, actionformer, tridet, temporalmaxer. Files: .pth,
.pt, .tar, .ckpt, which need the extra torch, and .safetensors. A BMN goes before the TCANet that refines its proposals.
`launch.detect` works on the result, and `launch.train --config=W/config.py --workdir=W` trains it further.
"""

import os
from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app, config_flag

_CONFIG = config_flag.define()
_FAMILY = flags.DEFINE_string("family", None, "The system that the checkpoint is of.", required=True)
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "File to read; with --reverse, to write.", required=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the stage, as of a training.", required=True)
_REVERSE = flags.DEFINE_bool("reverse", False, "Write the workdir's stage as a state dict of the family.")


def main(argv: Sequence[str]) -> None:
    """Converts and says what was done."""
    del argv
    from tal_jax.convert.convert import convert, revert
    from tal_jax.devices.compilation import use_cache
    from tal_jax.errors import InputError

    if _REVERSE.value:
        app.check(reads=[_WORKDIR], writes=[_CHECKPOINT])
    else:
        app.check(reads=[_CONFIG, _CHECKPOINT], fills=[_WORKDIR])
    use_cache()
    if _REVERSE.value:
        done = revert(_FAMILY.value, _CHECKPOINT.value, _WORKDIR.value)
        print(f"{_CHECKPOINT.value}: {done.tensors} tensors, {done.parameters:,} parameters of stage {done.stage}")
        return
    if _CONFIG.value is None:
        raise InputError("--config is missing: give the config of the track and the data that the checkpoint is for")
    done = convert(_FAMILY.value, _CHECKPOINT.value, _CONFIG.value.to_dict(), _WORKDIR.value)
    print(f"stage {done.stage}: {done.tensors} tensors, {done.parameters:,} parameters from {_CHECKPOINT.value}")
    print("\n".join(f"  {change}" for change in done.changes) or "  the config has the family's settings already")
    train = app.invocation("train")
    print(f"to train it further: {train} --config={_WORKDIR.value}/config.py --workdir={_WORKDIR.value}")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
