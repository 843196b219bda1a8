"""Exported models detect what their workdirs detect, in any batches, and need nothing of what made them."""

import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.clip_set import WIDTHS, prepare_clip_set, tiny_weak_config
from support.commands import ROOT, environment, run
from support.sensor_set import STRIDE, prepare_set, tiny_config

from tal_jax.configs import supervised
from tal_jax.deploy import Recording, load
from tal_jax.deploy import detect as detections
from tal_jax.deploy import export as exporting
from tal_jax.deploy.export import export
from tal_jax.deploy.model_folder import MODEL, SUMS, WEIGHTS, is_export, read_model, seal
from tal_jax.detect.detect import detect
from tal_jax.errors import InputError
from tal_jax.stages.tuned_decoding import write_tuned
from tal_jax.tasks.cas_decoding import Decoding
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import train_and_evaluate

pytestmark = pytest.mark.slow

MADE_BY = ("flax", "optax", "orbax", "ml_collections", "tensorflow_datasets", "grain", "pyarrow", "absl", "tqdm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three stages, on frames shorter than the recordings; and an export of them."""
    folder = tmp_path_factory.mktemp("export")
    prepare_set(folder, training=6, validation=5, length=40)
    config = tiny_config(folder / "data", encoders=1)
    supervised.choose_classes(config, "classifier")
    config.stages.classifier.update(batch_size=4, steps=4, eval_every_steps=0)
    config.stages.classifier.model.hidden = 8
    config.stages.classifier.data.update(snippets=16, scale=1.0)
    config.stages.bmn.data.update(snippets=24, scale=1.0)
    config.stages.tcanet.data.update(snippets=16, scale=1.5)
    config.data.normalize = True
    train_and_evaluate(config.to_dict(), folder / "work")
    export(folder / "work", folder / "model")
    return folder


def recordings(folder, subset="validation", streams=("features",)):
    database = json.loads((folder / "annotations.json").read_text())["database"]
    return [
        Recording([np.load(folder / s / f"{id}.npy") for s in streams], id, STRIDE, entry["duration"])
        for id, entry in database.items()
        if entry["subset"] == subset
    ]


def same(model, found, submission):
    """Every detection of either has its like in the other: scores to 1e-5, times to 1e-5 of the recording."""
    table = submission.table
    for i, part in enumerate(found):
        own = table.take(table.recording == i)
        assert len(part.scores) == len(own) > 0
        order = np.lexsort((part.segments[:, 0], part.labels))
        expected = np.lexsort((own.segments[:, 0], own.label))
        assert [model.labels[k] for k in part.labels[order]] == [submission.labels[k] for k in own.label[expected]]
        np.testing.assert_allclose(part.scores[order], own.score[expected], atol=1e-5)
        np.testing.assert_allclose(part.segments[order], own.segments[expected], atol=1e-5 * 30)


def test_an_earlier_export_is_replaced_and_nothing_else(folder, tmp_path):
    out = tmp_path / "model"
    shutil.copytree(folder / "model", out)
    (out / "bmn" / "merge-64.stablehlo").unlink()  # also one that is damaged
    export(folder / "work", out, stage="bmn")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    assert [stage["name"] for stage in read_model(out)["stages"]] == ["bmn"]
    modes = {path.stat().st_mode & 0o777 for path in out.rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "model" / MODEL).stat().st_mode & 0o777}
    before = sorted(out.rglob("*"))
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files than those of an export"):
        export(folder / "work", out)
    assert sorted(out.rglob("*")) == sorted([*before, out / "notes.txt"])


def test_programs_say_nothing_of_the_machine(folder, tmp_path):
    """Exported again they are the same bytes, and hold no path."""
    again = export(folder / "work", tmp_path / "model")
    programs = sorted((folder / "model").rglob("*.stablehlo"))
    assert len(programs) > 3
    for path in programs:
        content = path.read_bytes()
        assert content == (again / path.relative_to(folder / "model")).read_bytes(), path
        assert b".py" not in content
        assert str(ROOT).encode() not in content


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_detections_are_those_of_the_workdir(folder, batch_size):
    model = load(folder / "model")
    assert [stage.kind for stage in model.stages] == ["bmn", "classifier", "tcanet"]
    assert all(len(stage.framing.offsets(40)) > 1 for stage in model.stages)
    same(model, list(model.detect(recordings(folder), batch_size)), detect(folder / "work", "validation"))


