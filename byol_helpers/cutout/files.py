"""Which files a cut-out is made of, and which file each goes to."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from byol_helpers.coco.images import EXTENSIONS, list_files
from byol_helpers.core.errors import UserError

VIDEO_EXTENSIONS = tuple(".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .webm .wmv".split())


def is_video(path: Path) -> bool:
    """Whether a file counts as a video; it does by its extension."""
    return path.suffix.lower() in VIDEO_EXTENSIONS


def find_targets(
    inputs: Path | Sequence[Path],
    out: Path,
    video_suffix: str,
    unreadable: Callable[[OSError], None],
) -> list[tuple[Path, Path]]:
    """Each image and video with the file that its cut-out goes to, sorted by the path.

    Args:
        inputs: a file or a folder, or several of them.
        out: folder of the cut-outs; what lies in it is not an input. For a single file also the
            name of its cut-out, with the extension that this will have.
        video_suffix: extension of a video's cut-out; that of an image's is ``.png``.
        unreadable: told of each folder that may not be read.

    Raises:
        UserError: no such input, a folder without images and videos, ``out`` is a file or ends like
            one where a folder is needed, or a cut-out would take the place of an input.
    """
    given = [inputs] if isinstance(inputs, Path) else list(inputs)
    found = {}  # each file once, with its name below the folder that was given
    for one in given:
        for path, name in _find_files(one, out, unreadable):
            found.setdefault(os.path.abspath(path), (path, name))
    named = list(found.values())
    if _is_single_target(given, out):
        targets = [(given[0], _check_suffix(given[0], out, video_suffix))]
    else:
        targets = _name_targets(_tell_folders_apart(named), out, video_suffix)
    originals = {os.path.realpath(path): path for path, _ in named}
    for _, target in targets:
        if original := originals.get(os.path.realpath(target)):
            raise UserError(
                f"{out}: the cut-out would take the place of {original}; give another folder"
            )
    return targets


def _find_files(
    given: Path, out: Path, unreadable: Callable[[OSError], None]
) -> list[tuple[Path, Path]]:
    """The images and videos of one input, each with its name below that input."""
    if given.is_file():
        return [(given, Path(given.name))]
    if not given.is_dir():
        raise UserError(f"{given}: no such file or folder; check the path")
    if out.resolve() == given.resolve():
        raise UserError(f"{out}: the folder of the pictures; give another one for the cut-outs")
    known = EXTENSIONS + VIDEO_EXTENSIONS
    paths = _drop_inside(list_files(given, known, unreadable), out)
    if not paths:
        raise UserError(f"{given}: no images or videos in it; known are {' '.join(known)}")
    return [(path, path.relative_to(given)) for path in paths]


def _is_single_target(given: Sequence[Path], out: Path) -> bool:
    """Whether ``out`` names the cut-out of a single file, and not the folder of all cut-outs."""
    if out.is_dir() or out.suffix.lower() not in EXTENSIONS + VIDEO_EXTENSIONS:
        if out.exists() and not out.is_dir():
            raise UserError(f"{out}: a file; give a folder for the cut-outs")
        return False
    if len(given) > 1 or given[0].is_dir():
        kind = "a file" if out.exists() else "the name of one file"
        raise UserError(f"{out}: {kind}; give a folder for the cut-outs of several pictures")
    return True


def _check_suffix(path: Path, out: Path, video_suffix: str) -> Path:
    """``out``, if its extension says what will be in it."""
    suffix = video_suffix if is_video(path) else ".png"
    if out.suffix.lower() != suffix:
        raise UserError(
            f"{out}: the cut-out is a {suffix} file; give --out {out.with_suffix(suffix)}, or a "
            "folder"
        )
    return out


def _tell_folders_apart(named: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """The same files, with longer names where two of them are called alike.

    They are then named from the folder that holds them all.
    """
    if len({name for _, name in named}) == len(named):
        return named
    paths = [path.absolute() for path, _ in named]
    root = os.path.commonpath([path.parent for path in paths])
    return [(path, whole.relative_to(root)) for (path, _), whole in zip(named, paths, strict=True)]


def _drop_inside(paths: list[Path], folder: Path) -> list[Path]:
    """The paths that do not lie in a folder."""
    resolved = folder.resolve()
    parents = {path.parent for path in paths}
    inside = {parent for parent in parents if parent.resolve().is_relative_to(resolved)}
    return [path for path in paths if path.parent not in inside]


def _name_targets(
    named: list[tuple[Path, Path]], out: Path, video_suffix: str
) -> list[tuple[Path, Path]]:
    """Give each file a name of its own, also where case does not count: a.png, or else a.jpg.png.

    The name of a folder is taken too.
    """
    suffix = {name: video_suffix if is_video(name) else ".png" for _, name in named}
    names = {name: name.with_suffix(end).name for name, end in suffix.items()}
    folders = Counter({str(folder).casefold() for name in suffix for folder in name.parents})
    while True:
        places = {name: str(name.with_name(new)).casefold() for name, new in names.items()}
        count = Counter(places.values()) + folders
        longer = {name: name.name + suffix[name] for name in suffix if count[places[name]] > 1}
        if longer.items() <= names.items():
            break
        names |= longer
    return [(path, out / name.with_name(names[name])) for path, name in named]
