"""Composes the demo's data set of smart-watch sessions from the package seglearn.

python -m launch.watch --out=DIR [--seed=0] [--encoders=features,raw]
"""

from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app
from tal_jax.demo import sessions as watch
from tal_jax.demo.encoders import ENCODERS

_OUT = flags.DEFINE_string("out", None, "Folder for annotations.json, features/, clips.json and clips/.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the composition.", lower_bound=0)
_ENCODERS = flags.DEFINE_list(
    "encoders", ["features"], "Of features, raw, spectral and statistics: each writes NAME/ and NAME_clips/."
)


def main(argv: Sequence[str]) -> None:
    """Writes the data set and says where, and what to do with it."""
    del argv
    unknown = [name for name in _ENCODERS.value if name not in ENCODERS]
    if unknown or not _ENCODERS.value:
        app.fail(f"--encoders={','.join(_ENCODERS.value)}: there are {', '.join(ENCODERS)}")
    watch.compose(_OUT.value, seed=_SEED.value, encoders=_ENCODERS.value)
    print(f"{_OUT.value}: 300 training and 100 validation sessions, {watch.STRIDE} s per snippet, and clips")


if __name__ == "__main__":
    app.run(main, fills=[_OUT])
