"""Verdicts on a made-up run folder in which BYOL is better than the stand-in, and both better than
random.
"""

import json
import shutil

import numpy as np
import pytest

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_json, write_text
from byol_helpers.core.profile_files import dump_profile, load_profile
from byol_helpers.evaluation.comparison import evaluate_model, load_result, save_result
from byol_helpers.reproduction.measures import Measure
from byol_helpers.reproduction.thesis import load_thesis
from byol_helpers.reproduction.verdicts import (
    EQUAL,
    VERDICTS,
    build_scorecard,
    decide_verdict,
    write_markdown,
)
from tests.helpers.detections import LIMITS, guesses, world

THESIS = load_thesis()
TRUTH, SHAPES = world(0, images=30)
NOISE = {
    "byol": 0.5,
    "supervised": 1.5,
    "byol-random": 1.5,
    "random": 4.0,
    "random-measured": 1.5,
    "supervised-measured": 0.5,
}  # of the boxes: how bad an arm is
HEADER = (
    "step,total_loss,loss_cls,loss_box_reg,loss_mask,seconds,"
    "mask_rcnn/accuracy,mask_rcnn/false_positive,mask_rcnn/false_negative"
)


def curve(arm: str, seed: int) -> str:
    """Forty rows of a fine-tuning in which the losses of the better arms are lower."""
    rng = np.random.default_rng([seed, len(arm)])
    levels = {"byol": 0.2, "supervised": 0.22, "byol-random": 0.25, "random": 0.4}
    level = levels.get(arm, 0.3) + 0.001 * seed
    rows = []
    for i in range(40):
        loss = level + 0.5 * 0.8**i
        rows.append(
            [20 * (i + 1), 9, loss, loss, loss, 1 + 0.01 * rng.random(), 1 - loss, loss, loss]
        )
    return "\n".join([HEADER, *(",".join(map(str, row)) for row in rows)]) + "\n"


def make_run(path, seeds=(0,), arms=("byol", "supervised", "random"), norm="trainable"):
    """Every artefact that the scorecard reads, as the stages leave them."""
    overrides = [f"finetune.seeds={list(seeds)}", f"finetune.arms=[{', '.join(arms)}]"]
    overrides.append(f"finetune.norm_policy={norm}")
    profile = load_profile("smoke", overrides)
    write_text(path / "profile.yaml", dump_profile(profile))
    write_json(path / "splits.json", {"pretrain": ["a.png"] * 64})
    about = {
        "engine": "torchvision",
        "profile": "smoke",
        "iterations": 40,
        "replicates": 60,
        "area_limits": LIMITS,
    }
    for arm in arms:
        for seed in seeds:
            key = f"{arm}-seed{seed}"
            found = guesses(SHAPES, seed + 1, NOISE[arm], decimals=6)
            save_result(
                evaluate_model(TRUTH, found, arm=arm, seed=seed, **about), path / "evaluate" / key
            )
            write_text(path / "finetune" / key / "metrics.csv", curve(arm, seed))
            write_json(path / "finetune" / key / "stage.json", {"parameters": {}})
            write_json(
                path / "background" / key / "metrics.json", background(0.95 - 0.1 * NOISE[arm])
            )
    write_json(path / "background" / "keep-everything" / "metrics.json", background(0.3))
    rows = [f"{block},{arm},{1 + 0.002 * (block % 3)}" for block in range(8) for arm in arms]
    write_text(path / "timing" / "seconds.csv", "\n".join(["block,arm,seconds", *rows]) + "\n")
    return path


def background(level: float) -> dict:
    images = [{"image_id": i, "cosine": level + 0.001 * i} for i in range(10)]
    return {"scores": {"cosine": {"value": level + 0.0045}}, "per_image": images}


def pretraining(path, name: str, loss: float, **parameters):
    write_text(
        path / "pretrain" / name / "metrics.csv",
        f"step,loss\n20,2\n40,{loss}\n60,{loss}\n80,{loss}\n",
    )
    write_json(path / "pretrain" / name / "stage.json", {"parameters": parameters})


