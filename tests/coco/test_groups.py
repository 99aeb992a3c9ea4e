"""The same picture, near-duplicates and frames of one video never lie on both sides of a split."""

import json
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from byol_helpers import pipeline
from byol_helpers.coco.dataset import load_split, load_splits
from byol_helpers.coco.groups import find_groups, leave_out_alike, list_series
from byol_helpers.coco.splits import take_groups
from byol_helpers.core.files import read_json

SIZE = (64, 48)


def draw_clouds(seed, cells=(6, 8)):
    """A smooth picture of its own, float [48, 64, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 255, (*cells, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC), float)


def save_folder(folder, pictures, records=None):
    """A data folder with a square on each picture; ``records``, file names under further ids."""
    (folder / "images").mkdir(parents=True)
    for name, pixels in pictures.items():
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / "images" / name)
    images = []
    annotations = []
    for number, name in enumerate([*pictures, *(records or [])], start=1):
        images.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        square = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 64}
        square |= {"bbox": [4, 4, 8, 8], "segmentation": [[4, 4, 12, 4, 12, 12, 4, 12]]}
        annotations.append(square)
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "square"}]
    (folder / "instances.json").write_text(json.dumps(content))
    return images


def prepare(data, *overrides):
    run = pipeline.open_run("smoke", data.parent / "run", data, ["data.crops=16", *overrides])
    pipeline.prepare(run)
    splits = {}
    for name in ("train", "val", "test"):
        splits[name] = {r["file_name"].split("/")[-1] for r in load_split(run, name).images}
    return run, splits


def count_shared(splits):
    return sum(len(splits[one] & splits[two]) for one, two in combinations(splits, 2))


@pytest.mark.parametrize("seed", range(5))
def test_one_file_under_two_ids_lies_in_one_split(tmp_path, seed, capsys):
    names = [f"{name}.png" for name in ("ape", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")]
    pictures = {name: draw_clouds(k) for k, name in enumerate(names)}
    save_folder(tmp_path / "data", pictures, records=names)
    run, splits = prepare(tmp_path / "data", f"seed={seed}")
    assert not count_shared(splits) and all(splits.values())
    assert "16 images form 8 groups, each in one split" in capsys.readouterr().out
    assert not splits["test"] & {n.split("/")[-1] for n in load_splits(run)["pretrain"]}


@pytest.mark.parametrize("seed", range(5))
def test_near_duplicates_lie_in_one_split(tmp_path, seed, capsys):
    pictures = {}
    for k, name in enumerate("abcdefghijklmnop"):
        pictures[f"{name}.png"] = draw_clouds(k)
        if k % 2:
            pictures[f"copy of {name}.png"] = 0.9 * draw_clouds(k) + 5
    save_folder(tmp_path / "data", pictures)
    run, splits = prepare(tmp_path / "data", f"seed={seed}")
    assert "8 groups, each in one split: 16 near-duplicates" in capsys.readouterr().out
    for split in splits.values():
        copied = {name.removeprefix("copy of ") for name in split if name.startswith("copy of ")}
        assert copied <= split
    rows = read_json(run.path / "audit.json")
    labelled = [row for row in rows if row["first"] != "pretrain"]
    assert all(not row["same"] and not row["near"] for row in labelled)


def draw_video(seed, frames):
    """A camera that moves over one scene: neighbours look alike, first and last do not."""
    wide = np.random.default_rng(seed).integers(0, 255, (6, 8 + 2 * frames, 3), np.uint8)
    size = (8 * (8 + 2 * frames), SIZE[1])
    whole = np.asarray(Image.fromarray(wide).resize(size, Image.Resampling.BICUBIC), float)
    return [whole[:, 3 * k : 3 * k + SIZE[0]] for k in range(frames)]


@pytest.mark.parametrize("named", ["frame_{:04d}", "{:04d}"], ids=["by name", "by looks"])
def test_frames_of_a_video_lie_in_one_split(tmp_path, named, capsys):
    pictures = {}
    for number, letter in enumerate("abcdefghijkl"):
        for k, frame in enumerate(draw_video(number, 5)):
            pictures[f"{letter}_{named.format(k)}.png"] = frame
    save_folder(tmp_path / "data", pictures)
    _, splits = prepare(tmp_path / "data")
    said = capsys.readouterr().out
    assert "60 images form 12 groups, each in one split: 60 frames of videos" in said
    videos = {name: {picture[0] for picture in split} for name, split in splits.items()}
    assert not count_shared(videos) and all(videos.values())


def test_one_long_video_is_cut_into_pieces_and_its_seams_are_left_out(tmp_path, capsys):
    frames = draw_video(0, 40)
    save_folder(tmp_path / "data", {f"frame_{k:04d}.png": f for k, f in enumerate(frames)})
    run, splits = prepare(tmp_path / "data")
    assert "form 10 groups" in capsys.readouterr().out and all(splits.values())
    labelled = [row for row in read_json(run.path / "audit.json") if row["first"] != "pretrain"]
    assert all(not row["same"] and not row["near"] for row in labelled)
    numbers = sorted(int(name[6:10]) for name in splits["test"])
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    assert all(len(piece) % 4 == 0 for piece in runs)


def test_numbered_photographs_are_no_video(tmp_path):
    images = save_folder(tmp_path / "data", {f"IMG_{k:04d}.png": draw_clouds(k) for k in range(20)})
    assert list_series([record["file_name"] for record in images])  # the names alone would say so
    assert find_groups(tmp_path / "data" / "images", images, 2).of == {}


def test_pictures_that_all_look_alike_are_told_by_their_names_alone(tmp_path):
    plate = draw_clouds(0)
    pictures = {f"{name}.png": plate + k for k, name in enumerate("abcdefghijkl")}
    images = save_folder(tmp_path / "data", pictures)
    assert find_groups(tmp_path / "data" / "images", images, 2).of == {}
    _, splits = prepare(tmp_path / "data")
    assert [len(splits[name]) for name in ("train", "val", "test")] == [9, 1, 2]


def test_copies_of_an_export_lie_in_one_split(tmp_path):
    pictures = {}
    for k, name in enumerate("abcdefghij"):
        for turn, code in enumerate(("0a1b", "ff00", "77ab")):
            pictures[f"{name}_jpg.rf.{code}{k}.png"] = np.rot90(draw_clouds(k), 2 * (turn % 2))
    images = save_folder(tmp_path / "data", pictures)
    groups = find_groups(tmp_path / "data" / "images", images, 5)
    assert len(set(groups.of.values())) == 10 and len(groups.of) == 30


def test_without_groups_the_beginning_of_the_order_is_taken():
    assert take_groups([5, 3, 9, 1], 2, 9, {}) == [5, 3]
    assert take_groups([5, 3, 9, 1], 3, 9, {5: 1, 1: 1, 3: 2, 9: 2}) == [5, 1]
    assert take_groups([5, 3, 9, 1], 1, 9, {5: 1, 1: 1, 3: 2, 9: 2}) == [5, 1]
    assert take_groups([5, 3, 9, 1], 1, 1, {5: 1, 1: 1, 3: 2, 9: 2}) == [5]


def test_what_looks_like_test_is_left_out_of_train():
    drawn = {"train": [{"id": 1}, {"id": 2}], "val": [{"id": 3}], "test": [{"id": 4}]}
    kept, count = leave_out_alike(drawn, [(4, 1), (1, 2), (2, 3), (7, 4)])
    assert count == 2 and kept == drawn | {"train": []}
