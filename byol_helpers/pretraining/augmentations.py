"""The two views of BYOL (Grill et al. 2020, appendix B; thesis 3.2.2), with the published numbers
as defaults.

Every random number comes from the generator that is passed in, so a view is a function of its key,
and each image of a batch draws its own crop and colours. ``View`` renders with Pillow;
``torch_augmentations`` renders the same draws with torch, ``batch_augmentations`` a batch at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from byol_helpers.core.channels import RGB

MEAN = np.array(RGB.mean, np.float32)
STD = np.array(RGB.std, np.float32)
PUBLISHED_SIZE = 224  # the side in pixels that the blur's sigma was published for


@dataclass(frozen=True)
class View:
    """One of the two random views. Areas are shares of the image, probabilities lie in 0..1."""

    size: int = PUBLISHED_SIZE
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1  # in turns of the colour circle
    grey: float = 0.2
    blur: float = 1.0
    sigma: tuple[float, float] = (0.1, 2.0)  # pixels at size 224; scaled with the size
    solarize: float = 0.0

    def __call__(self, image: Image.Image, draw: np.random.Generator) -> torch.Tensor:
        """An RGB picture becomes a normalised float32 tensor [3, size, size]."""
        drawn = self.draw(*image.size, draw)
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=drawn.box)
        if drawn.flip:
            image = ImageOps.mirror(image)
        for kind, strength in drawn.colours:
            image = COLOURS[kind](image, strength)
        if drawn.grey:
            image = ImageOps.grayscale(image).convert("RGB")
        if drawn.sigma:
            image = image.filter(ImageFilter.GaussianBlur(drawn.sigma))
        if drawn.solarize:
            image = ImageOps.solarize(image, threshold=128)
        return normalise_image(image)

    def draw(self, width: int, height: int, draw: np.random.Generator) -> "Drawn":
        """Every random number of one view of a picture of that size.

        They do not depend on its pixels.
        """
        box = self.crop(width, height, draw)
        flip = draw.random() < self.flip
        colours = self.colours(draw) if draw.random() < self.jitter else ()
        grey = draw.random() < self.grey
        sigma = 0.0
        if draw.random() < self.blur:
            sigma = draw.uniform(*self.sigma) * self.size / PUBLISHED_SIZE
        return Drawn(box, flip, colours, grey, sigma, draw.random() < self.solarize)

    def crop(self, width: int, height: int, draw: np.random.Generator) -> tuple[int, int, int, int]:
        """A random part by area and aspect ratio (left, top, right, bottom).

        The whole if ten draws do not fit.
        """
        for _ in range(10):
            area = width * height * draw.uniform(*self.area)
            ratio = np.exp(draw.uniform(np.log(self.ratio[0]), np.log(self.ratio[1])))
            w = round(float(np.sqrt(area * ratio)))
            h = round(float(np.sqrt(area / ratio)))
            if 0 < w <= width and 0 < h <= height:
                x = int(draw.integers(width - w + 1))
                y = int(draw.integers(height - h + 1))
                return x, y, x + w, y + h
        return 0, 0, width, height

    def colours(self, draw: np.random.Generator) -> tuple[tuple[str, float], ...]:
        """Brightness, contrast, saturation and hue in random order, each with its strength."""
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        changes = []
        for k in draw.permutation(4):
            name, middle = _CHANGES[k]
            changes.append((name, draw.uniform(middle - strengths[k], middle + strengths[k])))
        return tuple(changes)


@dataclass(frozen=True)
class Drawn:
    """The random numbers of one view."""

    box: tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture
    flip: bool
    colours: tuple[tuple[str, float], ...]  # in order; factors around 1, hue in turns around 0
    grey: bool
    sigma: float  # of the blur, pixels of the view; 0 for none
    solarize: bool


_CHANGES = (("brightness", 1.0), ("contrast", 1.0), ("saturation", 1.0), ("hue", 0.0))


def two_views(size: int, smallest: float = 0.08) -> tuple[View, View]:
    """The published pair: the first always blurred, never solarized.

    The second blurred in 10 %, solarized in 20 %. ``smallest`` is the least share of the image's
    area that a view shows.
    """
    area = (smallest, 1.0)
    return View(size, area), View(size, area, blur=0.1, solarize=0.2)


def _enhance(kind: type) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, factor: kind(image).enhance(factor)


def shift_hue(image: Image.Image, turns: float) -> Image.Image:
    """Rotate the colour circle by ``turns`` in -0.5..0.5, in Pillow's 8-bit HSV."""
    hue, saturation, value = image.convert("HSV").split()
    moved = (np.asarray(hue).astype(np.int16) + round(turns * 255)) % 256
    turned = Image.fromarray(moved.astype(np.uint8))
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


COLOURS = {
    "brightness": _enhance(ImageEnhance.Brightness),
    "contrast": _enhance(ImageEnhance.Contrast),
    "saturation": _enhance(ImageEnhance.Color),
    "hue": shift_hue,
}


def normalise_image(image: Image.Image) -> torch.Tensor:
    """An RGB picture as float32 [3, H, W], ImageNet's mean 0 and standard deviation 1."""
    pixels = np.asarray(image, np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1)))
