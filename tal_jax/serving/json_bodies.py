"""JSON bodies of requests, read along the places that a request has, so that their memory is the model's and no more.

A general parser builds all that a body says before anybody looks at it: empty lists take thirty times their text, and
NumPy gives 20,000 short strings the width of the longest. Here the place says what may come. Nothing else is built, a
name is there once, no more than five brackets are open, and what is too wide or too long is refused before it is read.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from tal_jax.deploy.model import Model, Segments
from tal_jax.errors import InputError

FIELDS = ("features", "stride", "duration", "class_scores", "proposals")
FORMS = {
    "class_scores": "[a number for each label] or {label: number, ..}",
    "proposals": '{"segments": [[start, end], ..] in seconds, "scores": [..]}',
}
LARGEST = float(np.finfo(np.float32).max)
PROPOSALS = 100_000  # of one recording
TEXT = 200  # bytes of one number with the blanks around it
BLANK = re.compile(rb"[ \t\n\r]{0,65536}")  # other threads wait for as long as one search takes
NAME = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.){0,1000}"')
NUMBER = re.compile(rb"-?[0-9][0-9.eE+-]{0,60}")


class Refused(InputError):
    """A request that cannot be answered, with its HTTP status."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def is_object(body: bytes | bytearray) -> bool:
    """Whether a body begins as an object of JSON does."""
    return _Reader(body).opens(b"{")


def fields(model: Model, body: bytes | bytearray, max_snippets: int) -> dict[str, Any]:
    """The fields of a body that are there and not null: arrays as arrays, those of features in the model's order.

    Args:
      model: the model that shall detect.
      body: JSON in UTF-8, `{"features": [[..], ..] | {stream: [[..], ..]}, ..}` with FIELDS.
      max_snippets: so many rows the features may have.

    Raises:
      Refused: 400 where the body is damaged, 413 where it has too many rows, 422 where it does not fit the model.
    """
    there = _Reader(body)
    found: dict[str, Any] = {}
    for name in there.members():
        if name not in FIELDS:
            raise Refused(400, f"{name!r:.40}: no such field: there are {', '.join(FIELDS)}")
        if there.null():
            continue
        if name == "features":
            found[name] = _features(there, model, max_snippets)
        elif name == "class_scores":
            found[name] = _class_scores(there, model.labels)
        elif name == "proposals":
            found[name] = _proposals(there)
        else:
            found[name] = there.number(f"{name}: not a number of seconds")
    there.end()
    if "features" not in found:
        raise Refused(400, 'JSON without features: send {"features": [[..], ..]}')
    return found


def _features(there: "_Reader", model: Model, rows: int) -> list[np.ndarray]:
    if not there.opens(b"{"):
        names = ", ".join(f"{name} [T, {c}]" for name, c in model.streams.items())
        return [there.matrix(f"features of {names}", model.channels, rows)]
    found = {}
    for name in there.members():
        if name not in model.streams:
            raise _streams(model)
        found[name] = there.matrix(f"features of {name}", model.streams[name], rows)
    if found.keys() != model.streams.keys():
        raise _streams(model)
    return [found[name] for name in model.streams]


def _streams(model: Model) -> Refused:
    return Refused(422, f"features: the model has the streams {', '.join(model.streams)}: give each")


def _class_scores(there: "_Reader", labels: Sequence[str]) -> np.ndarray:
    if not there.opens(b"{"):
        count = len(labels)
        return there.vector(f"class_scores of the {count} labels", count, count).astype(np.float32)
    known = {label: k for k, label in enumerate(labels)}
    scores = np.zeros(len(labels))
    for label in there.members():
        if label not in known:
            raise Refused(422, f"class_scores: {label!r:.40}: no label of the model: GET / lists them")
        scores[known[label]] = there.number(f"class_scores: {label!r:.40}: not a number")
    return _finite("class_scores", scores).astype(np.float32)


def _proposals(there: "_Reader") -> Segments:
    segments = scores = None
    for name in there.members() if there.opens(b"{") else ():
        if name == "segments":
            segments = there.matrix("proposals: segments", 2, PROPOSALS, np.float64)
        elif name == "scores":
            scores = there.vector("proposals: scores", 1, PROPOSALS).astype(np.float32)
        else:
            break
    else:
        if segments is not None and scores is not None:
            if segments.shape != (len(scores), 2) or (segments[:, 1] <= segments[:, 0]).any():
                shapes = f"{segments.shape} segments and {scores.shape} scores"
                raise Refused(422, f"proposals: {shapes}: [P, 2], start < end, [P]")
            return segments, scores
    raise Refused(400, f"proposals: send {FORMS['proposals']}")


