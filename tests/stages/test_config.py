"""A config is its differences: defaults in one place, every section checked, what is printed."""

import copy
import dataclasses
import json
import sys
import types
from collections.abc import Callable

import flax.linen as nn
import pytest
import yaml
from ml_collections import ConfigDict
from support.commands import run
from support.sensor_set import tiny_config

from tal_jax.errors import InputError
from tal_jax.stages.config import as_text, default_config, default_stage, differences, parse, to_tree, with_defaults
from tal_jax.stages.methods import METHODS, find_method
from tal_jax.tasks.task import Task
from tal_jax.train.loop import train_and_evaluate


def tree_with(path, value):
    """A supervised config with one key more."""
    tree = default_config(bmn="bmn", tcanet="tcanet").to_dict()
    *parents, last = path.split(".")
    node = tree
    for parent in parents:
        node = node[parent]
    node[last] = value
    return tree


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("sed", "seed"),
        ("mesh.modle", "model"),
        ("checkpoint.evry_steps", "every_steps"),
        ("data.hold_out", "holdout"),
        ("stages.bmn.step", "steps"),
        ("stages.bmn.data.snippet", "snippets"),
        ("stages.bmn.model.hiden", "hidden"),
        ("stages.bmn.options.nms_sigm", "nms_sigma"),
        ("stages.tcanet.optimizer.warmup_step", "warmup_steps"),
        ("stages.tcanet.class_score", "class_scores"),
        ("stages.tcanet.model.encoder", "encoders"),
    ],
)
def test_an_unknown_key_anywhere_is_named_with_its_nearest(path, nearest):
    with pytest.raises(InputError, match=rf"config: {path}: no such key: did you mean '{nearest}'\?"):
        parse(tree_with(path, 1))


@pytest.mark.parametrize("key", ["regressor", "splice", "fusion", "proposals", "clip_features"])
def test_keys_of_other_methods_are_unknown(key):
    """A BMN regresses no anchors, splices nothing, and takes no file of another stage."""
    with pytest.raises(InputError, match=rf"stages\.bmn\.{key}: no such key"):
        parse(tree_with(f"stages.bmn.{key}", 1))


@pytest.mark.parametrize(
    ("path", "value", "like"),
    [
        ("stages.bmn.steps", "many", "20000"),
        ("stages.bmn.steps", True, "20000"),
        ("stages.bmn.steps", 1.5, "20000"),
        ("stages.bmn.model.masked_cells", 1, "True"),
        ("stages.tcanet.options.thresholds", 0.5, r"\(0.5, 0.6, 0.7\)"),
        ("data.dir", 7, "''"),
    ],
)
def test_a_value_of_another_type_is_refused(path, value, like):
    with pytest.raises(InputError, match=rf"config: {path}: .*expected a value such as {like}"):
        parse(tree_with(path, value))


def test_whole_numbers_are_numbers_and_lists_are_tuples():
    config = parse(tree_with("stages.tcanet.options.thresholds", [0.4, 0.5, 0.6]))
    assert config.stages["tcanet"].options["thresholds"] == (0.4, 0.5, 0.6)
    assert parse(tree_with("stages.bmn.optimizer.learning_rate", 1)).stages["bmn"].optimizer.learning_rate == 1


@pytest.mark.parametrize("method", METHODS)
def test_what_is_written_is_read_back_and_a_default_is_no_difference(method):
    config = parse({"track": ("a",), "stages": {"a": default_stage(method).to_dict()}})
    assert parse(json.loads(json.dumps(to_tree(config)))) == config
    assert differences(config) == {"track": ("a",), "stages": {"a": {"task": method}}}


@pytest.mark.parametrize("method", METHODS)
def test_what_is_printed_is_plain_text(method):
    """No tags of Python's own types, and the same config again."""
    config = parse({"track": ("a",), "stages": {"a": {"task": method}}})
    for tree in (differences(config), to_tree(config)):
        text = as_text(tree)
        assert "!!" not in text
        assert parse(yaml.safe_load(text)) == config


