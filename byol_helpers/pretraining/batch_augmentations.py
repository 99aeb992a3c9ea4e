"""The views of ``augmentations``, those of a whole batch from images that are decoded already.

For small images, where the loader's work per image costs as much as a step of a narrow network. The
draws are the same, one for one, and so is the order of the changes; two things differ from
``torch_augmentations``: the crop is resized bilinearly and without smoothing (bicubic there), so an
image should not be much larger than a view; and hue is turned in YIQ, about the axis of greys,
which keeps the luma, instead of in HSV, which keeps value and saturation. So every change of colour
is one matrix on RGB, and an image is small enough to stay in the processor's cache meanwhile.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from byol_helpers.pretraining.augmentations import MEAN, STD, Drawn

LUMA = np.array([0.299, 0.587, 0.114])
TO_YIQ = np.array([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])
FROM_YIQ = np.linalg.inv(TO_YIQ)
TO_GREY = np.tile(LUMA, (3, 1))  # RGB to its luma, three times
NORMALISE = np.column_stack([np.diag(1 / STD), -MEAN / STD])
cv2.setNumThreads(1)  # views are small


def render_batch(images: Sequence[np.ndarray], drawn: Sequence[Drawn], size: int) -> torch.Tensor:
    """One view of each image from its draws.

    Args:
        images: uint8 [H, W, 3] each, RGB, of any sizes.
        drawn: of ``View.draw`` for each image.
        size: side of the views in pixels.

    Returns:
        float32 [N, 3, size, size], normalised; in memory a pixel's channels lie side by side
        (``torch.channels_last``).
    """
    views = np.empty((len(images), size, size, 3), np.float32)
    for image, one, view in zip(images, drawn, views, strict=True):
        cv2.transform(render_one(image, one, size), NORMALISE, dst=view)
    return torch.from_numpy(views).permute(0, 3, 1, 2)


def render_one(image: np.ndarray, drawn: Drawn, size: int) -> np.ndarray:
    """One view, float32 [size, size, 3] in 0..1."""
    left, top, right, bottom = drawn.box
    part = cv2.resize(image[top:bottom, left:right], (size, size))
    if drawn.flip:
        part = cv2.flip(part, 1)
    x = np.multiply(part, np.float32(1 / 255), dtype=np.float32)
    for kind, strength in drawn.colours:
        x = cv2.transform(x, choose_matrix(kind, strength, x))
        np.maximum(x, 0, out=x)
        np.minimum(x, 1, out=x)
    if drawn.grey:
        x = cv2.transform(x, TO_GREY)
    if drawn.sigma:
        weights = cv2.getGaussianKernel(
            2 * max(1, round(3 * drawn.sigma)) + 1, drawn.sigma, cv2.CV_32F
        )
        x = cv2.sepFilter2D(x, -1, weights, weights, borderType=cv2.BORDER_REPLICATE)
    if drawn.solarize:
        x = np.minimum(x, 1 - x)  # inverted above one half
    return x


def choose_matrix(kind: str, strength: float, x: np.ndarray) -> np.ndarray:
    """The change of colour as a matrix on RGB, [3, 3], or [3, 4] with what is added."""
    if kind == "brightness":
        return strength * np.eye(3)
    if kind == "contrast":  # away from or towards the mean grey of the view
        mean = LUMA @ cv2.mean(x)[:3]
        return np.column_stack([strength * np.eye(3), np.full(3, (1 - strength) * mean)])
    if kind == "saturation":  # away from or towards each pixel's own grey
        return strength * np.eye(3) + (1 - strength) * TO_GREY
    return turn_hue_in_yiq(strength)


def turn_hue_in_yiq(turns: float) -> np.ndarray:
    """Chroma of YIQ turned about the axis of greys, red towards green for positive turns; [3, 3].

    The luma stays.
    """
    cosine = np.cos(2 * np.pi * turns)
    sine = np.sin(2 * np.pi * turns)
    turn = np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])
    return FROM_YIQ @ turn @ TO_YIQ
