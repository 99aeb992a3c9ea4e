"""The views of ``augmentations`` without Pillow's rounding between steps, some times faster.

The draws are the same, one for one; only their rendering differs: crop and bicubic resize on 8 bits
with torch's vector code, then all colours in float (hue and blur by OpenCV), values clipped to 0..1
after each step as in the official code, and a true Gaussian where Pillow repeats box filters.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from byol_helpers.pretraining.augmentations import MEAN, STD, Drawn, View

cv2.setNumThreads(1)  # views are small, and made side by side by the workers that load them
SHIFT, SCALE = (torch.from_numpy(values)[:, None, None] for values in (MEAN, 1 / STD))


def render_view(pixels: np.ndarray, view: View, draw: np.random.Generator) -> torch.Tensor:
    """What ``view(Image.fromarray(pixels), draw)`` gives, within rounding: float32 [3, size, size],
    normalised.

    Args:
        pixels: uint8 [H, W, 3], RGB.
        view: sizes, probabilities and strengths.
        draw: where the random numbers come from.
    """
    height, width = pixels.shape[:2]
    return render(pixels, view.draw(width, height, draw), view.size)


def render(pixels: np.ndarray, drawn: Drawn, size: int) -> torch.Tensor:
    """One view from its draws."""
    left, top, right, bottom = drawn.box
    part = torch.from_numpy(pixels[top:bottom, left:right]).permute(2, 0, 1)[None]
    x = (
        F.interpolate(part, (size, size), mode="bicubic", antialias=True)[0]
        .contiguous()
        .float()
        .div_(255)
    )
    if drawn.flip:
        x = x.flip(-1)
    for kind, strength in drawn.colours:
        x = _CHANGES[kind](x, strength)
    if drawn.grey:
        x = convert_to_grey(x)  # one channel until the end
    if drawn.sigma:
        x = blur_view(x, drawn.sigma)
    if drawn.solarize:
        x = torch.minimum(x, 1 - x)  # inverted above one half
    return (x - SHIFT).mul_(SCALE)


def convert_to_grey(x: torch.Tensor) -> torch.Tensor:
    """Luma of an RGB picture [3, H, W] as [1, H, W]."""
    return (0.299 * x[:1]).add_(x[1:2], alpha=0.587).add_(x[2:], alpha=0.114)


def change_brightness(x: torch.Tensor, factor: float) -> torch.Tensor:
    return (x * factor).clamp_(0, 1)


def change_contrast(x: torch.Tensor, factor: float) -> torch.Tensor:
    """Away from (above 1) or towards the mean grey."""
    return (x * factor).add_((1 - factor) * convert_to_grey(x).mean()).clamp_(0, 1)


def change_saturation(x: torch.Tensor, factor: float) -> torch.Tensor:
    """Away from or towards each pixel's own grey."""
    return torch.lerp(convert_to_grey(x), x, factor).clamp_(0, 1)


def turn_hue(x: torch.Tensor, turns: float) -> torch.Tensor:
    """Hue of HSV, here in degrees, rotated by ``turns`` of the circle.

    Value and saturation stay.
    """
    hue, saturation, value = cv2.split(cv2.cvtColor(cv2.merge(list(x.numpy())), cv2.COLOR_RGB2HSV))
    hue += 360 * turns
    hue -= 360 * np.floor(hue / 360)
    turned = torch.empty(x.shape)
    cv2.split(
        cv2.cvtColor(cv2.merge((hue, saturation, value)), cv2.COLOR_HSV2RGB), list(turned.numpy())
    )
    return turned


def blur_view(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of [C, H, W], cut at about three sigma, the border repeated."""
    weights = cv2.getGaussianKernel(2 * max(1, round(3 * sigma)) + 1, sigma, cv2.CV_32F)
    smooth = torch.empty(x.shape)
    for channel, out in zip(x.numpy(), smooth.numpy(), strict=True):
        cv2.sepFilter2D(channel, -1, weights, weights, out, borderType=cv2.BORDER_REPLICATE)
    return smooth


_CHANGES = {
    "brightness": change_brightness,
    "contrast": change_contrast,
    "saturation": change_saturation,
    "hue": turn_hue,
}
