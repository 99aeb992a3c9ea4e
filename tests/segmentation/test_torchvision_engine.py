"""The torchvision engine: same network for every arm, training metrics, targets from COCO
annotations.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import resnet18
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from byol_helpers import pipeline
from byol_helpers.coco.dataset import load_split
from byol_helpers.core.errors import UserError
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.resnet import build_resnet
from byol_helpers.evaluation.average_precision import evaluate_detections
from byol_helpers.segmentation.dataset import InstanceDataset, collate, fit_size
from byol_helpers.segmentation.engine import make_predictor, predict_split, save_model
from byol_helpers.segmentation.shared_settings import scale_learning_rate
from byol_helpers.segmentation.torchvision_engine import MaskRCNNTask, Resize, build, detect, train
from byol_helpers.segmentation.training_metrics import (
    compute_mask_metrics,
    compute_region_metrics,
    record_training_metrics,
)
from byol_helpers.training.sampler import Item
from tests.helpers.small_runs import FULL_WIDTH

SMALL = [
    "data.train=8",
    "data.val=2",
    "data.test=2",
    "data.unlabelled=2",
    "data.crops=16",
    *FULL_WIDTH,
]
GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = pipeline.open_run("smoke", tmp_path_factory.mktemp("run"), overrides=SMALL)
    pipeline.prepare(run)
    return run


def test_training_metrics_equal_a_loop_over_pixels():
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 7, 7), (torch.rand(5, 7, 7) > 0.4).float()
    wrong = positive = missed = invented = 0
    for logit, target in zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True):
        wrong += (logit > 0) != (target > 0.5)
        positive += target > 0.5
        missed += target > 0.5 and logit <= 0
        invented += target <= 0.5 and logit > 0
    found = compute_mask_metrics(logits, targets)
    assert found["mask_rcnn/accuracy"] == pytest.approx(1 - wrong / 245)
    assert found["mask_rcnn/false_negative"] == pytest.approx(missed / positive)
    assert found["mask_rcnn/false_positive"] == pytest.approx(invented / (245 - positive))


def test_training_metrics_without_any_region_are_defined():
    assert (
        compute_mask_metrics(torch.zeros(0, 28, 28), torch.zeros(0, 28, 28))[
            "mask_rcnn/false_negative"
        ]
        == 0
    )
    assert (
        compute_region_metrics(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), 0)[
            "fast_rcnn/cls_accuracy"
        ]
        == 0
    )


@pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="detectron2's recorded values (../shared/golden) are not here"
)
def test_training_metrics_equal_detectron2s_own():
    values = np.load(GOLDEN / "detectron2-signals.npz")
    expected = json.loads((GOLDEN / "detectron2-signals.json").read_text())
    by_name = {name: torch.from_numpy(values[name]) for name in values.files}
    classes = by_name["mask_classes"]
    logits = by_name["mask_logits"][torch.arange(len(classes)), classes]
    found = compute_mask_metrics(logits, by_name["mask_targets"].float())
    found |= compute_region_metrics(by_name["roi_scores"], by_name["roi_labels"], background=5)
    for name, value in found.items():
        assert value == pytest.approx(expected[name], abs=1e-9), name


def test_masks_pasted_one_by_one_are_torchvisions(run):
    network, image = build(18, 2, run.profile.finetune, seed=0).eval(), torch.rand(3, 50, 70)
    with torch.inference_mode():
        found = detect(network, image)
        Resize.postprocess, ours = GeneralizedRCNNTransform.postprocess, Resize.postprocess
        try:
            (theirs,) = network([image])
        finally:
            Resize.postprocess = ours
    assert len(found["masks"]) > 10 and np.array_equal(
        found["masks"], theirs["masks"][:, 0].numpy() > 0.5
    )
    assert np.array_equal(found["boxes"], theirs["boxes"].numpy())


def test_a_predictor_leaves_out_what_scores_too_little(run, tmp_path):
    network = build(18, 2, run.profile.finetune, seed=0)
    save_model(
        network,
        tmp_path,
        run.profile,
        [{"id": 3, "name": "a"}, {"id": 8, "name": "b"}],
        "random",
        0,
    )
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    every = make_predictor(tmp_path / "model.pth")(picture)
    least = every[4]["score"]
    few = make_predictor(tmp_path / "model.pth", least)(picture)
    assert len(every) > 5 and [d["score"] for d in few] == [
        d["score"] for d in every if d["score"] >= least
    ]


def test_recording_leaves_the_losses_alone(run):
    profile = run.profile
    data = InstanceDataset(load_split(run, "train"), profile.finetune, seed=0)
    batch = collate([data[Item(k, k)] for k in range(2)])
    model = build(18, 10, profile.finetune, seed=0).train()
    torch.manual_seed(1)
    plain = {name: value.item() for name, value in model(*batch).items()}
    model = build(18, 10, profile.finetune, seed=0).train()
    torch.manual_seed(1)
    with record_training_metrics() as metrics:
        heard = {name: value.item() for name, value in model(*batch).items()}
    assert heard == plain
    assert len(metrics) == 6 and all(0 <= value <= 1 for value in metrics.values())


def test_arms_of_one_seed_differ_in_the_backbone_alone():
    settings = load_profile("smoke").finetune
    weights = {
        k: v for k, v in resnet18(weights=None).state_dict().items() if not k.startswith("fc.")
    }
    arms = [build(18, 10, settings, 3, given).state_dict() for given in (None, weights)]
    differing = {name for name in arms[0] if not torch.equal(arms[0][name], arms[1][name])}
    assert differing and all(name.startswith("backbone.body.") for name in differing)
    for name, value in weights.items():
        assert torch.equal(arms[1][f"backbone.body.{name}"], value)


def test_weights_of_another_architecture_are_refused_with_names():
    settings = load_profile("smoke").finetune
    weights = {
        k: v for k, v in resnet18(weights=None).state_dict().items() if not k.startswith("fc.")
    }
    with pytest.raises(UserError, match="do not fit this ResNet.*missing.*layer1.0.bn3"):
        build(50, 10, settings, 0, weights)
    weights["layer1.0.conv1.weight"] = torch.zeros(1, 2, 3, 3)
    with pytest.raises(UserError, match="1 of another shape .layer1.0.conv1.weight"):
        build(18, 10, settings, 0, weights)


def test_norm_policies():
    trainable = build(18, 3, load_profile("smoke").finetune, 0)
    assert all(p.requires_grad for p in trainable.parameters())
    assert trainable.backbone.body.bn1.__class__ is torch.nn.BatchNorm2d
    frozen = build(18, 3, load_profile("smoke", ["finetune.norm_policy=frozen"]).finetune, 0)
    still = {n.split(".")[2] for n, p in frozen.named_parameters() if not p.requires_grad}
    assert still == {"conv1", "layer1"} and "FrozenBatchNorm" in repr(frozen.backbone.body.bn1)


def test_schedule_is_detectron2s():
    settings = load_profile("thesis").finetune
    assert scale_learning_rate(0, settings) == pytest.approx(1e-3)
    assert scale_learning_rate(500, settings) == pytest.approx(0.5005)
    assert [
        scale_learning_rate(step, settings) for step in (1000, 39_999, 40_000, 80_000)
    ] == pytest.approx([1, 1, 0.1, 0.01])


def test_targets_are_the_annotations_without_crowds(run):
    split = load_split(run, "train")
    data = InstanceDataset(split, run.profile.finetune, seed=0)
    flipped = 0
    for k, record in enumerate(split.images):
        image, target = data[Item(k, k)]
        single = [a for a in split.annotations.get(record["id"], []) if not a["iscrowd"]]
        assert image.shape == (3, 128, 128) and 0 <= image.min() and image.max() <= 1
        assert [data.labels[a["category_id"]] for a in single] == target["labels"].tolist()
        assert target["masks"].flatten(1).sum(1).tolist() == [a["area"] for a in single]
        for box, annotation in zip(target["boxes"].tolist(), single, strict=True):
            x, y, w, h = annotation["bbox"]
            mirrored = [128 - x - w, y, 128 - x, y + h]
            assert box in ([x, y, x + w, y + h], mirrored)
            flipped += box == mirrored
    assert flipped


def test_fitted_sizes():
    assert fit_size(480, 640, 800, 1333) == (800, 1067)
    assert fit_size(100, 1000, 800, 1333) == (133, 1333)


@pytest.mark.slow
def test_eight_images_can_be_learned_by_heart(run, tmp_path):
    """A network that cannot overfit has a fault in its targets, its losses or its prediction."""
    learn = [
        "finetune.steps=240",
        "finetune.batch_size=4",
        "finetune.learning_rate=0.02",
        "finetune.decay_steps=[200]",
        "finetune.gradient_clip=5.0",
        "finetune.checkpoint_every=80",
    ]
    profile, split = load_profile("smoke", [*SMALL, *learn]), load_split(run, "train")
    network = train(profile, split, tmp_path, "overfit", 0, None)
    save_model(network, tmp_path, profile, split.categories, "random", 0)
    results = predict_split(tmp_path / "model.pth", split, "predict")
    assert evaluate_detections(split.file, results).metrics["AP50"] > 0.9


def test_group_norm_takes_over_gamma_and_beta_and_trains_everything():
    torch.manual_seed(0)
    source = build_resnet(18, 16)
    del source.fc
    for module in source.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.normal_(1, 0.1)
            module.running_mean.normal_()
    weights = source.state_dict()
    settings = load_profile("smoke", ["finetune.norm_policy=group"]).finetune
    network = build(18, 3, settings, 0, weights, width=16)
    body = network.backbone.body.state_dict()
    assert body.keys() == {name for name in weights if "running" not in name} - {
        name for name in weights if "tracked" in name
    }
    assert all(torch.equal(body[name], weights[name]) for name in body)
    assert all(parameter.requires_grad for parameter in network.parameters())
    optimizer = MaskRCNNTask(network, None, settings).make_optimizer()
    plain, norms = optimizer.param_groups
    assert norms["weight_decay"] == 0 and plain["weight_decay"] > 0
    counted = [m for m in network.backbone.body.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert len(norms["params"]) == 2 * len(counted) == 40
