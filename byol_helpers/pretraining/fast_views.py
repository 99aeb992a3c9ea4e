"""The views of ``augmentations`` without Pillow's rounding between steps, some times faster.

The draws are the same, one for one; only their rendering differs: crop and bicubic resize on 8 bits with torch's
vector code, then all colours in float, values clipped to 0..1 after each step as in the official code, and a true
Gaussian where Pillow repeats box filters.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from byol_helpers.pretraining.augmentations import MEAN, STD, Drawn, View

GREY = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
SHIFT, SCALE = (torch.from_numpy(values)[:, None, None] for values in (MEAN, 1 / STD))


def view_of(pixels: np.ndarray, view: View, draw: np.random.Generator) -> torch.Tensor:
    """What ``view(Image.fromarray(pixels), draw)`` gives, within rounding: float32 [3, size, size], normalised.

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
    x = F.interpolate(part, (size, size), mode="bicubic", antialias=True)[0].contiguous().float().div_(255)
    if drawn.flip:
        x = x.flip(-1)
    for kind, strength in drawn.colours:
        x = CHANGES[kind](x, strength)
    if drawn.grey:
        x = grey_of(x)  # one channel until the end
    if drawn.sigma:
        x = blurred(x, drawn.sigma)
    if drawn.solarize:
        x = torch.minimum(x, 1 - x)  # inverted above one half
    return (x - SHIFT).mul_(SCALE)


def grey_of(x: torch.Tensor) -> torch.Tensor:
    """Luma of an RGB picture [3, H, W] as [1, H, W]."""
    return (0.299 * x[:1]).add_(x[1:2], alpha=0.587).add_(x[2:], alpha=0.114)


def brightened(x: torch.Tensor, factor: float) -> torch.Tensor:
    return (x * factor).clamp_(0, 1)


def contrasted(x: torch.Tensor, factor: float) -> torch.Tensor:
    """Away from (above 1) or towards the mean grey."""
    return (x * factor).add_((1 - factor) * grey_of(x).mean()).clamp_(0, 1)


def saturated(x: torch.Tensor, factor: float) -> torch.Tensor:
    """Away from or towards each pixel's own grey."""
    return torch.lerp(grey_of(x), x, factor).clamp_(0, 1)


def hue_turned(x: torch.Tensor, turns: float) -> torch.Tensor:
    """Hue of HSV rotated by ``turns`` of the circle; value and saturation stay.

    With hue h in 0..6 (0 red, 2 green, 4 blue), value V and chroma C, the channels are V - C + C times |h - 3| - 1,
    2 - |h - 2| and 2 - |h - 4|, each cut to 0..1.
    """
    red, green, blue = x
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    is_red, is_green = (_zero(value - channel) for channel in (red, green))
    is_green.mul_(1 - is_red)
    difference = (green - blue).mul_(is_red).addcmul_(blue - red, is_green)
    difference.addcmul_(red - green, (1 - is_red).sub_(is_green))
    hue = difference.div_(chroma.clamp(min=1e-12)).add_(4 + 6 * turns)
    hue.sub_(is_red, alpha=4).sub_(is_green, alpha=2)
    hue.sub_((hue / 6).floor_(), alpha=6)
    lowest, channels = value - chroma, torch.empty_like(x)
    torch.addcmul(lowest, chroma, (hue - 3).abs_().sub_(1).clamp_(0, 1), out=channels[0])
    torch.addcmul(lowest, chroma, (hue - 2).abs_().neg_().add_(2).clamp_(0, 1), out=channels[1])
    torch.addcmul(lowest, chroma, (hue - 4).abs_().neg_().add_(2).clamp_(0, 1), out=channels[2])
    return channels


def _zero(x: torch.Tensor) -> torch.Tensor:
    """1 where x is 0, else 0, for x of at least 0; many times faster than a comparison or ``torch.where``."""
    return x.mul_(-1e30).add_(1).clamp_(0, 1)


def blurred(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of [C, H, W], cut at about three sigma, the border repeated."""
    radius = max(1, round(3 * sigma))
    weights = [math.exp(-0.5 * (t / sigma) ** 2) for t in range(radius + 1)]
    whole = weights[0] + 2 * sum(weights[1:])
    for dim in (1, 2):
        length = x.shape[dim]
        pad = (0, 0, radius, radius) if dim == 1 else (radius, radius, 0, 0)
        wide = F.pad(x[None], pad, mode="replicate")[0]
        x = wide.narrow(dim, radius, length) * (weights[0] / whole)
        for t in range(1, radius + 1):
            both = wide.narrow(dim, radius - t, length) + wide.narrow(dim, radius + t, length)
            x.add_(both, alpha=weights[t] / whole)
    return x


CHANGES = {"brightness": brightened, "contrast": contrasted, "saturation": saturated, "hue": hue_turned}
