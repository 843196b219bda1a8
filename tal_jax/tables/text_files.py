"""Text files that users write, in whatever encoding their program chose."""

import codecs
import os
from pathlib import Path

from tal_jax.errors import InputError

MARKS = {  # byte order marks; those of UTF-32 begin as those of UTF-16 do
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip


def decoded(data: bytes, where: str) -> tuple[str, str]:
    """The text of UTF-8, or of UTF-8, UTF-16 or UTF-32 with a byte order mark, without the mark; and the encoding.

    Args:
      data: the bytes of a file.
      where: what errors begin with.

    Raises:
      InputError: another encoding, or no text.
    """
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as e:
        raise InputError(f"{where}: not text in {encoding[:6].upper()} ({e.reason}): save it as UTF-8") from e
    if "\0" in text:
        raise InputError(f"{where}: not text, or UTF-16 without a byte order mark: save it as UTF-8")
    return text, encoding


def read_text(path: str | os.PathLike, check: str = "the path") -> str:
    """Reads a text, see `decoded`.

    Args:
      path: the file to read.
      check: what to look at where the file cannot be read, such as the flag that named it.

    Raises:
      InputError: the file cannot be read, or is in another encoding.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}): check {check}") from e
    return decoded(data, str(path))[0]
