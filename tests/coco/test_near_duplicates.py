"""Near-duplicates: found when scaled, recompressed, brightened; none among other photographs.

Pairs by brute force.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from byol_helpers.coco.images import list_images
from byol_helpers.coco.near_duplicates import (
    audit_splits,
    find_near_pairs,
    hash_image,
    hash_images,
    identify_photograph,
)


def scene(seed, size=(96, 72)):
    draw = np.random.default_rng(seed)
    return Image.fromarray(draw.integers(0, 255, (6, 8, 3), np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )


def test_near_pairs_are_those_of_a_plain_loop():
    draw = np.random.default_rng(0)
    first, second = (draw.integers(0, 2**63, (n, 2), np.uint64) for n in (70, 90))
    second[5], second[6] = first[69], first[3] ^ np.uint64(0b111)
    plain = [
        (i, k)
        for i in range(70)
        for k in range(90)
        if sum(int(a ^ b).bit_count() for a, b in zip(first[i], second[k], strict=True)) <= 50
    ]
    assert find_near_pairs(first, second, bits=50) == plain
    assert find_near_pairs(first, second, bits=6) == [(3, 6), (69, 5)]


def test_namesakes_and_near_duplicates_are_told_apart(tmp_path):
    for name in ("train2014", "train2017", "val2017"):
        (tmp_path / name).mkdir()
    scene(1).save(tmp_path / "train2014" / "COCO_train2014_000000000001.jpg")
    scene(1).save(tmp_path / "train2017" / "000000000001.jpg")
    scene(2).save(tmp_path / "train2014" / "COCO_train2014_000000000002.jpg")
    brighter = ImageEnhance.Brightness(scene(2, (48, 36))).enhance(1.2)
    brighter.save(tmp_path / "train2017" / "000000000007.jpg", quality=60)
    scene(3).save(tmp_path / "val2017" / "000000000003.jpg")
    names = [
        "train2014/COCO_train2014_000000000001.jpg",
        "train2014/COCO_train2014_000000000002.jpg",
    ]
    rows = audit_splits(
        tmp_path,
        {
            "pretrain": names,
            "train": [],
            "val": ["val2017/000000000003.jpg"],
            "test": ["train2017/000000000001.jpg", "train2017/000000000007.jpg"],
        },
    )
    found = {(row["first"], row["second"]): (row["same"], row["near"]) for row in rows}
    assert found[("pretrain", "test")] == (1, [(names[1], "train2017/000000000007.jpg")])
    assert all(value == (0, []) for pair, value in found.items() if pair != ("pretrain", "test"))


def test_names_of_other_collections_keep_their_folder():
    assert identify_photograph("train/1.png") != identify_photograph("val/1.png")


@pytest.mark.parametrize("folder", ["photographs", "nuclei"])
def test_pictures_match_their_copies_and_nobody_else(tmp_path, folder, request):
    paths = list_images(request.getfixturevalue(folder))[:60]
    for k, path in enumerate(paths):
        with Image.open(path) as image:
            image = image.convert("RGB")
            smaller = image.resize((image.width * 2 // 3, image.height * 2 // 3))
            smaller.save(tmp_path / f"{k}.jpg", quality=60)
    copies = [tmp_path / f"{k}.jpg" for k in range(len(paths))]
    first, second = ([str(path) for path in of] for of in (copies, paths))
    rows = audit_splits(Path("/"), {"pretrain": first, "train": [], "val": [], "test": second})
    assert rows[0]["near"] == list(zip(first, second, strict=True))


def test_a_jpeg_decoded_at_a_fraction_of_its_size_hashes_as_the_whole(tmp_path, photographs):
    paths = []
    for k, path in enumerate(list_images(photographs)[:20]):
        paths.append(tmp_path / f"{k}.jpg")
        with Image.open(path) as image:
            image.convert("RGB").save(paths[-1], quality=90)
    whole = [picture_hash_of(path) for path in paths]
    assert np.bitwise_count(hash_images(paths) ^ np.array(whole)).sum(axis=1).max() <= 6


def picture_hash_of(path):
    """The hash of the same picture without a loss, as PNG."""
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".png") as file, Image.open(path) as image:
        image.convert("RGB").save(file.name)
        return hash_image(Path(file.name))
