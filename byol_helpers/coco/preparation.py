"""Stage prepare: images and labels of a run, generated or given, as COCO files, ``splits.json`` and
``audit.json``.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from byol_helpers.coco import layouts
from byol_helpers.coco.class_folders import (
    Photograph,
    Photographs,
    read_photographs,
    require_classes,
)
from byol_helpers.coco.file_tree import FileTree
from byol_helpers.coco.groups import Groups, find_groups, leave_out_alike
from byol_helpers.coco.images import measure_depth
from byol_helpers.coco.near_duplicates import audit_splits
from byol_helpers.coco.photographs import (
    HELD_OUT_FOLDER,
    TRAINING_FOLDER,
    decode_photographs,
    write_list,
)
from byol_helpers.coco.pretraining_images import draw_pretraining_images
from byol_helpers.coco.resized_cache import UNREADABLE
from byol_helpers.coco.sources import Sources, find_sources
from byol_helpers.coco.splits import count_part, order_ids
from byol_helpers.coco.statistics import compute_statistics
from byol_helpers.coco.validation import Problems, check_decodes, check_folder, describe_left_out
from byol_helpers.core.config import Data, Profile, require
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, write_json
from byol_helpers.core.progress import Progress
from byol_helpers.core.stage import Run, run_stage
from byol_helpers.synthetic import scenes
from byol_helpers.synthetic.scene_files import (
    GeneratedFolder,
    write_crops,
    write_split,
    write_unlabelled,
)

_SPLITS = ("train", "val", "test")
DOWNLOAD = (
    "reads COCO from a folder: fetch what it needs with `python -m byol_helpers download --profile "
    "{} --data FOLDER`, or copy COCO there, and give the same --data FOLDER here"
)
NO_IMAGES = "{}: no images and no annotation file in it; give the folder that holds them"
NOTHING_LEFT = (
    "none is left: name a folder of other images in data.pretrain_folder, or set "
    "data.exclude_pretraining=false"
)
NO_PHOTOGRAPHS = (
    "pretrains on a folder of photographs in class folders, of which none is given: set "
    "data.photographs=FOLDER (--set data.photographs=FOLDER)"
)
REVISION = 2  # raised when the code changes what is written: 2, splits drawn by hash, and the audit


def prepare(run: Run) -> Path:
    """Write ``data/`` and ``splits``, ``statistics``, ``audit`` as JSON.

    Generated unless the run has a data folder.
    """
    profile = run.profile
    if run.data is None and profile.data.source == "coco":
        given = run.given_profile or profile.name
        raise UserError(f"the profile {given} {DOWNLOAD.format(given)}")
    photographs = _find_photographs(run)
    parameters = {
        "data": profile.data.model_dump(exclude_defaults=True),
        "seed": profile.seed,
        "world": scenes.compute_fingerprint(profile.data.world),
        "revision": REVISION,
    }
    inputs = []
    sources = Sources()
    if run.data is not None:
        sources = _find_sources(run.data, profile.data.labels)
        if sources.form == "coco":
            inputs = [run.data / name for names in sources.files.values() for name in names]
        elif sources.files:
            parameters["labels"] = layouts.fingerprint_labels(run.data)
        parameters |= {
            "folder": str(run.data.resolve()),
            "images": layouts.fingerprint_images(run.data),
        }
    if photographs:
        parameters |= _describe_photographs(run, photographs)
    outputs = [run.path / f"{name}.json" for name in ("splits", "statistics", "audit")]
    return run_stage(
        run,
        "data",
        parameters,
        inputs,
        lambda folder: _write(run, folder, sources, photographs),
        outputs=outputs,
    )


def check_data(data: Path, profile: Profile | None = None, strict: bool = False) -> list[str]:
    """All that is wrong with a data folder, the most important first; notes are printed, errors
    returned.

    Nothing is left on the disk. The pictures of every annotation file are decoded, so it takes as
    long as reading them once.

    Args:
        data: the folder.
        profile: whose splits have to be possible, too; None, and no split is drawn.
        strict: what was mended is an error.
    """
    errors = []
    notes = []
    sources = _find_sources(data, profile.data.labels if profile else "auto")
    skip_invalid = profile is not None and profile.data.skip_invalid
    if not sources.files:
        layouts.say_notes(sources)
        pictures = layouts.list_unlabelled(data, sources)
        if not pictures:
            return [NO_IMAGES.format(data)]
        found = Problems()
        progress = Progress("check pictures", len(pictures), "images")
        sizes = []
        for name in pictures:
            sizes.append(check_decodes(found, data / name))
            progress.update()
        progress.close()
        print(
            f"note: {data}: no annotation file, so these pictures serve pretraining only",
            flush=True,
        )
        if sizes.count(None) > UNREADABLE * len(pictures):
            return found.errors()
        for line in found.errors():
            print(f"note: {line}; pretraining leaves it out", flush=True)
        return []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as converted:
        opened = layouts.open_sources(FileTree(data), sources, Path(converted), skip_invalid)
        for labelled in opened.values():
            file = labelled.labels
            progress = Progress(f"check {file.file.name}", len(file.images), "images")
            found = check_folder(data, labelled.folder, file, progress.update, skip_invalid)
            progress.close()
            if not found.errors():
                _say_depths(data, [r["file_name"] for r in labelled.named(file.images)])
            errors += found.errors()
            notes += found.notes()
            if strict and found.mended:
                errors.append(f"{found.mended}; mend the file, or drop --strict")
        if not errors and profile is not None:
            errors += _try_splits(data, opened, profile)
    for line in notes:
        print(f"note: {line}", flush=True)
    return errors


def _try_splits(data: Path, opened: dict[str, layouts.Labelled], profile: Profile) -> list[str]:
    """Why the splits of a profile cannot be drawn; nothing where they can."""
    try:
        groups = _group(data, opened, profile.data)
        layouts.draw_splits(opened, profile.data, profile.seed, groups.of)
    except UserError as error:
        return [str(error)]
    return []


def _say_depths(root: Path, names: Iterable[str]) -> None:
    """One line about grey pictures that use fewer bits than their files have."""
    first = {}
    count = Counter()
    for name in names:
        bits = measure_depth(root / name)
        if 0 < bits < 16:
            first.setdefault(bits, name)
            count[bits] += 1
    for bits, name in sorted(first.items()):
        print(
            f"note: {count[bits]:,} grey images use {bits} bits of 16 and are stretched to their "
            f"full range, the first {root / name}",
            flush=True,
        )


def _find_sources(data: Path, labels: str) -> Sources:
    return Sources() if labels == "none" else find_sources(FileTree(data))


def _find_photographs(run: Run) -> Photographs | None:
    """The folder ``data.photographs``; None without one, where nothing needs it."""
    settings = run.profile.data
    needed = settings.source == "folder" or run.profile.supervised.source == "classes"
    if settings.photographs is None:
        if needed:
            raise UserError(f"the profile {run.profile.name} {NO_PHOTOGRAPHS}")
        return None
    found = read_photographs(Path(settings.photographs))
    if run.profile.supervised.source == "classes":
        require_classes(found)
    return found


def _describe_photographs(run: Run, photographs: Photographs) -> dict:
    """What decides the photographs that are written, as parameters of the stage."""
    names = "\n".join("\t".join(one) for one in (*photographs.train, *photographs.held_out))
    return {
        "photographs": str(photographs.root.resolve()),
        "names": hashlib.sha256(names.encode()).hexdigest(),
        "cache_side": run.profile.pretrain.cache_side,
    }


def _decode_photographs(run: Run, folder: Path, photographs: Photographs) -> list[Photograph]:
    """Decode the photographs that are used; those for training are returned."""
    settings = run.profile.data
    side = run.profile.pretrain.cache_side
    root = photographs.root
    of_name = {photograph.name: photograph for photograph in photographs.train}
    wanted = count_part(min(settings.unlabelled, len(of_name)), settings.fraction)
    names = sorted(order_ids(of_name, run.profile.seed, "pretrain")[:wanted])
    listed = [of_name[name] for name in names]
    inside = folder / TRAINING_FOLDER
    kept = decode_photographs(listed, root, inside, side, "decode photographs")
    held_out = photographs.held_out
    if held_out:
        beside = folder / HELD_OUT_FOLDER
        asked = decode_photographs(held_out, root, beside, side, "decode held-out photographs")
        write_list(asked, list(range(len(asked))), beside)
    return kept


def _list_photographs(root: Path, splits: dict, decoded: list[Photograph], folder: Path) -> None:
    """Write which of the decoded photographs the splits use."""
    used = set(splits["pretrain"])
    places = []
    for place, photograph in enumerate(decoded):
        if str(root.resolve() / photograph.name) in used:
            places.append(place)
    write_list([decoded[place] for place in places], places, folder / TRAINING_FOLDER)


def _write(run: Run, folder: Path, sources: Sources, photographs: Photographs | None) -> None:
    hashes = {}
    decoded = _decode_photographs(run, folder, photographs) if photographs else []
    if run.data is None and photographs:
        splits = _without_labels(photographs)
    elif run.data is None:
        splits = _generated(run, folder)
    elif sources.files:
        splits, hashes = _given(run, folder, run.data.resolve(), sources)
    else:
        layouts.say_notes(sources)
        return _unlabelled(run, folder, run.data)
    if photographs:
        root = photographs.root.resolve()
        splits["pretrain"] = [str(root / photograph.name) for photograph in decoded]
    shared = _audit(run, splits, hashes) if "test" in splits else []
    if run.profile.data.exclude_pretraining and shared:
        _exclude_near_duplicates(splits, shared)
    if photographs:
        _list_photographs(photographs.root, splits, decoded, folder)
    _say_what_is_shared(shared)
    write_json(run.path / "audit.json", shared)
    write_json(run.path / "splits.json", splits)
    if "test" in splits:
        write_json(run.path / "statistics.json", compute_statistics(run))
    else:
        statistics = {"source": "unlabelled", "pretrain": {"images": len(splits["pretrain"])}}
        write_json(run.path / "statistics.json", statistics)


def _audit(run: Run, splits: dict, hashes: dict[str, np.ndarray]) -> list[dict]:
    """What the splits and the pretraining images share (``audit_splits``)."""
    listed = {}
    for name in _SPLITS:
        records = read_json(run.path / splits[name])["images"]
        listed[name] = [record["file_name"] for record in records]
    listed["pretrain"] = splits["pretrain"]
    everything = {name for names in listed.values() for name in names}
    progress = Progress("audit", len(everything), "images compared")
    shared = audit_splits(run.path / splits["image_root"], listed, progress, hashes)
    progress.close()
    return shared


def _exclude_near_duplicates(splits: dict, shared: list[dict]) -> None:
    """Take what looks like an image of the test split out of the pretraining images (in place)."""
    row = next(row for row in shared if (row["first"], row["second"]) == ("pretrain", "test"))
    alike = {first for first, _ in row["near"]}
    splits["pretrain"] = [name for name in splits["pretrain"] if name not in alike]
    splits["overlap"]["near_duplicates_excluded"] = len(alike)
    if alike and splits["source"] == "given":
        left = f"{len(splits['pretrain']):,} are left" if splits["pretrain"] else NOTHING_LEFT
        print(
            f"note: {len(alike):,} images look like images of test and are not used for "
            f"pretraining; {left}",
            flush=True,
        )


def _say_what_is_shared(shared: list[dict]) -> None:
    """One line for each pair of labelled splits that share images; they stay as they are given."""
    for row in shared:
        count = row["same"] + len({second for _, second in row["near"]})
        if count and row["first"] != "pretrain":
            print(
                f"note: {count:,} images of {row['second']} are in {row['first']} too, or look "
                "like one there (listed in audit.json); the splits stay as they are",
                flush=True,
            )


def _generated(run: Run, folder: Path) -> dict:
    settings = run.profile.data
    seed = run.profile.seed
    counts = {name: getattr(settings, name) for name in _SPLITS}
    size = require(settings.image_size, "data.image_size", "prepare")
    crops = settings.crops or 0
    world = settings.world
    total = sum(counts.values()) + settings.unlabelled + crops
    progress = Progress("prepare", total, "images")
    for name, count in counts.items():
        annotations = folder / "annotations" / f"{name}.json"
        images = GeneratedFolder(folder / name, seed, count, size, world, progress)
        if annotations.is_file():  # written last, by an earlier call
            progress.update(count)
        else:
            write_split(images, annotations, name)
    unlabelled = folder / "unlabelled"
    images = GeneratedFolder(unlabelled, seed, settings.unlabelled, size, world, progress)
    write_unlabelled(images)
    if crops:
        side = require(settings.crop_size, "data.crop_size", "prepare")
        images = GeneratedFolder(folder / "crops", seed, crops, side, world, progress)
        write_crops(images, find_scene_size(settings))
    progress.close()
    files = [f"unlabelled/{path.name}" for path in sorted(unlabelled.glob("*.png"))]
    categories = [{"id": c.id, "name": c.name} for c in scenes.CATEGORIES]
    return _splits("generated", "data", categories, files, {})


def _write_crops(run: Run, folder: Path) -> None:
    """Generated crops for the supervised stand-in, beside a user's own images."""
    settings = run.profile.data
    if run.profile.supervised.source == "crops":
        count = require(settings.crops, "data.crops", "prepare")
        side = require(settings.crop_size, "data.crop_size", "prepare")
        images = GeneratedFolder(folder / "crops", run.profile.seed, count, side, settings.world)
        write_crops(images, find_scene_size(settings))


