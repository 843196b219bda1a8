"""Trains the stages of a track, or goes on where it stopped.

python -m launch.train --config=configs/X.py[:variant] --workdir=W [--stage=NAME] [--config.data.dir=DATA ...]
  [--coordinator=HOST:PORT --num_processes=N --process_id=I]

Ends with status 75 after SIGTERM, and wherever starting it again is the remedy; with status 70 where the loss is
not finite.
"""

import os
from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app, cluster, config_flag

_CONFIG = config_flag.define()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints and logs.", required=True)
_STAGE = flags.DEFINE_string("stage", "", "Run only this stage; again from the start if it is finished.")
flags.mark_flag_as_required("config")


def main(argv: Sequence[str]) -> None:
    """Prints the config and trains."""
    del argv
    from tal_jax.devices.compilation import use_cache
    from tal_jax.devices.processes import say
    from tal_jax.train.loop import train_and_evaluate  # jax starts only after the flags are known to be right

    cluster.join()
    use_cache()
    config = _CONFIG.value.to_dict()
    say(str(_CONFIG.value))
    train_and_evaluate(config, _WORKDIR.value, _STAGE.value, timeout=cluster.timeout())


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main, abrupt=True)