def test_a_config_of_differences_means_the_same_as_the_whole():
    tree = tree_with("seed", 3)
    tree["stages"]["tcanet"]["model"]["hidden"] = 64
    short = differences(parse(tree))
    assert short == {
        "seed": 3, "track": ("bmn", "tcanet"),
        "stages": {"bmn": {"task": "bmn"}, "tcanet": {"task": "tcanet", "model": {"hidden": 64}}},
    }  # fmt: skip
    assert parse(short) == parse(tree)


def test_a_track_names_stages_that_there_are():
    tree = default_config(bmn="bmn").to_dict()
    with pytest.raises(InputError, match=r"track: no stage 'bmm': did you mean 'bmn'\?"):
        parse({**tree, "track": ("bmm",)})
    del tree["stages"]["bmn"]["task"]
    with pytest.raises(InputError, match=r"stages\.bmn\.task: says which method it is"):
        parse(tree)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tcanett", r"no method 'tcanett': did you mean 'tcanet'\?"),
        ("no_such_package:Task", "cannot be imported .*no_such_package"),
        ("tal_jax.tasks.bmn:BMNTusk", "cannot be imported .*BMNTusk"),
        ("tal_jax.models.bmn:BMN", "is no task: derive a frozen dataclass"),
    ],
)
def test_a_method_is_named_or_imported(name, message):
    assert find_method("tal_jax.tasks.bmn:BMNTask", "task") is find_method("bmn", "task")
    with pytest.raises(InputError, match=message):
        find_method(name, "stages.x.task")


def test_older_words_are_understood():
    """What a workdir of before calls `trimmed` is a file of clip features."""
    tree = {"track": ["mgfn"], "stages": {"mgfn": {"task": "mgfn", "trimmed": "K", "regressor": False}}}
    section = parse(tree).stages["mgfn"]
    assert (section.files, section.settings.regressor) == ({"clip_features": "K"}, False)


@pytest.mark.parametrize("method", ["mgfn", "trimmed", "classifier"])
def test_older_words_of_models_and_options_are_understood(method):
    options = {} if method == "classifier" else {"sharpen": True}
    stage = {"task": method, "model": {"top": 3}, "options": options}
    section = parse({"track": [method], "stages": {method: stage}}).stages[method]
    assert (section.model["topk_ratio"], "top" in section.model) == (3, False)
    assert (section.options.get("oic_updates_cas", False), "sharpen" in section.options) == (bool(options), False)


@pytest.mark.parametrize(
    ("method", "model", "hint"),
    [
        ("mgfn", {"top": 3, "topk_ratio": 4}, "it is called 'topk_ratio' now"),
        ("bmn", {"top": 3}, "known keys"),
        ("mgfn", {"topk_ration": 3}, "did you mean 'topk_ratio'"),
    ],
)
def test_older_words_stand_for_one_key_of_their_section(method, model, hint):
    with pytest.raises(InputError, match=rf"stages\.{method}\.model\.\w+: no such key: {hint}"):
        parse({"track": [method], "stages": {method: {"task": method, "model": model}}})


# Every value of the model that is not its default is tried with it, so there are few.
BAD_OPTION = (
    "config.stages.tcanet.model = type(config)({'stages': 1, 'encoders': 0}); "
    "config.stages.tcanet.options.nms_method = 'x'"
)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("config.stages.tcanet.options.nms_sigm = 1.0", r"stages\.tcanet\.options\.nms_sigm: .*'nms_sigma'"),
        ("config.mesh.modle = 2", r"mesh\.modle: .*'model'"),
        ("config.checkpoint.evry_steps = 2", r"checkpoint\.evry_steps: .*'every_steps'"),
        ("config.stages.tcanet.optimizer.warm_up = 2", r"stages\.tcanet\.optimizer\.warm_up: .*'warmup_steps'"),
        ("config.stages.tcanet.proposals = 'none.parquet'", "none.parquet: cannot be read"),
        ("config.stages.tcanet.batch_size = 6", "batch_size 6 does not divide over 4 devices"),
        ("config.stages.tcanet.optimizer.schedule = 'linear'", "optimizer.schedule is 'step'"),
        (
            "config.stages.tcanet.model.update(encoders=1, heads=3)",
            r"stages\.tcanet\.model\.heads is 3, with which no such model can be",
        ),
        (BAD_OPTION, r"stages\.tcanet: no such model can be trained: .*'x'"),
        ("config.stages.tcanet.data.proposals = 0", r"stages\.tcanet\.data\.proposals is 0: expected 1 or more"),
        ("config.log_every_steps = 0", "log_every_steps is 0: expected 1 or more"),
        ("config.track = ('tcanet', 'bmn')", "stage 'bmn' makes what 'tcanet' takes: name it before"),
        ("config.stages.tcanet.model.stages = 2", r"stages\.tcanet: thresholds has 1 entries for 2 stages"),
    ],
)
def test_the_last_stage_is_checked_before_the_first_one_trains(change, named, data, tmp_path):
    config = tiny_config(data, refinements=1)
    exec(change)
    with pytest.raises(InputError, match=named) as error:
        train_and_evaluate(config.to_dict(), tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("*/*"))


