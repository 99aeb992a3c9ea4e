"""The scorecard: the thesis's claims beside what a run measured, with verdicts that are computed,
never typed.

An interval that lies wholly in the range that the claim names speaks for it, one wholly outside
against it. One that holds the border but lies within the margin, the smallest effect that matters,
says *equal within ±margin*; so does one in the range of a claim that two things are close. A claim
is *reproduced* when all of its intervals speak for it, *not reproduced* when one speaks against it,
*equal within ±margin* when all are decided and one shows no difference that matters, *undecided*
when one is not decided or cannot be had, and *not tested at this scale* when the run holds nothing
to measure it by. Beside the verdict of a primary claim stands what is left of it after Holm's
correction over all primary claims.
"""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

from byol_helpers.core.arms import label_arm
from byol_helpers.core.intervals import adjust_by_holm, read_p_value
from byol_helpers.evaluation.comparison import nan_to_none
from byol_helpers.reproduction.claims import CLAIMS
from byol_helpers.reproduction.literature import compare_with_published, describe_published
from byol_helpers.reproduction.measures import (
    Evidence,
    Measure,
    NotTested,
    profile_confidence,
)
from byol_helpers.reproduction.run_results import RunResults, open_results
from byol_helpers.reproduction.thesis import Claim, Thesis

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
EQUAL = "equal within ±margin"
UNDECIDED = "undecided"
NOT_TESTED = "not tested at this scale"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, EQUAL, UNDECIDED, NOT_TESTED)
STAND_IN = "supervised (stand-in) takes the place of the thesis's ImageNet weights"
REAL_LABELS = (
    "supervised (photographs), with labels of far fewer images, takes the place of the thesis's "
    "ImageNet weights"
)
SMALLEST_P = 0.001  # that a thousand draws can tell from zero
DECIMALS = {"AP points": 2, "IoU points": 1, "per cent": 2, "loss": 4, "classes": 0}


def build_scorecard(run_path: Path | str, thesis: Thesis) -> dict:
    """Score all claims on a run folder.

    Returns:
        ``{"run", "scale", "verdicts": {verdict: how many}, "claims": [row, ...], "contradictions":
        [...]}``. A row is ``{"claim", "text", "where", "tested", "unit", "thesis", "measured",
        "interval": [low, high] or None, "verdict", "reason", "tests": [...], "values": [...],
        "scale", "link", "margin", "primary", "holm", "published"}``; the numbers of the row are
        those of its first test. A test or value is ``{"name", "unit", "thesis", "measured",
        "interval"}``, a test with ``"verdict"``, ``"claimed": [low, high]`` (None: no limit),
        ``"margin"``, ``"close"``, ``"seeds"``, ``"trainings"`` and ``"over_images"`` (as in
        ``Measure``) besides.
        ``holm`` is ``{"p", "adjusted", "claims", "verdict"}`` or None; ``published`` is that of
        ``literature.compare_with_published``.

    Raises:
        UserError: no run folder, or a damaged file in it.
    """
    run = open_results(run_path)
    rows = [_score_claim(run, thesis, claim) for claim in thesis.claims]
    _correct_by_holm(rows, profile_confidence(run))
    counted = Counter(row["verdict"] for row in rows)
    return {
        "run": run.path.resolve().name,
        "scale": _read_scale(run, None),
        "verdicts": {verdict: counted[verdict] for verdict in VERDICTS},
        "claims": rows,
        "contradictions": [entry.model_dump() for entry in thesis.contradictions],
    }


def decide_verdict(measure: Measure) -> str:
    """Where the interval lies to the open range that the claim names, and to the margin."""
    if measure.bounds is None or measure.claimed is None:
        return UNDECIDED
    low, high = measure.bounds
    least, most = measure.claimed
    if math.isnan(low) or math.isnan(high):
        return UNDECIDED
    if least < low and high < most:
        return EQUAL if measure.close else REPRODUCED
    if high < least or low > most:
        return NOT_REPRODUCED
    margin = measure.margin
    return EQUAL if margin and -margin < low and high < margin else UNDECIDED


