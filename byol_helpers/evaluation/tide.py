"""What kind of errors a detector makes, and what each kind costs: the error types of TIDE, on
masks.

D. Bolya, S. Foley, J. Hays, J. Hoffman, *TIDE: A General Toolbox for Identifying Object Detection
Errors*, ECCV 2020, arXiv:2008.08115. Section 2.2 defines the types, section 2.3 the oracles that
weigh them. With foreground IoU f = 0.5 and background IoU b = 0.1, a detection that is no hit is,
in the order in which the authors' code asks:

1. ``localisation``: its best IoU with an object of its own class lies in [b, f);
2. ``classification``: its IoU with an object of another class is at least f;
3. ``duplicate``: its IoU with an object of its own class is at least f, but a better-scored
detection took the object;
4. ``background``: no object of any class is overlapped by more than b;
5. ``both``: what is left, an object of another class with an IoU in (b, f).

``missed`` are objects that were not found and that no localisation or classification error points
at.

Hits are COCO's own (score order, each object once, IoU at least f), so that the AP50 here is that
of ``evaluate``. Two rules of the authors' code (tidecv 1.0.1) are changed for this: an IoU of
exactly f is foreground, and a class without objects does not count as AP 0. Detections on a crowd
of their class are treated as there: they are no false positives, but one that points at an object
may be put right and find it. The counts leave them out.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO

from byol_helpers.coco.masks import compress_mask
from byol_helpers.coco.results import read_detections, read_ground_truth
from byol_helpers.evaluation.average_precision import interpolate_precision
from byol_helpers.evaluation.matching import match_greedily

ERROR_TYPES = ("classification", "localisation", "both", "duplicate", "background", "missed")
HIT, CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND = range(6)  # what a detection is
FOREGROUND_IOU = 0.5
BACKGROUND_IOU = 0.1
DETECTIONS_PER_IMAGE = 100  # of all classes, best scores first
NO_OBJECT = -1
ON_CROWD = -2


@dataclass(frozen=True)
class ClassifiedDetections:
    """D detections of one model, image by image, each image's best score first; G objects (crowds
    are none)."""

    classes: tuple[str, ...]
    image_ids: tuple[int, ...]
    image: np.ndarray  # [D] index into image_ids
    label: np.ndarray  # [D] index into classes
    score: np.ndarray  # [D]
    kind: np.ndarray  # [D] HIT, CLASSIFICATION, ... BACKGROUND
    ignored: np.ndarray  # [D] bool: no hit, and on a crowd of its class
    # [D] the object that it hits, or would hit were it put right; NO_OBJECT for none
    aim: np.ndarray
    # [D] the object that it takes when classes do not matter; NO_OBJECT for none, or ON_CROWD
    place: np.ndarray
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
    """Say of every detection what it is; of each image the ``most`` best-scored ones, no lower
    limit of the score.

    Args:
        ground_truth, detections: as ``average_precision.evaluate``; masks are compared.
        foreground, background: the IoUs f and b.
    """
    annotations = read_ground_truth(ground_truth)
    results = read_detections(detections, annotations, "segm")
    labels = {category: k for k, category in enumerate(sorted(annotations.cats))}
    parts = []
    object_image = []
    object_label = []
    for i, (mine, objects, iou, on_crowd) in enumerate(_visit_images(annotations, results, most)):
        label = np.array([labels[d["category_id"]] for d in mine], dtype=int)
        owner = np.array([labels[a["category_id"]] for a in objects], dtype=int)
        kind, aim = _classify_image(iou, label[:, None] == owner, foreground, background)
        place = _match_image(iou, foreground)
        own_crowd = np.zeros(len(mine), dtype=bool)
        any_crowd = np.zeros(len(mine), dtype=bool)
        for category, covered in on_crowd.items():
            own_crowd |= (label == labels[category]) & (covered >= foreground)
            any_crowd |= covered >= foreground
        place[(place == NO_OBJECT) & any_crowd] = ON_CROWD
        first = len(object_label)  # objects are numbered over all images
        part = {
            "image": np.full(len(mine), i),
            "label": label,
            "score": np.array([d["score"] for d in mine], dtype=float),
            "kind": kind,
            "ignored": own_crowd & (kind != HIT),
            "aim": np.where(aim >= 0, aim + first, aim),
            "place": np.where(place >= 0, place + first, place),
        }
        parts.append(part)
        object_image += [i] * len(objects)
        object_label += owner.tolist()
    return ClassifiedDetections(
        classes=tuple(annotations.cats[k]["name"] for k in sorted(annotations.cats)),
        image_ids=tuple(sorted(annotations.imgs)),
        object_image=np.array(object_image, dtype=int),
        object_label=np.array(object_label, dtype=int),
        **{name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
    )


def weigh_errors(classified: ClassifiedDetections) -> Errors:
    """Count each type, and put it right alone to see what AP50 gains (section 2.3).

    Put right means: a classification error gets its object's class and becomes a hit, a
        localisation error gets its
    object's outline; of several that point at one object only the best-scored becomes a hit, among
    both types as in the authors' code, and none if the object was found anyway. The others, and all
    both, duplicate and background errors, are removed. Missed objects are taken off the objects to
    be found. A class with no hit at all keeps AP 0: it has no curve that could be stretched.
    """
    kind = classified.kind
    hit = kind == HIT
    ap50 = _measure_ap50(classified, hit)
    false = ~hit & ~classified.ignored
    best = _find_best_of_each_object(classified)
    counts = {}
    gains = {}
    for number, name in enumerate(ERROR_TYPES[:-1], start=1):
        counts[name] = int(np.count_nonzero(false & (kind == number)))
        mended = best & (kind == number)
        label = classified.label.copy()
        label[mended] = classified.object_label[classified.aim[mended]]
        keep = hit | mended | (false & (kind != number))
        gains[name] = _measure_ap50(classified, hit | mended, label, keep=keep) - ap50
    missed = classified.missed
    counts["missed"] = int(missed.sum())
    gains["missed"] = _measure_ap50(classified, hit, spared=missed) - ap50
    return Errors(
        ap50=ap50,
        counts=counts,
        gains=gains,
        false_positives=_measure_ap50(classified, hit, keep=hit) - ap50,
        false_negatives=_measure_ap50(classified, hit, spared=~classified.found) - ap50,
    )


def count_confusions(classified: ClassifiedDetections, score: float = 0.5) -> np.ndarray:
    """Counts [K + 1, K + 1] of true class (rows; last: background) by predicted class (columns;
    last: missed).

    Detections with at least this score take, best score first, the free object that they overlap
    most, whatever its class, if the IoU reaches f. A row of a class sums to its objects; a column
    of a class to the detections of that class, without those on crowds, which are left out.
    """
    size = len(classified.classes)
    counts = np.zeros((size + 1, size + 1), dtype=int)
    chosen = (classified.score >= score) & (classified.place != ON_CROWD)
    place = classified.place[chosen]
    label = classified.label[chosen]
    taken = place >= 0
    missed = np.delete(classified.object_label, place[taken])
    np.add.at(counts, (classified.object_label[place[taken]], label[taken]), 1)
    counts[size, :size] = np.bincount(label[~taken], minlength=size)
    counts[:size, size] = np.bincount(missed, minlength=size)
    return counts


def score_images(classified: ClassifiedDetections, score: float = 0.5) -> dict[int, float]:
    """F1 of each image that holds an object: 2 TP / (2 TP + FP + FN), hits with the right class and
    at least ``score``.

    Found, missed and invented objects in one number: 1 is perfect, 0 is no hit.
    """
    size = len(classified.image_ids)
    chosen = classified.score >= score
    hits = np.bincount(classified.image[chosen & (classified.kind == HIT)], minlength=size)
    given = np.bincount(classified.image[chosen & ~classified.ignored], minlength=size)
    objects = np.bincount(classified.object_image, minlength=size)
    f1 = {}
    for i in np.flatnonzero(objects):
        f1[classified.image_ids[i]] = float(2 * hits[i] / (given[i] + objects[i]))
    return f1


def pick_extreme_images(scores: list[dict[int, float]]) -> dict[str, int]:
    """The images that are ``best``, ``median`` and ``worst`` by their mean score over models; ties
    by image id.

    Fewer than three images give fewer entries.
    """
    order = sorted(scores[0], key=lambda i: (-sum(of_model[i] for of_model in scores), i))
    places = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
    seen: dict[int, str] = {}
    for name, place in places.items():
        if order:
            seen.setdefault(order[place], name)
    return {name: image for image, name in seen.items()}


def _visit_images(annotations: COCO, results: list[dict], most: int) -> Iterator[tuple]:
    """For each image: its detections, its objects, their IoU [d, g], and the share of each
    detection on crowds."""
    by_image: dict[int, list] = {image: [] for image in sorted(annotations.imgs)}
    for result in results:
        by_image[result["image_id"]].append(result)
    for image_id, mine in by_image.items():
        height = annotations.imgs[image_id]["height"]
        width = annotations.imgs[image_id]["width"]
        mine = sorted(mine, key=lambda d: -d["score"])  # stable: equals stay in the file's order
        mine = mine[:most]
        masks = [compress_mask(d, height, width) for d in mine]
        every = annotations.imgToAnns[image_id] if image_id in annotations.imgToAnns else []
        objects = [a for a in every if not a["iscrowd"]]
        object_masks = [compress_mask(a, height, width) for a in objects]
        crowds: dict[int, np.ndarray] = {}
        for crowd in every:
            if crowd["iscrowd"]:
                covered = _measure_iou(masks, [compress_mask(crowd, height, width)], crowd=True)
                before = crowds.get(crowd["category_id"], 0)
                crowds[crowd["category_id"]] = np.maximum(before, covered.max(axis=1, initial=0))
        yield mine, objects, _measure_iou(masks, object_masks), crowds


def _measure_iou(masks: list, others: list, crowd: bool = False) -> np.ndarray:
    """IoU [d, g] of masks in compressed RLE; with crowds, intersection over the mask alone."""
    if not masks or not others:
        return np.zeros((len(masks), len(others)))
    return np.asarray(rle.iou(masks, others, [int(crowd)] * len(others)))


def _match_image(iou: np.ndarray, threshold: float) -> np.ndarray:
    """COCO's greedy matching of one image and any class: [d], the object that each row takes, or
    NO_OBJECT."""
    least = min(threshold, 1 - 1e-10)  # as in pycocotools
    row, column = np.nonzero(iou >= least)
    none = np.zeros(iou.shape[1], dtype=bool)
    taken = match_greedily(
        row,
        column,
        iou[row, column],
        np.array([least]),
        rank=np.arange(len(iou)),
        ignored=none,
        crowd=none,
    )
    return taken[:, 0]


def _classify_image(
    iou: np.ndarray, same: np.ndarray, foreground: float, background: float
) -> tuple[np.ndarray, np.ndarray]:
    """What each detection of one image is, [d], and the object that it aims at, [d].

    Args:
        iou: [d, g], of detections and objects.
        same: bool [d, g], whether their classes are the same.
    """
    own = iou * same
    other = iou * ~same
    aim = _match_image(own, foreground)
    kind = np.where(aim >= 0, HIT, BACKGROUND)
    if not iou.shape[1]:
        return kind, aim
    taken = np.isin(np.arange(iou.shape[1]), aim[aim >= 0])
    for d in np.flatnonzero(aim < 0):
        if background <= own[d].max() < foreground:
            kind[d] = LOCALISATION
            aim[d] = own[d].argmax()
        elif other[d].max() >= foreground:
            kind[d] = CLASSIFICATION
            aim[d] = other[d].argmax()
        elif own[d].max() >= foreground:
            kind[d] = DUPLICATE
            aim[d] = (own[d] * taken).argmax()
        elif iou[d].max() > background:
            kind[d] = BOTH
    return kind, aim


def _find_best_of_each_object(classified: ClassifiedDetections) -> np.ndarray:
    """bool [D]: of the classification and localisation errors at an object that was not found, the
    best-scored one."""
    pointing = np.flatnonzero(np.isin(classified.kind, (CLASSIFICATION, LOCALISATION)))
    pointing = pointing[~classified.found[classified.aim[pointing]]]
    # The detections of an image stand best score first, and an object lies in one image.
    first = np.unique(classified.aim[pointing], return_index=True)[1]
    best = np.zeros(len(classified.kind), dtype=bool)
    best[pointing[first]] = True
    return best


def _measure_ap50(
    classified: ClassifiedDetections,
    hit: np.ndarray,
    label: np.ndarray | None = None,
    keep: np.ndarray | None = None,
    spared: np.ndarray | None = None,
) -> float:
    """Mean AP over the classes that have objects, with these hits, labels, kept detections and
    spared objects."""
    label = classified.label if label is None else label
    keep = ~classified.ignored if keep is None else keep
    order = np.argsort(-classified.score, kind="stable")
    order = order[keep[order]]
    size = len(classified.classes)
    objects = np.bincount(classified.object_label, minlength=size)
    positives = objects
    if spared is not None:
        positives = np.bincount(classified.object_label[~spared], minlength=size)
    each = []
    for k in np.flatnonzero(objects):
        of_class = hit[order][label[order] == k]
        each.append(interpolate_precision(of_class, int(positives[k])).mean())
    return float(np.mean(each)) if each else math.nan
