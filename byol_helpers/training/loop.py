"""One training loop for BYOL, the classifier and Mask R-CNN.

What a step does stands in ``run_steps`` in the order in which it happens. One rule makes an
interrupted run end like an uninterrupted one, bit for bit on a CPU: everything random is a function
of the seed and the number of the step. The order of the images, their augmentation and the sampling
inside a network are drawn from generators seeded by both, so a restart needs nothing but the
checkpoint.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.multiprocessing.spawn import ProcessRaisedException
from torch.utils.data import DataLoader, Dataset, default_collate

from byol_helpers.core.deadline import StopRequested, get_deadline, get_step_limit, is_over
from byol_helpers.core.environment import peak_memory_mb
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import replacing, write_json
from byol_helpers.core.kept_copy import copy_folder
from byol_helpers.core.progress import Progress, announce, duration
from byol_helpers.training.metrics import Medians, write_csv
from byol_helpers.training.sampler import Item, StepBatches, rng
from byol_helpers.training.shared_batch_norm import share_batch_norm

CHECKPOINT = "last.ckpt"
FORECAST_AFTER = 20  # steps
SPEED = "speed.json"  # of a training that stopped after a number of steps


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
    gradient_clip: float = 0.0  # norm; 0 switches clipping off
    devices: int = 1  # processes that share each batch: GPUs, or CPU processes where there is none
    precision: str = "32-true"
    accumulate: int = 1  # batches of one step
    reference: tuple[str, int] | None = None  # a training to forecast: name, images shown in all


@runtime_checkable
class LoadsBatches(Protocol):
    """A dataset that makes whole batches itself, on the device where they are wanted."""

    def load_batches(
        self, items: Iterable[list[Item]], device: torch.device
    ) -> Iterator[list[torch.Tensor]]:
        """The batch of each list of items, as tensors on the device."""
        ...


class Task:
    """What differs between trainings: network, data, optimiser, loss, and what follows a step."""

    network: nn.Module
    dataset: Dataset
    learning_rate: float  # at its peak
    collate: Callable = staticmethod(default_collate)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser over the trainable parameters, at the peak of the learning rate."""
        raise NotImplementedError

    def lr_factor(self, step: int) -> float:
        """What the peak of the learning rate is multiplied by at a step (from 0)."""
        raise NotImplementedError

    def lr_at(self, step: int) -> float:
        """The learning rate of a step (from 0)."""
        return self.learning_rate * self.lr_factor(step)

    def loss(
        self, network: nn.Module, batch: Any, step: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of one batch, and the numbers that go into metrics.csv.

        ``network`` is ``self.network``, wrapped where several devices or a mixed precision need it.
        """
        raise NotImplementedError

    def after_step(self, step: int) -> None:
        """What follows the optimiser's step; BYOL moves its target network here."""


def fit(task: Task, plan: Plan) -> None:
    """Train ``task.network`` to the plan's last step, from its newest checkpoint if there is one.

    Raises:
        UserError: the loss is no finite number any more, or fewer devices are there than asked for.
        StopRequested: the time of ``core.deadline`` is over; a checkpoint holds the last step.
    """
    fabric = Fabric(accelerator="auto", precision=plan.precision, **_devices(plan))  # pyright: ignore[reportArgumentType]
    work = partial(run_steps, task=task, plan=plan, deadline=get_deadline(), limit=get_step_limit())
    try:
        done = fabric.launch(work)
    except ProcessRaisedException as error:  # another process's, as text
        kind, _, said = str(error).strip().splitlines()[-1].partition(": ")
        if not kind.endswith("UserError"):
            raise
        raise UserError(said) from None
    if done < plan.steps:
        raise stopped_early(plan, done)
    if plan.devices > 1:  # the network was trained in other processes
        task.network.load_state_dict(load_checkpoint(plan)["network"])


def run_steps(
    fabric: Fabric,
    task: Task,
    plan: Plan,
    deadline: float | None = None,
    limit: int | None = None,
) -> int:
    """The training loop, in each process that shares the batches; how many steps are done.

    After the deadline or so many steps (``core.deadline``) it ends early, with a checkpoint of its
    last step.
    """
    keep_types(fabric)
    if fabric.world_size > 1:
        use_own_memory(task.network)
        share_batch_norm(task.network)
    plain_optimizer = task.make_optimizer()
    network, optimizer = fabric.setup(task.network.train(), plain_optimizer)
    medians = Medians(plan.metrics_every, plan.steps)
    first = 0
    if (plan.folder / CHECKPOINT).exists():
        state = load_checkpoint(plan)
        task.network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        medians.load_state_dict(state["medians"])
        fabric.strategy.precision.load_state_dict(state["precision"])
        first = state["step"]

    batches = load_batches(fabric, task, plan, first)
    watch = Stopwatch(plan, first, fabric.is_global_zero)
    done = first
    for step in range(first, plan.steps):
        lr = task.lr_at(step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        values = {}
        for part in range(plan.accumulate):
            batch = next(batches)
            if part == 0:
                watch.start_step()
            torch.manual_seed(step_seed(plan, step))  # of what the network itself draws
            with fabric.no_backward_sync(network, enabled=part + 1 < plan.accumulate):
                loss, values = task.loss(network, batch, step)
                if not math.isfinite(loss.item()):
                    raise loss_is_not_finite(plan, loss.item(), step + 1, lr)
                fabric.backward(loss / plan.accumulate)
        if plan.gradient_clip:
            fabric.clip_gradients(
                network, optimizer, max_norm=plan.gradient_clip, error_if_nonfinite=False
            )
        optimizer.step()
        task.after_step(step)

        medians.add(step + 1, values | {"seconds": watch.end_step()})
        done = step + 1
        over = deadline is not None and fabric.broadcast(is_over(deadline))
        over = over or done - first == limit
        if done % plan.checkpoint_every == 0 or done == plan.steps or over:
            if fabric.is_global_zero:
                write_csv(plan.folder / "metrics.csv", medians.rows)
                save_checkpoint(fabric, task, plan, optimizer, medians, done)
                copy_folder(plan.folder)
            fabric.barrier()
        if over:
            if limit and fabric.is_global_zero:
                write_json(plan.folder / SPEED, watch.measure_speed())
            return done
    watch.close()
    return done


def stopped_early(plan: Plan, done: int) -> StopRequested:
    """What to say when the time is over before a training."""
    return StopRequested(f"{plan.title}: stopped after {done:,} of {plan.steps:,} steps")


def use_own_memory(network: nn.Module) -> None:
    """Copy what a spawned process shares with the one that started it: each trains its own."""
    for tensor in [*network.parameters(), *network.buffers()]:
        tensor.data = tensor.data.clone()


def keep_types(fabric: Fabric) -> None:
    """Leave it to autocast what is computed in half precision, and outputs in their type.

    Fabric would also cast what goes into a network, boxes among it, and round what comes out.
    """
    precision: Any = fabric.strategy.precision
    if precision.precision.endswith("mixed"):
        precision.convert_input = _unchanged
    precision.convert_output = _unchanged


def _unchanged(data: Any) -> Any:
    return data


def load_batches(fabric: Fabric, task: Task, plan: Plan, first: int) -> Iterator[Any]:
    """This process's part of every batch from step ``first`` to the last, on its device.

    A dataset that makes its batches itself (``LoadsBatches``) needs no loader.
    """
    sampler = StepBatches(
        len(task.dataset),  # pyright: ignore[reportArgumentType]  # torch's Dataset declares no length
        plan.batch_size,
        plan.seed,
        first * plan.accumulate,
        plan.steps * plan.accumulate,
        fabric.global_rank,
        fabric.world_size,
    )
    if isinstance(task.dataset, LoadsBatches):
        return iter(task.dataset.load_batches(sampler, fabric.device))
    loader = DataLoader(
        task.dataset,
        batch_sampler=sampler,
        num_workers=plan.workers,
        collate_fn=task.collate,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(fabric.setup_dataloaders(loader, use_distributed_sampler=False))


def save_checkpoint(
    fabric: Fabric,
    task: Task,
    plan: Plan,
    optimizer: torch.optim.Optimizer,
    medians: Medians,
    step: int,
) -> None:
    """All that the next step needs.

    The rows of metrics.csv travel along, so they never run ahead.
    """
    state = {
        "step": step,
        "network": task.network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "medians": medians.state_dict(),
        "precision": fabric.strategy.precision.state_dict(),
    }
    with replacing(plan.folder / CHECKPOINT) as part:
        torch.save(state, part)


def load_checkpoint(plan: Plan) -> dict[str, Any]:
    """The newest checkpoint of a training, on the CPU."""
    return torch.load(plan.folder / CHECKPOINT, map_location="cpu", weights_only=True)


def loss_is_not_finite(plan: Plan, loss: float | str, step: int, lr: float) -> UserError:
    """What to say when a loss is no number any more."""
    last = plan.folder / CHECKPOINT
    kept = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was made yet"
    return UserError(
        f"{plan.title}: the loss is {loss} at step {step}, learning rate {lr:.3g}; {kept}; try a "
        "lower learning rate or a longer warm-up"
    )


def step_seed(plan: Plan, step: int) -> int:
    """Seed of whatever a network itself draws in a step (the sampling of regions)."""
    return int(rng(plan.seed, step, 1).integers(2**63))


def cosine_with_warmup(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: linear from 1/warmup to 1, then half a cosine to 0.

    It reaches 0 at ``steps``.
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


class Stopwatch:
    """Seconds of each step, progress lines, and a forecast after the first steps."""

    def __init__(self, plan: Plan, first: int, speaks: bool):
        self.plan = plan
        self.progress = Progress(plan.title, plan.steps, done=first) if speaks else None
        self.computed: list[float] = []  # seconds of each step
        self.waited: list[float] = []  # seconds between two steps: the next images are made
        self.started = 0.0
        self.ended = 0.0

    def start_step(self) -> None:
        """The first batch of a step is there."""
        self.started = measure_time()
        if self.ended:
            self.waited.append(self.started - self.ended)

    def end_step(self) -> float:
        """Seconds since ``start_step``; the first process prints how far the training is."""
        self.ended = measure_time()
        self.computed.append(self.ended - self.started)
        if self.progress:
            self.progress.update()
            if len(self.computed) == FORECAST_AFTER:
                announce(forecast(self.plan, self.computed, self.waited))
        return self.computed[-1]

    def measure_speed(self) -> dict[str, float]:
        """Seconds of a step, and between two steps: medians, without the first."""
        computed = self.computed[1:] or self.computed
        waited = self.waited or [0.0]
        return {"step": statistics.median(computed), "wait": statistics.median(waited)}

    def close(self) -> None:
        """Print the last line, with the whole time."""
        if self.progress:
            self.progress.close()


def forecast(plan: Plan, computed: list[float], waited: list[float]) -> str:
    """What the first steps say about this device, in one line.

    Args:
        plan: its ``reference`` is a training to compare with: (name, images shown in all).
        computed: seconds of each step.
        waited: seconds between steps, in which the next images are made.
    """
    work = statistics.median(computed)
    wait = statistics.median(waited)
    rate = plan.batch_size * plan.accumulate / (work + wait)
    said = (
        f"{plan.title}: {rate:.3g} images/s, {work:.2g} s a step and {wait:.2g} s waiting for "
        f"images, {peak_memory_mb():,} MB; {plan.steps:,} steps take "
        f"{duration(plan.steps * (work + wait))}"
    )
    if plan.reference:
        name, images = plan.reference
        said += f", {name} would take {duration(images / rate)} with this network and image size"
    return said


def measure_time() -> float:
    """Seconds of wall time, after the accelerator has finished its queue."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _devices(plan: Plan) -> dict[str, object]:
    """Fabric's settings for one device, or for several that exchange gradients.

    The processes start from this one, so the stage around the training exists once.
    """
    if plan.devices == 1:
        return {"devices": 1}
    there = torch.cuda.device_count()
    if 0 < there < plan.devices:
        raise UserError(
            f"{plan.title}: {plan.devices} devices are asked for, {there} found; "
            f"set devices={there}"
        )
    # A notebook's own code cannot be imported by a new process.
    start = "notebook" if hasattr(sys, "ps1") else "spawn"
    return {"devices": plan.devices, "strategy": f"ddp_{start}"}
