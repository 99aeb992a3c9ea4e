"""What all figures share: one colour per arm, type, the head with title and legend, files.

The arms' colours are those of Okabe and Ito, which stay apart for colour-blind readers. Their
lightness differs too (BYOL darkest), and each arm has its own line and marker, so that a grey print
can be read as well.
"""

import io
import textwrap

from matplotlib import style
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from byol_helpers.core.arms import ARMS, BASELINE_LABELS, label_arm
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_bytes
from byol_helpers.core.stage import Run
from byol_helpers.figures.fonts import OWN_FONT, make_readable

ARM_COLOURS = {key: arm.colour for key, arm in ARMS.items()} | {
    "ground-truth": "#F0E442",
    "keep-everything": "#63666B",
}
ARM_LINES = {key: arm.line for key, arm in ARMS.items()} | {
    "keep-everything": {"linestyle": "-", "marker": "X"},
}
BASELINE = "#A9ADB3"  # methods that have no weights, and so no colour of their own
OTHERS = (
    "#CC79A7",
    "#444444",
    "#999933",
    "#882255",
)  # for what is no arm, in the order of its appearance
INK = "#1F2430"
SOFT = "#5B6270"
FAINT = "#D9DCE1"
DPI = 150
WIDTH = 9.2  # inches: 1380 pixels, what GitHub shows without enlarging

STYLE = {
    "font.family": OWN_FONT,
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": "#9AA0AA",
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E8EC",
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": DPI,
    "svg.hashsalt": "byol",  # ids in an SVG would otherwise change from run to run
}


def use_style() -> None:
    """Set matplotlib's defaults to the style of all figures; every function here calls it."""
    style.use(STYLE)


def get_colour(name: str) -> str:
    """Colour of an arm, by its id or its label, or of ``ground-truth``; else a grey."""
    key = find_key(name)
    if key in ARMS:
        return ARMS[key].colour
    return ARM_COLOURS.get(key, BASELINE if key in BASELINE_LABELS else "#444444")


def get_line(name: str) -> dict:
    """Line style and marker of an arm, by its id or its label."""
    key = find_key(name)
    if key in ARMS:
        return ARMS[key].line
    return ARM_LINES.get(key, {"linestyle": "-", "marker": "P"})


def get_label(name: str) -> str:
    """What a reader calls an arm: ``supervised (stand-in)``."""
    return "ground truth" if name == "ground-truth" else label_arm(name)


def find_key(name: str) -> str:
    """The id of an arm, of a baseline or of the ground truth, by its id or its label."""
    for key in (*ARMS, *BASELINE_LABELS, "ground-truth"):
        if name in (key, get_label(key)):
            return key
    return name


def create_figure(
    height: float, title: str, subtitle: str = "", keys: list | None = None, width: float = WIDTH
) -> Figure:
    """An empty figure whose axes are laid out below a head: title, subtitle and legend.

    Args:
        height: of the part below the head, in inches.
        title, subtitle: lines are broken to the width.
        keys: handles for the legend, as from ``line_keys`` and ``bar_keys``.
        width: of the whole figure in inches.
    """
    use_style()
    titles = textwrap.wrap(title, int(width * 9.6)) if title else []
    lines = textwrap.wrap(subtitle, int(width * 15.2)) if subtitle else []
    head = 0.08 + 0.27 * len(titles) + 0.19 * len(lines) + (0.27 if keys else 0)
    whole = height + head
    layout = ConstrainedLayoutEngine(rect=(0, 0, 1, height / whole), w_pad=0.06, h_pad=0.06)
    fig = Figure(figsize=(width, whole), layout=layout)
    down = 0.08
    left = 0.1 / width
    for size, step, weight, ink, texts in (
        (13, 0.27, "bold", INK, titles),
        (9, 0.19, "normal", SOFT, lines),
    ):
        for text in texts:
            fig.text(
                left,
                1 - down / whole,
                text,
                size=size,
                weight=weight,
                color=ink,
                va="top",
                in_layout=False,
            )
            down += step
    if keys:
        legend = fig.legend(
            handles=keys,
            loc="upper left",
            bbox_to_anchor=(left, 1 - down / whole),
            ncols=len(keys),
            borderaxespad=0,
            borderpad=0.2,
            handlelength=2.2,
            columnspacing=1.6,
            handletextpad=0.6,
        )
        legend.set_in_layout(False)
    return fig


