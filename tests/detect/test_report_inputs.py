"""What a workdir adds to a report: curves as logged, losses as the task has them, sequences as the model has them."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from support.clip_set import STRIDE, prepare_clip_set, tiny_weak_config

from tal_jax.data import annotations
from tal_jax.data.batches import detection_batches
from tal_jax.data.dataset import open_split
from tal_jax.detect.cas_by_stage import stage_sequences
from tal_jax.detect.detect import detect
from tal_jax.detect.recording_losses import recording_losses
from tal_jax.detect.report_inputs import read_material
from tal_jax.errors import InputError
from tal_jax.evaluation.detection import parse_tiou
from tal_jax.models.bmn import BMN
from tal_jax.models.joint import Joint
from tal_jax.models.mgfn import activate, scaled
from tal_jax.models.tcanet import TCANet
from tal_jax.report import analyse, compose
from tal_jax.stages.stage import build_stage
from tal_jax.tasks.bmn import BMNTask
from tal_jax.tasks.joint import JointTask
from tal_jax.tasks.tcanet import TCANetTask
from tal_jax.train.history import read_history
from tal_jax.train.loop import train_and_evaluate
from tal_jax.train.progress import Progress
from tal_jax.windows import Framing


def points(workdir, stage="s"):
    return {(p.metric, p.step): p.value for p in read_history(workdir, [stage])}


def log(folder, steps, start=0, scale=1.0):
    progress = Progress(folder, name="s", total=10, start=start)
    for step in steps:
        progress.log(step, {"loss": scale / step if step != 3 else math.nan, "accuracy": 0.25})
    progress.close()


def test_history_is_what_was_logged(tmp_path):
    log(tmp_path / "s", range(1, 6))
    found = points(tmp_path)
    assert found["loss", 2] == 0.5
    assert found["loss", 3] is None
    assert {step for metric, step in found if metric == "loss"} == set(range(1, 6))
    assert {metric for metric, _ in found} == {"loss", "accuracy", "step_seconds", "waiting"}


def test_a_metric_has_one_curve_whatever_events_call_it(tmp_path):
    """TensorBoard's writers put `_` for characters such as @: these curves would be there twice."""
    progress = Progress(tmp_path / "s", name="s", total=10, start=0)
    progress.log(1, {"AR@1": 0.5})
    progress.close()
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(tmp_path / "s")) as writer:
        writer.add_scalar("AR@1", 0.5, 1)
    assert points(tmp_path) == {("AR@1", 1): 0.5}


def test_a_run_that_went_on_from_a_checkpoint_counts_from_there(tmp_path):
    log(tmp_path / "s", range(1, 8))
    log(tmp_path / "s", range(5, 7), start=4, scale=30.0)
    loss = {step: value for (metric, step), value in points(tmp_path).items() if metric == "loss"}
    assert loss == {1: 1.0, 2: 0.5, 3: None, 4: 0.25, 5: 6.0, 6: 5.0}