class _Reader:
    """A place in a body, which moves on over what is asked for."""

    def __init__(self, body: bytes | bytearray):
        self._body, self._at = body, 0

    def opens(self, sign: bytes) -> bool:
        """Whether the next sign is this one; blanks before it are passed."""
        while found := BLANK.match(self._body, self._at):
            if found.end() == self._at:
                break
            self._at = found.end()
        return self._body[self._at : self._at + 1] == sign

    def _take(self, sign: bytes) -> bool:
        there = self.opens(sign)
        self._at += there
        return there

    def _expect(self, sign: bytes) -> None:
        if not self._take(sign):
            raise Refused(400, f"not JSON: {sign.decode()} expected at byte {self._at}")

    def end(self) -> None:
        """Nothing but blanks may follow."""
        self.opens(b"")
        if self._at < len(self._body):
            raise Refused(400, f"not JSON: more after its end, at byte {self._at}")

    def null(self) -> bool:
        """Whether a null comes next, which is passed."""
        self.opens(b"")
        there = self._body[self._at : self._at + 4] == b"null"
        self._at += 4 * there
        return there

    def members(self) -> Iterator[str]:
        """The names of an object, each once; the caller reads a value after each."""
        seen: set[str] = set()
        self._expect(b"{")
        while not self._take(b"}"):
            if seen:
                self._expect(b",")
            self.opens(b"")
            name = self._parsed(NAME.match(self._body, self._at), f"not JSON: no name in quotes at byte {self._at}")
            if name in seen:
                raise Refused(400, f"{name!r:.40}: twice in one object: keep one of them")
            seen.add(name)
            self._expect(b":")
            yield name

    def number(self, otherwise: str) -> float:
        """A number. `otherwise` says what is wrong where there is none."""
        self.opens(b"")
        return self._parsed(NUMBER.match(self._body, self._at), otherwise)

    def _parsed(self, found: re.Match | None, otherwise: str) -> Any:
        if found is None:
            raise Refused(400, otherwise)
        self._at = found.end()
        try:
            return orjson.loads(found[0])
        except orjson.JSONDecodeError as e:
            raise Refused(400, otherwise) from e

    def vector(self, what: str, least: int, most: int) -> np.ndarray:
        """A list of `least` to `most` numbers, float64 [n]."""
        if not self.opens(b"["):
            raise Refused(422, f"{what}: not numbers [..]")
        return _finite(what, self._row(what, least, most))

    def matrix(self, what: str, width: int, most: int, dtype: Any = np.float32) -> np.ndarray:
        """A list of 1 to `most` rows of `width` numbers, [n, width]."""
        if not self._take(b"["):
            raise Refused(422, f"{what}: not numbers [[..], ..]")
        count, found = 0, np.empty((0, width), dtype)
        while not count or not self._take(b"]"):
            if count:
                self._expect(b",")
            if not self.opens(b"["):
                raise Refused(422, f"{what}: not numbers [[..], ..]: row {count} is no list")
            if count == most:
                raise Refused(413, f"{what}: more than {most} rows: at most {most} in one request")
            row = self._row(f"{what}: row {count}", width, width)
            if not count:  # each number takes two bytes of text at least
                found = np.empty((min(most, 1 + (len(self._body) - self._at) // (2 * width)), width), dtype)
            with np.errstate(over="ignore"):  # see `_finite`
                found[count] = row
            count += 1
        return _finite(what, found[:count])

    def _row(self, what: str, least: int, most: int) -> np.ndarray:
        """A list of so many numbers, looked at before any of them is built."""
        body, begin = self._body, self._at
        end = body.find(b"]", begin)
        if end < 0:
            raise Refused(400, f"not JSON: the list at byte {begin} has no end")
        if any(body.find(sign, begin + 1, end) >= 0 for sign in (b'"', b"{", b"[")):
            raise Refused(422, f"{what}: not numbers in the list at byte {begin}")
        if not least <= (count := body.count(b",", begin, end) + (end > begin + 1)) <= most:
            wanted = f"{least} to {most}" if least < most else most
            raise Refused(422, f"{what}: {count} numbers in a list of {wanted}")
        if end - begin > TEXT * (count + 1):
            raise Refused(422, f"{what}: {end - begin} bytes of text for {count} numbers")
        self._at = end + 1
        try:
            row = orjson.loads(body[begin : end + 1])
        except orjson.JSONDecodeError as e:
            raise Refused(400, f"not JSON: the list at byte {begin} ({e!s:.80})") from e
        if not row or not set(map(type, row)) <= {int, float}:
            raise Refused(422, f"{what}: not numbers in the list at byte {begin}")
        return np.array(row, np.float64)


def _finite(what: str, array: np.ndarray) -> np.ndarray:
    if not max(abs(float(array.min())), abs(float(array.max()))) <= LARGEST:
        raise Refused(422, f"{what}: numbers that are not finite in float32")
    return array
