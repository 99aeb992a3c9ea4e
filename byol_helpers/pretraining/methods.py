"""The methods of pretraining, and the stage that trains one of them.

A method is one class, a ``MethodTask``: its network (``build_network``), the loss of two views and
what it logs (``compare_views``), what follows the optimiser's step (``after_step``). A new one is a
file beside ``byol.py``, an entry in ``METHODS``, and an arm in ``core.arms`` that names it.
"""

from pathlib import Path

import torch
from torch.utils.data import Dataset

from byol_helpers.coco.pixel_cache import DecodedImages, decode_images
from byol_helpers.core.config import Profile
from byol_helpers.core.errors import UserError
from byol_helpers.pretraining.byol import BYOLTask
from byol_helpers.pretraining.dataset import BatchViewsDataset, ViewsDataset
from byol_helpers.pretraining.encoder import copy_tensors, draw_encoder
from byol_helpers.pretraining.memory_views import MemoryViews
from byol_helpers.pretraining.method_task import MethodTask
from byol_helpers.pretraining.simclr import SimCLRTask
from byol_helpers.training.loop import Plan, fit

METHODS: dict[str, type[MethodTask]] = {
    "byol": BYOLTask,
    "simclr": SimCLRTask,
}
METRICS_EVERY = 5  # steps
THESIS = ("the thesis's 350,000 iterations of 64 images", 350_000 * 64)  # section 4.4


def train_method(
    profile: Profile,
    method: str,
    files: list[Path],
    folder: Path,
    title: str,
    weights: dict[str, torch.Tensor] | None,
    cache: Path | None = None,
    first_steps: int | None = None,
    decoded: DecodedImages | None = None,
) -> dict[str, torch.Tensor]:
    """Pretrain and return the encoder's tensors.

    Args:
        profile: section ``pretrain`` decides.
        method: a key of ``METHODS``.
        files: the unlabelled images.
        folder: for the checkpoint and metrics.csv.
        title: of the progress lines.
        weights: torchvision-named tensors to begin with; None for those of ``draw_encoder``.
        cache: folder for the decoded images of ``pretrain.views=batch``, shared by the trainings on
            the same images; None: one in ``folder``.
        first_steps: how many of the training's steps to do; None for all.
        decoded: the files as pixels, where they are decoded already.
    """
    settings = profile.pretrain
    require_batch(len(files), settings.batch_size, "pretrain")
    encoder = draw_encoder(profile)
    if weights is not None:
        encoder.load_state_dict(weights)
    plan = Plan(
        title,
        folder,
        profile.pretraining_seed,
        first_steps or settings.steps,
        settings.batch_size,
        settings.checkpoint_every,
        METRICS_EVERY,
        settings.workers,
        settings.gradient_clip,
        settings.devices,
        settings.precision,
        settings.accumulate,
        THESIS,
    )
    dataset = make_dataset(profile, files, cache or folder / "cache", decoded)
    task = METHODS[method](encoder, dataset, settings)
    if settings.channels_last:
        task.network.to(memory_format=torch.channels_last)
    if settings.compile:
        for part in task.network.children():
            part.compile()  # in place: names in checkpoints stay as they are
    fit(task, plan)
    return copy_tensors(task.network.get_submodule("encoder"))


def require_batch(images: int, batch_size: int, section: str) -> None:
    """Refuse fewer images than one batch; ``section`` of the profile has the ``batch_size``."""
    if images < batch_size:
        raise UserError(
            f"{images} images for {section}, fewer than {section}.batch_size={batch_size}; give "
            "more images or lower it with --set"
        )


def make_dataset(
    profile: Profile, files: list[Path], cache: Path, decoded: DecodedImages | None = None
) -> Dataset:
    """Two views of each image, rendered as ``pretrain.views`` says."""
    settings = profile.pretrain
    seed = profile.pretraining_seed
    if settings.views in ("batch", "memory"):
        images = decoded or decode_images(files, cache, f"decode images into {cache}")
        kind = MemoryViews if settings.views == "memory" else BatchViewsDataset
        return kind(images, settings.view_size, seed, settings.crop_scale)
    return ViewsDataset(
        files,
        settings.view_size,
        seed,
        settings.views == "torch",
        settings.cache_side is not None,
        settings.crop_scale,
    )
