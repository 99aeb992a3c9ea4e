"""Figures draw from small made-up inputs, carry what a reader needs, and never load torch."""

import io
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol_helpers import figures
from byol_helpers.background.scores import REMOVAL_SCORES
from byol_helpers.coco.dataset import Split
from byol_helpers.core.arms import ARMS as ALL_ARMS
from byol_helpers.core.arms import BASELINE_LABELS, label_arm
from byol_helpers.core.errors import UserError
from byol_helpers.core.stage import Run
from byol_helpers.evaluation.average_precision import COCO_METRICS
from byol_helpers.evaluation.tide import ERROR_TYPES, Errors
from byol_helpers.figures.style import create_figure, encode_png
from byol_helpers.figures.tide import find_most_confused
from byol_helpers.reproduction.thesis import load_thesis

ARMS = ("byol", "supervised", "random")
CLASSES = [f"class {k}" for k in range(12)]


def entry(value, spread=0.05):
    return {"value": value, "low": value - spread, "high": value + spread}


def metrics(scale=1.0):
    mask = {name: entry(0.1 * (k + 1) * scale) for k, name in enumerate(COCO_METRICS)}
    mask["APs"] = {
        "value": None,
        "low": None,
        "high": None,
    }  # no small object among the test images
    return {
        "profile": "smoke",
        "engine": "torchvision",
        "seed": 0,
        "images": 8,
        "iterations": 40,
        "mask": mask,
        "per_class": {name: entry(0.05 * k * scale) for k, name in enumerate(CLASSES)},
    }


@pytest.fixture
def evaluated():
    return {arm: metrics(scale) for arm, scale in zip(ARMS, (1.0, 0.9, 0.6), strict=True)}


@pytest.fixture
def split(tmp_path):
    """Two pictures, one with a square and a crowd, one without anything.

    The second is not square.
    """
    Image.new("RGB", (40, 40), "#808080").save(tmp_path / "a.png")
    Image.new("RGB", (60, 40), "#404040").save(tmp_path / "b.png")
    square = {
        "image_id": 1,
        "category_id": 3,
        "iscrowd": 0,
        "segmentation": [[5, 5, 20, 5, 20, 20, 5, 20]],
    }
    crowd = square | {"iscrowd": 1, "segmentation": {"size": [40, 40], "counts": [800, 400, 400]}}
    images = [
        {"id": 1, "file_name": "a.png", "width": 40, "height": 40},
        {"id": 2, "file_name": "b.png", "width": 60, "height": 40},
    ]
    return Split(
        "test",
        tmp_path,
        images,
        {1: [square, crowd]},
        [{"id": 3, "name": "leaf"}],
        tmp_path / "test.json",
    )


def write_csv(path, columns):
    rows = "\n".join(
        ",".join(str(0.1 * k + step / 100) if k else str(step) for k in range(len(columns)))
        for step in range(20, 201, 20)
    )
    path.write_text(",".join(columns) + "\n" + rows + "\n")
    return path


@pytest.fixture
def csvs(tmp_path):
    columns = (
        "step",
        "total_loss",
        "loss_cls",
        "loss_box_reg",
        "loss_mask",
        "mask_rcnn/accuracy",
        "mask_rcnn/false_positive",
        "mask_rcnn/false_negative",
    )
    return {arm: write_csv(tmp_path / f"{arm}.csv", columns) for arm in ARMS}


def statistics():
    counted = {
        "images": 5,
        "instances": 60,
        "categories": {name: k for k, name in enumerate(CLASSES)},
        "sizes": {"small": 30, "medium": 20, "large": 10},
    }
    return {
        "area_limits": [54.6, 491.5],
        "pretrain": {"images": 9},
        "splits": {name: counted for name in ("test", "train", "val")},
    }


def comparison(evaluated, seeds=False):
    def difference(a, b):
        def gap(name):
            x, y = (evaluated[arm]["mask"][name]["value"] for arm in (a, b))
            return {"value": None, "low": None, "high": None} if x is None else entry(x - y, 0.02)

        mask = {name: gap(name) for name in COCO_METRICS}
        return {
            "a": a,
            "b": b,
            "mask": mask,
            "between_seeds": {"seeds": [0, 1, 2], "mask": mask} if seeds else None,
        }

    return {
        "images": 8,
        "differences": [difference(a, b) for a, b in itertools.combinations(evaluated, 2)],
    }


def words_in(fig):
    fig.draw_without_rendering()
    return " ".join(
        text.get_text() for text in fig.findobj(lambda artist: hasattr(artist, "get_text"))
    )


