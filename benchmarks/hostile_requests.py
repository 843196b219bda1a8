"""Requests that a service refuses: hostile bodies, and heads, sizes, chunks and encodings that lie; none is right.

`request(rng, size, limit)` is a function of its arguments: a name, and the bytes to send on a connection of their own.
"""

import gzip
import random
from collections.abc import Callable

from benchmarks.hostile_bodies import JSON, NPY

SLOW = 0.01  # share of requests that keep the service waiting


def head(*headers: str, first: str = "POST /detect?stride=0.2 HTTP/1.1") -> bytes:
    """The head of a request."""
    return "\r\n".join([first, "host: x", *headers, "", ""]).encode("latin-1")


def sized(kind: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A request with a body, of the length that it says or another."""
    length = len(body) if length is None else length
    return head(f"content-type: {kind}", f"content-length: {length}", *headers) + body


def chunked(kind: str, body: bytes, size: int, end: bytes = b"0\r\n\r\n") -> bytes:
    """A request whose body comes in chunks."""
    parts = (body[i : i + size] for i in range(0, len(body), size))
    start = head(f"content-type: {kind}", "transfer-encoding: chunked")
    return start + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + end


JSON_KIND, NPY_KIND = "application/json", "application/x-npy"
BEHIND = "GET /behind HTTP/1.1"  # many of them at a time on one connection, whose last answer counts
Make = Callable[[random.Random, int, int], bytes]


def _json(rng: random.Random, size: int, limit: int) -> bytes:
    return sized(JSON_KIND, JSON[rng.choice(list(JSON))](size)[:limit])


def _npy(rng: random.Random, size: int, limit: int) -> bytes:
    return sized(NPY_KIND, NPY[rng.choice(list(NPY))](size)[:limit])


def _json_in_chunks(rng: random.Random, size: int, limit: int) -> bytes:
    return chunked(JSON_KIND, JSON[rng.choice(list(JSON))](size)[:limit], rng.choice((100, 5000, 100_000)))


def _single_bytes(rng: random.Random, size: int, limit: int) -> bytes:
    return chunked(JSON_KIND, b"[" * min(size, 20_000), 1)


def _too_large(rng: random.Random, size: int, limit: int) -> bytes:
    return sized(rng.choice((JSON_KIND, NPY_KIND)), b"[" * (limit + rng.randrange(1, limit)))


def _chunks_without_end(rng: random.Random, size: int, limit: int) -> bytes:
    return chunked(JSON_KIND, b"[" * (2 * limit), 65536, b"")


def _length_that_lies(rng: random.Random, size: int, limit: int) -> bytes:
    said = rng.choice((10**12, 2**63, 2**64 + 5, 10**40, limit + 1))
    return sized(JSON_KIND, b"[[1]]", length=said)


def _length_that_is_none(rng: random.Random, size: int, limit: int) -> bytes:
    said = rng.choice(("-1", "1e3", "0x10", "", "5, 6", "5\r\ncontent-length: 6", "+5", " 5 5", "٣"))
    return (
        f"POST /detect HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON_KIND}\r\ncontent-length: {said}\r\n\r\n[[1]]".encode()
    )


def _both_lengths(rng: random.Random, size: int, limit: int) -> bytes:
    return (
        head(f"content-type: {JSON_KIND}", "content-length: 5", "transfer-encoding: chunked")
        + b"5\r\n[[1]]\r\n0\r\n\r\n"
    )


def _shorter_than_it_is(rng: random.Random, size: int, limit: int) -> bytes:
    return sized(JSON_KIND, b'{"features": [[1' + b"1" * size, length=12)


def _wrong_chunks(rng: random.Random, size: int, limit: int) -> bytes:
    wrong = rng.choice(
        (b"xyz\r\n", b"-5\r\n", b"f" * 40 + b"\r\n", b"5;" + b"a" * 200_000, b"5\r\n[[1]]1]\r\n", b"\0\0\0")
    )
    return head(f"content-type: {JSON_KIND}", "transfer-encoding: chunked") + wrong


def _trailers(rng: random.Random, size: int, limit: int) -> bytes:
    more = b"".join(b"x%d: y\r\n" % i for i in range(30_000)) if rng.random() < 0.5 else b"x: " + b"y" * 300_000
    return chunked(JSON_KIND, b"[[1]]", 5, b"0\r\n" + more + b"\r\n")


def _encodings(rng: random.Random, size: int, limit: int) -> bytes:
    said = rng.choice(("gzip", "deflate", "br", "zstd", "identity, gzip", "GZIP", "x" * 1000))
    return sized(JSON_KIND, gzip.compress(b" " * 10 * size, 9), f"content-encoding: {said}")


def _transfer_encodings(rng: random.Random, size: int, limit: int) -> bytes:
    said = rng.choice(("gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "x", "identity"))
    return head(f"content-type: {JSON_KIND}", f"transfer-encoding: {said}") + b"5\r\n[[1]]\r\n0\r\n\r\n"


def _kinds(rng: random.Random, size: int, limit: int) -> bytes:
    kinds = (
        "text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "", "application/json+x",
        "application/json; charset=utf-16", "application/x-npy, application/json", "x/" + "y" * 1000, "\xff\xfe",
    )  # fmt: skip
    return sized(rng.choice(kinds), b'{"features": [[1, 2, 3]]}' + b" " * size)


def _queries(rng: random.Random, size: int, limit: int) -> bytes:
    query = rng.choice(QUERIES)
    body = b'{"features": [[1, 2, 3]]}'
    first = f"POST /detect?{query} HTTP/1.1"
    return head(f"content-type: {JSON_KIND}", f"content-length: {len(body)}", first=first) + body


def _heads(rng: random.Random, size: int, limit: int) -> bytes:
    return head(
        *rng.choice(
            (
                [f"x{i}: y" for i in range(20_000)],
                ["x: " + "y" * 300_000],
                ["x" * 300_000 + ": y"],
                [f"x{i}: " + "y" * 1000 for i in range(150)],
                [f"content-type: {JSON_KIND}"] * 500,
                ["cookie: " + "a=b; " * 60_000],
            )
        )
    )


def _damaged_heads(rng: random.Random, size: int, limit: int) -> bytes:
    noise = rng.randbytes(300) + b"\r\n\r\n"
    return rng.choice((*DAMAGED, noise, b"POST /" + noise, b"POST /detect HTTP/1.1\r\n" + noise))


def _places(rng: random.Random, size: int, limit: int) -> bytes:
    first = rng.choice(PLACES)
    host = rng.choice(("x", "[", "]:1", "a b", "x" * 1000, "\xff", ""))
    return f"{first} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode("latin-1")


def _upgrades(rng: random.Random, size: int, limit: int) -> bytes:
    to = rng.choice(("websocket", "h2c", "TLS/1.0"))
    first = rng.choice(("GET /detect HTTP/1.1", "POST /else HTTP/1.1"))
    return head("connection: upgrade", f"upgrade: {to}", "content-length: 5", first=first) + b"[[1]]" + bytes(1000)


def _pipelined(rng: random.Random, size: int, limit: int) -> bytes:
    return head(first=BEHIND) * rng.choice((2, 30, 10_000)) + b"\0\0"


def _expecting(rng: random.Random, size: int, limit: int) -> bytes:
    return sized(JSON_KIND, b"[" * size, "expect: 100-continue")


def _incomplete(rng: random.Random, size: int, limit: int) -> bytes:
    whole = rng.choice((sized(JSON_KIND, b"[" * size), chunked(NPY_KIND, bytes(size), 5000)))
    return whole[: rng.choice((20, 60, len(whole) // 2, len(whole) - 1))]


QUERIES = (
    "stride=nan", "stride=inf", "stride=-1", "stride=0", "stride=1e-300", "duration=1e300", "top=0", "top=-5",
    "top=1.5", "top=" + "9" * 5000, "min_score=nan", "min_score=x", "x=1", "stride=1&stride=2", "&".join("ab" * 900),
    "%0a%0d=1", "%ff=1", "stride=%00", "a" * 1900, "=" * 500, "stride=1" + "&" * 9000, "stride=" + "1" * 100_000,
)  # fmt: skip
DAMAGED = (
    b"\0" * 1000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST\r\n\r\n", b"POST /detect\r\n\r\n", b"POST /detect HTTP/9.9\r\n\r\n", b"BREW /detect HTTP/1.1\r\n\r\n",
    b"POST /detect HTTP/1.1\r\nx y: z\r\n\r\n", b"POST /detect HTTP/1.1\r\n: z\r\n\r\n", b"\r\n" * 200_000,
    b"POST /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n", b"POST /detect HTTP/1.1\r\nx: \0\r\n\r\n", b"GET " + b"/a" * 200_000,
    b"POST /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", b"POST http://[/ HTTP/1.1\r\nhost: x\r\n\r\n",
)  # fmt: skip
PLACES = (
    "GET /detect", "PUT /detect", "DELETE /", "POST /", "POST /healthz", "POST /detect/", "POST /metrics", "GET /else",
    "GET /../../etc/passwd", "GET /%2e%2e/x", "GET /%00", "GET /%ff", "OPTIONS *", "GET http://y/z", "GET //detect",
    "PATCH /detect", "TRACE /", "CONNECT y:1",
)  # fmt: skip
REQUESTS: dict[Make, int] = {  # how often, beside the others
    _json: 40, _npy: 15, _json_in_chunks: 5, _single_bytes: 1, _too_large: 2, _chunks_without_end: 2,
    _length_that_lies: 2, _length_that_is_none: 2, _both_lengths: 1, _shorter_than_it_is: 2, _wrong_chunks: 2,
    _trailers: 2, _encodings: 2, _transfer_encodings: 2, _kinds: 3, _queries: 4, _heads: 3, _damaged_heads: 3,
    _places: 3, _upgrades: 1, _pipelined: 2, _expecting: 1,
}  # fmt: skip


def request(rng: random.Random, size: int, limit: int) -> tuple[str, bytes]:
    """A hostile request.

    Args:
      rng: what it is drawn from.
      size: about how many bytes it shall have where it can have any.
      limit: the largest body that the service takes.

    Returns:
      The name of its kind, and its bytes.
    """
    if rng.random() < SLOW:
        return "incomplete", _incomplete(rng, size, limit)
    (make,) = rng.choices(list(REQUESTS), list(REQUESTS.values()))
    return make.__name__.strip("_"), make(rng, size, limit)