def verdicts(card: dict) -> dict[str, str]:
    return {row["claim"]: row["verdict"] for row in card["claims"]}


@pytest.fixture(scope="module")
def one_seed(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "one")


@pytest.fixture(scope="module")
def three_seeds(tmp_path_factory):
    arms = ("byol", "supervised", "byol-random", "random")
    path = make_run(tmp_path_factory.mktemp("runs") / "three", (0, 1, 2), arms)
    pretraining(path, "byol", 0.5, hidden=2048, init="supervised")
    pretraining(path, "byol-random", 1.0, hidden=2048, init="random")
    pretraining(path, "wide", 0.7, hidden=4096, init="supervised")
    return path


@pytest.mark.parametrize(
    ("bounds", "claimed", "verdict"),
    [
        ((0.1, 0.5), (0, np.inf), "reproduced"),
        ((-0.5, -0.1), (0, np.inf), "not reproduced"),
        ((-0.1, 0.5), (0, np.inf), "undecided"),
        ((0.0, 0.5), (0, np.inf), "undecided"),
        ((0.95, 1.05), (0.9, 1.1), "reproduced"),
        ((0.95, 1.15), (0.9, 1.1), "undecided"),
        ((1.2, 1.3), (0.9, 1.1), "not reproduced"),
        (None, (0, np.inf), "undecided"),
        ((np.nan, np.nan), (0, np.inf), "undecided"),
    ],
)
def test_a_verdict_is_where_the_interval_lies(bounds, claimed, verdict):
    assert decide_verdict(Measure("q", None, 0.0, bounds, claimed)) == verdict


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ((-0.9, 0.9), EQUAL),
        ((-0.9, 1.1), "undecided"),
        ((-1.1, 0.9), "undecided"),
        ((0.1, 0.9), "reproduced"),  # on one side of zero, however small
        ((-0.9, -0.1), "not reproduced"),
    ],
)
def test_an_interval_around_zero_within_the_margin_shows_equality(bounds, verdict):
    assert decide_verdict(Measure("q", None, 0.0, bounds, (0, np.inf), margin=1.0)) == verdict


def test_a_claim_of_closeness_is_decided_by_its_own_range():
    for bounds, verdict in (
        ((0.95, 1.05), EQUAL),
        ((0.8, 1.0), "undecided"),
        ((1.2, 1.3), "not reproduced"),
    ):
        assert decide_verdict(Measure("q", None, 1.0, bounds, (0.9, 1.1), close=True)) == verdict


def test_one_seed(one_seed):
    card = build_scorecard(one_seed, THESIS)
    found = verdicts(card)
    assert list(found) == ["C1a", "C1b", *(f"C{i}" for i in range(2, 15))]
    assert [found[key] for key in ("C1a", "C1b", "C8")] == ["reproduced"] * 3
    assert found["C12"] == EQUAL
    assert [found[key] for key in ("C3", "C5", "C6", "C7")] == ["undecided"] * 4
    assert [found[key] for key in ("C9", "C10", "C11", "C13")] == ["not tested at this scale"] * 4
    assert found["C14"] != "not tested at this scale"  # measured on sets of its own
    assert sum(card["verdicts"].values()) == 15
    assert set(card["verdicts"]) == set(VERDICTS)


