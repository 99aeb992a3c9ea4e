"""Texts of figures in any script.

matplotlib's own font has Latin, Greek, Cyrillic and some more. For a name in another script a font
that has it is looked for among those of the machine; where there is none, the name is written with
the numbers of its characters, so that no figure shows squares, and a note says so once.
"""

import unicodedata
from collections.abc import Iterable
from functools import cache

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, fontManager, get_font
from matplotlib.text import Text
from matplotlib.ticker import Formatter

OWN_FONT = "DejaVu Sans"  # comes with matplotlib: the same picture on every machine
# Fonts whose characters are not what their numbers say, and the one that draws all as boxes.
UNFIT = ("cm", "STIXNonUnicode", "STIXSize", "Last Resort")
_noted: set[str] = set()


def make_readable(fig: Figure) -> None:
    """Give the texts of a figure fonts that have their characters, or write their numbers."""
    texts = [text for text in fig.findobj(Text) if isinstance(text, Text)]
    axes = [axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)]
    labels = {axis: [label.get_text() for label in axis.get_ticklabels()] for axis in axes}
    said = [text.get_text() for text in texts] + sum(labels.values(), [])
    missing = find_missing("".join(said))
    if not missing:
        return
    fonts = find_fonts(missing)
    unknown = missing.difference(*(_list_characters(font.fname) for font in fonts))
    family = [OWN_FONT, *(font.name for font in fonts)]
    for text in texts:
        if missing & set(text.get_text()):
            text.set_fontfamily(family)
            text.set_text(spell_out(text.get_text(), unknown))
    for axis, names in labels.items():
        if missing & set("".join(names)):
            axis.set_tick_params(labelfontfamily=family)
            _spell_out_labels(axis, unknown)
    _note(unknown)


def find_missing(text: str) -> set[str]:
    """The characters that matplotlib's own font does not have."""
    path = next(font.fname for font in fontManager.ttflist if font.name == OWN_FONT)
    return {one for one in text if one.isprintable()} - _list_characters(path) - {" "}


def find_fonts(characters: Iterable[str]) -> list[FontEntry]:
    """Fonts of this machine that have these characters between them, as far as there are any.

    The one with most of them comes first; of two alike the first by name.
    """
    missing = set(characters)
    chosen = []
    upright = [font for font in fontManager.ttflist if font.style == "normal"]
    fitting = [font for font in upright if not font.name.startswith(UNFIT)]
    fitting.sort(key=lambda font: (font.name, font.weight != 400))
    while missing:
        best = max(fitting, key=lambda font: len(missing & _list_characters(font.fname)))
        found = missing & _list_characters(best.fname)
        if not found:
            break
        chosen.append(best)
        missing -= found
    return chosen


@cache
def _list_characters(path: str) -> frozenset[str]:
    """The characters that a font has; none of one that cannot be read."""
    try:
        return frozenset(map(chr, get_font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


def spell_out(text: str, unknown: set[str]) -> str:
    """A text with simpler forms of its unknown characters, or else their numbers: ``U+732B``."""
    words = []
    for one in text:
        simple = unicodedata.normalize("NFKD", one)
        if one not in unknown:
            words.append(one)
        elif simple.isascii():
            words.append(simple)
        else:
            words.append(f" U+{ord(one):04X} ")
    return " ".join("".join(words).split(" ")).replace("  ", " ").strip()


class _SpelledOut(Formatter):
    """Another formatter's labels, spelled out."""

    def __init__(self, formatter: Formatter, unknown: set[str]):
        self.formatter = formatter
        self.unknown = unknown

    def __call__(self, x: float, pos: int | None = None) -> str:
        return spell_out(self.formatter(x, pos), self.unknown)

    def set_locs(self, locs) -> None:
        self.formatter.set_locs(locs)

    def get_offset(self) -> str:
        return self.formatter.get_offset()


def _spell_out_labels(axis: Axis, unknown: set[str]) -> None:
    formatter = axis.get_major_formatter()
    if unknown and not isinstance(formatter, _SpelledOut):
        locator = axis.get_major_locator()
        axis.set_major_formatter(_SpelledOut(formatter, unknown))
        axis.set_major_locator(locator)


def _note(unknown: set[str]) -> None:
    """Say once of each character that no font here has it."""
    new = sorted(unknown - _noted)
    if not new:
        return
    _noted.update(new)
    more = f" and {len(new) - 5} more" if len(new) > 5 else ""
    print(
        f"note: no font of this machine has {' '.join(new[:5])}{more}, so figures show their "
        "numbers; install one of that script, for example Noto Sans, to see them",
        flush=True,
    )
