"""What the three trainings (stand-in classifier, BYOL, Mask R-CNN) share, around Lightning's Trainer.

One rule makes an interrupted run end like an uninterrupted one, bit for bit on a CPU: everything random is a function
of the seed and the number of the step. The order of the images, their augmentation and the sampling inside a network
are drawn from generators seeded by both, so a restart needs nothing but the checkpoint and the step it was made at.
"""

import logging
import math
import signal
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightning
import torch
from torch.utils.data import DataLoader, Dataset

from byol_helpers.core.environment import peak_memory_mb
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import replacing
from byol_helpers.core.progress import Progress, duration
from byol_helpers.training.metrics import Medians, write_csv
from byol_helpers.training.sampler import StepBatches, rng
from byol_helpers.training.shared_batch_norm import SharedNorm

CHECKPOINT = "last.ckpt"
FORECAST_AFTER = 20  # steps


def cosine_with_warmup(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: linear from 1/warmup to 1, then half a cosine down to 0 at ``steps``."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


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
    devices: int = 1  # processes that share each batch: GPUs, or CPU processes where there is none
    precision: str = "32-true"
    accumulate: int = 1  # batches of one step
    reference: tuple[str, int] | None = (
        None  # a training to forecast beside this one: name, images shown in all
    )


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
        batches = StepBatches(
            len(self.dataset),
            plan.batch_size,
            plan.seed,
            first * plan.accumulate,
            last * plan.accumulate,
            self.trainer.global_rank,
            self.trainer.world_size,
        )
        return DataLoader(
            self.dataset,
            batch_sampler=batches,
            num_workers=plan.workers,
            collate_fn=self.collate,
            pin_memory=torch.cuda.is_available(),
        )

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Seed whatever the network itself draws (ROI sampling) by the step."""
        torch.manual_seed(step_seed(self.plan, self.global_step))

    def sgd(
        self,
        parameters: list,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        factor: Callable[[int], float],
    ) -> dict:
        """SGD with a learning rate that is multiplied by a function of the step."""
        return self.scheduled(
            torch.optim.SGD(
                parameters, learning_rate, momentum=momentum, weight_decay=weight_decay
            ),
            factor,
        )

    def scheduled(self, optimizer: torch.optim.Optimizer, factor: Callable[[int], float]) -> dict:
        """An optimiser whose learning rate is multiplied by a function of the step."""
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def not_finite(plan: Plan, loss: str, step: int, learning_rate: float) -> UserError:
    """What to say when a loss is no number any more."""
    last = plan.folder / CHECKPOINT
    kept = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was made yet"
    return UserError(
        f"{plan.title}: the loss is {loss} at step {step}, learning rate {learning_rate:.3g}; {kept}; try "
        "a lower learning rate or a longer warm-up"
    )


def step_seed(plan: Plan, step: int) -> int:
    """Seed of whatever a network itself draws in a step (the sampling of regions)."""
    return int(rng(plan.seed, step, 1).integers(2**63))


def forecast(plan: Plan, computed: list[float], waited: list[float]) -> str:
    """What the first steps say about this device, in one line.

    Args:
        plan: its ``reference`` is a training to compare with: (name, images shown in all).
        computed, waited: seconds of each step, and seconds between steps, in which the next images are made.
    """
    work, wait = statistics.median(computed), statistics.median(waited)
    rate = plan.batch_size * plan.accumulate / (work + wait)
    said = (
        f"{plan.title}: {rate:.3g} images/s, {work:.2g} s a step and {wait:.2g} s waiting for images, "
        f"{peak_memory_mb():,} MB; {plan.steps:,} steps take {duration(plan.steps * (work + wait))}"
    )
    if plan.reference:
        name, images = plan.reference
        said += f", {name} would take {duration(images / rate)} with this network and image size"
    return said


class Recorder(lightning.Callback):
    """Progress lines, metrics.csv, the NaN guard and the checkpoint.

    The rows travel inside the checkpoint, so metrics.csv never runs ahead of the weights.
    """

    def __init__(self, plan: Plan):
        self.plan, self.medians, self.progress = plan, Medians(plan.metrics_every, plan.steps), None
        self.computed, self.waited, self.ended = [], [], None

    def state_dict(self) -> dict:
        return self.medians.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.medians.load_state_dict(state)

    def on_train_start(self, trainer, module) -> None:
        if trainer.is_global_zero:
            self.progress = Progress(self.plan.title, self.plan.steps, done=trainer.global_step)

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        now = clock()
        if batch_idx % self.plan.accumulate == 0:
            self.started = now
            self.waited += [now - self.ended] if self.ended else []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        loss = float(outputs["loss"])
        if not math.isfinite(loss):
            raise not_finite(
                self.plan, str(loss), trainer.global_step, module.values.get("lr", math.nan)
            )
        if (batch_idx + 1) % self.plan.accumulate:
            return
        self.ended = clock()
        self.computed.append(self.ended - self.started)
        self.medians.add(trainer.global_step, module.values | {"seconds": self.computed[-1]})
        if self.progress:
            self.progress.update()
            if len(self.computed) == FORECAST_AFTER:
                print(forecast(self.plan, self.computed, self.waited), flush=True)

    def on_train_epoch_end(self, trainer, module) -> None:
        last = self.plan.folder / CHECKPOINT
        if not trainer.is_global_zero:
            trainer.save_checkpoint(last)  # all processes take part, the first one writes
            return
        write_csv(self.plan.folder / "metrics.csv", self.medians.rows)
        with replacing(last) as part:
            trainer.save_checkpoint(part)

    def on_train_end(self, trainer, module) -> None:
        if self.progress:
            self.progress.close()


def fit(module: StepModule) -> None:
    """Train a module to the last step of its plan, from its newest checkpoint if there is one."""
    plan = module.plan
    last = plan.folder / CHECKPOINT
    logging.getLogger("lightning.pytorch").setLevel(
        logging.ERROR
    )  # the Recorder says what a reader needs
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    trainer = lightning.Trainer(
        max_steps=plan.steps,
        max_epochs=-1,
        accelerator="auto",
        precision=plan.precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Recorder(plan)],
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        gradient_clip_val=plan.gradient_clip or None,
        accumulate_grad_batches=plan.accumulate,
        **_devices(plan),
    )
    try:
        trainer.fit(module, ckpt_path=last if last.exists() else None, weights_only=False)
    except (
        SystemExit
    ):  # what Lightning makes of Ctrl-C, with further ones ignored: bad manners in a notebook
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None
    except (
        torch.multiprocessing.ProcessRaisedException
    ) as error:  # the error of another process, as text
        kind, _, said = str(error).strip().splitlines()[-1].partition(": ")
        if not kind.endswith("UserError"):
            raise
        raise UserError(said) from None


def _devices(plan: Plan) -> dict:
    """The Trainer's settings for one device, or for several that exchange gradients and batch statistics (SyncBN).

    The processes start from this one, so the stage around the training exists once.
    """
    if plan.devices == 1:
        return {"devices": 1}
    there = torch.cuda.device_count()
    if 0 < there < plan.devices:
        raise UserError(
            f"{plan.title}: {plan.devices} devices are asked for, {there} found; set devices={there}"
        )
    start = (
        "notebook" if hasattr(sys, "ps1") else "spawn"
    )  # a notebook's own code cannot be imported by a new process
    shared = {"sync_batchnorm": True} if there else {"plugins": [SharedNorm()]}
    return {"devices": plan.devices, "strategy": f"ddp_{start}"} | shared


def clock() -> float:
    """Seconds of wall time, after the accelerator has finished its queue."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
