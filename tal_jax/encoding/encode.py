"""Videos to features: decoded in threads, encoded on all devices, one file each; a run goes on where it stopped."""

import collections
import functools
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from tal_jax.data import provenance
from tal_jax.devices import processes
from tal_jax.encoding import scores
from tal_jax.encoding.feature_file import FeatureFile
from tal_jax.encoding.journal import Journal
from tal_jax.encoding.on_devices import OnDevices
from tal_jax.encoding.packing import ClipBatch, Packing
from tal_jax.encoding.plan import Options, Plan, plan, plan_both, variables_of
from tal_jax.encoding.progress import Progress
from tal_jax.errors import InputError
from tal_jax.version import version
from tal_jax.video import folder
from tal_jax.video.ahead import Piece, ahead
from tal_jax.video.clips import Chunk, chunks
from tal_jax.video.decode import Video, av

RGB, FLOW = "rgb", "flow"  # folders, where there are both
IN_FLIGHT = 2  # batches on their way through the devices


def encode(options: Options) -> str:
    """Encodes videos; those whose features are there already are left as they are.

    With `flow`, there are two folders in `out` then: rgb, and flow.

    Args:
      options: see `Options`.

    Returns:
      What was done, in a line.

    Raises:
      InputError: bad options; or some videos could not be encoded, while the rest was.
      OSError: `encoder.json` cannot be written.
    """
    av()
    if not options.flow:
        return _encode(options, plan(options))
    first, other = plan_both(options)
    second = plan(other)  # before hours of work
    both = ((RGB, replace(options, flow_images=""), first), (FLOW, other, second))
    return "\n".join(_encode(replace(o, out=os.path.join(options.out, name)), decided) for name, o, decided in both)


def _encode(options: Options, decided: Plan) -> str:
    """`encode` by one encoder."""
    found = folder.find(options.videos)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    process = jax.process_index()
    try:
        with FileLock(out / f"encoder.lock{process}", timeout=0):
            journal = Journal(out, decided.identity, process)
            mine = {id: p for i, (id, p) in enumerate(found.videos.items()) if i % jax.process_count() == process}
            known = tqdm(mine.items(), desc="looking at features", unit="video", delay=5, disable=None)
            todo = {id: path for id, path in known if not journal.done(id, path)}
            failed = {id: str(error) for id, error in found.refused.items()} if process == 0 else {}
            if todo:
                failed |= _Run(options, decided, journal, todo).failed
            processes.meet("encoded")
            if process == 0 and journal.videos:
                journal.finish(_about(options, decided))
                if options.scores:
                    assert decided.weights is not None
                    assert decided.weights.head is not None
                    scores.write(out, sorted(journal.videos), decided.weights.head, decided.labels)
    except Timeout as e:
        raise InputError(f"{out}: another command writes features there: wait for it, or give another --out") from e
    finally:
        if not os.path.exists(out / provenance.NAME) and not any(out.glob(f"{provenance.JOURNAL}*")):
            (out / f"encoder.lock{process}").unlink(missing_ok=True)
    (out / f"encoder.lock{process}").unlink(missing_ok=True)
    if failed:
        for message in failed.values():
            processes.say(message)
        raise InputError(f"{out}: {len(failed)} of {len(mine) + len(found.refused)} videos have no features, see above")
    done = len(mine) - len(todo)
    return f"{out}: features of {len(mine)} videos" + (f", {done} of them from before" if done else "")


def _about(options: Options, decided: Plan) -> dict[str, Any]:
    return {
        "weights_file": os.path.basename(options.weights),
        "weights_family": decided.weights.family if decided.weights else provenance.RANDOM,
        "dtype": options.dtype,
        "stored": options.stored,
        "versions": {"tal_jax": version(), "jax": jax.__version__, "av": av().__version__},
    }


