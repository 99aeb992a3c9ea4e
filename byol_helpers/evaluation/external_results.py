"""Average precision, intervals and paired differences for results files from anywhere: no run, no
model.

A results file is what detectron2, mmdetection, ultralytics and pycocotools call COCO results: a
JSON list of ``{"image_id", "category_id", "score", "bbox" and/or "segmentation"}``.
"""

from pathlib import Path

from byol_helpers.coco.annotations import Labels
from byol_helpers.coco.results import (
    Shape,
    list_shapes,
    list_shapes_of_labels,
    read_entries,
    read_ground_truth,
)
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_json
from byol_helpers.evaluation import comparison
from byol_helpers.evaluation.average_precision import COCO_METRICS
from byol_helpers.evaluation.doubts import describe_doubts

SHAPES = {"mask": "segmentation", "box": "bbox"}
_TYPES: dict[str, Shape] = {"mask": "segm", "box": "bbox"}


def evaluate_results_files(
    ground_truth: Path,
    detections: list[Path],
    out: Path | None = None,
    replicates: int = 1000,
    strict: bool = False,
) -> str:
    """Score results files against COCO annotations and return the tables as Markdown.

    Masks are scored where the annotations and every file have any, boxes likewise; what is left
    out, mended or doubtful is said. All files share the bootstrap's draws of images, so that
    differences between them are paired.

    Args:
        ground_truth: annotation file.
        detections: results files; a file's name, without its ending, names its model.
        out: folder for ``<name>/metrics.json``, ``<name>/bootstrap.csv`` and ``comparison.json``;
            None keeps nothing.
        replicates: of the bootstrap.
        strict: refuse annotations that would have to be mended.

    Raises:
        UserError: a file is missing or broken, or does not fit the others; the message names file
            and entry.
    """
    names = _names(detections)
    entries = {name: read_entries(path)[1] for name, path in names.items()}
    kinds = _choose_kinds(ground_truth, list(entries.values()))
    said = []
    truth = read_ground_truth(ground_truth, _TYPES[kinds[0]])
    if truth.found.all_crowds:
        raise UserError(truth.found.all_crowds)
    if truth.found.mended:
        if strict:
            raise UserError(f"{truth.found.mended}; mend the file, or drop --strict")
        said.append(truth.found.mended)
    results = {}
    for name, path in names.items():
        result = comparison.evaluate_model(
            ground_truth,
            path,
            arm=name,
            seed=0,
            engine="unknown",
            profile="none",
            iterations=0,
            replicates=replicates,
            kinds=tuple(kinds),
        )
        results[name] = result
        if out is not None:
            comparison.save_result(result, Path(out) / name)
    for name, found in entries.items():
        said += [f"{names[name].name}: {doubt}" for doubt in describe_doubts(truth, found, kinds)]
    compared = comparison.compare_arms(results)
    if out is not None:
        write_json(Path(out) / "comparison.json", compared)
    return _text(ground_truth, compared, kinds, said)


def _choose_kinds(ground_truth: Path, found: list[list]) -> list[str]:
    """What all files have, ``mask`` before ``box``; a file without detections has all there is."""
    shared = list_shapes_of_labels(Labels(ground_truth))
    for entries in found:
        shared &= list_shapes(entries) if entries else shared
    kinds = [kind for kind, shape in SHAPES.items() if shape in shared]
    if not kinds:
        read_ground_truth(ground_truth, "bbox")  # which may have something worse to say
        raise UserError(
            f"{ground_truth}: its annotations and the results share neither masks "
            "('segmentation') nor boxes ('bbox'); export one of them for all"
        )
    return kinds


def _names(detections: list[Path]) -> dict[str, Path]:
    """A name for each file: its own, with its folder's where two are alike."""
    stems = [path.name.removesuffix(".json") for path in detections]
    names = {
        stem if stems.count(stem) == 1 else f"{path.resolve().parent.name}-{stem}": path
        for stem, path in zip(stems, detections, strict=True)
    }
    if len(names) < len(detections):
        said = "given twice, or another file has the same name and folder"
        raise UserError(f"{detections[-1]}: {said}; rename one")
    return names


def _text(ground_truth: Path, compared: dict, kinds: list[str], said: list[str]) -> str:
    """Everything that is known, as Markdown; what is doubtful stands before the numbers."""
    small, large = compared["area_limits"]
    bootstrap = compared["bootstrap"]
    parts = [f"Note: {line}." for line in said]
    parts.append(
        f"{ground_truth}: {compared['images']} images. All numbers in percent, with "
        f"{bootstrap['confidence']:.0%} intervals from {bootstrap['replicates']} bootstrap draws "
        "of the images (they do not cover the luck of training). "
        f"Small is below {small:g}, large above {large:g} square pixels."
    )
    parts += [
        f"Not scored, because not every file has it: {shape}."
        for kind, shape in SHAPES.items()
        if kind not in kinds
    ]
    for kind in kinds:
        rows = {arm["label"]: arm[kind] for arm in compared["arms"].values()}
        parts.append(_table(kind, "model", rows, ".1f"))
    for kind in kinds:
        rows = {difference["label"]: difference[kind] for difference in compared["differences"]}
        if rows:
            parts.append(_table(kind, "paired difference", rows, "+.2f"))
    return "\n\n".join(parts)


def _table(kind: str, first: str, rows: dict[str, dict], form: str) -> str:
    lines = [
        f"| {first}, {kind} | " + " | ".join(COCO_METRICS) + " |",
        "|---" * (len(COCO_METRICS) + 1) + "|",
    ]
    lines += [
        f"| {label} | " + " | ".join(_cell(entries[name], form) for name in COCO_METRICS) + " |"
        for label, entries in rows.items()
    ]
    return "\n".join(lines)


def _cell(entry: dict, form: str) -> str:
    if entry["value"] is None:
        return "not defined"
    value = format(100 * entry["value"], form)
    if entry["low"] is None or entry["high"] is None:
        return f"{value} (no interval)"
    return f"{value} ({format(100 * entry['low'], form)} to {format(100 * entry['high'], form)})"
