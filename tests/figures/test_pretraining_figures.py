"""Figures of what a pretraining has learnt: what is drawn is what was measured."""

import numpy as np
import pytest

from byol_helpers import figures


def make_probe(arm, gain):
    """A ``probe.json`` in which one row counts, and another stage."""
    rows = []
    for name, value in (("untrained", 0.1), ("start, measured", 0.12), (arm, 0.12 + gain)):
        for stage, more in (("layer3", 0.5), ("layer4", 0.0)):
            for per_class in (1, 5, None):
                row = {"encoder": name, "stage": stage, "probe": "linear", "per_class": per_class}
                value_here = value + more
                row |= {"value": value_here, "low": value_here - 0.02, "high": value_here + 0.02}
                rows.append(row)
    return {"rows": rows, "crops": {"bank": 100, "asked": 100, "categories": 10, "on": "windows"}}


def test_probe_curves_stand_beside_both_controls():
    found = {
        "byol-random": make_probe("BYOL from random", 0.1),
        "simclr-random": make_probe("SimCLR from random", 0.2),
    }
    fig = figures.plot_probe_curves(found)
    (ax,) = fig.axes
    lines = ax.lines[:4]
    assert [line.get_ydata()[0] for line in lines] == pytest.approx([10, 12, 22, 32])
    assert list(lines[0].get_xdata()) == [1, 5, 10]
    colours = [figures.ARM_COLOURS[arm] for arm in found]
    assert [line.get_color() for line in lines[2:]] == colours
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert labels == ["untrained", "start, measured", "BYOL from random", "SimCLR from random"]


def test_the_dense_probe_stands_beside_both_controls():
    random = "random, statistics measured"  # as the arm with these weights is called
    rows = []
    for name, value in (("untrained", 0.1), (random, 0.15), ("BYOL", 0.3)):
        for images in (10, 50):
            row = {"encoder": name, "images": images, "value": value + images / 1000, "gains": {}}
            row |= {"low": row["value"] - 0.02, "high": row["value"] + 0.03}
            rows.append(row)
    for row in rows[4:]:
        row["gains"] = {random: {"value": 0.15, "low": 0.12, "high": 0.17}}
    scenes = {"labelled": 50, "asked": 20, "size": 160, "categories": 10, "repeats": 3}
    fig = figures.plot_dense_probe({"scenes": scenes, "rows": rows})
    above, gained = fig.axes
    drawn = [list(line.get_ydata()) for line in above.lines]
    assert drawn == [pytest.approx(values) for values in ([11, 15], [16, 20], [31, 35])]
    assert [label.get_text() for label in above.get_xticklabels()] == ["10", "50"]
    (drawn,) = gained.containers
    line, _, (whiskers,) = drawn.lines
    assert list(line.get_ydata()) == [15, 15]
    assert line.get_color() == above.lines[2].get_color() == figures.ARM_COLOURS["byol"]
    ends = [segment[:, 1].tolist() for segment in whiskers.get_segments()]
    assert ends == [pytest.approx([12, 17])] * 2
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert labels == ["untrained", random, "BYOL"]
    assert gained.get_ylabel() == f"gain (points) over\n{random}"


def test_neighbours_of_the_same_category_are_framed():
    images = np.zeros((5, 8, 8, 3), np.uint8)
    labels = [0, 1, 0, 1, 0]
    found = {"before": np.array([[1, 2], [3, 0]]), "after": np.array([[2, 4], [0, 3]])}
    fig = figures.draw_neighbours(images, labels, [0, 1], found, "Neighbours")
    framed = []
    for ax in fig.axes:
        if ax.images:
            framed.append(ax.spines["left"].get_visible())
    assert framed == [False, False, True, True, True, False, True, False, False, True]


def test_maps_stand_beside_their_images():
    images = [np.zeros((8, 8, 3), np.uint8)] * 3
    maps = {"before": np.zeros((3, 2, 2, 3), np.uint8), "after": np.ones((3, 2, 2, 3), np.uint8)}
    fig = figures.draw_feature_maps(images, maps)
    captions = [ax.get_xlabel() for ax in fig.axes if ax.images]
    assert captions == ["image", "before", "after"] * 3


def test_the_loss_is_drawn_beside_dashed_baselines(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("step,loss\n5,4\n10,2\n")
    baselines = {"best constant": 1.75, "another image": 2.05}
    fig = figures.plot_loss_beside_baselines({"byol": file}, baselines, "Loss")
    (ax,) = fig.axes
    assert list(ax.lines[0].get_ydata()) == [4, 2]
    assert [line.get_ydata()[0] for line in ax.lines[1:]] == [1.75, 2.05]
    assert all(line.get_linestyle() != "-" for line in ax.lines[1:])
    assert [text.get_text() for text in ax.texts] == ["best constant: 1.75", "another image: 2.05"]


def test_curves_of_a_method_without_a_target(tmp_path):
    """SimCLR logs no tau: its line is missing there alone."""
    head = "step,loss,lr,tau,feature_std"
    (tmp_path / "byol.csv").write_text(f"{head}\n5,4,0.1,0.9,1\n")
    (tmp_path / "simclr.csv").write_text("step,loss,lr,feature_std\n5,5,0.1,1\n")
    csvs = {"byol": tmp_path / "byol.csv", "simclr-random": tmp_path / "simclr.csv"}
    fig = figures.plot_pretraining(csvs, "Both")
    assert [len(ax.lines) for ax in fig.axes] == [2, 2, 1, 2]
