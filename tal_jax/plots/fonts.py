"""Letters of all scripts in pictures: fonts of this machine that have them, and what to install where none has."""

import contextlib
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Debian's packages; elsewhere the fonts have the same names.
CHINESE = "Noto Sans CJK (fonts-noto-cjk)"
OTHERS = "Noto Sans {} (fonts-noto-core)"
EMOJI = "Symbola (fonts-symbola)"  # emoji in colour are bitmaps, which matplotlib does not draw
REMEDIES = {"Chinese, Japanese or Korean": CHINESE, "emoji": EMOJI}
EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH", "KANGXI")
LAST_RESORT = "Last Resort"  # draws boxes


def choose_fonts(figure: "Figure") -> str:
    """Gives all text of a figure further fonts for the letters that its own one lacks.

    Returns:
      A line that names the scripts that no font of this machine has, and what to install; "" where there is none.
    """
    from matplotlib import font_manager
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    wanted = {ord(c) for text in texts for c in text.get_text() if not _unseen(c)}
    own = font_manager.FontProperties()
    missing = wanted - _letters(font_manager.findfont(own))
    if not missing:
        return ""
    families, missing = _covering(missing)
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), *(f for f in families if f not in text.get_fontfamily())])
    return note(map(chr, missing))


def note(letters: Iterable[str]) -> str:
    """The line that names the scripts of letters that cannot be drawn, and the remedy; "" of none."""
    found = sorted({script(letter) for letter in letters})
    if not found:
        return ""
    fonts = dict.fromkeys(REMEDIES.get(name, OTHERS.format(name)) for name in found)
    return f"no installed font has {', '.join(found)}: boxes are drawn instead: install {', '.join(fonts)}"


def say_missing(path: object, line: str) -> None:
    """Prints the line of a picture that `choose_fonts` or `note` returned."""
    if line:
        print(f"{path}: {line}", file=sys.stderr, flush=True)


def undrawable(texts: Iterable[str]) -> set[str]:
    """The letters of texts that no font of this machine has, as far as matplotlib, which looks for them, is there."""
    letters = {ord(c) for text in texts for c in text if ord(c) > 0x24F and not _unseen(c)}
    with contextlib.suppress(ImportError):
        return {chr(c) for c in _covering(letters)[1]} if letters else set()
    return set()


def script(letter: str) -> str:
    """What people call the script of a letter."""
    name = unicodedata.name(letter, "")
    word = name.split(" ")[0].split("-")[0]
    if word in EAST_ASIAN:
        return "Chinese, Japanese or Korean"
    if unicodedata.category(letter) in ("So", "Sk", "Cn") and ord(letter) >= 0x2190:
        return "emoji"
    return word.capitalize() if name and unicodedata.category(letter)[0] in "LMN" else "Symbols"


def _covering(missing: set[int]) -> tuple[list[str], set[int]]:
    """Families of the fewest fonts that have as many of the letters as any, and the letters that none has."""
    from matplotlib import font_manager

    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:  # installed since matplotlib last looked
            with contextlib.suppress(Exception):  # whatever is wrong with a font, there are others
                font_manager.fontManager.addfont(path)
    candidates: dict[str, tuple[tuple, set[int]]] = {}
    for entry in font_manager.fontManager.ttflist:
        plain = (entry.style == "normal", entry.weight in (400, "normal", "regular"), "Sans" in entry.name)
        has = set() if entry.name.startswith(LAST_RESORT) else _letters(entry.fname) & missing
        if has and plain > candidates.get(entry.name, ((), set()))[0]:
            candidates[entry.name] = (plain, has)
    families: list[str] = []
    while missing and candidates:
        name = max(candidates, key=lambda n: (len(candidates[n][1] & missing), candidates[n][0], n))
        has = candidates.pop(name)[1] & missing
        if not has:
            break
        if drawn := _drawn(name, has):
            families.append(name)
            missing = missing - drawn
    return families, missing


def _letters(path: str) -> set[int]:
    """The letters of a font's file."""
    from matplotlib.ft2font import FT2Font

    try:
        return set(FT2Font(path).get_charmap()) if Path(path).is_file() else set()
    except (RuntimeError, OSError):
        return set()


def _drawn(family: str, letters: set[int]) -> set[int]:
    """Those letters that matplotlib can draw: of a font of bitmaps, none."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(font_manager.findfont(font_manager.FontProperties(family=[family]), fallback_to_default=False))
        font.set_size(10, 72)
        return {c for c in letters & set(font.get_charmap()) if font.load_char(c).width > 0}
    except (RuntimeError, OSError, ValueError):
        return set()


def _unseen(letter: str) -> bool:
    """Whether a letter has no picture of its own: spaces, joiners, variations of the one before."""
    return letter.isspace() or unicodedata.category(letter) in ("Cf", "Cc") or 0xFE00 <= ord(letter) <= 0xFE0F
