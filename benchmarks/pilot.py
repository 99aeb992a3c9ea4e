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
from typing import Any, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock, resnet18

from byol_helpers.pretraining.augmentations import MEAN, STD, two_views
from byol_helpers.pretraining.byol import BYOL, head, tau_at
from byol_helpers.pretraining.probes import (
    LabelledImages,
    ask_encoders,
    measure_statistics,
    normalise_pixels,
    score_repeats,
)
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
SHIFT = torch.from_numpy(MEAN)[:, None, None]
SCALE = torch.from_numpy(STD)[:, None, None]


def choose_tau(steps: int) -> float:
    """The target's tau at the start of a training of that many steps.

    BYOL's presets have 1 - tau = 0.03 for 40 epochs of ImageNet in batches of 4096 (12,500 steps)
    and 0.004 for 1000 epochs. A power of the steps goes through both (and passes 0.0084 to 0.017 at
    the 300 and 100 epochs that have 0.01); it goes on to shorter trainings until tau is 0.9, the
    smallest that the paper found to work (table 5a).
    """
    exponent = np.log(0.03 / 0.004) / np.log(1000 / 40)
    return float(1 - min(0.1, 0.03 * (12_500 / steps) ** exponent))


def build_narrow_encoder(seed: int) -> nn.Module:
    """A ResNet-18 whose stages have ``WIDTH``, 2, 4 and 8 times ``WIDTH`` channels."""
    torch.manual_seed(seed)
    network: Any = resnet18(weights=None)
    network.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
    network.bn1 = nn.BatchNorm2d(WIDTH)
    network.inplanes = WIDTH
    for stage in range(4):
        layer = network._make_layer(BasicBlock, WIDTH * 2**stage, 2, stride=1 + (stage > 0))
        setattr(network, f"layer{stage + 1}", layer)
    network.fc = nn.Identity()
    network.width = 8 * WIDTH
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, BasicBlock):
            nn.init.zeros_(cast(nn.BatchNorm2d, module.bn2).weight)
    return network


class SimCLR(nn.Module):
    """Chen et al. 2020: each view finds its partner among all views of the batch."""

    def __init__(self, encoder: nn.Module, hidden: int, output: int):
        super().__init__()
        self.encoder = encoder
        self.projector = head(cast(int, encoder.width), hidden, output)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, None]:
        """The loss, a mean over the views."""
        views = [self.projector(self.encoder(view)) for view in (first, second)]
        rows = F.normalize(torch.cat(views), dim=1)
        similarity = rows @ rows.T / TEMPERATURE_OF_SIMCLR
        similarity = similarity.masked_fill(torch.eye(len(rows), dtype=torch.bool), -torch.inf)
        partners = torch.arange(len(rows)).roll(len(first))
        return F.cross_entropy(similarity, partners), None

    def update_target(self, tau: float) -> None:
        """There is none."""


def render_views(pixels: np.ndarray, view, draw: np.random.Generator) -> torch.Tensor:
    """One view of each image, uint8 [N, S, S, 3], by the draws of ``View``, rendered in a batch.

    Bilinear instead of bicubic, else as ``torch_augmentations``; float32 [N, 3, VIEW, VIEW].
    """
    size = pixels.shape[1]
    drawn = [view.draw(size, size, draw) for _ in pixels]
    parts = np.empty((len(pixels), VIEW, VIEW, 3), np.uint8)
    for image, one, part in zip(pixels, drawn, parts, strict=True):
        left, top, right, bottom = one.box
        cut = image[top:bottom, left:right]
        cv2.resize(cut, (VIEW, VIEW), dst=part, interpolation=cv2.INTER_LINEAR)
        if one.flip:
            part[:] = part[:, ::-1].copy()
        if one.sigma:
            side = 2 * max(1, round(3 * one.sigma)) + 1
            cv2.GaussianBlur(part, (side, side), one.sigma, dst=part)
    x = torch.from_numpy(parts).permute(0, 3, 1, 2).float() / 255
    x = change_colours(x, [dict(one.colours) for one in drawn])
    grey = torch.tensor([one.grey for one in drawn])[:, None, None, None]
    x = torch.where(grey, take_luma(x), x)
    solarized = torch.tensor([one.solarize for one in drawn])[:, None, None, None]
    x = torch.where(solarized & (x > 0.5), 1 - x, x)
    return ((x - SHIFT) / SCALE).contiguous(memory_format=torch.channels_last)


def take_luma(x: torch.Tensor) -> torch.Tensor:
    """Grey of RGB images [N, 3, H, W] as [N, 1, H, W]."""
    return 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]


def change_colours(x: torch.Tensor, strengths: list[dict[str, float]]) -> torch.Tensor:
    """Brightness, contrast, saturation and hue of each image, in this order."""

    def column(name: str, default: float) -> torch.Tensor:
        return torch.tensor([one.get(name, default) for one in strengths])[:, None, None, None]

    x = (x * column("brightness", 1.0)).clamp(0, 1)
    mean = take_luma(x).mean(dim=(1, 2, 3), keepdim=True)
    x = torch.lerp(mean, x, column("contrast", 1.0)).clamp(0, 1)
    x = torch.lerp(take_luma(x), x, column("saturation", 1.0)).clamp(0, 1)
    # Hue as a rotation about the grey axis, which leaves the luma of YIQ alone.
    angle = 2 * np.pi * column("hue", 0.0)
    to_yiq = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    luma, first, second = torch.einsum("kc,nchw->nkhw", to_yiq, x).split(1, dim=1)
    turned = [luma, first * angle.cos() - second * angle.sin()]
    turned.append(first * angle.sin() + second * angle.cos())
    back = torch.linalg.inv(to_yiq)
    return torch.einsum("kc,nchw->nkhw", back, torch.cat(turned, dim=1)).clamp(0, 1)


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
        loss, _ = network(*(render_views(chosen, view, draw) for view in views))
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * cosine_with_warmup(step, steps, max(1, steps // 20))
        optimizer.step()
        network.update_target(tau_at(step, steps, tau))
        if step % 100 == 0:
            spent = time.process_time() - start
            print(f"{method} step {step}: loss {loss.item():.3f}, {spent:.0f} s", flush=True)
    return encoder, time.process_time() - start


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
