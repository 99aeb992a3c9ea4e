"""The scorecard of a study, and every number of it again: on made-up results, without torch."""

import shutil
import subprocess
import sys

import pytest

from byol_helpers.cli import main
from byol_helpers.core.files import read_json, write_json
from byol_helpers.evaluation.comparison import compare_arms, load_result
from byol_helpers.reproduction.packed_detections import PACKED_FILE, read_packed, write_packed
from byol_helpers.reproduction.plan import find_study, list_trainings
from byol_helpers.reproduction.recomputation import compare_values, write_cards
from byol_helpers.reproduction.run_results import open_results
from byol_helpers.reproduction.study_files import DRAWS_FILE
from byol_helpers.reproduction.study_scorecard import (
    build_study_scorecard,
    list_deviations,
    write_study_markdown,
)
from byol_helpers.reproduction.thesis import load_thesis
from tests.helpers.made_study import make_study


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    results = make_study(tmp_path_factory.mktemp("made"))
    write_cards(results, "made", find_study("made", results.parents[1] / "plan.yaml"))
    return results


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made.parents[1], tmp_path, dirs_exist_ok=True)
    return tmp_path / "results" / "made"


@pytest.fixture(scope="module")
def card(made):
    return read_json(made / "scorecard.json")


def find_plan(results):
    return find_study("made", results.parents[1] / "plan.yaml")


def test_controls_come_first_and_hold(made, card):
    same, known = card["controls"]
    assert same["verdict"] == known["verdict"] == "holds"
    assert same["interval"][0] <= 0 <= same["interval"][1] and known["interval"][0] > 0
    text = (made / "scorecard.md").read_text()
    assert text.index("## Controls") < text.index("## Claims under both protocols")


def test_a_broken_instrument_shows_in_the_controls(copied):
    again = copied / "trainable-12/evaluate/supervised-seed100"
    for seed in (100, 101, 102):  # the repeats become another arm's models
        shutil.rmtree(again.with_name(f"supervised-seed{seed}"))
        source = again.with_name(f"random-seed{seed - 100}")
        shutil.copytree(source, again.with_name(f"supervised-seed{seed}"))
        shutil.rmtree(copied / f"trainable-3/evaluate/supervised-seed{seed - 100}")
        whole = again.with_name(f"supervised-seed{seed - 100}")
        shutil.copytree(whole, copied / f"trainable-3/evaluate/supervised-seed{seed - 100}")
    found = build_study_scorecard(copied, "made", find_plan(copied), load_thesis())
    assert [control["verdict"] for control in found["controls"]] == ["fails", "not shown"]
    assert "nothing below counts" in write_study_markdown(found)


def test_a_control_of_too_few_pairs_is_measured_and_not_shown(copied):
    for seed in (1, 2):
        shutil.rmtree(copied / f"trainable-12/evaluate/supervised-seed{seed}")
    found = build_study_scorecard(copied, "made", find_plan(copied), load_thesis())
    for control in found["controls"]:
        assert (control["seeds"], control["covers"]) == (1, "images only")
        assert control["interval"][0] <= control["measured"] <= control["interval"][1]
        assert control["verdict"] == "not shown"
    text = write_study_markdown(found)
    assert "for the weights nothing is confirmed" in text
    assert "Judged with all 12 labelled images." in text
    assert (
        "of 14 rows, of these trainings only, decided" in text
        and "14 of the 15 rows are counted; no study measures C14" in text
    )


def test_a_verdict_says_when_its_seeds_are_fewer_than_planned(copied):
    for stage in ("evaluate", "finetune"):
        shutil.rmtree(copied / "trainable-12" / stage / "byol-seed1")
    found = build_study_scorecard(copied, "made", find_plan(copied), load_thesis())
    said = {row["claim"]: row["protocols"] for row in found["claims"]}
    assert "not the luck of training (2 seeds)" in said["C1b"]["trainable"]["reason"]
    assert "fewer than 3 seeds there is no interval" in said["C3"]["trainable"]["reason"]
    assert "luck of training (" not in said["C1b"]["frozen"]["reason"]
    for claim in ("C1a", "C1b", "C2", "C3", "C4", "C10"):
        assert (said[claim]["trainable"]["seeds"], said[claim]["trainable"]["planned"]) == (2, 3)
    assert said["C8"]["trainable"]["seeds"] == said["C1b"]["frozen"]["seeds"] == 3
    assert said["C12"]["trainable"]["seeds"] is None  # not tested
    rows = {line.split(" | ")[0]: line for line in write_study_markdown(found).splitlines()}
    assert "2 of 3 seeds: luck of training not covered" in rows["| C1b"]
    assert "| 3 of 3 seeds |" in rows["| C1b"]  # frozen
    assert rows["| C14"].count("| 1 seed: luck of training not covered |") == 2


