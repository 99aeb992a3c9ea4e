"""The profile photographs: from class folders to weights, probes and a fine-tuned model."""

import numpy as np
import pytest
import torch
from PIL import Image

from byol_helpers import backbones, initial_weights, pipeline, released, releasing
from byol_helpers.cli import main
from byol_helpers.coco.photographs import HELD_OUT_FOLDER, open_photographs, shrink_image
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json
from byol_helpers.core.profile_files import load_profile
from byol_helpers.pretraining.probe_results import cut_square
from byol_helpers.synthetic.scene_files import GeneratedFolder, write_split
from byol_helpers.training.sampler import rng

CLASSES = 12
SMALL = [
    "width=8",
    "data.unlabelled=40",
    "data.train=4",
    "data.val=2",
    "data.test=4",
    "data.crop_size=32",
    "supervised.steps=4",
    "supervised.batch_size=8",
    "pretrain.steps=4",
    "pretrain.warmup_steps=1",
    "pretrain.batch_size=8",
    "pretrain.hidden=16",
    "pretrain.output=8",
    "pretrain.view_size=32",
    "pretrain.probe_crops=24",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of photographs in class folders, one of them broken, and a labelled one."""
    root = tmp_path_factory.mktemp("folders")
    for label in range(CLASSES):
        for part, count in (("train", 5), ("test", 2)):
            folder = root / "animals" / part / f"class {label:02d}"
            folder.mkdir(parents=True)
            for k in range(count):
                draw = rng(label, k, count)
                size = (8, 8, 3) if k else (6, 9, 3)
                coarse = Image.fromarray(draw.integers(0, 256, size, dtype=np.uint8))
                coarse.resize((40, 36), Image.Resampling.BICUBIC).save(folder / f"{k}.jpg")
    annotations = root / "labelled/annotations/instances_all.json"
    write_split(GeneratedFolder(root / "labelled/all", 0, 12, 64), annotations, "train")
    return root


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory):
    settings = [*SMALL, f"data.photographs={folders / 'animals'}"]
    path = tmp_path_factory.mktemp("runs") / "run"
    run = pipeline.open_run("photographs", path, folders / "labelled", settings)
    pipeline.prepare(run)
    return run


def test_photographs_are_decoded_once_with_their_classes(run, folders):
    found = open_photographs(run.path / "data")
    assert len(found.files) == 40 and len(found.classes) == CLASSES
    assert found.files == sorted(found.files)
    for k in (0, 17, 39):
        label = found.files[k].split("/")[1]
        assert found.classes[found.labels[k]] == label and found.files[k].startswith("train/")
        (pixels,) = found.images.read([k])
        assert np.array_equal(pixels, np.array(Image.open(folders / "animals" / found.files[k])))
    asked = open_photographs(run.path / "data", HELD_OUT_FOLDER)
    assert len(asked.files) == 2 * CLASSES and asked.labels.min() >= 0
    splits = read_json(run.path / "splits.json")
    assert len(splits["pretrain"]) == 40 and read_json(run.path / "statistics.json")["splits"]
    few = load_profile("photographs", [*SMALL, "data.unlabelled=10"])
    assert few.data.unlabelled == 10


def test_weights_and_probes_come_from_photographs(run, capsys):
    for arm in ("photographs", "byol", "byol-random"):
        initial_weights.bring_weights(run, arm)
    source = read_json(run.path / "weights/photographs.json")["source"]
    assert source["kind"] == "supervised (photographs)"
    assert source["photographs"] == {"name": "animals", "images": 40, "classes": CLASSES}
    found = pipeline.measure_probes(run, "byol")
    assert found["crops"]["on"] == "photographs" and found["crops"]["categories"] == CLASSES
    assert 20 <= found["crops"]["bank"] <= 24 and found["crops"]["asked"] == 24
    kinds = {row["probe"] for row in found["rows"]}
    assert kinds == {"linear", "kNN", "linear, top 5"}
    names = {row["encoder"] for row in found["rows"]}
    assert names == {"untrained", "start, measured", "BYOL"}
    rows = {}
    for row in found["rows"]:
        rows[row["encoder"], row["stage"], row["per_class"], row["probe"]] = row["value"]
    for (encoder, stage, count, probe), value in rows.items():
        if probe == "linear":
            assert rows[encoder, stage, count, "linear, top 5"] >= value
    pipeline.prepare(run)
    assert "data: up to date" in capsys.readouterr().out


def test_released_they_say_their_photographs_and_terms(run, tmp_path, monkeypatch):
    monkeypatch.setattr(released, "FOLDER", tmp_path)
    (tmp_path / released.CARDS).write_text("[]\n")
    with pytest.raises(UserError, match="say under which terms"):
        releasing.release_run(run)
    settings = [*SMALL, f"data.photographs={run.profile.data.photographs}"]
    settings.append("finetune.arms=[byol, photographs, random]")
    again = pipeline.open_run("photographs", run.path, run.data, settings)
    assert len(releasing.release_run(again, "research only")) == 2
    byol, labels = released.read_cards()
    assert byol.name == "byol-animals-resnet18-width8-seed0" and byol.licence == "research only"
    assert labels.photographs == {"name": "animals", "images": 40, "classes": CLASSES}
    assert labels.world == "photographs animals" and str(tmp_path.parent) not in str(labels.recipe)
    with pytest.raises(UserError, match="which are not part of the package"):
        releasing.open_recipe(byol, tmp_path / "again")
    wanted = backbones.load_backbone(run.path / "weights/byol.pth")["conv1.weight"]
    assert torch.equal(released.load_released(byol)["conv1.weight"], wanted.half().float())


def test_without_labelled_images_photographs_serve_pretraining(folders, tmp_path, capsys):
    settings = [*SMALL, f"data.photographs={folders / 'animals'}", "data.unlabelled=10"]
    run = pipeline.open_run("photographs", tmp_path / "run", overrides=settings)
    pipeline.prepare(run)
    assert "photographs serve pretraining only" in capsys.readouterr().out
    assert read_json(run.path / "statistics.json")["pretrain"] == {"images": 10}
    with pytest.raises(UserError, match="no annotation file, so there is no train split"):
        pipeline.finetune(run, "random", 0)


def test_faulty_photographs_are_one_line(folders, tmp_path, capsys):
    assert main(["prepare", "--profile", "photographs", "--run", str(tmp_path / "a")]) == 2
    assert "set data.photographs=FOLDER" in capsys.readouterr().err
    (tmp_path / "broken/cat").mkdir(parents=True)
    (tmp_path / "broken/dog").mkdir()
    (tmp_path / "broken/cat/a.jpg").write_bytes(b"no picture")
    Image.new("RGB", (8, 8)).save(tmp_path / "broken/dog/a.jpg")
    settings = [f"data.photographs={tmp_path / 'broken'}"]
    run = pipeline.open_run("photographs", tmp_path / "b", overrides=settings)
    with pytest.raises(UserError, match=r"a\.jpg: .* \(1 of 2 photographs are like it\)"):
        pipeline.prepare(run)
    with pytest.raises(UserError, match=r"needs pretrain\.views=memory or batch"):
        load_profile("photographs", [*settings, "pretrain.views=torch"])
    with pytest.raises(UserError, match="names 'supervised', but supervised.source is 'classes'"):
        load_profile("photographs", ["finetune.arms=[supervised]"])


def test_only_larger_photographs_are_shrunk():
    assert shrink_image(np.zeros((100, 300, 3), np.uint8), 50).shape == (50, 150, 3)
    small = np.zeros((40, 30, 3), np.uint8)
    assert shrink_image(small, 50) is small
    assert load_profile("photographs").pretrain.cache_side == 96


def test_a_square_is_the_middle_of_a_photograph():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 20:60] = 255
    assert cut_square(image, 20).shape == (20, 20, 3) and cut_square(image, 20).min() == 255
    assert cut_square(image, 60).shape == (60, 60, 3)
