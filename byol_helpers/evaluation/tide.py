"""What kind of errors a detector makes, and what each kind costs: the error types of TIDE, on masks.

D. Bolya, S. Foley, J. Hays, J. Hoffman, *TIDE: A General Toolbox for Identifying Object Detection Errors*, ECCV 2020,
arXiv:2008.08115. Section 2.2 defines the types, section 2.3 the oracles that weigh them. With foreground IoU f = 0.5
and background IoU b = 0.1, a detection that is no hit is, in the order in which the authors' code asks:

1. ``localisation``: its best IoU with an object of its own class lies in [b, f);
2. ``classification``: its IoU with an object of another class is at least f;
3. ``duplicate``: its IoU with an object of its own class is at least f, but a better-scored detection took the object;
4. ``background``: no object of any class is overlapped by more than b;
5. ``both``: what is left, an object of another class with an IoU in (b, f).

``missed`` are objects that were not found and that no localisation or classification error points at.

Hits are COCO's own (score order, each object once, IoU at least f), so that the AP50 here is that of ``evaluate``.
Two rules of the authors' code (tidecv 1.0.1) are changed for this: an IoU of exactly f is foreground, and a class
without objects does not count as AP 0. Detections on a crowd of their class are treated as there: they are no false
positives, but one that points at an object may be put right and find it. The counts leave them out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO

from byol_helpers.coco.masks import compress_mask
from byol_helpers.coco.records import read_detections, read_ground_truth
from byol_helpers.evaluation.precision_recall import interpolate_precision

ERROR_TYPES = ("classification", "localisation", "both", "duplicate", "background", "missed")
HIT, CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND = range(6)  # what a detection is
FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1
DETECTIONS_PER_IMAGE = 100  # detections of an image, of all classes, best scores first


@dataclass(frozen=True)
class ClassifiedDetections:
    """D detections of one model, image by image, each image's best score first; G objects (crowds are none)."""

    classes: tuple[str, ...]
    image_ids: tuple[int, ...]
    image: np.ndarray  # [D] index into image_ids
    label: np.ndarray  # [D] index into classes
    score: np.ndarray  # [D]
    kind: np.ndarray  # [D] HIT, CLASSIFICATION, ... BACKGROUND
    ignored: np.ndarray  # [D] bool: no hit, and on a crowd of its class
    aim: np.ndarray  # [D] the object that it hits, or would hit were it put right; -1 for none
    place: (
        np.ndarray
    )  # [D] the object that it takes when classes do not matter; -1 for none, -2 on a crowd
    object_image: np.ndarray  # [G]
    object_label: np.ndarray  # [G]

    @property
    def found(self) -> np.ndarray:
        """bool [G]: objects that a detection hits."""
        return np.isin(np.arange(len(self.object_label)), self.aim[self.kind == HIT])

    @property
    def missed(self) -> np.ndarray:
        """bool [G]: not found, and no classification or localisation error points at it."""
        pointed = self.aim[np.isin(self.kind, (CLASSIFICATION, LOCALISATION))]
        return ~self.found & ~np.isin(np.arange(len(self.object_label)), pointed)


@dataclass(frozen=True)
class Errors:
    """Errors of one model. All AP are fractions; nan without any object."""

    ap50: float
    counts: dict[str, int]  # TYPES -> how many
    gains: dict[str, float]  # TYPES -> dAP: AP50 gained when this type alone is put right
    false_positives: float  # dAP when no false positive is left
    false_negatives: float  # dAP when every object that was not found need not be found