def check_plot(fig):
    """Wide enough, a title, a label on every axis of x and on the first of y, and it can be
    rendered.
    """
    assert 1000 <= fig.get_size_inches()[0] * 150 <= 1450
    assert fig.texts and fig.texts[0].get_text()
    shown = [ax for ax in fig.axes if ax.get_visible()]
    assert shown and all(ax.get_xlabel() for ax in shown)
    assert shown[0].get_ylabel()
    assert encode_png(fig, "x").startswith(b"\x89PNG")


def test_pretraining_curves(tmp_path):
    csv = write_csv(tmp_path / "p.csv", ("step", "loss", "lr", "tau", "feature_std", "seconds"))
    fig = figures.plot_pretraining({"byol": csv, "byol-random": csv}, "Pretraining")
    check_plot(fig)
    assert "BYOL from random" in words_in(fig)
    assert [ax.get_xlabel() for ax in fig.axes] == ["iteration"] * 4


def test_losses_show_logged_and_smoothed_values_of_each_panel(csvs):
    fig = figures.plot_losses(csvs["random"], "random", beta=0.5)
    check_plot(fig)
    for ax in fig.axes:
        smooth, logged = (line.get_ydata() for line in ax.lines)
        assert smooth[0] == logged[0] and smooth[1] == pytest.approx((logged[0] + logged[1]) / 2)
        assert ax.lines[1].get_linewidth() > ax.lines[0].get_linewidth()
        assert ax.get_title(loc="right") == f"last 10%: {logged[-1]:.3f}"  # of ten rows or fewer
    total = fig.axes[3].lines[0].get_ydata()
    assert total == pytest.approx(sum(ax.lines[0].get_ydata() for ax in fig.axes[:3]))
    assert "0.5" in words_in(fig) and "20 iterations" in words_in(fig)


def test_compared_losses_name_the_stand_in(csvs):
    fig = figures.plot_compared_losses(csvs)
    check_plot(fig)
    assert "supervised (stand-in)" in words_in(fig)


def test_rates_say_what_they_are_not(csvs):
    fig = figures.plot_rates(csvs)
    check_plot(fig)
    assert "not detection errors" in words_in(fig) and all(
        "%" in ax.get_ylabel() for ax in fig.axes
    )


def test_average_precision_shows_values_intervals_and_the_thesis(evaluated):
    fig = figures.plot_average_precision(evaluated, load_thesis().tables["4.3"])
    check_plot(fig)
    text = words_in(fig)
    assert "AP points" in text and "8 test images" in text and "1 seed" in text
    assert (
        "10.0" in text and "–" in text
    )  # AP of the first arm, and the undefined AP of small objects
    diamonds = [line for line in fig.axes[0].lines if line.get_marker() == "D"]
    assert [line.get_ydata()[0] for line in diamonds] == [28.486, 27.62, 13.56]


def test_class_ap_chooses_by_a_stated_rule(evaluated):
    check_plot(figures.plot_class_ap(evaluated, 4))
    by_mean = [t.get_text() for t in figures.plot_class_ap(evaluated, 4).axes[0].get_yticklabels()]
    assert by_mean == ["class 11", "class 10", "class 9", "class 8"]
    fig = figures.plot_class_ap(evaluated, 2, {name: 100 - k for k, name in enumerate(CLASSES)})
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == [
        "class 0 (100)",
        "class 1 (99)",
    ]
    assert "most frequent" in words_in(fig)


@pytest.mark.parametrize("seeds", [False, True])
def test_differences_have_a_zero_line_and_a_panel_for_each_pair(evaluated, seeds):
    fig = figures.plot_differences(comparison(evaluated, seeds))
    check_plot(fig)
    assert len(fig.axes) == 3 and fig.axes[1].get_title(loc="left") == "BYOL − random"
    assert all(any(list(line.get_xdata()) == [0, 0] for line in ax.lines) for ax in fig.axes)


def test_differences_of_one_arm_are_refused():
    with pytest.raises(UserError, match="two arms"):
        figures.plot_differences({"images": 8, "differences": []})


def test_a_model_that_finds_nothing_is_drawn():
    nothing = {
        arm: json.loads(json.dumps(metrics(0)).replace("-0.05", "0").replace("0.05", "0"))
        for arm in ARMS
    }
    check_plot(figures.plot_average_precision(nothing))
    check_plot(figures.plot_class_ap(nothing))
    encode_png(figures.draw_pipeline(nothing), "x")


@pytest.mark.parametrize("undefined", [None, math.nan])
def test_the_pipeline_is_drawn_without_numbers_where_there_is_no_interval(undefined):
    evaluations = {arm: metrics() for arm in ARMS}
    evaluations["byol"]["mask"]["AP"] |= {"low": undefined, "high": undefined}
    fig = figures.draw_pipeline(evaluations)
    assert words_in(fig).count("AP, interval") == len(ARMS)
    assert "AP, interval" not in words_in(figures.draw_pipeline({a: metrics() for a in ARMS}))


