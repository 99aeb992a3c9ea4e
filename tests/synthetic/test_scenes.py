"""The generated world: the same pixels everywhere, honest labels, COCO's proportions."""

import ast
import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from byol_helpers.core.errors import UserError
from byol_helpers.core.profile_files import load_profile
from byol_helpers.synthetic import occlusion, random_stream, rendering, scenes, shapes, textures
from byol_helpers.synthetic.occlusion import Composition
from byol_helpers.synthetic.scene_files import (
    GeneratedFolder,
    _make_annotation,
    write_crops,
    write_split,
    write_unlabelled,
)

SIZE = 128
IDS = [category.id for category in scenes.CATEGORIES]

# A change of these is a change of the world: results of earlier runs can no longer be compared with
# new ones.
SCENES = {
    (0, 0, 128, "train"): "60107caf03252ebd9231eb5b75c72b63daf3d1805ce8664cfcbdad64a2b8e7e3",
    (7, 53, 128, "unlabelled"): "4f889555fc195cee3a9c64110f5ce20a03a3955be52e7b22ed61b0ab01973066",
    (1, 2, 96, "test"): "0005e53db5b40dd9c87ca81cd7af929c36a5935391517c89e414a01b9de3529e",
}
CROPS = {
    (0, 0, 64): "8b10556dea5af7de882b8cf3d705125d2b9743a89f79d1625162f0bf927e7a33",
    (5, 17, 48): "16b7d4c5e417bdcd424e8fb46daebc3fe4f73ce987e85255933cb338a85c1f07",
}
FINGERPRINTS = {"colours": "d341e2560895d356", "shapes": "21fb4be6a96c6c8e"}


def digest(made: scenes.Scene) -> str:
    """SHA-256 of everything in a scene: pixels, and each instance's label and mask."""
    code = hashlib.sha256(made.image.tobytes())
    for instance in made.instances:
        code.update(
            bytes([instance.category_id, instance.iscrowd]) + np.packbits(instance.mask).tobytes()
        )
    return code.hexdigest()


@pytest.fixture(scope="module", params=scenes.WORLDS)
def many(request) -> list[scenes.Scene]:
    return [scenes.make_scene(3, index, SIZE, world=request.param) for index in range(500)]


def instances(scenes, iscrowd=False):
    return [one for made in scenes for one in made.instances if one.iscrowd == iscrowd]


@pytest.mark.parametrize("arguments", SCENES)
def test_scene_is_the_same_everywhere(arguments):
    assert digest(scenes.make_scene(*arguments)) == SCENES[arguments]


@pytest.mark.parametrize("arguments", CROPS)
def test_crop_is_the_same_everywhere(arguments):
    image, category_id = scenes.make_crop(*arguments)
    assert hashlib.sha256(image.tobytes() + bytes([category_id])).hexdigest() == CROPS[arguments]


@pytest.mark.parametrize("world", scenes.WORLDS)
def test_a_world_is_the_same_everywhere(world):
    assert scenes.compute_fingerprint(world) == FINGERPRINTS[world]


def test_the_default_world_stands_in_no_parameter_of_a_stage():
    """So that a run folder made before there was a second world is up to date."""
    data = load_profile("thesis").data
    assert data.world == "colours" and "world" not in data.model_dump(exclude_defaults=True)
    for name in ("smoke", "quick", "study"):
        assert load_profile(name).data.world == "shapes"


def test_an_unknown_world_is_refused():
    for refused in (
        lambda: load_profile("quick", ["data.world=sounds"]),
        lambda: scenes.make_scene(0, 0, world="sounds"),
        lambda: scenes.make_crop(0, 0, world="sounds"),
    ):
        with pytest.raises(UserError, match="data.world.*shapes"):
            refused()


def test_colour_tells_categories_apart_in_one_world_alone():
    """Mean colour of the middle of a crop: nearest of ten class means, chance 10 per cent."""
    right = {}
    for world in scenes.WORLDS:
        made = [scenes.make_crop(0, index, 32, world) for index in range(600)]
        colours = np.array([image[12:20, 12:20].mean((0, 1)) for image, _ in made])
        labels = np.array([category_id for _, category_id in made])
        means = np.array([colours[:300][labels[:300] == identity].mean(0) for identity in IDS])
        distances = np.linalg.norm(colours[300:, None] - means, axis=2)
        right[world] = np.mean(np.array(IDS)[distances.argmin(1)] == labels[300:])
    assert right["colours"] > 0.45 and right["shapes"] < 0.2


def test_objects_of_the_world_of_shapes_share_one_pool_of_colours():
    """Every category is seen in the palettes of others, each object in one of its own."""
    stream = random_stream.RandomStream(1)
    egg = scenes.CATEGORIES[0].material
    drawn = [scenes._draw_colours(stream, egg) for _ in range(1000)]
    palettes = {frozenset(material.palette) for material in drawn}
    assert palettes == {frozenset(category.material.palette) for category in scenes.CATEGORIES}
    assert len({material.palette for material in drawn}) == 60, "six orders of ten palettes"
    assert {material.gloss for material in drawn} == {c.material.gloss for c in scenes.CATEGORIES}
    assert {material.pattern for material in drawn} == {egg.pattern}


