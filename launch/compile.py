"""Compiles a stage's real steps for a TPU topology, without a TPU: do they fit, and what do they cost.

python -m launch.compile --config=configs/supervised_hacs.py --stage=bmn --topology=v5e:16x16 [--batch_size=256]
    [--snippets=T] [--channels=2304] [--classes=200] [--proposals=P] [--json=F.json]

python -m launch.compile --config=configs/encoder_hacs.py:tsm-rgb --stage=recognition --topology=v5e:16x16

python -m launch.compile --encoder=tsm_resnet50 --topology=v5e:2x2 [--batch_size=CLIPS] [--dtype=float32]

python -m launch.compile --flow=denseflow --topology=v5e:2x2 [--batch_size=PAIRS]

The second is a stage that learns from images, whose encoder says how many and how large; the third compiles an encoder
as launch.encode runs it, the last the TV-L1 flow of pairs of 340 x 256. Needs libtpu (pip install libtpu). Status 1 if
a step does not fit into a device's memory.
"""

import os
import sys
from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app, config_flag

_CONFIG = config_flag.define()
_STAGE = flags.DEFINE_string("stage", "", "With --config: name of the stage.")
_ENCODER = flags.DEFINE_string("encoder", "", "In place of --config: name of an encoder.")
_FLOW = flags.DEFINE_enum(
    "flow", None, ["opencv", "denseflow"], "In place of --config: optical flow as they compute it."
)
_DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "With --encoder: what it computes in.")
_TOPOLOGY = flags.DEFINE_string("topology", None, "v4, v5e, v5p or v6e and a shape, such as v5e:16x16.", required=True)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 0, "Rows, clips or pairs of all devices together; 0: the config's, or some a device.", lower_bound=0
)
_SNIPPETS = flags.DEFINE_integer("snippets", 0, "Snippets of a recording, T; 0: the stage's frame.", lower_bound=0)
_CHANNELS = flags.DEFINE_integer("channels", 0, "Channels of the features, C; 0: 2304.", lower_bound=0)
_CLASSES = flags.DEFINE_integer("classes", 200, "Classes, K.", lower_bound=1)
_PROPOSALS = flags.DEFINE_integer("proposals", 0, "Proposals of a recording, P; 0: the config's.", lower_bound=0)
_JSON = flags.DEFINE_string("json", None, "Where to write the figures.")


def main(argv: Sequence[str]) -> None:
    """Compiles, prints, and writes the figures where asked to."""
    del argv
    kinds = [flag for flag in (_CONFIG, _ENCODER, _FLOW) if flag.value]
    if len(kinds) != 1 or bool(_CONFIG.value) != bool(_STAGE.value):
        app.fail("give --config=FILE --stage=NAME (a stage), --encoder=NAME or --flow=NAME, one of them")
    _check_flags()
    from tal_jax.evaluation.detection_files import write_json
    from tal_jax.experiments import encoder_cost, flow_cost, tpu_cost

    below: list[str] = []
    if _ENCODER.value:
        found = encoder_cost.compile_encoder(
            _ENCODER.value, _TOPOLOGY.value, clips=_BATCH_SIZE.value, dtype=_DTYPE.value
        )
        title = f"{found['encoder']} in {found['dtype']} on {found['topology']}, {found['clips']} clips a device"
        steps = ["encode"]
    elif _FLOW.value:
        found = flow_cost.compile_flow(_FLOW.value, _TOPOLOGY.value, pairs=_BATCH_SIZE.value)
        title = f"flow as {found['method']} has it on {found['topology']}, {found['pairs']} pairs a device"
        steps, below = ["flow"], flow_cost.lines(found)
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
    print("\n".join([*tpu_cost.lines(found, title, steps), *below]))
    if _JSON.value:
        write_json(_JSON.value, found, indent=1)
    if not found["fits"]:
        print("does not fit: give a smaller --batch_size or a larger --topology", file=sys.stderr)
        sys.exit(1)


def _check_flags() -> None:
    """Ends with a line where a flag of another kind was given: its figures would not be what was asked for."""
    of_stages: list[flags.FlagHolder] = [_SNIPPETS, _CHANNELS, _CLASSES, _PROPOSALS]
    for kind, others in ((_CONFIG, [_DTYPE]), (_ENCODER, of_stages), (_FLOW, [*of_stages, _DTYPE])):
        for flag in others if kind.value else ():
            if flag.present:
                app.fail(f"--{flag.name} does not go with --{kind.name}: leave it out")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # this machine only compiles
    app.run(main, reads=[_CONFIG], writes=[_JSON])
