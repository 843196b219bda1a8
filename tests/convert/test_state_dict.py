"""Files of state dicts: where the weights lie in them, their types, and what is refused."""

import datetime
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from tal_jax.convert import state_dict
from tal_jax.errors import InputError

WEIGHTS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b.mask": np.array([[True, False]])}
EXACT = np.array([0.5, -3.0, 1024.0])


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="reading .pth needs the extra torch")


def same(found, expected=WEIGHTS):
    assert set(found) == set(expected)
    for name, x in expected.items():
        assert found[name].dtype == x.dtype, name
        np.testing.assert_array_equal(found[name], x, err_msg=name)


@pytest.mark.parametrize("suffix", state_dict.SUFFIXES)
def test_there_and_back_again(suffix, tmp_path, request):
    if suffix != ".safetensors":
        request.getfixturevalue("torch")
    path = tmp_path / f"x{suffix}"
    state_dict.check_new(path)
    state_dict.write(path, WEIGHTS, suffix)
    same(state_dict.read(path))
    with pytest.raises(InputError, match="exists already"):
        state_dict.check_new(path)


@pytest.mark.parametrize("key", ["", "state_dict", "model_state"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_where_the_weights_lie(key, prefix, torch, tmp_path):
    weights = {prefix + name: torch.from_numpy(x) for name, x in WEIGHTS.items()}
    torch.save({key: weights, "epoch": 7, "optimizer": {"lr": 0.1}} if key else weights, tmp_path / "x.pth")
    same(state_dict.read(tmp_path / "x.pth"))


def test_half_precision(torch, tmp_path):
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        torch.save({"a": torch.from_numpy(EXACT).to(kind)}, tmp_path / "x.pth")
        same(state_dict.read(tmp_path / "x.pth"), {"a": EXACT.astype(np.float32)})


@pytest.mark.parametrize(("name", "kind"), [("BF16", ml_dtypes.bfloat16), ("F16", np.float16), ("F64", np.float64)])
def test_half_precision_safetensors(name, kind, tmp_path):
    header = f'{{"module.a":{{"dtype":"{name}","shape":[3],"data_offsets":[0,{3 * np.dtype(kind).itemsize}]}}}}'
    data = len(header).to_bytes(8, "little") + header.encode() + EXACT.astype(kind).tobytes()
    (tmp_path / "x.safetensors").write_bytes(data)
    same(state_dict.read(tmp_path / "x.safetensors"), {"a": EXACT.astype(np.float32)})


def refused(path, *words):
    with pytest.raises(InputError) as error:
        state_dict.read(path)
    assert "\n" not in str(error.value)
    for word in (str(path), *words):
        assert word in str(error.value), error.value


def test_only_weights_are_loaded(torch, tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"state_dict": {"a": torch.zeros(2)}, "when": datetime.date(2021, 1, 1)}, path)
    refused(path, "holds other things than weights", "weights_only=False", "torch.save", "weights.pth")


def test_what_is_no_state_dict(torch, tmp_path):
    path = tmp_path / "x.pth"
    for content, words in (
        ([torch.zeros(2)], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"a": torch.zeros(2), "epoch": 3, "lr": 0.1}, "not only tensors (epoch, lr)"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "a is sparse, quantized or complex"),
        ({"a": torch.zeros(2), "module.a": torch.zeros(2)}, "with and without the prefix"),
    ):
        torch.save(content, path)
        refused(path, words)
    path.write_bytes(b"rubbish" * 40)
    refused(path, "x.pth: ")
    torch.save({"a": torch.zeros(2000)}, path)
    path.write_bytes(path.read_bytes()[:4000])
    refused(path, "cannot be read")


def test_files_that_cannot_be_read(tmp_path):
    refused(tmp_path / "x.npz", ".safetensors")
    refused(tmp_path / "x.pth", "no such file", "--checkpoint")
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors.numpy.save(WEIGHTS)[:-3])
    refused(path, "not a whole .safetensors file")
    path.write_bytes(b"")
    refused(path, "not a whole .safetensors file")
    with pytest.raises(InputError, match="there is no folder"):
        state_dict.check_new(tmp_path / "nowhere" / "x.safetensors")


def test_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "x.pth").write_bytes(b"PK")
    refused(tmp_path / "x.pth", "extra torch", "pip install")
    with pytest.raises(InputError, match="extra torch"):
        state_dict.check_new(tmp_path / "y.pth")


def test_lists_stay_readable():
    assert state_dict.listed(["a", "b"]) == "a, b"
    assert state_dict.listed([f"n{i}" for i in range(12)]).endswith("n7 and 4 more")
