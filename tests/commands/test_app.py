"""Flags of all commands: each that names a path says whether it is read or written, and faults are told in words."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Flags of text that name no file.
TEXT = {
    "stage", "split", "subset", "tiou", "stride", "weights", "rows", "seeds", "version", "external_data", "topology",
    "family", "encoders", "host", "width", "layout", "ignore_labels", "accept",
    "images_per_snippet", "encoder", "recipe", "flow_family",
}  # fmt: skip
COMMANDS = sorted(path.stem for path in (ROOT / "launch").glob("[a-z]*.py"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_that_names_a_path_is_declared(command):
    """So that the one check of outputs knows it: a new flag is declared in `app.run` or `app.check`, or is in TEXT."""
    tree = ast.parse((ROOT / "launch" / f"{command}.py").read_text())
    flags, declared = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            function = ast.unparse(node.value.func)
            if function == "config_flag.define":
                flags["config"] = ast.unparse(node.targets[0])
            elif function.rpartition(".")[2] in ("DEFINE_string", "DEFINE_multi_string", "DEFINE_list"):
                flags[node.value.args[0].value] = ast.unparse(node.targets[0])
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("app.run", "app.check"):
            for keyword in node.keywords:
                if keyword.arg in ("reads", "writes", "fills"):
                    declared |= {ast.unparse(element) for element in keyword.value.elts}
    assert {name for name, holder in flags.items() if name not in TEXT and holder not in declared} == set()
    for name in {"out", "json", "plot"} & flags.keys():
        assert flags[name] in declared


@pytest.fixture
def files(tmp_path):
    annotation = {"segment": [1.0, 2.0], "label": "a"}
    database = {"r": {"subset": "validation", "duration": 9.0, "annotations": [annotation]}}
    (tmp_path / "a.json").write_text(json.dumps({"database": database}))
    results = {"r": [{"label": "a", "score": 1.0, "segment": [1.0, 2.0]}]}
    (tmp_path / "d.json").write_text(json.dumps({"results": results}))
    return tmp_path


def called(folder, name, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", f"launch.{name}", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("pseudo", "--annotations=a.json --detections=d.json --out=a.json", "the same file as --annotations=a.json"),
        ("evaluate", "--ground_truth=a.json --detections=d.json --subset=validation --json=", "--json=: cannot be"),
        ("detect", "--model=a.json --features=d.json --out=d.json", "the same file as --features=d.json"),
        ("detect", "--model=a.json --features=x=d.json --out=d.json", "the same file as --features=d.json"),
        ("detect", "--workdir=nothing --out=no/such/folder/d.json", "there is no folder"),
        ("ensemble", "--detections=a.json,d.json --out=d.json", "the same file as --detections=d.json"),
        ("ladder", "--config=x --data=x --ground_truth=a.json --out=a.json", "--out=a.json: cannot be written (not a"),
        ("pseudo", "--annotations=a.json --out=x.json", "--detections is missing: Detections in the ActivityNet"),
    ],
)
def test_outputs_are_refused_before_work(files, name, arguments, says):
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    done = called(files, name, *arguments.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before
