"""Home videos: the config with three seeds on people who are not trained on; nothing is chosen here.

python -m launch.study --config=studies/home_videos.py --data=DATA --workdir=runs/study/home_videos
"""

from tal_jax.experiments.study import Study


def get_config() -> Study:
    """One row. Settings were fixed before the first measurement: there are too few videos to choose any with."""
    return Study(config="configs/supervised_videos.py", rows={"config": {}}, groups=r"^s\d+")
