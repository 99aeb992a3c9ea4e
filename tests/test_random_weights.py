"""The same draw of the same initialisation for every arm that begins at random, and its seed."""

import pytest
import torch

from byol_helpers import initial_weights, pipeline
from byol_helpers.backbones import load_backbone
from byol_helpers.core.deadline import StopRequested
from byol_helpers.core.files import read_json
from byol_helpers.core.profile_files import load_profile
from byol_helpers.pretraining import classifier, methods
from byol_helpers.pretraining.encoder import draw_encoder
from byol_helpers.segmentation import torchvision_engine
from tests.helpers.small_runs import NARROW

ARMS = "[byol-random, simclr-random, random, random-measured]"
SETTINGS = [*NARROW, "pretrain.seed=7", f"finetune.arms={ARMS}", "finetune.seeds=[0, 1]"]
SETTINGS += ["pretrain.shared_init=false"]
SHARED = ["pretrain.shared_init=true", "pretrain.zero_init_residual=false"]


def open_small(folder, *overrides):
    run = pipeline.open_run("smoke", folder, None, [*SETTINGS, *overrides])
    pipeline.prepare(run)
    return run


def are_equal(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("zero", [False, True])
def test_every_arm_begins_with_the_same_tensors(tmp_path, monkeypatch, zero):
    """Seen where each training begins: pretraining, the stand-in, Mask R-CNN of every seed."""
    begun = {}
    engine = torchvision_engine

    def keep(task, plan):
        encoder = task.network.get_submodule("encoder")
        begun[plan.title] = {k: v.clone() for k, v in encoder.state_dict().items()}

    def keep_detector(profile, split, folder, title, seed, weights):
        network = engine.build(18, 10, profile.finetune, seed, weights, width=profile.width)
        begun[title] = {k: v.clone() for k, v in network.backbone.body.state_dict().items()}
        return network

    zeroed = f"pretrain.zero_init_residual={str(zero).lower()}"
    run = open_small(tmp_path, *SHARED, zeroed)
    with monkeypatch.context() as patched:
        patched.setattr(methods, "fit", keep)
        patched.setattr(classifier, "fit", keep)
        patched.setattr(engine, "train", keep_detector)
        pipeline.supervised(run)
        for arm in ("byol-random", "simclr-random"):
            pipeline.pretrain(run, arm)
        measured = load_backbone(pipeline.transfer(run, "random-measured"))
        for seed in (0, 1):
            pipeline.finetune(run, "random", seed)
    tensors = load_backbone(run.path / "weights/random.pth")
    assert len(begun) == 5
    for title, found in begun.items():
        assert are_equal(found, tensors), title
    for name, value in measured.items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(value, tensors[name]), name
    assert bool(tensors["layer1.0.bn2.weight"].any()) is not zero
    assert read_json(run.path / "weights/random.json")["source"]["seed"] == 7


def test_without_the_setting_nothing_changes(tmp_path):
    """Mask R-CNN draws by the seed of the fine-tuning; the stages' parameters are as they were."""
    run = open_small(tmp_path, "pretrain.seed=null")
    assert pipeline.transfer(run, "random") is None
    assert initial_weights.find_weights(run, "random") is None
    pipeline.supervised(run)
    pipeline.pretrain(run, "byol-random")
    for name in ("supervised", "pretrain/byol-random"):
        parameters = read_json(run.path / name / "stage.json")["parameters"]
        assert not {"shared_init", "seed", "released"} & parameters.keys()
    assert parameters["init"] == "random" and parameters["zero_init_residual"] is True


def test_the_seed_of_pretraining_changes_trainings_and_not_the_data(tmp_path):
    runs = {}
    for seed in (7, 8):
        runs[seed] = open_small(tmp_path / str(seed), f"pretrain.seed={seed}")
        pipeline.supervise_all(runs[seed])
        pipeline.pretrain(runs[seed], "byol")
        for stage in ("supervised", "pretrain/byol"):
            parameters = read_json(runs[seed].path / stage / "stage.json")["parameters"]
            assert parameters["seed"] == seed and parameters["run_seed"] == 0
    data = [sorted(path.name for path in run.path.rglob("*.png")) for run in runs.values()]
    assert data[0] == data[1]
    for file in ("data/crops.csv", "splits.json", data[0][0]):
        (first, second) = (next(run.path.rglob(file.split("/")[-1])) for run in runs.values())
        assert first.read_bytes() == second.read_bytes()
    ends = [load_backbone(run.path / "weights/supervised.pth") for run in runs.values()]
    assert not torch.equal(ends[0]["conv1.weight"], ends[1]["conv1.weight"])


def test_the_same_seed_gives_the_same_draw():
    narrow = load_profile("smoke", ["width=8"])
    same = load_profile("smoke", ["width=8", "pretrain.seed=0"])
    other = load_profile("smoke", ["width=8", "pretrain.seed=1"])
    drawn = [draw_encoder(profile).state_dict() for profile in (narrow, same, other)]
    assert are_equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0]["conv1.weight"], drawn[2]["conv1.weight"])


def test_frozen_norm_opens_the_branches_of_random_weights(tmp_path, monkeypatch):
    """Convolutions are the same draw; the last gamma of a block, 0 in the file, is 1."""
    run = open_small(tmp_path, "pretrain.shared_init=true", "finetune.norm_policy=frozen")
    given = {}

    def keep(profile, split, folder, title, seed, weights):
        given[title.split()[1]] = weights
        raise StopRequested(title)

    monkeypatch.setattr(torchvision_engine, "train", keep)
    for arm in ("random", "random-measured"):
        pipeline.transfer(run, arm)
        with pytest.raises(StopRequested):
            pipeline.finetune(run, arm, 0)
    written = load_backbone(run.path / "weights/random.pth")
    for tensors in given.values():
        changed = []
        for name, value in written.items():
            if "running" not in name and "tracked" not in name:
                if not torch.equal(tensors[name], value):
                    changed.append(name)
        assert changed == [f"layer{k // 2 + 1}.{k % 2}.bn2.weight" for k in range(8)]
        assert all(bool((tensors[name] == 1).all()) for name in changed)
        assert all(bool((written[name] == 0).all()) for name in changed)
    measured = given["random-measured"]["layer4.1.bn2.running_var"]
    assert not torch.equal(measured, written["layer4.1.bn2.running_var"])
