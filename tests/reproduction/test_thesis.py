"""The thesis's numbers: sums and differences that must hold, contradictions that must not."""

import pytest

from byol_helpers.core.config import Profile
from byol_helpers.reproduction.literature import compare_with_published, describe_published
from byol_helpers.reproduction.thesis import load_thesis

THESIS = load_thesis()


def test_table_4_1_has_80_categories_and_the_printed_total():
    counts = [row[0] for row in THESIS.tables["4.1"].rows.values()]
    assert len(counts) == 80
    assert sum(counts) == 36335


def test_every_row_is_as_long_as_the_columns():
    for table in THESIS.tables.values():
        assert {len(row) for row in table.rows.values()} == {len(table.columns)}
    assert {name: len(table.rows) for name, table in THESIS.tables.items()} == {
        "2.1": 11,
        "2.2": 17,
        "4.1": 80,
        "4.2": 3,
        "4.3": 3,
        "4.4": 3,
    }


@pytest.mark.parametrize(("arm", "excess"), [("imagenet", 0.0), ("byol", 0.0), ("random", 0.0001)])
def test_total_losses_are_the_sums_of_their_parts_but_for_random(arm, excess):
    *parts, total = THESIS.tables["4.2"].rows[arm]
    assert total - sum(parts) == pytest.approx(excess, abs=1e-9)


def test_claimed_differences_follow_from_the_tables():
    ap, losses, cosine = THESIS.tables["4.3"], THESIS.tables["4.2"], THESIS.tables["4.4"]
    others = ("imagenet", "random")
    expected = {
        "C1a": [ap.value("byol", "AP") - ap.value("imagenet", "AP")],
        "C1b": [ap.value("byol", "AP") - ap.value("random", "AP")],
        "C2": [ap.value("byol", "APs") - ap.value("imagenet", "APs")],
        "C3": [losses.value("byol", "total") - losses.value(other, "total") for other in others],
        "C4": [10 / 80],
        "C8": [cosine.value("byol", "cosine") - cosine.value(other, "cosine") for other in others],
    }
    for claim, values in expected.items():
        assert list(THESIS.claim(claim).values.values()) == pytest.approx(values, abs=1e-9)
    hours = [
        THESIS.settings["finetuning"][f"hours_{arm}"].value
        for arm in ("byol", "imagenet", "random")
    ]
    ratios = [hours[0] / hours[1], hours[0] / hours[2]]
    assert list(THESIS.claim("C12").values.values()) == pytest.approx(ratios, abs=1e-4)


def test_claims_and_contradictions_are_complete():
    expected = ["C1a", "C1b", *(f"C{i}" for i in range(2, 15))]
    assert [claim.id for claim in THESIS.claims] == expected
    assert [entry.number for entry in THESIS.contradictions] == list(range(1, 18))


def test_table_2_2_has_counter_examples_to_always_better():
    table = THESIS.tables["2.2"]
    beaten = {}
    for name, row in table.rows.items():
        if row[0] is None:
            continue
        for column in table.columns[1:]:
            scratch = table.number("Random(Scratch)", column)
            found = table.number(name, column)
            if found is not None and found < scratch:
                beaten.setdefault(name, []).append(found)
    assert beaten == {
        "ContextEncoder": [56.5, 29.7],
        "TiedToEgoMotion": [41.7],
        "EgoMotion": [54.2, 43.9],
    }


def test_a_margin_has_a_reason_and_a_primary_claim_a_margin():
    for claim in THESIS.claims:
        assert claim.margin is None or (claim.margin.value > 0 and claim.margin.why)
        assert claim.margin is not None or not claim.primary


def test_the_literature_agrees_with_one_lead_and_not_with_the_other():
    found = {claim.id: compare_with_published(claim) for claim in THESIS.claims}
    assert found["C1a"]["line"] == "agrees"
    assert found["C1b"]["line"] == found["C13"]["line"] == "disagrees"
    assert found["C9"]["line"] == "no counterpart"
    assert "still to be checked" in describe_published(found["C13"], "AP points")
    assert "still to be checked" not in describe_published(found["C1b"], "AP points")


def test_every_parameter_of_a_contradiction_is_a_key_of_the_profile():
    for entry in THESIS.contradictions:
        if entry.parameter:
            section, key = entry.parameter.split(".")
            assert key in Profile.model_fields[section].annotation.model_fields, entry.parameter


def test_hundred_thousand_iterations_are_forty_epochs():
    tuning = THESIS.settings["finetuning"]
    assert (
        tuning["iterations"].value * tuning["batch_size"].value / tuning["train_images"].value == 40
    )
