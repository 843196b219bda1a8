"""Classes that training never sees, and classes to ignore: a training measures as the commands do afterwards."""

import json

import numpy as np
import pytest
from support.sensor_set import STRIDE, tiny_config, write_files

from tal_jax.api import detect, evaluate, train
from tal_jax.data.dataset import open_split
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.detection_files import Submission
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.stages.predictor import excusing_table, truth_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Validation has a class of its own, and in every recording a part where its annotators were not sure."""
    folder = tmp_path_factory.mktemp("classes")
    database = write_files(folder)
    for recording in database.values():
        unsure = recording["annotations"][-1]
        recording["annotations"].append({"segment": [0, unsure["segment"][0]], "label": "Ambiguous"})
        if recording["subset"] == "validation":
            unsure["label"] = "never trained"
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    prepare(
        Options(
            annotations=str(folder / "annotations.json"), features={"imu": str(folder / "features")},
            stride=str(STRIDE), out=str(folder / "data"), dtype="float32", workers=1, ignore_labels=("Ambiguous",),
        )
    )  # fmt: skip
    return folder


def test_a_training_measures_what_evaluate_measures(folder, tmp_path):
    config = tiny_config(folder / "data", refinements=1)
    config.stages.bmn.steps = config.stages.tcanet.steps = 2
    scores = train(config, tmp_path / "w")
    found = detect(tmp_path / "w")
    assert "never trained" in found.labels
    assert "Ambiguous" not in found.labels
    result = evaluate(folder / "annotations.json", found, subset="validation", ignore_labels=["Ambiguous"])
    assert result.labels == ("action_0", "action_1", "never trained")
    assert scores["average"] == pytest.approx(result.average)
    # A detector that is right and also fires where nobody was sure: 100 for the classes that it knows.
    split = open_split(folder / "data", "validation")
    index = np.arange(len(split))
    truth, unsure = truth_table(split, index), excusing_table(split, index)
    known = truth.take(truth.label < 2)
    table = Submission(
        found.recordings, found.labels,
        type(truth)(*(np.concatenate(pair) for pair in (
            (known.recording, unsure.recording), (known.label, np.zeros(len(unsure), np.int64)),
            (known.segments, unsure.segments), (known.score, np.full(len(unsure), 2.0)),
        ))),
    )  # fmt: skip
    right = evaluate(folder / "annotations.json", table, subset="val", tiou=[0.95], ignore_labels=["Ambiguous"])
    assert right.per_class[0].tolist() == [1, 1, 0]
    own = evaluate_detections(truth, table.table, split.metadata.labels, [0.95], unsure)
    assert own.per_class.tolist() == right.per_class.tolist()
    assert evaluate_detections(truth, table.table, split.metadata.labels, [0.95]).per_class[0, 0] < 1
