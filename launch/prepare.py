"""Checks annotations and features, and packs them into TFRecords with TFDS metadata.

python -m launch.prepare --annotations=A.json --features=rgb=RGB_DIR --features=flow=FLOW_DIR --stride=0.5 --out=DATA

Features of launch.encode say themselves how far apart their snippets are: --stride is left out.

With trimmed clips for knowledge transfer, packed as the split "clips":

  --clips=C.json --clip_features=rgb=RGB_CLIPS --clip_features=flow=FLOW_CLIPS
"""

from collections.abc import Sequence

from absl import flags

from tal_jax.checks import ignored
from tal_jax.checks.doubts import REASONS
from tal_jax.checks.units import UNITS
from tal_jax.commands import app
from tal_jax.data import dataset
from tal_jax.prepare import plan, prepare, strides

ANNOTATIONS = flags.DEFINE_string("annotations", None, "ActivityNet-style JSON file.", required=True)
FEATURES = flags.DEFINE_multi_string(
    "features", None, "NAME=DIR (or NAME=FILE.h5); repeat it for several streams.", required=True
)
STRIDE = flags.DEFINE_string("stride", None, f"The time from one snippet to the next: {strides.HELP}.")
IMAGES_PER_SNIPPET = flags.DEFINE_string(
    "images_per_snippet", None, "In place of --stride: the annotations hold the fps of every video."
)
OUT = flags.DEFINE_string("out", None, "Folder of the prepared set.", required=True)
PROPOSALS = flags.DEFINE_string("proposals", None, "Folder of CSV files, one per recording.")
PROPOSAL_UNITS = flags.DEFINE_enum(
    "proposal_units", None, UNITS, "Of the proposals' times; seconds, unless they cannot be."
)
CLIPS = flags.DEFINE_string(
    "clips", None, "ActivityNet-style JSON file of trimmed clips; its training subset is packed."
)
CLIP_FEATURES = flags.DEFINE_multi_string("clip_features", [], "NAME=DIR: the clips' features, for every stream.")
DTYPE = flags.DEFINE_enum(
    "dtype", "float16", dataset.DTYPES, "How features are stored; a stream that 16 bits would harm is float32."
)
WIDTH = flags.DEFINE_multi_string("width", [], "NAME=C: channels of a stream, where the files do not tell.")
LAYOUT = flags.DEFINE_multi_string("layout", [], "NAME=TC or NAME=CT, where the files do not tell.")
IGNORE = flags.DEFINE_multi_string(
    "ignore_labels", [], "Classes that are neither learned nor measured, such as Ambiguous; separated by commas."
)
MISSING = flags.DEFINE_enum("missing", "error", ["error", "skip"], "What to do with recordings without features.")
MIN_SECONDS = flags.DEFINE_float("min_seconds", 0.0, "Leave out instances of this length or less.")
BLOCKED = flags.DEFINE_string("blocked", None, "Recordings to leave out: 'hacs', or a file with one id a line.")
WORKERS = flags.DEFINE_integer("workers", None, "Processes; all cores by default.", lower_bound=1)
ACCEPT = flags.DEFINE_multi_string(
    "accept", [], f"Insist, where the data contradict themselves; a refusal names the reason: {', '.join(REASONS)}."
)
SHARD_MB = flags.DEFINE_integer("shard_mb", 256, "Largest size of a shard.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    """Prepares the set, and prints what was kept and what was left out and why."""
    del argv
    print(
        prepare.prepare(
            plan.Options(
                annotations=ANNOTATIONS.value,
                features=plan.pairs("features", FEATURES.value),
                stride=STRIDE.value,
                out=OUT.value,
                proposals=PROPOSALS.value,
                proposal_units=PROPOSAL_UNITS.value,
                dtype=DTYPE.value,
                widths=plan.pairs("width", WIDTH.value),
                layouts=plan.pairs("layout", LAYOUT.value),
                missing=MISSING.value,
                min_seconds=MIN_SECONDS.value,
                ignore_labels=ignored.parse(IGNORE.value),
                damaged=BLOCKED.value,
                clips=CLIPS.value,
                clip_features=plan.pairs("clip_features", CLIP_FEATURES.value),
                workers=WORKERS.value,
                shard_mb=SHARD_MB.value,
                images_per_snippet=IMAGES_PER_SNIPPET.value,
                accept=tuple(ACCEPT.value),
            )
        )
    )


if __name__ == "__main__":
    app.run(main, reads=[ANNOTATIONS, FEATURES, PROPOSALS, CLIPS, CLIP_FEATURES, BLOCKED], fills=[OUT])
