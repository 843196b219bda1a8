"""The persistent compilation cache, in processes of their own; and programs that a process keeps."""

import os
import subprocess
import sys

from tal_jax.devices.compilation import PROGRAMS, made_once

CODE = """
import jax, jax.numpy as jnp
from tal_jax.devices.compilation import use_cache
print(use_cache())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.monitoring.register_event_listener(lambda name, **_: print(name) if "cache_hits" in name else None)
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()
"""


def run(code=CODE, **environment):
    inherited = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    found = subprocess.run(
        [sys.executable, "-c", code], env={**inherited, **environment}, capture_output=True, text=True, check=True
    )
    folder, *events = found.stdout.splitlines()
    return folder, events


def test_the_second_process_reads_what_the_first_compiled(tmp_path):
    folder, events = run(XDG_CACHE_HOME=str(tmp_path))
    assert folder.startswith(str(tmp_path / "tal_jax" / "compiled"))
    assert events == []
    assert os.listdir(folder)
    _, events = run(XDG_CACHE_HOME=str(tmp_path))
    assert events


def test_the_environment_says_where(tmp_path):
    folder, _ = run(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "elsewhere"))
    assert folder == str(tmp_path / "elsewhere")


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path):
    (tmp_path / "file").write_text("")
    folder, _ = run(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "file" / "below"))
    assert folder


def test_the_cache_is_left_alone_and_comes_back(tmp_path):
    code = CODE.replace("jax.jit(", "from tal_jax.devices.compilation import no_cache\nwith no_cache(): jax.jit(")
    folder, _ = run(code=code, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "a"))
    assert not list((tmp_path / "a").glob("*"))
    again = "jax.jit(lambda x: jnp.cos(x) @ x)(jnp.ones((8, 8))).block_until_ready()"
    run(code=code + again, JAX_COMPILATION_CACHE_DIR=folder)
    assert list((tmp_path / "a").glob("*"))


def test_equal_arguments_get_what_was_made_for_them():
    asked = []

    @made_once
    def make(task, *, steps):
        asked.append(task)
        return object()

    first = make((1, "a"), steps=3)
    assert make((1, "a"), steps=3) is first
    assert make((1, "a"), steps=4) is not first
    assert make([1], steps=3) is not make([1], steps=3)  # no hash, no key
    assert asked == [(1, "a"), (1, "a"), [1], [1]]
    for k in range(PROGRAMS):
        make((k, "b"), steps=3)
    assert make((1, "a"), steps=3) is not first  # long ago: given up, with its memory
