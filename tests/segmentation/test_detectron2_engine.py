"""The detectron2 engine, run for real, and both engines against each other."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from byol_helpers import backbones, pipeline
from byol_helpers.coco.dataset import load_split
from byol_helpers.core.errors import UserError
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.resnet import build_resnet
from byol_helpers.evaluation.average_precision import evaluate_detections
from byol_helpers.segmentation import torchvision_engine
from byol_helpers.segmentation.dataset import InstanceDataset, load_image
from byol_helpers.segmentation.engine import load_model, predict_split, save_model
from byol_helpers.segmentation.shared_settings import scale_learning_rate
from byol_helpers.segmentation.training_metrics import compute_mask_metrics, compute_region_metrics
from byol_helpers.training.sampler import Item
from tests.helpers.small_runs import FULL_WIDTH

pytestmark = pytest.mark.detectron2
SMALL = [
    "data.train=8",
    "data.val=2",
    "data.test=4",
    "data.unlabelled=16",
    "data.crops=16",
    "evaluate.bootstrap=20",
    "background.images=2",
    "pretrain.hidden=32",
    "finetune.engine=detectron2",
    "finetune.arms=[byol, supervised, random]",
    *FULL_WIDTH,
]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def engine():
    from byol_helpers.segmentation import detectron2_engine

    return detectron2_engine


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = pipeline.open_run("smoke", tmp_path_factory.mktemp("run"), overrides=SMALL)
    pipeline.prepare(run)
    return run


def backbone_weights(depth, seed=0, width=64):
    """A ResNet with batch-norm statistics that are not those of a fresh one, and its tensors under
    both names.
    """
    torch.manual_seed(seed)
    network = build_resnet(depth, width)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    ours = {
        name: value for name, value in network.state_dict().items() if not name.startswith("fc.")
    }
    return network.eval(), ours, backbones.rename_for_detectron2(ours)


@pytest.mark.parametrize(
    ("depth", "width", "policy"),
    [
        (18, 64, "trainable"),
        (18, 16, "trainable"),
        (18, 16, "frozen"),
        (50, 64, "trainable"),
        (50, 64, "frozen"),
        (50, 16, "trainable"),
    ],
)
def test_the_transferred_backbone_gives_the_source_networks_features(engine, depth, width, policy):
    settings = load_profile("smoke", [f"finetune.norm_policy={policy}"]).finetune
    source, _, renamed = backbone_weights(depth, width=width)
    network = engine.build(depth, 3, settings, 0, renamed, width=width).to(CPU)
    body = network.backbone.bottom_up
    assert len(body.stem.conv1.weight) == width
    differences = backbones.measure_feature_differences(source, body, torch.randn(2, 3, 64, 96))
    assert list(differences) == ["layer1", "layer2", "layer3", "layer4"]
    assert max(differences.values()) <= 1e-4


@pytest.mark.parametrize(("depth", "width"), [(18, 64), (18, 16), (50, 64)])
def test_group_norm_is_the_same_in_both_engines(engine, depth, width):
    """From one file of weights whose norms were batch norms."""
    settings = load_profile("smoke", ["finetune.norm_policy=group"]).finetune
    _, ours, _ = backbone_weights(depth, width=width)
    theirs = engine.build(depth, 3, settings, 0, ours, width=width).to(CPU).backbone.bottom_up
    body = torchvision_engine.build(depth, 3, settings, 0, ours, width=width).backbone.body
    images = torch.randn(2, 3, 64, 96)
    kept = {}
    x = images
    for name, module in body.eval().named_children():
        x = module(x)
        kept[name] = x
    with torch.no_grad():
        found = theirs.eval()(images)
    for stage in range(2, 6):
        difference = (found[f"res{stage}"] - kept[f"layer{stage - 1}"]).abs().max()
        assert difference <= 1e-4 * kept[f"layer{stage - 1}"].abs().max().clamp(min=1)
    assert all(parameter.requires_grad for parameter in theirs.parameters())


def test_a_narrow_model_is_read_again(engine, tmp_path):
    profile = load_profile("smoke", [*SMALL, "width=16"])
    network = engine.build(18, 1, profile.finetune, 0, width=16).to(CPU)
    save_model(network, tmp_path, profile, [{"id": 1, "name": "disk"}], "random", 0)
    loaded, _, _ = load_model(tmp_path / "model.pth")
    assert all(torch.equal(a, b) for a, b in zip(*map(states, (network, loaded)), strict=True))


def states(network):
    return network.cpu().state_dict().values()


@pytest.mark.parametrize("control", ["stride", "channels"])
def test_a_wrong_setting_would_be_seen(engine, control):
    """The same comparison must fail with the stride in the 1x1 convolution, and with BGR images."""
    from detectron2.modeling import build_model

    cfg = engine.make_config(50, 3, load_profile("smoke").finetune)
    cfg.MODEL.DEVICE, cfg.MODEL.RESNETS.STRIDE_IN_1X1 = "cpu", control == "stride"
    source, _, renamed = backbone_weights(50)
    body = build_model(cfg).backbone.bottom_up
    body.load_state_dict({k.removeprefix(engine.BODY): v for k, v in renamed.items()}, strict=False)
    if control == "channels":
        body.register_forward_pre_hook(lambda _, inputs: (inputs[0].flip(1),))
    differences = backbones.measure_feature_differences(source, body, torch.randn(2, 3, 64, 96))
    assert (
        min(
            value
            for name, value in differences.items()
            if control == "channels" or name != "layer1"
        )
        > 1e-2
    )


def test_weights_that_do_not_fit_are_refused_not_skipped(engine):
    _, _, renamed = backbone_weights(18)
    first = next(iter(renamed))
    with pytest.raises(UserError, match="1 missing"):
        engine.build(
            18,
            3,
            load_profile("smoke").finetune,
            0,
            {k: v for k, v in renamed.items() if k != first},
        )


def test_arms_of_one_seed_differ_in_the_backbone_alone(engine):
    settings = load_profile("smoke").finetune
    arms = [
        engine.build(18, 10, settings, 3, given).state_dict()
        for given in (None, backbone_weights(18)[2])
    ]
    differing = {name for name in arms[0] if not torch.equal(arms[0][name], arms[1][name])}
    assert differing and all(name.startswith(engine.BODY) for name in differing)


def test_heads_start_alike_in_both_engines(engine):
    """Same distributions of initial weights, layer by layer; the draws differ."""
    settings = load_profile("quick").finetune
    theirs, ours = (
        engine.build(18, 10, settings, 0).cpu(),
        torchvision_engine.build(18, 10, settings, 0),
    )
    heads, other = theirs.roi_heads, ours.roi_heads
    pairs = [
        (heads.box_head.fc1, other.box_head.fc6),
        (heads.box_head.fc2, other.box_head.fc7),
        (heads.box_predictor.cls_score, other.box_predictor.cls_score),
        (heads.box_predictor.bbox_pred, other.box_predictor.bbox_pred),
        (heads.mask_head.predictor, other.mask_predictor.mask_fcn_logits),
        (heads.mask_head.deconv, other.mask_predictor.conv5_mask),
        (heads.mask_head.mask_fcn1, other.mask_head[0][0]),
        (theirs.proposal_generator.rpn_head.conv, ours.rpn.head.conv[0][0]),
        (theirs.proposal_generator.rpn_head.objectness_logits, ours.rpn.head.cls_logits),
        (theirs.backbone.fpn_output3, ours.backbone.fpn.layer_blocks[1][0]),
        (theirs.backbone.fpn_lateral3, ours.backbone.fpn.inner_blocks[1][0]),
    ]
    for their, our in pairs:
        assert our.weight.std().item() == pytest.approx(their.weight.std().item(), rel=0.1), (
            their,
            our,
        )
        assert our.weight.abs().max().item() == pytest.approx(
            their.weight.abs().max().item(), rel=0.35
        ), (their, our)
        assert not our.bias.any() and not their.bias.any()


def test_norm_policies(engine):
    trainable = engine.build(18, 3, load_profile("smoke").finetune, 0)
    assert all(p.requires_grad for p in trainable.parameters())
    frozen = engine.build(18, 3, load_profile("smoke", ["finetune.norm_policy=frozen"]).finetune, 0)
    still = {name.split(".")[2] for name, p in frozen.named_parameters() if not p.requires_grad}
    assert still == {"stem", "res2"} and "FrozenBatchNorm" in repr(frozen.backbone.bottom_up.stem)


@pytest.mark.parametrize("profile", ["thesis", "quick", "smoke"])
def test_optimiser_and_schedule_are_the_same_in_both_engines(engine, profile):
    from detectron2.solver import build_lr_scheduler, build_optimizer

    settings = load_profile(profile).finetune
    network = engine.build(18, 3, settings, 0)
    cfg = engine.make_config(18, 3, settings)
    optimizer = build_optimizer(cfg, network)
    decays = {group["weight_decay"] for group in optimizer.param_groups}
    norms = sum(
        p.numel()
        for m in network.modules()
        if isinstance(m, torch.nn.BatchNorm2d)
        for p in m.parameters()
    )
    bare = sum(
        p.numel() for g in optimizer.param_groups if g["weight_decay"] == 0 for p in g["params"]
    )
    assert decays == {0.0, settings.weight_decay} and bare == norms
    assert all(group["momentum"] == settings.momentum for group in optimizer.param_groups)
    multiplier = build_lr_scheduler(cfg, optimizer)._multiplier
    for step in [*range(0, settings.steps, max(1, settings.steps // 500)), *settings.decay_steps]:
        assert multiplier(step / settings.steps) == pytest.approx(
            scale_learning_rate(step, settings), rel=1e-6
        ), step


def test_training_metrics_equal_detectron2s_live(engine):
    from detectron2.modeling.roi_heads.fast_rcnn import _log_classification_stats
    from detectron2.modeling.roi_heads.mask_head import mask_rcnn_loss
    from detectron2.structures import BitMasks, Boxes, Instances
    from detectron2.utils.events import EventStorage

    torch.manual_seed(0)
    regions, side, classes = 12, 28, 5
    labels, masks = torch.randint(0, classes, (regions,)), torch.rand(regions, side, side) > 0.6
    instances = Instances(
        (side, side),
        gt_classes=labels,
        gt_masks=BitMasks(masks),
        proposal_boxes=Boxes(torch.tensor([[0.0, 0.0, side, side]] * regions)),
    )
    logits = torch.randn(regions, classes, side, side)
    scores, truth = torch.randn(40, classes + 1), torch.randint(0, classes + 1, (40,))
    with EventStorage() as storage:
        mask_rcnn_loss(logits, [instances])
        _log_classification_stats(scores, truth)
        theirs = {name: value for name, (value, _) in storage.latest().items()}
    ours = compute_mask_metrics(logits[torch.arange(regions), labels], masks.float())
    ours |= compute_region_metrics(scores, truth, background=classes)
    assert {name: theirs[name] for name in ours} == pytest.approx(ours, abs=1e-9)


def test_both_engines_train_on_the_same_pictures_and_masks(engine, run):
    split, settings = load_split(run, "train"), run.profile.finetune
    ours = InstanceDataset(split, settings, 0)
    for k in range(len(split.images)):
        image, target = ours[Item(k, k)]
        theirs = engine.InDetectron2sForm(ours)[Item(k, k)]
        instances = theirs["instances"]
        assert torch.equal(theirs["image"], 255 * image)
        assert torch.equal(instances.gt_boxes.tensor, target["boxes"])
        assert torch.equal(instances.gt_masks.tensor, target["masks"].bool())
        assert torch.equal(instances.gt_classes + 1, target["labels"])


def shortened(steps=40):
    return load_profile("smoke", [*SMALL, f"finetune.steps={steps}", "finetune.decay_steps=[]"])


def test_resumed_equals_uninterrupted_bit_for_bit(engine, run, tmp_path, monkeypatch):
    split = load_split(run, "train")
    whole = engine.train(shortened(), split, tmp_path / "whole", "whole", 0, None).state_dict()
    original = engine.Recorder.after_step

    def stop(self):
        original(self)
        if self.trainer.iter == 27:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(engine.Recorder, "after_step", stop)
        engine.train(shortened(), split, tmp_path / "cut", "cut", 0, None)
    resumed = engine.train(shortened(), split, tmp_path / "cut", "cut", 0, None).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    rows = [(tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("whole", "cut")]
    clock = rows[0][0].split(",").index("seconds")
    kept = [
        [[c for k, c in enumerate(line.split(",")) if k != clock] for line in lines]
        for lines in rows
    ]
    assert kept[0] == kept[1] and len(kept[0]) == 3


def test_a_loss_that_is_not_a_number_is_one_line(engine, run, tmp_path, capsys):
    profile = load_profile("smoke", [*SMALL, "finetune.learning_rate=1e7"])
    with pytest.raises(
        UserError, match="not finite at step .*learning rate .*no checkpoint was made yet.*try"
    ):
        engine.train(profile, load_split(run, "train"), tmp_path, "nan", 0, None)
    assert "Traceback" not in capsys.readouterr().err


def test_the_whole_course_with_this_engine(run):
    for stage in pipeline.STAGES:
        pipeline.run_stage_by_name(run, stage)
    columns = {}
    for arm in ("byol", "supervised", "random"):
        folder = run.path / f"finetune/{arm}-seed0"
        columns[arm] = (folder / "metrics.csv").read_text().splitlines()[0]
        assert json.loads((folder / "model.json").read_text())["engine"] == "detectron2"
        metrics = json.loads((run.path / f"evaluate/{arm}-seed0/metrics.json").read_text())
        assert metrics["engine"] == "detectron2"
    wanted = {
        "step",
        "total_loss",
        "loss_cls",
        "loss_box_reg",
        "loss_mask",
        "loss_rpn_cls",
        "loss_rpn_loc",
        "lr",
        "seconds",
        *(f"mask_rcnn/{name}" for name in ("accuracy", "false_positive", "false_negative")),
        *(f"fast_rcnn/{name}" for name in ("cls_accuracy", "fg_cls_accuracy", "false_negative")),
    }
    assert set(columns["byol"].split(",")) == wanted


def test_a_split_is_known_to_detectron2s_own_tools(engine, run):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    names = engine.register(run)
    assert (
        engine.register(run)
        == names
        == [f"{run.path.name}/{split}" for split in ("train", "val", "test")]
    )
    assert len(DatasetCatalog.get(names[0])) == 8
    split = load_split(run, "train")
    assert MetadataCatalog.get(names[0]).thing_classes == [
        category["name"] for category in split.categories
    ]


@pytest.mark.slow
def test_eight_images_are_learned_by_heart_and_found_by_detectron2s_own_predictor(
    engine, run, tmp_path
):
    from detectron2.config import get_cfg
    from detectron2.engine import DefaultPredictor

    learn = [
        "finetune.steps=240",
        "finetune.batch_size=4",
        "finetune.learning_rate=0.02",
        "finetune.decay_steps=[200]",
        "finetune.gradient_clip=5.0",
        "finetune.checkpoint_every=80",
    ]
    profile, split = load_profile("smoke", [*SMALL, *learn]), load_split(run, "train")
    network = engine.train(profile, split, tmp_path, "overfit", 0, None)
    save_model(network, tmp_path, profile, split.categories, "random", 0)
    results = predict_split(tmp_path / "model.pth", split, "predict")
    assert evaluate_detections(split.file, results).metrics["AP50"] > 0.9

    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "config.yaml"))
    cfg.MODEL.DEVICE, cfg.DATASETS.TEST = "cpu", ()
    theirs, network = DefaultPredictor(cfg), load_model(tmp_path / "model.pth")[0]
    image = load_image(split.path(split.images[0]))
    bgr = (255 * image).byte().permute(1, 2, 0).numpy()[:, :, ::-1]
    found, ours = theirs(np.ascontiguousarray(bgr))["instances"], engine.detect(network, image)
    assert np.allclose(found.scores.numpy(), ours["scores"], atol=1e-4)
    assert np.array_equal(found.pred_masks.numpy(), ours["masks"])


def test_prediction_is_in_the_size_of_the_picture(engine, run):
    network = engine.build(18, 4, load_profile("smoke").finetune, 0).to(CPU).eval()
    network.roi_heads.box_predictor.test_score_thresh = 0.0
    found = engine.detect(network, torch.rand(3, 40, 70))
    other = torchvision_engine.build(18, 4, load_profile("smoke").finetune, 0).eval()
    other.roi_heads.score_thresh = 0.0
    same = torchvision_engine.detect(other, torch.rand(3, 40, 70))
    for result in (found, same):
        assert result["masks"].shape[1:] == (40, 70) and result["masks"].dtype == bool
        assert (
            len(result["boxes"])
            == len(result["scores"])
            == len(result["labels"])
            == len(result["masks"])
            > 0
        )
        assert result["labels"].min() >= 0 and result["labels"].max() < 4
        assert (np.diff(result["scores"]) <= 0).all()


SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "coco-real"


@pytest.mark.skipif(
    not SHARED.is_dir(), reason="real COCO images (../shared/data/coco-real) are not here"
)
def test_crowds_greyscale_and_empty_images_of_coco_train_without_a_special_case(engine, tmp_path):
    run = pipeline.open_run("smoke", tmp_path / "coco", SHARED, [*SMALL, "finetune.arms=[random]"])
    for stage in ("prepare", "transfer", "finetune", "evaluate"):
        pipeline.run_stage_by_name(run, stage)
    assert (run.path / "evaluate/random-seed0/metrics.json").is_file()