def test_a_misspelt_key_in_a_file_ends_the_command(data, tmp_path):
    """As a user meets it: status 2, one line, nothing trained, nothing written."""
    file = tmp_path / "config.py"
    file.write_text(
        "from support.sensor_set import tiny_config\n\n\ndef get_config():\n"
        f"    config = tiny_config({str(data)!r}, refinements=1)\n"
        "    config.stages.tcanet.options.nms_sigm = 1.0\n    return config\n"
    )
    done = run("train", f"--config={file}", f"--workdir={tmp_path / 'w'}")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"launch.train: error: {file}: config: stages.tcanet.options.nms_sigm: ")
    assert line.endswith("no such key: did you mean 'nms_sigma'?")
    assert not list(tmp_path.glob("w/*/*"))


def test_parsing_leaves_what_it_is_given_alone():
    tree = tree_with("seed", 1)
    before = copy.deepcopy(tree)
    parse(tree)
    assert tree == before


def test_what_is_linked_in_a_file_stays_linked():
    config = default_config(bmn="bmn", tcanet="tcanet")
    del config.seed  # a config of differences
    config.stages.tcanet.steps = config.stages.bmn.get_ref("steps")
    whole = with_defaults(config)
    whole.stages.bmn.steps = 7
    assert (whole.stages.tcanet.steps, whole.seed) == (7, 0)


def test_an_older_name_gives_its_value_to_the_new_one():
    stages = {"mgfn": {"task": "mgfn", "trimmed": "K"}}
    whole = with_defaults(ConfigDict({"track": ("mgfn",), "stages": stages}))
    assert whole.stages.mgfn.clip_features == "K"
    assert "trimmed" not in whole.stages.mgfn


class OwnModel(nn.Module):
    width: int
    limit: float | None = None
    sizes: tuple[int, ...] = (1, 2)
    act: Callable = nn.relu


@dataclasses.dataclass(frozen=True)
class OwnTask(Task):
    model: OwnModel
    weights: dict = dataclasses.field(default_factory=dict)
    levels: list = dataclasses.field(default_factory=lambda: [1])

    init = loss = predict = merge = None


def test_fields_of_a_task_from_elsewhere(monkeypatch):
    """Without a default, None, dictionaries and lists; what is no plain value is for Python alone."""
    monkeypatch.setitem(METHODS, "own", f"{__name__}:OwnTask")
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or types.SimpleNamespace(OwnTask=OwnTask))
    stages = {"a": {"task": "own", "model": {"width": 3, "limit": 0.5}, "options": {"weights": {"x": 1.0}}}}
    section = parse({"track": ("a",), "stages": stages}).stages["a"]
    assert section.model == {"width": 3, "limit": 0.5, "sizes": (1, 2)}
    assert section.options == {"weights": {"x": 1.0}, "levels": [1]}
    assert parse(json.loads(json.dumps(to_tree(parse({"stages": stages}))))).stages["a"] == dataclasses.replace(
        section, options={"weights": {"x": 1.0}, "levels": (1,)}
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"track": (1,)}, "track: 1: expected values of type str"),
        ({"data": {"widths": "abc"}}, "data.widths: 'abc': expected a value such as"),
        ({"learning_rates": ("a",)}, "learning_rates: 'a': expected values of type float"),
        ({7: 1}, "keys are text, not 7"),
        ({"stages": 3}, "stages: sections by the names of stages are expected"),
        ({"data": 3}, "data: a section is expected"),
    ],
)
def test_values_of_other_kinds(change, message):
    with pytest.raises(InputError, match=message):
        parse(change)
