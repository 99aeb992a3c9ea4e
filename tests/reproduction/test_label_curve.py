"""The label curve of a study: with no result, with one seed, and with all of them."""

import shutil

import pytest

from byol_helpers import figures
from byol_helpers.reproduction.label_curve import (
    describe_help,
    describe_worth,
    list_leads,
    list_points,
    list_probes,
    list_worths,
)
from byol_helpers.reproduction.plan import find_study
from byol_helpers.reproduction.run_results import open_results
from tests.helpers.made_study import make_study


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Results of a study with three seeds; its plan lies two folders above."""
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def plan(whole):
    return find_study("made", whole.parents[1] / "plan.yaml")


@pytest.fixture
def begun(whole, tmp_path):
    """The same with seed 0 alone."""
    folder = tmp_path / "made"
    shutil.copytree(whole, folder)
    for seed in (1, 2):
        for path in folder.glob(f"*/*/*-seed{seed}"):
            shutil.rmtree(path)
    return folder


def probe(encoder, value, gain):
    row = {"encoder": encoder, "stage": "layer4", "probe": "linear", "per_class": None}
    return row | {"value": value, "gain": gain}


def test_nothing_is_there_yet(plan, tmp_path):
    assert list_points(tmp_path, plan) == []
    assert list_probes(tmp_path) == []
    (line,) = describe_help(list_leads(tmp_path, plan), [])
    assert "No pair" in line
    yours = {"random": {"value": 0.2, "low": None, "high": None}}
    assert len(figures.plot_label_curve([], [], yours, yours, 100).axes) == 2


def test_with_all_seeds_a_lead_covers_them(whole, plan):
    points = list_points(whole, plan)
    assert {(row["protocol"], row["images"]) for row in points} == {
        ("trainable", 12),
        ("trainable", 3),
        ("frozen", 12),
    }
    assert all(sorted(row["seeds"]) == [0, 1, 2] for row in points)  # none of those trained again
    leads = list_leads(whole, plan)
    assert {row["covers"] for row in leads} == {"images and seeds"}
    said = describe_help(leads, list_probes(whole))
    assert said[0].startswith("BYOL from random, 12 labelled images, batch norm trainable: +6.3")
    assert (
        "ahead, and the luck of training is covered. Beside it: supervised (stand-in) +17.9"
        in said[0]
    )
    assert len(figures.plot_label_curve(points, leads, {}, {}, 3).axes) == 4


def test_with_one_seed_it_says_what_is_missing(begun, plan):
    leads = list_leads(begun, plan)
    assert {(row["seeds"], row["covers"]) for row in leads} == {(1, "images only")}
    said = describe_help(leads, list_probes(begun))
    assert said[0].startswith("So far: ") and "over images only, 1 seed): ahead on" in said[0]
    assert "the luck of training is not covered" in said[0]
    figures.plot_label_curve(list_points(begun, plan), leads, {}, {}, 3)


def test_ap_and_lead_rest_on_the_seeds_that_both_have(whole, plan, tmp_path):
    folder = tmp_path / "made"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "trainable-12/evaluate/random-seed2")
    points = {(r["protocol"], r["images"], r["arm"]): r for r in list_points(folder, plan)}
    byol = points["trainable", 12, "byol"]
    random = points["trainable", 12, "random"]
    assert list(byol["seeds"]) == list(random["seeds"]) == [0, 1]
    (lead,) = [
        r for r in list_leads(folder, plan) if (r["protocol"], r["arm"]) == ("trainable", "byol")
    ]
    assert lead["lead"] == pytest.approx(byol["AP"] - random["AP"]) and lead["seeds"] == 2
    run = open_results(folder / "trainable-12")
    difference = run.difference("byol", "random")["mask"]["AP"]["value"]
    assert 100 * difference == pytest.approx(lead["lead"])


def test_labels_are_read_off_the_curve_of_random_weights(whole, plan):
    (row,) = list_worths(whole, plan)
    assert (row["arm"], row["images"], row["seeds"]) == ("supervised", 3, 3)
    low, high = row["interval"]
    assert 3 <= low <= row["worth"] <= high <= 12
    leads = list_leads(whole, plan)
    row = row | {"worth": 12.0, "interval": [6.0, 12.0], "seeds": 1}
    line, last, unlabelled = describe_worth([row], leads)
    assert "are with 12 or more (about 6 to 12 or more over images only, 1 seed)" in line
    assert last.startswith("With 12, the most that were tried, ") and "beyond them" in last
    assert f"{row['unlabelled']:,} unlabelled images" in unlabelled
    assert describe_worth([], leads)[0].startswith("No number")


def test_a_lead_that_cannot_be_told_from_zero_is_worth_no_labels():
    row = {"arm": "byol-random", "images": 100, "seeds": 1, "unlabelled": 32}
    row |= {"worth": 120.0, "interval": [110.0, 130.0], "least": 50, "most": 100}
    first, last, _ = describe_worth([row], [lead("byol-random", "cannot be told from zero")])
    assert first.endswith("cannot be told from random weights with as many.")
    assert "none led, BYOL from random did not so that it shows" in last


def lead(arm, verdict):
    about = {"protocol": "trainable", "images": 100, "arm": arm, "other": "random", "seeds": 3}
    return about | {"lead": 0.1, "interval": [-1, 1], "covers": "images", "verdict": verdict}


@pytest.mark.parametrize(
    ("labels", "byol", "reason"),
    [
        ("ahead", 20.0, "which may be too little"),
        ("ahead", 70.0, "may not be what a detector needs most"),
        ("cannot be told from zero", 20.0, "a fine-tuning that needs none"),
    ],
)
def test_where_byol_does_not_help_the_probes_say_why(labels, byol, reason):
    leads = [lead("byol-random", "cannot be told from zero"), lead("supervised", labels)]
    probes = []
    for arm, value in (("byol-random", byol), ("supervised", 90.0)):
        row = {"arm": arm, "seeds": 1, "value": value, "start": 15.0, "untrained": 14.0}
        probes.append(row | {"gain": value - 15, "interval": None})
    lines = describe_help(leads, probes)
    assert "of the way that labels go" in lines[2]
    assert reason in lines[-1]
    leads[0] = lead("byol-random", "ahead")
    assert len(describe_help(leads, probes)) == 3
