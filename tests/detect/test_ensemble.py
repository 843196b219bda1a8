"""Ensembles: a run with itself changes nothing, weights by hand, other strides, recordings that one lacks."""

import json
import shutil

import numpy as np
import pytest
from support.clip_set import prepare_clip_set, tiny_weak_config
from support.commands import run
from support.sensor_set import STRIDE, prepare_set, tiny_config
from support.unsealed import unseal_stage

from tal_jax.configs import supervised
from tal_jax.data import class_scores, proposals
from tal_jax.data.parquet import read_origin
from tal_jax.detect.detect import detect
from tal_jax.detect.ensemble import of_runs
from tal_jax.detect.ensemble_members import open_runs
from tal_jax.detect.ensemble_outputs import detect_together
from tal_jax.detect.ensemble_weights import given, normalized
from tal_jax.devices.mesh import local_mesh
from tal_jax.errors import InputError
from tal_jax.evaluation.detection_files import read
from tal_jax.evaluation.proposals import evaluate_proposals
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.stages.artifacts import FILES
from tal_jax.stages.predictor import Predictor, truth_table
from tal_jax.stages.stage import build_stage
from tal_jax.stages.workdir import read_config
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import train_and_evaluate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A track of three stages, and its first stage with another seed, on frames shorter than the recordings."""
    folder = tmp_path_factory.mktemp("ensemble")
    prepare_set(folder, training=8, validation=4, length=40)
    for seed in (0, 1):
        config = tiny_config(folder / "data")
        supervised.choose_classes(config, "classifier")
        config.stages.classifier.update(batch_size=4, steps=2, eval_every_steps=0)
        config.stages.classifier.model.hidden = 8
        config.stages.classifier.data.update(snippets=24, scale=1.0)
        config.seed, config.data.holdout = seed, 0.25
        config.stages.bmn.data.update(snippets=24, scale=1.0)
        config.stages.tcanet.data.update(snippets=24, scale=1.0)
        config.stages.bmn.steps = config.stages.tcanet.steps = 2
        config.track = ("bmn",) if seed else ("bmn", "classifier", "tcanet")
        train_and_evaluate(config.to_dict(), folder / f"w{seed}")
    return folder


def same(one, other, score=2e-5, time=1e-3):
    assert one.recordings == other.recordings
    assert one.labels == other.labels
    for i in range(len(one.recordings)):
        a, b = (x.table.take(x.table.recording == i) for x in (one, other))
        assert len(a) == len(b) > 0
        order, expected = (np.lexsort((x.segments[:, 1], x.segments[:, 0].round(2), x.label)) for x in (a, b))
        np.testing.assert_allclose(a.score[order], b.score[expected], atol=score)
        np.testing.assert_allclose(a.segments[order], b.segments[expected], atol=time)


def together(*workdirs, weights=None, **options):
    return detect_together(open_runs(workdirs, "validation"), weights or [1.0] * len(workdirs), **options)


@pytest.mark.parametrize("stage", ["bmn", "classifier", "tcanet"])
def test_a_run_with_itself_changes_nothing(folder, stage):
    w = folder / "w0"
    same(together(w, w, w, weights=[0.2, 0.3, 0.5], stage=stage, batch_size=3), detect(w, "validation", stage=stage))


def test_inputs_come_from_all_runs_and_not_from_what_one_of_them_handed_on(folder, tmp_path):
    """Proposals and class scores are made together: other ones in the runs' own files change nothing."""
    shutil.copytree(folder / "w0", tmp_path / "w")
    path, labels = tmp_path / "w" / "classifier" / FILES["class_scores"], ("action_0", "action_1")
    scores = class_scores.read(path, labels)
    class_scores.write(path, labels, ((id, line[::-1]) for id, line in scores.items()), read_origin(path))
    path = tmp_path / "w" / "bmn" / FILES["proposals"]
    given = proposals.read(path)
    halved = ((id, segments / 2, score) for id, (segments, score) in given.items())
    proposals.write(path, halved, read_origin(path))
    same(together(tmp_path / "w", tmp_path / "w"), detect(folder / "w0", "validation"))


