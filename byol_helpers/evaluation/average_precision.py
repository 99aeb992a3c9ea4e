"""COCO average precision by pycocotools, and the matches that a bootstrap needs.

pycocotools decides every number; what is kept beside its numbers is which detection matched at which
threshold. Boxes are hidden from the mask evaluation, because with them the size of a *detection* would be
the area of its box (detectron2 does the same).
"""

import contextlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from byol_helpers.errors import UserError
from byol_helpers.evaluation.coco_files import read_detections, read_ground_truth, to_coco

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")
AREAS = ("all", "small", "medium", "large")
COCO_LIMITS = (32.0**2, 96.0**2)
MOST = 1e10  # pycocotools' upper end of "large"


@dataclass(frozen=True)
class Matches:
    """All detections of one class, best score first; equal scores in the order of images, then of the file.

    D detections, I images, 4 areas (``AREAS``), 10 IoU thresholds .50:.05:.95; at most 100 detections an
    image.
    """

    scores: np.ndarray  # [D] float
    image: np.ndarray  # [D] index into Evaluation.image_ids
    hit: np.ndarray  # [4, 10, D] bool: true positive
    counts: np.ndarray  # [4, 10, D] bool: counts at all; False for detections on crowds or outside the area
    positives: np.ndarray  # [4, I] int: ground-truth instances to be found


@dataclass(frozen=True)
class Evaluation:
    """What one model scores on one ground truth. Metrics are fractions; nan: no ground truth defines it."""

    iou_type: str
    area_limits: tuple[float, float]
    image_ids: tuple[int, ...]
    classes: tuple[str, ...]
    detections: int
    metrics: dict[str, float]  # METRICS -> value
    per_class: dict[str, float]  # class -> AP
    matches: tuple[Matches, ...]  # one for each class


def evaluate(
    ground_truth: Path | str | dict,
    detections: Path | str | list[dict],
    iou_type: Literal["segm", "bbox"] = "segm",
    area_limits: tuple[float, float] = COCO_LIMITS,
) -> Evaluation:
    """Score COCO results against COCO annotations (thesis 4.3.2, eq. 18-22; COCO's 101 recall points).

    Args:
        ground_truth: annotation file or its content.
        detections: results file or its content; an empty list is a model that finds nothing: AP 0.
        iou_type: ``segm`` compares masks, ``bbox`` boxes.
        area_limits: square pixels where small ends and where large begins, COCO's 32^2 and 96^2 by default.

    Raises:
        UserError: no annotations, or a detection that is not a COCO result for these images and categories.
    """
    small, large = area_limits
    if not 0 < small < large < MOST:
        raise UserError(f"area_limits {small:g}, {large:g}: give two increasing areas in square pixels")
    truth = read_ground_truth(ground_truth, iou_type)
    found = read_detections(detections, truth, iou_type)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCOeval(truth, _results(truth, found), iou_type)
        coco.params.areaRng = [[0, MOST], [0, small], [small, large], [large, MOST]]
        coco.evaluate()
        coco.accumulate()
        coco.summarize()
    stats = [float(value) if value > -1 else math.nan for value in (*coco.stats[:6], coco.stats[8])]
    names = tuple(truth.cats[k]["name"] for k in coco.params.catIds)
    precision = coco.eval["precision"][:, :, :, 0, -1]  # [10, 101, K]
    return Evaluation(
        iou_type=iou_type,
        area_limits=(float(small), float(large)),
        image_ids=tuple(int(i) for i in coco.params.imgIds),
        classes=names,
        detections=len(found),
        metrics=dict(zip(METRICS, stats, strict=True)),
        per_class={name: _mean(precision[:, :, k]) for k, name in enumerate(names)},
        matches=tuple(_matches(coco, k) for k in range(len(names))),
    )


def _mean(precision: np.ndarray) -> float:
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else math.nan


def _matches(coco: COCOeval, k: int) -> Matches:
    """pycocotools' per-image results of class number ``k``, in the order in which it accumulates them."""
    n, first = len(coco.params.imgIds), k * len(AREAS)
    per_area = [coco.evalImgs[(first + a) * n : (first + a + 1) * n] for a in range(len(AREAS))]
    kept = [i for i in range(n) if per_area[0][i] is not None]
    positives = np.zeros((len(AREAS), n), dtype=np.int64)
    for a, results in enumerate(per_area):
        positives[a, kept] = [np.count_nonzero(results[i]["gtIgnore"] == 0) for i in kept]
    scores = np.concatenate([[], *(per_area[0][i]["dtScores"] for i in kept)])
    image = np.repeat(np.array(kept, dtype=np.int64), [len(per_area[0][i]["dtScores"]) for i in kept])
    order = np.argsort(-scores, kind="mergesort")

    def flags(key: str) -> np.ndarray:
        start = np.zeros((10, 0), dtype=bool)
        parts = ([start, *(results[i][key] != 0 for i in kept)] for results in per_area)
        return np.stack([np.concatenate(part, axis=1) for part in parts])[:, :, order]

    counts = ~flags("dtIgnore")
    return Matches(scores[order], image[order], flags("dtMatches") & counts, counts, positives)


def _results(truth: COCO, found: list[dict]) -> COCO:
    """``COCO.loadRes``, which cannot take an empty list."""
    if found:
        return truth.loadRes(found)
    return to_coco({**truth.dataset, "annotations": []})
