"""COCO from its public addresses, a mirror or a local copy: the annotations, and the images that a
profile needs.

DIR/annotations/instances_train2017.json, instances_val2017.json    and instances_train2014.json
DIR/train2017/000000000009.jpg                                      for train2014
DIR/val2017/000000000139.jpg
DIR/train2014/COCO_train2014_000000000009.jpg
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from byol_helpers.coco import layouts, pretraining_images
from byol_helpers.coco.annotations import Labels
from byol_helpers.coco.splits import count_part
from byol_helpers.core.config import Profile
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import expand_path
from byol_helpers.core.profile_files import load_profile
from byol_helpers.download.archives import ask_archive_size, download_archive, unpack_members
from byol_helpers.download.disk import (
    can_link,
    check_room,
    explain_disk_errors,
    format_bytes,
    link_or_copy,
)
from byol_helpers.download.http import Patience, get_local_path
from byol_helpers.download.images import CONNECTIONS, WantedImage, download_images
from byol_helpers.download.manifest import NAME as MANIFEST_NAME

IMAGES_URL = "http://images.cocodataset.org"
ANNOTATIONS_URL = "http://images.cocodataset.org/annotations/annotations_trainval2017.zip"
# Of an image: train2017 holds 118,287 in 19.3 GB, train2014 82,783 in 13.5 GB.
MEAN_BYTES = 163_000
SPLITS = ("train2014", "val2014", "train2017", "val2017")
RecordsByFolder = dict[str, list[dict]]  # image records by folder, for example train2017


def download_coco(
    folder: Path,
    profile: Profile,
    images_url: str = IMAGES_URL,
    annotations_url: str = ANNOTATIONS_URL,
    dry_run: bool = False,
    connections: int = CONNECTIONS,
    patience: Patience | None = None,
) -> Path:
    """Bring what the stage prepare reads with this profile into ``folder``; what is there stays.

    Args:
        folder: gets COCO's layout (above).
        profile: how many images, and from which folders.
        images_url: address or local folder of ``train2017/``, ...
        annotations_url: address or path of ``annotations_trainval2017.zip``, with that of 2014
            beside it where it is needed; or a local folder that holds the JSON files.
        dry_run: only print what there is to do; nothing is written.
        connections: images on their way at the same time.
        patience: retries and timeouts.

    Raises:
        UserError: see ``archives`` and ``images.download_images``. The same call goes on.
    """
    splits = list_needed_splits(profile)
    if dry_run and not all(_annotations_path(folder, split).is_file() for split in splits):
        _print_forecast(folder, profile, images_url, annotations_url, patience)
        return folder
    for split in splits:
        download_annotations(folder, split, annotations_url, patience)
    wanted = list_wanted_images(choose_records(folder, profile), images_url)
    download_images(wanted, folder, connections, patience, dry_run)
    return folder


def fetch_coco(
    profile: str | Path, data: str | Path, overrides: Sequence[str] | str | None = ()
) -> None:
    """For notebooks: bring COCO into the data folder, where the profile reads COCO.

    Nothing happens with another profile, without a data folder, or where one is that did not come
    from here: a copy of COCO of one's own is used as it is.

    Args:
        profile: as for ``open_run``.
        data: the folder, new or begun.
        overrides: as for ``open_run``.
    """
    settings = load_profile(profile, overrides)
    folder = expand_path(data)
    is_own = (folder / "train2017").is_dir() and not (folder / MANIFEST_NAME).is_file()
    if data and settings.data.source == "coco" and not is_own:
        download_coco(folder, settings)


def list_needed_splits(profile: Profile) -> list[str]:
    """COCO's names of the splits that a profile reads."""
    more = profile.data.pretrain_folder or "train2017"
    if more not in SPLITS:
        raise UserError(
            f"data.pretrain_folder={more}: no part of COCO; use one of {', '.join(SPLITS)}"
        )
    return list(dict.fromkeys(["train2017", "val2017", more]))