def test_numbers_stand_beside_those_of_the_thesis(one_seed):
    rows = {row["claim"]: row for row in build_scorecard(one_seed, THESIS)["claims"]}
    c1 = rows["C1a"]
    c8 = rows["C8"]
    assert (c1["thesis"], c1["unit"], c1["name"]) == (
        0.866,
        "AP points",
        "AP BYOL - supervised (stand-in)",
    )
    assert c1["interval"][0] < c1["measured"] < c1["interval"][1]
    assert "supervised (stand-in)" in c1["reason"]
    assert "not the luck of training" in c1["reason"]
    assert rows["C1b"]["thesis"] == 14.926
    assert rows["C1b"]["link"] == c1["link"]
    assert c1["values"][0]["name"] == "AP BYOL"
    assert c1["values"][0]["thesis"] == 28.486
    assert c1["scale"] == {
        "profile": "smoke",
        "engine": "torchvision",
        "seeds": [0],
        "test_images": 30,
        "iterations": 40,
        "pretraining_images": 64,
        "pretraining_iterations": 8,
    }
    assert c1["link"] == "notebooks/06-evaluation.html#claim-c1"
    assert c8["measured"] == pytest.approx(10.0)
    assert c8["scale"]["test_images"] == 10
    measured = {value["name"]: value["measured"] for value in c8["values"]}
    assert measured["cosine keep everything (baseline)"] == pytest.approx(30.45)
    skill = 100 * (0.9045 - 0.3045) / (1 - 0.3045)
    assert measured["skill over keeping everything, BYOL"] == pytest.approx(skill)
    assert rows["C12"]["measured"] == pytest.approx(1.0, abs=0.01)
    assert "stand-in" in rows["C13"]["reason"]


def test_three_seeds_decide_losses_rates_and_repeats(three_seeds):
    card = build_scorecard(three_seeds, THESIS)
    found = verdicts(card)
    assert [found[key] for key in ("C3", "C5", "C6")] == ["reproduced"] * 3
    rows = {row["claim"]: row for row in card["claims"]}
    assert rows["C3"]["interval"] == pytest.approx([-0.06, -0.06], abs=1e-6)
    assert found["C7"] == "not reproduced"  # always 0.02 behind, where 0.01 is close
    assert rows["C7"]["interval"] == pytest.approx([0.02, 0.02], abs=1e-6)
    [test] = rows["C1a"]["tests"]
    assert "one pretraining" in rows["C1a"]["reason"]
    differences = []
    for seed in range(3):
        results = [
            load_result(three_seeds / f"evaluate/{arm}-seed{seed}")
            for arm in ("byol", "supervised")
        ]
        values = [100 * result.metrics["mask"]["AP"]["value"] for result in results]
        differences.append(values[0] - values[1])
    assert test["measured"] == pytest.approx(np.mean(differences))
    half = 4.30265 * np.std(differences, ddof=1) / 3**0.5
    assert test["interval"][0] < test["measured"] - half  # wider than over the seeds alone
    assert test["interval"][1] > test["measured"] + half
    assert rows["C11"]["interval"][0] < rows["C11"]["measured"] < rows["C11"]["interval"][1]
    assert "it takes" in rows["C11"]["reason"] or "no number of them" in rows["C11"]["reason"]
    assert found["C9"] == found["C10"] == "undecided"
    assert [test["unit"] for test in rows["C10"]["tests"]] == ["AP points", "loss"]
    assert rows["C9"]["measured"] < 0
    assert "no interval: objective" in rows["C10"]["reason"]


def test_a_reversed_order_is_not_reproduced(tmp_path, monkeypatch):
    monkeypatch.setitem(NOISE, "byol", 4.0)
    monkeypatch.setitem(NOISE, "random", 0.5)
    found = verdicts(build_scorecard(make_run(tmp_path), THESIS))
    assert [found[key] for key in ("C1a", "C1b", "C8")] == ["not reproduced"] * 3


def test_a_lead_under_frozen_norm_must_hold_against_measured_statistics(tmp_path):
    arms = ("byol", "supervised", "random")
    card = build_scorecard(make_run(tmp_path / "without", (0,), arms, "frozen"), THESIS)
    rows = {row["claim"]: row for row in card["claims"]}
    assert [test["verdict"] for test in rows["C1b"]["tests"]] == ["reproduced", "undecided"]
    assert rows["C1b"]["verdict"] == rows["C8"]["verdict"] == "undecided"
    assert "random, statistics measured" in rows["C1b"]["reason"]
    names = [test["name"] for test in rows["C3"]["tests"]]
    assert names[1] == "total BYOL - supervised, statistics measured" and len(names) == 4
    controls = ("random-measured", "supervised-measured")
    card = build_scorecard(make_run(tmp_path / "with", (0,), arms + controls, "frozen"), THESIS)
    rows = {row["claim"]: row for row in card["claims"]}
    assert rows["C1b"]["verdict"] == "reproduced"  # measured statistics gain less than BYOL
    assert rows["C1a"]["verdict"] != "reproduced"  # and here as much


