"""The configs of Table 1's encoders: every variant builds, and each track trains on a two-stream set."""

import dataclasses
import json

import numpy as np
import pytest
from support.clip_set import tiny_weak_config
from support.runs import losses
from support.sensor_set import STRIDE, tiny_config, write_files

from tal_jax.configs import encoders_hacs, supervised_hacs, weak_hacs
from tal_jax.configs.encoders_hacs import ENCODERS, get_config, variants
from tal_jax.data.dataset import Metadata
from tal_jax.data.framing import choose_framing
from tal_jax.errors import InputError
from tal_jax.prepare.plan import Options
from tal_jax.prepare.prepare import prepare
from tal_jax.stages.config import parse
from tal_jax.stages.methods import build_task
from tal_jax.stages.stage import build_stage
from tal_jax.train.loop import train_and_evaluate
from tal_jax.train.optimizer import build_optimizer

SET = "tsn"  # the narrowest encoder: the set has its published widths


@pytest.mark.parametrize("variant", variants())
def test_every_variant_builds(variant):
    config = parse(get_config(variant).to_dict())
    assert set(config.data.widths) == set(config.data.streams)
    lengths = tuple(1.5 * x for x in (1, 1, 2, 4, 5, 6, 8, 9, 10))
    labels = tuple(f"c{i:03d}" for i in range(200))
    data = Metadata(
        labels,
        dict(config.data.widths),
        8 / 15,
        {"training": 100},
        lengths,
        {},
        20,
        dict.fromkeys(config.data.widths, "float16"),
        "f",
    )
    for name in config.track:
        section = config.stages[name]
        framing = choose_framing(data, 1500, **section.data.framing_fields())
        build_task(section, data, framing, name)
        build_optimizer(section.optimizer, section.steps)


@pytest.mark.parametrize(
    ("variant", "streams", "width", "base"),
    [
        ("supervised-slowfast", ("slowfast_rgb", "slowfast_flow"), 2304, supervised_hacs.get_config()),
        ("supervised-tsn-flow-released", ("tsn_flow",), 1024, supervised_hacs.get_config("released")),
        ("weak-tsm", ("tsm_rgb", "tsm_flow"), 2048, weak_hacs.get_config()),
        ("weak-tin-rgb-ccm", ("tin_rgb",), 2048, weak_hacs.get_config("ccm")),
        ("weak-p3d-cas", ("p3d_rgb", "p3d_flow"), 2048, weak_hacs.get_config("cas")),
    ],
)
def test_a_variant_is_its_tracks_config_on_other_streams(variant, streams, width, base):
    config = get_config(variant)
    assert (config.data.streams, config.data.widths.to_dict()) == (streams, dict.fromkeys(streams, width))
    config.data.streams, config.data.widths = (), {}
    assert config.to_dict() == base.to_dict()


def test_table_1():
    """Five pairs, named as the report does; both tracks have each of them, in both streams and in either."""
    pairs = {(e.rgb, e.flow) for e in ENCODERS.values()}
    assert len(pairs) == 5
    for name, encoder in ENCODERS.items():
        assert encoder.rgb.lower().startswith(name)
        assert encoder.flow.lower().startswith(f"{name if name != 'slowfast' else 'slowfast101'}_flow_")
    assert [name for name, e in ENCODERS.items() if e.rgb.split("_")[-1] != e.flow.split("_")[-1]] == ["p3d"]
    assert len([v for v in variants() if v.count("-") == 1]) == 2 * 5
    assert len(variants()) == 5 * 3 * ((1 + 4) + (1 + 5))


