"""Results files as the tools of the field write them: scored where they can be meant, and a line
beside the numbers where they look wrong. None becomes an AP of 0 without a word.
"""

import json

import numpy as np
import pytest
from pycocotools import mask as rle

from byol_helpers.cli import main
from byol_helpers.evaluation.external_results import evaluate_results_files

HEIGHT = 48
WIDTH = 64
CORNERS = {1: (8, 6, 24, 20), 2: (30, 22, 56, 40)}  # by category: x0, y0, x1, y1
FIRST_ID = 1001  # so that no stem of a file is another image's id


def make_truth():
    images = []
    annotations = []
    for k in range(8):
        name = f"{k + 1:03}.jpg"
        record = {"id": FIRST_ID + k, "file_name": name, "width": WIDTH, "height": HEIGHT}
        images.append(record)
        for category, (x0, y0, x1, y1) in CORNERS.items():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record["id"],
                    "category_id": category,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                    "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                }
            )
    categories = [{"id": 1, "name": "box"}, {"id": 2, "name": "slab"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def make_results():
    """Every object, to the pixel."""
    results = []
    for annotation in make_truth()["annotations"]:
        packed = rle.frPyObjects(annotation["segmentation"], HEIGHT, WIDTH)[0]
        results.append(
            {
                "image_id": annotation["image_id"],
                "category_id": annotation["category_id"],
                "bbox": annotation["bbox"],
                "segmentation": packed | {"counts": packed["counts"].decode()},
                "score": 0.9,
            }
        )
    return results


def change_truth(**changes):
    def change(truth, results):
        for annotation in truth["annotations"]:
            annotation |= changes

    return change


def change_results(change_one):
    def change(truth, results):
        for entry in results:
            change_one(entry)

    return change


def name_images(truth, results):
    for entry in [*truth["images"], *truth["annotations"], *results]:
        key = "id" if "file_name" in entry else "image_id"
        entry[key] = f"img-{entry[key]}"


def spell_sizes(truth, results):
    for record in truth["images"]:
        record |= {"width": str(WIDTH), "height": str(HEIGHT)}


def find_name(entry):
    return f"{entry['image_id'] - FIRST_ID + 1:03}.jpg"


def find_stem(entry):
    return find_name(entry).removesuffix(".jpg")


SCORED = {  # as the perfect results that they are; and what is said
    "as it should be": (change_truth(), ""),
    "areas null": (change_truth(area=None), "mended 16 annotations: area from the mask 16"),
    "areas NaN": (change_truth(area=float("nan")), "area from the mask 16"),
    "areas as text": (change_truth(area="300.0"), "area as a number 16"),
    "iscrowd as text": (change_truth(iscrowd="0"), "iscrowd as text 16"),
    "image sizes as text": (spell_sizes, "width and height as whole numbers 8"),
    "image ids that are names": (name_images, "8 images: id as a number 8"),
    "category ids as floats": (
        change_results(lambda entry: entry.update(category_id=float(entry["category_id"]))),
        "",
    ),
    "category names": (
        change_results(
            lambda entry: entry.update(category_id=["box", "slab"][entry["category_id"] - 1])
        ),
        "",
    ),
    "image ids as text": (
        change_results(lambda entry: entry.update(image_id=str(entry["image_id"]))),
        "",
    ),
    "file names": (change_results(lambda entry: entry.update(image_id=find_name(entry))), ""),
    "stems": (change_results(lambda entry: entry.update(image_id=find_stem(entry))), ""),
    "stems as numbers": (
        change_results(lambda entry: entry.update(image_id=int(find_stem(entry)))),
        "",
    ),
    "scores as text": (change_results(lambda entry: entry.update(score="0.9")), ""),
    "boxes as text": (
        change_results(lambda entry: entry.update(bbox=[str(v) for v in entry["bbox"]])),
        "",
    ),
}


def score(folder, truth, results, **options):
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "model.json").write_text(json.dumps(results))
    out = folder / "out"
    files = [folder / "model.json"]
    said = evaluate_results_files(folder / "truth.json", files, out, replicates=20, **options)
    return said, json.loads((out / "model" / "metrics.json").read_text())


@pytest.mark.parametrize(("change", "mended"), SCORED.values(), ids=SCORED)
def test_what_can_be_meant_is_scored(tmp_path, change, mended):
    truth = make_truth()
    results = make_results()
    change(truth, results)
    said, _ = score(tmp_path, truth, results)
    notes = [line for line in said.splitlines() if line.startswith("Note:")]
    assert len(notes) == bool(mended) and mended in said
    for kind in ("mask", "box"):
        table = said[said.index(f"| model, {kind} |") :].splitlines()
        cells = [cell.strip().split(" ")[0] for cell in table[2].strip("|").split("|")]
        assert cells[:4] == ["model", "100.0", "100.0", "100.0"]
        assert cells[4:] == ["100.0", "not", "not", "100.0"]  # all are small, whatever was null


def make_corners(entry):
    x, y, width, height = entry["bbox"]
    entry["bbox"] = [x, y, x + width, y + height]


def make_relative(entry):
    x, y, width, height = entry["bbox"]
    entry["bbox"] = [x / WIDTH, y / HEIGHT, width / WIDTH, height / HEIGHT]


def shift_class(entry):
    entry["category_id"] = {1: 2, 2: 1}[entry["category_id"]]


def turn_boxes(entry):
    x, y, width, height = entry["bbox"]
    entry["bbox"] = [x + width, y + height, -width, -height]


DOUBTFUL = {
    "corners": (make_corners, "boxes fit the objects better when read as x0, y0, x1, y1"),
    "relative": (make_relative, "16 of 16 boxes lie within 0..1"),
    "negative": (turn_boxes, "16 of 16 boxes have a negative width or height"),
    "far away": (
        lambda entry: entry.update(bbox=[200, 100, 9, 9]),
        "16 of 16 boxes leave their images",
    ),
    "elsewhere": (
        lambda entry: entry.update(bbox=[1, 30, 9, 9]),
        "16 of 16 boxes lie elsewhere than their masks",
    ),
    "classes": (shift_class, "no detection of 'box' (1) overlaps an object of it, most overlap"),
}


@pytest.mark.parametrize(("change_one", "said"), DOUBTFUL.values(), ids=DOUBTFUL)
def test_what_looks_wrong_is_said_beside_the_numbers(tmp_path, change_one, said):
    results = make_results()
    for entry in results:
        change_one(entry)
    text, _ = score(tmp_path, make_truth(), results)
    assert f"Note: model.json: {said}" in text
    assert text.count("Note:") == 1


def test_boxes_are_scored_where_the_annotations_have_no_masks(tmp_path):
    truth = make_truth()
    for annotation in truth["annotations"]:
        annotation["segmentation"] = []
    for results in (make_results(), [entry | {"segmentation": []} for entry in make_results()]):
        said, _ = score(tmp_path, truth, results)
        assert "| model, box |" in said and "| model, mask |" not in said
        assert "Not scored, because not every file has it: segmentation." in said


REFUSED = {
    "relative polygons": (
        lambda truth: [a.update(segmentation=[scale(a)]) for a in truth["annotations"]],
        "16 of 16 objects lie within 0..1",
    ),
    "crowds only": (
        lambda truth: [a.update(iscrowd=1) for a in truth["annotations"]],
        "all 16 annotations have iscrowd 1, so none is an object",
    ),
    "image ids as lists": (
        lambda truth: [a.update(image_id=[1]) for a in truth["annotations"]],
        "annotation number 0 has the image_id [1]",
    ),
    "category ids as lists": (
        lambda truth: [c.update(id=[1]) for c in truth["categories"]],
        "category number 0 has the id [1]",
    ),
}


def scale(annotation):
    points = np.array(annotation["segmentation"][0]).reshape(-1, 2) / (WIDTH, HEIGHT)
    return points.ravel().tolist()


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_annotations_that_cannot_be_meant_are_refused(tmp_path, capsys, change, said):
    truth = make_truth()
    change(truth)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "model.json").write_text(json.dumps(make_results()))
    files = ["--ground-truth", str(tmp_path / "truth.json")]
    files += ["--detections", str(tmp_path / "model.json")]
    assert main(["evaluate", *files]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_mended_annotations_are_refused_when_asked(tmp_path, capsys):
    truth = make_truth()
    truth["annotations"][3]["area"] = None
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "model.json").write_text(json.dumps(make_results()))
    files = ["--ground-truth", str(tmp_path / "truth.json")]
    files += ["--detections", str(tmp_path / "model.json")]
    assert main(["evaluate", *files, "--strict"]) == 2
    assert "mended 1 annotation: area from the mask 1" in capsys.readouterr().err


def test_a_number_is_an_id_before_it_is_a_file_name(tmp_path):
    """Ids 2 to 9 of the files 001 to 008: the number 2 could mean two images."""
    truth = make_truth()
    results = make_results()
    for entry in [*truth["annotations"], *results]:
        entry["image_id"] += 2 - FIRST_ID
    for record in truth["images"]:
        record["id"] += 2 - FIRST_ID
    said, _ = score(tmp_path, truth, results)
    assert "| model | 100.0" in said