def find_scene_size(settings: Data) -> int | None:
    """Side of the scenes whose sizes of objects the crops have; None: their objects are large."""
    if settings.crop_objects == "large":
        return None
    return require(settings.image_size, "data.image_size", "prepare")


def _without_labels(photographs: Photographs) -> dict:
    """The splits of photographs alone: there are none but that of pretraining."""
    splits = _splits("unlabelled", str(photographs.root.resolve()), [], [], {})
    for name in _SPLITS:
        del splits[name]
    print(
        f"{photographs.root}: without --data FOLDER there are no labelled images, so these "
        "photographs serve pretraining only",
        flush=True,
    )
    return splits


def _unlabelled(run: Run, folder: Path, data: Path) -> None:
    """A folder of pictures without labels: nothing but pretraining can be done with it."""
    settings = run.profile.data
    root = data.resolve()
    listed = layouts.list_unlabelled(root, Sources())
    if not listed:
        raise UserError(NO_IMAGES.format(data))
    wanted = count_part(min(settings.unlabelled, len(listed)), settings.fraction)
    names = sorted(order_ids(listed, run.profile.seed, "pretrain")[:wanted])
    _write_crops(run, folder)
    splits = _splits("unlabelled", str(root), [], names, {})
    for name in _SPLITS:
        del splits[name]
    statistics = {"source": "unlabelled", "pretrain": {"images": len(names)}}
    write_json(run.path / "audit.json", [])
    write_json(run.path / "splits.json", splits)
    write_json(run.path / "statistics.json", statistics)
    print(
        f"{data}: no annotation file, so its {len(names):,} pictures serve pretraining only",
        flush=True,
    )