def test_one_stage_and_what_comes_from_outside(folder, tmp_path):
    model = load(export(folder / "work", tmp_path / "bmn", stage="bmn"))
    one, *_ = recordings(folder)
    found = model(one.streams[0], duration=one.duration)
    assert found
    assert all("label" not in row for row in found)
    # TCANet alone, as where proposals and scores came from files.
    file, scores = (
        folder / "work" / "bmn" / "proposals.parquet",
        folder / "work" / "classifier" / "class_scores.parquet",
    )
    shutil.copytree(folder / "work", tmp_path / "work")
    for path in (tmp_path / "work" / "config.json", tmp_path / "work" / "tcanet" / "config.json"):
        config = json.loads(path.read_text())
        config["stages"]["tcanet"].update(proposals=str(file), class_scores=str(scores))
        path.write_text(json.dumps(config))
    alone = load(export(tmp_path / "work", tmp_path / "alone"))
    assert [stage.kind for stage in alone.stages] == ["tcanet"]
    assert alone.needs == ("proposals", "class_scores")
    with pytest.raises(InputError, match="record r06: no proposals"):
        list(alone.detect([one]))
    (whole,) = load(folder / "model").detect([one])
    model_of_classes = load(export(folder / "work", tmp_path / "classes", stage="classifier"))
    (classes,) = model_of_classes.detect([one])
    given = np.zeros(2, np.float32)
    given[classes.labels] = classes.scores
    (proposed,) = model.detect([one])
    more = Recording(one.streams, one.id, STRIDE, one.duration, (proposed.segments, proposed.scores), given)
    (found,) = alone.detect([more])
    np.testing.assert_array_equal(found.segments, whole.segments)
    np.testing.assert_array_equal(found.scores, whole.scores)