def test_weights_decide(folder):
    one, other = folder / "w0", folder / "w1"
    same(together(one, other, weights=[1.0, 0.0], stage="bmn"), detect(one, "validation", stage="bmn"))
    half = together(one, other, stage="bmn")
    for w in (one, other):
        alone = detect(w, "validation", stage="bmn")
        assert len(half.table) != len(alone.table) or np.abs(half.table.score - alone.table.score).max() > 1e-4


def repeated_set(folder, times, left_out=()):
    """The same recordings by an encoder that says everything `times` times as often, without some."""
    (folder / "fine").mkdir()
    database = json.loads((folder / "annotations.json").read_text())["database"]
    for id in database:
        np.save(folder / "fine" / f"{id}.npy", np.repeat(np.load(folder / "features" / f"{id}.npy"), times, axis=0))
    kept = {id: entry for id, entry in database.items() if id not in left_out}
    (folder / "fewer.json").write_text(json.dumps({"database": kept}))
    prepare(
        Options(
            annotations=str(folder / "fewer.json"), features={"imu": str(folder / "fine")}, workers=1, dtype="float32",
            stride=str(STRIDE / times), out=str(folder / "fine_data"),
        )
    )  # fmt: skip


def scaled(workdir, scale, **data):
    """Says in the configs of a workdir and its stages that their frames squeeze so much, and which set they are of."""
    for path in (workdir / "config.json", *workdir.glob("*/config.json")):
        config = json.loads(path.read_text())
        config["data"].update(data)
        for stage in config["stages"].values():
            stage["data"]["scale"] = scale
        path.write_text(json.dumps(config))


def test_another_stride_and_recordings_that_it_lacks(folder, tmp_path):
    """A run on snippets half as long, squeezed by two in its frame, sees the same: fused, nothing changes."""
    for name in ("annotations.json", "features"):
        (tmp_path / name).symlink_to(folder / name)
    repeated_set(tmp_path, 2, left_out=("r09",))
    shutil.copytree(folder / "w0", tmp_path / "w")
    scaled(tmp_path / "w", 2.0, dir=str(tmp_path / "fine_data"))
    for path in (tmp_path / "w").glob("*/data.json"):  # what it was trained on
        unseal_stage(path.parent)
        stored = json.loads(path.read_text())
        stored["metadata"]["stride"], stored["longest"] = STRIDE / 2, 2 * stored["longest"]
        path.write_text(json.dumps(stored))
    said = []
    both = of_runs([folder / "w0", tmp_path / "w"], "validation", weights="uniform", say=said.append)
    same(both, detect(folder / "w0", "validation"), score=1e-4, time=0.05)
    assert said[-1] == f"{tmp_path / 'w'} lacks 1 of 4 recordings (first r09): fused from the others"
    # The other one first: it gives the windows of what it has, which may start half a snippet apart.
    swapped, alone = together(tmp_path / "w", folder / "w0"), detect(folder / "w0", "validation")
    assert swapped.recordings == alone.recordings
    own, expected = (x.table.take(x.table.recording == x.recordings.index("r09")) for x in (swapped, alone))
    np.testing.assert_allclose(own.score, expected.score, atol=2e-5)
    assert set(swapped.table.recording) == set(range(4))


def test_runs_that_do_not_fit_together(folder, tmp_path):
    shutil.copytree(folder / "w0", tmp_path / "w")
    scaled(tmp_path / "w", 1.5)
    with pytest.raises(InputError, match=r"frames of 12 s and 18 s: fuse their detections instead"):
        together(folder / "w0", tmp_path / "w")
    # Detections of any two runs can be fused.
    found = of_runs([folder / "w0", tmp_path / "w"], "validation", weights="0.7,0.3", fusion="detections", say=str)
    assert set(found.recordings) == set(detect(folder / "w0", "validation").recordings)
    with pytest.raises(InputError, match=r"--stage=refine: .* has no such stage: it has bmn, classifier, tcanet"):
        together(folder / "w0", stage="refine")
    with pytest.raises(InputError, match="2 sets for 1 runs"):
        open_runs([folder / "w0"], "validation", data=["a", "b"])