def _given(
    run: Run, folder: Path, root: Path, sources: Sources
) -> tuple[dict, dict[str, np.ndarray]]:
    """The splits of a folder of one's own, and the hashes of the images that were compared."""
    settings = run.profile.data
    seed = run.profile.seed
    skip = settings.skip_invalid
    found = layouts.open_sources(FileTree(root), sources, folder / "converted", skip)
    for labelled in found.values():
        layouts.check_labelled(labelled, skip)
    left_out = [line for labelled in found.values() for line in labelled.labels.left_out]
    groups = _group(root, found, settings)
    drawn = layouts.draw_splits(found, settings, seed, groups.of)
    records = {name: labelled.named(images) for name, (labelled, images) in drawn.items()}
    _leave_out_alike(records, drawn, groups)
    _say_what_is_used(run, found, records)
    progress = Progress("prepare", sum(map(len, records.values())), "images checked")
    for name, (labelled, _) in drawn.items():
        images = layouts.check_images(root, records[name], progress, left_out if skip else None)
        records[name] = images
        labelled.labels.write_subset(images, folder / "annotations" / f"{name}.json")
    progress.close()
    _list_left_out(run, left_out)
    _say_depths(root, {record["file_name"] for own in records.values() for record in own})
    _write_crops(run, folder)
    categories = [{"id": c["id"], "name": c["name"]} for c in drawn["train"][0].labels.categories]
    withheld = []
    if "test" in found:
        withheld = [r["file_name"] for r in found["test"].named(found["test"].labels.images)]
    pretrain: list[str] = []
    overlap: dict = {}
    if settings.photographs is None:
        pretrain, overlap = draw_pretraining_images(root, records, settings, seed, withheld)
    return _splits("given", str(root), categories, pretrain, overlap), groups.hashes


