"""Names in any script: drawn with a font that has them, or spelled out with one note."""

import warnings

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from byol_helpers.figures import fonts, style
from byol_helpers.figures.style import create_figure, encode_png, encode_svg

CAT = "\u732b"  # Chinese and Japanese


@pytest.fixture(autouse=True)
def nothing_noted(monkeypatch):
    """The fonts that come with matplotlib, none of which has Chinese, and no note so far."""
    own = [font for font in fontManager.ttflist if "matplotlib" in font.fname]
    monkeypatch.setattr(fontManager, "ttflist", own)
    monkeypatch.setattr(fonts, "_noted", set())


def add_font(folder, character: str) -> None:
    """Give this machine a font that has one character, a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord(character): "cat"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "cat": square})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "cat": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Test Cats", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(folder / "cats.ttf")
    fontManager.addfont(folder / "cats.ttf")


def draw_names(name: str):
    """A figure with a name in its title, a legend, at the ticks of both axes, and in the plot."""
    fig = create_figure(2, f"Found: {name}")
    ax = fig.subplots()
    ax.barh([name, "dog"], [3, 2], label=name)
    ax.set_xticks([1, 2], [name, "two"])
    ax.text(1, 0, name)
    ax.legend()
    return fig


def list_texts(fig) -> list[str]:
    return [text.get_text() for text in fig.findobj(Text) if text.get_text()]


def test_a_font_that_has_the_characters_is_found(tmp_path, capsys):
    add_font(tmp_path, CAT)
    fig = draw_names(CAT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_png(fig, "cats")
        encode_svg(fig, "cats")
    assert sum(CAT in text for text in list_texts(fig)) >= 5
    assert capsys.readouterr().out == ""
    family = ["DejaVu Sans", "Test Cats"]
    drawn = [text for text in fig.findobj(Text) if CAT in text.get_text()]
    assert all(text.get_fontfamily() == family for text in drawn)


def test_without_a_font_names_are_spelled_out_with_one_note(capsys):
    fig = draw_names(f"{CAT}s")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_png(fig, "cats")
        encode_svg(fig, "cats")
        encode_png(draw_names(CAT), "cats")
    texts = list_texts(fig)
    assert sum("U+732B s" in text for text in texts) >= 5
    assert not any(CAT in text for text in texts) and "dog" in texts and "two" in texts
    said = capsys.readouterr().out
    assert said.startswith(f"note: no font of this machine has {CAT},") and said.count("\n") == 1


def test_texts_that_can_be_drawn_stay_as_they_are(monkeypatch):
    names = "Größe, γάτα, кошка, חתול"
    assert fonts.find_missing(names) == set()
    image = encode_png(draw_names(names), "cats")
    monkeypatch.setattr(style, "make_readable", lambda fig: None)
    assert encode_png(draw_names(names), "cats") == image


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("猫 2", "U+732B 2"),
        ("\uff23\uff21\uff34", "CAT"),  # full width
        ("a猫犬b", "a U+732B U+72AC b"),
        ("dog", "dog"),
    ],
)
def test_what_is_spelled_out(text, spelled):
    assert fonts.spell_out(text, fonts.find_missing(text)) == spelled
