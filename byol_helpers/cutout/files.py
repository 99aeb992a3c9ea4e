"""Which files a cut-out is made of, and which file each goes to."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from byol_helpers.coco.images import EXTENSIONS, list_files
from byol_helpers.core.errors import UserError

VIDEO_EXTENSIONS = tuple(".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .webm .wmv".split())


def is_video(path: Path) -> bool:
    """Whether a file counts as a video; it does by its extension."""
    return path.suffix.lower() in VIDEO_EXTENSIONS


def find_targets(
    inputs: Path, out: Path, video_suffix: str, unreadable: Callable[[OSError], None]
) -> list[tuple[Path, Path]]:
    """Each image and video with the file that its cut-out goes to, sorted by the path.

    Args:
        inputs: a file or a folder.
        out: folder of the cut-outs; what lies in it is not an input.
        video_suffix: extension of a video's cut-out; that of an image's is ``.png``.
        unreadable: told of each folder that may not be read.

    Raises:
        UserError: no such input, a folder without images and videos, ``out`` is a file, or a
            cut-out would take the place of an input.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file; give a folder for the cut-outs")
    if inputs.is_dir():
        if out.resolve() == inputs.resolve():
            raise UserError(f"{out}: the folder of the pictures; give another one for the cut-outs")
        known = EXTENSIONS + VIDEO_EXTENSIONS
        paths = _drop_inside(list_files(inputs, known, unreadable), out)
        if not paths:
            raise UserError(f"{inputs}: no images or videos in it; known are {' '.join(known)}")
        root = inputs
    elif inputs.is_file():
        paths = [inputs]
        root = inputs.parent
    else:
        raise UserError(f"{inputs}: no such file or folder; check the path")
    targets = _name_targets(paths, root, out, video_suffix)
    originals = {os.path.realpath(path): path for path in paths}
    for _, target in targets:
        if original := originals.get(os.path.realpath(target)):
            raise UserError(
                f"{out}: the cut-out would take the place of {original}; give another folder"
            )
    return targets


def _drop_inside(paths: list[Path], folder: Path) -> list[Path]:
    """The paths that do not lie in a folder."""
    resolved = folder.resolve()
    parents = {path.parent for path in paths}
    inside = {parent for parent in parents if parent.resolve().is_relative_to(resolved)}
    return [path for path in paths if path.parent not in inside]


def _name_targets(
    paths: list[Path], root: Path, out: Path, video_suffix: str
) -> list[tuple[Path, Path]]:
    """Give each file a name of its own, also where case does not count: a.png, or else a.jpg.png.

    The name of a folder is taken too.
    """
    suffix = {path: video_suffix if is_video(path) else ".png" for path in paths}
    names = {path: path.with_suffix(suffix[path]).name for path in paths}
    folders = Counter({str(folder).casefold() for path in paths for folder in path.parents})
    while True:
        places = {path: str(path.with_name(name)).casefold() for path, name in names.items()}
        count = Counter(places.values()) + folders
        longer = {path: path.name + suffix[path] for path in paths if count[places[path]] > 1}
        if longer.items() <= names.items():
            break
        names |= longer
    targets = []
    for path, name in names.items():
        targets.append((path, out / path.relative_to(root).with_name(name)))
    return targets