def classify_detections(
    ground_truth: Path | str | dict,
    detections: Path | str | list[dict],
    foreground: float = FOREGROUND_IOU,
    background: float = BACKGROUND_IOU,
    most: int = DETECTIONS_PER_IMAGE,
) -> ClassifiedDetections:
    """Say of every detection what it is; of each image the ``most`` best-scored ones, no lower limit of the score.

    Args:
        ground_truth, detections: as ``average_precision.evaluate``; masks are compared.
        foreground, background: the IoUs f and b.
    """
    truth = read_ground_truth(ground_truth)
    found = read_detections(detections, truth, "segm")
    numbers = {category: k for k, category in enumerate(sorted(truth.cats))}
    rows, objects = [], []
    for at, (mine, there, iou, on_crowd) in enumerate(_images(truth, found, most)):
        label = np.array([numbers[d["category_id"]] for d in mine], dtype=int)
        owner = np.array([numbers[a["category_id"]] for a in there], dtype=int)
        same = label[:, None] == owner
        crowd = {numbers[category]: covered >= foreground for category, covered in on_crowd.items()}
        nowhere = np.zeros(len(mine), dtype=bool)
        own_crowd = np.array([crowd.get(k, nowhere)[d] for d, k in enumerate(label)], dtype=bool)
        kind, aim = _kinds(iou, same, foreground, background)
        place = _matched(iou, foreground)
        place[(place < 0) & np.any([nowhere, *crowd.values()], axis=0)] = -2
        shift = len(objects)
        rows += [
            (
                at,
                label[d],
                mine[d]["score"],
                kind[d],
                aim[d] + shift if aim[d] >= 0 else -1,
                place[d] + shift if place[d] >= 0 else place[d],
                own_crowd[d] and kind[d] != HIT,
            )
            for d in range(len(mine))
        ]
        objects += [(at, k) for k in owner]
    image, label, score, kind, aim, place, ignored = np.array(rows, dtype=float).reshape(-1, 7).T
    where = np.array(objects, dtype=int).reshape(-1, 2)
    names = tuple(truth.cats[k]["name"] for k in sorted(truth.cats))
    return ClassifiedDetections(
        names,
        tuple(sorted(truth.imgs)),
        image.astype(int),
        label.astype(int),
        score,
        kind.astype(int),
        ignored.astype(bool),
        aim.astype(int),
        place.astype(int),
        where[:, 0],
        where[:, 1],
    )


def weigh_errors(judged: ClassifiedDetections) -> Errors:
    """Count each type, and put it right alone to see what AP50 gains (section 2.3).

    Put right means: a classification error gets its object's class and becomes a hit, a localisation error gets its
    object's outline; of several that point at one object only the best-scored becomes a hit, among both types as in the
    authors' code, and none if the object was found anyway. The others, and all both, duplicate and background errors,
    are removed. Missed objects are taken off the objects to be found. A class with no hit at all keeps AP 0: it has no
    curve that could be stretched.
    """
    kind, hit = judged.kind, judged.kind == HIT
    base = _ap50(judged, hit)
    false = ~hit & ~judged.ignored
    counts = {
        name: int(np.count_nonzero(false & (kind == number)))
        for number, name in enumerate(ERROR_TYPES[:-1], start=1)
    }
    best = _best_of_each_object(judged)
    gains = {}
    for number, name in enumerate(ERROR_TYPES[:-1], start=1):
        mended = best & (kind == number)
        label = (
            np.where(mended, judged.object_label[judged.aim], judged.label)
            if len(judged.object_label)
            else None
        )
        gains[name] = (
            _ap50(judged, hit | mended, label, keep=hit | mended | false & (kind != number)) - base
        )
    missed = judged.missed
    gains["missed"] = _ap50(judged, hit, spared=missed) - base
    return Errors(
        base,
        counts | {"missed": int(missed.sum())},
        gains,
        _ap50(judged, hit, keep=hit) - base,
        _ap50(judged, hit, spared=~judged.found) - base,
    )


def count_confusions(judged: ClassifiedDetections, score: float = 0.5) -> np.ndarray:
    """Counts [K + 1, K + 1] of true class (rows; last: background) by predicted class (columns; last: missed).

    Detections with at least this score take, best score first, the free object that they overlap most, whatever its
    class, if the IoU reaches f. A row of a class sums to its objects; a column of a class to the detections of that
    class, without those on crowds, which are left out.
    """
    size = len(judged.classes)
    counts = np.zeros((size + 1, size + 1), dtype=int)
    chosen = (judged.score >= score) & (judged.place > -2)
    place, label = judged.place[chosen], judged.label[chosen]
    taken = place >= 0
    np.add.at(counts, (judged.object_label[place[taken]], label[taken]), 1)
    np.add.at(counts, (size, label[~taken]), 1)
    np.add.at(counts, (np.delete(judged.object_label, place[taken]), size), 1)
    return counts


def score_images(judged: ClassifiedDetections, score: float = 0.5) -> dict[int, float]:
    """F1 of each image that holds an object: 2 TP / (2 TP + FP + FN), hits with the right class and at least ``score``.

    Found, missed and invented objects in one number: 1 is perfect, 0 is no hit.
    """
    size, chosen = len(judged.image_ids), judged.score >= score
    hits = np.bincount(judged.image[chosen & (judged.kind == HIT)], minlength=size)
    given = np.bincount(judged.image[chosen & ~judged.ignored], minlength=size)
    objects = np.bincount(judged.object_image, minlength=size)
    return {
        judged.image_ids[i]: float(2 * hits[i] / (given[i] + objects[i]))
        for i in np.flatnonzero(objects)
    }


