"""How commands end: one line and a status for what the system refuses, for signals, and for readers that go away."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tal_jax.commands import endings

ROOT = Path(__file__).parents[2]
BEGIN = "import os, sys, time; from tal_jax.commands import endings; sys.argv[0] = 'x/probe.py'\n"


def ended(body, **options):
    """A process that runs this within the guard."""
    code = f"{BEGIN}with endings.guarded():\n    " + body.replace("\n", "\n    ")
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([sys.executable, "-c", code], text=True, timeout=120, cwd=ROOT, check=False, **options)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EROFS, "Read-only file system: write elsewhere"),
        (errno.EFBIG, "File too large: raise the limit on the size of files (ulimit -f), or write elsewhere"),
        (errno.ENAMETOOLONG, "File name too long: give a shorter name"),
        (errno.EMFILE, "Too many open files: raise the limit on open files (ulimit -n)"),
        (errno.ESTALE, "Stale file handle: the folder has gone from its server: start again"),
        (errno.EISDIR, "Is a directory: name a file"),
        (errno.EBADMSG, "Bad message"),
    ],
)
def test_what_the_system_refuses_has_a_remedy(number, says):
    assert endings.reason(OSError(number, os.strerror(number), "d/x.json")) == f"d/x.json: {says}"
    assert endings.reason(OSError(number, os.strerror(number))) == says


def test_a_full_disk_and_an_error_without_number():
    full = OSError(errno.ENOSPC, "No space left on device", "d/x.json")
    assert endings.reason(full) == "no space left on the device for d/x.json: free some and start again"
    assert endings.reason(OSError("lost")) == "lost"


def test_a_message_is_one_line_that_no_terminal_obeys():
    assert endings.one_line("a\n b\x1b[31m \udcff") == "a b\\x1b[31m \\udcff"


def test_errors_of_the_system_end_in_one_line():
    done = ended("open('no/such/folder/x', 'w')")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "launch.probe: error: no/such/folder/x: No such file or directory: check the path\n"


def test_a_limit_on_the_size_of_files():
    done = ended(
        "import resource, signal\nresource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "from tal_jax.data import atomic\natomic.write('/tmp/tal_jax_too_large', bytes(1000))"
    )
    assert done.returncode == 2
    assert done.stderr.startswith("launch.probe: error: /tmp/tal_jax_too_large: File too large: raise the limit")
    assert not list(Path("/tmp").glob("tal_jax_too_large*"))


def test_too_many_open_files():
    done = ended("import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))\nkept = [open('/') for _ in [0]]")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_a_full_output_ends_in_one_line():
    with open("/dev/full", "w") as full:
        done = ended("print('x')", stdout=full)
    assert done.returncode == 2
    assert done.stderr == "launch.probe: error: no space left on the device: free some and start again\n"


@pytest.mark.parametrize("body", ["print('x' * 100_000)", "print('x')", "print('x')\nsys.exit(1)"])
def test_a_reader_that_goes_away_is_not_an_error(body):
    reading, writing = os.pipe()
    os.close(reading)
    done = ended(body, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


def test_names_that_are_no_text_are_printed():
    done = ended("print('\\udcff.json')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\udcff.json\n", "")


@pytest.fixture(autouse=True)
def sigint():
    """Commands that a shell starts in the background ignore SIGINT, and so do their children: here they do not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
@pytest.mark.parametrize("early", [False, True])
def test_signals_end_in_one_line_and_leave_nothing(tmp_path, number, status, early):
    guard = "endings.watch(at_once=True)\nif True:" if early else "with endings.guarded():"
    code = f"""{BEGIN}{guard}
    from tal_jax.data import atomic
    with atomic.{"writing('/dev/null')" if early else "making('e')"} as temporary:
        print("ready", flush=True)
        time.sleep(600)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=environment,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == status
    assert text == f"launch.probe: stopped by {signal.Signals(number).name}: the same command goes on\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "swallows",
    [
        "try:\n    time.sleep(600)\nexcept BaseException as e:\n    raise ValueError('of a library') from e",
        "class X:\n    def __del__(self):\n        time.sleep(600)\nX()",
    ],
)
def test_a_signal_that_a_library_turns_into_something_else_still_ends_it(swallows):
    code = f"{BEGIN}with endings.guarded():\n    print('ready', flush=True)\n    " + swallows.replace("\n", "\n    ")
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert (process.returncode, text) == (75, "launch.probe: stopped by SIGTERM: the same command goes on\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_command_that_has_just_begun_ends_the_same_way(number, status, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "launch.train", "--config=configs/weak_watch.py:full", f"--workdir={tmp_path / 'w'}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    caught = Path(f"/proc/{process.pid}/status")
    if not caught.exists():
        process.kill()
        process.communicate()
        pytest.skip("no /proc")
    # From the moment on at which this process minds SIGTERM, long before its work begins.
    while process.poll() is None and not _minds(caught.read_text(), signal.SIGTERM):
        time.sleep(0.001)
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == status
    assert text == f"launch.train: stopped by {signal.Signals(number).name}: the same command goes on\n"


def _minds(status, number):
    line = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
