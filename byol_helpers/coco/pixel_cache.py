"""Images decoded once into one file, which every training of a run and every worker maps."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from byol_helpers.coco.images import read_image
from byol_helpers.core.files import replacing
from byol_helpers.core.progress import Progress

PIXELS_FILE = "pixels.u8"  # all images one after the other, rows of RGB
SIZES_FILE = (
    "sizes.npy"  # [N, 2] height and width; written last, so where it is the pixels are whole
)


@dataclass(frozen=True)
class DecodedImages:
    """Images that need no decoding any more. The file is opened by the process that reads it."""

    file: Path
    sizes: np.ndarray  # int64 [N, 2], height and width
    ends: np.ndarray  # int64 [N], the byte after each image

    def __len__(self) -> int:
        return len(self.sizes)

    def read(self, indices: list[int]) -> list[np.ndarray]:
        """Some images, uint8 [H, W, 3] each, RGB; not to be written to."""
        pixels = np.memmap(self.file, np.uint8, "r")
        images = []
        for index in indices:
            height, width = self.sizes[index]
            end = self.ends[index]
            part = np.asarray(pixels[end - 3 * height * width : end])
            images.append(part.reshape(height, width, 3))
        return images

    def take(self, indices: np.ndarray) -> "DecodedImages":
        """Some of them, in that order, in the same file."""
        return DecodedImages(self.file, self.sizes[indices], self.ends[indices])


def decode_images(files: list[Path], folder: Path, title: str) -> DecodedImages:
    """Decode images into ``folder``, once; they take three bytes a pixel there.

    Args:
        files: images of any kind that ``read_image`` reads.
        folder: of these files alone; what it holds already is taken as it is.
        title: of the progress lines.
    """
    if not (folder / SIZES_FILE).is_file():
        progress = Progress(title, len(files), "images")

        def read() -> Iterator[np.ndarray]:
            for path in files:
                yield read_image(path)
                progress.update()

        write_pixels(read(), folder)
        progress.close()
    return open_pixels(folder)


def write_pixels(images: Iterable[np.ndarray], folder: Path) -> None:
    """Write images, uint8 [H, W, 3] each, into one file of ``folder``."""
    sizes = []
    with replacing(folder / PIXELS_FILE) as part, open(part, "wb") as out:
        for image in images:
            out.write(np.ascontiguousarray(image).data)
            sizes.append(image.shape[:2])
    with replacing(folder / SIZES_FILE) as part, open(part, "wb") as out:
        np.save(out, np.array(sizes, np.int64).reshape(-1, 2))


def open_pixels(folder: Path) -> DecodedImages:
    """What ``write_pixels`` left in a folder."""
    sizes = np.load(folder / SIZES_FILE)
    return DecodedImages(folder / PIXELS_FILE, sizes, np.cumsum(3 * sizes.prod(axis=1)))
