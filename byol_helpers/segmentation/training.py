"""Fine-tuning and prediction with the torchvision engine."""

from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as rle
from torchvision.models.detection import MaskRCNN

from byol_helpers.config import Finetune, Profile
from byol_helpers.data.layout import Split
from byol_helpers.errors import UserError
from byol_helpers.runs import Progress, read_json, replacing, write_json
from byol_helpers.segmentation.dataset import InstanceDataset, collate, image_of
from byol_helpers.segmentation.signals import recording
from byol_helpers.segmentation.torchvision_engine import build
from byol_helpers.training import Plan, StepModule, fit, load_tensors

DETECTRON2_NAMES = {"loss_classifier": "loss_cls", "loss_box_reg": "loss_box_reg", "loss_mask": "loss_mask",
                    "loss_objectness": "loss_rpn_cls", "loss_rpn_box_reg": "loss_rpn_loc"}
SIGNALS = ("mask_rcnn/accuracy", "mask_rcnn/false_positive", "mask_rcnn/false_negative",
           "fast_rcnn/cls_accuracy", "fast_rcnn/fg_cls_accuracy", "fast_rcnn/false_negative")
WARMUP_FROM = 1e-3  # detectron2's WARMUP_FACTOR


def schedule(step: int, settings: Finetune) -> float:
    """Factor of the learning rate: detectron2's linear warm-up from 1e-3, then a tenth at each of ``decay_steps``."""
    decayed = 0.1 ** bisect_right(settings.decay_steps, step)
    if step >= settings.warmup_steps:
        return decayed
    return decayed * (WARMUP_FROM + (1 - WARMUP_FROM) * step / settings.warmup_steps)


class MaskRCNNModule(StepModule):
    """Mask R-CNN under Lightning, with detectron2's names for everything that is logged."""

    def __init__(self, plan: Plan, dataset: InstanceDataset, network: MaskRCNN, settings: Finetune):
        super().__init__(plan, dataset, collate)
        self.network, self.settings = network, settings

    def configure_optimizers(self) -> dict:
        trained = [p for p in self.network.parameters() if p.requires_grad]
        norms = {id(p) for m in self.network.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters()}
        groups = [{"params": [p for p in trained if id(p) not in norms]},
                  {"params": [p for p in trained if id(p) in norms], "weight_decay": 0.0}]
        settings = self.settings
        return self.sgd([group for group in groups if group["params"]], settings.learning_rate, settings.momentum,
                        settings.weight_decay, lambda step: schedule(step, settings))

    def training_step(self, batch: tuple, _: int) -> torch.Tensor:
        with recording() as signals:
            losses = {DETECTRON2_NAMES[name]: value for name, value in self.network(*batch).items()}
        total = sum(losses.values())
        self.values = {"total_loss": total.item()} | {name: value.item() for name, value in losses.items()}
        self.values |= {"lr": self.optimizers().param_groups[0]["lr"]}
        self.values |= {name: signals[name] for name in SIGNALS}
        return total


def train(profile: Profile, split: Split, folder: Path, title: str, seed: int, weights: dict | None) -> MaskRCNN:
    """Fine-tune one arm, going on from ``folder/last.ckpt`` if there is one, and return the network in eval mode.

    Args:
        profile: section ``finetune`` decides.
        split: the training images and instances.
        folder: for the checkpoint and metrics.csv (a row is the median of 20 iterations).
        title: of the progress lines.
        seed: of the heads, the order of the images and the sampling.
        weights: backbone tensors under torchvision's names; None for random ones.
    """
    settings = profile.finetune
    if not split.images:
        raise UserError(f"{split.file}: no images to train on")
    network = build(profile.depth, len(split.categories), settings, seed, weights)
    plan = Plan(title, folder, seed, settings.steps, settings.batch_size, settings.checkpoint_every, 20,
                settings.workers, settings.gradient_clip)
    fit(MaskRCNNModule(plan, InstanceDataset(split, settings, seed), network, settings))
    return network.cpu().eval()


@torch.inference_mode()
def predict_image(network: MaskRCNN, image: torch.Tensor, category_ids: list[int]) -> list[dict]:
    """COCO results (without image_id) for one image, most confident first.

    Args:
        network: in eval mode.
        image: float32 [3, H, W] in 0..1.
        category_ids: category id of each label from 1 on.

    Returns:
        For each detection category_id, score, bbox (x, y, width, height; pixels) and segmentation (compressed RLE).
    """
    device = next(network.parameters()).device
    found = {key: value.cpu().numpy() for key, value in network([image.to(device)])[0].items()}
    results = []
    for box, label, score, mask in zip(found["boxes"], found["labels"], found["scores"], found["masks"], strict=True):
        run_lengths = rle.encode(np.asfortranarray(mask[0] > 0.5))
        x0, y0, x1, y1 = (float(value) for value in box)
        results.append({
            "category_id": category_ids[label - 1], "score": float(score), "bbox": [x0, y0, x1 - x0, y1 - y0],
            "segmentation": {"size": run_lengths["size"], "counts": run_lengths["counts"].decode()},
        })
    return results


def predict_split(network: MaskRCNN, split: Split, title: str) -> list[dict]:
    """COCO results for every image of a split."""
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    ids = [category["id"] for category in split.categories]
    progress, results = Progress(title, len(split.images), "images"), []
    for record in split.images:
        for found in predict_image(network, image_of(split.path(record)), ids):
            results.append({"image_id": record["id"]} | found)
        progress.update()
    progress.close()
    return results


def save_model(network: MaskRCNN, folder: Path, profile: Profile, categories: list[dict], arm: str, seed: int) -> None:
    """``model.pth`` (plain tensors) and ``model.json`` (what is needed to build the network again)."""
    with replacing(folder / "model.pth") as part:
        torch.save({name: value.detach().cpu() for name, value in network.state_dict().items()}, part)
    write_json(folder / "model.json", {"engine": "torchvision", "profile": profile.name, "arm": arm, "seed": seed,
                                       "depth": profile.depth, "categories": categories,
                                       "finetune": profile.finetune.model_dump()})


def load_model(path: Path) -> tuple[MaskRCNN, list[dict]]:
    """A fine-tuned network in eval mode, and its categories, from ``model.pth`` and the ``model.json`` beside it."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such model; give the model.pth of a finetune folder")
    made = read_json(path.with_name("model.json"))
    settings = Finetune(**made["finetune"])
    network = build(made["depth"], len(made["categories"]), settings, made["seed"])
    tensors = load_tensors(path)
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise UserError(f"{path}: its tensors do not fit {path.with_name('model.json')}; copy both from one "
                        "folder") from None
    return network.eval(), made["categories"]


def predictor(path: Path) -> Callable[[np.ndarray], list[dict]]:
    """A function from a picture, uint8 [H, W, 3] RGB, to its COCO results, from a ``model.pth``."""
    network, categories = load_model(path)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    ids = [category["id"] for category in categories]

    def predict(picture: np.ndarray) -> list[dict]:
        return predict_image(network, torch.from_numpy(picture).permute(2, 0, 1).float() / 255, ids)

    return predict
