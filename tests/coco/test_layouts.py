"""A folder of one's own: found, checked, split; and what is wrong with it in one line."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from byol_helpers import pipeline
from byol_helpers.coco import layouts
from byol_helpers.coco.dataset import load_split, load_splits
from byol_helpers.coco.images import list_images
from byol_helpers.coco.preparation import check_data
from byol_helpers.core.errors import UserError


def square(image_id, k, crowd=0):
    x = 4 + k
    return {
        "id": image_id * 10 + k,
        "image_id": image_id,
        "category_id": 7,
        "iscrowd": crowd,
        "area": 64,
        "bbox": [x, 4, 8, 8],
        "segmentation": [[x, 4, x + 8, 4, x + 8, 12, x, 12]],
    }


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures of 32 x 24 with two squares each, in one annotation file."""
    data = tmp_path / "mine"
    (data / "images").mkdir(parents=True)
    images = []
    for k in range(1, 13):
        pixels = np.full((24, 32, 3), 20 * k, np.uint8)
        Image.fromarray(pixels).save(data / "images" / f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "width": 32, "height": 24})
    content = {
        "images": images,
        "annotations": [square(i["id"], k) for i in images for k in range(2)],
        "categories": [{"id": 7, "name": "square"}, {"id": 3, "name": "absent"}],
    }
    save(data, content)
    return data


def save(data, content):
    (data / "annotations").mkdir(exist_ok=True)
    (data / "annotations" / "instances_all.json").write_text(json.dumps(content))


def change(data, edit):
    content = json.loads((data / "annotations" / "instances_all.json").read_text())
    edit(content)
    save(data, content)


def prepared(folder, *overrides):
    run = pipeline.open_run("smoke", folder.parent / "run", folder, ["data.crops=16", *overrides])
    pipeline.prepare(run)
    return run


def test_one_file_is_split_without_overlap(folder):
    run = prepared(folder)
    ids = {
        name: {r["id"] for r in load_split(run, name).images} for name in ("train", "val", "test")
    }
    assert [len(ids[name]) for name in ("train", "val", "test")] == [9, 1, 2]
    assert set.union(*ids.values()) == set(range(1, 13))
    assert [c["id"] for c in load_split(run, "train").categories] == [3, 7]


def test_the_split_depends_on_ids_and_seed_alone(folder):
    first = load_split(prepared(folder), "test").images
    change(folder, lambda content: content["images"].reverse())
    assert load_split(prepared(folder), "test").images == first
    assert load_split(prepared(folder, "seed=1"), "test").images != first


def test_pretraining_images_leave_the_test_split_out(folder):
    splits = load_splits(prepared(folder))
    test = {r["file_name"] for r in load_split(prepared(folder), "test").images}
    assert not test & set(splits["pretrain"]) and splits["overlap"]["shared_with_test"] == 2
    together = load_splits(prepared(folder, "data.exclude_pretraining=false"))
    assert test <= set(together["pretrain"])


def test_train_and_val_files_are_kept_apart(folder):
    content = json.loads((folder / "annotations/instances_all.json").read_text())
    (folder / "annotations/instances_all.json").unlink()
    for name, keep in (("train", range(1, 9)), ("val", range(9, 13))):
        part = content | {
            "images": [i for i in content["images"] if i["id"] in keep],
            "annotations": [a for a in content["annotations"] if a["image_id"] in keep],
        }
        (folder / f"annotations/instances_{name}.json").write_text(json.dumps(part))
    run = prepared(folder)
    assert {r["id"] for r in load_split(run, "val").images} == {9, 10, 11, 12}
    assert {r["id"] for n in ("train", "test") for r in load_split(run, n).images} == set(
        range(1, 9)
    )


def test_labels_of_pretraining_images_are_never_read(folder):
    run = prepared(
        folder,
        "pretrain.batch_size=4",
        "pretrain.steps=3",
        "pretrain.view_size=32",
        "pretrain.init=random",
    )
    pipeline.pretrain(run)
    first = (run.path / "pretrain/byol/metrics.csv").read_text().splitlines()[-1].split(",")[:5]
    shutil.rmtree(run.path / "pretrain")
    for file in (*run.path.glob("data/annotations/*.json"), *folder.glob("annotations/*.json")):
        file.write_text("no labels here")
    pipeline.pretrain(run)
    assert (run.path / "pretrain/byol/metrics.csv").read_text().splitlines()[-1].split(",")[
        :5
    ] == first


