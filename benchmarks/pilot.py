"""Pretraining in a few thousand steps on one core, and what its features are worth:
``python -m benchmarks.pilot [--method byol|simclr] [--images crops|scenes] [--steps N]``.

Unlabelled crops or scenes of one world, a ResNet-18 of a quarter of the width, views of 48 pixels,
batches of 128, AdamW with warm-up and cosine. The untrained network, the same with its statistics
measured (what a gain is counted from) and the trained network (statistics measured on the same
crops) are asked by the linear probe and by neighbours on crops that none has seen; ``--steps 0``
asks the controls alone. Rows are added to the CSV as they come.
"""

import argparse
import copy
import csv
import dataclasses
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from byol_helpers.pretraining.augmentations import View, two_views
from byol_helpers.pretraining.batch_augmentations import render_batch
from byol_helpers.pretraining.byol import BYOL, choose_tau, tau_at
from byol_helpers.pretraining.encoder import build_encoder
from byol_helpers.pretraining.probes import (
    LabelledImages,
    ask_encoders,
    measure_statistics,
    normalise_pixels,
    score_repeats,
)
from byol_helpers.pretraining.simclr import SimCLR, nt_xent_loss
from byol_helpers.synthetic.scenes import CATEGORIES, make_crop, make_scene
from byol_helpers.training.loop import cosine_with_warmup
from byol_helpers.training.sampler import rng

CROPS = 10_000
SCENES = 4000
SCENE_SIZE = 160  # pixels
BANK = 1000  # labelled crops of the probes
ASKED = 2000
BANK_FIRST = 50_000  # the probes' crops begin here, those of the pretraining at 0
SIZE = 64  # pixels of a crop
VIEW = 48
BATCH = 128
WIDTH = 16  # channels of the first stage; 64 in a ResNet-18
HIDDEN = 512
OUTPUT = 128
LEARNING_RATE = 0.002
WEIGHT_DECAY = 1e-4
TEMPERATURE_OF_SIMCLR = 0.2


def build_narrow_encoder(seed: int, zero_init_residual: bool) -> nn.Module:
    """A ResNet-18 whose stages have ``WIDTH``, 2, 4 and 8 times ``WIDTH`` channels."""
    torch.manual_seed(seed)
    return build_encoder(18, WIDTH, zero_init_residual=zero_init_residual)


def render_views(
    pixels: np.ndarray, views: Sequence[View], draw: np.random.Generator
) -> list[torch.Tensor]:
    """The two views of each image, uint8 [N, S, S, 3]: float32 [N, 3, VIEW, VIEW] each."""
    size = pixels.shape[1]
    rendered = []
    for view in views:
        drawn = [view.draw(size, size, draw) for _ in pixels]
        rendered.append(render_batch(list(pixels), drawn, VIEW))
    return rendered


def make_crops(first: int, count: int, seed: int, world: str) -> tuple[np.ndarray, torch.Tensor]:
    """Crops uint8 [N, SIZE, SIZE, 3] and their labels."""
    ids = [category.id for category in CATEGORIES]
    made = [make_crop(seed, index, SIZE, world) for index in range(first, first + count)]
    labels = [ids.index(category_id) for _, category_id in made]
    return np.stack([image for image, _ in made]), torch.tensor(labels)


def make_scenes(seed: int, world: str) -> np.ndarray:
    """Unlabelled scenes uint8 [N, SCENE_SIZE, SCENE_SIZE, 3]."""
    made = [make_scene(seed, index, SCENE_SIZE, "unlabelled", world) for index in range(SCENES)]
    return np.stack([scene.image for scene in made])


