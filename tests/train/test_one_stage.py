"""The one-stage track end to end on tiny files: resumed, windowed, exported, averaged, refined, converted."""

import json

import jax
import numpy as np
import pytest
from support.runs import Killed, at_step, losses
from support.sensor_set import STRIDE, prepare_set
from support.sensor_set import tiny_config as two_stages

from tal_jax.configs import onestage_geotec
from tal_jax.convert.convert import convert, revert
from tal_jax.data import proposals
from tal_jax.deploy.detect import detect as detect_files
from tal_jax.deploy.export import export
from tal_jax.detect.detect import detect
from tal_jax.detect.ensemble_members import open_runs
from tal_jax.detect.ensemble_outputs import detect_together
from tal_jax.errors import InputError
from tal_jax.stages.config import default_stage
from tal_jax.tasks.task import STATISTICS
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import train_and_evaluate

pytestmark = pytest.mark.slow
NAME = "actionformer"
MODEL = {"hidden": 16, "levels": 3, "stem_blocks": 1, "heads": 2, "windows": (5,), "ffn": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared set of recordings that are longer than the frame."""
    folder = tmp_path_factory.mktemp("set")
    prepare_set(folder, length=40)
    return folder


def tiny(folder, **model):
    config = onestage_geotec.get_config()
    config.data.dir = str(folder / "data")
    config.log_every_steps, config.checkpoint.every_steps = 1, 2
    stage = config.stages[NAME]
    stage.batch_size, stage.steps, stage.eval_every_steps = 4, 4, 0
    stage.optimizer.warmup_steps = 0
    stage.data.snippets = 24
    stage.model.update({**MODEL, **model})
    stage.options.decoding.detections = 20
    return config


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    train_and_evaluate(tiny(folder).to_dict(), workdir)
    return workdir


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_a_stopped_training_goes_on_bit_for_bit(folder, trained, tmp_path, monkeypatch):
    at_step(3, monkeypatch)
    with pytest.raises(Killed):
        train_and_evaluate(tiny(folder).to_dict(), tmp_path)
    train_and_evaluate(tiny(folder).to_dict(), tmp_path)
    assert losses(tmp_path, NAME) == losses(trained, NAME)
    params = restore_params(trained, NAME)
    same(params, restore_params(tmp_path, NAME))
    assert params[STATISTICS]["positives"] != 100.0  # the running number of positives is part of the checkpoint


def test_parts_of_a_batch_are_the_batch(folder, tmp_path):
    config = tiny(folder)
    config.stages[NAME].update(accumulate=2, batch_size=8)
    train_and_evaluate(config.to_dict(), tmp_path)
    assert all(np.isfinite(list(losses(tmp_path, NAME).values())))


def by_recording(submission):
    table = submission.table
    order = np.lexsort((-table.score, table.recording))
    return [
        [x[order][table.recording[order] == i][:5] for x in (table.segments, table.score, table.label)]
        for i in range(len(submission.recordings))
    ]


def alike(a, b):
    for own, other in zip(by_recording(a), by_recording(b), strict=True):
        assert len(own[0])
        np.testing.assert_allclose(own[0], other[0], atol=2e-3)
        np.testing.assert_allclose(own[1], other[1], rtol=1e-3)
        np.testing.assert_array_equal(own[2], other[2])


def test_an_export_detects_what_the_workdir_detects(folder, trained, tmp_path):
    found = detect(trained, "validation")
    assert len(found.recordings) == 4
    export(trained, tmp_path / "model")
    files = [str(folder / "features" / f"{id}.npy") for id in found.recordings]
    alike(found, detect_files(tmp_path / "model", files, stride=STRIDE)[0])
    with pytest.raises(InputError, match=r"record r08: .*r08.npy is of this recording too: give one of them"):
        detect_files(tmp_path / "model", [*files, files[0]], stride=STRIDE)


def test_models_are_averaged_with_themselves(trained):
    alike(detect(trained, "validation"), detect_together(open_runs([trained, trained], "validation"), [0.5, 0.5]))


def test_its_proposals_are_refined_by_tcanet(folder, tmp_path):
    config = two_stages(folder / "data", refinements=1)
    first = default_stage("actionformer_proposals")
    given = tiny(folder).stages[NAME]
    for part in ("data", "optimizer"):
        first[part].update(given[part])
    first.update(batch_size=4, steps=2, eval_every_steps=0)
    first.model.update(MODEL)
    first.options.decoding.detections = 12
    config.track = ("pyramid", "tcanet")
    config.stages = {"pyramid": first, "tcanet": config.stages.tcanet}
    config.stages.tcanet.steps = 2
    train_and_evaluate(config.to_dict(), tmp_path)
    made = proposals.read(tmp_path / "pyramid" / "proposals.parquet")
    assert len(made) == 12
    assert all(len(scores) for _, scores in made.values())
    assert all(len(scores) for _, scores, _ in by_recording(detect(tmp_path, "validation")))


@pytest.mark.parametrize("family", ["actionformer", "tridet", "temporalmaxer"])
def test_a_checkpoint_of_pytorch_becomes_a_stage_and_back(family, folder, tmp_path):
    torch = pytest.importorskip("torch", reason="the PyTorch models need the extra torch")
    from benchmarks.torch_actionformer import OneStage, Sizes

    sizes = {
        "actionformer": Sizes((3,), width=16, head_width=16, heads=2, stem=1, branch=2, windows=(5,) * 3, classes=2),
        "tridet": Sizes((3,), width=16, head_width=8, stem=1, branch=2, windows=(3,) * 3, sgp_factor=1.2, sgp_width=24,
                        classes=2, backbone="sgp", head="trident", bins=4),
        "temporalmaxer": Sizes((3,), width=16, head_width=16, stem=0, branch=2, windows=(), classes=2,
                               backbone="maxpool", neck="group"),
    }[family]  # fmt: skip
    torch.manual_seed(0)
    module = OneStage(sizes)
    state = {f"module.{name}": x for name, x in module.state_dict().items()}
    old = {name: torch.zeros_like(x) for name, x in state.items()}
    torch.save({"epoch": 3, "state_dict": old, "state_dict_ema": state}, tmp_path / "epoch_003.pth.tar")
    config = tiny(folder, kernel_factor=1.2, ffn=16, windows=(5,))
    done = convert(family, tmp_path / "epoch_003.pth.tar", config.to_dict(), tmp_path / "w")
    assert done.parameters == sum(x.numel() for x in module.parameters())
    assert any("model.released: 0 -> 24" in change for change in done.changes)
    assert all(len(scores) for _, scores, _ in by_recording(detect(tmp_path / "w", "validation")))
    revert(family, tmp_path / "back.pth", tmp_path / "w")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == module.state_dict().keys()
    assert all(torch.equal(back[name], x) for name, x in module.state_dict().items())
    # What is trained further begins with it.
    again = json.loads((tmp_path / "w" / "config.json").read_text())
    train_and_evaluate(again, tmp_path / "w")
    assert np.isfinite(list(losses(tmp_path / "w", NAME).values())).all()


def test_a_model_that_does_not_look_at_padding_is_not_the_released_one(trained, tmp_path):
    with pytest.raises(InputError, match=r"model\.released is 0 instead of 24"):
        revert("actionformer", tmp_path / "x.safetensors", trained)