def test_damaged_histories(tmp_path):
    log(tmp_path / "s", range(1, 4))
    path = tmp_path / "s" / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 4, "lo')
    assert {step for metric, step in points(tmp_path) if metric == "loss"} == {1, 2, 3}
    path.write_text('["no object"]\n' + path.read_text())
    with pytest.raises(InputError, match="line 1 is damaged"):
        points(tmp_path)
    assert points(tmp_path, "nothing") == {}
    path.write_bytes(b"\xff\xfe" + path.read_bytes())
    with pytest.raises(
        InputError, match=r"metrics\.jsonl: damaged, byte 0 is not UTF-8 text: restore it, or remove it"
    ):
        points(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weak")
    prepare_clip_set(folder)
    return folder


@pytest.fixture(scope="module")
def stage(folder):
    """A cascade with two branches, not trained."""
    return build_stage(tiny_weak_config(folder / "data", "ccm").to_dict(), "mgfn", folder / "bare")


def first_params(stage, batch):
    return stage.task.init(jax.random.key(1), batch)


def test_losses_are_those_of_the_task(stage, folder):
    split = open_split(folder / "data", "validation")
    index = np.arange(len(split))
    assembler = dataclasses.replace(stage.assembler, framing=Framing("window", 16))
    _, batches = detection_batches(split, assembler, index=index, batch_size=1)
    rows = [(batch, int(origin.index[0])) for batch, origin in batches]
    assert len(rows) > len(split)
    params = first_params(stage, rows[0][0])
    losses = recording_losses(stage.task, params, split, assembler, index=index[::-1], batch_size=3)
    expected, weight = np.zeros(len(split)), np.zeros(len(split))
    loss_of = jax.jit(lambda batch: stage.task.loss(params, batch, jax.random.key(5))[0])
    for batch, position in rows:
        expected[position] += float(loss_of(batch)) * batch.mask.sum()
        weight[position] += batch.mask.sum()
    np.testing.assert_allclose(losses[::-1], expected / weight, rtol=1e-4)
    assert len(set(losses.round(6))) == len(split)


def test_losses_are_without_noise():
    noisy = TCANetTask(TCANet(num_classes=2, stages=3, dropout=0.5), jitter=0.3)
    quiet = noisy.without_noise()
    assert (quiet.jitter, quiet.model.dropout) == (0.0, 0.0)
    still = dataclasses.replace(noisy, jitter=0.0, model=noisy.model.clone(dropout=0.0))
    assert quiet == still
    both = JointTask(Joint(BMN(durations=4), noisy.model), BMNTask(BMN(durations=4)), noisy).without_noise()
    assert (both.tcanet.jitter, both.tcanet.model.dropout, both.model.tcanet.dropout) == (0.0, 0.0, 0.0)


def test_sequences_are_those_of_the_model(stage, folder):
    split = open_split(folder / "data", "validation")
    labels = stage.trained_on.labels
    _, batches = detection_batches(split, stage.assembler, index=[0, 2], batch_size=1)
    rows = [batch for batch, _ in batches]
    params = first_params(stage, rows[0])
    present = {0: frozenset(["action_0"]), 2: frozenset(["action_1", "not of the model"])}
    found = stage_sequences(stage.task, params, split, stage.assembler, present=present, labels=labels, batch_size=2)

    def first_branch_alone():
        """The other branches' outputs are 0: H = H_0."""
        cascade = params["params"]["cascade"]
        others = [f"out{rate}" for rate in stage.task.model.dilations[1:]]
        zero = {name: jax.tree.map(np.zeros_like, cascade["stage1"][name]) for name in others}
        assert zero
        return {"params": {**params["params"], "cascade": {**cascade, "stage1": {**cascade["stage1"], **zero}}}}

    outputs = jax.jit(stage.task.forward)
    for position, batch in zip((0, 2), rows, strict=True):
        output, probabilities = outputs(params, batch)
        alone, _ = outputs(first_branch_alone(), batch)
        expected = {
            "simple": alone.stages[0].sequence, "multi-dilated": output.stages[0].sequence,
            "second stage": output.stages[1].sequence, "cascade": output.sequence,
        }  # fmt: skip
        assert list(found[position]) == list(expected)
        likely = np.flatnonzero(probabilities[0] >= stage.task.decoding.class_threshold).tolist()
        true = present[position] & set(labels)
        shown = true | {labels[k] for k in (*likely, int(np.argmax(probabilities[0])))}
        for name, sequence in expected.items():
            cas = np.asarray(scaled(activate(sequence, stage.task.model.activation), batch.mask))[0, batch.mask[0]]
            curve = found[position][name]
            assert set(curve.of_class) == shown
            assert curve.stride == pytest.approx(float(batch.stride[0]))
            for label, values in curve.of_class.items():
                np.testing.assert_allclose(values, cas[:, labels.index(label)], atol=1e-4)


def test_windows_become_one_sequence(stage, folder):
    split = open_split(folder / "data", "validation")
    assembler = dataclasses.replace(stage.assembler, framing=Framing("window", 16))
    params = first_params(stage, next(iter(detection_batches(split, assembler, index=[0], batch_size=1)[1]))[0])
    found = stage_sequences(
        stage.task, params, split, assembler, present={0: frozenset(["action_0"])}, labels=stage.trained_on.labels,
        batch_size=2,
    )[0]["multi-dilated"]  # fmt: skip
    outputs = jax.jit(stage.task.forward)
    total, count = np.zeros(int(split.num_snippets[0])), np.zeros(int(split.num_snippets[0]))
    for batch, origin in detection_batches(split, assembler, index=[0], batch_size=1)[1]:
        output, _ = outputs(params, batch)
        values = np.asarray(activate(output.stages[0].sequence, stage.task.model.activation))[0, batch.mask[0], 0]
        first = round(float(origin.offset[0]) / STRIDE)
        total[first : first + len(values)] += values
        count[first : first + len(values)] += 1
    assert count.max() >= 2
    mean = total / count
    np.testing.assert_allclose(found.of_class["action_0"], (mean - mean.min()) / np.ptp(mean), atol=1e-4)


def test_a_workdir_in_the_page(folder):
    config = tiny_weak_config(folder / "data", "cas")
    config.stages.mgfn.steps = 2
    work = folder / "work"
    train_and_evaluate(config.to_dict(), work)
    recordings = annotations.read(folder / "annotations.json")
    run = analyse("found", recordings, detect(work, "validation"), "validation", parse_tiou("0.5"))
    found = read_material("work", str(work), run.selection, "validation", pictured=2)
    assert set(found.losses) == set(run.selection.recordings)
    assert (found.loss_of, {p.stage for p in found.history}) == ("mgfn", {"mgfn"})
    assert len(found.sequences) == 2
    report = compose([run], recordings, [found, dataclasses.replace(found, name="again")], title="t", shown=5)
    assert {f.name for f in report.figures if f.section == "training"} == {"training_mgfn"}
    first = next(iter(report.content["sequences"].values()))
    assert [panel["name"] for panel in first] == ["work: simple", "again: simple"]
    assert [loss["name"] for loss in report.content["losses"]] == ["work", "again"]
    other = dataclasses.replace(run.selection, recordings=tuple(f"x{i}" for i in range(len(run.selection.recordings))))
    with pytest.raises(InputError, match="none of the 4 recordings"):
        read_material("work", str(work), other, "validation")
