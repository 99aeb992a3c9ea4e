"""Photographs in class folders as they are downloaded, and faulty ones in one line."""

import numpy as np
import pytest
from PIL import Image

from byol_helpers.coco.class_folders import read_photographs, require_classes
from byol_helpers.core.errors import UserError


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)


def make_tiny(folder):
    """The layout of Tiny ImageNet below a repository's folder."""
    root = folder / "tiny-200"
    for label in ("n01", "n02"):
        put(root, *(f"train/{label}/images/{label}_{k}.JPEG" for k in range(3)))
        (root / f"train/{label}/{label}_boxes.txt").write_text("")
    put(root, "val/images/val_0.JPEG", "val/images/val_1.JPEG", "test/images/test_0.JPEG")
    lines = ["val_0.JPEG\tn02\t0\t0\t9\t9", "val_1.JPEG\tn01\t0\t0\t9\t9"]
    (root / "val/val_annotations.txt").write_text("\n".join(lines) + "\n")
    return root


def test_tiny_imagenet_as_downloaded(tmp_path):
    root = make_tiny(tmp_path)
    (tmp_path / "README.md").write_text("")
    found = read_photographs(tmp_path)
    assert found.root == root and found.classes == ["n01", "n02"]
    assert len(found.train) == 6 and found.train[0] == ("train/n01/images/n01_0.JPEG", "n01")
    assert found.held_out == [("val/images/val_0.JPEG", "n02"), ("val/images/val_1.JPEG", "n01")]
    require_classes(found)


def test_cifars_class_folders(tmp_path):
    for part in ("train", "test"):
        put(tmp_path, *(f"{part}/{label}/{k}.jpg" for label in ("cat", "dog") for k in range(2)))
    found = read_photographs(tmp_path)
    assert len(found.train) == 4 and {label for _, label in found.held_out} == {"cat", "dog"}
    assert all(name.startswith("test/") for name, _ in found.held_out)


def test_of_class_folders_alone_a_tenth_is_held_out(tmp_path):
    put(tmp_path, *(f"{label}/{k:02d}.png" for label in ("cat", "dog") for k in range(20)))
    found = read_photographs(tmp_path)
    assert (len(found.train), len(found.held_out)) == (36, 4)
    assert not {name for name, _ in found.train} & {name for name, _ in found.held_out}
    assert sorted(label for _, label in found.held_out) == ["cat", "cat", "dog", "dog"]
    assert read_photographs(tmp_path) == found


@pytest.mark.parametrize("names", [("a.jpg", "b.jpg"), ("2017/a.jpg", "2017/b.jpg")])
def test_a_flat_folder_has_pictures_and_no_classes(tmp_path, names):
    put(tmp_path, *names)
    found = read_photographs(tmp_path)
    assert [label for _, label in found.train] == ["", ""] and found.held_out == []
    with pytest.raises(UserError, match="no class folders, and the supervised arm"):
        require_classes(found)


def test_a_train_folder_alone_is_divided_here(tmp_path):
    put(tmp_path, *(f"train/{label}/{k:02d}.png" for label in ("cat", "dog") for k in range(10)))
    found = read_photographs(tmp_path)
    assert (len(found.train), len(found.held_out)) == (18, 2)


def test_faulty_folders_are_one_line(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        read_photographs(tmp_path / "nowhere")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="none: no pictures in it"):
        read_photographs(tmp_path / "none")
    put(tmp_path / "loose", "a.jpg", "cat/b.jpg", "dog/c.jpg")
    with pytest.raises(UserError, match=r"a\.jpg: one of 1 pictures beside the class folders"):
        require_classes(read_photographs(tmp_path / "loose"))
    (tmp_path / "loose/bird").mkdir()
    with pytest.raises(UserError, match="bird: a class folder without pictures"):
        read_photographs(tmp_path / "loose")


def test_labels_that_do_not_fit_are_one_line(tmp_path):
    root = make_tiny(tmp_path)
    labels = root / "val/val_annotations.txt"
    whole = labels.read_text()
    for text, said in (
        (whole.replace("val_1", "val_7"), "no class for val_1.JPEG"),
        (whole + "val_7.JPEG\tn01\n", "val_7.JPEG: not there, and 1 pictures of"),
        (whole.replace("n02", "n09"), "1 held-out pictures are of the class 'n09'"),
        (whole.replace("\t", " "), "line 1 is not NAME, tab, CLASS"),
    ):
        labels.write_text(text)
        with pytest.raises(UserError, match=said):
            read_photographs(tmp_path)
