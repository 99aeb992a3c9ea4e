"""The views of ``augmentations`` from pixels in memory, drawn and rendered a batch at a time.

The distributions are those of ``View``; the draws are others, since they come as arrays for a whole
batch. Rendered they are like ``batch_augmentations``: on a GPU by torch from pixels that lie in its
memory, so that no loader stands between them and the network; on a CPU image by image by OpenCV
from a mapped file. Both give the same views within rounding.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from byol_helpers.coco.pixel_cache import DecodedImages
from byol_helpers.pretraining.augmentations import MEAN, PUBLISHED_SIZE, STD, View, two_views
from byol_helpers.pretraining.batch_augmentations import (
    FROM_YIQ,
    LUMA,
    NORMALISE,
    TO_GREY,
    TO_YIQ,
)
from byol_helpers.training.sampler import Item, rng

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
ATTEMPTS = 10  # at a crop that lies inside the image
ROOM = 2  # times as much free memory of a GPU as the pixels take, or they stay where they are


@dataclass(frozen=True)
class DrawnViews:
    """The random numbers of one view of each of N images.

    Attributes:
        boxes: int64 [N, 4]; left, top, right, bottom in pixels of the image.
        flips: bool [N].
        kinds: int64 [N, 4]; which change of colour comes first, second, ...
        strengths: float64 [N, 4], in that order; of no effect where colours stay as they are.
        greys: bool [N].
        sigmas: float64 [N], of the blur in pixels of the view; 0 for none.
        solarized: bool [N].
    """

    boxes: np.ndarray
    flips: np.ndarray
    kinds: np.ndarray
    strengths: np.ndarray
    greys: np.ndarray
    sigmas: np.ndarray
    solarized: np.ndarray

    def matrices(self) -> np.ndarray:
        """The changes of colour as matrices on RGB, float64 [N, 4, 3, 3], without contrast's mean.

        Contrast adds ``1 - strength`` times the mean grey, which only the pixels know.
        """
        identity = np.eye(3)
        strengths = self.strengths[:, :, None, None]
        scaled = strengths * identity
        saturated = scaled + (1 - strengths) * TO_GREY
        cosine = np.cos(2 * np.pi * self.strengths)
        sine = np.sin(2 * np.pi * self.strengths)
        turn = np.zeros((*self.kinds.shape, 3, 3))
        turn[..., 0, 0] = 1
        turn[..., 1, 1] = turn[..., 2, 2] = cosine
        turn[..., 1, 2] = sine
        turn[..., 2, 1] = -sine
        kinds = self.kinds[:, :, None, None]
        of_hue_or_others = np.where(kinds == HUE, FROM_YIQ @ turn @ TO_YIQ, scaled)
        return np.where(kinds == SATURATION, saturated, of_hue_or_others)

    def added_greys(self) -> np.ndarray:
        """What share of the mean grey each change adds, float64 [N, 4]: 0 but for contrast."""
        return np.where(self.kinds == CONTRAST, 1 - self.strengths, 0.0)


def draw_views(view: View, sizes: np.ndarray, draw: np.random.Generator) -> DrawnViews:
    """Every random number of one view of N images.

    Args:
        view: sizes, probabilities and strengths.
        sizes: int64 [N, 2], height and width of the images.
        draw: where the numbers come from.
    """
    count = len(sizes)
    jittered = draw.random(count) < view.jitter
    kinds = draw.random((count, 4)).argsort(axis=1)
    spread = np.array([view.brightness, view.contrast, view.saturation, view.hue])[kinds]
    middle = np.array([1.0, 1.0, 1.0, 0.0])[kinds]
    strengths = middle + spread * draw.uniform(-1, 1, (count, 4))
    blurred = draw.random(count) < view.blur
    sigmas = draw.uniform(*view.sigma, count) * view.size / PUBLISHED_SIZE
    return DrawnViews(
        draw_boxes(view, sizes, draw),
        draw.random(count) < view.flip,
        kinds,
        np.where(jittered[:, None], strengths, middle),
        draw.random(count) < view.grey,
        np.where(blurred, sigmas, 0.0),
        draw.random(count) < view.solarize,
    )


def draw_boxes(view: View, sizes: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A random part of each image by area and aspect ratio, int64 [N, 4]; as ``View.crop``."""
    height, width = sizes.T
    shape = (ATTEMPTS, len(sizes))
    areas = height * width * draw.uniform(*view.area, shape)
    ratios = np.exp(draw.uniform(np.log(view.ratio[0]), np.log(view.ratio[1]), shape))
    w = np.rint(np.sqrt(areas * ratios)).astype(np.int64)
    h = np.rint(np.sqrt(areas / ratios)).astype(np.int64)
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.argmax(axis=0)
    found = fits.any(axis=0)
    numbers = np.arange(len(sizes))
    w = np.where(found, w[first, numbers], width)
    h = np.where(found, h[first, numbers], height)
    left = (draw.random(len(sizes)) * (width - w + 1)).astype(np.int64)
    top = (draw.random(len(sizes)) * (height - h + 1)).astype(np.int64)
    return np.stack([left, top, left + w, top + h], axis=1)


