"""`import tal_jax`: light, and everything it offers is there, also beside the packages of the same names."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest

import tal_jax
from tal_jax import api
from tal_jax.errors import InputError
from tal_jax.evaluation import detection_files
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.models.tcanet import TCANet

HEAVY = ("jax", "flax", "numpy", "ml_collections", "absl", "orbax", "grain", "importlib.metadata")
LIGHT = f"""
import sys
import tal_jax
assert not [name for name in {HEAVY} if name in sys.modules], sys.modules
assert set(tal_jax.__all__) | {{"__version__"}} <= set(dir(tal_jax))
tal_jax.train, tal_jax.detect, tal_jax.prepare
assert "jax" not in sys.modules
import tal_jax.train.loop, tal_jax.detect.detect as inner
assert tal_jax.train.loop.train_and_evaluate and inner.detect
assert callable(tal_jax.train) and callable(tal_jax.detect) and callable(tal_jax.prepare)
assert "fcntl" not in vars(tal_jax.train.loop)
"""


def test_importing_the_package_starts_nothing():
    done = subprocess.run([sys.executable, "-W", "error", "-c", LIGHT], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_every_name_is_there():
    for name in tal_jax.__all__:
        assert callable(getattr(tal_jax, name)), name
    assert tal_jax.TCANet is TCANet
    assert tal_jax.evaluate_detections is evaluate_detections
    assert tal_jax.__version__[0].isdigit() or tal_jax.__version__ == "unknown"
    for name in ("prepare", "train", "detect"):
        assert inspect.signature(getattr(tal_jax, name)) == inspect.signature(getattr(api, name))
    with pytest.raises(AttributeError, match="no attribute 'encoder'"):
        tal_jax.encoder  # noqa: B018


def test_evaluate_takes_files_and_detections_and_prints_as_a_table(tmp_path):
    truth = {"subset": "validation", "duration": 10.0, "annotations": [{"segment": [1.0, 4.0], "label": "a"}]}
    (tmp_path / "a.json").write_text(json.dumps({"database": {"r": truth}}))
    rows = [{"label": "a", "score": 0.5, "segment": [1.0, 3.0]}]
    (tmp_path / "d.json").write_text(json.dumps({"results": {"r": rows}}))
    result = tal_jax.evaluate(tmp_path / "a.json", tmp_path / "d.json", subset="validation", tiou=(0.5, 0.7))
    np.testing.assert_array_equal(result.mAP, [1.0, 0.0])  # the IoU is 2 / 3
    assert str(result).splitlines()[2].split() == ["a", "100.0", "0.0", "50.0"]
    found = detection_files.read(tmp_path / "d.json")
    again = tal_jax.evaluate(str(tmp_path / "a.json"), found, subset="validation", tiou="0.5,0.7")
    np.testing.assert_array_equal(again.per_class, result.per_class)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ("weak_watsh", {}, "did you mean weak_watch"),
        ("weak_watch:nothing", {}, "nothing"),
        ("weak_watch", {"stages.mgfn.stepz": 1}, "stepz"),
        ("weak_watch", {"stages.mgfn.steps": "many"}, "steps"),
    ],
)
def test_bad_configs_are_input_errors(tmp_path, config, changes, message):
    with pytest.raises(InputError, match=message):
        tal_jax.train(config, tmp_path / "w", data=tmp_path, changes=changes)
    assert not (tmp_path / "w").exists()
