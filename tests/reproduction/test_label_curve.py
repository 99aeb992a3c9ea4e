"""The label curve of a study: with no result, with one seed, and with all of them."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from byol_helpers import figures
from byol_helpers.evaluation.comparison import ModelResult
from byol_helpers.reproduction import label_curve
from byol_helpers.reproduction.label_curve import (
    describe_help,
    describe_worth,
    list_leads,
    list_points,
    list_probes,
    list_worths,
)
from byol_helpers.reproduction.plan import Condition, find_study
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
    row, _ = list_worths(whole, plan)
    assert (row["arm"], row["other"]) == ("supervised", "random")
    assert (row["images"], row["seeds"]) == (3, 3)
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
    none = lead("byol-random", "cannot be told from zero")
    row = {"arm": "byol-random", "other": "random", "images": 100, "seeds": 1, "unlabelled": 32}
    row |= {"worth": 120.0, "interval": [110.0, 130.0], "least": 50, "most": 100, "lead": none}
    first, last, _ = describe_worth([row], [none])
    assert first.endswith("cannot be told from random weights with as many.")
    assert last.startswith("With 100, the most that were tried, no lead of BYOL from random shows:")
    also = [none, lead("supervised", "ahead"), lead("byol", "behind")]
    last = describe_worth([row], also)[1]
    assert (
        "supervised (stand-in) still led, no lead of BYOL from random or BYOL shows: where" in last
    )


def make_model(points, draws=(0.0,)):
    """An evaluated model of so many AP points; its draws lie beside them."""
    metrics = {"mask": {"AP": {"value": points / 100}}, "bootstrap": {"confidence": 0.95}}
    return ModelResult(metrics, {"mask/AP": (points + np.array(draws)) / 100})


def read_worths(monkeypatch, supervised, byol, init="supervised"):
    """``list_worths`` of a study whose arms have such AP points, {labels: of each seed}."""
    drawn = np.linspace(-0.5, 0.5, 1001)
    conditions = []
    for images, of_seed in supervised.items():
        found = {
            "supervised": {k: make_model(points, 0 * drawn) for k, points in enumerate(of_seed)},
            "byol": {k: make_model(points, drawn) for k, points in enumerate(byol[images])},
        }
        run = SimpleNamespace(
            results_of=lambda arm, found=found: found.get(arm, {}),
            reference="supervised",
            profile={"pretrain": {"init": init}},
            study={"pretraining_images": 4000},
        )
        conditions.append((Condition("trainable", images), run))
    monkeypatch.setattr(label_curve, "open_conditions", lambda results, study: conditions)
    return list_worths(None, None)


CURVE = {1600: [30.0], 100: [10.0], 400: [20.0]}  # ten points for four times the labels


def test_unlabelled_images_are_worth_labels_on_the_curve_of_the_start(monkeypatch):
    byol = {100: [15.0], 400: [18.0], 1600: [31.0]}
    gained, lost, ended = read_worths(monkeypatch, CURVE, byol)
    assert (gained["arm"], gained["other"], gained["seeds"]) == ("byol", "supervised", 1)
    assert gained["worth"] == pytest.approx(100 * 4**0.5)
    ends = [100 * 4 ** (0.5 + 0.95 * side * 0.05) for side in (-1, 1)]
    assert gained["interval"] == pytest.approx(ends)
    assert lost["worth"] == pytest.approx(400 * 4**-0.2)
    assert ended["worth"] == pytest.approx(1600)
    _, *said = describe_worth([gained, lost, ended], [])
    assert said[0] == (
        "So far, with 100 labelled images 4,000 unlabelled ones add about 100 labelled ones to "
        "supervised (stand-in) (about 87 to about 110 over images only, 1 seed): BYOL, which began "
        "with it, is where it is with about 200. That is 0.025 of a label (0.022 to 0.028) for "
        "each unlabelled image."
    )
    assert "take about 97 labelled ones from supervised (stand-in) (about 76 to" in said[1]
    assert "has +1.0 points over it (+0.5 to +1.5" in said[2]
    assert said[2].endswith("because the curve of supervised (stand-in) ends there.")


def test_a_lead_over_the_start_that_the_seeds_do_not_bear_is_worth_nothing(monkeypatch):
    curve = {images: 3 * points for images, points in CURVE.items()}
    byol = {100: [9.0, 12.0, 13.0], 400: [22.0] * 3, 1600: [27.0] * 3}
    rows = read_worths(monkeypatch, curve, byol)
    _, untold, added, taken = describe_worth(rows, [])
    assert untold.startswith("With 100 labelled images it cannot be told what 4,000 unlabelled")
    assert "has +1.3 points over it (-3.9 to +6.5 over images and seeds, 3 seeds)" in untold
    assert added.startswith("With 400 labelled images 4,000 unlabelled ones add about 130 labelled")
    assert "take about 540 labelled" in taken


def test_beyond_the_curve_a_number_is_a_bound_and_random_starts_have_no_curve(monkeypatch):
    byol = {100: [32.0], 400: [9.0], 1600: [20.0]}
    far, short, _ = read_worths(monkeypatch, CURVE, byol)
    said = describe_worth([far, short], [])[1:]
    assert "add 1,500 or more labelled ones to" in said[0]
    assert said[0].endswith("is where it is with 1,600 or more.")
    assert "take 300 or more labelled ones from" in said[1] and "with 100 or fewer." in said[1]
    assert read_worths(monkeypatch, CURVE, byol, init="random") == []


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