def test_seed_draw_index_and_size_tell_scenes_apart():
    names = [(0, 0, 64, draw) for draw in ("train", "val", "test", "unlabelled")]
    names += [(1, 0, 64, "train"), (0, 1, 64, "train"), (0, 0, 65, "train")]
    assert len({digest(scenes.make_scene(*name)) for name in names}) == len(names)


def test_order_of_calls_does_not_matter():
    first = digest(scenes.make_scene(2, 5, 64))
    scenes.make_scene(2, 4, 64)
    scenes.make_crop(2, 5)
    assert digest(scenes.make_scene(2, 5, 64)) == first


@pytest.mark.parametrize("module", [occlusion, random_stream, textures, rendering, shapes, scenes])
def test_only_operations_that_every_machine_rounds_alike(module):
    inexact = {
        "sum",
        "mean",
        "std",
        "var",
        "dot",
        "matmul",
        "einsum",
        "cumsum",
        "average",
        "linalg",
        "fft",
        "sin",
        "cos",
        "tan",
        "arctan2",
        "exp",
        "log",
        "power",
        "pow",
        "hypot",
        "cbrt",
        "convolve",
        "normal",
        "standard_normal",
    }
    tree = ast.parse(Path(module.__file__).read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    operators = {type(node.op) for node in ast.walk(tree) if isinstance(node, ast.BinOp)}
    assert not names & inexact
    assert not operators & {ast.Pow, ast.MatMult}


@pytest.mark.parametrize("size", [64, 100, 512])
def test_sizes(size):
    made = scenes.make_scene(0, 3, size)
    assert made.image.shape == (size, size, 3) and made.image.dtype == np.uint8
    assert all(one.mask.shape == (size, size) and one.mask.dtype == bool for one in made.instances)


def test_masks_are_disjoint_and_visible(many):
    for made in many:
        covered = np.zeros((SIZE, SIZE), int)
        for one in made.instances:
            covered += one.mask
            assert np.count_nonzero(one.mask) >= occlusion.LEAST_AREA * SIZE * SIZE
        assert covered.max() <= 1


def test_sizes_are_in_proportion_to_coco(many):
    areas = (
        np.array([np.count_nonzero(one.mask) for one in instances(many)]) / SIZE**2 * (640 * 480)
    )
    small, large = np.mean(areas < 32**2), np.mean(areas > 96**2)
    assert (
        abs(small - 0.41) < 0.1 and abs(1 - small - large - 0.34) < 0.1 and abs(large - 0.24) < 0.1
    )


def test_counts_empty_images_and_crowds(many):
    counts = Counter(sum(not one.iscrowd for one in made.instances) for made in many)
    assert set(counts) == set(range(7))
    assert 0.03 <= counts[0] / len(many) <= 0.08
    crowds = instances(many, iscrowd=True)
    assert 0.02 <= len(crowds) / len(many) <= 0.06
    assert max(sum(one.iscrowd for one in made.instances) for made in many) == 1


def test_categories(many):
    assert len(IDS) >= 8 and IDS == sorted(set(IDS))
    assert IDS != list(range(IDS[0], IDS[0] + len(IDS)))
    counts = Counter(one.category_id for one in instances(many))
    assert set(counts) == set(IDS)
    assert min(counts.values()) > 0.5 * sum(counts.values()) / len(IDS)
    kinds = [(category.shape, category.material.pattern) for category in scenes.CATEGORIES]
    assert len(set(kinds)) == len(kinds)
    assert len({shape for shape, _ in kinds}) < len(kinds), "no two categories share a shape"


def test_some_things_are_occluded_and_some_cut_by_the_border(many):
    at_border = [one.mask[[0, -1]].any() or one.mask[:, [0, -1]].any() for one in instances(many)]
    assert 0.05 < np.mean(at_border) < 0.4


def test_crops_are_balanced():
    labels = [scenes.make_crop(0, index, 32)[1] for index in range(3 * len(IDS))]
    cut_out = [scenes.make_crop(0, index, 32, scene_size=64)[1] for index in range(3 * len(IDS))]
    assert labels == cut_out
    assert Counter(labels) == {identity: 3 for identity in IDS}


def measure_middle(scene_size):
    """Bytes of 300 crops of 64 pixels, and the visible area of each object in pixels."""
    areas = []
    put = Composition.put

    def note(made, item, top, left, annotated, *rest):
        placed = put(made, item, top, left, annotated, *rest)
        if annotated and placed:
            areas.append(int(np.count_nonzero(made.owner == 1)))
        return placed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Composition, "put", note)
        for index in range(300):
            scenes.make_crop(1, index, 64, scene_size=scene_size)
    return np.array(areas)


