"""Bodies that ask a service for more memory or time than they have bytes, or say what no array can be; none is right.

Each is a function of a size in bytes, by name.
"""

import json
from collections.abc import Callable

Make = Callable[[int], bytes]


def filled(start: bytes, unit: bytes, end: bytes = b"") -> Make:
    """The start, then the unit as often as it fits, then the end."""
    return lambda size: start + unit * max((size - len(start) - len(end)) // len(unit), 1) + end


def numbered(start: bytes, entry: bytes, end: bytes) -> Make:
    """An object of as many names as fit, each of which is there once."""
    return lambda size: start + b",".join(entry % i for i in range(max(size // (len(entry) + 5), 1))) + end


def _strings(size: int) -> bytes:
    """20,000 short strings and one of 20,000 characters in 100 kB: in NumPy's eyes 20,000 of 20,000."""
    return b'{"features": [[' + b'"",' * (size // 5) + b'"' + b"x" * (size // 5) + b'"]]}'


def _utf16(size: int) -> bytes:
    return json.dumps({"features": [[1.5] * 5] * max(size // 60, 1)}).encode("utf-16")


JSON: dict[str, Make] = {
    "short strings and a long one": _strings,
    "rows of strings": filled(b'{"features": [', b'["a","b"],', b"[1]]}"),
    "empty lists": filled(b'{"features": [', b"[],", b"[1]]}"),
    "empty lists in a row": filled(b'{"features": [[', b"[],", b"1]]}"),
    "empty objects": filled(b'{"features": [', b"{},", b"1]}"),
    "open lists": filled(b"", b"["),
    "open lists in features": filled(b'{"features":', b"["),
    "lists opened and closed": lambda size: b'{"features":' + b"[" * (size // 2) + b"]" * (size // 2) + b"}",
    "open objects": filled(b"", b'{"a":'),
    "open objects in features": filled(b'{"features":', b'{"imu":'),
    "closed lists": filled(b'{"features": [[1]', b"]"),
    "one row of numbers": filled(b'{"features": [[', b"257,", b"1]]}"),
    "rows of one number": filled(b'{"features": [', b"[1],", b"[1,2]]}"),
    "one number": filled(b'{"features": [[', b"1", b"]]}"),
    "one number in a field": filled(b'{"stride": ', b"1", b"}"),
    "one fraction": filled(b'{"features": [[0.', b"1", b"]]}"),
    "one exponent": filled(b'{"features": [[1e', b"1", b"]]}"),
    "one string": filled(b'{"features": "', "跳".encode(), b'"}'),
    "one string of a row": filled(b'{"features": [["\xf0\x9f\x98\x80', b"x", b'"]]}'),
    "one name": filled(b'{"', b"x", b'":1}'),
    "backslashes": filled(b'{"', b"\\\\", b'":1}'),
    "many names": numbered(b"{", b'"%x":1', b"}"),
    "one name many times": filled(b"{", b'"stride":1,', b'"duration":1}'),
    "many labels": numbered(b'{"class_scores": {', b'"%x":1', b"}}"),
    "many scores": filled(b'{"class_scores": [', b"1,", b"1]}"),
    "segments that are lists": filled(b'{"proposals": {"segments": [', b"[[]],", b"[]]}}"),
    "segments that are short": filled(b'{"proposals": {"segments": [', b"[0],", b"[0,1]]}}"),
    "blanks": filled(b"", b" "),
    "blanks in a row": filled(b'{"features": [[', b" \n", b"]]}"),
    "blanks between rows": filled(b'{"features": [[1]', b"\t", b"[1]]}"),
    "commas": filled(b'{"features": [[', b",", b"]]}"),
    "constants": filled(b'{"features": [[', b"true,", b"null]]}"),
    "NaN": filled(b'{"features": [[', b"NaN,", b"Infinity]]}"),
    "minus signs": filled(b'{"features": [[', b"-", b"1]]}"),
    "zeros": filled(b"", b"\0"),
    "UTF-16": _utf16,
    "a byte order mark": filled(b'\xef\xbb\xbf{"features": [', b"[1],", b"[1]]}"),
}


def npy(header: str, *, exact: bool = False) -> Make:
    """A `.npy` file of a header and zeros; with `exact` they are none."""
    text = header.encode("latin-1")
    start = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text
    return lambda size: start + bytes(0 if exact else max(size - len(start), 0))


def _header(shape: str, descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


NPY: dict[str, Make] = {
    "sizes below zero": lambda size: npy(_header(f"(-{(size - 80) // 8}, -2)"))(size),
    "a size of -1": npy(_header("(-1, 0)"), exact=True),
    "endless and none": npy(_header(f"(0, {10**40})"), exact=True),
    "large and none": npy(_header(f"(0, {10**15})"), exact=True),
    "endless": npy(_header(f"({10**40}, {10**40})")),
    "large": npy(_header("(1000000000, 3)")),
    "true sizes": npy(_header("(True, True)")),
    "fractions": npy(_header("(1.5, 2)")),
    "many axes": npy(_header(f"({'1, ' * 900})")),
    "open brackets": npy(_header("(" * 900)),
    "signs": npy(_header("-" * 900 + "1")),
    "an expression": npy(_header("(9**9**9, 1)")),
    "objects": npy(_header("(4, 3)", "'|O'")),
    "strings": npy(_header("(4, 3)", "'<U100000'")),
    "structs": npy(_header("(4, 3)", "[('a', '<f4', (100000, 100000))]")),
    "complex numbers": npy(_header("(4, 3)", "'<c16'")),
    "an order that is none": npy(_header("(4, 3)", order="0")),
    "a name twice": npy("{'shape': (1, 3), 'shape': (1, 3), 'descr': '<f4'}"),
    "a long header": lambda size: b"\x93NUMPY\2\0\xff\xff\xff\xff" + b"{" * (size - 12),
    "blanks": npy("{" + " " * 4000),
    "a zip file": filled(b"PK\3\4", b"\0"),
    "a pickle": filled(b"\x80\x04", b"]", b"."),
    "nothing": lambda size: b"",
    "only its magic": lambda size: b"\x93NUMPY",
    "zeros": filled(b"", b"\0"),
}