def test_arms_with_fewer_seeds_than_byol_show_in_the_claim_about_them(copied):
    for seed in (1, 2):
        shutil.rmtree(copied / f"trainable-12/evaluate/byol-random-seed{seed}")
    found = build_study_scorecard(copied, "made", find_plan(copied), load_thesis())
    said = {row["claim"]: row["protocols"]["trainable"] for row in found["claims"]}
    assert (said["C10"]["seeds"], said["C1b"]["seeds"]) == (1, 3)
    assert "not the luck of training (one seed)" in said["C10"]["reason"]
    assert "C10 reproduced (1 of 3 seeds)" in write_study_markdown(found)


def test_both_protocols_stand_side_by_side(card):
    rows = {row["claim"]: row for row in card["claims"]}
    gain = rows["C1b"]["protocols"]
    assert gain["trainable"]["verdict"] == "reproduced"
    # Under frozen norm the measured statistics alone get as far, so nothing is left of the gain.
    assert gain["frozen"]["verdict"] in ("undecided", "not reproduced", "equal within ±1 AP points")
    assert gain["frozen"]["measured"] > 5 and "statistics measured" in gain["frozen"]["reason"]
    for claim in ("C1a", "C2", "C3", "C5", "C6", "C7", "C8"):
        assert all(entry["interval"] for entry in rows[claim]["interaction"]), claim
    assert rows["C9"]["interaction"] is None


def test_the_interaction_is_the_difference_of_the_differences(made, card):
    (entry,) = next(row for row in card["claims"] if row["claim"] == "C1b")["interaction"]
    leads = {}
    for protocol, name in card["protocols"].items():
        pair = open_results(made / name).difference("byol", "random")
        leads[protocol] = 100 * pair["images_and_seeds"]["mask"]["AP"]["value"]
    assert entry["measured"] == pytest.approx(leads["frozen"] - leads["trainable"])
    assert entry["interval"][0] < entry["measured"] < entry["interval"][1]


def test_seeds_of_pretraining_are_covered_and_the_objective_is_of_the_study(card):
    claims = {row["claim"]: row for row in card["cards"]["trainable"]["claims"]}
    said = [row["reason"] for claim, row in claims.items() if claim != "C14"]  # another run's
    assert not any("one pretraining" in reason for reason in said)
    assert claims["C10"]["verdict"] == "reproduced" and claims["C8"]["tests"][0]["seeds"] == 3
    names = [value["name"] for value in claims["C5"]["values"]]
    assert any("on validation images, BYOL - random" in name for name in names)


def test_the_label_curve_has_every_arm_and_number_of_labels(made, card):
    assert len(card["curve"]) == 4 + 5 + 2
    few = next(r for r in card["curve"] if (r["images"], r["arm"]) == (3, "supervised"))
    folder = made / "trainable-3/evaluate"
    models = {path.name: load_result(path) for path in folder.glob("supervised-seed?")}
    mean = compare_arms(models)["arms"]["supervised"]["mask"]["AP"]["value"]
    assert few["AP"] == pytest.approx(100 * mean) and few["seeds"] == 3 and few["lead"] > 0


def test_nothing_deviates_and_every_deviation_is_listed(copied, card):
    assert card["deviations"] == [] and card["progress"] == {"done": 45, "planned": 45}
    shutil.rmtree(copied / "trainable-3/finetune/random-seed1")
    stage = copied / "frozen-12/finetune/byol-seed0/stage.json"
    write_json(stage, read_json(stage) | {"plan": "0123456789ab", "device": "a GPU"})
    strange = copied / "trainable-12/finetune/byol-seed7"
    shutil.copytree(copied / "trainable-12/finetune/byol-seed0", strange)
    lines = list_deviations(copied, find_plan(copied))
    assert lines == [
        "1 of 45 trainings are missing: trainable-3/finetune/random-seed1",
        "1 trainings are not in the plan: trainable-12/finetune/byol-seed7",
        "1 trainings were made under the plan 0123456789ab, since changed",
        "more than one kind of device: CPU, 2 cores, a GPU",
    ]


