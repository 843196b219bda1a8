"""Chooses the decoding of a weakly-supervised stage on held-out training recordings; launch.detect then uses it.

python -m launch.tune --workdir=W [--stage=NAME] [--seed=0]

No segment annotation is read: clips are spliced into recordings that do not hold their class, so that it is known where
they begin and end. The choice is kept in W/STAGE/tuned.json; remove the file to go back to the config's decoding.
"""

import os
from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the training.", required=True)
_STAGE = flags.DEFINE_string("stage", "", "Stage of kind mgfn; the last of the track by default.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the spliced recordings.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Tunes and prints what changed."""
    del argv
    from tal_jax.devices.compilation import use_cache
    from tal_jax.experiments.tune_decoding import table, tune

    use_cache()
    print(table(tune(_WORKDIR.value, stage=_STAGE.value, seed=_SEED.value)))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main, fills=[_WORKDIR])
