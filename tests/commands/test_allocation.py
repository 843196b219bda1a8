"""Settings of memory for commands: when they are asked for, and that a real command has them."""

import os
import resource
import subprocess
import sys

import pytest

from tal_jax.commands import allocation

GLIBC = "glibc 2.36"
PAGES = "glibc.malloc.hugetlb=1"
KEPT = "glibc.malloc.mmap_max=0:glibc.malloc.arena_max=1:glibc.malloc.trim_threshold=17592186044416"


@pytest.fixture
def mode(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda name: GLIBC)
    path = tmp_path / "enabled"
    path.write_text("always [madvise] never\n")
    return path


def tunables(given, mode, **options):
    found = allocation.wanted(given, mode, **options)
    return None if found is None else found["GLIBC_TUNABLES"]


def test_the_settings_join_those_of_the_user(mode):
    assert allocation.wanted({"A": "b"}, mode) == {"A": "b", "GLIBC_TUNABLES": f"{PAGES}:{KEPT}"}
    check = "glibc.malloc.check=3"
    assert tunables({"GLIBC_TUNABLES": check}, mode) == f"{check}:{PAGES}:{KEPT}"


def test_what_the_user_says_counts(mode):
    for value in "01":
        said = f"glibc.malloc.hugetlb={value}"
        assert tunables({"GLIBC_TUNABLES": said}, mode) == f"{said}:{KEPT}"
    said = "glibc.malloc.mmap_max=65536"
    assert tunables({"GLIBC_TUNABLES": said}, mode) == f"{said}:{PAGES}"
    assert tunables({"GLIBC_TUNABLES": f"{said}:glibc.malloc.hugetlb=0"}, mode) is None
    assert tunables({"GLIBC_TUNABLES": f"{PAGES}:{KEPT}"}, mode) is None


def test_a_service_gives_memory_back(mode):
    assert tunables({}, mode, keeps=False) == PAGES
    assert "serve" in allocation.GIVES_BACK


def test_only_what_helps_is_asked_for(mode, monkeypatch):
    for text in ("[always] madvise never", "always madvise [never]"):
        mode.write_text(text)
        assert tunables({}, mode) == KEPT
    assert tunables({}, mode.parent / "missing") == KEPT
    assert tunables({}, mode.parent / "missing", keeps=False) is None
    mode.write_text("always [madvise] never")
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.34")
    assert tunables({}, mode) == KEPT
    for library in ("glibc 2.25", "musl", None):
        monkeypatch.setattr(os, "confstr", lambda name, library=library: library)
        assert allocation.wanted({}, mode) is None


def test_only_commands_start_again():
    commands = {
        ("python", "-W", "error", "-m", "launch.train", "--config=x"): "train",
        ("python", "-m", "tal_jax", "train"): "train",
        ("python", "-m", "tal_jax"): "",
        ("python", "-m", "tal_jax.launch.train"): "train",
        ("/venv/bin/python", "/venv/bin/tal-jax", "serve", "--model=x"): "serve",
        ("python", "-m", "tal_jax_other", "train"): None,
        ("python", "other.py", "/venv/bin/tal-jax"): None,
        ("python", "-m", "pytest", "launch"): None,
        ("python", "-c", "import launch.train"): None,
    }
    assert {arguments: allocation.command_of(arguments) for arguments in commands} == commands


@pytest.mark.skipif(allocation.wanted({}) is None, reason="this system's C library has no such settings")
def test_a_command_starts_again_once_with_its_arguments_and_standard_input(tmp_path):
    # The test's own module in place of a command: `launch` is what starts again.
    module = tmp_path / "launch_probe.py"
    module.write_text("import os, sys; print(os.getpid(), os.environ.get('GLIBC_TUNABLES'), sys.argv[1:], input())")
    code = (
        "import os, runpy, sys; from tal_jax.commands import allocation;"
        f"allocation.ask_for([sys.executable, '-c', {'import runpy, sys; runpy.run_path(sys.argv[1])'!r},"
        " *sys.argv[1:], '-m', 'launch.x'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(module), "a b"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    out, _ = process.communicate("typed\n")
    assert out.split(maxsplit=2) == [
        str(process.pid), allocation.wanted({})["GLIBC_TUNABLES"], f"{[str(module), 'a b', '-m', 'launch.x']} typed\n",
    ]  # fmt: skip


FAULTS = """
import resource
import numpy as np
def once():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**26, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
once()
print(once())
"""


@pytest.mark.skipif(allocation.wanted({}) is None, reason="this system's C library has no such settings")
@pytest.mark.parametrize("keeps", [True, False])
def test_memory_that_is_kept_is_not_cleared_again(keeps):
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    environment = allocation.wanted(environment, keeps=keeps) or environment
    faults = int(subprocess.check_output([sys.executable, "-c", FAULTS], env=environment))
    assert (faults < 8) == keeps, faults
    assert 2**26 // resource.getpagesize() > 8
