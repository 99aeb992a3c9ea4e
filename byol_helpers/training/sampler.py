"""Which images are in which batch, and the random numbers of a place in a run."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler


def rng(*key: int) -> np.random.Generator:
    """A generator that depends on the key alone, for example ``rng(seed, position)``."""
    return np.random.default_rng(list(key))


@dataclass(frozen=True)
class Item:
    """One place in a batch: an image, and the position in the run that seeds its augmentation."""

    index: int
    position: int


class StepBatches(Sampler[list[Item]]):
    """Batches of the steps ``first`` to ``last - 1`` of a run through reshuffled epochs.

    Position p of the run shows image ``permutation(seed, p // images)[p % images]``, so a batch may
    end one epoch and begin the next, and no image is left out. Each process of a distributed run
    takes its share of the batch.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int,
        first: int,
        last: int,
        rank: int = 0,
        world: int = 1,
    ):
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.first = first
        self.last = last
        share = batch_size // world
        self.mine = range(rank * share, (rank + 1) * share)

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[Item]]:
        epoch = -1
        order = np.empty(0, int)
        for step in range(self.first, self.last):
            batch = []
            for place in self.mine:
                position = step * self.batch_size + place
                if position // self.images != epoch:
                    epoch = position // self.images
                    order = rng(self.seed, epoch).permutation(self.images)
                batch.append(Item(int(order[position % self.images]), position))
            yield batch
