"""Background removal before deep learning: the methods that chapter 1 of the thesis names, to
compare the arms with.

Each is a function from an image alone, [H, W, 3] of uint8, RGB, to a mask [H, W] of bool. None
learns, none sees an annotation or a detection, and each gives the same mask every time. A method
that parts the image in two does not say which side is the object. We take the side that covers less
of the image's edge (``choose_object_side``). An image of one colour has no object.
"""

from collections.abc import Callable
from functools import wraps

import cv2
import numpy as np
from skimage.color import rgb2gray, rgb2lab
from skimage.filters import sobel, threshold_otsu
from skimage.segmentation import morphological_chan_vese, watershed

# Pixels; masks of larger images are sought on a shrunk copy, in a second instead of half a minute.
LONGEST_SIDE = 256
MARGIN = 0.05  # share of each side that GrabCut takes for background from the start
K_MEANS_ROUNDS = 50
CONTOUR_ROUNDS = 36
GRABCUT_ROUNDS = 5

Method = Callable[[np.ndarray], np.ndarray]


def _seek_on_small_copy(method: Method) -> Method:
    """Answer for images of one colour, and shrink large ones to ``LONGEST_SIDE`` and their mask
    back."""

    @wraps(method)
    def mask_of(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        if (image == image[0, 0]).all():
            return np.zeros((height, width), bool)
        factor = LONGEST_SIDE / max(height, width)
        if factor >= 1:
            return method(image)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        mask = method(small).astype(np.uint8)
        return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)

    return mask_of


def keep_everything(image: np.ndarray) -> np.ndarray:
    """Nothing is removed: the zero point of every score."""
    return np.ones(image.shape[:2], bool)


@_seek_on_small_copy
def otsu(image: np.ndarray) -> np.ndarray:
    """The threshold on grey values with the least variance on its two sides (Otsu 1979)."""
    return choose_object_side(_brighter(image), image)


@_seek_on_small_copy
def k_means(image: np.ndarray) -> np.ndarray:
    """Two clusters of colours by their distance in CIELAB (Dhanachandra et al. 2015), beginning
    with Otsu's sides."""
    colours = rgb2lab(image).astype(np.float32).reshape(-1, 3)
    start = _brighter(image).astype(np.int32).reshape(-1, 1)
    until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, K_MEANS_ROUNDS, 0.01)
    _, labels, _ = cv2.kmeans(colours, 2, start, until, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    return choose_object_side(labels.reshape(image.shape[:2]) == 1, image)


@_seek_on_small_copy
def watersheds(image: np.ndarray) -> np.ndarray:
    """Floods the gradient from the cores of Otsu's two sides (Najman and Schmitt 1994).

    A core is what lies at least half as far from the other side as the farthest pixel does.
    """
    brighter = _brighter(image)
    cores = np.zeros(brighter.shape, np.int32)
    for number, side in enumerate((~brighter, brighter), start=1):
        depth = cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        cores[side & (depth >= depth.max() / 2)] = number
    return choose_object_side(watershed(sobel(rgb2gray(image)), cores) == 2, image)


@_seek_on_small_copy
def active_contours(image: np.ndarray) -> np.ndarray:
    """A contour that moves until grey values are even on both its sides (Chan and Vese 2001,
    morphological by Márquez-Neila et al. 2014).

    Snakes (Kass et al. 1988), which the thesis names, need a person to draw the first contour. This
    successor starts from a chequerboard.
    """
    if min(image.shape[:2]) < 2:  # no gradient, no contour
        return np.zeros(image.shape[:2], bool)
    # scikit-image takes two smoothings in turn and remembers which is next: an even number of
    # rounds keeps the order
    found = morphological_chan_vese(
        rgb2gray(image), CONTOUR_ROUNDS, init_level_set="checkerboard", smoothing=1
    )
    return choose_object_side(found.astype(bool), image)


@_seek_on_small_copy
def grabcut(image: np.ndarray) -> np.ndarray:
    """Graph cuts (Boykov et al. 2001) between two models of colour that are fitted in turn (Rother
    et al. 2004).

    A person would draw a box around the object. Here the box is the image without a twentieth at
    each edge: what it leaves out is background, all inside it may be the object.
    """
    height, width = image.shape[:2]
    y = max(1, round(MARGIN * height))
    x = max(1, round(MARGIN * width))
    if height <= 2 * y or width <= 2 * x:  # nothing is left inside
        return np.zeros((height, width), bool)
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    labels[y:-y, x:-x] = cv2.GC_PR_FGD
    cv2.setRNGSeed(0)  # OpenCV draws the first centres of its models of colour
    cv2.grabCut(
        image,
        labels,
        (0, 0, 0, 0),  # not used with a mask
        np.zeros((1, 65)),
        np.zeros((1, 65)),
        GRABCUT_ROUNDS,
        cv2.GC_INIT_WITH_MASK,
    )
    return labels == cv2.GC_PR_FGD


BASELINES: dict[str, Method] = {
    "otsu": otsu,
    "k-means": k_means,
    "watershed": watersheds,
    "active-contours": active_contours,
    "grabcut": grabcut,
    "keep-everything": keep_everything,
}


def choose_object_side(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Of a mask and its complement, both [H, W] of bool, the one that covers less of the image's
    edge.

    Photographers keep the object inside the frame. A tie goes to the smaller side, and then to the
    brighter one.
    """
    edge = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    if edge.mean() != 0.5:
        return mask if edge.mean() < 0.5 else ~mask
    if mask.mean() != 0.5:
        return mask if mask.mean() < 0.5 else ~mask
    return mask if image[mask].mean() >= image[~mask].mean() else ~mask


def _brighter(image: np.ndarray) -> np.ndarray:
    """Pixels above Otsu's threshold, [H, W] of bool."""
    grey = rgb2gray(image)
    return grey > threshold_otsu(grey)
