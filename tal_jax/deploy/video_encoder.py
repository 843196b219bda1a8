"""The encoder of an exported model, used: a video file to features, by the folder's own program, no model code."""

import contextlib
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import numpy as np

from tal_jax.data import provenance
from tal_jax.deploy import runtimes
from tal_jax.deploy.model_description import REMEDY, read_weights
from tal_jax.deploy.recording import Recording
from tal_jax.encoding.packing import Packing
from tal_jax.errors import InputError
from tal_jax.guarded import own_files
from tal_jax.video.ahead import ahead
from tal_jax.video.clips import Chunk, Sampling, chunks
from tal_jax.video.decode import MAX_RATE, Times, Video
from tal_jax.video.pixels import Rgb
from tal_jax.video.preprocessing import Preprocessing

Watch = Callable[[float, int], None]
HOME = "encoder"  # the folder within that of a model
DESCRIPTION, PROGRAM, WEIGHTS = "encoder.json", "encode.stablehlo", "weights.safetensors"


@dataclass(frozen=True)
class EncodedVideo:
    """A video's features, and what was seen of it."""

    features: np.ndarray  # [T, D] float32, on disk: of a long video only what is at work is read
    stride: float  # seconds
    seconds: float
    notes: tuple[str, ...]  # of damage


class VideoEncoder:
    """Makes features of videos as those were made that a model was trained on."""

    def __init__(self, home: Path):
        """Reads the encoder's folder. Raises InputError: something of it is damaged."""
        path = home / DESCRIPTION
        values = own_files.read_object(path, REMEDY)
        self.identity = provenance.check_identity(path, own_files.member(path, values, "features", dict, REMEDY))
        clips = own_files.member(path, values, "clips", int, REMEDY)
        try:
            self._preprocessing = _preprocessing(self.identity["preprocessing"])
            self._sampling = Sampling(
                images=self.identity["images"],
                stride=self.identity["stride"],
                interval=self.identity["interval"],
                phase=Fraction(self.identity["phase"]),
            )
            self._packing = Packing.of(self._sampling, clips)
            self._times: Times = _times(self.identity)
        except (TypeError, ValueError, KeyError, ZeroDivisionError) as e:
            raise InputError(f"{path}: damaged, no sampling that can be ({e!s:.80}): {REMEDY}") from e
        weights, _ = read_weights(home / WEIGHTS, 0)
        side = self._preprocessing.side
        self._shapes = [
            (self._packing.images, self._preprocessing.crops, side, side, 3),
            (self._packing.clips, self._sampling.images),
        ]
        self._run = runtimes.function(home / PROGRAM, weights, self._shapes)

    def compile(self) -> None:
        """Encodes black images once, so that no video waits for the compiler."""
        self._run(*(np.zeros(shape, dtype) for shape, dtype in zip(self._shapes, (np.uint8, np.int32), strict=True)))

    def encode(self, path: str, *, strict: bool = False, watch: Watch = lambda seconds, snippets: None) -> EncodedVideo:
        """The features of a video, decoded while they are computed; images are held for a few clips alone.

        Args:
          path: of the video.
          strict: damage is an error; otherwise it is noted.
          watch: called again and again with the seconds that are decoded and the snippets that there are so far; what
            it raises ends the work.

        Raises:
          InputError: see `Video.shown`; or its features are not finite.
        """
        video = Video(path, self._times)
        rate = self.identity["rate"]
        if isinstance(rate, int | float):
            video.rate = Fraction(rate).limit_denominator(10_000)
        else:
            video.rate = video.own_rate(f"write it again with 1 to {MAX_RATE} images a second")
        count = 0
        with tempfile.TemporaryFile() as file, contextlib.closing(self._chunks(video, strict)) as decoded:
            for batch in self._packing.pack(decoded):
                part = self._run(batch.images, batch.index)[: len(batch.rows)]
                if not np.isfinite(part).all():
                    raise InputError(f"{path}: its features are not finite: the model's encoder does not fit it")
                file.write(np.asarray(part, np.float32).tobytes())
                count += len(part)
                watch(float(video.seconds), count)
            file.flush()
            features = np.memmap(file, np.float32, "r", shape=(count, part.shape[1]))
        stride = float(self._sampling.stride / video.rate)
        return EncodedVideo(features, stride, float(video.seconds), tuple(video.notes))

    def recording(
        self, path: str, id: str, *, strict: bool = False, watch: Watch = lambda seconds, snippets: None
    ) -> tuple[Recording, tuple[str, ...]]:
        """A video as a recording to detect in, and notes on its damage. Arguments and errors: see `encode`."""
        found = self.encode(path, strict=strict, watch=watch)
        return Recording([found.features], id, found.stride, max(found.seconds, found.stride)), found.notes

    def _chunks(self, video: Video, strict: bool) -> Generator[tuple[int, Chunk], None, None]:
        """In a thread ahead of the device."""
        rate = video.rate
        assert rate is not None

        def job() -> Iterator[Chunk]:
            return chunks(video, self._sampling, Rgb(self._preprocessing), rate, self._packing.chunk, strict=strict)

        with contextlib.closing(ahead([job], 1, 4)) as pieces:
            for piece in pieces:
                if piece.error is not None:
                    raise piece.error
                if piece.item is not None:
                    yield 0, piece.item


def _times(identity: Mapping[str, Any]) -> Times:
    found: Any = provenance.times(identity)
    if found not in get_args(Times):
        raise ValueError(f"times of images by {found!r:.20}")
    return found


def _preprocessing(values: dict[str, Any]) -> Preprocessing:
    names = {field.name for field in fields(Preprocessing)}
    if values.keys() != names:
        raise ValueError(f"preprocessing has {', '.join(sorted(values.keys() ^ names))}")
    given: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in values.items()}
    return Preprocessing(**given)
