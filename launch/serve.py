"""Detects over HTTP with an exported model.

python -m launch.serve --model=E [--host=127.0.0.1 --port=8080] [--max_batch=16 --max_delay_ms=2]
    [--max_mb=32 --max_snippets=20000 --max_waiting=128 --timeout=30]
    [--max_video_mb=512 --max_video_seconds=3600 --max_videos=4 --video_timeout=900]
curl --data-binary @x.npy -H 'content-type: application/x-npy' 'http://127.0.0.1:8080/detect?stride=0.2&top=20'
curl --data-binary @x.mp4 -H 'content-type: video/mp4' 'http://127.0.0.1:8080/detect?top=20'

The second takes a model that was exported with its encoder. SIGTERM finishes what was accepted. Nothing is encrypted
and nobody is asked who they are: a proxy in front does that.
"""

import os
import sys
import time
from collections.abc import Sequence

from absl import flags

from tal_jax.commands import app

_MODEL = flags.DEFINE_string("model", None, "Folder that launch.export wrote.", required=True)
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; 0.0.0.0 is all.")
_PORT = flags.DEFINE_integer("port", 8080, "Port; 0 takes a free one.", 0, 65535)
_MAX_MB = flags.DEFINE_float("max_mb", 32.0, "MB of one body.", 0.001)
_MAX_SNIPPETS = flags.DEFINE_integer("max_snippets", 20_000, "Snippets of one recording.", 1)
_MAX_WAITING = flags.DEFINE_integer("max_waiting", 128, "Recordings that wait; more are told to come again.", 1)
_TIMEOUT = flags.DEFINE_float("timeout", 30.0, "Seconds for a body to arrive; of a video, the longest pause.", 0.01)
_VIDEO_MB = flags.DEFINE_float("max_video_mb", 512.0, "MB of one video.", 0.001)
_VIDEO_SECONDS = flags.DEFINE_float("max_video_seconds", 3600.0, "Length of one video.", 0.001)
_VIDEOS = flags.DEFINE_integer("max_videos", 4, "Videos that arrive, wait or are encoded at a time.", 1)
_VIDEO_TIMEOUT = flags.DEFINE_float("video_timeout", 900.0, "Seconds for a video to arrive, and to be encoded.", 0.01)
_MAX_BATCH = flags.DEFINE_integer("max_batch", 16, "Windows at a time, a power of two.", 1, 1024)
_MAX_DELAY = flags.DEFINE_float("max_delay_ms", 2.0, "Milliseconds that a first recording waits for others.", 0, 1000)


def main(argv: Sequence[str]) -> None:
    """Loads, listens, compiles, answers."""
    del argv
    from tqdm import tqdm

    from tal_jax.deploy.model import Model
    from tal_jax.devices.compilation import use_cache

    try:
        from tal_jax.serving.http import listen, run
        from tal_jax.serving.limits import Limits
        from tal_jax.serving.service import Service
    except ModuleNotFoundError as e:
        app.fail(f"{e.name} is not installed: pip install 'tal_jax[serve]'")
    if _MAX_BATCH.value & (_MAX_BATCH.value - 1):
        app.fail(f"--max_batch={_MAX_BATCH.value}: a power of two, as batches are padded to one")
    use_cache()
    limits = Limits(
        max_mb=_MAX_MB.value,
        max_snippets=_MAX_SNIPPETS.value,
        max_waiting=_MAX_WAITING.value,
        timeout=_TIMEOUT.value,
        max_video_mb=_VIDEO_MB.value,
        max_video_seconds=_VIDEO_SECONDS.value,
        max_videos=_VIDEOS.value,
        video_timeout=_VIDEO_TIMEOUT.value,
    )
    model = Model(_MODEL.value)
    service = Service(model, limits=limits, max_batch=_MAX_BATCH.value, max_delay=_MAX_DELAY.value / 1000)
    opened = listen(_HOST.value, _PORT.value)
    address = f"http://{_HOST.value}:{opened.getsockname()[1]}"

    def prepare() -> None:
        begin = time.perf_counter()
        if service.prepare(lambda programs: tqdm(programs, desc="compiling", unit="program")):
            print(f"{address}: ready after {time.perf_counter() - begin:.1f} s of compiling", flush=True)

    print(f"{address}: {_MODEL.value} with {len(model.labels)} labels; compiling", flush=True)
    # The thread that computes gives way to the one that answers, and takes over again, within a millisecond.
    sys.setswitchinterval(1e-3)
    run(service, opened, prepare)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main, reads=[_MODEL])
