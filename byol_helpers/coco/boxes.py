"""Boxes as arrays: x, y, width, height in pixels, as COCO has them, or corners x0, y0, x1, y1."""

import numpy as np

_RELATIVE = 1.001  # coordinates relative to the image end at 1


def find_corners(boxes: np.ndarray) -> np.ndarray:
    """x, y, width, height [N, 4] as x0, y0, x1, y1."""
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def clip_corners(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Corners [N, 4] within images [N, 2] (height, width)."""
    return np.clip(corners, 0, np.hstack([sizes[:, ::-1], sizes[:, ::-1]]))


def measure_overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU [N] of boxes given as corners [N, 4]; 0 where neither has an area."""
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, 2:], second[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = [(corners[:, 2:] - corners[:, :2]).prod(axis=1) for corners in (first, second)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def find_relative(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which corners lie within 0..1 of an image of more than two pixels a side: bool [N]."""
    within = (corners >= 0).all(axis=1) & (corners <= _RELATIVE).all(axis=1)
    return within & (sizes.min(axis=1) > 2)