def download_annotations(
    folder: Path, split: str, url: str = ANNOTATIONS_URL, patience: Patience | None = None
) -> Path:
    """``folder/annotations/instances_<split>.json``, from COCO's archive of that year.

    What is there stays. An archive that this call downloads is deleted once it is unpacked.
    """
    path = _annotations_path(folder, split)
    if path.is_file():
        return path
    source = _find_local_annotations(url, path.name)
    if source is not None:
        if not can_link(source, folder):
            check_room(folder, source.stat().st_size)
        with explain_disk_errors(folder):
            link_or_copy(source, path)
        return path
    names = [f"annotations/{path.name}"]
    if split.endswith("2017"):  # every profile reads both
        names = ["annotations/instances_train2017.json", "annotations/instances_val2017.json"]
    address = _archive_url(url, split)
    kept = folder / address.rsplit("/", 1)[-1]
    was_there = kept.is_file()
    unpack_members(download_archive(address, kept, patience), folder, names)
    if was_there:
        size = format_bytes(kept.stat().st_size)
        print(f"{kept}: kept, because it was there before; delete it to free {size}")
    else:
        kept.unlink(missing_ok=True)
    return path


def _find_local_annotations(url: str, name: str) -> Path | None:
    """The JSON file in a local folder of annotations, or in one of its name below it."""
    local = get_local_path(url)
    if local is None:
        return None
    for path in (local / name, local / "annotations" / name):
        if path.is_file():
            return path
    return None


def choose_records(folder: Path, profile: Profile) -> RecordsByFolder:
    """The records of the images that the stage prepare draws.

    Those of train, val and test, and those for pretraining.
    """
    settings = profile.data
    found = {}
    for name in ("train", "val"):
        labels = Labels(_annotations_path(folder, f"{name}2017"))
        found[name] = layouts.Labelled(labels, Path(f"{name}2017"))
    drawn = layouts.draw_splits(found, settings, profile.seed)
    records: dict[str, dict] = {}
    for labelled, images in drawn.values():
        by_id = records.setdefault(labelled.folder.name, {})
        by_id.update((record["id"], record) for record in images)
    more = settings.pretrain_folder
    if more:
        named = {split: labelled.named(images) for split, (labelled, images) in drawn.items()}
        names, _ = pretraining_images.draw_pretraining_images(folder, named, settings, profile.seed)
        wanted_names = {Path(name).name for name in names}
        by_id = records.setdefault(more, {})
        for record in Labels(_annotations_path(folder, more)).images:
            if record["file_name"] in wanted_names:
                by_id[record["id"]] = record
    return {split: list(images.values()) for split, images in records.items()}


def list_wanted_images(records: RecordsByFolder, images_url: str = IMAGES_URL) -> list[WantedImage]:
    """COCO's image records as files of a download."""
    base = images_url.rstrip("/")
    is_path = ":" not in images_url
    wanted = []
    for split, images in records.items():
        for record in images:
            name = f"{split}/{record['file_name']}"
            url = f"{base}/{name if is_path else quote(name)}"
            wanted.append(WantedImage(name, url, record.get("width"), record.get("height")))
    return wanted


def _print_forecast(
    folder: Path,
    profile: Profile,
    images_url: str,
    annotations_url: str,
    patience: Patience | None,
) -> None:
    """What a dry run can say while the annotations, and so the names of the images, are missing."""
    settings = profile.data
    splits = list_needed_splits(profile)
    missing = [split for split in splits if not _annotations_path(folder, split).is_file()]
    for address in dict.fromkeys(_archive_url(annotations_url, split) for split in missing):
        size = ask_archive_size(address, folder / address.rsplit("/", 1)[-1], patience)
        said = "size unknown" if size is None else format_bytes(size)
        print(f"annotations: {address} ({said})")
    counts = [settings.train, settings.val, settings.test]
    if settings.pretrain_folder:
        counts.append(settings.unlabelled)
    count = sum(count_part(count, settings.fraction) for count in counts if count)
    print(
        f"images: up to {count:,}; which ones, and how many of them are there, the annotations "
        "will say"
    )
    print(
        f"images: about {format_bytes(count * MEAN_BYTES)} from {images_url} (estimated from "
        f"COCO's mean of {format_bytes(MEAN_BYTES)} an image)"
    )


def _annotations_path(folder: Path, split: str) -> Path:
    return folder / "annotations" / f"instances_{split}.json"


def _archive_url(url: str, split: str) -> str:
    """The address of the annotations of a split's year, beside those of 2017."""
    base = url.rstrip("/")
    if url.endswith(".zip"):
        if split.endswith("2017"):
            return url
        base = url.rsplit("/", 1)[0] if "/" in url else "."
    return f"{base}/annotations_trainval{split[-4:]}.zip"
