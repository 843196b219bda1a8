"""Compiles a stage's real steps for a TPU topology, without a TPU: do they fit, and what do they cost.

python -m launch.compile --config=configs/supervised_hacs.py --stage=bmn --topology=v5e:16x16 [--batch_size=256]
    [--snippets=T] [--channels=2304] [--classes=200] [--proposals=P] [--json=F.json]

python -m launch.compile --encoder=tsm_resnet50 --topology=v5e:2x2 [--batch_size=CLIPS] [--dtype=float32]

The second compiles an encoder as launch.encode runs it. Needs libtpu (pip install libtpu). Status 1 if a step does not
fit into a device's memory.
"""

import os
import sys
from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app, config_flag

_CONFIG = config_flag.define()
_STAGE = flags.DEFINE_string("stage", "", "With --config: name of the stage.")
_ENCODER = flags.DEFINE_string("encoder", "", "In place of --config: name of an encoder.")
_DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "With --encoder: what it computes in.")
_TOPOLOGY = flags.DEFINE_string("topology", None, "v4, v5e, v5p or v6e and a shape, such as v5e:16x16.", required=True)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 0, "Rows, or clips, of all devices together; 0: the config's, or one a device.", lower_bound=0
)
_SNIPPETS = flags.DEFINE_integer("snippets", 0, "Snippets of a recording, T; 0: the stage's frame.", lower_bound=0)
_CHANNELS = flags.DEFINE_integer("channels", 0, "Channels of the features, C; 0: 2304.", lower_bound=0)
_CLASSES = flags.DEFINE_integer("classes", 200, "Classes, K.", lower_bound=1)
_PROPOSALS = flags.DEFINE_integer("proposals", 0, "Proposals of a recording, P; 0: the config's.", lower_bound=0)
_JSON = flags.DEFINE_string("json", None, "Where to write the figures.")


def main(argv: Sequence[str]) -> None:
    """Compiles, prints, and writes the figures where asked to."""
    del argv
    if bool(_ENCODER.value) == bool(_CONFIG.value) or bool(_CONFIG.value) != bool(_STAGE.value):
        app.fail("give --config=FILE --stage=NAME (a stage) or --encoder=NAME, one of them")
    _check_flags()
    from tal_jax.evaluation.detection_files import write_json
    from tal_jax.experiments import encoder_cost, tpu_cost

    if _ENCODER.value:
        found = encoder_cost.compile_encoder(
            _ENCODER.value, _TOPOLOGY.value, clips=_BATCH_SIZE.value, dtype=_DTYPE.value
        )
        title = f"{found['encoder']} in {found['dtype']} on {found['topology']}, {found['clips']} clips a device"
        steps = ["encode"]
    else:
        found = tpu_cost.compile_for(
            _CONFIG.value.to_dict(),
            _STAGE.value,
            _TOPOLOGY.value,
            rows=_BATCH_SIZE.value,
            snippets=_SNIPPETS.value,
            channels=_CHANNELS.value,
            classes=_CLASSES.value,
            proposals=_PROPOSALS.value,
        )
        title = f"stage {found['stage']} on {found['topology']}, batch {found['batch']}, T = {found['snippets']}"
        steps = ["train", "predict"]
    print("\n".join(tpu_cost.lines(found, title, steps)))
    if _JSON.value:
        write_json(_JSON.value, found, indent=1)
    if not found["fits"]:
        print("does not fit: give a smaller --batch_size or a larger --topology", file=sys.stderr)
        sys.exit(1)


def _check_flags() -> None:
    """Ends with a line where a flag of the other kind was given: its figures would not be what was asked for."""
    of_stages = [_SNIPPETS, _CHANNELS, _CLASSES, _PROPOSALS]
    for flag in of_stages if _ENCODER.value else [_DTYPE]:
        if flag.present:
            other = "--encoder" if _ENCODER.value else "--config"
            app.fail(f"--{flag.name} does not go with {other}: leave it out")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # this machine only compiles
    app.run(main, reads=[_CONFIG], writes=[_JSON])
