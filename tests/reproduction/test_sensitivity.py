"""Verdicts under a reader's own choices: in Python, and the same in the script of the page."""

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from byol_helpers.core.intervals import t_interval
from byol_helpers.reproduction.sensitivity import (
    collect_evidence,
    move_bounds,
    reconsider_verdicts,
)

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scorecard.json"
SCRIPT = ROOT / "docs" / "static" / "scorecard.js"
SCALE = {"profile": "made up", "seeds": [0]}


def make_test(measured, interval, claimed=(0, None), margin=1.0, **changed):
    test = {
        "name": "AP a - b",
        "unit": "AP points",
        "thesis": None,
        "measured": measured,
        "interval": interval,
        "claimed": list(claimed),
        "margin": margin,
        "close": False,
        "seeds": None,
        "over_images": None,
        "verdict": "undecided",
    }
    return test | changed


def make_evidence(**tests):
    claims = []
    for claim, of in tests.items():
        row = {"claim": claim, "text": "", "where": "", "link": "", "unit": "AP points"}
        row |= {"verdict": "", "reason": "", "margin": {"value": 1.0, "why": ""}}
        claims.append(row | {"tests": of})
    return collect_evidence({"scale": SCALE, "claims": claims}, 0.95)


def test_a_lower_confidence_decides_and_a_higher_one_opens():
    evidence = make_evidence(C1=[make_test(2.0, [-0.1, 4.1])])
    assert reconsider_verdicts(evidence, 0.95) == {"C1": "undecided"}
    assert reconsider_verdicts(evidence, 0.9) == {"C1": "reproduced"}
    low, high = move_bounds(evidence, evidence["claims"][0]["tests"][0], 0.99, None, 0.0)
    assert (2 - low, high - 2) == pytest.approx((2.1 * 2.5758 / 1.95996,) * 2, rel=1e-4)


def test_a_wider_margin_makes_two_things_equal():
    evidence = make_evidence(
        C1=[make_test(0.2, [-1.5, 1.9])],
        C7=[make_test(0.2, [-1.5, 1.9], (-1.0, 1.0), close=True)],
        C13=[make_test(-1.8, [-1.9, -1.7], (-1.0, None))],
    )
    assert set(reconsider_verdicts(evidence, 0.95).values()) == {"undecided", "not reproduced"}
    wider = reconsider_verdicts(evidence, 0.95, 2.0)
    assert wider == {"C1": "equal within ±margin", "C7": "equal within ±margin"} | {
        "C13": "reproduced"
    }
    assert reconsider_verdicts(evidence, 0.95, 0.0)["C1"] == "undecided"


def test_more_seeds_narrow_an_interval_over_seeds_as_students_does():
    three = t_interval([1.0, 2.0, 3.0])
    evidence = make_evidence(C9=[make_test(2.0, list(three), seeds=3)])
    [test] = evidence["claims"][0]["tests"]
    assert move_bounds(evidence, test, 0.95, None, 0.0) == pytest.approx(three)
    six = move_bounds(evidence, test, 0.95, 6, 0.0)
    assert six[1] - 2 == pytest.approx(2.570582 / 6**0.5, rel=1e-5)  # deviation 1


def test_supposed_luck_of_training_widens_what_rests_on_images_alone():
    evidence = make_evidence(
        C1=[make_test(2.0, [0.1, 3.9])], C8=[make_test(2, [1, 3], margin=None)]
    )
    assert reconsider_verdicts(evidence, 0.95, 1.0, 3, 0.0)["C1"] == "reproduced"
    lucky = reconsider_verdicts(evidence, 0.95, 1.0, 3, 1.0)
    assert lucky == {"C1": "undecided", "C8": "reproduced"}
    first = evidence["claims"][0]["tests"][0]
    low, _ = move_bounds(evidence, first, 0.95, 3, 1.0)
    over_seeds = 4.302653 * 2**0.5 / 3**0.5
    assert 2 - low == pytest.approx((1.9**2 + over_seeds**2) ** 0.5, rel=1e-5)


def test_of_images_and_seeds_only_the_part_of_the_seeds_moves():
    test = make_test(0.0, [-5.0, 5.0], seeds=3, over_images=[-3.0, 3.0])
    evidence = make_evidence(C1=[test])
    [kept] = evidence["claims"][0]["tests"]
    assert move_bounds(evidence, kept, 0.95, 3, 9.0) == pytest.approx((-5, 5))
    ratio = (2.093024 / 20**0.5) / (4.302653 / 3**0.5)
    high = move_bounds(evidence, kept, 0.95, 20, 9.0)[1]
    assert high == pytest.approx((9 + 16 * ratio**2) ** 0.5, rel=1e-5)


def test_the_committed_verdicts_are_those_of_the_committed_numbers():
    evidence = json.loads(PAGE.read_text(encoding="utf-8"))
    said = {row["claim"]: row["verdict"] for row in evidence["claims"]}
    assert reconsider_verdicts(evidence, evidence["confidence"]) == said


def run_script(evidence, choices):
    """The page's verdicts for every choice, by node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the script of the scorecard page is not run")
    ask = (
        "const {reconsider} = require(process.argv[1]);"
        "const [evidence, choices] = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        "const all = choices.map((chosen) => Object.fromEntries(Object.entries("
        "reconsider(evidence, chosen)).map(([claim, now]) => [claim, now.verdict])));"
        "process.stdout.write(JSON.stringify(all));"
    )
    ended = subprocess.run(
        [node, "-e", ask, str(SCRIPT)],
        input=json.dumps([evidence, choices]),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ended.stdout)


@pytest.mark.parametrize("which", ["committed", "made up"])
def test_the_script_of_the_page_gives_the_verdicts_of_python(which):
    evidence = json.loads(PAGE.read_text(encoding="utf-8"))
    if which == "made up":
        rows = []
        for value, margin, claimed in itertools.product(
            (-1.5, -0.2, 0.4, 2.0), (None, 0.5), ((0, None), (None, 0), (-0.5, 0.5), (-0.5, None))
        ):
            for seeds, images in ((None, None), (3, None), (3, [value - 0.8, value + 0.5])):
                ends = [value - 1.0, value + 0.7]
                rows.append(
                    make_test(
                        value,
                        ends,
                        claimed,
                        margin,
                        seeds=seeds,
                        over_images=images,
                        close=claimed == (-0.5, 0.5),
                    )
                )
        pairs = {f"P{k}": rows[k : k + 2] for k in range(len(rows) - 1)}
        evidence = make_evidence(**{f"S{k}": [row] for k, row in enumerate(rows)}, **pairs)
    levels = [level["confidence"] for level in evidence["levels"]]
    choices = []
    expected = []
    for confidence, factor, seeds, spread in itertools.product(
        levels, (0, 0.5, 1, 3), (None, 3, 7, 20), (0.0, 0.3)
    ):
        choices.append(
            {"confidence": confidence, "factor": factor, "seeds": seeds, "spread": spread}
        )
        expected.append(reconsider_verdicts(evidence, confidence, factor, seeds, spread))
    assert run_script(evidence, choices) == expected
    assert len({json.dumps(verdicts) for verdicts in expected}) > 4  # they do move
