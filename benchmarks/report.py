"""What a smoke run costs, stage by stage, and what our plumbing adds to the training itself."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import compare
from byol_helpers import pipeline
from byol_helpers.core.environment import installed_versions
from byol_helpers.core.files import read_json
from byol_helpers.core.profile_files import load_profile

FINETUNE = "finetune/random-seed0"


def measure_report(images: Path | None) -> dict:
    """Every stage of a smoke run in a process of its own; the fine-tuning of one arm beside a bare
    loop.

    The peer trains the same network on the same batches in a ``for`` loop: no Fabric, no
    checkpoint, no metrics.csv. Both times hold the building of the network and all steps, and no
    import.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        stages = {}
        for stage in pipeline.STAGES:
            start = time.perf_counter()
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "byol_helpers",
                    stage,
                    "--profile",
                    "smoke",
                    "--run",
                    str(run),
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            stages[stage] = {"process_seconds": round(time.perf_counter() - start, 1)}
        for path in sorted(run.rglob("stage.json")):
            kept = read_json(path)
            stages[kept["stage"]] = {
                "seconds": kept["seconds"],
                "peak_memory_mb": kept["peak_memory_mb"],
            }
        ours = stages[FINETUNE]["seconds"]
        peer = bare_loop(run)
    settings = {
        "profile": "smoke",
        "compared": FINETUNE,
        "stages": stages,
        "versions": installed_versions(),
    }
    return compare(
        ours, peer, "bare PyTorch loop over the same model and batches", "s", True, settings
    )


def bare_loop(path: Path) -> float:
    """Seconds of the peer."""
    import torch

    from byol_helpers.coco.dataset import load_split
    from byol_helpers.core.stage import Run
    from byol_helpers.segmentation.dataset import InstanceDataset, collate
    from byol_helpers.segmentation.torchvision_engine import build
    from byol_helpers.training.sampler import StepBatches

    profile = load_profile("smoke")
    settings = profile.finetune
    split = load_split(Run(path, profile), "train")
    start = time.perf_counter()
    classes = len(split.categories)
    network = build(profile.depth, classes, settings, seed=0, width=profile.width).train()
    dataset = InstanceDataset(split, settings, seed=0)
    optimizer = torch.optim.SGD(network.parameters(), settings.learning_rate, settings.momentum)
    for batch in StepBatches(len(dataset), settings.batch_size, 0, 0, settings.steps):
        losses = network(*collate([dataset[item] for item in batch]))
        loss = sum(losses.values(), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start