def render_by_opencv(images: list[np.ndarray], drawn: DrawnViews, size: int) -> torch.Tensor:
    """One view of each image, on the CPU.

    Args:
        images: uint8 [H, W, 3] each, RGB, of any sizes.
        drawn: for each image.
        size: side of the views in pixels.

    Returns:
        float32 [N, 3, size, size], normalised; in memory a pixel's channels lie side by side
        (``torch.channels_last``).
    """
    views = np.empty((len(images), size, size, 3), np.float32)
    changes = np.concatenate([drawn.matrices(), np.zeros((len(images), 4, 3, 1))], axis=3)
    greys = drawn.added_greys()
    radii = find_radii(drawn.sigmas)
    unchanged = drawn.strengths == np.where(drawn.kinds == HUE, 0.0, 1.0)
    for k, image in enumerate(images):
        left, top, right, bottom = drawn.boxes[k]
        part = cv2.resize(image[top:bottom, left:right], (size, size))
        if drawn.flips[k]:
            part = cv2.flip(part, 1)
        x = np.multiply(part, np.float32(1 / 255), dtype=np.float32)
        for place in range(4):
            if unchanged[k, place]:
                continue
            matrix = changes[k, place]
            if greys[k, place]:
                matrix[:, 3] = greys[k, place] * (LUMA @ cv2.mean(x)[:3])
            x = cv2.transform(x, matrix)
            np.clip(x, 0, 1, out=x)
        if drawn.greys[k]:
            x = cv2.transform(x, TO_GREY)
        sigma = drawn.sigmas[k]
        if sigma:
            weights = cv2.getGaussianKernel(2 * int(radii[k]) + 1, sigma, cv2.CV_32F)
            x = cv2.sepFilter2D(x, -1, weights, weights, borderType=cv2.BORDER_REPLICATE)
        if drawn.solarized[k]:
            x = np.minimum(x, 1 - x)  # inverted above one half
        cv2.transform(x, NORMALISE, dst=views[k])
    return torch.from_numpy(views).permute(0, 3, 1, 2)


def find_radii(sigmas: np.ndarray) -> np.ndarray:
    """Where blurs are cut, in pixels, int64 [N]: at about three sigma."""
    return np.maximum(1, np.rint(3 * sigmas)).astype(np.int64)


def render_on_device(
    pixels: torch.Tensor, starts: np.ndarray, sizes: np.ndarray, drawn: DrawnViews, size: int
) -> torch.Tensor:
    """One view of each of N images, all at once on the device that holds their pixels.

    Args:
        pixels: uint8 [B]: images one after the other, rows of RGB.
        starts: int64 [N], the first byte of each image.
        sizes: int64 [N, 2], height and width of each.
        drawn: for each.
        size: side of the views in pixels.

    Returns:
        As ``render_by_opencv``, on the device.
    """
    device = pixels.device

    def move(values: np.ndarray) -> torch.Tensor:
        kind = np.float32 if values.dtype == np.float64 else values.dtype
        return torch.from_numpy(np.ascontiguousarray(values, kind)).to(device, non_blocking=True)

    x = _crop(pixels, move(starts), move(sizes[:, 1]), move(drawn.boxes), move(drawn.flips), size)
    luma = move(LUMA)
    matrices = move(drawn.matrices())
    greys = move(drawn.added_greys())
    for place in range(4):
        mean = x.mean(dim=1) @ luma
        added = (greys[:, place] * mean)[:, None, None]
        x = torch.baddbmm(added, x, matrices[:, place].transpose(1, 2)).clamp_(0, 1)
    is_grey = move(drawn.greys)[:, None, None]
    x = torch.where(is_grey, x @ move(TO_GREY).T, x)
    x = x.reshape(-1, size, size, 3).permute(0, 3, 1, 2)
    if drawn.sigmas.any():
        x = _blur(x, move(make_kernels(drawn.sigmas)))
    inverted = move(drawn.solarized)[:, None, None, None]
    x = torch.where(inverted, torch.minimum(x, 1 - x), x)
    x = (x - move(MEAN)[:, None, None]) / move(STD)[:, None, None]
    return x.contiguous(memory_format=torch.channels_last)


