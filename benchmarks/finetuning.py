"""What our plumbing adds to a step of the fine-tuning."""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import compare
from byol_helpers import pipeline
from byol_helpers.core.environment import installed_versions

STEPS = 40
ROUNDS = 4
SETTINGS = [
    f"finetune.steps={STEPS}",
    f"finetune.checkpoint_every={STEPS}",
    "finetune.warmup_steps=20",
    "finetune.decay_steps=[]",
    "finetune.arms=[random]",
    "data.train=80",
    "data.unlabelled=2",
    "data.val=2",
    "data.test=2",
    "data.crops=64",
]


def measure_finetune_step(images: Path | None) -> dict:
    """Seconds of a training step at quick scale, from image files to updated weights.

    The peer is a ``for`` loop over the same network, batches, optimiser, schedule and clipped
    gradients: no Fabric, no training metrics, no metrics.csv, no checkpoint. Both take turns; the
    median over all steps of all rounds counts.
    """
    import torch

    from byol_helpers.coco.dataset import load_split
    from byol_helpers.segmentation import torchvision_engine as engine
    from byol_helpers.segmentation.dataset import InstanceDataset, collate
    from byol_helpers.segmentation.shared_settings import make_plan
    from byol_helpers.training.loop import fit
    from byol_helpers.training.sampler import StepBatches

    class Timed(engine.MaskRCNNTask):
        """Notes when each step ends."""

        def after_step(self, step: int) -> None:
            self.ends = [*getattr(self, "ends", []), time.perf_counter()]

    def prepare_task() -> Timed:
        network = engine.build(
            run.profile.depth, len(split.categories), settings, seed=0, width=run.profile.width
        )
        return Timed(network, InstanceDataset(split, settings, 0), settings)

    def run_bare_loop(task: Timed) -> list[float]:
        network = task.network.train()
        optimizer = task.make_optimizer()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, task.lr_factor)
        ends = []
        for batch in StepBatches(len(split.images), settings.batch_size, 0, 0, STEPS):
            losses = network(*collate([task.dataset[item] for item in batch]))
            loss = sum(losses.values(), torch.zeros(()))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
            optimizer.step()
            schedule.step()
            ends.append(time.perf_counter())
        return ends

    rounds = {"ours": [], "peer": []}
    with tempfile.TemporaryDirectory() as folder:
        run = pipeline.open_run("quick", Path(folder) / "run", overrides=SETTINGS)
        pipeline.prepare(run)
        settings = run.profile.finetune
        split = load_split(run, "train")
        for turn in range(ROUNDS):
            for who in ("ours", "peer") if turn % 2 else ("peer", "ours"):
                task = prepare_task()
                if who == "ours":
                    fit(task, make_plan(settings, split, Path(folder) / str(turn), "finetune", 0))
                rounds[who].append(np.diff(task.ends if who == "ours" else run_bare_loop(task)))
    about = {
        "profile": "quick",
        "steps": STEPS,
        "threads": torch.get_num_threads(),
        "versions": installed_versions(),
    }
    about["medians"] = {
        who: [round(float(np.median(steps)), 4) for steps in of] for who, of in rounds.items()
    }
    ours, peer = (float(np.median(rounds[who])) for who in ("ours", "peer"))
    return compare(
        ours, peer, "bare PyTorch loop over the same network and batches", "s", True, about
    )
