"""The peak memory of a process, against memory that is really used."""

import sys
import types

import numpy as np
import pytest

from tal_jax.devices import memory

pytestmark = pytest.mark.slow


def test_the_peak_grows_by_what_is_used_and_stays():
    before = memory.process_peak_bytes()
    size = before + (64 << 20)  # more than was ever in use here
    used = np.ones(size, np.uint8)
    peak = memory.process_peak_bytes()
    assert size < peak < 4 * size
    del used
    assert memory.process_peak_bytes() >= peak


def test_without_the_module_resource_psutil_is_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    process = types.SimpleNamespace(memory_info=lambda: types.SimpleNamespace(peak_wset=7))
    monkeypatch.setattr(memory.psutil, "Process", lambda: process)
    assert memory.process_peak_bytes() == 7
