"""What our plumbing adds to a step of the fine-tuning."""

import tempfile
import time
from pathlib import Path

from benchmarks import benchmark, result
from byol_helpers import pipeline
from byol_helpers.runs import installed_versions

STEPS, ROUNDS = 40, 3
SETTINGS = [f"finetune.steps={STEPS}", "finetune.warmup_steps=20", "finetune.decay_steps=[]", "finetune.arms=[random]", "data.train=80",
            "data.unlabelled=2", "data.val=2", "data.test=2", "data.crops=64"]


@benchmark
def finetune_step() -> dict:
    """Seconds of a training step at quick scale, from picture files to updated weights.

    The peer is a ``for`` loop over the same network, batches, optimiser and clipped gradients: no Lightning, no
    signals, no metrics.csv, no checkpoint. Both take turns; the fastest round of each counts.
    """
    import torch

    from byol_helpers.data.layout import load_split
    from byol_helpers.segmentation import torchvision_engine as engine
    from byol_helpers.segmentation.conditions import plan_of
    from byol_helpers.segmentation.dataset import InstanceDataset, collate
    from byol_helpers.training import StepBatches, fit

    times = {"ours": [], "peer": []}
    with tempfile.TemporaryDirectory() as folder:
        run = pipeline.open_run("quick", Path(folder) / "run", overrides=SETTINGS)
        pipeline.prepare(run)
        settings, split = run.profile.finetune, load_split(run, "train")
        for turn in range(ROUNDS):
            module = prepared(engine, plan_of, InstanceDataset, settings, split, Path(folder) / str(turn))
            start = time.perf_counter()
            fit(module)
            times["ours"].append((time.perf_counter() - start) / STEPS)
            module = prepared(engine, plan_of, InstanceDataset, settings, split, Path(folder))
            network, optimizer = module.network.train(), module.configure_optimizers()["optimizer"]
            start = time.perf_counter()
            for batch in StepBatches(len(split.images), settings.batch_size, 0, 0, STEPS):
                loss = sum(network(*collate([module.dataset[item] for item in batch])).values())
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
                optimizer.step()
            times["peer"].append((time.perf_counter() - start) / STEPS)
    rounds = {key: [round(seconds, 3) for seconds in of] for key, of in times.items()}
    about = {"profile": "quick", "steps": STEPS, "rounds": rounds, "threads": torch.get_num_threads(),
             "versions": installed_versions()}
    return result(min(times["ours"]), min(times["peer"]), "bare PyTorch loop over the same network and batches", "s",
                  True, about)


def prepared(engine, plan_of, dataset, settings, split, folder: Path):
    """A training that has not begun."""
    network = engine.build(18, len(split.categories), settings, seed=0)
    return engine.MaskRCNNModule(plan_of(settings, split, folder, "finetune", 0), dataset(split, settings, 0), network,
                                 settings)
