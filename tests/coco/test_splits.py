"""Splits depend on ids and seed alone; parts are nested; strata keep their shares.

Licences leave images out.
"""

import hashlib
import json
import random
import subprocess
import sys
from collections import Counter

import pytest

from byol_helpers.coco import layouts, pretraining_images
from byol_helpers.coco.near_duplicates import identify_photograph
from byol_helpers.coco.splits import count_part, order_ids, stratify
from byol_helpers.core.errors import UserError
from byol_helpers.core.profile_files import load_profile


def test_the_order_is_a_hash_and_the_same_in_every_process():
    ids = [139, 9, 25, 30, 34]
    by_hand = sorted(ids, key=lambda i: hashlib.sha256(f"7:labelled:{i}".encode()).digest())
    assert order_ids(ids, 7, "labelled") == order_ids(reversed(ids), 7, "labelled") == by_hand
    again = (
        "from byol_helpers.coco.splits import order_ids; "
        "print(order_ids({139, 9, 25, 30, 34}, 7, 'labelled'))"
    )
    said = subprocess.run(
        [sys.executable, "-c", again], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(said) == by_hand
    assert (
        order_ids(range(1000), 0, "a")
        != order_ids(range(1000), 1, "a")
        != order_ids(range(1000), 1, "b")
    )


def test_a_fraction_is_rounded_and_never_nothing():
    assert [
        count_part(20000, 0.1),
        count_part(15, 0.1),
        count_part(3, 0.01),
        count_part(82783, 1.0),
    ] == [
        2000,
        2,
        1,
        82783,
    ]


@pytest.fixture(scope="module")
def long_tail():
    """Ids, and categories that get rarer; every sixth image holds nothing."""
    draw = random.Random(0)
    weights = [1 / (k + 1) for k in range(40)]
    return list(range(6000)), {
        i: set(draw.choices(range(1, 41), weights, k=i % 6)) for i in range(6000)
    }


def test_strata_are_nested_and_nearer_to_the_shares_than_a_plain_draw(long_tail):
    ids, categories = long_tail
    order = order_ids(ids, 0, "labelled")
    part = stratify(order, categories, 600)
    assert len(set(part)) == 600 and stratify(order, categories, 60) == part[:60]

    def error(chosen):
        shares, whole = (Counter(c for i in of for c in categories[i]) for of in (chosen, ids))
        return sum(abs(shares[c] / len(chosen) / (whole[c] / len(ids)) - 1) for c in whole) / len(
            whole
        )

    assert error(part) < 0.6 * error(order[:600])
    assert set(stratify(order, categories, 6000)) == set(ids)


@pytest.fixture
def coco(tmp_path):
    """train2017 with 200 records, val2017 with 40; only one picture of each is on the disk."""
    for name, ids in (("train2017", range(1000, 1200)), ("val2017", range(5000, 5040))):
        images = [
            {"id": i, "file_name": f"{i:012d}.jpg", "width": 4, "height": 4, "license": i % 3}
            for i in ids
        ]
        found = [
            {
                "id": 10 * i,
                "image_id": i,
                "category_id": 1 + i % 4,
                "area": 4,
                "bbox": [0, 0, 2, 2],
                "segmentation": [[0, 0, 2, 0, 2, 2]],
            }
            for i in ids
        ]
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / f"{ids[0]:012d}.jpg").write_bytes(b"")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"instances_{name}.json").write_text(
            json.dumps(
                {
                    "images": images,
                    "annotations": found,
                    "categories": [{"id": k, "name": str(k)} for k in range(1, 5)],
                }
            )
        )
    return tmp_path


def drawn(coco, *options, seed=0):
    settings = load_profile(
        "thesis", ["data.train=100", "data.val=30", "data.test=20", *options]
    ).data
    parts = layouts.draw_splits(layouts.find_labelled(coco), settings, seed)
    return {name: [record["id"] for record in records] for name, (_, records) in parts.items()}


def test_test_comes_from_train2017_and_val_is_val2017(coco):
    ids = drawn(coco)
    assert [len(ids[name]) for name in ("train", "val", "test")] == [100, 30, 20]
    assert not set(ids["train"]) & set(ids["test"]) and max(
        ids["train"] + ids["test"]
    ) < 5000 <= min(ids["val"])
    assert drawn(coco, seed=1)["test"] != ids["test"] == sorted(ids["test"])


def test_images_that_are_not_there_yet_change_nothing(coco):
    ids = drawn(coco)
    for i in ids["train"]:
        (coco / "train2017" / f"{i:012d}.jpg").write_bytes(b"")
    assert drawn(coco) == ids


@pytest.mark.parametrize("option", ["data.stratified=false", "data.stratified=true"])
def test_a_tenth_lies_inside_a_fifth(coco, option):
    tenth, fifth, whole = (drawn(coco, option, f"data.fraction={part}") for part in (0.1, 0.2, 1))
    for name in whole:
        assert set(tenth[name]) < set(fifth[name]) < set(whole[name])
        assert len(tenth[name]) == len(whole[name]) // 10


def test_licences(coco):
    assert all(i % 3 != 1 for part in drawn(coco, "data.licenses=[0,2]").values() for i in part)
    with pytest.raises(UserError, match="no image has one of the licences"):
        drawn(coco, "data.licenses=[8]")


def test_pretraining_names_come_from_the_annotation_file_not_from_the_disk(coco):
    settings = load_profile(
        "thesis",
        ["data.unlabelled=50", "data.pretrain_folder=train2017", "data.exclude_pretraining=true"],
    ).data
    records = {
        name: [{"file_name": f"train2017/{i:012d}.jpg"} for i in ids]
        for name, ids in drawn(coco).items()
    }
    names, overlap = pretraining_images.draw_pretraining_images(coco, records, settings, 0)
    assert len(names) == 50 and overlap == {"shared_with_test": 20, "excluded": True}
    assert not set(names) & {record["file_name"] for record in records["test"]}
    assert identify_photograph("train2014/COCO_train2014_000000000009.jpg") == identify_photograph(
        "train2017/000000000009.jpg"
    )
