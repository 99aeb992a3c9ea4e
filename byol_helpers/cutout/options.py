"""The options of the command ``cutout``, and what they mean."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import expand_path

if TYPE_CHECKING:
    from byol_helpers.cutout.cut_files import Predict, Summary


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options; imports nothing, so that other commands stay quick."""
    parser.add_argument("inputs", type=expand_path, nargs="+", metavar="IMAGE_OR_VIDEO_OR_FOLDER")
    parser.add_argument(
        "--weights", type=expand_path, required=True, help="model.pth of a finetune folder"
    )
    parser.add_argument(
        "--out",
        type=expand_path,
        required=True,
        help="folder for the cut-outs: .png, videos .mov or .mp4; for a single file also its name",
    )
    which = parser.add_argument_group("which object; the options narrow the choice together")
    which.add_argument("--rule", default="confident", choices=("confident", "largest", "all"))
    which.add_argument(
        "--class", dest="category", metavar="NAME", help="only objects of this category"
    )
    which.add_argument(
        "--point", metavar="X,Y", help="only objects that cover this pixel of the upright picture"
    )
    which.add_argument(
        "--number", type=int, metavar="N", help="the N-th by score, from 1 on, instead of the rule"
    )
    which.add_argument(
        "--score", type=float, default=0.5, help="least score of a detection (default: 0.5)"
    )
    look = parser.add_argument_group("what it looks like")
    look.add_argument(
        "--fill",
        default="transparent",
        metavar="transparent|blur|COLOUR|FILE",
        help="in place of the background (default: transparent); COLOUR is white, #00b140 or so, "
        "FILE a picture, cut to fit",
    )
    look.add_argument(
        "--black",
        dest="fill",
        action="store_const",
        const="black",
        help="--fill black, as the thesis",
    )
    look.add_argument(
        "--edge",
        type=float,
        default=0.0,
        metavar="PIXELS",
        help="soften the edge (default: 0, hard)",
    )
    look.add_argument(
        "--close",
        type=int,
        default=0,
        metavar="PIXELS",
        help="fill holes and drop specks of up to this many pixels (default: 0, none)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="make files that are there already again"
    )


def run_cutout(
    options: argparse.Namespace, categories: Sequence[dict], load: Callable[[], "Predict"]
) -> "Summary":
    """Check the options and cut out.

    Args:
        options: as ``add_options`` declares them.
        categories: the COCO categories that the model knows.
        load: gives the function from an image to its COCO results, as ``cut_out`` takes it; called
            once everything else is right.

    Raises:
        UserError: an option that cannot be followed, or as ``cut_out``.
    """
    from byol_helpers.background.removal import find_category_id
    from byol_helpers.cutout.cut_files import cut_out

    if not 0 <= options.score <= 1:
        raise UserError(f"--score {options.score}: give a number from 0 to 1")
    if options.number is not None and options.number < 1:
        raise UserError(f"--number {options.number}: the first is 1")
    if not 0 <= options.edge <= 100:
        raise UserError(f"--edge {options.edge:g}: give a number of pixels from 0 to 100")
    if options.close < 0:
        raise UserError(f"--close {options.close}: give a number of pixels, or 0 for none")
    category = None
    if options.category is not None:
        category = find_category_id(options.category, categories)
    wanted = {
        "category": category,
        "point": None if options.point is None else _parse_point(options.point),
        "number": options.number,
        "background": _parse_background(options.fill),
        "edge": options.edge,
        "close": options.close,
    }
    return cut_out(
        options.inputs,
        load(),
        options.out,
        options.rule,
        options.score,
        overwrite=options.overwrite,
        **wanted,
    )


def _parse_point(text: str) -> tuple[float, float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise UserError(
            f"--point {text}: give two numbers of pixels with a comma, as in 320,240"
        ) from None
    if not (0 <= x < float("inf") and 0 <= y < float("inf")):
        raise UserError(f"--point {text}: pixels are counted from 0 on, from the upper left corner")
    return x, y


def _parse_background(text: str) -> object:
    """What ``fills.fill`` takes as background."""
    from PIL import ImageColor

    from byol_helpers.coco.images import read_image

    if text in ("transparent", "black", "blur"):
        return text
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        if text.startswith("#"):
            raise UserError(f"--fill {text}: not a colour; give it as in #00b140") from None
    path = expand_path(text)
    if not path.exists():
        raise UserError(
            f"--fill {text}: no such file, no colour's name, and none of transparent, black, blur, "
            "#rrggbb"
        )
    return read_image(path)