def _crop(
    pixels: torch.Tensor,
    starts: torch.Tensor,
    widths: torch.Tensor,
    boxes: torch.Tensor,
    flips: torch.Tensor,
    size: int,
) -> torch.Tensor:
    """Crops resized bilinearly and flipped, float32 [N, size * size, 3] in 0..1."""
    left, top, right, bottom = boxes.T[:, :, None]
    places = torch.arange(size, device=pixels.device)[None]
    columns = torch.where(flips[:, None], size - 1 - places, places)
    x0, x1, across = _find_taps(columns, left, right, size)
    y0, y1, down = _find_taps(places, top, bottom, size)
    across = across[:, None, :, None]
    down = down[:, :, None, None]
    channels = torch.arange(3, device=pixels.device)

    def take(rows: torch.Tensor, of_row: torch.Tensor) -> torch.Tensor:
        pixel = rows[:, :, None] * widths[:, None, None] + of_row[:, None, :]
        place = starts[:, None, None] + 3 * pixel
        return pixels[place[..., None] + channels].float()

    upper = torch.lerp(take(y0, x0), take(y0, x1), across)
    lower = torch.lerp(take(y1, x0), take(y1, x1), across)
    values = torch.lerp(upper, lower, down).round_()  # OpenCV resizes 8 bits into 8 bits
    return values.div_(255).reshape(len(boxes), -1, 3)


def _find_taps(
    places: torch.Tensor, first: torch.Tensor, last: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Both neighbours of each place of a view in its box [N, size], and the share of the second."""
    length = last - first
    at = (places + 0.5) * length / size - 0.5
    at = at.clamp(min=0).minimum(length - 1.0)
    low = at.floor().long()
    high = torch.minimum(low + 1, length - 1)
    return first + low, first + high, at - low


def make_kernels(sigmas: np.ndarray) -> np.ndarray:
    """Weights of the blurs of N images, float64 [N, K]; each is cut at its own radius."""
    radii = find_radii(sigmas)
    offsets = np.arange(-radii.max(), radii.max() + 1)
    spread = np.where(sigmas > 0, sigmas, 1e-3)[:, None]  # one pixel alone for none
    weights = np.exp(-0.5 * (offsets / spread) ** 2)
    weights[np.abs(offsets) > radii[:, None]] = 0
    return weights / weights.sum(axis=1, keepdims=True)


def _blur(x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """Images [N, 3, H, W] blurred by kernels [N, K], the border repeated."""
    length = kernels.shape[1]
    size = x.shape[-1]
    radius = length // 2
    weights = kernels[:, :, None, None, None]
    padded = F.pad(x, (radius, radius, radius, radius), mode="replicate")
    rows = padded[:, :, :size] * weights[:, 0]
    for k in range(1, length):
        rows = rows + padded[:, :, k : k + size] * weights[:, k]
    blurred = rows[..., :size] * weights[:, 0]
    for k in range(1, length):
        blurred = blurred + rows[..., k : k + size] * weights[:, k]
    return blurred


class MemoryViews(Dataset):
    """Two views of decoded images, on a GPU from its own memory where they fit."""

    def __init__(self, images: DecodedImages, size: int, seed: int, smallest: float = 0.08):
        self.images = images
        self.seed = seed
        self.views = two_views(size, smallest)

    def __len__(self) -> int:
        return len(self.images)

    def load_batches(
        self, items: Iterable[list[Item]], device: torch.device
    ) -> Iterator[list[torch.Tensor]]:
        """Both views [N, 3, size, size] of each batch, on the device."""
        there = self.load_pixels(device) if self.fits(device) else None
        for batch in items:
            yield self.render(batch, device, there)

    def render(
        self, batch: list[Item], device: torch.device, pixels: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Both views of a batch.

        Args:
            batch: which images; the first one's position seeds the draws of all.
            device: where they are wanted.
            pixels: of ``load_pixels``, to render there; None to render on the CPU.
        """
        indices = [item.index for item in batch]
        sizes = self.images.sizes[indices]
        starts = self.images.ends[indices] - 3 * sizes.prod(axis=1)
        draw = rng(self.seed, batch[0].position)
        images = self.images.read(indices) if pixels is None else []
        rendered = []
        for view in self.views:
            drawn = draw_views(view, sizes, draw)
            if pixels is None:
                rendered.append(render_by_opencv(images, drawn, view.size).to(device))
            else:
                rendered.append(render_on_device(pixels, starts, sizes, drawn, view.size))
        return rendered

    def load_pixels(self, device: torch.device) -> torch.Tensor:
        """All pixels, uint8 [B], on a device."""
        return torch.from_numpy(np.fromfile(self.images.file, np.uint8)).to(device)

    def fits(self, device: torch.device) -> bool:
        """Whether the pixels go into the memory of a GPU, with room for the training."""
        if device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(device)
        return ROOM * self.images.file.stat().st_size < free