def test_statistics():
    check_plot(figures.plot_category_counts(statistics()))
    fig = figures.plot_size_shares(statistics())
    check_plot(fig)
    assert "50 %" in words_in(fig) and "COCO" in words_in(fig)


def test_removal_scores(evaluated):
    scored = {"images": 7, "scores": {name: entry(0.5) for name in REMOVAL_SCORES}}
    fig = figures.plot_removal_scores(
        dict.fromkeys((*BASELINE_LABELS, *ARMS), scored), "pictures with one object"
    )
    check_plot(fig)
    text = words_in(fig)
    assert (
        "lower is better" in text
        and "baselines" in text
        and "7 test images" in text
        and "one object" in text
    )
    names = [t.get_text() for t in fig.axes[0].get_yticklabels()]
    assert names == [*(label_arm(arm) for arm in ARMS), *BASELINE_LABELS.values()]
    greys = {bar.get_facecolor()[:3] for bar in fig.axes[0].patches[len(ARMS) :]}
    assert all(max(grey) - min(grey) < 0.05 for grey in greys)


def test_three_pictures_and_how_they_are_judged():
    image, mask = np.full((40, 40, 3), 90, np.uint8), np.eye(40, dtype=bool)
    judged = dict.fromkeys(("a", "b", "c"), {"iou": 0.5, "cosine": 0.25})
    fig = figures.plot_treatments(dict.fromkeys(judged, (image, mask)), judged, "Three pictures")
    text = words_in(fig)
    assert text.index("Cosine") < text.index("Overlap") and "25 %" in text and "50 %" in text
    assert len(fig.axes) == 6 and encode_png(fig, "x").startswith(b"\x89PNG")


def test_drawn_masks_leave_the_rest_of_the_picture_alone():
    image = np.full((60, 60, 3), 100, np.uint8)
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    out = figures.draw_masks(image, [mask], "#FF0000", opacity=0.5)
    assert (image == 100).all() and out.dtype == np.uint8
    assert out[30, 30].tolist() == [178, 50, 50]  # half way from 100 to (255, 0, 0)
    assert out[20, 30].tolist() == [255, 0, 0]  # the outline
    assert (out[:18] == 100).all() and (out[:, 42:] == 100).all()


def test_scene_grid_and_gallery(split):
    assert "leaf, crowd of leaf" in words_in(figures.draw_scenes(split, 2, 2, "Scenes"))
    assert "no object" in words_in(figures.draw_scenes(split, 2, 2, "Scenes"))
    fig = figures.draw_gallery(
        [np.zeros((8, 8), np.uint8)] * 3, ["a", "b", "c"], columns=2, title="Pictures"
    )
    assert len(fig.axes) == 4 and "Pictures" in words_in(fig)


def test_detections_below_the_threshold_are_not_shown(split):
    found = [
        {
            "image_id": 1,
            "category_id": 3,
            "score": score,
            "segmentation": split.annotations[1][0]["segmentation"],
        }
        for score in (0.9, 0.4)
    ]
    text = words_in(figures.draw_detections(split, {"byol": found, "supervised": []}, [1, 2]))
    assert "0.90" in text and "0.40" not in text and "nothing" in text
    assert "supervised (stand-in)" in text and "ground truth" in text


@pytest.mark.parametrize("scale", [0.1, 0.0, math.nan])
def test_error_types_say_what_ap50_would_gain(scale):
    made = {
        arm: Errors(
            2 * scale,
            dict.fromkeys(ERROR_TYPES, 1),
            dict.fromkeys(ERROR_TYPES, scale),
            scale,
            scale,
        )
        for arm in ARMS
    }
    fig = figures.plot_error_types(made)
    check_plot(fig)
    text = words_in(fig)
    assert "supervised (stand-in)" in text and "AP points" in text and "duplicate" in text
    assert ("20.0" in text and "10.0" in text) == (scale == 0.1) and ("–" in text) == math.isnan(
        scale
    )


def test_precision_recall_has_a_panel_for_each_iou_and_a_line_for_each_arm():
    curves = {iou: {arm: np.linspace(1, 0, 101) for arm in ARMS} for iou in (0.5, 0.75)}
    fig = figures.plot_precision_recall(curves)
    check_plot(fig)
    assert len(fig.axes) == 2 and "AP75" in words_in(fig) and "50.0" in words_in(fig)
    drawn = [line for line in fig.axes[0].lines if len(line.get_xdata()) == 101]
    assert [line.get_color() for line in drawn] == [figures.ARM_COLOURS[arm] for arm in ARMS]
    check_plot(figures.plot_precision_recall({0.5: {"byol": np.zeros(101)}}))


