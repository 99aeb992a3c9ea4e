"""Every committed number once more, from detections, draws and curves, without a model.

``python -m byol_helpers verdicts`` goes through ``results``: AP of every model from its detections
(and the first of its draws), every interval from the draws, cut-outs' means from the scores of the
images, and at last each scorecard. A number that differs from what is committed is named with its
file.
"""

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from byol_helpers.core.files import read_json, write_json, write_text
from byol_helpers.core.intervals import draw_weights, mean_interval
from byol_helpers.core.progress import Progress
from byol_helpers.evaluation.average_precision import COCO_METRICS, Evaluation, evaluate_detections
from byol_helpers.evaluation.bootstrap import replicate_metrics
from byol_helpers.evaluation.comparison import IOU_TYPES, ModelResult, describe_again, load_result
from byol_helpers.reproduction.packed_detections import (
    PACKED_FILE,
    read_packed,
    unpack_detections,
)
from byol_helpers.reproduction.plan import Study
from byol_helpers.reproduction.study_files import (
    DETECTIONS_FILE,
    GROUND_TRUTH_FILE,
    read_compressed,
)
from byol_helpers.reproduction.study_scorecard import build_study_scorecard, write_study_markdown
from byol_helpers.reproduction.thesis import load_thesis
from byol_helpers.reproduction.verdicts import build_scorecard, write_markdown

TOLERANCE = 1e-9
DRAW_TOLERANCE = 1e-5  # draws are kept to five decimals
CHECKED_DRAWS = 3


def write_cards(folder: Path, name: str, study: Study | None) -> Path:
    """``scorecard.json`` and ``.md`` of a folder of results: a study's, or a run's."""
    card, text = _build_card(folder, name, study)
    write_text(folder / "scorecard.md", text)
    return write_json(folder / "scorecard.json", card)


def find_differences(folder: Path, name: str, study: Study | None) -> Iterator[str]:
    """What in a folder of results cannot be computed again, a line for each file at most.

    The models are shared among all cores.

    Args:
        folder: ``results/<name>``.
        name: of the study or run.
        study: its plan; None for a run.
    """
    models = sorted(folder.glob("**/evaluate/*/metrics.json"))
    progress = Progress(f"{name}: recompute", len(models), "models")
    with ProcessPoolExecutor() as pool:
        folders = [path.parent for path in models]
        checked = pool.map(check_model, folders, repeat(folder / GROUND_TRUTH_FILE))
        for path, differences in zip(models, checked, strict=True):
            yield from _name_first(path, differences)
            progress.update()
    progress.close()
    for path in sorted(folder.glob("**/background/*/metrics.json")):
        kept = read_json(path)
        yield from _name_first(
            path, compare_values(kept["scores"]["cosine"], _average(kept), "cosine")
        )
    card, text = _build_card(folder, name, study)
    yield from _name_first(
        folder / "scorecard.json", compare_values(read_json(folder / "scorecard.json"), card)
    )
    written = folder / "scorecard.md"
    if not written.is_file() or written.read_text(encoding="utf-8") != text:
        yield f"{written}: its text is not that of the recomputed scorecard"


def _build_card(folder: Path, name: str, study: Study | None) -> tuple[dict, str]:
    if study is None:
        card = build_scorecard(folder, load_thesis())
        return card, write_markdown(card)
    card = build_study_scorecard(folder, name, study, load_thesis())
    return card, write_study_markdown(card)


def check_model(folder: Path, truth_file: Path) -> list[str]:
    """Differences of one evaluated model: its values, its first draws, its intervals."""
    return list(_find_differences(load_result(folder), folder, _read_truth(truth_file)))


@cache
def _read_truth(file: Path) -> dict:
    """The ground truth of a folder of results, read once in a process."""
    return read_compressed(file)


def _find_differences(kept: ModelResult, folder: Path, truth: dict) -> Iterator[str]:
    if (folder / DETECTIONS_FILE).is_file():
        detections = read_compressed(folder / DETECTIONS_FILE)
    else:
        detections = unpack_detections(read_packed(folder / PACKED_FILE), truth)
    limits = tuple(kept.metrics["area_limits"])
    found = {}
    for kind, iou_type in IOU_TYPES.items():
        found[kind] = evaluate_detections(truth, detections, iou_type, limits)
        for metric in COCO_METRICS:
            where = f"{kind}/{metric}/value"
            yield from compare_values(
                kept.metrics[kind][metric]["value"], found[kind].metrics[metric], where
            )
    for name, value in found["mask"].per_class.items():
        yield from compare_values(
            kept.metrics["per_class"][name]["value"], value, f"per_class/{name}/value"
        )
    yield from _check_draws(kept, found)
    yield from compare_values(kept.metrics, describe_again(kept).metrics)


def _check_draws(kept: ModelResult, found: dict[str, Evaluation]) -> Iterator[str]:
    about = kept.metrics["bootstrap"]
    images = kept.metrics["images"]
    weights = draw_weights(images, about["replicates"], about["seed"])[:CHECKED_DRAWS]
    for kind, evaluation in found.items():
        drawn = replicate_metrics(evaluation, weights).metrics
        for column, metric in enumerate(COCO_METRICS):
            ours = kept.columns[f"{kind}/{metric}"][:CHECKED_DRAWS]
            for k, (a, b) in enumerate(zip(ours, drawn[:, column], strict=True)):
                if not _is_close(a, b, DRAW_TOLERANCE):
                    yield f"draw {k} of {kind}/{metric} is {a:.7g}, recomputed {b:.7g}"


def _average(metrics: dict) -> dict:
    """Mean cosine of the images with its interval, from a background's ``metrics.json``."""
    about = metrics["bootstrap"]
    scores = [row["cosine"] for row in metrics["per_image"]]
    return mean_interval(scores, about["replicates"], about["seed"], about["confidence"])


def compare_values(kept: Any, computed: Any, where: str = "") -> Iterator[str]:
    """Where two JSON values differ, numbers by more than ``TOLERANCE`` of their size."""
    if isinstance(kept, dict) and isinstance(computed, dict):
        for key in sorted(kept.keys() | computed.keys()):
            yield from compare_values(
                kept.get(key), computed.get(key), f"{where}/{key}".lstrip("/")
            )
    elif isinstance(kept, list) and isinstance(computed, list) and len(kept) == len(computed):
        for k, (a, b) in enumerate(zip(kept, computed, strict=True)):
            yield from compare_values(a, b, f"{where}/{k}".lstrip("/"))
    elif not _is_close(kept, computed, TOLERANCE):
        yield f"{where} is {kept!r}, recomputed {computed!r}"


def _is_close(kept: Any, computed: Any, tolerance: float) -> bool:
    numbers = (int, float, np.floating)
    if isinstance(kept, numbers) and isinstance(computed, numbers):
        if math.isnan(kept) or math.isnan(computed):
            return math.isnan(kept) and math.isnan(computed)
        return bool(abs(kept - computed) <= tolerance * max(1.0, abs(kept)))
    if isinstance(computed, float) and math.isnan(computed):
        return kept is None
    return bool(kept == computed)


def _name_first(path: Path, differences: Iterable[str]) -> Iterator[str]:
    for difference in differences:
        yield f"{path}: {difference}"
        return
