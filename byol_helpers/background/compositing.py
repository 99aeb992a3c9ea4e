"""What takes the place of the background: transparency, a colour, its own blur, or another
picture."""

import cv2
import numpy as np

from byol_helpers.background.removal import zero_background

# Standard deviation of the blur of the surroundings, as a share of the longer side.
BLUR_SHARE = 0.02
# Pixels; wider blurs are made on a smaller copy, which looks the same and is far faster.
FINEST_SIGMA = 4.0


def soften_mask(mask: np.ndarray, edge: float = 0.0, close: int = 0) -> np.ndarray:
    """Opacity of the object, from its mask; without options exactly the mask.

    Args:
        mask: [H, W], bool, true where the object is.
        edge: standard deviation, in pixels, of the Gaussian that softens the edge: at a straight
            one the opacity is 0.5, and 0.02 and 0.98 two standard deviations outside and inside. 0
            leaves it hard. Beyond the image's border the mask counts as going on.
        close: holes of up to this many pixels, which the object encloses, are filled (neighbours
            share a side), then specks of up to this many are removed (neighbours share a side or a
            corner), the largest part never. 0 does neither.

    Returns:
        [H, W], float32, 0 to 1.
    """
    if close:
        labels, areas = _label_parts(~mask, connectivity=4)
        holes = areas <= close
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        holes[border] = False  # open to the border
        mask = mask | holes[labels]
        labels, areas = _label_parts(mask, connectivity=8)
        mask = mask & ((areas > close) | (areas == areas.max()))[labels]
    alpha = mask.astype(np.float32)
    if edge:
        alpha = cv2.GaussianBlur(alpha, (0, 0), edge, borderType=cv2.BORDER_REPLICATE).clip(0, 1)
    return alpha


def fill_background(
    image: np.ndarray, alpha: np.ndarray, background: str | tuple[int, int, int] | np.ndarray
) -> np.ndarray:
    """Lay the object over another background: alpha * image + (1 - alpha) * background, rounded.

    Args:
        image: [H, W, 3], uint8, RGB.
        alpha: [H, W], float32, 0 to 1, as ``soften_mask`` gives it.
        background: ``"transparent"``; ``"black"``; a colour (red, green, blue), each 0 to 255;
            ``"blur"``, the surroundings themselves, blurred with a standard deviation of
            ``BLUR_SHARE`` of the longer side, without the object's colours in them; or a picture
            [h, w, 3], uint8, RGB, which is scaled to cover the image and cut off evenly.

    Returns:
        A new array [H, W, 3], uint8, RGB; for ``"transparent"`` [H, W, 4], RGBA, with the image's
        own colours where alpha is above 0 and zeros elsewhere. For a hard alpha these are the
        results of ``zero_background`` (``"black"``) and ``to_rgba``.

    Raises:
        ValueError: image and alpha differ in size, or a background of another kind.
    """
    if alpha.shape != image.shape[:2]:
        raise ValueError(
            f"alpha: expected {list(image.shape[:2])}, as large as the image, "
            f"got {list(alpha.shape)}"
        )
    if isinstance(background, str) and background == "transparent":
        opacity = cv2.convertScaleAbs(alpha, alpha=255)
        return cv2.merge((zero_background(image, opacity > 0), opacity))
    if isinstance(background, str) and background == "black":
        return _mix(image, alpha, None)
    if isinstance(background, str) and background == "blur":
        return _mix(image, alpha, _blur_surroundings(image, alpha))
    if isinstance(background, np.ndarray) and background.ndim == 3:
        return _mix(image, alpha, cover_size(background, image.shape[:2]))
    colour = np.asarray(background)
    if (
        colour.shape != (3,)
        or colour.dtype.kind not in "iu"
        or not ((colour >= 0) & (colour <= 255)).all()
    ):
        raise ValueError(
            f"background {background!r}: expected a colour (red, green, blue), a name or a picture"
        )
    return _mix(image, alpha, np.broadcast_to(colour.astype(np.uint8), image.shape))


def cover_size(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture [h, w, 3], uint8, scaled to cover height and width of ``size``, its middle cut
    out."""
    height, width = size
    if picture.shape[:2] == (height, width):
        return picture
    scale = max(height / picture.shape[0], width / picture.shape[1])
    wide = max(width, round(picture.shape[1] * scale))
    high = max(height, round(picture.shape[0] * scale))
    y = (high - height) // 2
    x = (wide - width) // 2
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(picture, (wide, high), interpolation=interpolation)
    return scaled[y : y + height, x : x + width]


def _label_parts(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels [H, W] of a mask's connected parts, and the area in pixels of each; that of label 0,
    the rest, is 0."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=connectivity
    )
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return labels, areas


def _blur_surroundings(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The background blurred by normalised convolution, blur(w * image) / blur(w) with w = 1 -
    alpha.

    Knutsson and Westin, Normalized and differential convolution, CVPR 1993.
    """
    height, width = alpha.shape
    sigma = BLUR_SHARE * max(height, width)
    shrink = max(1.0, sigma / FINEST_SIGMA)
    size = max(1, round(width / shrink)), max(1, round(height / shrink))
    # Far inside the object, its own colours stand for the rest.
    weight = 1 - alpha[..., None] + np.float32(1e-4)
    weighted = np.dstack([image * weight, weight]).astype(np.float32)
    small = cv2.resize(weighted, size, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), sigma / shrink, borderType=cv2.BORDER_REPLICATE)
    blurred = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.rint(blurred[..., :3] / blurred[..., 3:]).clip(0, 255).astype(np.uint8)


def _mix(image: np.ndarray, alpha: np.ndarray, background: np.ndarray | None) -> np.ndarray:
    """alpha * image + (1 - alpha) * background, rounded; None is black."""
    mask = alpha > 0
    if np.array_equal(mask, alpha):  # hard
        cut = zero_background(image, mask)
        if background is None:
            return cut
        return cut + zero_background(np.ascontiguousarray(background), ~mask)
    opacity = alpha[..., None]
    mixed = image * opacity
    if background is not None:
        mixed += background * (1 - opacity)
    return np.rint(mixed).astype(np.uint8)