def test_it_needs_jax_and_numpy_only(folder):
    script = f"""
import sys
for name in {MADE_BY!r}:
    sys.modules[name] = None  # importing it fails
import numpy as np
from tal_jax.deploy import load
print(len(load("model")(np.load("features/r06.npy"))))
"""
    arguments = [sys.executable, "-c", script]
    result = subprocess.run(arguments, cwd=folder, env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    one = next(r for r in recordings(folder) if r.id == "r06")
    assert int(result.stdout) == len(load(folder / "model")(one.streams[0]))


@pytest.fixture(scope="module")
def weak(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weak_export")
    prepare_clip_set(folder, clips=False)
    config = tiny_weak_config(folder / "data", "ccm")
    config.stages.mgfn.steps = 4
    train_and_evaluate(config.to_dict(), folder / "work")
    export(folder / "work", folder / "model")
    return folder


def test_the_weak_track_with_two_streams(weak):
    model = load(weak / "model")
    assert model.streams == dict(sorted(WIDTHS.items())) or model.streams == WIDTHS
    given = recordings(weak, streams=tuple(model.streams))
    same(model, list(model.detect(given, 3)), detect(weak / "work", "validation"))
    one = given[0]
    both = dict(zip(model.streams, one.streams, strict=True))
    assert model(both, STRIDE, duration=one.duration) == model(
        np.concatenate(one.streams, axis=1), STRIDE, duration=one.duration
    )
    with pytest.raises(InputError, match=r"the model takes .*imu \[T, 4\]"):
        model(one.streams[0])


def test_the_decoding_that_was_tuned(weak, tmp_path):
    workdir = shutil.copytree(weak / "work", tmp_path / "work")
    before = detect(workdir, "validation")
    write_tuned(workdir, "mgfn", Decoding(lowest=0.4, highest=0.6, inflation=1.0, nms_sigma=0.1), {})
    tuned = detect(workdir, "validation")
    assert not np.array_equal(tuned.table.score, before.table.score)
    model = load(export(workdir, tmp_path / "model"))
    same(model, list(model.detect(recordings(weak, streams=tuple(model.streams)), 3)), tuned)


def test_the_checkpoint_and_the_member_that_were_asked_for(folder, tmp_path, monkeypatch):
    """A member of a population is one of the last stage; the stages before handed on their first one's results."""
    asked = []

    def restore(workdir, stage, *, which, member):
        asked.append((stage, which, member))
        return restore_params(workdir, stage)

    monkeypatch.setattr(exporting, "restore_params", restore)
    export(folder / "work", tmp_path / "model", checkpoint="best", member=3)
    assert asked == [("bmn", "best", 0), ("classifier", "best", 0), ("tcanet", "best", 3)]


def test_durations_come_from_the_annotations(folder, tmp_path):
    entry = {"subset": "validation", "duration": 17.25, "annotations": []}
    (tmp_path / "A.json").write_text(json.dumps({"database": {"r06": entry}}))
    given = {"features": [str(folder / "features" / "r06.npy")], "stride": STRIDE}
    found, durations = detections.detect(folder / "model", **given, annotation_file=str(tmp_path / "A.json"))
    assert durations == {"r06": 17.25}
    assert found.table.segments.max() <= 17.25
    whole, durations = detections.detect(folder / "model", **given)
    assert durations["r06"] == STRIDE * len(np.load(given["features"][0])) > 17.25
    assert whole.table.segments.max() > 17.25


def test_longer_frames_where_no_shape_forbids_them(weak):
    """The program of a weakly-supervised stage takes frames of any length; padding changes nothing."""
    stage = load(weak / "model").stages[-1]
    entry = json.loads((weak / "model" / MODEL).read_text())["stages"][-1]
    t = stage.framing.snippets
    assert entry["snippets"] == f"t >= {t}"
    rng = np.random.default_rng(0)

    def inputs(snippets):
        features = np.zeros((2, snippets, sum(WIDTHS.values())), np.float32)
        features[:, :t] = x
        mask = np.arange(snippets)[None] < np.full((2, 1), t)
        ones = np.ones(2, np.float32)
        empty = {"proposals": (2, 0, 2), "proposal_scores": (2, 0), "class_scores": (2, 3)}
        return {
            "features": features, "mask": mask, "stride": ones * STRIDE, "duration": ones * t,
            "proposal_mask": np.zeros((2, 0), bool), **{k: np.zeros(s, np.float32) for k, s in empty.items()},
        }  # fmt: skip

    x = rng.normal(size=(2, t, sum(WIDTHS.values()))).astype(np.float32)
    short, long = (stage.predict(inputs(n)) for n in (t, t + 13))
    np.testing.assert_array_equal(short["mask"], long["mask"])
    np.testing.assert_allclose(short["scores"], long["scores"], atol=1e-5)
    np.testing.assert_allclose(short["segments"], long["segments"], atol=1e-5)


def test_a_damaged_folder_is_refused(folder, tmp_path):
    def copy(name):
        return shutil.copytree(folder / "model", tmp_path / name)

    weights = copy("flipped") / "bmn" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"weights.safetensors: damaged: its checksum"):
        load(tmp_path / "flipped")
    (copy("missing") / "tcanet" / "predict.stablehlo").unlink()
    with pytest.raises(InputError, match=r"predict.stablehlo: missing"):
        load(tmp_path / "missing")
    (copy("more") / "bmn" / "stray").write_text("x")
    with pytest.raises(InputError, match=r"stray: not a file of this model"):
        load(tmp_path / "more")
    newer = copy("newer")
    (newer / MODEL).write_text(json.dumps({"format": 2}))
    seal(newer)
    with pytest.raises(InputError, match="format 2, this version reads 1"):
        read_model(newer)
    (copy("unsealed") / SUMS).unlink()
    with pytest.raises(InputError, match="not a model that"):
        load(tmp_path / "unsealed")


def test_sums_that_are_no_file_are_not_read(tmp_path):
    """Those of a folder whose SHA256SUMS was a link to /dev/zero took all memory."""
    (tmp_path / SUMS).symlink_to("/dev/null")
    with pytest.raises(InputError, match=rf"{SUMS}: a device or pipe, not a file: .* is not a model that"):
        read_model(tmp_path)
    assert not is_export(tmp_path)


def changed(**values):
    return lambda model: {**model, **values}


def of_stage(**values):
    return lambda model: {**model, "stages": [{**entry, **values} for entry in model["stages"]]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: [], "holds a list where an object is expected"),
        (lambda model: {"format": 1}, "it lacks 'labels'"),
        (changed(labels=["action_0"]), "class_scores of .*2.*, and the folder gives .any, 1"),
        (changed(labels=["a", "a"]), "its labels are not text, each once"),
        (changed(streams={"imu": 4}), "no mean and positive deviation of 4 channels"),
        (changed(streams={"imu": "3"}), "its streams are not names with their channels"),
        (changed(stride=-1.0), "a stride of -1.0 s"),
        (lambda model: {k: v for k, v in model.items() if k != "stride"}, "it lacks 'stride'"),
        (changed(needs=["os.system"]), "it needs something else"),
        (changed(stages=[]), "it has no stages"),
        (of_stage(name="../../../elsewhere/bmn"), "is not that of a folder within"),
        (of_stage(name="/etc"), "is not that of a folder within"),
        (of_stage(framing={"mode": "window", "snippets": 0}), "no framing that can be"),
        (of_stage(framing={"of": "another version"}), "no framing that can be"),
        (of_stage(merges="all"), "'merges' is text .*, expected a list"),
        (of_stage(merges=[]), "windows, and no program that merges them"),
        (of_stage(proposals=7), "it takes proposal"),
    ],
)
def test_a_description_that_cannot_be_is_refused_though_its_sums_match(folder, tmp_path, change, words):
    model = shutil.copytree(folder / "model", tmp_path / "model")
    (model / MODEL).write_text(json.dumps(change(json.loads((model / MODEL).read_text()))))
    seal(model)
    with pytest.raises(InputError, match=words) as error:
        load(model)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"), [("weights.safetensors", "not a file of weights"), ("predict.stablehlo", "not a program")]
)
@pytest.mark.parametrize("content", [b"", b"x" * 100, (1 << 60).to_bytes(8, "little") + b"{}"])
def test_files_that_are_none_are_refused_though_their_sums_match(folder, tmp_path, name, words, content):
    model = shutil.copytree(folder / "model", tmp_path / "model")
    (model / "bmn" / name).write_bytes(content)
    seal(model)
    with pytest.raises(InputError, match=rf"{name}: damaged, {words}"):
        load(model)


