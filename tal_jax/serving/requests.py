"""Requests: their bodies become recordings, or a message on what is wrong. Data only: nothing is unpickled."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tal_jax.deploy.model import Model, Recording, ResolvedRecording
from tal_jax.errors import InputError
from tal_jax.prepare.npy_header import LONGEST, NotNumbers, read_header
from tal_jax.serving import json_bodies
from tal_jax.serving.content_types import NPY, remedy
from tal_jax.serving.json_bodies import LARGEST, Refused

QUERY = {
    "stride": "a number of seconds",
    "duration": "a number of seconds",
    "top": "a whole number from 1 on",
    "min_score": "a finite number",
}
SECONDS = (1e-6, 1e9)  # strides and durations beyond have no float32 that the model could count with


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
                raise Refused(400, f"?{name!r:.40}=..: no such parameter: there are {', '.join(QUERY)}")
            if name in found:
                raise Refused(400, f"?{name}=..: given twice: keep one of them")
            try:
                found[name] = value = int(text) if name == "top" else float(text)
                right = value >= 1 if name == "top" else math.isfinite(value)
            except ValueError:
                right = False
            if not right:
                raise Refused(400, f"?{name}={text!r:.40}: not {QUERY[name]}")
        return cls(**found)


def recording(
    model: Model, media: str, body: bytes | bytearray, query: Query, *, max_snippets: int
) -> ResolvedRecording:
    """A recording that fits the model.

    Args:
      model: the model that shall detect in it.
      media: the content type of the body, one of NPY or JSON, see `content_types.kind_of`.
      body: a `.npy` file of features [T, C], or JSON, see `json_bodies.fields`.
      query: the parameters of the request; its stride and duration come before those of the body.
      max_snippets: the largest T that is accepted.

    Raises:
      Refused: 400 where the body is damaged, 413 where T is too large, 422 where the recording does not fit the model.
    """
    found: dict[str, Any] = {}
    if media in NPY:
        streams = [npy(body, remedy(model))]
    else:
        if not json_bodies.is_object(body):
            raise Refused(400, f"not JSON: {{ expected at its beginning: {remedy(model)}")
        found = json_bodies.fields(model, body, max_snippets)
        streams = found.pop("features")
    for name in ("stride", "duration"):
        asked = getattr(query, name)
        found[name] = value = found.get(name) if asked is None else asked
        if value is not None and not SECONDS[0] <= value <= SECONDS[1]:
            raise Refused(422, f"{name} {value:g}: not a number of seconds from {SECONDS[0]:g} to {SECONDS[1]:g}")
    if model.stride is None and found["stride"] is None and found["duration"] is None:
        raise Refused(422, "stride: the model has none of its own: send it or duration, in seconds")
    for name in model.needs:
        if found.get(name) is None:
            how = f'send JSON with "{name}": {json_bodies.FORMS[name]}'
            raise Refused(422, f"{name}: the model has no stage that makes them: {how}")
    given = Recording(streams, id="of the request", **found)
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


def npy(body: bytes | bytearray, otherwise: str = "write it with numpy.save") -> np.ndarray:
    """The array of a `.npy` file, lying in the body itself; what its header says is checked before anything is read.

    Args:
      body: the file.
      otherwise: what to send where it is none.

    Raises:
      Refused: 400 where the body is no `.npy` file, or shorter or longer than its header says, 422 where it does not
        hold numbers.
    """
    try:
        header = read_header(io.BytesIO(memoryview(body)[:LONGEST]))
    except NotNumbers as e:
        raise Refused(422, f"{e}: save it as float32 or float16") from e
    except ValueError as e:
        raise Refused(400, f"not a .npy file ({e}): {otherwise}") from e
    there = len(body) - header.end
    if there != header.size:
        raise Refused(400, f"{there} bytes of data, {header.size} by the header: truncated, or not one array")
    if len(header.shape) != 2:
        raise Refused(422, f"an array of shape {header.shape!s:.60}: send [T, C]")
    flat = np.frombuffer(body, header.dtype, offset=header.end)
    return flat.reshape(header.shape, order="F" if header.fortran else "C")
