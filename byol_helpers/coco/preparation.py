"""Stage prepare: images and labels of a run, generated or given, as COCO files, ``splits.json`` and
``audit.json``.
"""

from pathlib import Path

from byol_helpers.coco import layouts
from byol_helpers.coco.near_duplicates import audit_splits
from byol_helpers.coco.pretraining_images import draw_pretraining_images
from byol_helpers.coco.splits import count_part, order_ids
from byol_helpers.coco.statistics import compute_statistics
from byol_helpers.coco.validation import Problems, check_decodes, check_folder
from byol_helpers.core.config import require
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, write_json
from byol_helpers.core.progress import Progress
from byol_helpers.core.stage import Run, run_stage
from byol_helpers.synthetic import scenes

_SPLITS = ("train", "val", "test")
DOWNLOAD = (
    "reads COCO from a folder: fetch what it needs with `python -m byol_helpers download --profile "
    "{} --data FOLDER`, or copy COCO there, and give the same --data FOLDER here"
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
    parameters = {
        "data": profile.data.model_dump(exclude_defaults=True),
        "seed": profile.seed,
        "world": scenes.compute_fingerprint(profile.data.world),
        "revision": REVISION,
    }
    inputs = []
    if run.data is not None:
        if not layouts.list_unlabelled(run.data):
            inputs = list(layouts.locate_annotations(run.data).values())
        parameters |= {
            "folder": str(run.data.resolve()),
            "images": layouts.fingerprint_images(run.data),
        }
    outputs = [run.path / f"{name}.json" for name in ("splits", "statistics", "audit")]
    return run_stage(
        run, "data", parameters, inputs, lambda folder: _write(run, folder), outputs=outputs
    )


def check_data(data: Path) -> list[str]:
    """All that is wrong with a data folder, the most important first; notes are printed, errors
    returned.

    Nothing is written. The pictures of every annotation file are decoded, so it takes as long as
    reading them once.
    """
    errors = []
    notes = []
    if pictures := layouts.list_unlabelled(data):
        found = Problems()
        progress = Progress("check pictures", len(pictures), "images")
        for name in pictures:
            check_decodes(found, data / name)
            progress.update()
        progress.close()
        print(
            f"note: {data}: no annotation file, so these pictures serve pretraining only",
            flush=True,
        )
        return found.errors()
    for labelled in layouts.find_labelled(data).values():
        labels = labelled.labels
        progress = Progress(f"check {labels.file.name}", len(labels.images), "images")
        found = check_folder(data, labelled.folder, labels, progress.update)
        progress.close()
        errors += found.errors()
        notes += found.notes()
    for line in notes:
        print(f"note: {line}", flush=True)
    return errors


def _write(run: Run, folder: Path) -> None:
    if run.data is None:
        splits = _generated(run, folder)
    elif layouts.list_unlabelled(run.data):
        return _unlabelled(run, folder, run.data)
    else:
        splits = _given(run, folder, run.data.resolve())
    shared = _audit(run, splits)
    if run.profile.data.exclude_pretraining:
        row = next(row for row in shared if (row["first"], row["second"]) == ("pretrain", "test"))
        alike = {first for first, _ in row["near"]}
        splits["pretrain"] = [name for name in splits["pretrain"] if name not in alike]
        splits["overlap"]["near_duplicates_excluded"] = len(alike)
    write_json(run.path / "audit.json", shared)
    write_json(run.path / "splits.json", splits)
    write_json(run.path / "statistics.json", compute_statistics(run))


def _audit(run: Run, splits: dict) -> list[dict]:
    """What the splits and the pretraining images share (``audit_splits``)."""
    listed = {}
    for name in _SPLITS:
        records = read_json(run.path / splits[name])["images"]
        listed[name] = [record["file_name"] for record in records]
    listed["pretrain"] = splits["pretrain"]
    everything = {name for names in listed.values() for name in names}
    progress = Progress("audit", len(everything), "images compared")
    shared = audit_splits(run.path / splits["image_root"], listed, progress)
    progress.close()
    return shared


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
        scenes.write_split(folder / name, annotations, seed, name, count, size, progress, world)
    unlabelled = folder / "unlabelled"
    scenes.write_unlabelled(unlabelled, seed, settings.unlabelled, size, progress, world)
    if crops:
        side = require(settings.crop_size, "data.crop_size", "prepare")
        scenes.write_crops(folder / "crops", seed, crops, side, progress, world)
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
        scenes.write_crops(folder / "crops", run.profile.seed, count, side, world=settings.world)


def _unlabelled(run: Run, folder: Path, data: Path) -> None:
    """A folder of pictures without labels: nothing but pretraining can be done with it."""
    settings = run.profile.data
    root = data.resolve()
    listed = layouts.list_unlabelled(root)
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


def _given(run: Run, folder: Path, root: Path) -> dict:
    settings = run.profile.data
    seed = run.profile.seed
    found = layouts.find_labelled(root)
    mended = {labelled.labels.file: layouts.check_labelled(labelled) for labelled in found.values()}
    drawn = layouts.draw_splits(found, settings, seed)
    records = {name: labelled.named(images) for name, (labelled, images) in drawn.items()}
    progress = Progress("prepare", sum(map(len, records.values())), "images checked")
    for name, (labelled, _) in drawn.items():
        layouts.check_images(root, records[name], progress)
        file = folder / "annotations" / f"{name}.json"
        boxes = mended[labelled.labels.file].boxes
        labelled.labels.write_subset(records[name], file, boxes)
    progress.close()
    _write_crops(run, folder)
    categories = [{"id": c["id"], "name": c["name"]} for c in drawn["train"][0].labels.categories]
    pretrain, overlap = draw_pretraining_images(root, records, settings, seed)
    return _splits("given", str(root), categories, pretrain, overlap)


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
