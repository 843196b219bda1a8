"""Outputs are looked at before any work: what cannot be written, or is an input, is refused and stays as it was."""

import os
import socket
from pathlib import Path

import pytest

from tal_jax.data.outputs import Input, Output, check
from tal_jax.errors import InputError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("features", "data", "w/bmn", "empty"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a.json", "features/x.npy", "data/tal_jax-training.index.npz", "w/config.json", "w/bmn/metrics.jsonl"):
        (tmp_path / name).write_text("mine")
    return tmp_path


def listed(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


READ = [Input("a.json", "--annotations"), Input("features", "--features"), Input("w", "--workdir")]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "--out=: cannot be written (no name)"),
        ("a\0b", "no name"),
        (".", "a folder"),
        ("..", "a folder"),
        ("features", "a folder"),
        ("new/", "a folder"),
        ("no/such/d.json", "there is no folder"),
        ("a.json/d.json", "Not a directory"),
        ("x" * 256, "too long"),
        ("語" * 86, "too long"),
        ("/".join(["x" * 200] * 30), "too long"),
        ("a.json", "the same file as --annotations=a.json"),
        ("./features/../a.json", "the same file as --annotations"),
        ("link", "the same file as --annotations"),
        ("hard", "the same file as --annotations"),
        ("features/x.npy", "in --features=features, which is read"),
        ("link-in", "in --features=features, which is read"),
        ("w/config.json", "in --workdir=w, which is read"),
        ("w/bmn/metrics.jsonl", "in --workdir=w, which is read"),
        ("fifo", "a pipe, socket or disk"),
        ("socket", "a pipe, socket or disk"),
        ("loop", "there is no folder|symbolic links"),
        ("/proc/d.json", "cannot be written"),
    ],
)
def test_files_that_are_refused(here, path, says):
    (here / "link").symlink_to("a.json")
    os.link("a.json", "hard")
    (here / "link-in").symlink_to("features/x.npy")
    (here / "loop").symlink_to("loop")
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("socket")
        before = listed(here)
        with pytest.raises(InputError) as caught:
            check([Output(path)], READ)
    assert any(word in str(caught.value) for word in says.split("|"))
    assert str(caught.value).startswith("--out=")
    assert len(str(caught.value)) < 600
    assert listed(here) == before
    assert (here / "a.json").read_text() == "mine"


@pytest.mark.parametrize(
    "path", ["d.json", "w/d.json", "features/new.json", "x" * 255, "/dev/null", "/dev/stdout", "dangling", "w/old.json"]
)
def test_files_that_are_taken(here, path):
    (here / "dangling").symlink_to("empty/d.json")
    (here / "w" / "old.json").touch()  # of an earlier detection
    before = listed(here)
    check([Output(path)], READ)
    assert listed(here) == before


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "no name"),
        ("a.json", "not a folder"),
        ("a.json/e", "is no folder"),
        ("data", "the same folder as --data"),
        ("alias", "the same folder as --data"),
        ("gone", "a link to what is missing"),
        ("new/" + "x" * 256 + "/e", "too long"),
        ("/dev/null", "not a folder"),
        ("/proc/e", "cannot be written"),
    ],
)
def test_folders_that_are_refused(here, path, says):
    (here / "gone").symlink_to("nowhere")
    (here / "alias").symlink_to("data")
    before = listed(here)
    with pytest.raises(InputError, match=says):
        check([Output(path, folder=True)], [Input("data", "--data")])
    assert listed(here) == before


def test_folders_that_are_taken(here):
    (here / "alias").symlink_to("empty")
    before = listed(here)
    for path in ("new", "new/deep/er", "empty", "alias", "w", str(here / "x" / "..")):
        check([Output(path, folder=True)], [Input("data", "--data"), Input("missing", "--features")])
    assert listed(here) == before


def test_a_result_in_a_folder_is_no_input(here):
    (here / "w" / "full.json").touch()
    with pytest.raises(InputError, match=r"the same file as --supervised=w/full\.json"):
        check([Output("w", folder=True, files=("cas.json", "full.json"))], [Input("w/full.json", "--supervised")])


def test_two_outputs_are_two_files(here):
    (here / "link").symlink_to("d.json")
    with pytest.raises(InputError, match=r"--plot=link: cannot be written \(the same file as --out"):
        check([Output("d.json"), Output("link", "--plot")])
    check([Output("/dev/null"), Output("/dev/null", "--plot")])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folders_without_permission(here):
    (here / "empty").chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        check([Output("empty/d.json")])
    with pytest.raises(InputError, match="Permission denied"):
        check([Output("empty/e", folder=True)])
    Path("a.json").chmod(0o400)
    with pytest.raises(InputError, match="make it writable"):
        check([Output("a.json")])
