"""`tal-jax` and `python -m tal_jax`: what they list, what they refuse, and that they run commands as `launch` does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tal_jax.commands import cli

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# What pip writes for the entry point.
SCRIPT = "import sys\nfrom tal_jax.commands.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


@pytest.fixture
def forms(tmp_path):
    """The two ways to call it, from a folder that has packages of its own with our folders' names."""
    script = tmp_path / "tal-jax"
    script.write_text(SCRIPT)
    elsewhere = tmp_path / "elsewhere"
    for name in ("launch", "configs", "studies"):
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / name / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    return elsewhere, ([sys.executable, str(script)], [sys.executable, "-W", "error", "-m", "tal_jax"])


def called(form, cwd, *arguments):
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(
        [*form, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_list_has_every_command_with_a_line():
    names = {path.stem for path in (ROOT / "launch").glob("[a-z]*.py")}
    assert set(cli.commands()) == names
    lines = cli.overview().splitlines()[2:-2]
    assert [line.split()[0] for line in lines] == sorted(names)
    assert all(line.endswith(".") and len(line) < 140 for line in lines)


def test_what_is_no_command_is_refused_with_the_nearest(forms):
    cwd, (script, module) = forms
    done = called(script, cwd, "detct", "--out=x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "tal-jax: error: no command 'detct': did you mean 'detect'?\n"
    done = called(module, cwd, "qqqq")
    assert done.stderr == "tal-jax: error: no command 'qqqq': tal-jax --help lists them\n"
    for arguments in ([], ["--help"]):
        done = called(module, cwd, *arguments)
        assert (done.returncode, done.stdout) == (0, f"{cli.overview()}\n")


def test_errors_begin_with_the_command_as_it_was_called(forms):
    cwd, (script, module) = forms
    arguments = ("--ground_truth=none.json", "--detections=x", "--subset=validation")
    for form in (script, module):
        done = called(form, cwd, "evaluate", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("tal-jax evaluate: error: ")
        assert done.stderr.count("\n") == 1
    done = called([sys.executable, "-m", "launch.evaluate"], ROOT, *arguments)
    assert done.stderr.startswith("launch.evaluate: error: ")


def test_workers_of_prepare_start_under_both_forms(forms):
    cwd, both = forms
    rng = np.random.default_rng(0)
    (cwd / "features").mkdir()
    database = {}
    for i in range(8):
        np.save(cwd / "features" / f"r{i}.npy", rng.normal(size=(700, 256)).astype(np.float32))
        annotations = [{"segment": [1.0, 5.0], "label": "a"}]
        database[f"r{i}"] = {"subset": "training", "duration": 350.0, "annotations": annotations}
    (cwd / "annotations.json").write_text(json.dumps({"database": database}))
    for number, form in enumerate(both):
        done = called(
            form, cwd, "prepare", "--annotations=annotations.json", "--features=x=features", "--stride=0.5",
            f"--out=data{number}", "--workers=2", "--shard_mb=1",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "8" in done.stdout
    shards = sorted(path.name for path in (cwd / "data0").glob("*tfrecord*"))
    assert len(shards) > 1  # otherwise no worker is started
    for name in shards:
        assert (cwd / "data0" / name).read_bytes() == (cwd / "data1" / name).read_bytes()
