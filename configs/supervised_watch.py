"""The demo: smart-watch sessions composed by launch.watch; BMN on a coarse grid, TCANet on a fine one.

python -m launch.watch --out=runs/demo/sessions
python -m launch.prepare --annotations=runs/demo/sessions/annotations.json --features=imu=runs/demo/sessions/features \
    --stride=0.2 --out=runs/demo/data
python -m launch.train --config=configs/supervised_watch.py --workdir=runs/demo/work --config.data.dir=runs/demo/data
"""

from ml_collections import ConfigDict

from configs import supervised_geotec


def get_config() -> ConfigDict:
    """The small sensor models with a step count for a demonstration."""
    config = supervised_geotec.get_config()
    config.stages.bmn.steps = 300
    config.stages.bmn.eval_every_steps = 0
    config.stages.bmn.data.longest_action = 24
    config.stages.tcanet.steps = 500
    config.stages.tcanet.eval_every_steps = 0
    config.stages.tcanet.data.proposals = 32
    return config
