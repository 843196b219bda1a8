"""Requests: their bodies become recordings, or a message on what is wrong. Data only: nothing is unpickled."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tal_jax.deploy.model import Model, Recording, ResolvedRecording, Segments
from tal_jax.errors import InputError

NPY = ("application/octet-stream", "application/x-npy")
JSON = "application/json"
QUERY = ("stride", "duration", "top", "min_score")
FIELDS = ("features", "stride", "duration", "class_scores", "proposals")
LARGEST = float(np.finfo(np.float32).max)
SECONDS = (1e-6, 1e9)  # strides and durations beyond have no float32 that the model could count with


class Refused(InputError):
    """A request that cannot be answered, with its HTTP status."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Query:
    """The parameters of a request."""

    stride: float | None = None  # seconds per snippet
    duration: float | None = None  # seconds
    top: int | None = None  # so many detections at most
    min_score: float = 0.0

    @classmethod
    def of(cls, given: Sequence[tuple[str, str]]) -> "Query":
        """Reads pairs of name and value. Raises Refused (400) for an unknown or repeated name, or for no number."""
        found: dict[str, Any] = {}
        for name, text in given:
            if name not in QUERY:
                raise Refused(400, f"?{name:.40}=..: no such parameter: there are {', '.join(QUERY)}")
            if name in found:
                raise Refused(400, f"?{name}=..: given twice")
            try:
                found[name] = int(text) if name == "top" else float(text)
            except ValueError as e:
                kind = "whole number" if name == "top" else "number"
                raise Refused(400, f"?{name}={text:.40}: not a {kind}") from e
        if found.get("top", 1) < 1:
            raise Refused(400, f"?top={found['top']}: at least 1")
        if not math.isfinite(found.get("min_score", 0.0)):
            raise Refused(400, "?min_score=..: a finite number")
        return cls(**found)


def recording(model: Model, media: str, body: bytes, query: Query, *, max_snippets: int) -> ResolvedRecording:
    """A recording that fits the model.

    Args:
      model: the model that shall detect in it.
      media: the media type of the body, one of NPY or JSON.
      body: a `.npy` file of features [T, C], or JSON {"features": [[..]], ..} with FIELDS.
      query: the parameters of the request; its stride and duration come before those of the body.
      max_snippets: the largest T that is accepted.

    Raises:
      Refused: 400 where the body is damaged, 413 where T is too large, 415 where the media type is another, 422 where
        the recording does not fit the model.
    """
    fields: dict[str, Any] = {}
    if media in NPY:
        streams = [npy(body)]
    elif media == JSON:
        fields = _fields(model, body)
        streams = fields.pop("features")
    else:
        raise Refused(415, f"content-type {media or 'missing'!r:.80}: send {NPY[0]} (a .npy file) or {JSON}")
    for name in ("stride", "duration"):
        fields[name] = value = getattr(query, name) or _number(name, fields.get(name))
        if getattr(query, name) == 0 or (value is not None and not SECONDS[0] <= value <= SECONDS[1]):
            raise Refused(422, f"{name} {value or 0:g}: seconds from {SECONDS[0]:g} to {SECONDS[1]:g}")
    given = Recording(streams, id="of the request", **fields)
    try:
        known = model.checked(given)
    except InputError as e:
        raise Refused(422, str(e)) from e
    if len(known) > max_snippets:
        raise Refused(413, f"{len(known)} snippets: at most {max_snippets} in one request")
    for x in streams:
        # A NaN is its own least and greatest; float64 may be too large for the model's float32.
        if not (float(x.min()) >= -LARGEST and float(x.max()) <= LARGEST):
            raise Refused(422, "features that are not finite numbers of float32: extract them again")
    return known


def npy(body: bytes) -> np.ndarray:
    """The array of a `.npy` file, lying in the body itself; what its header says is checked before anything is read.

    Raises:
      Refused: 400 where the body is no `.npy` file, or shorter or longer than its header says, 422 where it does not
        hold numbers.
    """
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = reader(stream)
    # NumPy's parser raises whatever it meets in a damaged header.
    except Exception as e:
        text = " ".join(f"{e!s:.80}".split())
        raise Refused(400, f"not a .npy file ({text}): write it with numpy.save") from e
    if dtype.hasobject:
        raise Refused(422, "the array holds Python objects, which are never read: save it as an array of numbers")
    if dtype.kind not in "biuf":
        raise Refused(422, f"an array of {dtype!s:.40}: save it as float32 or float16")
    expected, there = math.prod(shape) * dtype.itemsize, len(body) - stream.tell()
    if there != expected:
        raise Refused(400, f"{there} bytes of data, {expected} by the header: truncated, or not one array")
    if len(shape) != 2:
        raise Refused(422, f"an array of shape {shape!s:.60}: send [T, C]")
    flat = np.frombuffer(body, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _fields(model: Model, body: bytes) -> dict[str, Any]:
    """The fields of a JSON body, arrays as arrays."""
    import orjson

    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as e:
        raise Refused(400, f"not JSON ({e!s:.80})") from e
    if not isinstance(given, dict) or "features" not in given:
        raise Refused(400, 'JSON without features: send {"features": [[..], ..]}')
    for name in given.keys() - FIELDS:
        raise Refused(400, f"{name:.40}: no such field: there are {', '.join(FIELDS)}")
    fields = {name: value for name, value in given.items() if value is not None}
    features = fields.get("features")
    if isinstance(features, dict):
        if features.keys() != model.streams.keys():
            raise Refused(422, f"features: the model has the streams {', '.join(model.streams)}: give each")
        fields["features"] = [_array(name, features[name], 2) for name in model.streams]
    else:
        fields["features"] = [_array("features", features, 2)]
    if isinstance(scores := fields.get("class_scores"), dict):
        if unknown := sorted(scores.keys() - set(model.labels)):
            raise Refused(422, f"class_scores: {unknown[0]:.40}: no label of the model: GET / lists them")
        fields["class_scores"] = _array("class_scores", [scores.get(label, 0.0) for label in model.labels], 1)
    elif scores is not None:
        fields["class_scores"] = _array("class_scores", scores, 1)
    if "proposals" in fields:
        fields["proposals"] = _proposals(fields["proposals"])
    return fields


def _proposals(given: Any) -> Segments:
    if not isinstance(given, dict) or given.keys() != {"segments", "scores"}:
        raise Refused(400, 'proposals: send {"segments": [[start, end], ..] in seconds, "scores": [..]}')
    segments, scores = _array("segments", given["segments"], 2), _array("scores", given["scores"], 1)
    if segments.shape != (len(scores), 2) or (segments[:, 1] <= segments[:, 0]).any():
        raise Refused(422, f"proposals: {segments.shape} segments and {scores.shape} scores: [P, 2], start < end, [P]")
    return segments.astype(np.float64), scores


def _array(name: str, value: Any, axes: int) -> np.ndarray:
    try:
        # Without a type NumPy says what it has found: with one it takes "1" and null for numbers.
        array = np.asarray(value)
    except ValueError as e:
        raise Refused(400, f"{name}: not an array of numbers: rows of one length") from e
    if array.dtype.kind not in "biuf" or array.ndim != axes or not array.size:
        letters = "[[..], ..], rows of one length" if axes == 2 else "[..]"
        raise Refused(422, f"{name}: not numbers {letters}")
    if not np.abs(array).max() <= LARGEST:
        raise Refused(422, f"{name}: numbers that are not finite in float32")
    return array.astype(np.float32)


def _number(name: str, value: Any) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise Refused(400, f"{name}: not a number of seconds")
    return value
