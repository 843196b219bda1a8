"""From PyTorch's state dicts to a workdir that detects and trains on, and back."""

import functools
import json
import shutil

import jax
import numpy as np
import pytest
from support import published
from support.commands import run
from support.runs import losses
from support.sensor_set import prepare_set, tiny_config

from tal_jax.convert import state_dict
from tal_jax.convert.convert import convert, revert
from tal_jax.convert.families import FAMILIES
from tal_jax.data import class_scores, proposals
from tal_jax.detect.detect import detect
from tal_jax.errors import InputError
from tal_jax.train.checkpoint import restore_params
from tal_jax.train.loop import train_and_evaluate

pytestmark = pytest.mark.slow

T, C = 32, 4
KIND = {"bmn": "bmn_mmaction2", "tcanet": "tcanet_mmaction2"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A prepared set of four channels, class scores, and checkpoints of both kinds as .safetensors."""
    folder = tmp_path_factory.mktemp("convert")
    ids = prepare_set(folder, channels=C)
    class_scores.write(
        folder / "scores.parquet", ("action_0", "action_1"), ((i, np.array([0.9, 0.4], np.float32)) for i in ids)
    )
    for kind, family in KIND.items():
        shapes = published.SHAPES[family](C, T, **published.SMALL[kind])
        rng = np.random.default_rng(0)
        state = {name: (0.2 * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}
        state |= {name: make(T) for name, make in FAMILIES[family].constants.items()}
        state_dict.write(folder / f"{kind}.safetensors", state, ".safetensors")
    return folder


def config(folder, **sizes):
    found = tiny_config(folder / "data", encoders=1)
    for stage in (found.stages.bmn, found.stages.tcanet):
        stage.data.update(snippets=T, scale=1.0)
    found.stages.tcanet.class_scores = str(folder / "scores.parquet")
    found.stages.bmn.options.nms_sigma = 0.3  # the family has its own
    for key, value in sizes.items():
        found.stages.bmn.data[key] = value
    return found.to_dict()


@pytest.fixture(scope="module")
def converted(folder, tmp_path_factory):
    """Both checkpoints in one workdir."""
    workdir = tmp_path_factory.mktemp("workdir")
    for kind, family in KIND.items():
        done = convert(family, folder / f"{kind}.safetensors", config(folder), workdir)
        assert done.stage == kind
        assert done.parameters == sum(x.size for x in jax.tree.leaves(restore_params(workdir, kind)))
    return workdir


def test_what_a_conversion_leaves(folder, converted):
    stored = json.loads((converted / "config.json").read_text())
    assert stored["stages"]["bmn"]["model"]["sampling"] == "truncated"  # kept by the second conversion
    assert stored["stages"]["bmn"]["model"]["durations"] == T
    assert stored["stages"]["bmn"]["options"]["nms_sigma"] == 0.4
    assert stored["stages"]["tcanet"]["model"]["norm_epsilon"] == 1e-6
    assert stored["stages"]["tcanet"]["options"]["fuse"] == "all"
    for kind in KIND:
        own = json.loads((converted / kind / "config.json").read_text())
        assert own["stages"][kind] == stored["stages"][kind]
        assert not (converted / kind / "finished.json").exists()
    found = proposals.read(converted / "bmn" / "proposals.parquet")
    assert sorted(found) == [f"r{i:02d}" for i in range(12)]


def test_it_detects_trains_on_and_goes_back(folder, converted):
    submission = detect(converted, "validation")
    assert len(submission.table) > 0
    state = state_dict.read(folder / "bmn.safetensors")
    revert(KIND["bmn"], folder / "same.safetensors", converted)
    back = state_dict.read(folder / "same.safetensors")
    assert back.keys() == state.keys()
    for name, x in state.items():
        np.testing.assert_array_equal(back[name], x, err_msg=name)

    before = restore_params(converted, "tcanet")
    stored = json.loads((converted / "config.json").read_text())
    train_and_evaluate(stored, converted, "tcanet")
    assert list(losses(converted, "tcanet")) == [1, 2, 3, 4]
    # The average of the parameters begins with the converted ones: it has hardly moved.
    after = restore_params(converted, "tcanet")
    moved = [np.abs(a - b).max() for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)]
    assert 0 < max(moved) < 0.05
    revert(KIND["tcanet"], folder / "trained.safetensors", converted)
    trained = state_dict.read(folder / "trained.safetensors")
    start = state_dict.read(folder / "tcanet.safetensors")
    assert {k: x.shape for k, x in trained.items()} == {k: x.shape for k, x in start.items()}
    with pytest.raises(InputError, match="exists already"):
        revert(KIND["tcanet"], folder / "trained.safetensors", converted)


def refused(words, family, folder, file, settings, workdir):
    with pytest.raises(InputError, match=words) as error:
        convert(family, folder / file, settings, workdir)
    assert "\n" not in str(error.value)
    assert not (workdir / "bmn" / "checkpoints").exists()


def test_what_does_not_fit_is_refused(folder, tmp_path):
    settings = config(folder)
    refused("no such family", "bmn_other", folder, "bmn.safetensors", settings, tmp_path)
    refused("not a checkpoint of bmn_mmaction2", "bmn_mmaction2", folder, "tcanet.safetensors", settings, tmp_path)
    refused("sample_mask .*another --family", "bmn_jjboy", folder, "bmn.safetensors", settings, tmp_path)
    left_open = config(folder, snippets=0)
    refused(f"data.snippets is 0.*data.snippets={T}", "bmn_mmaction2", folder, "bmn.safetensors", left_open, tmp_path)
    other = config(folder, snippets=16)
    refused(f"sample_mask .* T = {T}", "bmn_mmaction2", folder, "bmn.safetensors", other, tmp_path)
    refused("population", "bmn_mmaction2", folder, "bmn.safetensors", settings | {"population": 2}, tmp_path)
    track = settings | {"track": ("tcanet",)}
    refused("no bmn stage in the track", "bmn_mmaction2", folder, "bmn.safetensors", track, tmp_path)
    refused("no such file", "bmn_mmaction2", folder, "none.safetensors", settings, tmp_path)
    prepare_set(tmp_path / "three")
    three = settings | {"data": settings["data"] | {"dir": str(tmp_path / "three" / "data")}}
    refused("of 4 channels, .* has 3", "bmn_mmaction2", folder, "bmn.safetensors", three, tmp_path)


def test_begun_stages_are_left_alone(folder, converted, tmp_path):
    with pytest.raises(InputError, match="stage bmn has begun"):
        convert(KIND["bmn"], folder / "bmn.safetensors", config(folder), converted)
    with pytest.raises(InputError, match=r"bmn_jjboy cannot express .*model.sampling is 'truncated' instead of"):
        revert("bmn_jjboy", tmp_path / "x.safetensors", converted)
    assert not list(tmp_path.iterdir())


def test_damaged_configs_of_begun_stages_are_refused(folder, converted, tmp_path):
    """One that is nested without end was a traceback."""
    workdir = shutil.copytree(converted, tmp_path / "w")
    shutil.rmtree(workdir / "tcanet")
    (workdir / "bmn" / "config.json").write_text("[" * 100_000)
    refuse = functools.partial(convert, KIND["tcanet"], folder / "tcanet.safetensors", config(folder), workdir)
    with pytest.raises(InputError, match=r"bmn/config\.json: damaged, nested without end: restore it, or remove"):
        refuse()


def test_models_of_this_project_cannot_become_theirs(converted, tmp_path):
    """Another variant, a head that PyTorch's model does not have."""
    shutil.copytree(converted, tmp_path / "w")
    for path in (tmp_path / "w" / "config.json", tmp_path / "w" / "tcanet" / "config.json"):
        stored = json.loads(path.read_text())
        stored["stages"]["tcanet"]["model"].update(variant="report", snippet_head=True)
        path.write_text(json.dumps(stored))
    with pytest.raises(InputError, match=r"model.variant is 'report' instead of 'released'.*snippet_head is True"):
        revert(KIND["tcanet"], tmp_path / "x.safetensors", tmp_path / "w")
    assert not (tmp_path / "x.safetensors").exists()


def test_the_command(folder, tmp_path):
    """A .pth there and back as a user types it, trained with the config that lies in the workdir."""
    torch = pytest.importorskip("torch", reason="reading .pth needs the extra torch")
    state = {k: torch.from_numpy(x) for k, x in state_dict.read(folder / "bmn.safetensors").items()}
    torch.save({"state_dict": {f"module.{k}": x for k, x in state.items()}, "epoch": 9}, tmp_path / "bmn.pth")
    (tmp_path / "config.py").write_text(
        "import json\nfrom ml_collections import ConfigDict\n\n\ndef get_config():\n"
        f"    return ConfigDict(json.loads({json.dumps(json.dumps(config(folder), default=list))}))\n"
    )
    workdir = tmp_path / "w"
    arguments = ("--family=bmn_mmaction2", f"--checkpoint={tmp_path / 'bmn.pth'}", f"--workdir={workdir}")
    without = run("convert", *arguments)
    assert (without.returncode, without.stderr.count("\n")) == (2, 1)
    assert "--config is missing" in without.stderr
    done = run("convert", *arguments, f"--config={tmp_path / 'config.py'}")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "stages.bmn.model.sampling: '' -> 'truncated'" in done.stdout
    trained = run("train", f"--config={workdir / 'config.py'}", f"--workdir={workdir}", "--stage=bmn")
    assert trained.returncode == 0, trained.stderr
    assert list(losses(workdir, "bmn")) == [1, 2, 3, 4]
    back = (*arguments[:1], f"--checkpoint={tmp_path / 'new.pth'}", arguments[2], "--reverse")
    reverse = run("convert", *back)
    assert reverse.returncode == 0, reverse.stderr
    found = torch.load(tmp_path / "new.pth", weights_only=True)
    assert {k: x.shape for k, x in found.items()} == {k: x.shape for k, x in state.items()}
    again = run("convert", *back)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
