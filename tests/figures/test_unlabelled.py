"""Figures of the lesson on learning without labels show the numbers that they are given."""

import numpy as np
from matplotlib.colors import to_hex

from byol_helpers import figures, load_thesis


def test_negatives_are_drawn_in_the_order_of_their_similarity():
    fig = figures.plot_negative_weights([0.5, -0.2], {0.1: [0.9, 0.1], 1.0: [0.6, 0.4]})
    line = fig.axes[0].lines[0]
    assert list(line.get_xdata()) == [-0.2, 0.5]
    assert np.allclose(line.get_ydata(), [10, 90])


def test_a_method_has_a_dot_for_each_seed_and_its_own_row():
    scores = {"SimCLR": [0.3, 0.5], "BYOL": [0.2, 0.2], "labels": [0.6, 0.6]}
    fig = figures.plot_method_scores(scores, {"untrained": [0.1, 0.3]}, "Title", "")
    ax = fig.axes[0]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert list(dots[0].get_xdata()) == [30, 50]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(scores)
    assert to_hex(dots[1].get_color()).upper() == figures.ARM_COLOURS["byol"]
    assert ax.get_legend().get_texts()[0].get_text() == "untrained: 20.0 %"


def test_table_2_1_leaves_out_the_row_that_only_places_has():
    fig = figures.plot_layer_accuracies(load_thesis().tables["2.1"])
    assert [len(ax.lines) for ax in fig.axes] == [10, 10]
    drawn = [list(line.get_ydata()) for line in fig.axes[0].lines]
    assert [19.3, 36.3, 44.2, 48.3, 50.5] in drawn


def test_what_is_worse_than_scratch_is_hollow_and_left_of_it():
    fig = figures.plot_gains_over_scratch(load_thesis().tables["2.2"])
    points = [line for line in fig.axes[0].lines if line.get_marker() in "os^"]
    hollow = [p for p in points if to_hex(p.get_markerfacecolor()) == "#ffffff"]
    assert len(hollow) == 5
    assert all(p.get_xdata()[0] < 0 for p in hollow)
    assert all(p.get_xdata()[0] >= 0 for p in points if p not in hollow)
