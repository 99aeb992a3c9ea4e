"""Files as the tools of the field write them: what can be meant is read and counted, the rest is
refused in one line that names the cause. ``prepare --check`` and ``prepare`` agree on all.
"""

import copy
import json
import math

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from byol_helpers.cli import main

HEIGHT = 48
WIDTH = 64
CORNERS = {1: (8, 6, 24, 20), 2: (30, 22, 56, 40)}  # by category: x0, y0, x1, y1
PICTURES = 12


def outline(x0, y0, x1, y1):
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def well_formed():
    """Twelve images with a rectangle of each of two categories, numbered from 1."""
    images = []
    annotations = []
    for k in range(1, PICTURES + 1):
        images.append({"id": k, "file_name": f"{k:03}.png", "width": WIDTH, "height": HEIGHT})
        for category, (x0, y0, x1, y1) in CORNERS.items():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": k,
                    "category_id": category,
                    "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
                    "area": float((x1 - x0) * (y1 - y0)),
                    "iscrowd": 0,
                    "segmentation": [[float(c) for c in outline(x0, y0, x1, y1)]],
                }
            )
    categories = [{"id": 1, "name": "box"}, {"id": 2, "name": "slab"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures of noise, no two alike."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for k in range(1, PICTURES + 1):
        blocks = draw.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((WIDTH, HEIGHT), 0).save(folder / f"{k:03}.png")
    return folder


@pytest.fixture
def folder(tmp_path, pictures):
    (tmp_path / "data" / "annotations").mkdir(parents=True)
    (tmp_path / "data" / "images").symlink_to(pictures)
    return tmp_path / "data"


def every(**changes):
    """All annotations with other fields."""

    def change(content):
        for annotation in content["annotations"]:
            annotation |= changes

    return change


def without(*keys):
    def change(content):
        for annotation in content["annotations"]:
            for key in keys:
                del annotation[key]

    return change


def one(position=3, **changes):
    """One annotation with other fields."""

    def change(content):
        content["annotations"][position] |= changes

    return change


def each(change_one):
    """All annotations, changed one by one."""

    def change(content):
        for annotation in content["annotations"]:
            change_one(annotation)

    return change


def records(key, **changes):
    def change(content):
        for record in content[key]:
            record |= changes

    return change


def rename_image_ids(content):
    for record in content["images"]:
        record["id"] = f"img-{record['id']}"
    for annotation in content["annotations"]:
        annotation["image_id"] = f"img-{annotation['image_id']}"


def refer_by_file_name(content):
    for annotation in content["annotations"]:
        annotation["image_id"] = f"{annotation['image_id']:03}.png"


def number_anew_in_each_image(content):
    for k, annotation in enumerate(content["annotations"]):
        annotation["id"] = k % 2


def spell_ids(spell):
    def change(content):
        for annotation in content["annotations"]:
            for key in ("id", "image_id", "category_id"):
                annotation[key] = spell(annotation[key])
        for key in ("images", "categories"):
            for record in content[key]:
                record["id"] = spell(record["id"])

    return change


def spell_categories(content):
    for category in content["categories"]:
        category["id"] = float(category["id"])


def write_boxes_as_text(annotation):
    annotation["bbox"] = [str(value) for value in annotation["bbox"]]


def write_masks_as_text(annotation):
    annotation["segmentation"] = [[str(v) for v in annotation["segmentation"][0]]]


def write_run_lengths_as_floats(annotation):
    packed = rle.frPyObjects(annotation["segmentation"], HEIGHT, WIDTH)[0]
    flat = rle.decode(packed).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=0, append=1 - flat[-1]))
    counts = np.diff(edges, prepend=0).astype(float).tolist()
    annotation["segmentation"] = {"size": [float(HEIGHT), float(WIDTH)], "counts": counts}


def add_stray_parts(content):
    content["annotations"][3]["segmentation"] += [[1.0, 1.0, 2.0, 1.0], []]
    content["annotations"][5]["segmentation"].insert(0, [1.0, 1.0, 2.0, 1.0, 2.0])


def draw_over_the_edge(content):
    across = WIDTH + 3.0 - 40.0  # it begins at 40 and ends 3 pixels beyond the edge
    mask = [outline(40.0, 30.0, WIDTH + 3.0, 40.0)]
    changes = {"bbox": [40.0, 30.0, across, 10.0], "area": 270.0, "segmentation": mask}
    content["annotations"][3] |= changes


def make_boxes_corners(annotation):
    annotation["bbox"] = [float(c) for c in CORNERS[annotation["category_id"]]]


def make_relative(annotation):
    polygon = np.array(annotation["segmentation"][0]).reshape(-1, 2) / (WIDTH, HEIGHT)
    annotation["segmentation"] = [polygon.ravel().tolist()]
    annotation["bbox"] = (np.array(annotation["bbox"]) / (WIDTH, HEIGHT, WIDTH, HEIGHT)).tolist()


def shift_classes(by):
    def change(content):
        for annotation in content["annotations"]:
            annotation["category_id"] += by

    return change


def share_a_name(content):
    content["categories"][1]["name"] = "box"


def add_a_name_twice(content):
    content["categories"].insert(0, {"id": 0, "name": "box", "supercategory": "none"})


def as_lvis(content):
    for record in content["images"]:
        record["coco_url"] = "http://images.cocodataset.org/" + record.pop("file_name")


def add_skeletons(content):
    every(keypoints=[10, 10, 2, 12, 12, 2], num_keypoints=2, score=0.5)(content)