def test_a_changed_picture_is_noticed(folder, capsys):
    prepared(folder)
    Image.new("RGB", (32, 24), (1, 2, 3)).save(folder / "images" / "3.png")
    prepared(folder)
    assert "runs afresh, because images was" in capsys.readouterr().out


WRONG = {
    "images is empty": (lambda c: c["images"].clear(), "lists no images"),
    "no annotations": (lambda c: c["annotations"].clear(), "holds no annotations"),
    "missing image": (lambda c: c["images"].pop(), "belongs to image 12, which is missing"),
    "unknown category": (
        lambda c: c["annotations"][0].update(category_id=99),
        "unknown category 99",
    ),
    "no mask": (lambda c: c["annotations"][0].update(segmentation=[]), "annotation 10 has no mask"),
    "same id twice": (lambda c: c["images"][0].update(id=2), "two images share an id"),
    "wrong size": (
        lambda c: c["images"][3].update(width=48),
        "is 32 x 24, its annotations say 48 x 24",
    ),
    "no such file": (lambda c: c["images"][3].update(file_name="lost.png"), "lost.png"),
    "not COCO": (lambda c: c.pop("categories"), "not a COCO instances file"),
}


@pytest.mark.parametrize(("edit", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line_with_the_file(folder, edit, said):
    change(folder, edit)
    with pytest.raises(UserError) as caught:
        prepared(folder)
    assert (
        said in str(caught.value) and "mine" in str(caught.value) and "\n" not in str(caught.value)
    )


def test_broken_json_and_a_picture_that_does_not_decode(folder):
    (folder / "images/5.png").write_bytes(b"\x89PNG not really")
    with pytest.raises(UserError, match=r"5\.png"):
        prepared(folder)
    (folder / "annotations/instances_all.json").write_text('{"images": [')
    with pytest.raises(UserError, match=r"instances_all\.json: not valid JSON"):
        prepared(folder)


def test_no_folder_and_no_annotation_file(tmp_path):
    with pytest.raises(UserError, match="no such data folder"):
        pipeline.open_run("smoke", tmp_path / "run", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no annotation file"):
        layouts.find_labelled(tmp_path / "empty")


@pytest.mark.parametrize("folder", ["photographs", "nuclei"])
def test_real_folders_prepare_without_a_special_case(tmp_path, folder, request):
    data = request.getfixturevalue(folder)
    run = pipeline.open_run("smoke", tmp_path / "run", data, ["data.crops=16"])
    pipeline.prepare(run)
    sizes = [len(load_split(run, split).images) for split in ("train", "val", "test")]
    if len(list_images(data)) >= 120:  # the real ones: the profile's counts
        assert sizes == [24, 8, 12]
    else:
        assert min(sizes) >= 1


def test_a_folder_without_labels_serves_pretraining_alone(folder, capsys):
    shutil.rmtree(folder / "annotations")
    run = prepared(
        folder,
        "pretrain.batch_size=4",
        "pretrain.steps=2",
        "pretrain.view_size=32",
        "pretrain.init=random",
        "pretrain.warmup_steps=1",
    )
    assert "pretraining only" in capsys.readouterr().out and len(load_splits(run)["pretrain"]) == 12
    pipeline.pretrain(run)
    assert (run.path / "pretrain/byol/stage.json").is_file()
    with pytest.raises(UserError, match="there is no train split"):
        load_split(run, "train")


def test_pictures_without_labels_are_checked_too(folder, capsys):
    shutil.rmtree(folder / "annotations")
    assert check_data(folder) == [] and "pretraining only" in capsys.readouterr().out
    (folder / "images/5.png").write_bytes(b"\x89PNG not really")
    (line,) = check_data(folder)
    assert "5.png" in line
    for k in range(100):  # of a hundred one may be broken, as in pretraining
        shutil.copy(folder / "images/4.png", folder / f"images/more{k}.png")
    assert check_data(folder) == []
    assert "5.png: not an image" in capsys.readouterr().out