def make_line_keys(names: list[str]) -> list[Line2D]:
    """Legend handles of arms that are drawn as lines."""
    keys = []
    for name in names:
        key = Line2D([], [], color=get_colour(name), lw=2, label=get_label(name))
        key.set_linestyle(get_line(name)["linestyle"])
        keys.append(key)
    return keys


def make_point_keys(names: list[str]) -> list[Line2D]:
    """Legend handles of arms that are drawn as points with whiskers."""
    keys = []
    for name in names:
        key = Line2D([], [], color=get_colour(name), ms=5, lw=1.6, label=get_label(name))
        key.set_marker(get_line(name)["marker"])
        keys.append(key)
    return keys


def make_bar_keys(names: list[str]) -> list[Patch]:
    """Legend handles of arms that are drawn as bars."""
    return [Patch(color=get_colour(name), label=get_label(name)) for name in names]


def encode_png(fig: Figure, alt: str, colours: int = 256) -> bytes:
    """A figure as a PNG of 150 dots per inch on opaque white, with its description inside.

    256 colours, a third of the bytes of all of them, keep notebooks full of photographs small;
    fewer save more. The arms' colours, ink and white are always among them; the others are chosen
    from the image.
    """
    make_readable(fig)
    full = io.BytesIO()
    small = io.BytesIO()
    fig.savefig(full, format="png", dpi=DPI, facecolor="white")
    about = PngInfo()
    about.add_text("Description", alt)
    picture = Image.open(full).convert("RGB")
    fixed = []
    for ink in (*ARM_COLOURS.values(), INK, "white"):
        fixed += [round(255 * part) for part in to_rgb(ink)]
    chosen = picture.quantize(colours - len(fixed) // 3, dither=Image.Dither.NONE).getpalette()
    palette = Image.new("P", (1, 1))
    palette.putpalette((fixed + (chosen or []))[:768])
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(
        small, "PNG", optimize=True, pnginfo=about
    )
    return small.getvalue()


def encode_svg(fig: Figure, alt: str) -> bytes:
    """A figure as an SVG without a date, so that the same figure is the same file."""
    make_readable(fig)
    content = io.BytesIO()
    fig.savefig(
        content,
        format="svg",
        dpi=DPI,
        facecolor="white",
        metadata={"Description": alt, "Date": None},
    )
    return content.getvalue()


def show(fig: Figure, name: str, alt: str, run: Run | None = None, colours: int = 256):
    """Show a figure as the last expression of a notebook's cell, and keep it with the run.

    Args:
        fig: closed afterwards, so that it is not shown twice.
        name: of the files ``figures/<name>.png`` and ``.svg`` in the run folder. The SVG holds text
            and lines as such and photographs as embedded images; it has no date.
        alt: what the figure shows, in a sentence, for readers who cannot see it; not empty.
        run: where to keep the files; None keeps none.
        colours: of the PNG, at most 256; fewer make pictures full of photographs smaller.

    Returns:
        ``IPython.display.Image``; the output's metadata hold the alt text.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Image

    if not alt.strip():
        raise UserError(f"figure {name}: no alt text; say in a sentence what the picture shows")
    picture = encode_png(fig, alt, colours)
    if run is not None:
        write_bytes(run.path / "figures" / f"{name}.png", picture)
        write_bytes(run.path / "figures" / f"{name}.svg", encode_svg(fig, alt))
    plt.close(fig)
    return Image(data=picture, format="png", alt=alt)