# Name -> change of the content, and what is counted.
MENDED = {
    "ids as floats": (spell_ids(float), "ids as numbers 24"),
    "ids as text": (spell_ids(str), "ids as numbers 24"),
    "category_id as float": (each(lambda a: a.update(category_id=float(a["category_id"]))), "24"),
    "ids of the categories alone": (spell_categories, "2 categories: id as a number 2"),
    "image ids as names": (rename_image_ids, "12 images: id as a number 12"),
    "images by file name": (refer_by_file_name, "ids as numbers 24"),
    "annotation ids repeat": (number_anew_in_each_image, "numbered anew 24"),
    "no annotation ids": (without("id"), "numbered anew 24"),
    "annotation ids null": (every(id=None), "numbered anew 24"),
    "iscrowd false": (every(iscrowd=False), "iscrowd as true or false 24"),
    "iscrowd null": (every(iscrowd=None), "iscrowd as null 24"),
    "iscrowd as text": (every(iscrowd="0"), "iscrowd as text 24"),
    "iscrowd as float": (every(iscrowd=0.0), "iscrowd as a float 24"),
    "no area": (without("area"), "area from the mask 24"),
    "area null": (every(area=None), "area from the mask 24"),
    "area NaN": (one(area=math.nan), "area from the mask 1"),
    "area 0": (one(area=0), "area from the mask 1"),
    "area negative": (every(area=-5), "area from the mask 24"),
    "area huge": (every(area=1e9), "area from the mask 24"),
    "area as text": (each(lambda a: a.update(area=str(a["area"]))), "area as a number 24"),
    "no box": (without("bbox"), "box from the mask 24"),
    "box null": (every(bbox=None), "box from the mask 24"),
    "box elsewhere": (every(bbox=[0.0, 0.0, 5.0, 5.0]), "box from the mask 24"),
    "box of negative width": (one(bbox=[24.0, 6.0, -16.0, 14.0]), "box from the mask 1"),
    "box as text": (each(write_boxes_as_text), "box as numbers 24"),
    "mask as text": (each(write_masks_as_text), "mask as numbers 24"),
    "run lengths as floats": (each(write_run_lengths_as_floats), "mask as numbers 24"),
    "stray parts": (add_stray_parts, "stray polygon parts dropped 2"),
    "width as float": (records("images", width=64.0), "width and height as whole numbers 12"),
    "width as text": (records("images", width="64"), "width and height as whole numbers 12"),
    "categories without name": (records("categories", name=None), "name from the id 2"),
    "names that are numbers": (
        lambda content: [c.update(name=c["id"]) for c in content["categories"]],
        "name as text 2",
    ),
    "an unused category of the same name": (add_a_name_twice, "name used twice 1"),
}
READ = {  # as they are
    "keypoints and scores beside masks": add_skeletons,
    "info and licenses null": lambda content: content.update(info=None, licenses=None),
    "other fields": every(attributes={"occluded": False}, note="häufig"),
    "unpacked run lengths": each(
        lambda a: a.update(
            segmentation={
                "size": [HEIGHT, WIDTH],
                "counts": rle.frPyObjects(a["segmentation"], HEIGHT, WIDTH)[0]["counts"].decode(),
            }
        )
    ),
}
REFUSED = {
    "corners for boxes": (each(make_boxes_corners), "24 of 24 boxes are corners x0, y0, x1, y1"),
    "relative coordinates": (each(make_relative), "24 of 24 objects lie within 0..1"),
    "classes one below": (shift_classes(-1), "categories 0 to 1 are one below those of the list"),
    "classes one above": (shift_classes(1), "categories 2 to 3 are one above those of the list"),
    "nothing but crowds": (every(iscrowd=1), "all 24 annotations have iscrowd 1"),
    "crowds as text": (every(iscrowd="true"), "all 24 annotations have iscrowd 1"),
    "iscrowd unclear": (one(iscrowd="perhaps"), "has the iscrowd 'perhaps'"),
    "a rectangle without a mask": (one(segmentation=[]), "annotation 4 has no mask"),
    "a polygon of two points": (one(segmentation=[[1, 1, 2, 1]]), "fewer than three points"),
    "an odd polygon": (one(segmentation=[[1, 1, 2, 1, 2, 2, 3]]), "an odd number of coordinates"),
    "a flat polygon": (one(segmentation=[8, 6, 24, 6, 24, 20]), "a flat list of numbers"),
    "points in pairs": (
        one(segmentation=[[[8, 6], [24, 6], [24, 20]]]),
        "lists of points [x, y]",
    ),
    "a list of points": (one(segmentation=[[8, 6], [24, 6], [24, 20]]), "list of points [x, y]"),
    "run lengths in a list": (
        one(segmentation=[{"size": [HEIGHT, WIDTH], "counts": [3072]}]),
        "run lengths inside a list",
    ),
    "printed bytes": (
        one(segmentation={"size": [HEIGHT, WIDTH], "counts": "b'V<>R1'"}),
        "printed by Python",
    ),
    "a polygon of one point": (one(segmentation=[[9, 9] * 4]), "a polygon of a single point"),
    "a mask outside": (one(segmentation=[[70, 5, 90, 5, 90, 20]]), "wholly outside its image"),
    "a mask without a pixel": (
        one(segmentation={"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}),
        "without a pixel",
    ),
    "a point far away": (one(segmentation=[[5, 5, 1e9, 5, 5, 20]]), "a point far outside"),
    "NaN in a mask": (one(segmentation=[[5, math.nan, 9, 5, 5, 20]]), "NaN or infinity"),
    "an unknown category": (one(category_id=7), "annotation 4 has the unknown category 7"),
    "an unknown image": (one(image_id=77), "annotation 4 belongs to image 77, which is missing"),
    "an image id that is a list": (one(image_id=[1]), "has the image_id [1]"),
    "a category id that is a list": (records("categories", id=[1]), "number 0 has the id [1]"),
    "two categories of one name": (share_a_name, "categories 1 and 2 are both called 'box'"),
    "a width that is none": (records("images", width="64px"), "no usable width ('64px')"),
    "LVIS": (as_lvis, "a coco_url but no file_name, as LVIS has it"),
    "an annotation that is null": (
        lambda content: content["annotations"].__setitem__(0, None),
        "annotation number 0 is no object",
    ),
    "no categories": (lambda content: content.pop("categories"), "it needs categories"),
    "images null": (lambda content: content.update(images=None), "its images is no list"),
}
TEXTS = {  # of the whole file: how it is written, and the words of its refusal; none: it is read
    "byte order mark": (lambda text: b"\xef\xbb\xbf" + text.encode(), None),
    "UTF-16": (lambda text: text.encode("utf-16"), None),
    "JSON lines": (
        lambda text: "\n".join(map(json.dumps, json.loads(text)["annotations"])).encode(),
        "JSON lines",
    ),
    "a JSON text": (lambda text: json.dumps(text).encode(), "it holds a text"),
    "gzip": (lambda text: b"\x1f\x8b" + text.encode(), "a compressed file"),
    "cut off": (lambda text: text[:-20].encode(), "not valid JSON"),
    "empty": (lambda text: b"", "it is empty"),
}


def run(folder, capsys):
    """Exit status and words of the check, and of preparing; neither ends in a traceback."""
    results = []
    arguments = ["prepare", "--data", str(folder)]
    smoke = ["--profile", "smoke", "--run", str(folder.parent / "run"), "--set", "data.crops=16"]
    for more in (["--check"], smoke):
        status = main(arguments + more)
        said = capsys.readouterr()
        results.append((status, said.out, said.err))
    return results


def write(folder, content):
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "annotations" / "instances_default.json").write_bytes(text)


def read_prepared(folder):
    """What the run holds of each image: sorted by image, then category."""
    found = []
    for name in ("train", "val", "test"):
        file = folder.parent / "run" / "data" / "annotations" / f"{name}.json"
        content = json.loads(file.read_text())
        names = {record["id"]: record["file_name"] for record in content["images"]}
        assert all(type(record["id"]) is int for record in content["images"])
        kinds = {category["id"]: k for k, category in enumerate(content["categories"])}
        for a in content["annotations"]:
            assert type(a["image_id"]) is type(a["category_id"]) is type(a["id"]) is int
            mask = a["segmentation"]
            packed = rle.frPyObjects(mask, HEIGHT, WIDTH)
            packed = rle.merge(packed) if isinstance(mask, list) else packed
            row = (names[a["image_id"]], a["area"], tuple(a["bbox"]), int(rle.area(packed)))
            found.append((*row, bool(a.get("iscrowd"))))
            assert a["category_id"] in kinds
    return sorted(found)


def expected():
    rows = []
    for k in range(1, PICTURES + 1):
        for x0, y0, x1, y1 in CORNERS.values():
            area = (x1 - x0) * (y1 - y0)
            rows.append((f"images/{k:03}.png", area, (x0, y0, x1 - x0, y1 - y0), area, False))
    return sorted(rows)


@pytest.mark.parametrize(("change", "counted"), MENDED.values(), ids=MENDED)
def test_what_can_only_mean_one_thing_is_mended_and_counted(folder, capsys, change, counted):
    content = well_formed()
    change(content)
    write(folder, content)
    (checked, out, _), (prepared, told, error) = run(folder, capsys)
    assert checked == prepared == 0, error
    (line,) = [line for line in out.splitlines() if "mended" in line]
    assert counted in line
    assert line.removeprefix("note: ") in told
    assert read_prepared(folder) == expected()


@pytest.mark.parametrize("change", READ.values(), ids=READ)
def test_what_is_only_unusual_is_read_as_it_is(folder, capsys, change):
    content = well_formed()
    change(content)
    write(folder, content)
    (checked, out, _), (prepared, _, error) = run(folder, capsys)
    assert checked == prepared == 0, error
    assert "mended" not in out
    if change is not READ["unpacked run lengths"]:
        assert read_prepared(folder) == expected()


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused_with_its_cause(folder, capsys, change, said):
    content = well_formed()
    change(content)
    write(folder, content)
    (checked, _, errors), (prepared, _, error) = run(folder, capsys)
    assert checked == prepared == 2
    assert said in error and said in errors
    (line,) = errors.splitlines()  # and nothing follows from it
    assert len(line.replace(str(folder), "")) < 300
    assert error.count("\n") == 1


@pytest.mark.parametrize(("spell", "said"), TEXTS.values(), ids=TEXTS)
def test_files_that_others_read_are_read_and_other_files_are_named(folder, capsys, spell, said):
    write(folder, spell(json.dumps(well_formed())))
    (checked, _, errors), (prepared, _, error) = run(folder, capsys)
    if said is None:
        assert checked == prepared == 0, error
        assert read_prepared(folder) == expected()
    else:
        assert checked == prepared == 2
        assert said in errors and said in error


def test_an_object_over_the_edge_keeps_its_mask_and_its_box_is_clipped(folder, capsys):
    content = well_formed()
    draw_over_the_edge(content)
    write(folder, content)
    (checked, out, _), (prepared, _, error) = run(folder, capsys)
    assert checked == prepared == 0, error
    assert "mended 1 annotation: box clipped to its image 1" in out
    assert ("images/002.png", 270.0, (40.0, 30.0, 24.0, 10.0), 240, False) in read_prepared(folder)


def test_areas_of_the_boxes_are_those_of_the_masks_where_a_file_has_them_throughout(folder, capsys):
    """As some exports write them: the area of a triangle's box is twice its own."""
    content = well_formed()
    for annotation in content["annotations"]:
        x0, y0, x1, y1 = CORNERS[annotation["category_id"]]
        annotation["segmentation"] = [[x0, y0, x1, y0, x0, y1]]
    write(folder, content)
    (checked, out, _), (prepared, _, error) = run(folder, capsys)
    assert checked == prepared == 0, error
    assert "mended 24 annotations: area from the mask 24" in out
    assert all(area == pixels for _, area, _, pixels, _ in read_prepared(folder))


def test_one_mask_without_pixels_among_thousands_is_a_note(folder, capsys):
    content = well_formed()
    first = content["annotations"]
    content["annotations"] = [
        copy.deepcopy(first[k % len(first)]) | {"id": k + 1} for k in range(2000)
    ]
    one(7, segmentation=[[9, 9] * 4])(content)
    write(folder, content)
    assert main(["prepare", "--data", str(folder), "--check"]) == 0
    assert "annotation 8 has a polygon of a single point" in capsys.readouterr().out


def spoil_some(content):
    one(0, segmentation=[])(content)
    one(5, category_id=7)(content)
    one(9, segmentation=[[70, 5, 90, 5, 90, 20]])(content)
    content["images"][11]["width"] = "wide"


def test_invalid_entries_and_images_are_left_out_when_asked_and_listed(folder, capsys):
    content = well_formed()
    spoil_some(content)
    content["images"][6]["file_name"] = "gone.png"
    write(folder, content)
    run_folder = folder.parent / "run"
    arguments = ["prepare", "--profile", "smoke", "--data", str(folder), "--run", str(run_folder)]
    arguments += ["--set", "data.crops=16"]
    assert main(arguments) == 2
    assert "data.skip_invalid=true" in capsys.readouterr().err
    arguments += ["--set", "data.skip_invalid=true"]
    assert main([*arguments, "--check"]) == 0
    assert "left out as invalid" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "left out as invalid, the first: " in capsys.readouterr().out
    lines = json.loads((run_folder / "left_out.json").read_text())
    for said in ("annotation 1 has no mask", "annotation 6 has the unknown category 7", "wholly"):
        assert sum(said in line for line in lines) == 1
    assert sum("has no usable width ('wide')" in line for line in lines) == 1
    assert sum("gone.png" in line for line in lines) == 1
    kept = [row for row in expected() if not row[0].endswith(("007.png", "012.png"))]
    dropped = [("images/001.png", 224), ("images/003.png", 468), ("images/005.png", 468)]
    assert read_prepared(folder) == [row for row in kept if row[:2] not in dropped]


def test_what_was_mended_is_refused_when_asked(folder, capsys):
    write(folder, well_formed())
    assert main(["prepare", "--data", str(folder), "--check", "--strict"]) == 0
    content = well_formed()
    without("area")(content)
    write(folder, content)
    capsys.readouterr()
    assert main(["prepare", "--data", str(folder), "--check", "--strict"]) == 2
    assert "mended 24 annotations: area from the mask 24; mend" in capsys.readouterr().err
    assert main(["prepare", "--data", str(folder), "--strict"]) == 2
    assert "--strict: goes with" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_pictures_are_said_by_the_check_too(folder, capsys, count):
    content = well_formed()
    content["images"] = content["images"][:count]
    content["annotations"] = content["annotations"][: 2 * count]
    write(folder, content)
    (checked, _, errors), (prepared, _, error) = run(folder, capsys)
    assert checked == prepared == 2
    assert "split" in errors and "split" in error
