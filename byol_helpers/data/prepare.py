"""Stage prepare: images and labels of a run, generated or given, as COCO files and ``splits.json``."""

from pathlib import Path

from byol_helpers.data import own, world
from byol_helpers.data.images import list_images
from byol_helpers.data.statistics import statistics
from byol_helpers.errors import UserError
from byol_helpers.runs import Progress, Run, run_stage, write_json

SPLITS = ("train", "val", "test")
DOWNLOAD = ("reads COCO from a folder: download the images and annotations of COCO 2017 (and train2014 for the profile "
            "thesis), unpack them into one folder and give it with --data")


def prepare(run: Run) -> Path:
    """Write ``data/``, ``splits.json`` and ``statistics.json``; generated unless the run has a data folder."""
    profile = run.profile
    if run.data is None and profile.data.source == "coco":
        raise UserError(f"the profile {profile.name} {DOWNLOAD}")
    parameters = {"data": profile.data.model_dump(), "seed": profile.seed, "world": world.fingerprint()}
    inputs = []
    if run.data is not None:
        found = own.find(run.data).values()
        inputs = [labelled.file for labelled in found]
        parameters |= {"folder": str(run.data.resolve()), "images": own.fingerprint(run.data, found)}
    return run_stage(run, "data", parameters, inputs, lambda folder: _write(run, folder),
                     outputs=[run.path / "splits.json", run.path / "statistics.json"])


def _write(run: Run, folder: Path) -> None:
    splits = _given(run, folder) if run.data is not None else _generated(run, folder)
    write_json(run.path / "splits.json", splits)
    write_json(run.path / "statistics.json", statistics(run))


def _generated(run: Run, folder: Path) -> dict:
    settings, seed = run.profile.data, run.profile.seed
    counts = {name: getattr(settings, name) for name in SPLITS}
    progress = Progress("prepare", sum(counts.values()) + settings.unlabelled + settings.crops, "images")
    for name in SPLITS:
        world.write_split(folder / name, folder / "annotations" / f"{name}.json", seed, name, counts[name],
                          settings.image_size, progress)
    world.write_unlabelled(folder / "unlabelled", seed, settings.unlabelled, settings.image_size, progress)
    if settings.crops:
        world.write_crops(folder / "crops", seed, settings.crops, settings.crop_size, progress)
    progress.close()
    files = [f"unlabelled/{path.name}" for path in sorted((folder / "unlabelled").glob("*.png"))]
    categories = [{"id": c.id, "name": c.name} for c in world.CATEGORIES]
    return _splits("generated", "data", categories, files, {})


def _given(run: Run, folder: Path) -> dict:
    settings, seed = run.profile.data, run.profile.seed
    root = run.data.resolve()
    found = own.find(root)
    drawn = own.split(found, {name: getattr(settings, name) for name in SPLITS}, seed)
    contents = {name: own.subset(labelled, images) for name, (labelled, images) in drawn.items()}
    progress = Progress("prepare", sum(len(c["images"]) for c in contents.values()), "images checked")
    for name, content in contents.items():
        own.check_images(root, content, progress)
        write_json(folder / "annotations" / f"{name}.json", content)
    progress.close()
    if run.profile.supervised.source == "crops":
        world.write_crops(folder / "crops", seed, settings.crops, settings.crop_size)
    categories = [{"id": c["id"], "name": c["name"]} for c in contents["train"]["categories"]]
    return _splits("given", str(root), categories, *_pretraining_files(run, root, contents))


def _pretraining_files(run: Run, root: Path, contents: dict) -> tuple[list[str], dict]:
    """Names of the pretraining images, and how many of them are in the test split too."""
    settings = run.profile.data
    test = {Path(record["file_name"]).name for record in contents["test"]["images"]}
    if settings.pretrain_folder:
        files = [path.relative_to(root).as_posix() for path in list_images(root / settings.pretrain_folder)]
    else:
        files = [record["file_name"] for name in SPLITS for record in contents[name]["images"]]
        files = sorted(set(files))
    # COCO 2014 calls a picture COCO_train2014_000000000009.jpg that COCO 2017 calls 000000000009.jpg
    shared = {name for name in files if Path(name).name.split("_")[-1] in test or Path(name).name in test}
    if settings.exclude_pretraining:
        files = [name for name in files if name not in shared]
    files = files[:settings.unlabelled]
    return files, {"shared_with_test": len(shared), "excluded": settings.exclude_pretraining}


def _splits(source: str, root: str, categories: list[dict], pretrain: list[str], overlap: dict) -> dict:
    return {"source": source, "image_root": root, "categories": sorted(categories, key=lambda c: c["id"]),
            "pretrain": pretrain, "overlap": overlap or {"shared_with_test": 0, "excluded": True},
            **{name: f"data/annotations/{name}.json" for name in SPLITS}}
