"""Images decoded once into one file, which every training of a run and every worker maps."""

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


def decode_images(files: list[Path], folder: Path, title: str) -> DecodedImages:
    """Decode images into ``folder``, once; they take three bytes a pixel there.

    Args:
        files: images of any kind that ``read_image`` reads.
        folder: of these files alone; what it holds already is taken as it is.
        title: of the progress lines.
    """
    if not (folder / SIZES_FILE).is_file():
        progress = Progress(title, len(files), "images")
        sizes = []
        with replacing(folder / PIXELS_FILE) as part, open(part, "wb") as out:
            for path in files:
                image = read_image(path)
                out.write(np.ascontiguousarray(image).data)
                sizes.append(image.shape[:2])
                progress.update()
        with replacing(folder / SIZES_FILE) as part, open(part, "wb") as out:
            np.save(out, np.array(sizes, np.int64))
        progress.close()
    sizes = np.load(folder / SIZES_FILE)
    return DecodedImages(folder / PIXELS_FILE, sizes, np.cumsum(3 * sizes.prod(axis=1)))
