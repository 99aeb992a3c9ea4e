"""Released backbones: written from a run, taken instead of a training, and trained again."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torchvision.models import resnet18

from byol_helpers import backbones, pipeline, probing, released, releasing
from byol_helpers.ablations import open_own_training
from byol_helpers.cli import main
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.resnet import build_resnet
from byol_helpers.core.weights import drop_counters, load_exactly
from byol_helpers.pretraining.encoder import build_encoder
from byol_helpers.reproduction import describe_origin
from byol_helpers.segmentation import torchvision_engine
from tests.helpers.small_runs import NARROW

SHIPPED = released.FOLDER
ARMS = ["supervised", "byol", "byol-random"]
SETTINGS = [
    *NARROW,
    "supervised.steps=6",
    "pretrain.steps=6",
    "pretrain.probe_crops=20",
    "finetune.arms=[byol, byol-random, random]",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of released backbones, in the place of the package's."""
    place = tmp_path_factory.mktemp("weights")
    (place / released.CARDS).write_text("[]\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(released, "FOLDER", place)
        yield place


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """A run whose backbones are released."""
    run = pipeline.open_run("smoke", tmp_path_factory.mktemp("runs") / "made", None, SETTINGS)
    pipeline.run_up_to(run, "transfer")
    assert main(["release", "--run", str(run.path)]) == 0
    return run


@pytest.fixture(scope="module")
def taken(made, tmp_path_factory):
    """A run that takes them."""
    settings = [*SETTINGS, "pretrain.released=true"]
    run = pipeline.open_run("smoke", tmp_path_factory.mktemp("runs") / "taken", None, settings)
    pipeline.run_up_to(run, "transfer")
    return run


def find(arm):
    (card,) = (card for card in released.read_cards() if card.arm == arm)
    return card


def test_a_card_says_how_the_file_was_made(made):
    assert [card.arm for card in released.read_cards()] == ["byol", "byol-random", "supervised"]
    card = find("byol-random")
    assert card.name == "byol-random-resnet18-width8-seed0"
    assert card.recipe["pretrain"]["steps"] == 6 and card.recipe["data"]["crops"] == 16
    assert {row["encoder"] for row in card.probe} == {
        "BYOL from random",
        "untrained",
        "start, measured",
    }
    assert card.first_row["step"] == "5" and "seconds" not in card.first_row
    assert card.licence == "MIT" and card.tensors == len(load_file(card.file))
    half = load_file(card.file)["conv1.weight"]
    assert half.dtype == torch.float16
    trained = backbones.load_backbone(made.path / "weights/byol-random.pth")
    read = released.load_released(card)
    assert torch.equal(read["conv1.weight"], trained["conv1.weight"].half().float())
    assert "byol-random-resnet18-width8-seed0" in (card.file.parent / "README.md").read_text()


def test_the_stages_take_them_and_train_nothing(taken, made, capsys):
    for arm in ARMS:
        tensors = backbones.load_backbone(taken.path / f"weights/{arm}.pth")
        wanted = released.load_released(find(arm))
        assert all(torch.equal(tensors[name], wanted[name]) for name in wanted), arm
        source = read_json(taken.path / f"weights/{arm}.json")["source"]
        assert source["released"] is True and source["width"] == 8
        stage = "supervised" if arm == "supervised" else f"pretrain/{arm}"
        parameters = read_json(taken.path / stage / "stage.json")["parameters"]
        assert parameters["released"] == find(arm).sha256
        curves = [(run.path / stage / "metrics.csv").read_text() for run in (taken, made)]
        assert curves[0] == curves[1]
    assert len(probing.measure_knn(taken, "byol")) == 3
    pipeline.run_up_to(taken, "transfer")
    assert "runs afresh" not in capsys.readouterr().out


def test_beside_them_a_run_can_train_its_own(taken, made):
    own = open_own_training(taken)
    assert own.path == taken.path / "trained-here" and not own.profile.pretrain.released
    curve = pipeline.pretrain(own, "byol-random") / "metrics.csv"
    ours, theirs = (releasing.read_first_row(path) for path in (curve, made_curve(made)))
    assert ours == theirs
    assert describe_origin(taken.path, "byol-random") == "released"
    assert open_own_training(own) is own


def made_curve(made):
    return made.path / "pretrain/byol-random/metrics.csv"


def test_on_images_of_ones_own_it_is_always_trained(tmp_path):
    run = pipeline.open_run("quick", tmp_path / "run", tmp_path, ["pretrain.released=true"])
    assert not run.profile.pretrain.released and run.profile.pretrain.cache_side == 160
    assert pipeline.open_run("quick", tmp_path / "run").profile.pretrain.released


def test_tables_say_which_is_released(taken, made):
    said = {arm: describe_origin(taken.path, arm) for arm in (*ARMS, "random")}
    assert said == dict.fromkeys(ARMS, "released") | {"random": "drawn here"}
    assert describe_origin(made.path, "byol") == "trained here"


@pytest.mark.parametrize("arm", ARMS)
def test_the_first_steps_come_out_the_same_digit_by_digit(made, tmp_path, arm):
    card = find(arm)
    assert releasing.repeat_first_row(card, tmp_path) == card.first_row
    changed = card.model_copy(update={"recipe": change_recipe(card.recipe)})
    assert releasing.repeat_first_row(changed, tmp_path / "changed") != card.first_row


def change_recipe(recipe):
    """The same recipe with another seed of its trainings."""
    changed = yaml.safe_load(yaml.safe_dump(recipe))
    changed["pretrain"]["seed"] = 5
    return changed


def test_trained_again_they_are_equal(made, tmp_path, capsys):
    found = releasing.train_again(find("byol-random"), tmp_path)
    assert found == {"differing": 0, "distance": 0.0}
    assert not (tmp_path / "supervised").exists()


def test_the_command_lists_them(made, capsys):
    assert main(["weights"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and "byol-resnet18-width8-seed0.safetensors" in lines[2]


@pytest.mark.parametrize("other", ["width=16", "pretrain.seed=3", "data.world=colours", "depth=50"])
def test_another_backbone_is_not_taken_in_its_place(made, other):
    profile = load_profile("smoke", [*SETTINGS, "pretrain.released=true", other])
    with pytest.raises(UserError, match="no released backbone is BYOL, .*pretrain.released=false"):
        released.find_card(profile, "byol")


def test_a_file_that_is_missing_or_another_is_refused(made, folder, tmp_path):
    card = find("byol")
    whole = card.file.read_bytes()
    try:
        card.file.write_bytes(whole[:-1] + b"\1")
        with pytest.raises(UserError, match="another file than the released one .*install"):
            released.load_released(card)
        card.file.unlink()
        with pytest.raises(UserError, match="not there; install the package again, or set pre"):
            released.load_released(card)
    finally:
        card.file.write_bytes(whole)


def test_damaged_cards_are_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(released, "FOLDER", tmp_path)
    for text in ("- {name: a}", "[", "3"):
        (tmp_path / released.CARDS).write_text(text)
        with pytest.raises(UserError, match=r"cards\.yaml: missing or damaged"):
            released.read_cards()


def test_what_cannot_be_released_is_refused(taken, tmp_path):
    with pytest.raises(UserError, match="took released backbones itself"):
        releasing.release_run(taken)
    with pytest.raises(UserError, match="conv1 does not fit half precision"):
        releasing.halve_tensors({"conv1": torch.tensor([1e6])}, tmp_path / "a.pth")
    assert main(["release", "--run", str(tmp_path)]) == 2


def test_torchvision_reads_a_file_without_this_package(made):
    """In full width by name; a narrow one by torchvision's own layers."""
    tensors = released.load_released(find("byol"))
    network = resnet18(weights=None)
    network.conv1 = torch.nn.Conv2d(3, 8, 7, 2, 3, bias=False)
    network.bn1 = torch.nn.BatchNorm2d(8)
    network.inplanes = 8
    for stage in range(4):
        block = type(network.layer1[0])
        layer = network._make_layer(block, 8 * 2**stage, 2, stride=1 + (stage > 0))
        setattr(network, f"layer{stage + 1}", layer)
    network.fc = torch.nn.Identity()
    network.load_state_dict(tensors)
    encoder = build_encoder(18, 8)
    encoder.load_state_dict(tensors)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(network.eval()(images), encoder.eval()(images))


@pytest.fixture(scope="module")
def full_width(tmp_path_factory):
    """A file as ``release`` writes it, of the published width, and the network in it."""
    torch.manual_seed(0)
    halves = releasing.halve_tensors(build_encoder(18).state_dict(), Path("here"))
    file = tmp_path_factory.mktemp("full") / "byol-resnet18-width64-seed0.safetensors"
    save_file(halves, file)
    encoder = build_encoder(18)
    encoder.load_state_dict(halves)
    return file, encoder.eval(), torch.randn(2, 3, 64, 96)


def test_torchvision_reads_a_file_of_full_width(full_width):
    file, encoder, images = full_width
    network = resnet18(weights=None)
    missing = network.load_state_dict(load_file(file), strict=False)
    assert missing.missing_keys == ["fc.weight", "fc.bias"] and not missing.unexpected_keys
    network.fc = torch.nn.Identity()
    assert torch.equal(network.eval()(images), encoder(images))


def test_timm_reads_a_file_of_full_width(full_width):
    """Through its own reader of safetensors."""
    timm = pytest.importorskip("timm", reason="timm is not installed")
    file, encoder, images = full_width
    network = timm.create_model("resnet18", num_classes=0, checkpoint_path=str(file))
    assert torch.allclose(network.eval()(images), encoder(images), atol=1e-5)


def test_lightlys_byol_example_takes_a_file_of_full_width(full_width):
    """The backbone that its examples cut out of torchvision's ResNet, and its head on it."""
    heads = pytest.importorskip("lightly.models.modules", reason="lightly is not installed")
    file, encoder, images = full_width
    network = resnet18(weights=None)
    network.load_state_dict(load_file(file), strict=False)
    backbone = torch.nn.Sequential(*list(network.children())[:-1]).eval()
    features = backbone(images).flatten(start_dim=1)
    assert torch.equal(features, encoder(images))
    assert heads.BYOLProjectionHead(512, 32, 16)(features).shape == (2, 16)


@pytest.mark.detectron2
def test_detectron2s_checkpointer_reads_a_file_of_full_width(full_width, tmp_path):
    """Renamed and saved by torch, as its own configs take it under MODEL.WEIGHTS."""
    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    file, encoder, images = full_width
    renamed = backbones.rename_for_detectron2(load_file(file))
    torch.save({"model": renamed}, tmp_path / "byol.pth")
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    network = build_model(cfg)
    DetectionCheckpointer(network).load(str(tmp_path / "byol.pth"))
    body = network.backbone.bottom_up
    differences = backbones.measure_feature_differences(encoder, body, images)
    assert max(differences.values()) <= 1e-4


def test_lightly_takes_one_as_its_backbone(made):
    benchmarking = pytest.importorskip(
        "lightly.utils.benchmarking", reason="lightly is not installed"
    )
    network = build_resnet(18, 8)
    network.fc = torch.nn.Identity()
    load_exactly(network, released.load_released(find("byol")))
    model = benchmarking.LinearClassifier(
        model=network.eval(), batch_size_per_device=2, feature_dim=64, num_classes=10
    )
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(model.eval()(images), model.classification_head(network(images)))


def test_torchvisions_engine_takes_one(made):
    weights = released.load_released(find("byol"))
    settings = load_profile("smoke").finetune
    network = torchvision_engine.build(18, 3, settings, 0, weights, width=8)
    body = drop_counters(network.backbone.body.state_dict())
    assert all(torch.equal(body[name], weights[name]) for name in body)


@pytest.mark.detectron2
def test_detectron2_takes_one(made):
    from byol_helpers.segmentation import detectron2_engine

    weights = released.load_released(find("byol"))
    network = detectron2_engine.build(18, 3, load_profile("smoke").finetune, 0, weights, width=8)
    body = network.cpu().backbone.bottom_up
    encoder = build_encoder(18, 8)
    encoder.load_state_dict(weights)
    images = torch.randn(2, 3, 64, 96)
    differences = backbones.measure_feature_differences(encoder, body, images)
    assert max(differences.values()) <= 1e-4


def test_what_is_shipped_is_whole(monkeypatch):
    monkeypatch.setattr(released, "FOLDER", SHIPPED)
    cards = released.read_cards()
    for card in cards:
        tensors = released.load_released(card)
        assert len(tensors) == card.tensors and card.metrics.is_file()
        assert releasing.read_first_row(card.metrics) == card.first_row
    text = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert text == releasing.README + released.describe_cards() + "\n"
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 12e6


@pytest.mark.slow
def test_first_steps_of_what_is_shipped(monkeypatch, tmp_path):
    """Of one that begins at random: the same digits on the machine that made it, near elsewhere."""
    monkeypatch.setattr(released, "FOLDER", SHIPPED)
    cards = [card for card in released.read_cards() if card.arm == "byol-random"]
    if not cards:
        pytest.skip("no released backbone of BYOL from random")
    found = releasing.repeat_first_row(cards[0], tmp_path)
    wanted = {name: float(value) for name, value in cards[0].first_row.items()}
    numbers = {name: float(value) for name, value in found.items()}
    assert numbers == pytest.approx(wanted, rel=0.01, nan_ok=True)
