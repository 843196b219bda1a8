"""Files of weights: every kind that is published, what lies beside the weights, and files that are none."""

import argparse
import pickle

import numpy as np
import pytest
import safetensors.numpy

from tal_jax.encoders import weight_files
from tal_jax.errors import InputError

TENSORS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b.bias": np.ones(2, np.float16)}


def assert_tensors(found):
    assert found.keys() == TENSORS.keys()
    for name, x in TENSORS.items():
        assert found[name].dtype == x.dtype
        np.testing.assert_array_equal(found[name], x)


def test_arrays_of_npz_safetensors_and_caffe2(tmp_path):
    np.savez(tmp_path / "w.npz", **TENSORS)
    safetensors.numpy.save_file(TENSORS, tmp_path / "w.safetensors")
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"blobs": TENSORS}, 2))
    for name in ("w.npz", "w.safetensors", "w.pkl"):
        assert_tensors(weight_files.read(tmp_path / name))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("key", [None, "state_dict", "model_state", "model", "module"])
def test_checkpoints_of_pytorch(tmp_path, key, legacy):
    torch = pytest.importorskip("torch")
    state = {f"module.{name}": torch.from_numpy(x.copy()) for name, x in TENSORS.items()}
    state["module.bn.num_batches_tracked"] = torch.tensor(7)
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    beside = {
        "epoch": 3, "optimizer": optimizer.state_dict(), "best": torch.tensor(0.5), "arch": "tsm",
        "args": argparse.Namespace(lr=0.1, device=torch.device("cpu"), type=torch.float32), "cfg": "A: 1",
    }  # fmt: skip
    path = tmp_path / "w.pyth"
    torch.save(state if key is None else {**beside, key: state}, path, _use_new_zipfile_serialization=not legacy)
    assert_tensors(weight_files.read(path))


class Evil:
    def __reduce__(self):
        return (print, ("called",))


@pytest.mark.parametrize("value", [Evil(), {"state_dict": TENSORS, "more": Evil()}])
def test_nothing_is_called(tmp_path, value, capsys):
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(InputError, match=r"w\.pth: refused, the pickle wants 'builtins\.print'"):
        weight_files.read(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("w.txt", b"", "weights are read from files that end in"),
        ("w.npz", b"PK", "damaged"),
        ("w.safetensors", b"\x08", "not a whole"),
        ("w.pth", pickle.dumps([1, 2]), "holds no tensors by name"),
        ("w.pth", pickle.dumps({"epoch": 3}), "holds no weights"),
        ("w.pth", pickle.dumps({"state_dict": {"a": "text"}}), "a among the weights is no tensor"),
        ("w.pth", pickle.dumps({"a": TENSORS["b.bias"], "module.a": TENSORS["b.bias"]}), "with and without"),
    ],
)
def test_files_that_are_no_weights(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        weight_files.read(tmp_path / name)


@pytest.mark.parametrize("name", ["w.pth", "w.npz", "w.safetensors", "w.pkl"])
@pytest.mark.parametrize("content", [b"hello this is text\n", b"<!DOCTYPE html>\n<html>", b"version https://git-lfs"])
def test_a_page_in_place_of_weights(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    begin = " ".join(content.decode().split())
    with pytest.raises(InputError, match=rf"a text that begins with '{begin}', no weights: download it again$"):
        weight_files.read(tmp_path / name)


@pytest.mark.parametrize("content", [b"\x80\x02}q", b"", b"h\xff", b"PK\x03\x04" + b"0" * 50])
def test_a_download_that_broke_off(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(
        InputError, match=r"w\.pth: damaged or not a pickle of arrays \([a-z][^)]*\): download it again$"
    ):
        weight_files.read(tmp_path / "w.pth")


def test_a_folder(tmp_path):
    (tmp_path / "w.pth").mkdir()
    with pytest.raises(InputError, match=r"w\.pth: is a folder: give the file of weights in it"):
        weight_files.read(tmp_path / "w.pth")


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"no such file: give the weights with --weights=FILE"):
        weight_files.read(tmp_path / "w.pth")
