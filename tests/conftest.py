"""Test settings: four virtual CPU devices, strict dtype and rank promotion, warnings are errors (pyproject.toml)."""

import gc
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
# Releases that do not know a flag end the process, and so does libtpu.
KNOWN_FLAGS = importlib.util.find_spec("libtpu") is None and importlib.metadata.version("jaxlib").startswith("0.10.")
if KNOWN_FLAGS:
    # Scheduled for concurrency, devices take sums over all of them in orders of their own: two wait in one and two in
    # another, and the four threads are used up.
    os.environ["XLA_FLAGS"] += " --xla_cpu_enable_concurrency_optimized_scheduler=false"
# Compiling is most of the time of these small programs: without optimization, and without the fusions' own compiler.
# `make test-optimized` runs the numerical ones as XLA compiles by default.
if not os.environ.get("TAL_JAX_TESTS_OPTIMIZED"):
    os.environ["XLA_FLAGS"] += " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    # A program is one module: cut into pieces for many cores, the pieces repeat much of each other's work.
    os.environ["XLA_FLAGS"] += " --xla_cpu_parallel_codegen_split_count=1"
    if KNOWN_FLAGS:
        os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

import hypothesis
import jax
import pytest
import support.typecheck

jax.config.update("jax_numpy_dtype_promotion", "strict")
CACHE = tempfile.mkdtemp(prefix="tal_jax_tests_")
jax.config.update("jax_compilation_cache_dir", CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_numpy_rank_promotion", "raise")
support.typecheck.install()  # before anything of tal_jax is imported

# Tracing makes millions of small objects, none of which is garbage soon: looking for it was a tenth of the time.
gc.set_threshold(50_000, 20, 50)

hypothesis.settings.register_profile("default", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("default")


def pytest_unconfigure():
    shutil.rmtree(CACHE, ignore_errors=True)


# Folders whose files make something once for all of their tests: trainings, exports, compiled programs.
ROOMS = "benchmarks convert deploy detect devices experiments models report stages tasks train"
TOGETHER = (*(f"tests/{name}/" for name in ROOMS.split()), "tests/test_configs.py")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The tiny set of sensor recordings that most trainings of the tests learn from; nobody writes to it."""
    from support.sensor_set import prepare_set  # JAX has its settings now

    folder = tmp_path_factory.mktemp("set")
    prepare_set(folder)
    return folder / "data"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Such a file stays in one process: the other would make all of it again. The files come first."""
    if config.getoption("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return nodeid.partition("::")[0] if nodeid.startswith(TOGETHER) else nodeid

    return Scheduling(config, log)
