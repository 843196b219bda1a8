"""Measures the training and prediction steps of a stage on random batches, on whatever backend there is.

python -m launch.benchmark --config=configs/supervised_hacs.py --stage=tcanet --batch_size=2 --snippets=1000
    --channels=2304 --proposals=100 [--classes=200] [--steps=10] [--json=F.json]
"""

import os
from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app, config_flag

_CONFIG = config_flag.define()
_STAGE = flags.DEFINE_string("stage", None, "Name of the stage.", required=True)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 2, "Recordings in a batch.", lower_bound=1)
_SNIPPETS = flags.DEFINE_integer("snippets", 0, "Snippets of a recording, T; 0: 100.", lower_bound=0)
_CHANNELS = flags.DEFINE_integer("channels", 0, "Channels of the features, C; 0: 400.", lower_bound=0)
_CLASSES = flags.DEFINE_integer("classes", 200, "Classes, K.", lower_bound=1)
_PROPOSALS = flags.DEFINE_integer("proposals", 0, "Proposals of a recording, P; 0: 100.", lower_bound=0)
_STEPS = flags.DEFINE_integer("steps", 10, "Steps that are timed.", lower_bound=1)
_JSON = flags.DEFINE_string("json", None, "Where to write the figures.")
flags.mark_flag_as_required("config")


def main(argv: Sequence[str]) -> None:
    """Measures, prints, and writes the figures where asked to."""
    del argv
    from tal_jax.evaluation.detection_files import write_json
    from tal_jax.experiments.step_cost import measure

    found = measure(
        _CONFIG.value.to_dict(),
        _STAGE.value,
        rows=_BATCH_SIZE.value,
        snippets=_SNIPPETS.value,
        channels=_CHANNELS.value,
        classes=_CLASSES.value,
        proposals=_PROPOSALS.value,
        steps=_STEPS.value,
    )
    width = max(map(len, found))
    for name, value in found.items():
        print(f"{name:<{width}}  {value:.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}")
    if _JSON.value:
        write_json(_JSON.value, found, indent=1)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main, reads=[_CONFIG], writes=[_JSON])