def test_a_finer_stride_has_more_snippets_in_the_same_time(monkeypatch):
    finer = dataclasses.replace(ENCODERS["tin"], stride=4 / 15)
    monkeypatch.setitem(encoders_hacs.ENCODERS, "tin", finer)
    assert get_config("supervised-tin").stages.tcanet.data.snippets == 2000
    assert get_config("supervised-tsm").stages.tcanet.data.snippets == 1000


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("supervised-slowfst", "supervised-slowfast"),
        ("weak-tsm-ktn", "weak-tsm-ktm"),
        ("weak-tsm-flow-head", "weak-tsm-flow-"),
        ("Supervised-TSM", "supervised-tsm"),
        ("", ""),
    ],
)
def test_unknown_variant_suggests_the_nearest(given, nearest):
    with pytest.raises(ValueError, match=rf"no variant {given!r} .*did you mean '{nearest}") as error:
        get_config(given)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """FOLDER/data: the sensor set's recordings and some clips, as two streams of 1024 channels."""
    folder = tmp_path_factory.mktemp("encoders")
    database = write_files(folder)
    rng = np.random.default_rng(1)
    widths = {f"{SET}_{stream}": ENCODERS[SET].channels for stream in encoders_hacs.STREAMS}
    clips = {f"c{i}": {"subset": "training", "annotations": [{"label": f"action_{i % 2}"}]} for i in range(8)}
    (folder / "clips.json").write_text(json.dumps({"database": clips}))
    for stream, width in widths.items():
        (folder / stream).mkdir()
        (folder / f"{stream}_clips").mkdir()
        mixing = rng.normal(size=(3, width)).astype(np.float32)  # the signal, spread over all channels
        for id in database:
            np.save(folder / stream / f"{id}.npy", np.load(folder / "features" / f"{id}.npy") @ mixing)
        for i, id in enumerate(clips):
            np.save(folder / f"{stream}_clips" / f"{id}.npy", np.eye(3, dtype=np.float32)[[i % 2] * 6] @ mixing)
    prepare(
        Options(
            annotations=str(folder / "annotations.json"), features={s: str(folder / s) for s in widths},
            clips=str(folder / "clips.json"), clip_features={s: str(folder / f"{s}_clips") for s in widths},
            stride=str(STRIDE), out=str(folder / "data"), dtype="float32", workers=1,
        )
    )  # fmt: skip
    return folder / "data"


def tiny(data, variant):
    """The variant's data section and track, with the smallest models and a few steps."""
    wanted = get_config(variant)
    config = tiny_config(data) if variant.startswith("supervised") else tiny_weak_config(data, variant.split("-")[-1])
    assert config.track == wanted.track
    config.data = wanted.data
    config.data.update(dir=str(data), holdout=0.0)
    config.log_every_steps = 1
    for name in config.track:
        config.stages[name].steps = 3
    return config


@pytest.mark.parametrize(("variant", "stage"), [(f"supervised-{SET}", "bmn"), (f"weak-{SET}-cas", "mgfn")])
def test_each_track_trains_on_two_streams(data, tmp_path, variant, stage):
    """One stage of each, as compiling takes most of the time."""
    config = tiny(data, variant).to_dict()
    train_and_evaluate(config, tmp_path, stage)
    found = losses(tmp_path, stage)
    assert sorted(found) == [1, 2, 3]
    assert np.isfinite(list(found.values())).all()
    built = build_stage(config, stage, tmp_path).assembler
    assert (built.streams, built.width) == ((f"{SET}_rgb", f"{SET}_flow"), 2048)


@pytest.mark.parametrize(
    ("variant", "widths", "says"),
    [
        ("supervised-slowfast", {}, "no stream 'slowfast_rgb' in .*tsn_rgb"),
        (
            f"weak-{SET}-full",
            {"tsn_flow": 1000},
            "stream 'tsn_flow' has 1024 channels, not the 1000 .*widths.tsn_flow=1024",
        ),
    ],
)
def test_features_of_another_encoder_are_refused(data, tmp_path, variant, widths, says):
    config = tiny(data, variant)
    config.data.widths.update(widths)
    with pytest.raises(InputError, match=says):
        build_stage(config.to_dict(), config.track[0], tmp_path)


def test_one_stream_of_the_set(data, tmp_path):
    config = tiny(data, f"supervised-{SET}-flow").to_dict()
    stage = build_stage(config, "bmn", tmp_path)
    assert (stage.assembler.streams, stage.assembler.width) == (("tsn_flow",), 1024)
