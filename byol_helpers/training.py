"""What the three trainings (stand-in classifier, BYOL, Mask R-CNN) share, around Lightning's Trainer.

One rule makes an interrupted run end like an uninterrupted one, bit for bit on a CPU: everything random is a function
of the seed and the number of the step. The order of the images, their augmentation and the sampling inside a network
are drawn from generators seeded by both, so a restart needs nothing but the checkpoint and the step it was made at.
"""

import logging
import math
import pickle
import signal
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from byol_helpers.errors import UserError
from byol_helpers.runs import Progress, replacing, write_text

CHECKPOINT = "last.ckpt"


def rng(*key: int) -> np.random.Generator:
    """A generator that depends on the key alone, for example ``rng(seed, position)``."""
    return np.random.default_rng(list(key))


def cosine_with_warmup(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: linear from 1/warmup to 1, then half a cosine down to 0 at ``steps``."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


@dataclass(frozen=True)
class Item:
    """One place in a batch: which image, and the position in the whole run that seeds its augmentation."""

    index: int
    position: int


class StepBatches(Sampler[list[Item]]):
    """Batches of the steps ``first`` to ``last - 1`` of a run that walks through reshuffled epochs without a seam.

    Position p of the run shows image ``permutation(seed, p // images)[p % images]``, so a batch may end one epoch and
    begin the next, and no image is left out. Each process of a distributed run takes its share of the batch.
    """

    def __init__(self, images: int, batch_size: int, seed: int, first: int, last: int, rank: int = 0, world: int = 1):
        self.images, self.batch_size, self.seed, self.first, self.last = images, batch_size, seed, first, last
        share = batch_size // world
        self.mine = range(rank * share, (rank + 1) * share)

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[Item]]:
        epoch, order = -1, None
        for step in range(self.first, self.last):
            batch = []
            for place in self.mine:
                position = step * self.batch_size + place
                if position // self.images != epoch:
                    epoch = position // self.images
                    order = rng(self.seed, epoch).permutation(self.images)
                batch.append(Item(int(order[position % self.images]), position))
            yield batch


@dataclass(frozen=True)
class Plan:
    """How long a training is and where it leaves its files."""

    title: str
    folder: Path
    seed: int
    steps: int
    batch_size: int
    checkpoint_every: int
    metrics_every: int
    workers: int = 0
    gradient_clip: float = 0.0


class StepModule(lightning.LightningModule):
    """A LightningModule whose ``training_step`` leaves the step's numbers in ``self.values`` (plain floats)."""

    def __init__(self, plan: Plan, dataset: Dataset, collate: Callable):
        super().__init__()
        self.plan, self.dataset, self.collate = plan, dataset, collate
        self.values: dict[str, float] = {}

    def train_dataloader(self) -> DataLoader:
        """The batches from here to the next checkpoint; Lightning asks again after each."""
        plan, first = self.plan, self.global_step
        last = min(plan.steps, first + plan.checkpoint_every - first % plan.checkpoint_every)
        batches = StepBatches(len(self.dataset), plan.batch_size, plan.seed, first, last,
                              self.trainer.global_rank, self.trainer.world_size)
        return DataLoader(self.dataset, batch_sampler=batches, num_workers=plan.workers, collate_fn=self.collate,
                          pin_memory=torch.cuda.is_available())

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Seed whatever the network itself draws (ROI sampling) by the step."""
        torch.manual_seed(int(rng(self.plan.seed, self.global_step, 1).integers(2**63)))

    def sgd(self, parameters: list, learning_rate: float, momentum: float, weight_decay: float,
            factor: Callable[[int], float]) -> dict:
        """SGD with a learning rate that is multiplied by a function of the step."""
        optimizer = torch.optim.SGD(parameters, learning_rate, momentum=momentum, weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Recorder(lightning.Callback):
    """Progress lines, metrics.csv (medians over ``metrics_every`` steps), the NaN guard and the checkpoint.

    The rows travel inside the checkpoint, so metrics.csv never runs ahead of the weights.
    """

    def __init__(self, plan: Plan):
        self.plan, self.rows, self.recent, self.progress = plan, [], [], None

    def state_dict(self) -> dict:
        return {"rows": self.rows, "recent": self.recent}

    def load_state_dict(self, state: dict) -> None:
        self.rows, self.recent = state["rows"], state["recent"]

    def on_train_start(self, trainer, module) -> None:
        self.progress = Progress(self.plan.title, self.plan.steps, done=trainer.global_step)

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self.started = _clock()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        step = trainer.global_step
        if not math.isfinite(float(outputs["loss"])):
            raise UserError(f"{self.plan.title}: the loss is {float(outputs['loss'])} at step {step}, learning rate "
                            f"{module.values.get('lr', float('nan')):.3g}; {self._remedy()}")
        self.recent.append(module.values | {"seconds": _clock() - self.started})
        if step % self.plan.metrics_every == 0 or step == self.plan.steps:
            row = {key: statistics.median(values[key] for values in self.recent) for key in self.recent[-1]}
            self.rows.append({"step": step} | row)
            self.recent = []
        self.progress.update()

    def on_train_epoch_end(self, trainer, module) -> None:
        if trainer.is_global_zero:
            write_csv(self.plan.folder / "metrics.csv", self.rows)
        with replacing(self.plan.folder / CHECKPOINT) as part:
            trainer.save_checkpoint(part)

    def on_train_end(self, trainer, module) -> None:
        self.progress.close()

    def _remedy(self) -> str:
        last = self.plan.folder / CHECKPOINT
        kept = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was made yet"
        return f"{kept}; try a lower learning rate or a longer warm-up"


def fit(module: StepModule) -> lightning.Trainer:
    """Train a module to the last step of its plan, from its newest checkpoint if there is one."""
    plan = module.plan
    last = plan.folder / CHECKPOINT
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # the Recorder says what a reader needs
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    trainer = lightning.Trainer(
        max_steps=plan.steps, max_epochs=-1, devices=1, accelerator="auto", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[Recorder(plan)],
        reload_dataloaders_every_n_epochs=1, use_distributed_sampler=False,
        gradient_clip_val=plan.gradient_clip or None,
    )
    try:
        trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=False)
    except SystemExit:  # what Lightning makes of Ctrl-C, with further ones ignored: bad manners in a notebook
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    return trainer


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a file of named tensors without running any code that it may hold."""
    if not path.is_file():
        raise UserError(f"{path}: no such weights file; run the stage that writes it, or give the path of a .pth file")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or ["empty"])[0]
        raise UserError(f"{path}: damaged, or more than plain tensors ({reason[:90]}); save it again with "
                        "torch.save(model.state_dict(), file)") from None
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise UserError(f"{path}: not a dictionary of tensors; save model.state_dict()")
    return tensors


def write_csv(path: Path, rows: list[dict]) -> None:
    """Rows as CSV, numbers with seven significant digits."""
    names = list(rows[0]) if rows else ["step"]
    lines = [",".join(names)]
    lines += [",".join(f"{row[name]:.7g}" if isinstance(row[name], float) else str(row[name]) for name in names)
              for row in rows]
    write_text(path, "\n".join(lines) + "\n")


def _clock() -> float:
    """Seconds of wall time, after the accelerator has finished its queue."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
