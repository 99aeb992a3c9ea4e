"""How long a step of fine-tuning takes for each arm, measured side by side.

Arms that are trained one after the other meet a machine that is busier at one time than at another.
Here they take turns: in each block every arm does the same few steps, on the same batches, and the
block's ratio of two arms is one measurement.
"""

import torch
from torch import nn

from byol_helpers.coco.dataset import Split
from byol_helpers.core.config import Profile
from byol_helpers.core.deadline import check_deadline
from byol_helpers.core.progress import Progress
from byol_helpers.segmentation.dataset import InstanceDataset
from byol_helpers.segmentation.torchvision_engine import MaskRCNNTask, build
from byol_helpers.training.loop import measure_time
from byol_helpers.training.sampler import Item

TIMED_BLOCKS = 24  # a ratio of one block spreads by 8 %, so 24 know the mean to 4 or 5 %
BLOCK_STEPS = 2  # of an arm in a block


def time_steps(
    profile: Profile, split: Split, weights: dict[str, dict[str, torch.Tensor] | None]
) -> list[dict]:
    """Seconds of a step of each arm in each block, the torchvision engine's.

    A block before the first one warms up and is not reported. The arm that begins changes from
    block to block.

    Args:
        profile: section ``finetune`` decides.
        split: the training images.
        weights: of the backbone, by arm; None for those that Mask R-CNN draws.

    Returns:
        A row for each block and arm: ``block``, ``arm``, ``seconds`` (the mean of its steps).
    """
    settings = profile.finetune
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dataset = InstanceDataset(split, settings, profile.seed)
    classes = len(split.categories)
    trained = {}
    for arm, tensors in weights.items():
        network = build(
            profile.depth, classes, settings, profile.seed, tensors, width=profile.width
        )
        task = MaskRCNNTask(network.to(device).train(), dataset, settings)
        trained[arm] = (task, task.make_optimizer())
    arms = list(trained)
    progress = Progress("time the steps of the arms", TIMED_BLOCKS + 1, "blocks")
    rows = []
    for block in range(TIMED_BLOCKS + 1):
        check_deadline("time the steps of the arms")  # blocks of two days are not side by side
        turn = block % len(arms)
        for arm in arms[turn:] + arms[:turn]:
            task, optimizer = trained[arm]
            seconds = _time_block(task, optimizer, block)
            if block:
                rows.append({"block": block, "arm": arm, "seconds": seconds})
        progress.update()
    progress.close()
    return rows


def _time_block(task: MaskRCNNTask, optimizer: torch.optim.Optimizer, block: int) -> float:
    """Mean seconds of the steps of one arm; making the images is not counted."""
    size = task.settings.batch_size
    device = next(task.network.parameters()).device
    total = 0.0
    for step in range(block * BLOCK_STEPS, (block + 1) * BLOCK_STEPS):
        items = [_take_item(task, k) for k in range(step * size, (step + 1) * size)]
        images, targets = task.collate(items)
        images = [image.to(device) for image in images]
        moved = [{key: value.to(device) for key, value in target.items()} for target in targets]
        torch.manual_seed(step)
        start = measure_time()
        optimizer.zero_grad()
        loss, _ = task.loss(task.network, (images, moved), step)
        loss.backward()
        if task.settings.gradient_clip:
            nn.utils.clip_grad_norm_(task.network.parameters(), task.settings.gradient_clip)
        optimizer.step()
        total += measure_time() - start
    return total / BLOCK_STEPS


def _take_item(task: MaskRCNNTask, k: int) -> tuple:
    """The k-th item of a task's images, from the first again after the last."""
    return task.dataset[Item(k % len(task.dataset), k)]  # pyright: ignore[reportArgumentType]
