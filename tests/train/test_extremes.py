"""Sets at the edge of what a set can be: trained, detected in and evaluated by both tracks, or refused in one line."""

import dataclasses
import json

import numpy as np
import pytest
from support.clip_set import tiny_weak_config
from support.runs import losses
from support.sensor_set import tiny_config
from support.sharing import shared_programs

from tal_jax.api import detect, evaluate, train
from tal_jax.data.dataset import open_split, read_metadata
from tal_jax.errors import InputError, TrainingDiverged
from tal_jax.evaluation.detection_files import Submission
from tal_jax.models.bmn import BMNOutput, valid_cells
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.stages.predictor import truth_table
from tal_jax.stages.workdir import newest_step
from tal_jax.tasks.bmn import BMNTask
from tal_jax.train import loop
from tal_jax.train.checkpoint import restore_params
from tal_jax.types import Batch

pytestmark = pytest.mark.slow

T, STRIDE = 24, 0.5
SECONDS = T * STRIDE
TRACKS = ["supervised", "weak"]


@pytest.fixture(scope="module", autouse=True)
def together():
    """Sets of as many classes, channels and segments are trained by the same programs."""
    with shared_programs():
        yield


def noise(seed):
    return np.random.default_rng(seed).normal(0, 0.1, (T, 3))


def entry(subset, *segments, snippets=T):
    annotations = [{"segment": [start, end], "label": label} for start, end, label in segments]
    return {"subset": subset, "duration": snippets * STRIDE, "annotations": annotations}


def usual(i):
    """Two actions in a recording, of two classes."""
    return (2.0, 4.5, f"a{i % 2}"), (6.0, 8.0, f"a{(i + 1) % 2}")


SUBSETS = ("training", "training", "validation")
EVERY = range(len(SUBSETS))
USUAL = {f"r{i}": entry(SUBSETS[i], *usual(i)) for i in EVERY}
NOISE = {f"r{i}": noise(i) for i in EVERY}
LONG = {f"r{i}": entry(SUBSETS[i], (0.0, SECONDS, f"a{i % 2}"), (0.0, SECONDS, f"a{(i + 1) % 2}")) for i in EVERY}
SHORT = {f"r{i}": entry(SUBSETS[i], (2.0, 2.05, "a0"), (6.01, 6.02, "a1")) for i in EVERY}
MANY = [(i * 0.003, i * 0.003 + 2.0, f"c{i % 2000:04d}") for i in range(3000)]
CASES = {
    "features all equal": (USUAL, {id: np.full((T, 3), 3.0) for id in USUAL}),
    "features all zero": (USUAL, {id: np.zeros((T, 3)) for id in USUAL}),
    "all snippets of a recording equal": (USUAL, {id: np.ones((T, 1)) * noise(i)[:1] for i, id in enumerate(USUAL)}),
    "actions as long as their recording": (LONG, NOISE),
    "actions shorter than a snippet": (SHORT, NOISE),
    "actions of all lengths": ({"r0": LONG["r0"], "r1": SHORT["r1"], "r2": LONG["r2"]}, NOISE),
    "no validation": ({id: {**USUAL[id], "subset": "training"} for id in USUAL}, NOISE),
    "features of 1e-30": (USUAL, {id: x * 1e-30 for id, x in NOISE.items()}),
    "features of 1e30": (USUAL, {id: x * 1e30 for id, x in NOISE.items()}),
    "one class": ({f"r{i}": entry(SUBSETS[i], (2.0, 4.5, "a0"), (6.0, 8.0, "a0")) for i in EVERY}, NOISE),
    "one recording of one snippet": (
        {"r0": entry("training", (0.0, 0.5, "a0"), (0.0, 0.25, "a0"), snippets=1)}, {"r0": np.ones((1, 3))}
    ),
    "3,000 actions of 2,000 classes in one recording": ({**USUAL, "r0": entry("training", *MANY)}, NOISE),
}  # fmt: skip
REFUSED = {("weak", "features of 1e30"): r"^record r\d: features up to \S+e\+\d\d: .* Or train with data\.normalize"}


def packed(folder, database, arrays):
    (folder / "features").mkdir()
    for id, x in arrays.items():
        np.save(folder / "features" / f"{id}.npy", np.asarray(x, np.float32))
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    prepare(
        Options(
            annotations=str(folder / "annotations.json"), features={"imu": str(folder / "features")},
            stride=str(STRIDE), out=str(folder / "data"), dtype="float32", workers=1,
        )
    )  # fmt: skip
    return folder / "data"


