"""Cutting objects out of one's own pictures: a file or a folder in, PNG files out."""

import errno
import io
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from byol_helpers.background.removal import choose_instance, remove_background, to_rgba
from byol_helpers.data.images import EXTENSIONS, list_images, read_image
from byol_helpers.errors import UserError
from byol_helpers.runs import Progress, write_bytes

Predict = Callable[[np.ndarray], list[dict]]


@dataclass
class Summary:
    """What became of the pictures: ``done`` were written (``empty`` of them with nothing in them),
    ``skipped`` were there already, ``failed`` lists path and reason of the others."""

    done: int = 0
    empty: int = 0
    skipped: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)

    def __str__(self) -> str:
        empty = f" ({self.empty} empty: no object found)" if self.empty else ""
        return f"{self.done} cut out{empty}, {self.skipped} there already, {len(self.failed)} failed"


def cutout(
    inputs: Path,
    predict: Predict,
    out: Path,
    rule: str = "confident",
    score_threshold: float = 0.5,
    transparent: bool = True,
) -> Summary:
    """Remove the background of an image, or of every image below a folder.

    A cut-out has the size and orientation of its picture as a viewer shows it, the path of the picture below
    ``out``, and the extension ``.png`` (added to the old one where two pictures would otherwise share a
    name). Files that are there are never overwritten, whatever made them; so a call that was interrupted can
    be repeated. A picture that fails costs one line on the standard error, and the others are done. A picture
    in which nothing is found gives an empty cut-out (transparent, or black) and a warning line.

    Args:
        inputs: an image file or a folder.
        predict: from an image [H, W, 3], uint8, RGB, to COCO results: dictionaries with ``category_id``,
            ``score``, ``bbox`` and ``segmentation`` (RLE of the image's size).
        out: folder to write to; made if need be. Pictures inside it are not inputs.
        rule: ``confident``, ``largest`` or ``all``, as in ``choose_instances``.
        score_threshold: detections with a lower score are not used; 0 to 1.
        transparent: write RGBA with a transparent background instead of RGB with a black one.

    Returns:
        The ``Summary``.

    Raises:
        UserError: no such input, a folder without images, ``out`` is a file or would mix cut-outs with the
            pictures, or the disk is full.
    """
    targets = _targets(Path(inputs), Path(out))
    todo = [(path, target) for path, target in targets if not target.exists()]
    summary = Summary(skipped=len(targets) - len(todo))
    progress = Progress("cutout", len(targets), "images", done=summary.skipped)
    for path, target in todo:
        try:
            found = _cut(path, target, predict, rule, score_threshold, transparent)
            summary.done += 1
            if not found:
                summary.empty += 1
                print(f"{path}: no object scores {score_threshold:g} or more; empty cut-out", file=sys.stderr)
        except (UserError, OSError, RuntimeError, ValueError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(f"{target}: the disk is full ({summary}); free some and call again") from None
            _note_failure(summary, path, error)
        progress.update()
    progress.close()
    return summary


def _cut(
    path: Path, target: Path, predict: Predict, rule: str, score_threshold: float, transparent: bool
) -> bool:
    """Write one cut-out; false when it is empty."""
    image = read_image(path)
    mask = choose_instance(predict(image), rule, score_threshold, image.shape[:2])
    png = io.BytesIO()
    Image.fromarray(to_rgba(image, mask) if transparent else remove_background(image, mask)).save(png, "PNG")
    write_bytes(target, png.getvalue())
    return bool(mask.any())


def _note_failure(summary: Summary, path: Path, error: Exception) -> None:
    """Keep and print one line, with the path exactly once."""
    said = " ".join(str(error).split()) or type(error).__name__
    message = said.removeprefix(f"{path}: ")
    summary.failed.append((path, message))
    print(f"{path}: {message}", file=sys.stderr)


def _targets(inputs: Path, out: Path) -> list[tuple[Path, Path]]:
    """Each picture with the file that its cut-out goes to."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file; give a folder for the cut-outs")
    if inputs.is_dir():
        if out.resolve() == inputs.resolve():
            raise UserError(f"{out}: the folder of the pictures; give another one for the cut-outs")
        paths = [path for path in list_images(inputs) if not path.resolve().is_relative_to(out.resolve())]
        if not paths:
            raise UserError(f"{inputs}: no images in it; known are {' '.join(EXTENSIONS)}")
        root = inputs
    elif inputs.is_file():
        paths, root = [inputs], inputs.parent
    else:
        raise UserError(f"{inputs}: no such file or folder; check the path")
    targets = _named(paths, root, out)
    if not inputs.is_dir() and targets[0][1].resolve() == inputs.resolve():
        raise UserError(f"{out}: the cut-out would take the place of {inputs}; give another folder")
    return targets


def _named(paths: list[Path], root: Path, out: Path) -> list[tuple[Path, Path]]:
    """Give each picture a name of its own, also where case does not count: a.png, or else a.jpg.png."""
    names = {path: path.with_suffix(".png").name for path in paths}
    while True:
        places = {path: str(path.with_name(name)).casefold() for path, name in names.items()}
        count = Counter(places.values())
        longer = {path: f"{path.name}.png" for path in paths if count[places[path]] > 1}
        if longer.items() <= names.items():
            return [(path, out / path.relative_to(root).with_name(name)) for path, name in names.items()]
        names |= longer
