"""Detections against ground truth: mAP with the rules of ActivityNet, or recall of proposals (--proposals).

python -m launch.evaluate --annotations=A.json --detections=D.json --split=validation [--tiou=0.5:0.95:0.05]
    [--json=R.json] [--proposals] [--blocked=FILE] [--ignore_labels=Ambiguous]
"""

from collections.abc import Sequence

from absl import flags

from tal_jax.checks import ignored
from tal_jax.checks.units import UNITS
from tal_jax.commands import app
from tal_jax.data import annotations
from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files as submission
from tal_jax.evaluation import ground_truth as selection
from tal_jax.evaluation import table
from tal_jax.evaluation.detection import evaluate_detections, parse_tiou
from tal_jax.evaluation.proposals import evaluate_proposals

_ANNOTATIONS = flags.DEFINE_string("annotations", None, "Annotations in the ActivityNet layout.", required=True)
_DETECTIONS = flags.DEFINE_string("detections", None, "Detections in the ActivityNet submission layout.", required=True)
_SPLIT = flags.DEFINE_string("split", None, "training, validation or testing.", required=True)
_TIOU = flags.DEFINE_string("tiou", "0.5:0.95:0.05", "first:last:step, both ends included, or a comma list.")
_JSON = flags.DEFINE_string("json", None, "File for the results, as fractions in [0, 1].")
_PROPOSALS = flags.DEFINE_bool("proposals", False, "Report AR@AN and AUC, without looking at labels.")
_UNITS = flags.DEFINE_enum("units", None, UNITS, "Of the detections' times; seconds, unless they cannot be.")
_BLOCKED = flags.DEFINE_string("blocked", None, "File with ids of recordings to leave out, one on each line.")
_IGNORE = flags.DEFINE_multi_string(
    "ignore_labels", [], "Classes that do not count, such as Ambiguous, separated by commas: THUMOS14's rule."
)


def main(argv: Sequence[str]) -> None:
    """Reads both files, prints the account and the table, writes the JSON."""
    del argv
    tiou = parse_tiou(_TIOU.value)
    path = _ANNOTATIONS.value
    recordings, _ = ignored.leave_out(annotations.read(path), ignored.parse(_IGNORE.value), path)
    blocked = selection.read_blocked(_BLOCKED.value) if _BLOCKED.value else frozenset()
    detections = submission.read(_DETECTIONS.value)
    chosen = selection.select(recordings, detections, _SPLIT.value, blocked, _UNITS.value or "")
    if _PROPOSALS.value:
        recall = evaluate_proposals(chosen.truth, chosen.detections, tiou)
        text, content = table.proposal_table(recall), table.proposal_json(recall)
    elif (detections.table.label < 0).any():
        raise InputError(f"{_DETECTIONS.value}: has detections without a label: add labels, or --proposals for recall")
    else:
        precision = evaluate_detections(chosen.truth, chosen.detections, chosen.labels, tiou, chosen.excusing)
        text, content = table.detection_table(precision), table.detection_json(precision)
    print(*table.account(chosen), "", text, sep="\n")
    if _JSON.value:
        submission.write_json(_JSON.value, content, indent=1)


if __name__ == "__main__":
    app.run(main, reads=[_ANNOTATIONS, _DETECTIONS, _BLOCKED], writes=[_JSON])