def config_of(track, data):
    """Equal models whatever the set: nothing that follows from its actions."""
    if track == "weak":
        config = tiny_weak_config(data, "ccm")
        stages = [config.stages.mgfn]
    else:
        config = tiny_config(data, refinements=1)
        stages = [config.stages.bmn, config.stages.tcanet]
        config.stages.bmn.model.durations = T
    for stage in stages:
        stage.steps, stage.data.snippets, stage.data.scale = 2, T, 1.0
    config.data.holdout, config.checkpoint.every_steps = 0.0, 100
    config.log_every_steps = 1
    return config


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("track", TRACKS)
def test_a_set_at_the_edge(track, case, tmp_path):
    database, arrays = CASES[case]
    folder = tmp_path / "ein Übungssatz 日本 🏃"  # as people call their folders
    folder.mkdir()
    data = packed(folder, database, arrays)
    config = config_of(track, data)
    if (track, case) in REFUSED:  # the other track's config normalises features
        with pytest.raises(InputError, match=REFUSED[track, case]) as error:
            train(config, folder / "w")
        assert "\n" not in str(error.value)
        return
    scores = train(config, folder / "w")
    assert all(0 <= x <= 1 for x in scores.values())
    assert ("average" in scores) == ("validation" in read_metadata(data).splits)
    for stage in config.track:
        assert np.isfinite(list(losses(folder / "w", stage).values())).all()
    split = next(name for name in ("validation", "training") if name in read_metadata(data).splits)
    found = detect(folder / "w", split)
    table, opened = found.table, open_split(data, split)
    assert len(table)
    assert np.isfinite(table.score).all()
    assert (table.segments[:, 0] >= 0).all()
    assert (table.segments[:, 0] < table.segments[:, 1]).all()
    assert (table.segments[:, 1] <= opened.durations[table.recording]).all()
    own = evaluate(folder / "annotations.json", found, subset=split)
    assert 0 <= own.average <= 1
    truth = truth_table(opened, np.arange(len(opened)))
    ideal = Submission(tuple(map(str, opened.ids)), opened.metadata.labels, truth)
    assert evaluate(folder / "annotations.json", ideal, subset=split).average == 1


def test_testing_alone_is_nothing_to_learn_from(tmp_path):
    data = packed(tmp_path, {id: {**USUAL[id], "subset": "testing"} for id in USUAL}, NOISE)
    for track in TRACKS:
        with pytest.raises(InputError, match="training") as error:
            train(config_of(track, data), tmp_path / "w")
        assert "\n" not in str(error.value)


def test_perfect_scores_of_an_action_as_long_as_its_recording_are_decoded_to_it():
    """By hand: one cell, the recording itself; the last snippet of which is cut short."""
    mask = np.ones((1, T), bool)
    start, end, cells = np.full((1, T), -9.0), np.full((1, T), -9.0), np.full((1, T, T), -9.0)
    start[0, 0] = end[0, T - 1] = cells[0, 0, T - 1] = 9.0
    output = BMNOutput(*(np.float32(x) for x in (start, end, cells, cells)), valid=np.asarray(valid_cells(mask, T)))
    batch = Batch.make(np.zeros((1, T, 3), np.float32), mask, duration=np.float32([T - 0.5]))
    found = BMNTask(None).decode(output, batch)
    np.testing.assert_allclose(found.segments[0, 0], [0, T - 0.5])
    assert found.scores[0, 0] > 0.99
    assert (found.scores[0, 1:][found.mask[0, 1:]] < 0.01).all()


@pytest.mark.parametrize(("track", "stage"), [("supervised", "bmn"), ("supervised", "tcanet"), ("weak", "mgfn")])
def test_a_loss_that_is_not_finite_is_named_and_the_checkpoint_before_stays(track, stage, tmp_path, monkeypatch):
    """A fault that nothing but the loss shows, in any stage; without it the same training goes on."""
    data = packed(tmp_path, USUAL, NOISE)
    config = config_of(track, data)
    config.checkpoint.every_steps = 1
    sound, wanted = loop.training_batches, config.stages[stage].data.get("proposals", 0)

    def batches(split, assembler, **options):
        for step, (batch, origin) in enumerate(sound(split, assembler, **options), start=options["start"] + 1):
            if step == 2 and assembler.max_proposals == wanted:
                batch = dataclasses.replace(batch, features=batch.features * np.float32(np.nan))
            yield batch, origin

    with monkeypatch.context() as patch:
        patch.setattr(loop, "training_batches", batches)
        with pytest.raises(TrainingDiverged) as error:
            train(config, tmp_path / "w")
    message = str(error.value)
    assert message.startswith(f"stage {stage}: loss or gradient is not finite at step 2, recordings r")
    assert "lower the learning rate; the last checkpoint is kept" in message
    assert "\n" not in message
    assert newest_step(tmp_path / "w", stage) == 1
    taken = losses(tmp_path / "w", stage)
    assert np.isfinite(taken[1])
    assert taken[2] is None
    restore_params(tmp_path / "w", stage)
    train(config, tmp_path / "w")
    assert newest_step(tmp_path / "w", stage) == 2