@pytest.mark.parametrize("classes", [3, 80])
def test_confusion_shows_at_most_ten_classes_and_loses_nothing(classes):
    counts = np.arange((classes + 1) ** 2).reshape(classes + 1, classes + 1)
    fig = figures.plot_confusion(
        dict.fromkeys(ARMS, counts), tuple(f"class {k}" for k in range(classes)), 0.5
    )
    check_plot(fig)
    text = words_in(fig)
    assert ("10 of 80 classes" in text) == ("other classes" in text) == (classes == 80)
    assert "background" in text and "missed" in text and "0.5" in text
    check_plot(figures.plot_confusion({"byol": np.zeros((4, 4), int)}, ("a", "b", "c"), 0.5))


def test_the_most_confused_classes():
    counts = np.diag([9, 9, 9, 9, 0])
    counts[1, 3] = 2
    assert find_most_confused([counts], 2) == [1, 3]
    assert find_most_confused([counts, counts], 3) == [0, 1, 3]


def test_extreme_images_of_one_arm_stand_beside_each_other(split):
    one = {"byol": {1: 0.5, 2: 0.0}}
    fig = figures.draw_extreme_images(split, {"byol": []}, {"best": 1, "median": 2}, one)
    assert len(fig.axes) == 4 and len({round(ax.get_position().y1, 6) for ax in fig.axes}) == 1
    text = words_in(fig)
    assert (
        "Best and median test image of the arm BYOL" in text
        and "F1 0.50: nothing" in text
        and "(image 2)" in text
    )
    fig = figures.draw_extreme_images(
        split, dict.fromkeys(ARMS, []), {"best": 1}, dict.fromkeys(ARMS, one["byol"])
    )
    assert len(fig.axes) == 4 and "mean F1 of the arms" in words_in(fig)


@pytest.mark.parametrize("count, axes", [(2, 6), (5, 18)])
def test_cutouts_fold_into_two_blocks(count, axes):
    row = {name: np.zeros((9, 9, 3), np.uint8) for name in ("original", "byol", "ground-truth")}
    assert len(figures.draw_cutouts([row] * count, "Cut-outs").axes) == axes


def test_diagrams(evaluated):
    assert "AP, interval" in words_in(figures.draw_pipeline())
    assert "AP  10.0" in words_in(figures.draw_pipeline(evaluated))
    assert "stop-gradient" in words_in(figures.draw_byol())


def test_show_keeps_the_files_and_the_alt_text(tmp_path):
    image = figures.show(
        create_figure(1, "Title"), "name", "What is to be seen.", Run(tmp_path, None)
    )
    assert image._repr_mimebundle_()[1]["image/png"]["alt"] == "What is to be seen."
    with Image.open(tmp_path / "figures/name.png") as kept:
        assert kept.width == 1380 and kept.info["Description"] == "What is to be seen."
        assert np.asarray(kept.convert("RGBA"))[..., 3].min() == 255
    first = (tmp_path / "figures/name.svg").read_bytes()
    assert b"<svg" in first and b"What is to be seen." in first
    figures.show(create_figure(1, "Title"), "name", "What is to be seen.", Run(tmp_path, None))
    assert (tmp_path / "figures/name.svg").read_bytes() == first


def test_fewer_colours_make_a_smaller_png_and_keep_those_of_the_arms():
    fig = figures.draw_gallery(
        [np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)], title="Noise"
    )
    assert len(encode_png(fig, "x", 64)) < 0.9 * len(encode_png(fig, "x"))
    bars = figures.plot_precision_recall({0.5: {"byol": np.zeros(101)}})
    with Image.open(io.BytesIO(encode_png(bars, "x", 64))) as picture:
        assert (0x00, 0x72, 0xB2) in {
            colour for _, colour in picture.convert("RGB").getcolors(4096)
        }


def test_show_refuses_an_empty_alt_text():
    with pytest.raises(UserError, match="alt text"):
        figures.show(create_figure(1, "Title"), "name", " ")


# Machado, Oliveira and Fernandes (2009), severity 1, in linear RGB.
BLIND = {
    "nobody": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def lab(colour, seen):
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(seen) @ linear, 0, 1)
    xyz = (
        np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        @ linear
    )
    x, y, z = np.where((t := xyz / (0.9505, 1, 1.089)) > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", BLIND)
def test_colours_of_the_arms_stay_apart(seen):
    assert set(ALL_ARMS) <= set(figures.ARM_COLOURS) and set(ALL_ARMS) <= set(figures.ARM_LINES)
    for a, b in itertools.combinations(figures.ARM_COLOURS.values(), 2):
        assert np.linalg.norm(lab(a, BLIND[seen]) - lab(b, BLIND[seen])) > 12, (a, b)
    lines = [(str(style["linestyle"]), style["marker"]) for style in figures.ARM_LINES.values()]
    assert len(set(lines)) == len(lines)


def test_figures_load_no_torch():
    script = (
        "import json, sys, byol_helpers.report.publish; print(json.dumps('torch' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert json.loads(done.stdout) is False