def test_the_weakly_supervised_track(tmp_path):
    prepare_clip_set(tmp_path, clips=False)
    config = tiny_weak_config(tmp_path / "data", "full")
    config.stages.mgfn.options.mmd_weight = 0.0
    config.stages.mgfn.splice = 0.0
    config.stages.mgfn.steps = 6
    config.track = ("mgfn",)
    train_and_evaluate(config.to_dict(), tmp_path / "w")
    alone = detect(tmp_path / "w", "validation")
    same(together(tmp_path / "w", tmp_path / "w"), alone, time=5e-3)


def test_the_report_s_rule_by_hand(folder):
    assert normalized([0.3, 0.5, 0.2]) == pytest.approx([0.3, 0.5, 0.2])
    assert normalized([0.6, 0.2]) == pytest.approx([0.75, 0.25])
    assert normalized([0.0, 0.0]) == [0.5, 0.5]
    said = []
    of_runs([folder / "w0", folder / "w1"], "validation", stage="bmn", say=said.append)
    # What each finds on its own held-out recordings, evaluated here.
    scores = []
    for w in (folder / "w0", folder / "w1"):
        config = read_config(w)
        stage = build_stage(config, "bmn", w)
        split, index = stage.recordings.evaluation, stage.recordings.eval_index
        assert len(index) == 2  # a quarter of the training recordings
        found = Predictor(stage.task, local_mesh())(
            restore_params(w, "bmn"), split, stage.assembler, index=index, batch_size=2
        )
        scores.append(evaluate_proposals(truth_table(split, index), found).auc)
    for line, score in zip(said, scores, strict=True):
        assert (
            line.split(": ")[1]
            == f"weight {score / sum(scores):.3f}, scores {score:.3f} on its own evaluation recordings"
        )


def test_what_is_detected_in_decides_no_weight(folder):
    """With --data runs are still weighed by the recordings that their own trainings held out."""
    said = [[], []]
    for words, data in zip(said, ((), [str(folder / "data")] * 2), strict=True):
        of_runs([folder / "w0", folder / "w1"], "validation", stage="bmn", data=data, say=words.append)
    assert said[0] == said[1]


@pytest.mark.parametrize("text", ["0.5", "a,b", "1,-1", "0,0", "nan,1", ""])
def test_weights_that_are_none(text):
    with pytest.raises(InputError, match="performance, uniform, or 2 numbers"):
        given(text, 2)
    assert given("3,1", 2) == [0.75, 0.25]


def test_the_command(folder, tmp_path):
    runs = f"--runs={folder / 'w0'},{folder / 'w1'}"
    done = run("ensemble", runs, "--stage=bmn", f"--out={tmp_path / 'D.json'}")
    assert done.returncode == 0, done.stderr
    weights = [float(line.split("weight ")[1].split(",")[0]) for line in done.stdout.splitlines() if "weight" in line]
    assert sum(weights) == pytest.approx(1, abs=2e-3)
    assert "own evaluation recordings" in done.stdout
    assert len(read(tmp_path / "D.json").recordings) == 4
    files = f"--detections={tmp_path / 'D.json'},{tmp_path / 'D.json'}"
    done = run("ensemble", files, f"--out={tmp_path / 'E.json'}", "--method=voting")
    assert done.returncode == 0, done.stderr
    same(read(tmp_path / "E.json"), read(tmp_path / "D.json"))
    for wrong, word in (
        ((runs, files), "one of them"),
        ((files, "--weights=performance"), "of files it is not known"),
        ((files, "--weights=1,2,3"), "2 numbers"),
    ):
        done = run("ensemble", *wrong, f"--out={tmp_path / 'F.json'}")
        assert done.returncode == 2
        assert word in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
