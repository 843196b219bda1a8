"""ONNX programs find in onnxruntime what StableHLO finds in JAX; where they do not, none is left, and why is said."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.clip_set import WIDTHS, prepare_clip_set, tiny_weak_config
from support.commands import environment, run
from support.sensor_set import STRIDE, prepare_set, tiny_config

from tal_jax.deploy import Recording, load, onnx_files
from tal_jax.deploy import export as exporting
from tal_jax.deploy.agreement import random_inputs, unmatched_fraction
from tal_jax.deploy.export import export
from tal_jax.deploy.model_folder import FIELDS, MODEL, ONNX, merge_file, read_model
from tal_jax.deploy.onnx import NotConverted, converted
from tal_jax.errors import InputError
from tal_jax.train.loop import train_and_evaluate

pytestmark = pytest.mark.slow

pytest.importorskip("jax2onnx", reason="extra onnx")
pytest.importorskip("onnxruntime", reason="extra onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """BMN on frames shorter than the recordings, and an export of it with ONNX. (TCANet takes jax2onnx a minute.)"""
    folder = tmp_path_factory.mktemp("onnx")
    prepare_set(folder, training=4, validation=3, length=40)
    config = tiny_config(folder / "data")
    config.track = ("bmn",)
    config.stages.bmn.data.update(snippets=24, scale=1.0)
    config.stages.bmn.steps = 2
    config.data.normalize = True
    train_and_evaluate(config.to_dict(), folder / "work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "LEAST_MERGE", 1024)  # few sizes: each is converted and compiled
        export(folder / "work", folder / "model", onnx=True)
    return folder


def recordings(folder):
    database = json.loads((folder / "annotations.json").read_text())["database"]
    return [
        Recording([np.load(folder / "features" / f"{i}.npy")], i, STRIDE, d["duration"]) for i, d in database.items()
    ]


def alike(found, expected, score=1e-5, time=1e-4):
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        assert len(a.scores) == len(b.scores) > 0
        sides = ({k: x[None] for k, x in side._asdict().items()} for side in (a, b))
        assert unmatched_fraction(*sides, score=score, time=time) == 0


@pytest.mark.parametrize("batch_size", [1, 3])
def test_detections_are_those_of_jax(folder, batch_size):
    assert [stage["onnx"] for stage in read_model(folder / "model")["stages"]] == [ONNX]
    one, other = load(folder / "model"), load(folder / "model", runtime="onnxruntime")
    assert all(len(stage.windows_of(one.checked(recordings(folder)[0]))) > 1 for stage in one.stages)
    alike(list(other.detect(recordings(folder), batch_size)), list(one.detect(recordings(folder), 3)))


def test_it_needs_no_jax(folder):
    script = """
import sys
for name in ("jax", "jaxlib", "flax", "optax", "orbax", "ml_collections", "pyarrow", "absl"):
    sys.modules[name] = None  # importing it fails
