"""Counts of the splits against a plain recount, and limits that follow the size of the pictures."""

import pytest

from byol_helpers import pipeline
from byol_helpers.coco.dataset import Split, get_area_limits
from byol_helpers.coco.masks import decode_mask
from byol_helpers.coco.statistics import count_split
from byol_helpers.core.files import read_json


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = pipeline.open_run(
        "smoke", tmp_path_factory.mktemp("run"), overrides=["data.crops=16", "data.unlabelled=4"]
    )
    pipeline.prepare(run)
    return run


def annotation(number, image, category, area, crowd=0):
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "area": area,
        "iscrowd": crowd,
    }


def test_counts_by_hand(tmp_path):
    images = [{"id": k} for k in (1, 2, 3)]
    listed = {
        1: [annotation(1, 1, 7, 10), annotation(2, 1, 9, 100)],
        2: [annotation(3, 2, 7, 5000, crowd=1)],
    }
    split = Split(
        "train",
        tmp_path,
        images,
        listed,
        [{"id": 7, "name": "a"}, {"id": 9, "name": "b"}],
        tmp_path,
    )
    assert count_split(split, (50, 500)) == {
        "images": 3,
        "instances": 2,
        "crowds": 1,
        "empty_images": 2,
        "categories": {"a": 1, "b": 1},
        "sizes": {"small": 1, "medium": 1, "large": 0},
        "instances_per_image": {2: 1},
    }


def test_statistics_of_a_run_agree_with_its_files(run):
    kept = read_json(run.path / "statistics.json")
    for name, counted in kept["splits"].items():
        content = read_json(run.path / f"data/annotations/{name}.json")
        single = [a for a in content["annotations"] if not a["iscrowd"]]
        assert counted["images"] == len(content["images"]) and counted["instances"] == len(single)
        assert sum(counted["categories"].values()) == sum(counted["sizes"].values()) == len(single)
    assert kept["overlap"]["shared_with_test"] == 0


def test_limits_shrink_with_generated_scenes_and_can_be_set(run):
    area = run.profile.data.image_size**2
    assert get_area_limits(run) == pytest.approx(
        (1024 * area / (640 * 480), 9216 * area / (640 * 480)), abs=1e-3
    )
    set_by_hand = pipeline.open_run("smoke", run.path, overrides=["evaluate.area_limits=[10, 20]"])
    assert get_area_limits(set_by_hand) == (10, 20)


def test_masks_of_all_three_kinds_of_segmentation():
    polygon = decode_mask({"segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]]}, 5, 6)
    counts = decode_mask({"segmentation": {"size": [5, 6], "counts": [6, 2, 3, 2, 3, 2, 12]}}, 5, 6)
    assert polygon.sum() == 6 and (polygon == counts).all()
