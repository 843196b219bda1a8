"""One name for one thing: other names of flags are taken by every command that has the thing."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from tal_jax.commands import synonyms
from tal_jax.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def known():
    values = flags.FlagValues()
    for name in ("split", "annotations", "data", "json", "blocked", "batch_size"):
        flags.DEFINE_string(name, None, "", flag_values=values)
    flags.DEFINE_enum("missing", "error", ["error", "skip"], "", flag_values=values)
    flags.DEFINE_bool("proposals", False, "", flag_values=values)
    return values


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--subset=val", "--split=val"), ("-subset=val", "-split=val"), ("--subset val", "--split val"),
        ("--split=subset", "--split=subset"), ("--ground_truth=a=b.json", "--annotations=a=b.json"),
        ("--config.data.dir=D", "--data=D"), ("--damaged=L", "--blocked=L"), ("--batch=3", "--batch_size=3"),
        ("--out=R.json", "--json=R.json"),
        ("--missing=refuse", "--missing=error"), ("--missing=skip", "--missing=skip"),
        ("--missing=nonsense", "--missing=nonsense"), ("--noproposals", "--noproposals"), ("--runs=W", "--runs=W"),
        ("--config.seed=3", "--config.seed=3"), ("--split=a -- --subset=b", "--split=a -- --subset=b"), ("", ""),
    ],
)  # fmt: skip
def test_other_names_mean_the_command_s_own(known, given, meant):
    assert synonyms.rewritten(["x", *given.split()], known) == ["x", *meant.split()]


@pytest.mark.parametrize("given", [["--subset=a", "--split=b"], ["--split=b", "--subset=a"]])
def test_two_names_of_one_flag_contradict(known, given):
    with pytest.raises(InputError, match="--subset and --split are two names of one flag: give one of them"):
        synonyms.rewritten(["x", *given], known)


def test_messages_use_the_word_that_was_typed(known):
    synonyms.rewritten(["x", "--subset=a", "--annotations=b"], known)
    assert synonyms.as_typed("--split=a: not there, see --splits, --annotations") == (
        "--subset=a: not there, see --splits, --annotations"
    )
    synonyms.rewritten(["x", "--split=a"], known)
    assert synonyms.as_typed("--split=a") == "--split=a"


def test_help_texts_have_one_name_each():
    """No command defines a name that means another flag."""
    defined = {
        name: path.name
        for path in (ROOT / "launch").glob("*.py")
        for name in re.findall(r'DEFINE_\w+\(\s*"(\w+)"', path.read_text(encoding="utf-8"))
    }
    assert len(defined) > 50
    own = {"data", "out", "proposal_units"}  # of some commands, and other names in the rest
    assert {name: defined[name] for name in synonyms.NAMES.keys() - own if name in defined} == {}


def run(name, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"launch.{name}", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )


def test_as_a_user_types_them(tmp_path):
    truth, found = tmp_path / "a.json", tmp_path / "d.json"
    truth.write_text(
        json.dumps({"database": {"v": {"subset": "val", "annotations": [{"label": "a", "segment": [0, 9]}]}}})
    )
    found.write_text(json.dumps({"results": {"v": [{"label": "a", "score": 1, "segment": [0, 9]}]}}))
    for names in (("annotations", "split", "out"), ("ground_truth", "subset", "json")):
        out = tmp_path / f"{names[0]}.json"
        values = zip(names, (truth, "val", out), strict=True)
        done = run("evaluate", f"--detections={found}", *(f"--{name}={value}" for name, value in values))
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(out.read_text())["average_mAP"] == 1
    done = run("evaluate", f"--detections={found}", f"--ground_truth={truth}", "--subset=test")
    assert done.stderr.startswith("launch.evaluate: error: --subset=test: the ground truth has no such recordings")


def test_the_set_of_a_training_goes_by_its_short_name():
    done = run("train", "--config=weak_watch:cas", "--data=some/set", "--print_config")
    assert "dir: some/set" in done.stdout, done.stderr
