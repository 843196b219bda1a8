"""Steps compiled for TPU topologies, for real where libtpu is installed."""

import importlib.util
import json

import pytest
from support.clip_set import tiny_weak_config
from support.commands import run
from support.sensor_set import tiny_config

from tal_jax.configs import supervised
from tal_jax.errors import InputError
from tal_jax.experiments import encoder_cost
from tal_jax.experiments import tpu_cost as topology

with_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed: pip install libtpu"
)
SIZES = {"snippets": 32, "channels": 8, "classes": 3}


def config_of(stage):
    if stage in ("trimmed", "mgfn"):
        config = tiny_weak_config("", "full")
        config.stages.mgfn.model.anchors = (4.0, 8.0)
        return config.to_dict()
    config = tiny_config("")
    supervised.choose_classes(config, "classifier")
    return config.to_dict()


def compiled(stage, name, rows=0):
    return topology.compile_for(config_of(stage), stage, name, rows=rows, proposals=8, **SIZES)


@with_libtpu
@pytest.mark.parametrize(("name", "devices"), [("v5e:2x2", 4), ("v5e:16x16", 256)])
@pytest.mark.parametrize("stage", ["bmn", "tcanet", "classifier", "trimmed", "mgfn"])
def test_every_task_compiles(stage, name, devices):
    found = compiled(stage, name)
    assert found["devices"] == devices
    assert found["fits"]
    for step in ("train", "predict"):
        assert found[step]["flops"] > 0
        assert 0 < found[step]["bytes"] < found["memory_bytes"]
    # The devices agree on gradients; a recording's predictions are nobody else's matter.
    assert found["train"]["collectives"].get("all-reduce", 0) > 0
    assert not found["predict"]["collectives"]
    assert "does not fit" not in "\n".join(topology.lines(found, stage, ["train", "predict"]))


@with_libtpu
@pytest.mark.parametrize("name", ["v4:2x2x1", "v5p:2x2x1", "v6e:2x2"])
def test_other_generations(name):
    found = compiled("bmn", name)
    assert found["fits"]
    chips = 4
    assert found["memory_bytes"] * found["devices"] == topology.MEMORY[name.split(":")[0]] * 2**30 * chips


@with_libtpu
def test_what_does_not_fit_is_said_by_status_1(tmp_path):
    out = tmp_path / "f.json"
    result = run(
        "compile", "--config=configs/supervised_activitynet.py", "--stage=bmn", "--topology=v5e:1x1", "--batch=4096",
        "--channels=400", f"--json={out}",
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    assert "does not fit" in result.stderr
    assert not json.loads(out.read_text())["fits"]


@with_libtpu
def test_both_steps_have_to_fit(monkeypatch):
    found = compiled("bmn", "v5e:2x2")
    train, predict = found["train"]["bytes"], found["predict"]["bytes"]
    assert train > predict
    monkeypatch.setitem(topology.MEMORY, "v5e", (train + predict) / 2 / 2**30)
    assert not compiled("bmn", "v5e:2x2")["fits"]


@with_libtpu
def test_batches_divide_over_the_devices():
    with pytest.raises(InputError, match="--batch_size=6: does not divide over 4 devices"):
        compiled("bmn", "v5e:2x2", rows=6)


def test_topologies_are_named(monkeypatch):
    for name in ("v9:2x2", "v5e", "v5e:2", "v5e:2xx"):
        with pytest.raises(InputError, match="give one of v4, v5e, v5p, v6e and its shape"):
            compiled("bmn", name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="libtpu is not installed: pip install"):
        compiled("bmn", "v5e:2x2")


@with_libtpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_encoder_compiles(dtype):
    found = encoder_cost.compile_encoder("tsm_resnet50", "v5e:2x2", dtype=dtype)
    assert (found["devices"], found["clips"], found["images"]) == (4, 4, 32)
    assert found["fits"]
    # 4.1 GFLOP, as products and sums count, an image of 224 x 224 (He et al., table 1).
    assert found["encode"]["flops"] == pytest.approx(32 * 2 * 4.1e9, rel=0.1)
    assert not found["encode"]["collectives"]


@pytest.mark.parametrize(("name", "words"), [("i3d_flow", "sees optical flow"), ("i3f", "did you mean 'i3d'")])
def test_encoders_that_do_not_see_images_are_refused(name, words):
    with pytest.raises(InputError, match=words):
        encoder_cost.compile_encoder(name, "v5e:2x2")


def test_stages_and_encoders_are_one_or_the_other():
    for arguments in (
        ["--encoder=tsm_resnet50", "--config=configs/supervised_hacs.py", "--stage=bmn"],
        ["--config=configs/supervised_hacs.py"],
        ["--stage=bmn"],
    ):
        result = run("compile", "--topology=v5e:2x2", *arguments)
        assert result.returncode == 2
        assert "one of them" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--encoder=tsm_resnet50", "--snippets=100"], "--snippets does not go with --encoder: leave it out"),
        (["--encoder=tsm_resnet50", "--channels=2304"], "--channels does not go with --encoder: leave it out"),
        (
            ["--config=configs/supervised_hacs.py", "--stage=bmn", "--dtype=float32"],
            "--dtype does not go with --config: leave it out",
        ),
    ],
)
def test_flags_of_the_other_kind(arguments, words):
    ended = run("compile", "--topology=v5e:2x2", *arguments)
    assert ended.returncode == 2
    assert ended.stderr == f"launch.compile: error: {words}\n"
