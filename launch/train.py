"""Trains the stages of a track, or goes on where it stopped.

python -m launch.train --config=configs/X.py[:variant] --workdir=W [--stage=NAME] [--config.data.dir=DATA ...]
  [--coordinator=HOST:PORT --num_processes=N --process_id=I]
python -m launch.train --config=configs/X.py[:variant] --print_config

Prints what differs from the defaults; with --print_config every key, and trains nothing.

Ends with status 75 after SIGTERM, and wherever starting it again is the remedy; with status 70 where the loss is
not finite.
"""

import os
from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app, cluster, config_flag

_CONFIG = config_flag.define()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints and logs.")
_PRINT = flags.DEFINE_bool("print_config", False, "Print every key of the config with its value, and end.")
_STAGE = flags.DEFINE_string("stage", "", "Run only this stage; again from the start if it is finished.")
flags.mark_flag_as_required("config")


def main(argv: Sequence[str]) -> None:
    """Prints the whole config, or trains."""
    del argv
    from tal_jax.devices.compilation import use_cache
    from tal_jax.devices.processes import say
    from tal_jax.stages.config import as_text, parse, to_tree
    from tal_jax.train.loop import train_and_evaluate  # jax starts only after the flags are known to be right
    from tal_jax.train.messages import next_command

    config = _CONFIG.value.to_dict()
    if _PRINT.value:
        print(as_text(to_tree(parse(config))))
        return
    if (workdir := _WORKDIR.value) is None:
        app.fail(f"--workdir is missing: {flags.FLAGS['workdir'].help}")
    cluster.join()
    use_cache()
    train_and_evaluate(config, workdir, _STAGE.value, timeout=cluster.timeout())
    say(next_command(parse(config), workdir, _STAGE.value, app.invocation("detect")))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main, reads=[_CONFIG], fills=[_WORKDIR], abrupt=True)
