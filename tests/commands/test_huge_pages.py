"""Large pages for commands: when they are asked for, and that a real command has them."""

import os
import subprocess
import sys

import pytest

from tal_jax.commands import huge_pages

GLIBC = "glibc 2.36"


@pytest.fixture
def mode(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda name: GLIBC)
    path = tmp_path / "enabled"
    path.write_text("always [madvise] never\n")
    return path


def test_the_setting_joins_those_of_the_user(mode):
    assert huge_pages.wanted({"A": "b"}, mode) == {"A": "b", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    found = huge_pages.wanted({"GLIBC_TUNABLES": "glibc.malloc.check=3"}, mode)
    assert found == {"GLIBC_TUNABLES": "glibc.malloc.check=3:glibc.malloc.hugetlb=1"}


def test_what_the_user_says_counts(mode):
    for value in "01":
        assert huge_pages.wanted({"GLIBC_TUNABLES": f"glibc.malloc.hugetlb={value}"}, mode) is None


def test_nothing_changes_where_it_would_not_help(mode, monkeypatch):
    for text in ("[always] madvise never", "always madvise [never]"):
        mode.write_text(text)
        assert huge_pages.wanted({}, mode) is None
    assert huge_pages.wanted({}, mode.parent / "missing") is None
    mode.write_text("always [madvise] never")
    for library in ("glibc 2.34", "musl", None):
        monkeypatch.setattr(os, "confstr", lambda name, library=library: library)
        assert huge_pages.wanted({}, mode) is None


def test_only_commands_start_again():
    assert huge_pages.is_command(["python", "-W", "error", "-m", "launch.train", "--config=x"])
    assert huge_pages.is_command(["python", "-m", "tal_jax", "train"])
    assert huge_pages.is_command(["python", "-m", "tal_jax.launch.train"])
    assert huge_pages.is_command(["/venv/bin/python", "/venv/bin/tal-jax", "train"])
    assert not huge_pages.is_command(["python", "-m", "tal_jax_other", "train"])
    assert not huge_pages.is_command(["python", "other.py", "/venv/bin/tal-jax"])
    assert not huge_pages.is_command(["python", "-m", "pytest", "launch"])
    assert not huge_pages.is_command(["python", "-c", "import launch.train"])


@pytest.mark.skipif(huge_pages.wanted({}) is None, reason="this system gives or refuses large pages by itself")
def test_a_command_starts_again_once_with_its_arguments_and_standard_input(tmp_path):
    # The test's own module in place of a command: `launch` is what starts again.
    module = tmp_path / "launch_probe.py"
    module.write_text("import os, sys; print(os.getpid(), os.environ.get('GLIBC_TUNABLES'), sys.argv[1:], input())")
    code = (
        "import os, runpy, sys; from tal_jax.commands import huge_pages;"
        f"huge_pages.ask_for([sys.executable, '-c', {'import runpy, sys; runpy.run_path(sys.argv[1])'!r},"
        " *sys.argv[1:], '-m', 'launch.x'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(module), "a b"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    out, _ = process.communicate("typed\n")
    assert out.split(maxsplit=2) == [
        str(process.pid), "glibc.malloc.hugetlb=1", f"{[str(module), 'a b', '-m', 'launch.x']} typed\n",
    ]  # fmt: skip
