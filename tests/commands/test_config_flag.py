"""--config as users type it, outside of a checkout: names, paths, variants, and changes on the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHOW = """
import sys
from tal_jax.commands import app, config_flag
config = config_flag.define()
app.run(lambda argv: print(config.value.stages.mgfn.steps, config.value.stages.mgfn.model.cascade))
"""


def shown(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", SHOW, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_names_variants_and_changes(tmp_path):
    done = shown(tmp_path, "--config=weak_watch:cas", "--config.stages.mgfn.steps=7")
    assert (done.stdout, done.stderr) == ("7 False\n", "")
    done = shown(tmp_path, "--config", "weak_watch", "--config.stages.mgfn.steps", "8")
    assert (done.stdout, done.stderr) == ("8 True\n", "")


def test_a_path_of_a_checkout_takes_the_file_of_the_package_and_says_so(tmp_path):
    done = shown(tmp_path, "--config=configs/weak_watch.py:cas")
    assert done.stdout == "200 False\n"
    assert done.stderr.startswith("--config=configs/weak_watch.py: no such file here, taking ")
    assert Path(done.stderr.split()[-1]).resolve() == ROOT / "configs" / "weak_watch.py"


def test_the_users_own_file_comes_first(tmp_path):
    (tmp_path / "configs").mkdir()
    text = (ROOT / "configs" / "weak_watch.py").read_text()
    (tmp_path / "configs" / "weak_watch.py").write_text(text.replace("200, 0", "5, 0"))
    done = shown(tmp_path, "--config=configs/weak_watch.py")
    assert (done.stdout, done.stderr) == ("5 True\n", "")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("weak_watsh:cas", "weak_watsh: no such name: did you mean weak_watch?"),
        ("nowhere/x.py", "nowhere/x.py: no such file: "),
        ("weak_watch:casx", "casx"),
        ("weak_watch --config.data.dri=x", "config: data.dri: no such key: did you mean 'dir'?"),
        ("weak_watch --config.dta.dir=x", "config: dta: no such key: did you mean 'data'?"),
        ("weak_watch --noconfig.data.normalise", "config: data.normalise: no such key: did you mean 'normalize'?"),
        ("weak_watch --config.stages.mgfn.steps=abc", "--config.stages.mgfn.steps=abc: expected a value such as 200"),
        ("weak_watch --config.stages.mgfn.steps.x=1", "config: stages.mgfn.steps: a value, without 'x' in it"),
        ("utf16.py", "utf16.py: SyntaxError"),
    ],
)
def test_what_does_not_exist_ends_in_one_line(tmp_path, value, words):
    (tmp_path / "utf16.py").write_text("def get_config(): pass", encoding="utf-16")
    done = shown(tmp_path, *f"--config={value}".split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
