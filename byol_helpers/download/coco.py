"""COCO from its public addresses, a mirror or a local copy: the annotations, and the images that a profile needs.

DIR/annotations/instances_train2017.json, instances_val2017.json    and instances_train2014.json for train2014
DIR/train2017/000000000009.jpg
DIR/val2017/000000000139.jpg
DIR/train2014/COCO_train2014_000000000009.jpg
"""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from byol_helpers.coco import layouts, pretraining_images
from byol_helpers.coco.annotations import Labels
from byol_helpers.coco.splits import count_part
from byol_helpers.core.config import Profile
from byol_helpers.core.errors import UserError
from byol_helpers.download import archives
from byol_helpers.download import images as image_files
from byol_helpers.download.disk import check_room, copy, linkable, readable, writing
from byol_helpers.download.http import Patience, local_path
from byol_helpers.download.images import Wanted

IMAGES_URL = "http://images.cocodataset.org"
ANNOTATIONS_URL = "http://images.cocodataset.org/annotations/annotations_trainval2017.zip"
MEAN_BYTES = (
    163_000  # of an image: train2017.zip holds 118,287 in 19.3 GB, train2014.zip 82,783 in 13.5 GB
)
SPLITS = ("train2014", "val2014", "train2017", "val2017")
Chosen = dict[str, list[dict]]  # image records by folder, for example train2017


def fetch(
    folder: Path,
    profile: Profile,
    images_url: str = IMAGES_URL,
    annotations_url: str = ANNOTATIONS_URL,
    whole: bool = False,
    dry_run: bool = False,
    connections: int = image_files.CONNECTIONS,
    patience: Patience | None = None,
    choose: Callable[[Path, Profile], Chosen] | None = None,
) -> Path:
    """Bring what the stage prepare reads with this profile into ``folder``; what is there already stays.

    Args:
        folder: gets COCO's layout (above).
        profile: how many images, and from which folders.
        images_url: address or local folder of ``train2017/``, ... and, for ``whole``, of ``zips/train2017.zip``, ...
        annotations_url: address or path of ``annotations_trainval2017.zip``, with that of 2014 beside it where it is
            needed; or a local folder that holds the JSON files.
        whole: bring whole archives and unpack the images of the profile, instead of image by image.
        dry_run: only print what there is to do; nothing is written.
        connections: images on their way at the same time.
        patience: retries and timeouts.
        choose: other image records than those of ``chosen``.

    Raises:
        UserError: see ``archives.bring``, ``archives.unpack`` and ``images.download_images``. The same call goes on.
    """
    splits = needed(profile)
    if dry_run and not all(_file(folder, split).is_file() for split in splits):
        _foretell(folder, profile, images_url, annotations_url, whole, patience)
        return folder
    for split in splits:
        fetch_annotations(folder, split, annotations_url, patience)
    records = (choose or chosen)(folder, profile)
    if whole:
        for split, images in records.items():
            _from_archive(folder, split, images, images_url, dry_run, patience)
    else:
        image_files.download_images(
            wanted(records, images_url), folder, connections, patience, dry_run
        )
    return folder


def needed(profile: Profile) -> list[str]:
    """COCO's names of the splits that a profile reads."""
    more = profile.data.pretrain_folder or "train2017"
    if more not in SPLITS:
        raise UserError(
            f"data.pretrain_folder={more}: no part of COCO; use one of {', '.join(SPLITS)}"
        )
    return list(dict.fromkeys(["train2017", "val2017", more]))


def fetch_annotations(
    folder: Path, split: str, url: str = ANNOTATIONS_URL, patience: Patience | None = None
) -> Path:
    """``folder/annotations/instances_<split>.json``, from COCO's archive of that year unless it is there.

    An archive that this call downloads is deleted once it is unpacked.
    """
    path, local = _file(folder, split), local_path(url)
    if path.is_file():
        return path
    for source in filter(
        Path.is_file, [local / path.name, local / "annotations" / path.name] if local else []
    ):
        if not linkable(source, folder):
            check_room(folder, source.stat().st_size)
        with writing(folder):
            copy(source, path)
        return path
    names = [f"annotations/{path.name}"]
    if split.endswith("2017"):  # every profile reads both
        names = ["annotations/instances_train2017.json", "annotations/instances_val2017.json"]
    _unpack_from(_archive_of(url, split), folder, names, patience)
    return path


