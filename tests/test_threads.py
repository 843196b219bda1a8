"""Threads that work on records and videos import nothing.

Packages that import their parts when they are first used, as TFDS does, let two threads wait for each other for ever.
"""

import subprocess
import sys

import pytest
from support import videos
from support.commands import ROOT, environment

FRESH = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor

class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            print("imported in a thread:", name)

sys.meta_path.insert(0, Watch())
{before}
with ThreadPoolExecutor(1) as pool:
    print("worked:", pool.submit(work).result())
"""
RECORD = """
from tal_jax.data.dataset import open_split
split = open_split({path!r}, "training")
work = lambda: split[0].id
"""
PICKLED = (
    RECORD
    + """
import pickle
data = pickle.dumps(split)
for name in [name for name in sys.modules if name.startswith("tensorflow_datasets")]:
    del sys.modules[name]
from tal_jax.data import record
record._example.cache_clear()
split = pickle.loads(data)
"""
)
VIDEO = """
from fractions import Fraction
from tal_jax.encoders.catalogue import find
from tal_jax.video.clips import Sampling, chunks
from tal_jax.video.decode import Video
from tal_jax.video.pixels import Rgb
video, preprocessing = Video({path!r}), find("efficientnet_lite0").preprocessing
work = lambda: len(list(chunks(video, Sampling(1, 1), Rgb(preprocessing), Fraction(10), 4)))
"""


@pytest.mark.parametrize("before", [RECORD, PICKLED, VIDEO])
def test_nothing_is_imported_in_a_thread(data, tmp_path, before):
    path = str(data)
    if before is VIDEO:
        pytest.importorskip("av")
        path = str(videos.write(tmp_path / "v.mp4", videos.regular(20, 20.0)))
    code = FRESH.format(before=before.format(path=path))
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("worked:"), result.stdout