import numpy as np
from tal_jax.deploy import load
print(len(load("model", runtime="onnxruntime")(np.load("features/r04.npy"))))
"""
    arguments = [sys.executable, "-c", script]
    result = subprocess.run(arguments, cwd=folder, env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    expected = load(folder / "model")(np.load(folder / "features" / "r04.npy"))
    assert int(result.stdout) == len(expected) > 0


def test_detect_with_onnxruntime(folder, tmp_path):
    out = tmp_path / "D.json"
    done = run(
        "detect", f"--model={folder / 'model'}", f"--features={folder / 'features'}", f"--out={out}",
        f"--stride={STRIDE}", "--runtime=onnxruntime",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["results"]
    (expected,) = load(folder / "model").detect([Recording([np.load(folder / "features" / "r04.npy")], stride=STRIDE)])
    np.testing.assert_allclose([d["score"] for d in found["r04"]], expected.scores, atol=1e-5)


def test_the_weak_track_by_the_command(tmp_path):
    prepare_clip_set(tmp_path, clips=False)
    config = tiny_weak_config(tmp_path / "data", "ccm")
    config.stages.mgfn.steps = 2
    train_and_evaluate(config.to_dict(), tmp_path / "work")
    done = run("export", f"--workdir={tmp_path / 'work'}", f"--out={tmp_path / 'E'}", "--onnx")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'E' / 'mgfn' / ONNX}: finds the same in onnxruntime" in done.stdout
    rng = np.random.default_rng(0)
    given = [Recording([rng.normal(size=(n, w)).astype(np.float32) for w in WIDTHS.values()]) for n in (7, 40, 90)]
    one, other = load(tmp_path / "E"), load(tmp_path / "E", runtime="onnxruntime")
    alike(list(other.detect(given, 2)), list(one.detect(given, 2)))


def test_what_was_exported_without(folder, tmp_path):
    load(export(folder / "work", tmp_path / "E"))
    with pytest.raises(InputError, match=r"predict.onnx: missing: the model was exported without --onnx"):
        load(tmp_path / "E", runtime="onnxruntime")
    with pytest.raises(InputError, match="runtime 'tensorrt': there are jax and onnxruntime"):
        load(tmp_path / "E", runtime="tensorrt")


def test_an_operation_that_it_does_not_know():
    def spectrum(inputs):
        values = jnp.linalg.eigvalsh(inputs["x"])
        return dict.fromkeys(FIELDS, values)

    with pytest.raises(NotConverted, match="jax2onnx: "):
        converted(spectrum, {"x": jax.ShapeDtypeStruct((1, 3, 3), jnp.float32)})


@pytest.mark.parametrize("fault", ["other numbers", "not converted", "not a file"])
def test_no_file_is_left_that_is_not_the_same(folder, tmp_path, monkeypatch, fault):
    """The stage says why, and everything else is exported."""

    def other(function, inputs):
        if fault == "not converted":
            raise NotConverted("jax2onnx: no such thing")
        if fault == "not a file":
            return b"\x00\x01"
        return converted(lambda given: {**function(given), "scores": 1 - function(given)["scores"]}, inputs)

    monkeypatch.setattr(onnx_files, "converted", other)
    out = export(folder / "work", tmp_path / "E", onnx=True)
    (stage,) = json.loads((out / MODEL).read_text())["stages"]
    reasons = {
        "other numbers": "100.0% of the detections",
        "not converted": "no such thing",
        "not a file": "onnxruntime: ",
    }
    assert reasons[fault] in stage["onnx"]
    assert not list(out.rglob("*.onnx"))
    assert load(out).stages


def test_files_of_every_program(folder):
    for stage in read_model(folder / "model")["stages"]:
        home = folder / "model" / stage["name"]
        assert {p.name for p in home.glob("*.onnx")} == {ONNX, *(merge_file(n, ONNX) for n in stage["merges"])}


def test_likeness_by_hand():
    rng = np.random.default_rng(0)
    shapes = {"mask": (2, 9), "features": (2, 9, 3), "proposals": (2, 4, 2), "class_scores": (2, 5)}
    shapes |= {"proposal_scores": (2, 4), "proposal_mask": (2, 4)}
    inputs = random_inputs(shapes, rng)
    assert inputs["mask"].sum(axis=1).tolist() == [9, 5] == inputs["duration"].tolist()
    assert (inputs["proposals"][..., 0] <= inputs["proposals"][..., 1]).all()
    one = {
        "segments": np.array([[[0, 1], [2, 3], [9, 9]]], np.float32), "labels": np.array([[0, 1, 0]]),
        "scores": np.array([[0.9, 0.5, 0]], np.float32), "mask": np.array([[True, True, False]]),
    }  # fmt: skip
    assert unmatched_fraction(one, one, score=0, time=0) == 0
    for field, value in (("labels", 0), ("scores", 0.6), ("segments", [2, 3.5])):
        changed = {**one, field: one[field].copy()}
        changed[field][0, 1] = value
        assert unmatched_fraction(one, changed, score=0.05, time=0.4) == 2 / 4
        assert unmatched_fraction(one, changed, score=0.2, time=0.6) == (2 / 4 if field == "labels" else 0)
    fewer = {**one, "mask": np.array([[True, False, False]])}
    assert unmatched_fraction(one, fewer, score=0, time=0) == 1 / 3