class _Run:
    """One pass over the videos that are left; `failed` says which have no features, and why."""

    def __init__(self, options: Options, decided: Plan, journal: Journal, todo: dict[str, Path]):
        self.failed: dict[str, str] = {}
        self._options, self._decided, self._journal = options, decided, journal
        self._ids, self._paths = list(todo), list(todo.values())
        self._videos = [Video(str(path), decided.times) for path in self._paths]
        self._files: dict[int, FeatureFile] = {}
        self._totals: dict[int, int] = {}
        self._flying: collections.deque[tuple[list[ClipBatch], Any]] = collections.deque()
        clips = options.batch_size or max(1, 32 // (decided.encoder.images * decided.encoder.preprocessing.crops))
        self._packing = Packing.of(decided.sampling, clips)
        self._progress = Progress(self._videos)
        devices = OnDevices(
            decided.encoder, decided.encoder.preprocessing, variables_of(decided), jnp.dtype(options.dtype)
        )
        try:
            self._encode(devices)
        finally:
            for file in self._files.values():
                file.drop()
            self._progress.close()

    def _encode(self, devices: OnDevices) -> None:
        flying = self._flying
        batches: list[ClipBatch] = []
        for batch in self._packing.pack(self._chunks()):
            batches.append(batch)
            if len(batches) == devices.devices:
                flying.append((batches, devices.start(batches)))
                batches = []
            if len(flying) >= IN_FLIGHT:
                self._take(*flying.popleft())
        if batches:
            flying.append((batches, devices.start(batches)))
        while flying:
            self._take(*flying.popleft())

    def _chunks(self) -> Iterator[tuple[int, Chunk]]:
        """Chunks as they are decoded; notes which video ended, and how."""
        threads = self._options.decoders or os.cpu_count() or 1
        jobs = [functools.partial(self._decode, video) for video in self._videos]
        pieces: Iterator[Piece[Chunk]] = ahead(jobs, min(threads, len(jobs)), 2 * threads)
        while True:
            begin = time.monotonic()
            piece = next(pieces, None)
            if all(features.is_ready() for _, features in self._flying):
                self._progress.idle(time.monotonic() - begin)
            self._progress.show()
            if piece is None:
                return
            if piece.error is not None:
                self._fail(piece.job, piece.error)
            if piece.item is not None:
                if piece.item.last:
                    self._totals[piece.job] = piece.item.first + len(piece.item.index)
                yield piece.job, piece.item

    def _decode(self, video: Video) -> Iterator[Chunk]:
        rate = Fraction(self._decided.rate).limit_denominator(10_000) if self._decided.rate else video.own_rate()
        video.rate = rate
        yield from chunks(
            video, self._decided.sampling, self._decided.pixels, rate, self._packing.chunk,
            strict=self._options.strict,
        )  # fmt: skip

    def _take(self, batches: list[ClipBatch], features: Any) -> None:
        """Writes the features of batches that the devices have finished."""
        found = np.asarray(features).reshape(-1, self._packing.clips, self._decided.encoder.width)
        for batch, rows in zip(batches, found, strict=False):
            jobs = np.array([row.job for row in batch.rows])
            for job in dict.fromkeys(jobs.tolist()):
                self._write(job, rows[: len(jobs)][jobs == job])

    def _write(self, job: int, rows: np.ndarray) -> None:
        id = self._ids[job]
        if id in self.failed:
            return
        stored = rows.astype(self._options.stored)
        if not np.isfinite(stored).all():
            self._fail(job, InputError(f"{self._paths[job]}: its features are not finite: try --dtype=float32"))
            return
        try:
            if job not in self._files:
                path = Path(self._options.out) / f"{id}.npy"
                self._files[job] = FeatureFile(path, rows.shape[1], self._options.stored)
            file = self._files[job]
            file.append(stored)
            if file.rows == self._totals.get(job):
                del self._files[job]
                file.finish()
                self._journal.add(id, self._row(job, file))
                self._progress.end(job)
        except OSError as e:
            self._fail(
                job, InputError(f"{self._paths[job]}: its features cannot be written ({e.strerror}): {e.filename}")
            )

    def _row(self, job: int, file: FeatureFile) -> dict[str, Any]:
        video = self._videos[job]
        assert video.rate is not None
        return {
            "file": self._paths[job].name,
            "bytes": self._paths[job].stat().st_size,
            "seconds": round(float(video.seconds), 6),
            "images": video.images,
            "rate": float(video.rate),
            "stride": float(self._decided.sampling.stride / video.rate),
            "snippets": file.rows,
            "crc32c": file.crc32c,
            "notes": video.notes,
        }

    def _fail(self, job: int, error: InputError) -> None:
        self.failed[self._ids[job]] = str(error)
        self._progress.end(job)
        if (file := self._files.pop(job, None)) is not None:
            file.drop()
