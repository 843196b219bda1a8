"""Steps compiled for TPU topologies, for real where libtpu is installed."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from support import small_encoder
from support.clip_set import tiny_weak_config
from support.commands import run
from support.packed_set import recognition_config
from support.sensor_set import tiny_config

from tal_jax.configs import supervised
from tal_jax.errors import InputError
from tal_jax.experiments import encoder_cost, flow_cost
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


@with_libtpu
def test_an_encoder_of_flow_compiles():
    with small_encoder.known():
        found = encoder_cost.compile_encoder("learner_flow", "v5e:2x2", clips=8)
    assert found["fits"]
    assert (found["clips"], found["images"]) == (2, 2 * (3 + 1))  # stacks of two fields overlap
    assert found["encode"]["flops"] > 0


def test_an_encoder_that_there_is_not_is_refused():
    with pytest.raises(InputError, match="did you mean 'i3d'"):
        encoder_cost.compile_encoder("i3f", "v5e:2x2")


@with_libtpu
@pytest.mark.parametrize(("encoder", "channels"), [("learner", 3), ("learner_flow", 4)])
def test_a_stage_that_sees_images_compiles(encoder, channels):
    config = recognition_config(views=2)
    config.stages.recognition.model.encoder = encoder
    with small_encoder.known():
        found = topology.compile_for(config.to_dict(), "recognition", "v5e:2x2", classes=5)
    assert found["fits"]
    assert (found["batch"], found["snippets"], found["channels"], found["proposals"]) == (8, 3, channels, 0)
    # Statistics of the whole batch, forwards and backwards; a clip's probabilities are nobody else's matter.
    assert found["train"]["collectives"]["all-reduce"] >= 4
    assert not found["predict"]["collectives"]
    # Both passes through one view, forwards through two, which the memory has to hold.
    own = 8 // 4 * 3 * 32 * 32 * channels
    assert found["predict"]["bytes"] > 2 * own
    assert min(found[step]["estimated_seconds"] for step in ("train", "predict")) > 0
    # The normalised images, and of two convolutions what comes out of them and of their norms.
    seen = 3 * (32 * 32 * channels + 2 * 8 * 8 * 8 + 2 * 4 * 4 * 16)
    assert 4 * seen < found["kept_bytes"] < 4 * 2 * seen


@with_libtpu
def test_loops_count_as_often_as_they_run():
    def loops(x, count):
        return jax.lax.fori_loop(0, count, lambda _, x: jnp.sin(x @ x), x)

    def nested(x):
        return jax.lax.fori_loop(0, 4, lambda _, x: loops(x, 5), x)

    devices, _ = topology.devices_of("v5e:2x2")
    there = NamedSharding(Mesh(np.asarray(devices[:1]), ("batch",)), PartitionSpec())
    x = jax.ShapeDtypeStruct((256, 256), jnp.float32)

    def seconds(function):
        return topology.compiled("v5e:2x2", jax.jit(function, in_shardings=there), x)["estimated_seconds"]

    few, many = seconds(lambda x: loops(x, 20)), seconds(lambda x: loops(x, 200))
    assert many / few == pytest.approx(10, rel=0.1)
    assert seconds(nested) == pytest.approx(few, rel=0.1)


@with_libtpu
@pytest.mark.parametrize(("name", "loops"), [("opencv", 5 * 10 * 30), ("denseflow", 5 * 300)])
def test_flow_compiles(name, loops):
    found = flow_cost.compile_flow(name, "v5e:2x2", rows=24, columns=30)
    assert found["fits"]
    assert (found["pairs"], found["iterations"]) == (flow_cost.PAIRS, 2 * loops)  # at two scales
    assert found["flow"]["endless_loops"] == 0
    assert found["seconds_per_pair"] > 0
    assert 0.5 < found["iteration_share"] < 1
    assert not found["flow"]["collectives"]
    assert "H200" in "\n".join(flow_cost.lines(found))


@with_libtpu
def test_pairs_divide_over_the_devices():
    with pytest.raises(InputError, match="--batch_size=6: does not divide over 4 devices"):
        flow_cost.compile_flow("opencv", "v5e:2x2", pairs=6)


def test_flow_is_of_a_kind():
    with pytest.raises(InputError, match="--flow=opencw: no such flow; did you mean 'opencv'"):
        flow_cost.compile_flow("opencw", "v5e:2x2")


def test_what_iterations_move():
    pixels = 340 * 256 + 272 * 205 + 218 * 164 + 174 * 131 + 139 * 105
    found = flow_cost.gpu_seconds(256, 340, flow_cost.SETTINGS["denseflow"])
    assert found["H200"] == pytest.approx(22 * 4 * pixels * 1500 / 4.8e12)


def test_stages_and_encoders_are_one_or_the_other():
    for arguments in (
        ["--encoder=tsm_resnet50", "--config=configs/supervised_hacs.py", "--stage=bmn"],
        ["--config=configs/supervised_hacs.py"],
        ["--stage=bmn"],
        ["--flow=opencv", "--encoder=tsm_resnet50"],
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
        (["--flow=opencv", "--dtype=float32"], "--dtype does not go with --flow: leave it out"),
        (["--flow=opencv", "--classes=4"], "--classes does not go with --flow: leave it out"),
    ],
)
def test_flags_of_the_other_kind(arguments, words):
    ended = run("compile", "--topology=v5e:2x2", *arguments)
    assert ended.returncode == 2
    assert ended.stderr == f"launch.compile: error: {words}\n"
