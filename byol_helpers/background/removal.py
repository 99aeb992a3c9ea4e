"""Background removal (thesis 3.3.3): choose the instances to keep, set every other pixel to
zero."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as rle

from byol_helpers.coco.masks import compress_mask, decode_mask
from byol_helpers.core.errors import UserError

RULES = ("confident", "largest", "all")


def zero_background(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The thesis's rule: a pixel outside the mask is background, and its value is set to zero.

    Args:
        image: [H, W, 3], uint8.
        mask: [H, W], bool, true where the object is.

    Returns:
        A new array of shape [H, W, 3], uint8: equal to the image inside the mask, 0 outside.

    Raises:
        ValueError: image and mask differ in size, or are of another kind.
    """
    _check_shapes(image, mask)
    # One multiplication of bytes over contiguous memory: twenty times as fast as np.where.
    keep = mask.view(np.uint8)
    return image * cv2.merge((keep, keep, keep))


def zero_background_by_pixel(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The same rule as the thesis tells it, pixel by pixel: the slow reference for tests and
    benchmarks.

    Arguments, result and errors are those of ``zero_background``.
    """
    _check_shapes(image, mask)
    result = image.copy()
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            if not mask[y, x]:  # the pixel does not belong to the mask: it is background
                result[y, x] = 0
    return result


def to_rgba(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The cut-out with transparency, [H, W, 4], uint8: alpha 255 inside the mask, 0 outside.

    Colours outside are 0 too, so that the removed background cannot be brought back from the file.
    """
    return cv2.merge((zero_background(image, mask), mask * np.uint8(255)))


def choose_instances(
    detections: Sequence[dict],
    rule: str,
    score_threshold: float,
    *,
    category: int | None = None,
    point: tuple[float, float] | None = None,
    number: int | None = None,
) -> list[dict]:
    """The detections to keep, from those of one image.

    Args:
        detections: COCO results of one image, each with ``score`` and ``segmentation`` (RLE), and
            with ``find_category_id`` where a category is asked for.
        rule: ``confident`` keeps the one with the highest score (the thesis: one instance per
            image), ``largest`` the one whose mask has most pixels, ``all`` every one. Of equals the
            first is kept.
        score_threshold: detections with a lower score are never kept; 0 to 1.
        category: only detections of this category id are looked at.
        point: (x, y), pixels of the upright image from its upper left corner; only detections whose
            mask holds that pixel are looked at.
        number: instead of the rule, the one with this rank by score, from 1 on, of those looked at.

    Returns:
        The kept detections, best first; empty when nothing fits.

    Raises:
        ValueError: unknown rule, or a number below 1.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")
    if number is not None and number < 1:
        raise ValueError(f"number {number}: the first is 1")
    fitting = []
    for detection in detections:
        if detection["score"] < score_threshold:
            continue
        if category is not None and detection["category_id"] != category:
            continue
        if point is None or _holds_point(detection, *point):
            fitting.append(detection)
    fitting.sort(key=lambda d: -d["score"])
    if number is not None:
        return fitting[number - 1 : number]
    if rule == "largest":
        fitting.sort(key=lambda d: -_count_pixels(d))
    return fitting if rule == "all" else fitting[:1]


def find_category_id(name: str, categories: Sequence[dict]) -> int:
    """The id of the category with this name, upper and lower case alike.

    Args:
        name: as the user writes it.
        categories: COCO categories, each with ``id`` and ``name``.

    Raises:
        UserError: no such category; the line lists those that there are.
    """
    for category in categories:
        if category["name"].casefold() == name.strip().casefold():
            return category["id"]
    known = ", ".join(category["name"] for category in categories)
    raise UserError(f"no category {name!r}; the model knows {known}")


def merge_masks(instances: Sequence[dict], size: tuple[int, int]) -> np.ndarray:
    """Union of the masks of COCO annotations or results, [H, W], bool; false everywhere for no
    instances.

    Raises:
        ValueError: a mask of another size.
    """
    parts: list[Any] = [compress_mask(instance, *size) for instance in instances]
    for part in parts:
        if tuple(part["size"]) != tuple(size):
            raise ValueError(
                f"a mask of {_write_size(part['size'])} (height x width) "
                f"for an image of {_write_size(size)}"
            )
    if not parts:
        return np.zeros(size, bool)
    return np.ascontiguousarray(rle.decode(rle.merge(parts))).view(bool)


def _count_pixels(detection: dict) -> int:
    """Pixels of a detection's mask."""
    mask: Any = compress_mask(detection, *detection["segmentation"]["size"])
    return int(rle.area(mask))


def _holds_point(detection: dict, x: float, y: float) -> bool:
    """Whether a detection's mask holds the pixel that a point lies in."""
    height, width = detection["segmentation"]["size"]
    if not (0 <= x < width and 0 <= y < height):
        return False
    return bool(decode_mask(detection, height, width)[int(y), int(x)])


def _write_size(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


def _check_shapes(image: np.ndarray, mask: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"image: expected [H, W, 3] of uint8, got {list(image.shape)} of {image.dtype}"
        )
    if mask.shape != image.shape[:2] or mask.dtype != bool:
        raise ValueError(
            f"mask: expected {list(image.shape[:2])} of bool, as large as the image, "
            f"got {list(mask.shape)} of {mask.dtype}"
        )