def test_a_study_in_the_making_has_a_scorecard(copied):
    shutil.rmtree(copied / "frozen-12")
    shutil.rmtree(copied / "trainable-3")
    found = build_study_scorecard(copied, "made", find_plan(copied), load_thesis())
    assert list(found["protocols"]) == ["trainable"] and found["controls"][1]["verdict"] == (
        "not shown"
    )
    assert "trainings are missing" in write_study_markdown(found)


@pytest.mark.parametrize("done", range(1, 13))
def test_a_study_has_a_scorecard_after_each_of_its_trainings(copied, done):
    trainings = [training for training in list_trainings(find_plan(copied)) if training.condition]
    for training in trainings[3 * done :]:
        key = training.key.rpartition("/")[2]
        for stage in ("finetune", "evaluate", "validation", "background"):
            shutil.rmtree(copied / training.condition.name / stage / key)
    for protocol in ("trainable-12", "frozen-12"):
        if not list((copied / protocol / "finetune").glob("*")):
            shutil.rmtree(copied / protocol)
    found = build_study_scorecard(copied, "made", find_plan(copied), load_thesis())
    assert write_study_markdown(found) and found["progress"]["planned"] == 45


def run_verdicts(results):
    plan = results.parents[1] / "plan.yaml"
    return main(["verdicts", "--results", str(results.parent), "--plan", str(plan)])


def test_every_number_is_found_again(made, capsys):
    assert run_verdicts(made) == 0
    assert "made: every number is what its" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("scorecard.md", "holds", "fails", "scorecard.md: its text is not"),
        ("scorecard.json", '"planned": 45', '"planned": 46', "scorecard.json: progress/planned"),
        ("trainable-12/study.json", '64,', '65,', "scorecard.json: cards/trainable"),
        ("trainable-12/finetune/byol-seed1/metrics.csv", "\n400,", "\n401,", None),
    ],
)  # fmt: skip
def test_a_changed_text_is_named(copied, capsys, name, old, new, said):
    path = copied / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert run_verdicts(copied) == (0 if said is None else 1)
    assert said is None or said in capsys.readouterr().err


@pytest.mark.parametrize("metric", ["AP", "APs"])
@pytest.mark.parametrize("end", ["value", "low", "high"])
def test_a_changed_digit_of_a_metric_is_named(copied, capsys, metric, end):
    path = copied / "frozen-12/evaluate/random-seed2/metrics.json"
    content = read_json(path)
    entry = content["mask"][metric]
    entry[end] = round(entry[end] + 1e-6, 6)
    write_json(path, content)
    assert run_verdicts(copied) == 1
    assert f"metrics.json: mask/{metric}/{end} is {entry[end]}" in capsys.readouterr().err


def test_a_changed_detection_draw_or_score_is_named(copied, capsys):
    folder = copied / "trainable-12/evaluate/byol-seed0"
    packed = read_packed(folder / PACKED_FILE)
    packed["common"] = packed["common"] // 2
    write_packed(folder / PACKED_FILE, packed)
    other = copied / "trainable-12/evaluate/random-seed0" / DRAWS_FILE
    shutil.copy(copied / "trainable-12/evaluate/random-seed1" / DRAWS_FILE, other)
    scores = copied / "frozen-12/background/byol-seed0/metrics.json"
    content = read_json(scores)
    content["per_image"][0]["cosine"] += 0.01
    write_json(scores, content)
    assert run_verdicts(copied) == 1
    said = capsys.readouterr().err
    assert "byol-seed0/metrics.json: mask/" in said
    assert "random-seed0/metrics.json: draw 0 of" in said
    assert "frozen-12/background/byol-seed0/metrics.json: cosine/" in said


def test_no_results_is_one_line(tmp_path, capsys):
    assert main(["verdicts", "--results", str(tmp_path)]) == 2
    assert "no results with a scorecard" in capsys.readouterr().err


def test_no_torch_is_needed(made):
    code = (
        "import sys\n"
        "from byol_helpers.cli import main\n"
        f"status = main(['verdicts', '--results', {str(made.parent)!r}, "
        f"'--plan', {str(made.parents[1] / 'plan.yaml')!r}])\n"
        "sys.exit(status or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_values_differ_by_more_than_rounding():
    assert not list(compare_values({"a": [1.0, None]}, {"a": [1.0 + 1e-12, float("nan")]}))
    assert list(compare_values({"a": [1.0]}, {"a": [1.001]})) == ["a/0 is 1.0, recomputed 1.001"]
    assert list(compare_values([1], [1, 2]))
