"""Cutting objects out of one's own images and videos: files in, cut-outs of the same size out."""

import errno
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from byol_helpers.coco.images import read_image_in_thread
from byol_helpers.core.errors import UserError
from byol_helpers.core.extras import how_to_install
from byol_helpers.core.files import write_bytes
from byol_helpers.core.progress import Progress
from byol_helpers.cutout.cutter import Cutter, WrittenCutout, get_video_suffix
from byol_helpers.cutout.files import find_targets, is_video
from byol_helpers.cutout.ordered_threads import map_in_threads

Predict = Callable[[np.ndarray], list[dict]]

# What costs one file, not all.
FAILURES = (UserError, OSError, RuntimeError, ValueError, MemoryError, cv2.error)
# zlib's level 1 instead of 6: a third of the time, files 4 % larger (cut-outs of COCO photographs).
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)


@dataclass
class Summary:
    """What became of the files: ``done`` were written (``empty`` of them with nothing in them),
    ``skipped`` were there already, ``failed`` lists path and reason of the others."""

    done: int = 0
    empty: int = 0
    skipped: int = 0
    failed: list[tuple[Path, str]] = field(default_factory=list)

    def __str__(self) -> str:
        empty = f" ({self.empty} empty: no object found)" if self.empty else ""
        return (
            f"{self.done} cut out{empty}, {self.skipped} there already, {len(self.failed)} failed"
        )


def cut_out(
    inputs: Path | str | Sequence[Path],
    predict: Predict,
    out: Path,
    rule: str = "confident",
    score_threshold: float = 0.5,
    *,
    overwrite: bool = False,
    **options,
) -> Summary:
    """Remove the background of images and videos, and of every one below a folder.

    A cut-out has the size and orientation of its image as a viewer shows it, the path of the image
    below ``out``, and the extension ``.png``, or that of ``cut_video`` (added to the old one where
    two would otherwise share a name). Files that are there are not overwritten, whatever made them;
    so a call that was interrupted can be repeated. A file that fails costs one line on the standard
    error, and the others are done. An image in which nothing is found gives a cut-out of nothing
    but background, and a warning line.

    While the model predicts, threads read the next images and write the last ones
    (``map_in_threads``); the memory does not depend on their number. PNG files are packed with
    zlib's level 1. Videos come after the images, frame by frame (``cut_video``).

    Args:
        inputs: an image file, a video file or a folder, or several of them.
        predict: from an image [H, W, 3], uint8, RGB, to COCO results: dictionaries with
            ``category_id``, ``score``, ``bbox`` and ``segmentation`` (RLE of the image's size).
        out: folder to write to; made if need be. What lies inside it is not an input. For a single
            file also the name of its cut-out.
        rule: ``confident``, ``largest`` or ``all``, as in ``choose_instances``.
        score_threshold: detections with a lower score are not used; 0 to 1.
        overwrite: write files that are there again.
        options: the other fields of ``Cutter``: ``category``, ``point``, ``number``,
            ``background``, ``edge``, ``close``.

    Returns:
        The ``Summary``.

    Raises:
        UserError: no such input, a folder without images and videos, ``out`` is a file or would mix
            cut-outs with the images, a video without PyAV, or the disk is full.
    """
    cutter = Cutter(rule, score_threshold, **options)
    summary = Summary()

    def note_unreadable(error: OSError) -> None:
        _note_failure(summary, Path(error.filename), error)

    given = [inputs] if isinstance(inputs, str | Path) else inputs
    paths = [Path(one) for one in given]
    targets = find_targets(paths, Path(out), get_video_suffix(cutter), note_unreadable)
    todo = [pair for pair in targets if overwrite or not os.path.lexists(pair[1])]
    summary.skipped = len(targets) - len(todo)
    if any(is_video(path) for path, _ in todo) and importlib.util.find_spec("av") is None:
        raise UserError(f"videos need PyAV: {how_to_install('video')}")
    unit = "files" if any(is_video(path) for path, _ in targets) else "images"
    progress = Progress("cutout", len(targets), unit, done=summary.skipped)
    with warnings.catch_warnings():
        # As read_image does, here once for all threads.
        warnings.filterwarnings("ignore", module="PIL")
        for path, target, made in _start_cutting(todo, predict, cutter):
            _count_outcome(summary, path, target, made)
            progress.update()
    progress.close()
    return summary


def _start_cutting(
    todo: list[tuple[Path, Path]], predict: Predict, cutter: Cutter
) -> Iterator[tuple[Path, Path, Callable[[], WrittenCutout]]]:
    """Each file, where its cut-out goes, and what makes it or waits for it; videos come last."""

    def read(pair: tuple[Path, Path]) -> np.ndarray:
        return read_image_in_thread(pair[0])

    def detect(image: np.ndarray) -> tuple[np.ndarray, list[dict]]:
        return image, predict(image)

    def write(pair: tuple[Path, Path], detected: tuple[np.ndarray, list[dict]]) -> WrittenCutout:
        cut, found = cutter.cut(*detected)
        write_bytes(pair[1], _encode_png(cut))
        return WrittenCutout(found, () if found else (f"{cutter.nothing_found}; empty cut-out",))

    images = [pair for pair in todo if not is_video(pair[0])]
    threads = cv2.getNumThreads()
    # Images are worked on side by side already; OpenCV's own threads would get in their way.
    cv2.setNumThreads(1)
    try:
        for (path, target), made in map_in_threads(images, read, detect, write):
            yield path, target, made
    finally:
        cv2.setNumThreads(threads)
    videos = [pair for pair in todo if is_video(pair[0])]
    if videos:
        from byol_helpers.cutout.video import cut_video  # PyAV, which images do not need

        for path, target in videos:
            yield path, target, partial(cut_video, path, target, predict, cutter)


def _encode_png(pixels: np.ndarray) -> bytes:
    """A PNG file of RGB or RGBA pixels; OpenCV's encoder lets the other threads go on."""
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    return cv2.imencode(".png", cv2.cvtColor(pixels, order), PNG)[1].tobytes()


def _count_outcome(
    summary: Summary, path: Path, target: Path, made: Callable[[], WrittenCutout]
) -> None:
    """Wait for one cut-out, and keep and print what became of it."""
    try:
        found, remarks = made()
    except FAILURES as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{target}: the disk is full ({summary}); free some and call again"
            ) from None
        _note_failure(summary, path, error)
        return
    summary.done += 1
    summary.empty += not found
    for remark in remarks:
        print(f"{_make_printable(path)}: {remark}", file=sys.stderr)


def _note_failure(summary: Summary, path: Path, error: Exception) -> None:
    """Keep and print one line, with the path exactly once."""
    said = str(error)
    if isinstance(error, OSError) and error.strerror:
        other = error.filename not in (None, str(path))
        said = error.strerror.lower() + (f" ({_make_printable(error.filename)})" if other else "")
    message = " ".join(said.removeprefix(f"{path}: ").split()) or type(error).__name__
    summary.failed.append((path, message))
    print(f"{_make_printable(path)}: {message}", file=sys.stderr)


def _make_printable(path: Path | str) -> str:
    """A path on one line, whatever characters it holds."""
    return str(path) if str(path).isprintable() else repr(str(path))
