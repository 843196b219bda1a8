"""Files and folders that appear when they are complete: links, devices, permissions, leftovers."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from tal_jax.data import atomic

HOLD = """
import sys, time
from tal_jax.data import atomic
with {what}(sys.argv[1]) as temporary:
    {fill}
    print("writing", flush=True)
    time.sleep(600)
"""


def held(what, fill, path):
    """A process in the middle of writing."""
    code = HOLD.format(what=f"atomic.{what}", fill=fill)
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def fail(block, error):
    with block as temporary:
        assert temporary.exists()
        raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_nothing_is_seen_until_the_end_nor_after_a_failure(tmp_path):
    path = tmp_path / "a.json"
    with atomic.writing(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    with pytest.raises(OSError, match="full") as caught:
        fail(atomic.writing(path), OSError(28, "full"))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"whole"
    assert names(tmp_path) == ["a.json"]


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    path = tmp_path / "a.json"
    processes = [held("writing", "temporary.write_bytes(b'half')", path) for _ in range(2)]
    left = names(tmp_path)
    assert len(left) == 2
    atomic.write(path, b"first")
    assert names(tmp_path) == ["a.json", *left]
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
    atomic.write(path, b"second")
    assert names(tmp_path) == ["a.json"]
    assert path.read_bytes() == b"second"


def test_a_folder_takes_the_place_of_an_older_one_and_of_leftovers(tmp_path):
    path = tmp_path / "e"
    process = held("making", "(temporary / 'half').touch()", path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert names(tmp_path) == ["e.part0.tmp"]
    for content in ("old", "new"):
        with atomic.making(path) as temporary:
            (temporary / content).write_text(content)
        assert names(tmp_path) == ["e"]
        assert names(path) == [content]
    with pytest.raises(ZeroDivisionError):
        fail(atomic.making(path), ZeroDivisionError())
    assert names(tmp_path) == ["e"]
    assert names(path) == ["new"]


def test_a_folder_killed_between_the_old_and_the_new_one_is_made_again(tmp_path):
    for name, content in (("e.part0.tmp", "new"), ("e.part1.tmp", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / content).touch()
    with atomic.making(tmp_path / "e") as temporary:
        (temporary / "again").touch()
    assert names(tmp_path) == ["e"]
    assert names(tmp_path / "e") == ["again"]


def test_links_are_followed(tmp_path):
    real, link = tmp_path / "far" / "d.json", tmp_path / "d.json"
    real.parent.mkdir()
    link.symlink_to("far/d.json")
    for content in (b"one", b"two"):  # first of a link that points to nothing yet
        atomic.write(link, content)
        assert link.is_symlink()
        assert real.read_bytes() == content
    folder = tmp_path / "link"
    folder.symlink_to("far")
    with atomic.making(folder) as temporary:
        (temporary / "x").touch()
    assert folder.is_symlink()
    assert names(tmp_path / "far") == ["x"]


def test_permissions_are_those_of_the_umask_or_of_the_file_that_is_replaced(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic.writing(tmp_path / "a") as temporary:
            temporary.unlink()  # as libraries do that write beside it themselves
            temporary.touch(0o600)
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
        (tmp_path / "a").chmod(0o604)
        atomic.write(tmp_path / "a", b"new")
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o604
        with atomic.making(tmp_path / "e") as temporary:
            (temporary / "s").mkdir()
            (temporary / "s" / "weights").touch(0o600)
        assert (tmp_path / "e" / "s" / "weights").stat().st_mode & 0o777 == 0o640
        assert (tmp_path / "e").stat().st_mode & 0o777 == 0o750
    finally:
        os.umask(before)


def test_devices_and_pipes_are_written_into(tmp_path):
    before = os.stat("/dev/null")
    atomic.write("/dev/null", b"gone")
    assert os.path.samestat(before, os.stat("/dev/null"))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    atomic.write(pipe, b"through")
    reader.join()
    assert found == [b"through"]
    assert pipe.is_fifo()


def test_what_is_printed_stays_where_the_output_is_a_file(tmp_path):
    code = "from tal_jax.data import atomic; print('a'); atomic.write('/dev/stdout', b'b\\n'); print('c')"
    with (tmp_path / "out").open("wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert (tmp_path / "out").read_text() == "a\nb\nc\n"


def test_names_of_every_length_that_the_file_system_takes(tmp_path):
    for name in ("x" * 255, "ж" * 127, "語" * 85):
        atomic.write(tmp_path / name, b"1")
        assert (tmp_path / name).read_bytes() == b"1"
    assert len(names(tmp_path)) == 3
    with pytest.raises(OSError, match="File name too long"):
        atomic.write(tmp_path / ("x" * 256), b"1")
    assert len(names(tmp_path)) == 3


def test_threads_that_write_the_same_name_do_not_meet(tmp_path):
    def many(content):
        for _ in range(50):
            atomic.write(tmp_path / "a", content)

    threads = [threading.Thread(target=many, args=(bytes([i]) * 1000,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = (tmp_path / "a").read_bytes()
    assert len(content) == 1000
    assert len(set(content)) == 1
    assert names(tmp_path) == ["a"]
