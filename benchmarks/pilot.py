"""Pretraining in a few thousand steps on one core, and what its features are worth:
``python -m benchmarks.pilot [--method byol|simclr] [--steps N] [--seeds 0,1,2] [--out FILE]``.

Unlabelled crops of one world, a ResNet-18 of a quarter of the width, views of 48 pixels, batches of
128, AdamW with warm-up and cosine. The untrained network, the same with its statistics measured
(what a gain is counted from) and the trained network (statistics measured on the same crops) are
asked by the linear probe and by neighbours on crops that none has seen; ``--steps 0`` asks the
controls alone. Rows are added to the CSV as they come.
"""

import argparse
import csv
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
from byol_helpers.synthetic.scenes import CATEGORIES, make_crop
from byol_helpers.training.loop import cosine_with_warmup
from byol_helpers.training.sampler import rng

CROPS = 10_000
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


def build_narrow_encoder(seed: int) -> nn.Module:
    """A ResNet-18 whose stages have ``WIDTH``, 2, 4 and 8 times ``WIDTH`` channels."""
    torch.manual_seed(seed)
    return build_encoder(18, WIDTH, zero_init_residual=True)


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


def pretrain_encoder(
    method: str, pixels: np.ndarray, steps: int, tau: float, seed: int
) -> tuple[nn.Module, float]:
    """Pretrain from random weights; the encoder and the CPU seconds."""
    encoder = build_narrow_encoder(seed)
    kind = {"byol": BYOL, "simclr": SimCLR}[method]
    network = kind(encoder, HIDDEN, OUTPUT).train().to(memory_format=torch.channels_last)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    views = two_views(VIEW)
    start = time.process_time()
    for step in range(steps):
        draw = rng(seed, step)
        chosen = pixels[draw.integers(len(pixels), size=BATCH)]
        loss = compute_loss(network, render_views(chosen, views, draw))
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * cosine_with_warmup(step, steps, max(1, steps // 20))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=("byol", "simclr"), default="byol")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--tau", type=float, help="default: by choose_tau")
    parser.add_argument("--world", default="shapes")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/pilot.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    commit = find_commit()
    tau = choose_tau(max(1, options.steps)) if options.tau is None else options.tau
    for seed in (int(number) for number in options.seeds.split(",")):
        pixels, _ = make_crops(0, CROPS, seed, options.world)
        bank = LabelledImages(*normalised(make_crops(BANK_FIRST, BANK, seed, options.world)))
        first = BANK_FIRST + BANK
        asked = LabelledImages(*normalised(make_crops(first, ASKED, seed, options.world)))
        batches = bank.images.split(250)
        trained, seconds = pretrain_encoder(options.method, pixels, options.steps, tau, seed)
        encoders: dict[str, Sequence[nn.Module]] = {
            "untrained": [build_narrow_encoder(seed)],
            "start, measured": [measure_statistics(build_narrow_encoder(seed), batches)],
            "trained": [measure_statistics(trained, batches)],
        }
        right = ask_encoders(encoders, bank, asked, (5, None), repeats=3)
        rows = []
        for (encoder, stage, probe, per_class), table in right.items():
            control = right["start, measured", stage, probe, per_class]
            scored = score_repeats(table)
            gain = score_repeats(table.astype(float) - control)
            row = {"world": options.world, "method": options.method, "steps": options.steps}
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