def test_classes_are_judged_against_what_chance_wins(one_seed):
    row = {row["claim"]: row for row in build_scorecard(one_seed, THESIS)["claims"]}["C4"]
    [test] = row["tests"]
    assert test["claimed"] == [1 / 3, None]
    classes = len(TRUTH["categories"])
    values = {value["name"]: value["measured"] for value in row["values"]}
    wins = 0
    for entry in TRUTH["categories"]:
        name = entry["name"]
        ahead = [
            values[f"AP {name}, BYOL - {other}"] for other in ("supervised (stand-in)", "random")
        ]
        wins += min(ahead) > 0
    assert test["measured"] == wins / classes
    [chance] = [value for name, value in values.items() if name.startswith("chance that")]
    assert chance == pytest.approx(1 - (2 / 3) ** classes)  # at least one of so few classes
    counted = [value for name, value in values.items() if name.startswith("classes ahead")]
    assert all(0 <= value <= classes for value in counted)


def test_holm_stands_beside_the_verdicts_of_the_primary_claims(one_seed):
    rows = {row["claim"]: row for row in build_scorecard(one_seed, THESIS)["claims"]}
    primary = {claim: row["holm"] for claim, row in rows.items() if row["primary"]}
    assert list(primary) == ["C1a", "C1b", "C8"]
    assert rows["C2"]["holm"] is None
    assert {holm["claims"] for holm in primary.values()} == {3}
    for claim, holm in primary.items():
        assert holm["p"] <= holm["adjusted"] <= min(1, 3 * holm["p"])
        assert holm["verdict"] == (
            rows[claim]["verdict"] if holm["adjusted"] <= 0.05 else "undecided"
        )


def test_an_empty_run_tests_nothing(tmp_path):
    write_text(tmp_path / "profile.yaml", dump_profile(load_profile("smoke")))
    card = build_scorecard(tmp_path, THESIS)
    found = verdicts(card)
    found.pop("C14")  # is no run's
    assert set(found.values()) == {"not tested at this scale"}
    assert "no result for BYOL" in card["claims"][0]["reason"]
    with pytest.raises(UserError, match="profile.yaml: no such file"):
        build_scorecard(tmp_path / "gone", THESIS)


def test_folders_of_other_seeds_and_unfinished_curves_are_passed_over(
    one_seed, three_seeds, tmp_path
):
    run = shutil.copytree(three_seeds, tmp_path / "run")
    shutil.copy(one_seed / "profile.yaml", run)
    (run / "finetune" / "byol-seed0" / "stage.json").unlink()
    card = build_scorecard(run, THESIS)
    assert card["scale"]["seeds"] == [0]
    assert verdicts(card)["C11"] == "not tested at this scale"
    assert card["claims"][3]["reason"] == "no result for BYOL"


def test_the_json_is_stable_and_the_markdown_complete(three_seeds):
    card = build_scorecard(three_seeds, THESIS)
    text = json.dumps(card, sort_keys=True, allow_nan=False)
    assert text == json.dumps(build_scorecard(three_seeds, THESIS), sort_keys=True, allow_nan=False)
    assert json.loads(text) == card
    markdown = write_markdown(card)
    assert markdown == write_markdown(json.loads(text))
    for row in card["claims"]:
        assert f"[{row['claim']}]({row['link']})" in markdown
    assert markdown.count("\n| ") >= 15 + 17
    assert "still to be checked" in markdown and "Smallest effect that matters" in markdown
    assert "0.866" in markdown or "0.87" in markdown
    assert len(card["contradictions"]) == 17