def _group(root: Path, found: dict[str, layouts.Labelled], settings: Data) -> Groups:
    """Pictures that no split drawn here may divide; COCO itself is drawn as it always was."""
    source = found.get("all") or found["train"]
    if settings.source == "coco" or {"val", "test"} <= found.keys():
        return Groups()
    largest = max(2, round(len(source.labels.images) / 10))
    groups = find_groups(root, source.named(source.labels.images), largest)
    if groups.of:
        print(f"note: {source.labels.file}: {groups.describe()}", flush=True)
    return groups


def _leave_out_alike(
    records: dict[str, list[dict]], drawn: dict[str, tuple], groups: Groups
) -> None:
    """Take near-duplicates of test out of the splits that were drawn beside it (in place)."""
    source = drawn["train"][0]
    own = {name: records[name] for name, (labelled, _) in drawn.items() if labelled is source}
    kept, count = leave_out_alike(own, groups.alike)
    if count and all(kept.values()):
        records.update(kept)
        print(f"note: {count:,} images left out, near-duplicates across the splits", flush=True)


def _say_what_is_used(
    run: Run, found: dict[str, layouts.Labelled], records: dict[str, list[dict]]
) -> None:
    """One line where the profile uses fewer labelled images than were given."""
    given = sum(len(labelled.labels.images) for labelled in found.values())
    used = sum(map(len, records.values()))
    if used < given:
        counts = ", ".join(f"{name} {len(records[name]):,}" for name in _SPLITS)
        print(
            f"note: {given:,} labelled images given, {used:,} used by the profile "
            f"{run.profile.name}: {counts}; data.train, data.val and data.test set the limits",
            flush=True,
        )


def _list_left_out(run: Run, lines: list[str]) -> None:
    """Write what was left out as invalid into the run folder, and say how much that is."""
    file = run.path / "left_out.json"
    file.unlink(missing_ok=True)
    if lines:
        write_json(file, lines)
        print(f"note: {describe_left_out(lines)}; all are in {file}", flush=True)


def _splits(
    source: str, root: str, categories: list[dict], pretrain: list[str], overlap: dict
) -> dict:
    return {
        "source": source,
        "image_root": root,
        "categories": sorted(categories, key=lambda c: c["id"]),
        "pretrain": pretrain,
        "overlap": overlap or {"shared_with_test": 0, "excluded": True},
        **{name: f"data/annotations/{name}.json" for name in _SPLITS},
    }
