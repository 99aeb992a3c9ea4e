"""How well a cut-out matches the truth: the thesis's cosine similarity, and scores that it hides
behind.

Cosine similarity of cut-outs flatters. With E(M), the sum of squared pixel values inside a mask M,
predicted mask P and true mask G, it equals E(P and G) / sqrt(E(P) E(G)): the geometric mean of
precision and recall, weighted by brightness. Keeping the whole image already scores sqrt(E(G) /
E(image)), and a dark background costs nothing. Hence the other scores, and the baselines, beside
it.
"""

import numpy as np

from byol_helpers.background.removal import zero_background
from byol_helpers.background.shape_scores import boundary_iou, s_measure

REMOVAL_SCORES = ("cosine", "iou", "boundary_iou", "s_measure", "f_beta", "mae")
# Precision above recall, as salient object detection has it since Achanta et al. (2009).
BETA_SQUARED = 0.3


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine similarity of two cut-outs, A.B / (|A| |B|) (thesis, equation 23), 0 to 1; higher is
    better.

    Args:
        a, b: cut-outs of equal shape, uint8; every channel of every pixel is one entry of the
            vector.

    Returns:
        The cosine. Undefined where a cut-out is black throughout: 0 if one is, 1 if both are.
    """
    if a.shape != b.shape:
        raise ValueError(f"cut-outs of different shape: {list(a.shape)} and {list(b.shape)}")
    # Sums of products of bytes are whole numbers below 2**53: exact in float64, in any order
    # of summation.
    a = a.astype(np.float64).ravel()
    b = b.astype(np.float64).ravel()
    norms = (np.sqrt(a @ a), np.sqrt(b @ b))
    if not all(norms):
        return float(not any(norms))
    return float(a @ b / (norms[0] * norms[1]))


def iou(predicted: np.ndarray, true: np.ndarray) -> float:
    """Intersection over union of two masks [H, W] of bool, 0 to 1; 1 if both are empty. Higher is
    better."""
    either = np.count_nonzero(predicted | true)
    return float(np.count_nonzero(predicted & true) / either) if either else 1.0


def mae(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean absolute error of two masks [H, W] of bool: the share of wrong pixels, 0 to 1. Lower is
    better."""
    return float(np.count_nonzero(predicted ^ true) / true.size)


def f_beta(predicted: np.ndarray, true: np.ndarray) -> float:
    """F-measure of two masks [H, W] of bool, (1 + b) p r / (b p + r) with b = ``BETA_SQUARED``,
    precision p, recall r.

    0 to 1, higher is better. 1 if both masks are empty, 0 if only one is.
    """
    both = np.count_nonzero(predicted & true)
    kept = np.count_nonzero(predicted)
    wanted = np.count_nonzero(true)
    if not kept and not wanted:
        return 1.0
    # The same fraction after cancelling, which is defined for p = r = 0 too.
    return float((1 + BETA_SQUARED) * both / (BETA_SQUARED * wanted + kept))


def score_masks(image: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """All of ``REMOVAL_SCORES`` for one image [H, W, 3] of uint8 and two masks [H, W] of bool."""
    return {
        "cosine": cosine(zero_background(image, predicted), zero_background(image, true)),
        "iou": iou(predicted, true),
        "boundary_iou": boundary_iou(predicted, true),
        "s_measure": s_measure(predicted, true),
        "f_beta": f_beta(predicted, true),
        "mae": mae(predicted, true),
    }
