"""Saving again and again: what a long training does thousands of times."""

import errno
import gc
import logging
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from tal_jax.errors import InputError
from tal_jax.train.checkpoint import Checkpoints, full_disk, restore_params
from tal_jax.train.step import TrainState


def test_checkpoints_leave_nothing_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Orbax 0.11.39 to 0.12.8 leave objects behind with every array, in TensorStore's to_json, and with every reading of
    # TensorStore's metrics: a training with a checkpoint every two seconds grew by 2 MB a minute.
    params = {f"layer{i}": jnp.ones((4, 8)) for i in range(20)}
    state = TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=params, ema=params)
    checkpoints = Checkpoints(tmp_path, "bmn")

    def blocks_after(steps: range) -> int:
        for step in steps:
            checkpoints.save(step, state)
        checkpoints.wait()
        gc.collect()
        return sys.getallocatedblocks()

    caplog.set_level(logging.CRITICAL, logger="absl")  # pytest keeps what is logged
    before = blocks_after(range(1, 11))
    after = blocks_after(range(11, 31))
    checkpoints.close()
    arrays = 1 + 3 * len(params)
    assert (after - before) / 20 < arrays  # 26 without a leak, 500 with it


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("RESOURCE_EXHAUSTED: Failed to write: No space left on device", errno.ENOSPC),
        ("RESOURCE_EXHAUSTED: too much", errno.ENOSPC),
        ("UNKNOWN: Failed to write to file: File too large [OS error 27: EFBIG]", errno.EFBIG),
        ("FAILED_PRECONDITION: Read-only file system", errno.EROFS),
        ("RESOURCE_EXHAUSTED: Failed to open: Too many open files", errno.EMFILE),
    ],
)
def test_what_the_system_refuses_has_its_usual_name(tmp_path: Path, text: str, number: int) -> None:
    with pytest.raises(OSError, match=str(tmp_path)) as caught, full_disk(tmp_path):
        raise ValueError(text)
    assert caught.value.errno == number
    with pytest.raises(ValueError, match="another fault"), full_disk(tmp_path):
        raise ValueError("another fault")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"average": "high"}', b'{"avarage": 0.5}', b"\xff"])
def test_damaged_scores_of_a_checkpoint_are_named(tmp_path: Path, content: bytes) -> None:
    """Orbax reads them when it opens the folder, and ended in an error of its JSON parser."""
    state = TrainState(step=jnp.zeros((), jnp.int32), params={"w": jnp.ones(3)}, opt_state={}, ema=None)
    checkpoints = Checkpoints(tmp_path, "bmn")
    checkpoints.save(1, state, 0.5)
    checkpoints.close()
    assert list(restore_params(tmp_path, "bmn")) == ["w"]
    (tmp_path / "bmn" / "checkpoints" / "1" / "metrics" / "metrics").write_bytes(content)
    for read in (restore_params, Checkpoints):
        with pytest.raises(InputError, match=r"1/metrics/metrics: damaged, .*: remove .*/1: the training goes on"):
            read(tmp_path, "bmn")