def pick_extreme_images(scores: list[dict[int, float]]) -> dict[str, int]:
    """The images that are ``best``, ``median`` and ``worst`` by their mean score over models; ties by image id.

    Fewer than three images give fewer entries.
    """
    order = sorted(scores[0], key=lambda i: (-sum(of_model[i] for of_model in scores), i))
    places = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
    seen: dict[int, str] = {}
    for name, place in places.items():
        if order:
            seen.setdefault(order[place], name)
    return {name: image for image, name in seen.items()}


def _images(truth: COCO, found: list[dict], most: int) -> Iterator[tuple]:
    """For each image: its detections, its objects, their IoU [d, g], and the share of each detection on crowds."""
    by_image: dict[int, list] = {image: [] for image in sorted(truth.imgs)}
    for detection in found:
        by_image[detection["image_id"]].append(detection)
    for image, mine in by_image.items():
        size = truth.imgs[image]["height"], truth.imgs[image]["width"]
        mine = sorted(mine, key=lambda d: -d["score"])[
            :most
        ]  # stable: equal scores stay in the order of the file
        masks = [compress_mask(d, *size) for d in mine]
        every = truth.imgToAnns[image] if image in truth.imgToAnns else []
        there = [a for a in every if not a["iscrowd"]]
        crowds: dict[int, np.ndarray] = {}
        for crowd in (a for a in every if a["iscrowd"]):
            covered = _iou(masks, [compress_mask(crowd, *size)], crowd=True).max(axis=1, initial=0)
            kind = crowd["category_id"]
            crowds[kind] = np.maximum(crowds.get(kind, 0), covered)
        yield mine, there, _iou(masks, [compress_mask(a, *size) for a in there]), crowds


def _iou(masks: list[dict], others: list[dict], crowd: bool = False) -> np.ndarray:
    if not masks or not others:
        return np.zeros((len(masks), len(others)))
    return np.asarray(rle.iou(masks, others, [int(crowd)] * len(others)))


def _matched(iou: np.ndarray, threshold: float) -> np.ndarray:
    """COCO's greedy matching: [d], the free object that each row overlaps most (the last of equals), or -1."""
    free, result = np.ones(iou.shape[1], dtype=bool), np.full(len(iou), -1)
    for d, row in enumerate(iou):
        able = free & (row >= min(threshold, 1 - 1e-10))
        if able.any():
            result[d] = np.flatnonzero(able & (row == row[able].max()))[-1]
            free[result[d]] = False
    return result


def _kinds(iou: np.ndarray, same: np.ndarray, foreground: float, background: float):
    """What each detection of one image is, and the object that it aims at."""
    own, other = iou * same, iou * ~same
    aim = _matched(own, foreground)
    kind = np.where(aim >= 0, HIT, BACKGROUND)
    if not iou.shape[1]:
        return kind, aim
    taken = np.isin(np.arange(iou.shape[1]), aim[aim >= 0])
    for d in np.flatnonzero(aim < 0):
        if background <= own[d].max() < foreground:
            kind[d], aim[d] = LOCALISATION, own[d].argmax()
        elif other[d].max() >= foreground:
            kind[d], aim[d] = CLASSIFICATION, other[d].argmax()
        elif own[d].max() >= foreground:
            kind[d], aim[d] = DUPLICATE, (own[d] * taken).argmax()
        elif iou[d].max() > background:
            kind[d] = BOTH
    return kind, aim


def _best_of_each_object(judged: ClassifiedDetections) -> np.ndarray:
    """bool [D]: of the classification and localisation errors at an object that was not found, the best-scored one."""
    pointing = np.flatnonzero(np.isin(judged.kind, (CLASSIFICATION, LOCALISATION)))
    pointing = pointing[~judged.found[judged.aim[pointing]]]
    best = np.zeros(len(judged.kind), dtype=bool)
    best[pointing[np.unique(judged.aim[pointing], return_index=True)[1]]] = (
        True  # an object's image: best score first
    )
    return best


def _ap50(
    judged: ClassifiedDetections,
    hit: np.ndarray,
    label: np.ndarray | None = None,
    keep: np.ndarray | None = None,
    spared: np.ndarray | None = None,
) -> float:
    """Mean AP over the classes that have objects, with these hits, labels, kept detections and spared objects."""
    label = judged.label if label is None else label
    keep = ~judged.ignored if keep is None else keep
    order = np.argsort(-judged.score, kind="stable")
    order = order[keep[order]]
    size = len(judged.classes)
    objects = np.bincount(judged.object_label, minlength=size)
    wanted = (
        objects if spared is None else np.bincount(judged.object_label[~spared], minlength=size)
    )
    each = [
        interpolate_precision(hit[order][label[order] == k], int(wanted[k])).mean()
        for k in np.flatnonzero(objects)
    ]
    return float(np.mean(each)) if each else float("nan")
