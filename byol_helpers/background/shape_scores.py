"""Scores of two masks that look at form: boundary IoU at the outline, S-measure at the whole and
its quarters.

IoU counts pixels, and most pixels of a large object lie far inside it: a mask with a ragged edge
keeps a high IoU.
"""

import cv2
import numpy as np

# Width of the band along the outline, as a share of the image's diagonal (Cheng et al. 2021).
BAND = 0.02


def boundary_iou(predicted: np.ndarray, true: np.ndarray) -> float:
    """IoU of the bands of pixels inside two masks that lie near their outlines (Cheng et al., CVPR
    2021).

    The band is as wide as in the authors' code: 2 % of the diagonal, rounded, at least 1 pixel. The
    edge of the image counts as outline too.

    Args:
        predicted, true: [H, W], bool.

    Returns:
        0 to 1, higher is better; 1 if both masks are empty, 0 if only one is.
    """
    width = max(1, round(BAND * float(np.hypot(*true.shape))))
    a = find_band(predicted, width)
    b = find_band(true, width)
    either = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / either) if either else 1.0


def find_band(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels of a mask [H, W] of bool at most ``width`` from a pixel outside it, diagonals counting
    as one step."""
    padded = np.pad(mask, 1).astype(np.uint8)  # beyond the image is outside
    inside = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)
    return mask & ~inside[1:-1, 1:-1].astype(bool)


def s_measure(predicted: np.ndarray, true: np.ndarray) -> float:
    """Structure measure of two masks [H, W] of bool (Fan et al., ICCV 2017), with their alpha =
    1/2.

    Half of it compares object and background as wholes, half compares the four quarters around the
    centre of the true object by their structural similarity. The empty cases are those of
    PySODMetrics: without a true object it is the share of pixels left out, and with an object that
        fills the image the share of pixels kept.

    Returns:
        0 to 1, higher is better.
    """
    if not true.any():
        return float(1 - predicted.mean())
    if true.all():
        return float(predicted.mean())
    share = true.mean()
    objects = share * _measure_evenness(predicted[true]) + (1 - share) * _measure_evenness(
        ~predicted[~true]
    )
    height, width = true.shape
    y, x = np.argwhere(true).mean(axis=0).round().astype(int) + 1
    regions = 0
    for rows in (slice(0, y), slice(y, height)):
        for columns in (slice(0, x), slice(x, width)):
            quarter = true[rows, columns]
            similarity = _measure_similarity(predicted[rows, columns], quarter)
            regions += similarity * quarter.size / true.size
    return float(max(0.0, (objects + regions) / 2))


def _measure_evenness(right: np.ndarray) -> float:
    """Equation 6: 2 m / (m^2 + 1 + s), with mean m and deviation s of the pixels [N] of one side,
    right or wrong."""
    mean = right.mean()
    spread = right.std(ddof=1) if right.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread)


def _measure_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two pieces of bool: 1 where neither varies, 0 for a piece without
    pixels."""
    n = a.size
    if not n:
        return 0.0
    in_a = int(np.count_nonzero(a))
    in_b = int(np.count_nonzero(b))
    in_both = int(np.count_nonzero(a & b))
    # Whole numbers: n (n - 1) times the variances and the covariance, n^2 times the squared means.
    # The factors cancel.
    variances = in_a * (n - in_a) + in_b * (n - in_b)
    below = (in_a**2 + in_b**2) * variances
    return 4 * in_a * in_b * (n * in_both - in_a * in_b) / below if below else 1.0
