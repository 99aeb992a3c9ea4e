"""What the two generated worlds ask for: ``python -m benchmarks world``.

Held-out single-object crops of ten categories (chance 10 %), with what sees colours alone, pixels
alone, a network that was never trained, and one trained with labels. A world that is to show what
self-supervision learns must be poor in the first three and rich in the last. These numbers, and no
self-supervised network, decide what a world looks like.
"""

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import compare
from byol_helpers.pretraining.classifier import Classifier
from byol_helpers.pretraining.encoder import build_encoder
from byol_helpers.pretraining.probes import (
    STAGES,
    measure_statistics,
    normalise_pixels,
    pool_stages,
    predict_by_neighbours,
    predict_linearly,
    standardise,
)
from byol_helpers.synthetic.scenes import CATEGORIES, WORLDS, make_crop
from byol_helpers.training.loop import cosine_with_warmup
from byol_helpers.training.sampler import rng

SEEDS = (0, 1, 2)  # of the crops, and of the untrained weights
FIT = 1000  # crops
ASKED = 1000
HELD_OUT = 50_000  # index of the first of them; those of the supervised training begin at 0
SIZE = 64  # pixels
DEPTH = 18
# The supervised network: steps of 64 crops, once. The world of colours needs fewer.
TRAINED = {"colours": 250, "shapes": 1000}
CROPS = 6000
BATCH = 64
LEARNING_RATE = 0.05


def measure_worlds(images: Path | None) -> dict:
    """Print the table of both worlds; returned are the histograms' kNN accuracies."""
    start = time.monotonic()
    tables = {world: describe_world(world) for world in WORLDS}
    print(f"per cent right, mean of seeds {SEEDS} (smallest to largest); chance 10", flush=True)
    names = list(tables[WORLDS[0]])
    print(f"{'':44}" + "".join(f"{world:>22}" for world in WORLDS))
    for name in names:
        cells = [write_cell(tables[world][name]) for world in WORLDS]
        print(f"{name:44}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
    means = {}
    for world, table in tables.items():
        means[world] = {name: round(float(np.mean(values)), 1) for name, values in table.items()}
    histogram = {world: means[world]["colour histogram, kNN"] for world in WORLDS}
    settings = {
        "table": means,
        "seeds": list(SEEDS),
        "crops": {"fit": FIT, "asked": ASKED, "supervised": CROPS, "side": SIZE},
        "supervised steps": TRAINED,
        "seconds": round(time.monotonic() - start),
    }
    return compare(
        histogram["shapes"], histogram["colours"], "world of colours", "% right", True, settings
    )


def write_cell(values: list[float]) -> str:
    """Mean, smallest and largest of per cents."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def describe_world(world: str) -> dict[str, list[float]]:
    """Per cent right of everything that is asked, one value for each seed."""
    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        fit, labels = make_crops(world, seed, HELD_OUT, FIT)
        asked, answers = make_crops(world, seed, HELD_OUT + FIT, ASKED)
        features = {
            "colour histogram": (count_colours(fit), count_colours(asked)),
            "16 x 16 pixels": (shrink_crops(fit), shrink_crops(asked)),
        }
        torch.manual_seed(seed)
        network = measure_statistics(build_encoder(DEPTH), normalise_pixels(fit).split(250))
        banks = pool_stages(network, normalise_pixels(fit))
        queries = pool_stages(network, normalise_pixels(asked))
        for stage in STAGES:
            features[f"untrained ResNet-{DEPTH}, {stage}"] = banks[stage], queries[stage]
        for name, (bank, query) in features.items():
            neighbours = predict_by_neighbours(bank, labels, query)
            standard, standard_query = standardise(bank, query)
            linear = predict_linearly(standard, labels, standard_query)
            found.setdefault(f"{name}, kNN", []).append(measure_share(neighbours, answers))
            found.setdefault(f"{name}, linear", []).append(measure_share(linear, answers))
    name = f"supervised ResNet-{DEPTH} (seed {SEEDS[0]} alone)"
    found[name] = [train_supervised(world, SEEDS[0])]
    return found


def measure_share(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Per cent of labels that agree."""
    return 100 * float((found == wanted).float().mean())


def make_crops(world: str, seed: int, first: int, count: int) -> tuple[np.ndarray, torch.Tensor]:
    """Crops uint8 [N, SIZE, SIZE, 3] and their labels from 0."""
    ids = [category.id for category in CATEGORIES]
    made = [make_crop(seed, index, SIZE, world) for index in range(first, first + count)]
    labels = [ids.index(category_id) for _, category_id in made]
    return np.stack([image for image, _ in made]), torch.tensor(labels)


def count_colours(crops: np.ndarray) -> torch.Tensor:
    """Shares of 64 colours (four values a channel) in the middle half of each side, [N, 64]."""
    quarter = crops.shape[1] // 4
    middle = crops[:, quarter:-quarter, quarter:-quarter].reshape(len(crops), -1, 3) // 64
    codes = middle @ np.array([16, 4, 1])
    counts = [np.bincount(code, minlength=64) for code in codes]
    return torch.from_numpy(np.stack(counts) / codes.shape[1]).float()


def shrink_crops(crops: np.ndarray) -> torch.Tensor:
    """Crops as vectors of 16 x 16 mean colours, 0..1, [N, 768]."""
    count, side = crops.shape[:2]
    cells = crops.reshape(count, 16, side // 16, 16, side // 16, 3).mean(axis=(2, 4))
    return torch.from_numpy(cells.reshape(count, -1) / 255).float()


def train_supervised(world: str, seed: int) -> float:
    """Per cent of the held-out crops that a network trained with labels gets right.

    SGD with cosine, lightly augmented (a part of at least 60 % of the side, a flip).
    """
    steps = TRAINED[world]
    pixels, labels = make_crops(world, seed, 0, CROPS)
    images = normalise_pixels(pixels)
    torch.manual_seed(seed)
    network = Classifier(build_encoder(DEPTH), len(CATEGORIES))
    network.to(memory_format=torch.channels_last)
    parameters = network.parameters()
    optimizer = torch.optim.SGD(parameters, LEARNING_RATE, momentum=0.9, weight_decay=1e-4)
    draw = rng(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * cosine_with_warmup(step, steps, steps // 20)
        chosen = torch.from_numpy(draw.integers(len(images), size=BATCH))
        scores = compute_scores(network, augment(images[chosen], draw))
        loss = F.cross_entropy(scores, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"{world}, supervised step {step} of {steps}: loss {loss.item():.2f}", flush=True)
    asked, answers = make_crops(world, seed, HELD_OUT + FIT, ASKED)
    network.eval()
    with torch.no_grad():
        parts = [network(part).argmax(dim=1) for part in normalise_pixels(asked).split(250)]
    return measure_share(torch.cat(parts), answers)


def compute_scores(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The network's scores in training, convolutions in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        return network(images.contiguous(memory_format=torch.channels_last)).float()


def augment(images: torch.Tensor, draw: np.random.Generator) -> torch.Tensor:
    """A random part of each image [N, 3, S, S], at least 60 % of its side, and a flip."""
    count = len(images)
    scale = draw.uniform(0.6, 1.0, count)
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0] = scale * draw.choice([-1, 1], count)
    theta[:, 1, 1] = scale
    theta[:, :, 2] = draw.uniform(-1, 1, (count, 2)) * (1 - scale)[:, None]
    grid = F.affine_grid(torch.from_numpy(theta), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