def test_objects_of_crops_are_large_or_as_in_scenes(many):
    """In pixels: of scenes of 128, whole objects are as large in a crop as in the scene."""
    large = measure_middle(None)
    assert len(large) == 300 and large.min() > 0.2 * 64 * 64 * 0.35**2
    as_in_scenes = measure_middle(128)
    assert len(as_in_scenes) == 300 and as_in_scenes.min() > 0
    shares = as_in_scenes / (128 * 128)
    bounds = scenes.AREAS
    assert np.mean(shares < 1.05 * bounds[1]) == pytest.approx(scenes.SMALL, abs=0.1)
    assert np.mean(shares < 1.05 * bounds[2]) == pytest.approx(
        scenes.SMALL + scenes.MEDIUM, abs=0.1
    )
    seen = [one.mask.mean() for one in instances(many) if not one.iscrowd]
    assert np.median(shares) == pytest.approx(np.median(seen), rel=0.3)


def test_split_is_coco(tmp_path):
    images = GeneratedFolder(tmp_path / "val", seed=3, count=60, size=64)
    file = write_split(images, tmp_path / "annotations" / "val.json", "val")
    coco = COCO(file)
    assert "generated" in coco.dataset["info"]["description"]
    expected = [(category.id, category.name) for category in scenes.CATEGORIES]
    assert [
        (category["id"], category["name"]) for category in coco.dataset["categories"]
    ] == expected
    assert len(coco.imgs) == 60 and len(coco.anns) == len(coco.dataset["annotations"])
    for image_id, record in coco.imgs.items():
        made = scenes.make_scene(3, image_id - 1, 64, "val")
        with Image.open(tmp_path / record["file_name"]) as image:
            assert np.array_equal(np.asarray(image), made.image)
        annotations = coco.loadAnns(coco.getAnnIds(image_id))
        assert len(annotations) == len(made.instances)
        for annotation, one in zip(annotations, made.instances, strict=True):
            assert np.array_equal(coco.annToMask(annotation).astype(bool), one.mask)
            assert (annotation["category_id"], annotation["iscrowd"]) == (
                one.category_id,
                one.iscrowd,
            )
            assert annotation["area"] == np.count_nonzero(one.mask)
            rows, columns = np.flatnonzero(one.mask.any(1)), np.flatnonzero(one.mask.any(0))
            (left, right), (top, bottom) = columns[[0, -1]], rows[[0, -1]]
            assert annotation["bbox"] == [left, top, right - left + 1, bottom - top + 1]
            assert isinstance(annotation["segmentation"]["counts"], list if one.iscrowd else str)
    assert any(a["iscrowd"] for a in coco.anns.values())


def test_crowd_that_touches_the_corner():
    """Uncompressed run lengths begin with a count of zeros, also where there are none."""
    mask = np.zeros((5, 4), bool)
    mask[0, 0] = mask[2:, 3] = True
    segmentation = _make_annotation(scenes.Instance(1, mask, True))["segmentation"]
    assert segmentation["counts"] == [0, 1, 16, 3]
    assert np.array_equal(rle.decode(rle.frPyObjects(segmentation, 5, 4)), mask)


def test_interrupted_writing_goes_on(tmp_path):
    images = GeneratedFolder(tmp_path / "train", seed=0, count=4, size=64)
    first = write_split(images, tmp_path / "train.json", "train").read_bytes()
    kept, lost = tmp_path / "train" / "00000.png", tmp_path / "train" / "00003.png"
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    write_split(images, tmp_path / "train.json", "train")
    assert kept.stat().st_mtime_ns == before and lost.read_bytes() == content
    assert (tmp_path / "train.json").read_bytes() == first


def test_the_world_of_shapes_on_the_disk(tmp_path):
    images = GeneratedFolder(tmp_path / "train", 0, 2, 64, world="shapes")
    labels = write_split(images, tmp_path / "train.json", "train")
    write_unlabelled(GeneratedFolder(tmp_path / "unlabelled", 0, 1, 64, world="shapes"))
    write_crops(GeneratedFolder(tmp_path / "crops", 0, 1, 32, world="shapes"))
    assert "shapes" in COCO(labels).dataset["info"]["description"]
    wanted = {
        "train/00001.png": scenes.make_scene(0, 1, 64, "train", "shapes").image,
        "unlabelled/00000.png": scenes.make_scene(0, 0, 64, "unlabelled", "shapes").image,
        "crops/speckled egg/00000.png": scenes.make_crop(0, 0, 32, "shapes")[0],
    }
    for name, pixels in wanted.items():
        with Image.open(tmp_path / name) as image:
            assert np.array_equal(np.asarray(image), pixels)


def test_unlabelled_and_crops_on_the_disk(tmp_path):
    write_unlabelled(GeneratedFolder(tmp_path / "unlabelled", 0, 3, 64))
    written = sorted(path.name for path in (tmp_path / "unlabelled").iterdir())
    assert written == ["00000.png", "00001.png", "00002.png"]
    table = write_crops(GeneratedFolder(tmp_path / "crops", 0, 20, 32))
    assert table == tmp_path / "crops.csv"
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 and len({row["file"] for row in rows}) == 20
    for index, row in enumerate(rows):
        with Image.open(tmp_path / row["file"]) as image:
            assert np.array_equal(np.asarray(image), scenes.make_crop(0, index, 32)[0])
        assert int(row["category_id"]) == IDS[index % len(IDS)]
