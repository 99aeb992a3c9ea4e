"""What pretraining is fed with: two views of unlabelled images; labelled crops or photographs for
the supervised arm.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.io import decode_image

from byol_helpers.coco.images import read_image
from byol_helpers.coco.photographs import PreparedPhotographs
from byol_helpers.coco.pixel_cache import DecodedImages
from byol_helpers.pretraining.augmentations import View, two_views
from byol_helpers.pretraining.batch_augmentations import render_batch
from byol_helpers.pretraining.torch_augmentations import render_view
from byol_helpers.training.sampler import Item, rng


class ViewsDataset(Dataset):
    """Two random views of each picture, [3, size, size] each.

    Knows file names only: there are no labels to read.
    """

    def __init__(
        self,
        files: list[Path],
        size: int,
        seed: int,
        fast: bool = False,
        copies: bool = False,
        smallest: float = 0.08,
    ):
        """``fast``: rendered by ``torch_augmentations``.

        ``copies``: the files are those of ``coco.resized_cache``, plain RGB JPEG. ``smallest``: the
        least share of an image's area that a view shows.
        """
        self.files = files
        self.seed = seed
        self.views = two_views(size, smallest)
        self.fast = fast
        self.read = read_copy if copies else read_image

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: Item) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = self.read(self.files[item.index])
        draw = rng(self.seed, item.position)
        first, second = self.views
        if self.fast:
            return render_view(pixels, first, draw), render_view(pixels, second, draw)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return first(image, draw), second(image, draw)


class BatchViewsDataset(Dataset):
    """The same two views from decoded images, those of a batch rendered together."""

    def __init__(self, images: DecodedImages, size: int, seed: int, smallest: float = 0.08):
        self.images = images
        self.seed = seed
        self.views = two_views(size, smallest)

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, items: list[Item]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Both views of each item; the loader asks for a batch at once."""
        images = self.images.read([item.index for item in items])
        draws = [rng(self.seed, item.position) for item in items]
        rendered = []
        for view in self.views:
            drawn = []
            for image, draw in zip(images, draws, strict=True):
                drawn.append(view.draw(image.shape[1], image.shape[0], draw))
            rendered.append(render_batch(images, drawn, view.size))
        return list(zip(*rendered, strict=True))

    def __getitem__(self, item: Item) -> tuple[torch.Tensor, torch.Tensor]:
        return self.__getitems__([item])[0]


def read_copy(path: Path) -> np.ndarray:
    """A plain RGB JPEG, uint8 [H, W, 3].

    No more checks than the decoder's own, a third faster than ``read_image``.
    """
    return decode_image(str(path)).permute(1, 2, 0).numpy()


class LabelledPhotographs(Dataset):
    """Photographs with their classes, augmented like ``CropsDataset``, rendered a batch at once."""

    def __init__(self, photographs: PreparedPhotographs, size: int, seed: int):
        kept = np.flatnonzero(photographs.labels >= 0)
        self.images = photographs.images.take(kept)
        self.labels = photographs.labels[kept]
        self.classes = len(photographs.classes)
        self.seed = seed
        self.view = View(size, area=(0.35, 1.0), jitter=0.0, grey=0.0, blur=0.0)

    def __len__(self) -> int:
        return len(self.images)

    def load_batches(
        self, items: Iterable[list[Item]], device: torch.device
    ) -> Iterator[list[torch.Tensor]]:
        """Views [N, 3, size, size] and labels [N] of each batch, on the device."""
        for batch in items:
            images = self.images.read([item.index for item in batch])
            drawn = []
            for image, item in zip(images, batch, strict=True):
                draw = rng(self.seed, item.position)
                drawn.append(self.view.draw(image.shape[1], image.shape[0], draw))
            views = render_batch(images, drawn, self.view.size)
            labels = torch.from_numpy(self.labels[[item.index for item in batch]])
            yield [views.to(device), labels.to(device)]


class CropsDataset(Dataset):
    """Labelled crops, lightly augmented: a large random part, a flip and no change of colour."""

    def __init__(self, folder: Path, seed: int):
        with open(folder / "crops.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        ids = sorted({int(row["category_id"]) for row in rows})
        self.files = [folder / row["file"] for row in rows]
        self.labels = [ids.index(int(row["category_id"])) for row in rows]
        self.classes = len(ids)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: Item) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(read_image(self.files[item.index]))
        draw = rng(self.seed, item.position)
        view = View(image.width, area=(0.35, 1.0), jitter=0.0, grey=0.0, blur=0.0)
        return view(image, draw), self.labels[item.index]
