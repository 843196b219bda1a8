"""Scripts in pictures: a font that has the letters is found, and what none has is said."""

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure

from tal_jax.plots import fonts
from tal_jax.plots.detections import printable, save


def make_font(path, letters, family):
    """A font whose letters are all the same square."""
    pen = TTGlyphPen(None)
    for place in ((0, 0), (0, 500), (500, 500), (500, 0)):
        (pen.moveTo if place == (0, 0) else pen.lineTo)(place)
    pen.closePath()
    square, names = pen.glyph(), [".notdef", *(f"u{ord(c):04X}" for c in letters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(c): f"u{ord(c):04X}" for c in letters})
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


def picture(*texts):
    figure = Figure(figsize=(3, 1))
    for i, text in enumerate(texts):
        figure.text(0.1, 0.1 + 0.2 * i, text)
    return figure


@pytest.fixture
def no_other_fonts(monkeypatch):
    """Fonts that a machine may have: those that come with matplotlib alone."""
    own = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *args, **kwargs: [])


def test_missing_scripts_are_named_with_what_to_install(tmp_path, no_other_fonts, capsys):
    path = tmp_path / "p.png"
    save(picture("走る", "चलना", "🏃", "idti", "идти"), path)
    assert capsys.readouterr().err == (
        f"{path}: no installed font has Chinese, Japanese or Korean, Devanagari, emoji: boxes are drawn instead: "
        "install Noto Sans CJK (fonts-noto-cjk), Noto Sans Devanagari (fonts-noto-core), Symbola (fonts-symbola)\n"
    )
    save(picture("идти", "größe", "a\u200cb"), path)
    save(picture("走る"), tmp_path / "p.svg")
    assert capsys.readouterr().err == ""
    assert "走る</text>" in (tmp_path / "p.svg").read_text()  # as text, for the fonts of whoever looks at it


def test_a_font_that_was_just_installed_is_found(tmp_path, no_other_fonts, monkeypatch, capsys):
    make_font(tmp_path / "one.ttf", "走る跳", "One Sans")
    make_font(tmp_path / "two.ttf", "走चलना", "Two Sans")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    files = [str(tmp_path / f"{name}.ttf") for name in ("broken", "one", "two")]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *args, **kwargs: files)
    figure = picture("走る jump", "चलना")
    assert fonts.choose_fonts(figure) == ""
    assert [text.get_fontfamily()[-2:] for text in figure.texts] == 2 * [["Two Sans", "One Sans"]]
    save(figure, tmp_path / "p.png")
    assert capsys.readouterr().err == ""
    assert fonts.undrawable(["跳る", "चल", "jump", "ไทย"]) == set("ไทย")
    assert "Noto Sans Thai" in fonts.note("ไทย")


@pytest.mark.parametrize(
    ("letters", "name"),
    [
        ("走る걷カ", "Chinese, Japanese or Korean"),
        ("ي", "Arabic"),
        ("च", "Devanagari"),
        ("ไ", "Thai"),
        ("א", "Hebrew"),
        ("🏃☃", "emoji"),
    ],
)
def test_scripts_by_name(letters, name):
    assert {fonts.script(letter) for letter in letters} == {name}


def test_labels_on_one_line():
    persian = "\u06a9\u062a\u0627\u0628\u200c\u0647\u0627"
    assert printable(persian) == persian
    assert printable("👩\u200d🚀") == "👩\u200d🚀"
    assert printable("a\x1b[2J\u202eb\nc") == "a?[2J?b?c"
