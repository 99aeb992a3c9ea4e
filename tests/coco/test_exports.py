"""What labelling tools export: read as it is, or refused in one line that names the cause."""

import gzip
import json
import re
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from byol_helpers import pipeline
from byol_helpers.cli import main
from byol_helpers.coco.dataset import load_split, load_splits
from byol_helpers.coco.file_tree import FileTree, match_name, read_split, split_into_words
from byol_helpers.coco.formats.mask_images import decide_kind
from byol_helpers.coco.preparation import check_data
from byol_helpers.coco.sources import find_sources
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json
from tests.helpers.exports import (
    COUNTS,
    WRITERS,
    draw_parts,
    last,
    rename,
    write_coco,
    write_json,
    write_masks,
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Generated scenes and their labels by split."""
    folder = tmp_path_factory.mktemp("scenes")
    return folder, draw_parts(folder)


def prepare(data, *overrides):
    run = pipeline.open_run("smoke", data.parent / "run", data, ["data.crops=16", *overrides])
    pipeline.prepare(run)
    return run


def read_counts(run):
    """Statistics of the splits, and the pictures of each."""
    counted = read_json(run.path / "statistics.json")["splits"]
    pictures = {}
    for name in counted:
        split = load_split(run, name)
        pictures[name] = {split.path(record).read_bytes() for record in split.images}
    return counted, pictures


@pytest.mark.parametrize("tool", WRITERS)
def test_what_tools_write_gives_the_same_splits_and_statistics(scenes, tmp_path, tool, capsys):
    source, parts = scenes
    write_coco(source, parts, tmp_path / "coco" / "data")
    WRITERS[tool](source, parts, tmp_path / "tool" / "data")
    counted, pictures = read_counts(prepare(tmp_path / "coco" / "data"))
    assert {name: split["images"] for name, split in counted.items()} == COUNTS
    again, pictures_again = read_counts(prepare(tmp_path / "tool" / "data"))
    assert again == counted and pictures_again == pictures
    assert check_data(tmp_path / "tool" / "data") == []


def test_numbered_masks_give_their_objects(scenes, tmp_path, capsys):
    source, parts = scenes
    seen = write_masks(source, parts, tmp_path / "masks" / "data")
    write_coco(source, seen, tmp_path / "coco" / "data")
    assert (
        read_counts(prepare(tmp_path / "masks" / "data"))[0]
        == read_counts(prepare(tmp_path / "coco" / "data"))[0]
    )
    assert "15 masks, numbered, each value is an object" in capsys.readouterr().out
    splits = load_splits(prepare(tmp_path / "masks" / "data"))
    assert splits["pretrain"] and not any("masks" in name for name in splits["pretrain"])


def write_single(scenes, data, names="images/{}", **changes):
    """All scenes in one file ``annotations/instances.json``, pictures in ``images/``."""
    source, parts = scenes
    images = []
    annotations = []
    for split, part in parts.items():
        for record in part["images"]:
            name = f"{split}{last(record)}"
            (data / "images").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / record["file_name"], data / "images" / name)
            images.append(record | {"file_name": name})
        annotations += part["annotations"]
    content = {"images": images, "annotations": annotations}
    content |= {"categories": parts["train"]["categories"]} | changes
    write_json(data / "annotations" / "instances.json", content)
    return content


NAMES = {
    "as they are": lambda name: name,
    "backslashes": lambda name: f"images\\{name}",
    "an inner path": lambda name: f"../../label-studio/media/upload/4/{name}",
    "another machine": lambda name: f"/home/somebody/pictures/{name}",
    "another drive": lambda name: f"C:\\Users\\somebody\\{name}",
    "a leading slash": lambda name: f"/{name}",
    "an address": lambda name: f"https://example.org/a/{name}?size=full",
    "percent codes": lambda name: name.replace("0", "%30"),
    "upper case": lambda name: name.upper(),
    "no extension": lambda name: name.removesuffix(".png"),
}


@pytest.mark.parametrize("write", NAMES.values(), ids=NAMES)
def test_file_names_are_matched_and_counted(scenes, tmp_path, write, capsys):
    data = tmp_path / "data"
    content = write_single(scenes, data)
    plain = load_splits(prepare(data))
    capsys.readouterr()
    changed = rename(content, lambda record: write(record["file_name"]))
    write_json(data / "annotations" / "instances.json", changed)
    assert check_data(data) == []
    said = capsys.readouterr().out
    assert ("15 of 15 file names are written differently" in said) == (changed != content)
    again = load_splits(prepare(data))
    assert again == plain
    shutil.rmtree(tmp_path / "run")


def test_accents_are_matched_in_either_form(scenes, tmp_path):
    data = tmp_path / "data"
    content = write_single(scenes, data)
    for record in content["images"]:
        name = f"é{record['file_name']}"
        (data / "images" / record["file_name"]).rename(
            data / "images" / unicodedata.normalize("NFD", name)
        )
        record["file_name"] = unicodedata.normalize("NFC", name)
    write_json(data / "annotations" / "instances.json", content)
    assert check_data(data) == [] and prepare(data)


def test_absolute_names_of_this_folder_are_found(scenes, tmp_path):
    data = tmp_path / "data"
    content = write_single(scenes, data)
    content = rename(content, lambda record: str(data / "images" / record["file_name"]))
    write_json(data / "annotations" / "instances.json", content)
    assert check_data(data) == []
    assert all(name.startswith("images/") for name in load_splits(prepare(data))["pretrain"])


def test_a_name_that_two_pictures_have_is_not_guessed(tmp_path):
    for name in ("a/1.png", "b/1.png", "c/2.JPG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name, "PNG")
    tree = FileTree(tmp_path)
    assert match_name(tree, "1.png") == ["a/1.png", "b/1.png"]
    assert match_name(tree, "x\\b\\1.png") == ["b/1.png"]
    assert match_name(tree, "1.png", home="a") == ["a/1.png"]
    assert match_name(tree, "2.png") == [] and match_name(tree, "2.jpg") == ["c/2.JPG"]


def test_a_missing_picture_names_the_one_that_may_be_meant(scenes, tmp_path, capsys):
    data = tmp_path / "data"
    content = write_single(scenes, data)
    content["images"][0]["file_name"] = "train00000.jpg"
    write_json(data / "annotations" / "instances.json", content)
    assert any("train00000.jpg: no such file" in line for line in check_data(data))
    assert "train00000.jpg may be images/train00000.png" in capsys.readouterr().out


@pytest.mark.parametrize("tool", ["Roboflow", "CVAT"])
def test_a_missing_picture_is_not_taken_from_another_split(scenes, tmp_path, tool, capsys):
    source, parts = scenes
    WRITERS[tool](source, parts, tmp_path / "data")
    lost = next((tmp_path / "data").rglob("test/00003.png"), None)
    lost = lost or next((tmp_path / "data").rglob("Test/00003.png"))
    lost.unlink()
    assert any("00003.png: no such file" in line for line in check_data(tmp_path / "data"))


WORDS = {
    "annotations/instances_train2017.json": "train",
    "annotations/instances_Validation.json": "val",
    "annotations/INSTANCES_TEST.JSON": "test",
    "valid/_annotations.coco.json": "val",
    "test/labels.json": "test",
    "train/val.json": "val",
    "annotations/trainval.json": None,
    "trains_and_intervals.json": None,
    "train_val.json": None,
    "contest/latest.json": None,
}


@pytest.mark.parametrize(("name", "split"), WORDS.items())
def test_splits_are_named_by_whole_words(name, split):
    assert read_split(name) == split


def test_words_of_a_name():
    assert split_into_words("instances_Train2017-JPEGImages") == [
        *("instances", "train", "2017", "jpeg", "images"),
    ]


def test_a_users_test_file_is_the_test_split(scenes, tmp_path):
    source, parts = scenes
    write_coco(source, {name: parts[name] for name in ("train", "test")}, tmp_path / "data")
    run = prepare(tmp_path / "data")
    assert {last(r) for r in load_split(run, "test").images} == {
        last(r) for r in parts["test"]["images"]
    }
    assert len(load_split(run, "val").images) == 1  # a tenth of train
    assert not any(name.startswith("test/") for name in load_splits(run)["pretrain"])


def test_test_images_that_the_profile_does_not_use_stay_out_of_pretraining(scenes, tmp_path):
    source, parts = scenes
    write_coco(source, parts, tmp_path / "data")
    run = prepare(tmp_path / "data", "data.test=2", "data.pretrain_folder=.")
    assert not any(name.startswith("test/") for name in load_splits(run)["pretrain"])


def test_trainval_is_one_set_and_val_without_train_is_refused(scenes, tmp_path):
    source, parts = scenes
    write_coco(source, {"train": parts["train"]}, tmp_path / "data")
    file = tmp_path / "data/annotations/instances_train.json"
    file.rename(file.with_name("instances_trainval.json"))
    assert list(find_sources(FileTree(tmp_path / "data")).files) == ["all"]
    write_coco(source, {name: parts[name] for name in ("val", "test")}, tmp_path / "two")
    with pytest.raises(UserError, match="none for train"):
        prepare(tmp_path / "two")


def test_equal_names_in_several_folders_are_parts_of_one_set(scenes, tmp_path, capsys):
    source, parts = scenes
    for number, split in enumerate(("train", "test")):
        part = rename(parts[split], last)
        if number:  # another order of the categories: they are brought together by name
            part["categories"] = [c | {"id": 100 - c["id"]} for c in part["categories"]]
            part["annotations"] = [
                a | {"category_id": 100 - a["category_id"]} for a in part["annotations"]
            ]
        write_json(tmp_path / f"data/ds{number}/annotations/instances.json", part)
        for record in part["images"]:
            target = tmp_path / f"data/ds{number}/img" / record["file_name"]
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source / split / record["file_name"], target)
    run = prepare(tmp_path / "data")
    assert "2 files are read as parts of one set" in capsys.readouterr().out
    counted = read_json(run.path / "statistics.json")["splits"]
    assert sum(split["images"] for split in counted.values()) == 12
    wanted = sum(len(parts[split]["annotations"]) for split in ("train", "test"))
    assert sum(split["instances"] for split in counted.values()) == wanted
    assert set(counted["train"]["categories"]) == {c["name"] for c in parts["train"]["categories"]}


def test_categories_that_change_their_meaning_are_refused(scenes, tmp_path):
    source, parts = scenes
    turned = parts["val"] | {"categories": parts["val"]["categories"][::-1]}
    names = [category["name"] for category in turned["categories"]]
    turned["categories"] = [{"id": k, "name": name} for k, name in enumerate(names, start=1)]
    write_coco(source, {"train": parts["train"], "val": turned}, tmp_path / "data")
    with pytest.raises(UserError, match="export both from one project"):
        prepare(tmp_path / "data")


@pytest.mark.parametrize("name", ["instances.json.gz", "INSTANCES.JSON"])
def test_packed_and_capital_files_are_read(scenes, tmp_path, name):
    data = tmp_path / "data"
    write_single(scenes, data)
    file = data / "annotations/instances.json"
    text = file.read_bytes()
    file.unlink()
    file.with_name(name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert check_data(data) == []
    assert len(load_split(prepare(data), "train").images) == 10


@pytest.mark.parametrize("folder", ["data", "JPEGImages", "img", "photos", "a/b"])
def test_pictures_lie_where_tools_put_them(scenes, tmp_path, folder):
    data = tmp_path / "data"
    write_single(scenes, data)
    (data / folder).parent.mkdir(exist_ok=True)
    (data / "images").rename(data / folder)
    assert check_data(data) == [] and prepare(data)


def test_the_folder_above_is_as_good(scenes, tmp_path):
    write_single(scenes, tmp_path / "data" / "my-project")
    assert check_data(tmp_path / "data") == [] and prepare(tmp_path / "data")


def test_a_folder_below_the_right_one_is_named(scenes, tmp_path, capsys):
    source, parts = scenes
    WRITERS["Roboflow"](source, parts, tmp_path / "export")
    assert check_data(tmp_path / "export" / "train") == []
    said = f"give {tmp_path / 'export'} to use them"
    assert f"labels for val and test lie beside it; {said}" in capsys.readouterr().out
    write_single(scenes, tmp_path / "mine")
    assert check_data(tmp_path / "mine" / "images") == []
    said = capsys.readouterr().out
    assert "mine/annotations lie beside it; give" in said and "pretraining only" in said
    with pytest.raises(UserError, match=f"give {tmp_path / 'mine'} instead"):
        prepare(tmp_path / "mine" / "annotations")


def squares(count, size=(64, 48)):
    """Pictures with ``count`` bright squares each on noise, and the squares' masks."""
    draw = np.random.default_rng(count)
    pixels = draw.integers(0, 90, (size[1], size[0], 3), np.uint8)
    masks = []
    for k in range(count):
        mask = np.zeros((size[1], size[0]), bool)
        mask[6 + k : 14, 4 + 12 * k : 12 + 12 * k] = True
        pixels[mask] = 200
        masks.append(mask)
    return pixels, masks


def save(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def test_binary_masks_are_cut_into_their_parts(tmp_path, capsys):
    for number in range(10):
        pixels, masks = squares(1 + number % 3)
        save(tmp_path / f"data/images/{number}.jpg", np.roll(pixels, number, 0))
        save(tmp_path / f"data/masks/{number}_mask.png", np.any(masks, 0).astype(np.uint8) * 255)
    run = prepare(tmp_path / "data")
    said = capsys.readouterr().out
    assert "10 masks, binary, each connected part is an object: 19 objects" in said
    assert not any("mask" in name for name in load_splits(run)["pretrain"])


def test_masks_of_classes_beside_their_pictures(tmp_path, capsys):
    for number in range(10):
        pixels, masks = squares(3)
        save(tmp_path / f"data/cells/{number}.bmp", np.roll(pixels, number, 0))
        values = np.zeros(masks[0].shape, np.uint8)
        values[masks[0]] = 128
        values[masks[1] | masks[2]] = 255
        save(tmp_path / f"data/cells/{number}.png", values)
    save(tmp_path / "data/overview.jpg", squares(2)[0])
    run = prepare(tmp_path / "data")
    said = capsys.readouterr().out
    assert "10 masks, of classes, each connected part of a value is an object: 30 objects" in said
    assert "1 pictures without labels left out" in said
    names = [category["name"] for category in load_split(run, "train").categories]
    assert names == ["class 128", "class 255"]
    assert all(name.endswith(".bmp") for name in load_splits(run)["pretrain"])


def test_one_mask_file_for_each_object(tmp_path, capsys):
    for number in range(8):
        pixels, masks = squares(2)
        save(tmp_path / f"data/{number}ab/images/{number}ab.png", np.roll(pixels, number, 0))
        for k, mask in enumerate(masks):
            save(tmp_path / f"data/{number}ab/masks/{k}f{number}.png", mask.astype(np.uint8) * 255)
    prepare(tmp_path / "data")
    assert "16 masks, each of one object: 16 objects" in capsys.readouterr().out


def test_the_kind_of_masks_is_decided_by_their_values(tmp_path):
    kinds = {"binary": [[0, 255], [0]], "numbered": [[0, 1, 2], [0, 1]]}
    kinds["classes"] = [[0, 3, 7], [0, 7], [1, 3]]
    for kind, masks in kinds.items():
        for number, values in enumerate(masks):
            save(tmp_path / f"{kind}/{number}.png", np.array([values], np.uint8))
        tree = FileTree(tmp_path / kind)
        assert decide_kind(tree, tree.images) == kind


def test_a_mask_of_another_size_is_named(tmp_path):
    save(tmp_path / "data/images/1.png", squares(1)[0])
    save(tmp_path / "data/masks/1.png", np.ones((24, 32), np.uint8))
    with pytest.raises(UserError, match="a mask of 32 x 24 for a picture of 64 x 48"):
        prepare(tmp_path / "data")


def test_lists_of_names_are_splits_of_masks(tmp_path):
    for number in range(9):
        pixels, masks = squares(2)
        save(tmp_path / f"data/images/p{number}.png", np.roll(pixels, number, 0))
        save(tmp_path / f"data/segmaps/p{number}.png", np.any(masks, 0).astype(np.uint8))
    (tmp_path / "data/train.csv").write_text("".join(f"p{k}\n" for k in range(6)))
    (tmp_path / "data/test.csv").write_text("".join(f"p{k}\n" for k in range(6, 9)))
    run = prepare(tmp_path / "data")
    assert {last(r) for r in load_split(run, "test").images} == {"p6.png", "p7.png", "p8.png"}


def test_yolo_boxes_and_pixels_are_refused(scenes, tmp_path):
    source, parts = scenes
    WRITERS["YOLO"](source, parts, tmp_path / "data")
    files = sorted((tmp_path / "data/labels").rglob("*.txt"))
    texts = [file.read_text() for file in files]
    for file in files:
        file.write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(UserError, match="a box and no outline"):
        prepare(tmp_path / "data")
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    files[0].write_text("0 10 10 40 10 40 50\n")
    with pytest.raises(UserError, match=r"txt, line 1: coordinates beyond 0 to 1"):
        prepare(tmp_path / "data")
    files[0].write_text("77 0.1 0.1 0.4 0.1 0.4 0.5\n")
    with pytest.raises(UserError, match="class 77 has no name"):
        prepare(tmp_path / "data")


def test_shapes_that_outline_nothing_are_counted(scenes, tmp_path, capsys):
    source, parts = scenes
    WRITERS["labelme"](source, parts, tmp_path / "data")
    file = next((tmp_path / "data/train").glob("*.json"))
    content = json.loads(file.read_text())
    content["shapes"] += [
        {"label": "leaf", "points": [[1, 1], [9, 9]], "shape_type": "line"},
        {"label": "leaf", "points": [[20, 20], [30, 28]], "shape_type": "rectangle"},
        {"label": "leaf", "points": [[50, 50], [50, 58]], "shape_type": "circle"},
        {"label": "leaf", "points": [[-9, -9], [-5, -9], [-5, -5]], "shape_type": "polygon"},
    ]
    file.write_text(json.dumps(content))
    run = prepare(tmp_path / "data")
    said = capsys.readouterr().out
    assert "1 shapes of the kind line left out" in said
    assert "1 objects without a pixel in their picture left out" in said
    split = load_split(run, "train")
    record = next(r for r in split.images if last(r) == content["imagePath"])
    areas = [a["area"] for a in split.annotations[record["id"]]]
    assert 80 in areas and any(abs(area - np.pi * 64) < 10 for area in areas)


ODD = {
    "labelme": [{"shapes": [7]}, {"shapes": [{"points": "a"}]}, {"imagePath": 3}],
    "VIA": [{"1": {"filename": 3, "regions": 7}}, {"1": {"regions": [{}], "filename": "0.png"}}],
}


@pytest.mark.parametrize("tool", ODD)
def test_a_file_that_is_not_as_its_tool_writes_it_is_named(scenes, tmp_path, tool):
    source, parts = scenes
    WRITERS[tool](source, parts, tmp_path / "data")
    file = next((tmp_path / "data/train").glob("*.json"))
    whole = json.loads(file.read_text())
    for change in ODD[tool]:
        file.write_text(json.dumps(whole | change))
        with pytest.raises(UserError, match=re.escape(file.name)):
            prepare(tmp_path / "data")


def test_a_folder_without_any_images_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    (line,) = check_data(tmp_path / "data")
    assert "no images and no annotation file" in line
    with pytest.raises(UserError, match="no images and no annotation file"):
        prepare(tmp_path / "data")


UNKNOWN = {
    "voc/1.xml": "<annotation/>",
    "shapes.ndjson": '{"a": 1}',
    "cells_seg.npy": "",
    "masks.csv": "ImageId,EncodedPixels\n1,2 3\n",
    "info.json": '{"made by": "somebody"}',
}


@pytest.mark.parametrize(("name", "text"), UNKNOWN.items())
def test_labels_of_an_unknown_form_are_named_and_may_be_left_aside(tmp_path, name, text, capsys):
    data = tmp_path / "data"
    for number in range(6):
        save(data / f"{number}.png", squares(2)[0])
    (data / name).parent.mkdir(exist_ok=True)
    (data / name).write_text(text)
    assert main(["prepare", "--data", str(data), "--check"]) == 2
    said = capsys.readouterr().err
    assert name in said and "data.labels=none" in said and said.count("\n") == 1
    run = prepare(data, "data.labels=none")
    assert len(load_splits(run)["pretrain"]) == 6
    assert main(["prepare", "--data", str(data), "--check", "--set", "data.labels=none"]) == 0


def test_unused_images_and_dark_grey_ones_are_counted(scenes, tmp_path, capsys):
    data = tmp_path / "data"
    content = write_single(scenes, data)
    for record in content["images"][:15]:
        file = data / "images" / record["file_name"]
        grey = np.asarray(Image.open(file).convert("L")).astype(np.uint16) * 16
        Image.fromarray(grey).save(file)
    run = prepare(data, "data.train=6")
    said = capsys.readouterr().out
    assert "15 labelled images given, 11 used by the profile smoke: train 6, val 2, test 3" in said
    used = sum(len(load_split(run, name).images) for name in COUNTS)
    assert f"{used} grey images use 12 bits of 16 and are stretched" in said
    assert check_data(data) == []
    assert "15 grey images use 12 bits of 16" in capsys.readouterr().out


def test_masks_are_no_pictures_even_without_labels(tmp_path):
    for number in range(6):
        save(tmp_path / f"data/images/{number}.png", squares(1)[0])
        save(tmp_path / f"data/masks/{number}.png", squares(1)[1][0].astype(np.uint8))
    names = load_splits(prepare(tmp_path / "data", "data.labels=none"))["pretrain"]
    assert names == [f"images/{number}.png" for number in range(6)]


def test_stored_sizes_are_explained_by_exif(scenes, tmp_path, capsys):
    data = tmp_path / "data"
    exif = Image.Exif()
    exif[0x0112] = 6
    images = []
    annotations = []
    for number in range(1, 7):
        pixels, masks = squares(1)
        (data / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(data / f"images/{number}.jpg", exif=exif)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 64, "height": 48})
        annotation = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 64}
        annotation |= {"bbox": [4, 6, 8, 8], "segmentation": [[4, 6, 12, 6, 12, 14, 4, 14]]}
        annotations.append(annotation)
    content = {"images": images, "annotations": annotations}
    write_json(data / "instances.json", content | {"categories": [{"id": 1, "name": "a"}]})
    (line,) = check_data(data)
    assert re.search(r"1\.jpg: is 48 x 64, its annotations say 64 x 48; its EXIF orientation", line)
    with pytest.raises(UserError, match="EXIF"):
        prepare(data)