def chosen(folder: Path, profile: Profile) -> Chosen:
    """The records of the images that the stage prepare draws: train, val, test, and those for pretraining."""
    settings = profile.data
    found = {
        name: layouts.Labelled(Labels(_file(folder, f"{name}2017")), Path(f"{name}2017"))
        for name in ("train", "val")
    }
    drawn = layouts.draw_splits(found, settings, profile.seed)
    records = {labelled.folder.name: {} for labelled, _ in drawn.values()}
    for labelled, images in drawn.values():
        records[labelled.folder.name] |= {record["id"]: record for record in images}
    if more := settings.pretrain_folder:
        named = {split: labelled.named(images) for split, (labelled, images) in drawn.items()}
        names, _ = pretraining_images.draw_pretraining_images(folder, named, settings, profile.seed)
        wanted_names = {Path(name).name for name in names}
        listed = Labels(_file(folder, more)).images
        records.setdefault(more, {}).update(
            {r["id"]: r for r in listed if r["file_name"] in wanted_names}
        )
    return {split: list(images.values()) for split, images in records.items()}


def wanted(records: Chosen, images_url: str = IMAGES_URL) -> list[Wanted]:
    """COCO's image records as files of a download."""
    base, is_path = images_url.rstrip("/"), ":" not in images_url
    named = [
        (f"{split}/{record['file_name']}", record)
        for split, images in records.items()
        for record in images
    ]
    return [
        Wanted(
            name,
            f"{base}/{name if is_path else quote(name)}",
            record.get("width"),
            record.get("height"),
        )
        for name, record in named
    ]


def _from_archive(
    folder: Path,
    split: str,
    images: list[dict],
    images_url: str,
    dry_run: bool,
    patience: Patience | None,
) -> None:
    """Unpack the images of one split from its archive; a downloaded archive is deleted afterwards."""
    names = list(dict.fromkeys(f"{split}/{record['file_name']}" for record in images))
    missing = sum(not (folder / name).is_file() for name in names)
    address = _images_archive(images_url, split)
    said = (
        f"{missing:,} to unpack from {address} ({_size(address, folder, patience)})"
        if missing
        else "none to fetch"
    )
    print(f"{split}: {len(names):,} images, {len(names) - missing:,} there, {said}", flush=True)
    if missing and not dry_run:
        _unpack_from(address, folder, names, patience, missing * MEAN_BYTES)


def _unpack_from(
    address: str, folder: Path, names: list[str], patience: Patience | None, room: int = 0
) -> None:
    """Bring an archive, unpack some members (about ``room`` bytes), and delete it unless it was there before."""
    path = folder / address.rsplit("/", 1)[-1]
    ours = local_path(address) is None and not path.is_file()
    if ours and room:
        size = archives.remote_size(address, path, patience) or 0
        check_room(folder, room + size - archives.begun(path), len(names))
    archives.unpack(archives.bring(address, path, patience), folder, names)
    if ours:
        path.unlink()
    elif path.is_file():
        print(
            f"{path}: kept, because it was there before; delete it to free {readable(path.stat().st_size)}"
        )


def _foretell(
    folder: Path,
    profile: Profile,
    images_url: str,
    annotations_url: str,
    whole: bool,
    patience: Patience | None,
) -> None:
    """What a dry run can say while the annotations, and so the names of the images, are not there."""
    settings, splits = profile.data, needed(profile)
    missing = [split for split in splits if not _file(folder, split).is_file()]
    for address in dict.fromkeys(_archive_of(annotations_url, split) for split in missing):
        print(f"annotations: {address} ({_size(address, folder, patience)})")
    counts = [
        settings.train,
        settings.val,
        settings.test,
        settings.unlabelled if settings.pretrain_folder else 0,
    ]
    count = sum(count_part(count, settings.fraction) for count in counts if count)
    print(
        f"images: up to {count:,}; which ones, and how many of them are there, the annotations will say"
    )
    if whole:
        for split in splits:
            address = _images_archive(images_url, split)
            print(f"images: {address} ({_size(address, folder, patience)})")
    else:
        print(
            f"images: about {readable(count * MEAN_BYTES)} from {images_url} (estimated from COCO's mean of "
            f"{readable(MEAN_BYTES)} an image)"
        )


def _size(address: str, folder: Path, patience: Patience | None) -> str:
    size = archives.remote_size(address, folder / address.rsplit("/", 1)[-1], patience)
    return "size unknown" if size is None else readable(size)


def _images_archive(url: str, split: str) -> str:
    return f"{url.rstrip('/')}/zips/{split}.zip"


def _file(folder: Path, split: str) -> Path:
    return folder / "annotations" / f"instances_{split}.json"


def _archive_of(url: str, split: str) -> str:
    """The address of the annotations of a split's year, beside those of 2017."""
    base = (
        url.rstrip("/")
        if not url.endswith(".zip")
        else url.rsplit("/", 1)[0]
        if "/" in url
        else "."
    )
    if url.endswith(".zip") and split.endswith("2017"):
        return url
    return f"{base}/annotations_trainval{split[-4:]}.zip"
