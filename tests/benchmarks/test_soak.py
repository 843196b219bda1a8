"""The soak in its short form: a command that is killed, what it leaves, and that differences are told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path):
    database = {
        f"r{i}": {"subset": "training", "duration": 9.0, "annotations": [{"segment": [1.0, 2.0], "label": "a"}]}
        for i in range(20_000)  # so that the command's own work is what lasts, and it can be killed where it should
    }
    (tmp_path / "a.json").write_text(json.dumps({"database": database}))
    results = {id: [{"label": "a", "score": 1.0, "segment": [1.0, 2.0]}] for id in database}
    (tmp_path / "d.json").write_text(json.dumps({"results": results}))
    return tmp_path


def soaked(files, *command, kills):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", f"--out={files / 'soak'}", f"--kills={kills}", "--spread",
         "--flag=out", "--name=p.json", "--", *command],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_a_command_ends_the_same_after_kills(files):
    inputs = (f"--annotations={files / 'a.json'}", f"--detections={files / 'd.json'}")
    done = soaked(files, "python", "-m", "launch.pseudo", *inputs, kills=3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "3 moments: all the same"


def test_what_is_left_over_is_told(files):
    script = files / "leaves.py"
    script.write_text(
        "import pathlib, random, sys, tempfile, time\n"
        "path = pathlib.Path(sys.argv[1].partition('=')[2])\n"
        "folder = tempfile.TemporaryDirectory()\n"
        "(path.parent / f'{random.random()}.half').touch()\ntime.sleep(1)\n"
        "path.write_text(f'{random.random()}')\nfolder.cleanup()\n"
    )
    done = soaked(files, "python", str(script), kills=1)
    assert done.returncode == 1
    wrong = done.stdout.splitlines()[-1]
    assert ".half is left over" in wrong
    assert "p.json differs" in wrong
    assert "tmp/tmp" in wrong