def pretrain_encoder(
    options: argparse.Namespace, pixels: np.ndarray, tau: float, seed: int
) -> tuple[nn.Module, float]:
    """Pretrain from random weights; the encoder and the CPU seconds."""
    method = options.method
    steps = options.steps
    encoder = build_narrow_encoder(seed, options.zero_init_residual)
    kind = {"byol": BYOL, "simclr": SimCLR}[method]
    network = kind(encoder, HIDDEN, OUTPUT).train().to(memory_format=torch.channels_last)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, options.learning_rate, weight_decay=WEIGHT_DECAY)
    area = (options.crop_scale, 1.0)
    views = [dataclasses.replace(view, area=area) for view in two_views(VIEW)]
    start = time.process_time()
    for step in range(steps):
        draw = rng(seed, step)
        chosen = pixels[draw.integers(len(pixels), size=BATCH)]
        loss = compute_loss(network, render_views(chosen, views, draw))
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            factor = cosine_with_warmup(step, steps, max(1, steps // 20))
            group["lr"] = options.learning_rate * factor
        optimizer.step()
        if isinstance(network, BYOL):
            network.update_target(tau_at(step, steps, tau))
        if step % 100 == 0:
            spent = time.process_time() - start
            print(f"{method} step {step}: loss {loss.item():.3f}, {spent:.0f} s", flush=True)
    return encoder, time.process_time() - start


def compute_loss(network: nn.Module, views: list[torch.Tensor]) -> torch.Tensor:
    """The loss of both views of a batch."""
    if isinstance(network, BYOL):
        return network(*views)[0]
    _, projections = network(*views)
    return nt_xent_loss(projections[0], projections[1], TEMPERATURE_OF_SIMCLR)


def find_commit() -> str:
    """The commit of this folder, short."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def add_rows(file: Path, rows: list[dict]) -> None:
    """Append rows to a CSV that begins with their names."""
    begun = file.exists()
    with open(file, "a", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        if not begun:
            writer.writeheader()
        writer.writerows(rows)


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=("byol", "simclr"), default="byol")
    parser.add_argument("--images", choices=("crops", "scenes"), default="crops")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--crop-scale", type=float, default=0.08)
    parser.add_argument("--zero-init-residual", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--tau", type=float, help="default: by choose_tau")
    parser.add_argument("--world", default="shapes")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/pilot.csv"))
    return parser.parse_args(arguments)


def main() -> None:
    options = parse_options()
    torch.set_num_threads(1)
    commit = find_commit()
    tau = choose_tau(max(1, options.steps)) if options.tau is None else options.tau
    for seed in (int(number) for number in options.seeds.split(",")):
        if options.images == "scenes":
            pixels = make_scenes(seed, options.world)
        else:
            pixels, _ = make_crops(0, CROPS, seed, options.world)
        bank = LabelledImages(*normalised(make_crops(BANK_FIRST, BANK, seed, options.world)))
        first = BANK_FIRST + BANK
        asked = LabelledImages(*normalised(make_crops(first, ASKED, seed, options.world)))
        batches = bank.images.split(250)
        trained, seconds = pretrain_encoder(options, pixels, tau, seed)
        start = build_narrow_encoder(seed, options.zero_init_residual)
        untrained = copy.deepcopy(start)
        encoders: dict[str, Sequence[nn.Module]] = {
            "untrained": [untrained],
            "start, measured": [measure_statistics(start, batches)],
            "trained": [measure_statistics(trained, batches)],
        }
        right = ask_encoders(encoders, bank, asked, (5, None), repeats=3)
        rows = []
        for (encoder, stage, probe, per_class), table in right.items():
            control = right["start, measured", stage, probe, per_class]
            scored = score_repeats(table)
            gain = score_repeats(table.astype(float) - control)
            row = {"world": options.world, "method": options.method, "steps": options.steps}
            row |= {"images": options.images, "learning rate": options.learning_rate}
            row |= {"crop scale": options.crop_scale}
            row |= {"residual start": 0 if options.zero_init_residual else 1}
            row |= {"tau": round(tau, 4), "seed": seed, "encoder": encoder, "stage": stage}
            row |= {"probe": probe, "labels per class": per_class or "all"}
            row |= {name: round(100 * value, 2) for name, value in scored.items()}
            row |= {f"gain {name}": round(100 * value, 2) for name, value in gain.items()}
            row |= {"CPU seconds": round(seconds), "commit": commit}
            rows.append(row)
            if per_class is None:
                print(row, flush=True)
        add_rows(options.out, rows)


def normalised(crops: tuple[np.ndarray, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The same crops as networks want them."""
    return normalise_pixels(crops[0]), crops[1]


if __name__ == "__main__":
    main()
