"""Every config and variant builds, and its whole training and prediction step traces at full size."""

import dataclasses
import importlib

import jax
import pytest

from tal_jax.batch_layout import Sizes
from tal_jax.configs import weak
from tal_jax.convert.families import FAMILIES
from tal_jax.data.dataset import Metadata
from tal_jax.data.framing import choose_framing
from tal_jax.models.tcanet import TCANet
from tal_jax.stages.config import parse
from tal_jax.stages.methods import build_task
from tal_jax.tasks.tcanet import TCANetTask
from tal_jax.train.optimizer import build_optimizer
from tal_jax.types import Batch
from tal_jax.windows import Framing

VARIANTS = ("head", "video", "classifier", "released")
CASES = [
    *((f"supervised_{name}", v) for name in ("hacs", "activitynet", "thumos") for v in VARIANTS),
    ("supervised_hacs", "joint"),
    ("supervised_geotec", ""),
    ("supervised_geotec", "classifier"),
    ("supervised_videos", ""),
    ("supervised_watch", ""),
    ("supervised_watch", "joint"),
    *((f"onestage_{name}", v) for name in ("thumos", "activitynet", "hacs", "epic") for v in ("clean", "released")),
    ("onestage_thumos", "tridet"),
    ("onestage_thumos", "temporalmaxer"),
    ("onestage_hacs", "tridet"),
    ("onestage_epic", "noun"),
    ("onestage_geotec", ""),
    *((f"weak_{name}", row) for name in ("hacs", "activitynet", "thumos", "watch") for row in weak.ROWS),
]


def metadata(name):
    classes, width, stride = {
        "hacs": (200, 2304, 8 / 15), "activitynet": (200, 400, None), "thumos": (20, 2048, 4 / 30),
        "epic": (97, 2304, 16 / 30), "geotec": (4, 60, 0.1), "videos": (9, 1280, 0.1), "watch": (3, 48, 0.2),
    }[name.split("_")[-1]]  # fmt: skip
    lengths = tuple(x * (0.3 if stride == 0.1 else 1.5) for x in (1, 1, 2, 4, 5, 6, 8, 9, 10))
    labels = tuple(f"c{i:03d}" for i in range(classes))
    return Metadata(labels, {"x": width}, stride, {"training": 100}, lengths, {}, 20, {"x": "float16"}, "f")


TRACED = {}


def traced(section, data, framing, stage, pooled):
    """Shapes of a stage's loss, its metrics, pooled clip features and detections, and its task.

    Variants share stages, and a stage is traced once: its section, its frame and its set say all that it depends on.
    """
    key = repr((section, data, framing, stage, pooled))
    if key not in TRACED:
        TRACED[key] = trace(section, data, framing, stage, pooled)
    return TRACED[key]


def trace(section, data, framing, stage, pooled):
    task = build_task(section, data, framing, stage)
    segments = 0 if task.weak else 20
    sizes = Sizes(framing.snippets, data.streams["x"], len(data.labels), segments, section.data.proposals)
    clips = Batch.spec(dataclasses.replace(sizes, clip_features=pooled), 2) if pooled else None
    shapes = Batch.spec(sizes, 2).replace(clips=clips)
    params = jax.eval_shape(task.init, jax.random.key(0), shapes)
    loss, metrics = jax.eval_shape(task.loss, params, shapes, jax.random.key(1))
    output = jax.eval_shape(task.forward, params, shapes)[0] if section.task == "trimmed" else None
    return task, loss, metrics, output, jax.eval_shape(task.predict, params, shapes)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_config_builds_and_traces(name, variant):
    module = importlib.import_module(f"configs.{name}")
    config = parse((module.get_config(variant) if variant else module.get_config()).to_dict())
    data, pooled = metadata(name), 0
    data = data.without_segments() if name.startswith("weak") else data
    for stage in config.track:
        section = config.stages[stage]
        framing = choose_framing(data, 1500, **section.data.framing_fields())
        build_optimizer(section.optimizer, section.steps)
        task, loss, metrics, output, found = traced(section, data, framing, stage, pooled)
        assert task.weak == name.startswith("weak")
        assert loss.shape == ()
        if section.task == "trimmed":
            pooled = sum(s.pooled.shape[0] * s.pooled.shape[3] for s in output.stages)
        if section.task == "mgfn":  # each row adds its part to the loss
            parts = {"classes1", *({"classes2"} if weak.ROWS.index(variant) > 1 else ())}
            parts |= {"mmd"} if variant in ("ktm", "full") else set()
            assert set(metrics) == parts | ({"oic"} if variant == "full" else set())
        assert found.segments.shape[:2] == found.scores.shape == found.labels.shape
        if section.task == "bmn":
            long = data.segment_seconds[-2] / data.stride / framing.scale if data.stride else 0
            assert task.model.durations >= min(long, framing.snippets)


@pytest.mark.parametrize(
    ("name", "variant", "parameters"),
    [
        ("thumos", "clean", 29_251_612), ("thumos", "released", 29_251_612), ("thumos", "tridet", 15_989_604),
        ("thumos", "temporalmaxer", 7_117_852), ("hacs", "tridet", 51_860_092), ("epic", "clean", 29_763_177),
    ],
)  # fmt: skip
def test_one_stage_networks_are_as_large_as_released(name, variant, parameters):
    config = parse(importlib.import_module(f"configs.onestage_{name}").get_config(variant).to_dict())
    section = config.stages["actionformer"]
    task = build_task(section, metadata(name), Framing("window", section.data.snippets), "actionformer")
    shapes = Batch.spec(Sizes(section.data.snippets, metadata(name).streams["x"], 200, segments=20), 1)
    params = jax.eval_shape(task.init, jax.random.key(0), shapes)["params"]
    assert sum(x.size for x in jax.tree.leaves(params)) == parameters


def test_sizes_of_the_report():
    """C = 2304, 512 channels, 2 LGTEs of 8 heads (4 local, window 9), 3 regressors at 0.5, 0.6, 0.7, T = 1000."""
    from tal_jax.configs import supervised_hacs

    stage = supervised_hacs.get_config("video").stages.tcanet
    section = parse(supervised_hacs.get_config("video").to_dict()).stages["tcanet"]
    task = build_task(section, metadata("hacs"), Framing("window", 1000), "tcanet")
    model = task.model
    assert (model.hidden, model.encoders, model.heads, model.local_heads, model.window) == (512, 2, 8, 4, 9)
    assert (model.stages, task.thresholds, model.tau, stage.data.snippets) == (3, (0.5, 0.6, 0.7), 0.5, 1000)
    shapes = Batch.spec(Sizes(1000, 2304, 200, segments=20, proposals=10), 1)
    params = jax.eval_shape(task.init, jax.random.key(0), shapes)
    assert sum(x.size for x in jax.tree.leaves(params)) == 11_570_191


@pytest.mark.parametrize("name", ["hacs", "activitynet", "thumos"])
def test_released_is_what_the_released_checkpoints_are_read_with(name):
    """Field by field; what a config does not say is the class's default."""
    stage = importlib.import_module(f"configs.supervised_{name}").get_config("released").stages.tcanet.to_dict()
    for section, cls in (("model", TCANet), ("options", TCANetTask)):
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        wanted = getattr(FAMILIES["tcanet_released"], section)
        assert {key: stage[section].get(key, defaults[key]) for key in wanted} == dict(wanted)