def test_weights_of_another_model_are_refused(folder, tmp_path):
    model = shutil.copytree(folder / "model", tmp_path / "model")
    shutil.copy(model / "tcanet" / "weights.safetensors", model / "bmn")
    seal(model)
    with pytest.raises(InputError, match=r"bmn/predict\.stablehlo: not the program of this model"):
        load(model)


def test_parameters_that_are_not_finite_are_not_exported(folder, tmp_path, monkeypatch):
    sound = exporting.restore_params

    def restore(workdir, stage, **chosen):
        params = sound(workdir, stage, **chosen)
        if stage == "tcanet":
            leaves, tree = jax.tree.flatten(params)
            leaves[-1] = np.full_like(leaves[-1], np.nan)
            params = jax.tree.unflatten(tree, leaves)
        return params

    monkeypatch.setattr(exporting, "restore_params", restore)
    with pytest.raises(InputError, match=r"work/tcanet: parameter params/.* holds numbers that are not finite"):
        export(folder / "work", tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_of_numbers_that_are_not_finite_finds_nothing_in_silence(folder, tmp_path, value):
    """Such a folder may come from elsewhere, with sums that match."""
    model = shutil.copytree(folder / "model", tmp_path / "model")
    path = model / "tcanet" / WEIGHTS
    arrays = {name: x if "normalization" in name else np.full_like(x, value) for name, x in load_file(path).items()}
    save_file(arrays, path)
    seal(model)
    one = recordings(folder)[0]
    with pytest.raises(InputError, match=r"^record r06: the model's output is not finite") as error:
        list(load(model).detect([one]))
    assert "\n" not in str(error.value)


def test_commands(folder, tmp_path):
    shutil.copytree(folder / "work", tmp_path / "work")
    done = run("export", f"--workdir={tmp_path / 'work'}", f"--out={tmp_path / 'E'}")
    assert done.returncode == 0, done.stderr
    other = run("export", f"--workdir={tmp_path / 'work'}", f"--out={folder / 'features'}")
    assert other.returncode == 2
    assert "holds other files" in other.stderr
    detect_all = ("detect", f"--model={tmp_path / 'E'}", f"--features={folder / 'features'}", f"--stride={STRIDE}")
    out, plot = tmp_path / "D.json", tmp_path / "D.png"
    done = run(*detect_all, f"--out={out}", f"--plot={plot}", f"--annotations={folder / 'annotations.json'}")
    assert done.returncode == 0, done.stderr
    assert plot.read_bytes().startswith(b"\x89PNG")
    results = json.loads(out.read_text())["results"]
    assert len(results) == 11
    expected = detect(folder / "work", "validation")
    mine = max(row["score"] for row in results[expected.recordings[0]])
    np.testing.assert_allclose(mine, expected.table.score[expected.table.recording == 0].max(), atol=1e-5)
    scored = run(
        "evaluate", f"--ground_truth={folder / 'annotations.json'}", f"--detections={out}", "--subset=validation"
    )
    assert scored.returncode == 0, scored.stderr
    neither = run("detect", f"--out={out}")
    assert neither.returncode == 2
    assert "--workdir=W" in neither.stderr
