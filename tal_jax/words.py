"""Names that people give: what a label or an id may be made of, which are nearly the same, and which one was meant."""

import difflib
import os
import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import Any

from tal_jax.errors import InputError

# Zero-width non-joiner and joiner: without them Persian words and composed emoji cannot be written.
JOINERS = "\u200c\u200d"
# A flag of a region, such as that of Scotland: letters that nobody sees, between a flag and their end.
REGION_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
PERSIAN = str.maketrans("\u064a\u0643", "\u06cc\u06a9")  # Arabic yeh and kaf, which keyboards exchange for these
LONGEST = 200  # characters that are compared: more would only take time


def fault(text: str) -> str:
    """What keeps a text from being one line that people can read; "" where nothing does.

    Letters, marks, signs and emoji of all scripts are taken, with spaces of any width and the joiners that some scripts
    need. Control characters, line breaks and marks that turn the order of the text around them are not.
    """
    rest = REGION_FLAG.sub("\U0001f3f4", text)
    for place, character in enumerate(rest):
        if not allowed(character):
            name = unicodedata.name(character, "a control character" if ord(character) < 0xA0 else "no letter")
            return f"it holds U+{ord(character):04X} ({name}) at place {place + 1}"
    return "" if any(_visible(character) for character in rest) else "nothing of it can be seen"


def allowed(character: str) -> bool:
    """Whether a character may stand in one line of text that people read; see `fault`."""
    # Characters that this Python does not know yet are mostly emoji; the last two of every plane are none at all.
    group, code = unicodedata.category(character), ord(character)
    unknown = group == "Cn" and code & 0xFFFE != 0xFFFE and not 0xFDD0 <= code <= 0xFDEF
    return character.isprintable() or character in JOINERS or group == "Zs" or unknown


def check_label(where: str | os.PathLike, label: Any) -> str:
    """Returns a label if it may name a class: text for which there is no `fault`.

    Args:
      where: the file and record that have it, for the message.
      label: the label as read.

    Raises:
      InputError: it is no text, or has a fault.
    """
    if not isinstance(label, str):
        raise InputError(f"{where}: label {label!a:.60} is not text: write it in quotes")
    if wrong := fault(label):
        raise InputError(f"{where}: label {label!a:.60} is not a line of text, {wrong}: correct it")
    return label


def quoted(text: str) -> str:
    """A name in quotes for messages, with everything that has a fault escaped."""
    return f"'{text}'" if not text.isprintable() and not fault(text) else repr(text)


def shown(text: str) -> str:
    """A name as it is where people can read it, else escaped and in quotes."""
    return repr(text) if fault(text) else text


def near_equal(labels: Iterable[str]) -> list[tuple[str, ...]]:
    """Labels that are probably one class, written differently: "jump", "jump " and "Jump"; "high_jump" and "HighJump".

    Case, spaces, hyphens, underscores, joiners and forms that look alike do not count. Spelling does: "c001" and "c002"
    are two classes.

    Returns:
      Groups of two labels or more, each sorted, sorted by their first.
    """
    groups: dict[str, list[str]] = {}
    for label in sorted(set(labels)):
        groups.setdefault(_bare(label), []).append(label)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def closest(key: str, names: Iterable[str]) -> str | None:
    """The name that is most like `key`, case, hyphens and underscores aside; None where none is like it."""
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(_plain(name), name)
    found = difflib.get_close_matches(_plain(key), plain, 1)
    return plain[found[0]] if found else None


def nearest(key: str, names: Iterable[str]) -> str:
    """A question for messages, whether the name that is most like `key` was meant; "" where none is like it."""
    name = closest(key, names)
    return "" if name is None else f"did you mean {quoted(name)}?"


def hint(key: str, names: Collection[str], otherwise: str = "it has") -> str:
    """The question of `nearest`; where no name is like `key`, those that there are: `otherwise`, then up to 20."""
    known = list(names)
    more = f" and {len(known) - 20} more" if len(known) > 20 else ""
    return nearest(key, known) or f"{otherwise} {', '.join(map(shown, known[:20])) or 'none'}{more}"


def _visible(character: str) -> bool:
    group = unicodedata.category(character)
    return group == "Cn" or group[0] not in "ZCM"


def _plain(name: str) -> str:
    return re.sub(r"[_\-\s]+", " ", name[:LONGEST].casefold()).strip()


def _bare(label: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold()).translate(PERSIAN)
    kept = (c for c in text if unicodedata.category(c) not in ("Zs", "Zl", "Zp", "Cc", "Cf", "Pd", "Pc"))
    return "".join(c for c in kept if not 0xFE00 <= ord(c) <= 0xFE0F) or label
