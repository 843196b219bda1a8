"""Recognition by the commands and the loop: it learns, goes on bit for bit, and what it makes encodes videos."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.packed_set import CLASSES, pack_videos, recognition_config
from support.runs import Killed, at_step, losses
from support.small_encoder import LEARNER, known

from tal_jax.data import class_scores
from tal_jax.data.dataset import open_split
from tal_jax.deploy import export
from tal_jax.encoders import trained as files
from tal_jax.encoders import weights
from tal_jax.encoding import encode, plan
from tal_jax.errors import InputError
from tal_jax.recognition.recogniser import Recogniser
from tal_jax.recognition.task import RecognitionTask
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import train_and_evaluate
from tal_jax.types import Batch

pytest.importorskip("av")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def encoders():
    with known():
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    pack_videos(folder)
    return folder


@pytest.fixture(scope="module")
def workdir(source, tmp_path_factory):
    """One uninterrupted run."""
    folder = tmp_path_factory.mktemp("run")
    train_and_evaluate(recognition_config(source / "set", steps=60).to_dict(), folder)
    return folder


def lines(workdir):
    return [json.loads(line) for line in (workdir / "recognition" / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_all_clips(workdir):
    rows = lines(workdir)
    assert rows[-1]["top1"] == rows[-1]["top5"] == 1.0  # of other videos
    assert np.mean([x["accuracy"] for x in rows if "accuracy" in x][-10:]) == 1.0
    assert [x["loss"] for x in rows if "loss" in x][-1] < 0.2


def test_statistics_of_norms_are_those_of_the_data(workdir, source):
    """Not those that networks begin with, and such that prediction and training agree."""
    params = restore_params(workdir, "recognition")
    stem = params["batch_stats"]["encoder"]["stem"]["bn"]
    assert np.abs(stem["mean"]).max() > 0.05
    assert np.abs(stem["var"] - 1).max() > 0.05


def test_a_run_that_was_killed_ends_the_same(source, workdir, tmp_path, monkeypatch):
    at_step(8, monkeypatch)  # three steps after a checkpoint
    config = recognition_config(source / "set", steps=60).to_dict()
    with pytest.raises(Killed):
        train_and_evaluate(config, tmp_path)
    train_and_evaluate(config, tmp_path)
    assert losses(tmp_path, "recognition") == losses(workdir, "recognition")
    jax.tree.map(
        np.testing.assert_array_equal, *(restore_params(folder, "recognition") for folder in (tmp_path, workdir))
    )
    name = "recognition/encoder.safetensors"
    assert (tmp_path / name).read_bytes() == (workdir / name).read_bytes()


def test_what_it_makes_encodes_and_scores(source, workdir, tmp_path):
    file = workdir / "recognition" / "encoder.safetensors"
    found = files.about(file)
    assert (found.encoder, found.labels, found.rate) == ("learner", CLASSES, 10.0)
    options = plan.Options(str(source / "videos"), str(tmp_path / "out"), weights=str(file), scores=True)
    decided = plan.plan(options)
    assert (decided.encoder.name, decided.rate) == ("learner", 10.0)
    encode.encode(options)
    scores = class_scores.read(tmp_path / "out" / "class_scores.parquet", CLASSES)
    assert len(scores) == 20
    for id, row in scores.items():
        assert CLASSES[int(row.argmax())] == id.rstrip("0123456789")
        assert row.sum() == pytest.approx(1, abs=1e-5)
    # The features are those of the trained parameters, by a path that shares no code with encode.
    params = restore_params(workdir, "recognition")
    own = {name: params[name]["encoder"] for name in ("params", "batch_stats")}
    read = weights.read(file, LEARNER)
    jax.tree.map(np.testing.assert_array_equal, read.variables, own)
    np.testing.assert_array_equal(read.head["kernel"], params["params"]["head"]["dense"]["kernel"])
    features = np.load(tmp_path / "out" / "dark0.npy")
    logits = features @ read.head["kernel"] + read.head["bias"]
    expected = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(scores["dark0"], expected, atol=1e-5)


def test_scores_need_a_classifier(source, tmp_path):
    options = plan.Options(str(source / "videos"), str(tmp_path), encoder="small", weights="random", scores=True)
    with pytest.raises(
        InputError, match=r"--scores: needs --weights=FILE of an encoder that launch\.train has trained"
    ):
        plan.plan(options)


def test_it_begins_with_weights(source, workdir, tmp_path):
    """Of an encoder that was trained here; the classifier is fresh."""
    file = workdir / "recognition" / "encoder.safetensors"
    config = recognition_config(source / "set", steps=1)
    config.stages.recognition.options.weights = str(file)
    config.stages.recognition.optimizer.learning_rate = 1e-12
    train_and_evaluate(config.to_dict(), tmp_path)
    before, after = (restore_params(folder, "recognition")["params"] for folder in (workdir, tmp_path))
    np.testing.assert_allclose(after["encoder"]["stem"]["conv"]["kernel"], before["encoder"]["stem"]["conv"]["kernel"],
                               atol=1e-6)  # fmt: skip
    assert not np.allclose(after["head"]["dense"]["kernel"], before["head"]["dense"]["kernel"], atol=1e-3)


def test_flow_begins_with_weights_of_images(workdir):
    file = workdir / "recognition" / "encoder.safetensors"
    task = RecognitionTask(Recogniser("learner_flow", 4), weights=str(file), cross_modality=True)
    batch = Batch.make(np.zeros((2, 3, 32, 32, 4), np.uint8), np.ones((2, 3), bool), num_classes=4)
    fresh = jax.device_get(task.init(jax.random.key(0), batch))
    begun = task.begin(fresh)
    rgb = restore_params(workdir, "recognition")["params"]["encoder"]["stem"]["conv"]["kernel"]
    made = begun["params"]["encoder"]["stem"]["conv"]["kernel"]
    np.testing.assert_allclose(made, np.repeat(rgb.mean(2, keepdims=True), 4, axis=2), rtol=1e-6)
    with pytest.raises(InputError, match="not weights of learner_flow"):
        RecognitionTask(Recogniser("learner_flow", 4), weights=str(file)).begin(fresh)


def test_a_population_begins_with_the_same_encoder(source, workdir, tmp_path):
    config = recognition_config(source / "set", steps=2)
    config.population = 4  # for as many virtual devices
    config.stages.recognition.options.weights = str(workdir / "recognition" / "encoder.safetensors")
    config.stages.recognition.optimizer.learning_rate = 1e-12
    train_and_evaluate(config.to_dict(), tmp_path)
    one, two = (restore_params(tmp_path, "recognition", member=k)["params"] for k in (0, 1))
    np.testing.assert_allclose(one["encoder"]["stem"]["conv"]["kernel"], two["encoder"]["stem"]["conv"]["kernel"],
                               atol=1e-6)  # fmt: skip
    assert not np.allclose(one["head"]["dense"]["kernel"], two["head"]["dense"]["kernel"], atol=1e-3)


def test_probabilities_are_the_mean_of_views(source, workdir):
    params, split = restore_params(workdir, "recognition"), open_split(source / "set", "validation")
    task = RecognitionTask(Recogniser("learner", 4))
    images = np.stack([LEARNER.preprocessing.on_host(split[0].features["rgb"][i])[0] for i in range(4)] * 3)
    two = images[None, :6]
    whole, parts = (
        np.asarray(task.class_probabilities(params, Batch.make(jnp.asarray(x), jnp.ones(x.shape[:2], bool))))
        for x in (two, two.reshape(2, 3, *two.shape[2:]))
    )
    np.testing.assert_allclose(whole[0], parts.mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling": "some"}, "sampling is 'segments' or 'dense', not 'some'"),
        ({"crop": "corner"}, "crop is 'corners', 'random' or 'centre'"),
        ({"flip": 2.0}, "flip 2.0 and jitter 0.0 are in"),
        ({"crop_scales": (1.5,)}, "crop_scales are in"),
        ({"views": 0}, "views 0, images 3 and interval 0"),
        ({"model": {"encoder": "lerner"}}, "no such encoder"),
        ({"options": {"label_smoothing": 1.0}}, "options.label_smoothing is in"),
        ({"options": {"cross_modality": True}}, "for an encoder of flow that begins"),
        ({"options": {"weights": "nothing.pth"}}, "options.weights=nothing.pth: no such file"),
        ({"optimizer": {"method": "adam"}}, "optimizer.method is 'adamw' or 'sgd', not 'adam'"),
    ],
)
def test_bad_values_are_named(source, tmp_path, change, message):
    config = recognition_config(source / "set")
    config.stages.recognition.update(change)
    with pytest.raises(InputError, match=message):
        train_and_evaluate(config.to_dict(), tmp_path)


def test_a_set_of_features_is_refused(data, tmp_path):
    with pytest.raises(InputError, match=r"holds features, and 'recognition' learns from images: see launch\.pack"):
        train_and_evaluate(recognition_config(data).to_dict(), tmp_path)


def test_an_encoder_is_not_exported_as_a_detector(workdir, tmp_path):
    with pytest.raises(InputError, match=r"stage recognition makes an encoder, which finds nothing by itself"):
        export.export(workdir, tmp_path / "model")
    assert not (tmp_path / "model").exists()
