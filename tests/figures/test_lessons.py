"""Figures and tables of the lessons: what a reader is told is what was handed over."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from byol_helpers import figures
from byol_helpers.figures.claims import VERDICT_INKS
from byol_helpers.reproduction.verdicts import NOT_TESTED, REPRODUCED, UNDECIDED


def read_words(fig) -> list[str]:
    """All text of a drawn figure, as a reader sees it."""
    fig.draw_without_rendering()
    return [text.get_text() for text in fig.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_a_table_is_markdown():
    table = figures.show_table(["arm", "AP"], [["BYOL", 11.3], ["random", 12.4]])
    assert table.data == "| arm | AP |\n| --- | --- |\n| BYOL | 11.3 |\n| random | 12.4 |"


def test_long_tails_are_drawn_over_the_diagonal():
    even = (np.array([0, 50, 100]), np.array([0, 50, 100]))
    fig = figures.plot_long_tail({"theirs": even, "ours": even})
    assert [line.get_label() for line in fig.axes[0].lines][:2] == ["theirs", "ours"]
    assert len(fig.axes[0].lines) == 3


def test_copies_stand_at_their_distances():
    fig = figures.plot_hash_distances([60, 64, 68], {"smaller": 3}, limit=20)
    assert fig.axes[0].texts[0].xy == (3, 0)
    assert list(fig.axes[0].lines[0].get_xdata()) == [20, 20]


def test_histories_have_a_panel_for_each_quantity():
    runs = {"BYOL": [(4.0, 0.9), (2.0, 0.8)], "collapsed": [(4.0, 0.9), (0.0, 0.0)]}
    fig = figures.plot_histories(runs, {"Loss": "loss", "Spread": "std"}, "Title", "")
    assert [ax.get_title("left") or ax.get_title() for ax in fig.axes] == ["Loss", "Spread"]
    assert list(fig.axes[1].lines[1].get_ydata()) == [0.9, 0.0]
    assert list(fig.axes[1].lines[1].get_xdata()) == [1, 2]


def test_schedules_start_at_step_zero():
    fig = figures.plot_schedules([0.0, 0.1, 0.0], [0.99, 0.995, 1.0], "3 steps")
    left, right = fig.axes
    assert list(left.lines[0].get_xdata()) == [0, 1, 2]
    assert list(right.lines[0].get_ydata()) == [0.99, 0.995, 1.0]


def test_the_classifier_is_shown_with_what_guessing_gives():
    metrics = {"step": np.array([5, 10]), "accuracy": np.array([0.2, 0.4])}
    fig = figures.plot_classifier(metrics, classes=10)
    assert list(fig.axes[0].lines[0].get_ydata()) == [20.0, 40.0]
    assert "guessing among 10 classes" in read_words(fig)


def test_exact_zeros_are_hollow_and_below_every_other_difference():
    controls = {"transferred": {"layer1": 0.0, "layer2": 0.0}, "BGR": {"layer1": 2.0, "layer2": 4}}
    fig = figures.plot_feature_differences(controls)
    hollow = [line for line in fig.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert np.nanmax(hollow[0].get_ydata()) < 2.0
    assert math.isnan(hollow[1].get_ydata()[0])


def test_distances_too_small_to_see_are_written():
    moved = {"BYOL": [0.001, 0.02, 0.02, 0.02, 0.02], "two random networks": [1.41] * 5}
    words = read_words(figures.plot_weight_distances(moved, ["#0072B2", "#009E73"]))
    assert "<0.01" in words
    assert words.count("1.41") == 5


def test_toy_detections_bear_rank_and_overlap():
    truth = {number: [(0, 0, 4, 4)] for number in range(1, 7)}
    found = [(1, 0.9, (0, 0, 4, 4)), (2, 0.8, (2, 2, 4, 4))]
    fig = figures.draw_toy_detections(truth, found, [True, False], [1.0, 4 / 28], (12, 16))
    assert {"1: 1.00", "2: 0.14", "picture 6"} <= set(read_words(fig))


def test_pixels_can_be_counted():
    mask = np.array([[1, 0], [1, 1]], bool)
    (ax,) = figures.draw_pixel_grids({"mask": (mask, "#882255")}, "One mask").axes
    inks = [to_hex(patch.get_facecolor()) for patch in ax.patches]
    assert inks == ["#882255", "#ffffff", "#882255", "#882255"]


def test_the_envelope_says_its_area():
    points = np.linspace(0, 1, 101)
    envelope = np.where(points < 0.5, 1.0, 0.0)
    fig = figures.plot_envelope(np.array([0.5]), np.array([1.0]), points, envelope)
    assert "Detector A at IoU 0.5: AP = 0.495" in read_words(fig)


def test_backgrounds_that_were_kept():
    fig = figures.plot_kept_backgrounds([10.0, 20.0], [30.0, 40.0])
    offsets = fig.axes[0].collections[0].get_offsets()
    assert np.array_equal(offsets, [[10.0, 30.0], [20.0, 40.0]])


@pytest.fixture
def card():
    """A scorecard of three claims: one test decided, one undecided, one without any."""
    above = {"thesis": 0.9, "claimed": [0, None]}
    decided = above | {"name": "a", "measured": 2.0, "interval": [1, 3], "verdict": REPRODUCED}
    decided["unit"] = "AP points"
    open_test = above | {"name": "b", "measured": 0.5, "interval": [-1, 2], "verdict": UNDECIDED}
    open_test["unit"] = "ratio"
    claims = [
        {"claim": "C1", "verdict": REPRODUCED, "unit": "AP points", "tests": [decided]},
        {"claim": "C2", "verdict": UNDECIDED, "unit": "ratio", "tests": [open_test]},
        {"claim": "C3", "verdict": NOT_TESTED, "unit": None, "tests": []},
    ]
    counted = {verdict: 0 for verdict in VERDICT_INKS}
    return {"claims": claims, "verdicts": counted | {REPRODUCED: 1, UNDECIDED: 1, NOT_TESTED: 1}}


def test_each_claim_has_a_tile_in_the_colour_of_its_verdict(card):
    fig = figures.draw_verdicts(card)
    fills = [to_hex(tile.get_facecolor()).upper() for tile in fig.axes[0].patches]
    assert fills == [VERDICT_INKS[row["verdict"]] for row in card["claims"]]
    assert {"C1", "yes", "C2", "?", "C3", "–"} <= set(read_words(fig))


def test_tests_are_grouped_by_unit_with_the_border_in_view(card):
    first, second = figures.plot_tests(card).axes
    assert [first.get_xlabel(), second.get_xlabel()] == ["AP points", "ratio"]
    assert first.get_xlim()[0] < 0 < 3 < first.get_xlim()[1]
    assert second.get_xlim()[0] < -1 and second.get_xlim()[1] > 2


def test_a_scorecard_without_intervals_is_drawn(card):
    for row in card["claims"]:
        row["tests"] = []
    assert len(figures.plot_tests(card).axes) == 1