def write_markdown(card: dict) -> str:
    """The scorecard as text: scale, one line for each claim, the numbers behind them, the
    contradictions."""
    scale = card["scale"]
    lines = [
        "# Scorecard",
        "",
        _describe_scale(scale),
        "",
        "; ".join(f"{verdict}: {card['verdicts'][verdict]}" for verdict in VERDICTS) + ".",
        "",
        "| | claim | where | measured quantity | thesis | here | interval | verdict "
        "| after Holm | why | published |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in card["claims"]:
        cells = [
            f"[{row['claim']}]({row['link']})",
            row["text"],
            row["where"],
            *_format_numbers(row, find_unit(row)),
            f"**{describe_verdict(row)}**",
            describe_holm(row),
            row["reason"],
            describe_published(row["published"], row["unit"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for row in card["claims"]:
        lines += _describe_evidence(row)
    lines += [
        "",
        "## Where the thesis contradicts itself or leaves a choice",
        "",
        "| | subject | the thesis | here | parameter |",
        "|---|---|---|---|---|",
    ]
    for entry in card["contradictions"]:
        says = "; ".join(f"{said['where']}: {said['text']}" for said in entry["says"])
        parameter = f"`{entry['parameter']}`" if entry["parameter"] else "–"
        lines.append(
            f"| {entry['number']} | {entry['title']} | {says} | {entry['default']} | {parameter} |"
        )
    return "\n".join(lines) + "\n"


def _describe_scale(scale: dict) -> str:
    """One line on what the numbers rest on."""
    seeds = ", ".join(map(str, scale["seeds"]))
    return (
        f"Profile {scale['profile']}, engine {scale['engine']}, seeds {seeds}; "
        f"{_or_dash(scale['test_images'])} test images, "
        f"{scale['iterations']} iterations of fine-tuning; "
        f"{_or_dash(scale['pretraining_images'])} unlabelled images, "
        f"{scale['pretraining_iterations']} iterations of pretraining."
    )


def _score_claim(run: RunResults, thesis: Thesis, claim: Claim) -> dict:
    margin = claim.margin.value if claim.margin else None
    try:
        evidence = CLAIMS[claim.id](run, thesis)
        for i, test in enumerate(evidence.tests):
            if test.unit in (None, claim.unit):
                evidence.tests[i] = replace(test, margin=margin)
        verdict, said = combine_verdicts(evidence.tests)
        reason = "; ".join([said, *evidence.notes, *_name_stand_in(evidence)])
    except NotTested as why:
        evidence = Evidence([])
        verdict = NOT_TESTED
        reason = str(why)
    tests = [_describe_test(test, claim.unit) for test in evidence.tests]
    said = next(iter(claim.values.items()), ("–", None))
    headline: dict = {"name": said[0], "thesis": said[1], "measured": None, "interval": None}
    if tests:
        headline = tests[0]
    return {
        "claim": claim.id,
        "text": claim.text,
        "where": claim.where,
        "tested": claim.tested,
        "unit": claim.unit,
        **{key: headline[key] for key in ("name", "thesis", "measured", "interval")},
        "verdict": verdict,
        "reason": reason,
        "tests": tests,
        "values": [_describe_measure(value, claim.unit) for value in evidence.values],
        "scale": _read_scale(run, evidence.images),
        "link": f"notebooks/{claim.notebook}.html#{name_anchor(claim.id)}",
        "margin": claim.margin.model_dump() if claim.margin else None,
        "primary": claim.primary,
        "holm": None,
        "published": compare_with_published(claim),
    }


def find_unit(row: dict) -> str | None:
    """The unit of what a claim's row shows as measured: of its first test, or of the claim."""
    return row["tests"][0]["unit"] if row["tests"] else row["unit"]


def count_trainings(row: dict) -> int | None:
    """How many trainings a claim's verdict rests on: of its test that has the fewest, None where
    no test counts any."""
    counts = [test["trainings"] for test in row["tests"] if test["trainings"]]
    return min(counts, default=None)


def name_anchor(claim_id: str) -> str:
    """Where a notebook measures a claim; the two halves of C1 share their place."""
    return f"claim-{claim_id.lower().rstrip('ab')}"


def _correct_by_holm(rows: list[dict], confidence: float) -> None:
    """Fill in ``holm`` of the primary claims whose tests all have an interval."""
    tested = {}
    for row in rows:
        if row["primary"] and row["tests"] and all(test["interval"] for test in row["tests"]):
            tested[row["claim"]] = _read_claim_p(row, confidence)
    adjusted = dict(zip(tested, adjust_by_holm(list(tested.values())), strict=True))
    for row in rows:
        if row["claim"] in tested:
            p = adjusted[row["claim"]]
            decided = row["verdict"] in (REPRODUCED, NOT_REPRODUCED)
            kept = not decided or p <= 1 - confidence + 1e-9
            row["holm"] = {
                "p": tested[row["claim"]],
                "adjusted": p,
                "claims": len(tested),
                "verdict": row["verdict"] if kept else UNDECIDED,
            }


def _read_claim_p(row: dict, confidence: float) -> float:
    """p value of a claim: of its weakest test, or, if one speaks against it, of that one."""
    by_verdict = {}
    for test in row["tests"]:
        border = next(end for end in test["claimed"] if end is not None)
        low, high = test["interval"]
        p = read_p_value(test["measured"], (low, high), border, confidence)
        by_verdict.setdefault(test["verdict"], []).append(p)
    if NOT_REPRODUCED in by_verdict:
        return min(by_verdict[NOT_REPRODUCED])
    return max(max(found) for found in by_verdict.values())


def combine_verdicts(tests: list[Measure]) -> tuple[str, str]:
    """The verdict over all tests of a claim, at least one, and the reason in one line."""
    by_verdict = {verdict: [] for verdict in VERDICTS}
    for test in tests:
        by_verdict[decide_verdict(test)].append(test)
    different = [test for test in by_verdict[EQUAL] if not test.close]
    if by_verdict[NOT_REPRODUCED]:
        outside = _join_names(by_verdict[NOT_REPRODUCED])
        return NOT_REPRODUCED, f"wholly outside what is claimed: {outside}"
    if by_verdict[UNDECIDED]:
        without = [test for test in by_verdict[UNDECIDED] if test.bounds is None]
        straddling = [test for test in by_verdict[UNDECIDED] if test.bounds is not None]
        parts = [f"the interval straddles: {_join_names(straddling)}"] if straddling else []
        parts += [f"no interval: {_join_names(without)}"] if without else []
        return UNDECIDED, "; ".join(parts)
    if different:
        return EQUAL, f"no difference that matters: {_join_names(different)}"
    verdict = REPRODUCED if by_verdict[REPRODUCED] else EQUAL
    return verdict, f"wholly within what is claimed: {_join_names(tests)}"


def _name_stand_in(evidence: Evidence) -> list[str]:
    names = _join_names([*evidence.tests, *evidence.values])
    said = {label_arm("supervised"): STAND_IN, label_arm("photographs"): REAL_LABELS}
    return [note for label, note in said.items() if label in names]


def _join_names(tests: list[Measure]) -> str:
    return ", ".join(test.name for test in tests)


def _read_scale(run: RunResults, images: int | None) -> dict:
    """What the numbers of a row rest on."""
    tested = {model["images"] for model in run.models.values()}
    return {
        "profile": run.profile["name"],
        "engine": run.profile["finetune"]["engine"],
        "seeds": run.seeds,
        "test_images": images or next(iter(tested), None),
        "iterations": run.profile["finetune"]["steps"],
        "pretraining_images": run.pretraining_images,
        "pretraining_iterations": _count_pretraining_steps(run),
    }


def _count_pretraining_steps(run: RunResults) -> int:
    """Steps of the pretrainings; of released backbones those that made them."""
    steps = [entry["parameters"].get("steps", 0) for entry in run.pretraining.values()]
    return max(steps, default=0) or run.profile["pretrain"]["steps"]


def _describe_measure(measure: Measure, unit: str | None) -> dict:
    interval = None
    if measure.bounds is not None and not any(math.isnan(end) for end in measure.bounds):
        interval = [float(end) for end in measure.bounds]
    return {
        "name": measure.name,
        "unit": measure.unit or unit,
        "thesis": nan_to_none(measure.thesis),
        "measured": nan_to_none(measure.measured),
        "interval": interval,
    }


def _describe_test(test: Measure, unit: str | None) -> dict:
    claimed = test.claimed or (-math.inf, math.inf)
    return _describe_measure(test, unit) | {
        "verdict": decide_verdict(test),
        "claimed": [None if math.isinf(end) else end for end in claimed],
        "margin": test.margin,
        "close": test.close,
        "seeds": test.seeds,
        "trainings": test.trainings,
        "over_images": list(test.over_images) if test.over_images else None,
    }


def describe_verdict(row: dict) -> str:
    """The verdict of a row, with the margin in numbers where it names one."""
    if row["verdict"] != EQUAL:
        return row["verdict"]
    if row["margin"] is None:  # C12: the claim's own range is the margin
        return "equal within the claimed range"
    return f"equal within ±{row['margin']['value']:g} {row['unit']}"


def describe_holm(row: dict) -> str:
    """One cell: the verdict after Holm's correction; a dash for a claim that is not primary."""
    holm = row["holm"]
    if holm is None:
        return "–"
    p = holm["adjusted"]
    said = f"{p:.2g}" if p >= SMALLEST_P else f"below {SMALLEST_P}"
    return f"{holm['verdict']} (corrected p {said}, {holm['claims']} claims)"


def _format_numbers(quantity: dict, unit: str | None) -> list[str]:
    """Cells: name and unit, the thesis's value, ours, the interval."""
    digits = DECIMALS.get(unit or "", 3)
    ends = quantity["interval"]
    return [
        f"{quantity['name']} ({unit})" if unit else quantity["name"],
        _or_dash(quantity["thesis"], digits),
        _or_dash(quantity["measured"], digits),
        f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]" if ends else "–",
    ]


def _describe_margin(margin: dict | None, unit: str | None) -> str:
    if margin is None:
        return ""
    return f" Smallest effect that matters: {margin['value']:g} {unit} ({margin['why']})."


def _or_dash(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _describe_evidence(row: dict) -> list[str]:
    """All numbers behind one claim; nothing for one that was not tested."""
    if not row["tests"]:
        return []
    lines = [
        "",
        f"## {row['claim']}: {row['text']}",
        "",
        f"Tested: {row['tested']}." + _describe_margin(row["margin"], row["unit"]),
        "",
        "| quantity | thesis | here | interval | verdict |",
        "|---|---|---|---|---|",
    ]
    for test in row["tests"]:
        cells = [*_format_numbers(test, test["unit"]), test["verdict"]]
        lines.append("| " + " | ".join(cells) + " |")
    for value in row["values"]:
        cells = [*_format_numbers(value, value["unit"]), ""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines
