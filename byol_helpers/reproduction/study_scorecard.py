"""The scorecard of a planned study: its controls, both protocols side by side, the label curve.

Everything is read from ``results/<study>`` (``study_files``). Seeds of pretraining and fine-tuning
vary together, and intervals cover them and the test images wherever a condition has at least three
seeds. The controls come first: without them no other number means anything. Then every claim under
both protocols of batch norm with all labels, and how far the protocol decides it (the interaction);
then AP by arm and number of labels; then the plan and what deviates from it.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from byol_helpers.core.arms import label_arm
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json
from byol_helpers.core.intervals import ENOUGH_SEEDS, t_interval
from byol_helpers.evaluation import comparison as comparisons
from byol_helpers.evaluation.curves import read_last_losses, read_last_rates
from byol_helpers.reproduction.claims import subtract_cosines
from byol_helpers.reproduction.label_curve import list_points_of, open_conditions
from byol_helpers.reproduction.leads import find_baseline, measure_lead, select_paired
from byol_helpers.reproduction.measures import convert_to_points, profile_confidence
from byol_helpers.reproduction.plan import (
    REPEAT_SEED,
    Condition,
    Study,
    count_labelled,
    list_conditions,
    list_trainings,
)
from byol_helpers.reproduction.run_results import RunResults, open_results
from byol_helpers.reproduction.thesis import Thesis
from byol_helpers.reproduction.verdicts import (
    NOT_TESTED,
    UNDECIDED,
    build_scorecard,
    count_trainings,
    describe_holm,
    describe_verdict,
    find_unit,
    write_markdown,
)

BOTH_PROTOCOLS = ("C1a", "C1b", "C2", "C3", "C5", "C6", "C7", "C8")
HOLDS = "holds"
FAILS = "fails"
NOT_SHOWN = "not shown"
MADE_ELSEWHERE = ("C14",)  # notebook 08 measures it, whatever the study
RATE_CLAIMS = {"C5": "false_negative", "C6": "false_positive", "C7": "accuracy"}


def build_study_scorecard(results: Path, name: str, study: Study, thesis: Thesis) -> dict:
    """Score a study, as far as it is done.

    Args:
        results: folder of the study, ``results/<name>``.
        name: of the study.
        study: its plan.
        thesis: the claims.

    Returns:
        ``study``, ``question``, ``plan`` (fingerprint), ``stopping``, ``progress``, ``deviations``
        (lines), ``controls``, ``protocols`` (the folder of each), ``labels`` (labelled images
        that the claims are judged with), ``claims`` (a row for each with the verdict under each
        protocol, the ``seeds`` that it rests on and those ``planned``, and ``interaction``),
        ``curve`` (a row for each arm and number of labels), ``cards`` (the scorecard of each
        protocol), and where they were chosen
        ``learning_rates`` (those of the arms under each condition); of a study on photographs,
        ``photographs`` (``name`` of their folder, ``images``, ``classes``).

    Raises:
        UserError: nothing of the study is there, or a file of it is damaged.
    """
    conditions = [c for c in list_conditions(study) if (results / c.name / "study.json").is_file()]
    if not conditions:
        raise UserError(
            f"{results}: no results of {name}; run: python -m byol_helpers study {name}"
        )
    every = count_labelled(study, 1.0)
    protocols = {c.protocol: c for c in conditions if c.images == every}
    cards = {}
    for protocol, condition in protocols.items():
        cards[protocol] = build_scorecard(results / condition.name, thesis)
    rates = {}
    photographs = None
    for condition in conditions:
        described = read_json(results / condition.name / "study.json")
        photographs = described.get("photographs", photographs)
        if described.get("learning_rates"):
            rates[condition.name] = described["learning_rates"]
    card = {
        "study": name,
        "question": study.question,
        "plan": study.fingerprint(),
        "stopping": study.stopping,
        "progress": count_done(results, study),
        "deviations": list_deviations(results, study),
        "controls": check_controls(results, study),
        "protocols": {protocol: condition.name for protocol, condition in protocols.items()},
        "labels": every,
        "claims": list(_compare_protocols(results, study, cards, protocols, thesis)),
        "curve": list(_list_curve(results, study)),
        "cards": cards,
    }
    if rates:
        card["learning_rates"] = rates
    if photographs:
        card["photographs"] = photographs
    return card


def count_done(results: Path, study: Study) -> dict[str, int]:
    """How many trainings of the plan have results: ``done`` of ``planned``."""
    trainings = list_trainings(study)
    done = sum((results / training.key / "stage.json").is_file() for training in trainings)
    return {"done": done, "planned": len(trainings)}


def list_deviations(results: Path, study: Study) -> list[str]:
    """In which ways the results are not what the plan says, a line each."""
    planned = {training.key for training in list_trainings(study)}
    stages = {}
    for path in sorted(results.glob("**/stage.json")):
        stages[path.parent.relative_to(results).as_posix()] = read_json(path)
    missing = sorted(planned - stages.keys())
    lines = []
    if missing:
        lines.append(f"{len(missing)} of {len(planned)} trainings are missing: {_shorten(missing)}")
    strange = sorted(stages.keys() - planned)
    if strange:
        lines.append(f"{len(strange)} trainings are not in the plan: {_shorten(strange)}")
    earlier = Counter(stage.get("plan") for stage in stages.values())
    for plan, count in sorted(earlier.items(), key=str):
        if plan != study.fingerprint():
            lines.append(f"{count} trainings were made under the plan {plan}, since changed")
    devices = sorted({stage["device"] for stage in stages.values()})
    if len(devices) > 1:
        lines.append(f"more than one kind of device: {', '.join(devices)}")
    versions = {_join_versions(stage["versions"]) for stage in stages.values()}
    if len(versions) > 1:
        lines.append(f"{len(versions)} different sets of package versions")
    return lines


def _join_versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def check_controls(results: Path, study: Study) -> list[dict]:
    """Whether the instrument works: an arm against itself, and against itself with fewer labels.

    Each has ``name``, ``expected``, ``seeds`` (pairs of trainings), ``measured`` and ``interval``
    in AP points (None without a pair), ``covers`` (what the interval covers) and ``verdict``:
    *holds*, *fails*, *not shown*. With fewer than three pairs it is *not shown*, whatever the
    interval over the test images: that does not cover the luck of training, and to tell it from an
    effect is what the control is for.
    """
    controls = study.controls
    if controls is None:
        return []
    every = Condition(controls.protocol, count_labelled(study, 1.0))
    few = Condition(controls.protocol, count_labelled(study, controls.positive_labels))
    same = measure_lead(
        _load_models(results, every, controls.same),
        _shift_seeds(_load_models(results, every, controls.same, again=True)),
    )
    known = measure_lead(
        _load_models(results, every, controls.positive),
        _load_models(results, few, controls.positive),
    )
    label = label_arm(controls.positive)
    return [
        _judge_control(
            f"{label_arm(controls.same)} against itself, other seeds of fine-tuning", "zero", same
        ),
        _judge_control(
            f"{label}: {every.images:,} labelled images - {few.images:,}", "above zero", known
        ),
    ]


def _judge_control(name: str, expected: str, lead: dict | None) -> dict:
    verdict = NOT_SHOWN
    if lead is not None and lead["seeds"] >= ENOUGH_SEEDS:
        low, high = lead["interval"]
        if expected == "zero":
            verdict = HOLDS if low <= 0 <= high else FAILS
        elif low > 0:
            verdict = HOLDS
        elif high < 0:
            verdict = FAILS
    return {
        "name": name,
        "expected": expected,
        "seeds": lead["seeds"] if lead else 0,
        "measured": lead["lead"] if lead else None,
        "interval": lead["interval"] if lead else None,
        "covers": lead["covers"] if lead else None,
        "verdict": verdict,
    }


def _load_models(
    results: Path, condition: Condition, arm: str, again: bool = False
) -> dict[int, comparisons.ModelResult]:
    """Models of an arm by seed of fine-tuning: those of the study, or those trained again."""
    found = {}
    for path in sorted((results / condition.name / "evaluate").glob(f"{arm}-seed*/metrics.json")):
        seed = int(path.parent.name.rpartition("-seed")[2])
        if (seed >= REPEAT_SEED) == again:
            found[seed] = comparisons.load_result(path.parent)
    return found


def _shift_seeds(models: dict[int, comparisons.ModelResult]) -> dict:
    """Models that were trained again, under the seeds of those that they repeat."""
    return {seed - REPEAT_SEED: model for seed, model in models.items()}


def _compare_protocols(
    results: Path,
    study: Study,
    cards: dict[str, dict],
    protocols: dict[str, Condition],
    thesis: Thesis,
) -> Iterator[dict]:
    """A row for each claim: its verdict under each protocol, and the interaction."""
    planned = {p: _count_planned_seeds(study, condition) for p, condition in protocols.items()}
    for claim in thesis.claims:
        row: dict = {"claim": claim.id, "text": claim.text, "unit": claim.unit, "protocols": {}}
        for protocol, card in cards.items():
            found = next(entry for entry in card["claims"] if entry["claim"] == claim.id)
            row["protocols"][protocol] = {
                "verdict": describe_verdict(found),
                "holm": describe_holm(found),
                "unit": find_unit(found),
                "measured": found["measured"],
                "interval": found["interval"],
                "seeds": count_trainings(found),
                "planned": None if claim.id in MADE_ELSEWHERE else planned[protocol],
                "reason": found["reason"],
            }
        row["interaction"] = None
        if claim.id in BOTH_PROTOCOLS and len(protocols) == 2:
            runs = {p: open_results(results / c.name) for p, c in protocols.items()}
            row["interaction"] = measure_interaction(runs["frozen"], runs["trainable"], claim.id)
        yield row


def _count_planned_seeds(study: Study, condition: Condition) -> int:
    """With how many seeds the plan trains under a condition."""
    blocks = list_conditions(study)[condition]
    return max(len(block.seeds or study.seeds) for block in blocks)


def measure_interaction(frozen: RunResults, trainable: RunResults, claim: str) -> list[dict]:
    """How much larger BYOL's lead of a claim is under frozen than under trainable batch norm.

    Returns:
        For each arm that the claim compares BYOL with ``name``, ``measured`` and ``interval`` in
        the claim's unit; the interval over common seeds, and for AP over test images too, is None
        where fewer than three seeds are common.
    """
    others = {"C1a": [frozen.reference], "C1b": ["random"], "C2": [frozen.reference]}
    rows = []
    for other in others.get(claim, [frozen.reference, "random"]):
        if claim in ("C1a", "C1b", "C2"):
            metric = "mask/APs" if claim == "C2" else "mask/AP"
            value, interval = _interact_precision(frozen, trainable, other, metric)
        else:
            leads = [_list_leads(run, claim, other) for run in (frozen, trainable)]
            common = sorted(leads[0].keys() & leads[1].keys())
            values = [leads[0][seed] - leads[1][seed] for seed in common]
            value = sum(values) / len(values) if values else None
            interval = t_interval(values, profile_confidence(frozen))
        name = f"(BYOL - {label_arm(other)}), frozen - trainable"
        ends = list(interval) if interval and not any(map(math.isnan, interval)) else None
        rows.append({"name": name, "measured": value, "interval": ends})
    return rows


def _interact_precision(
    frozen: RunResults, trainable: RunResults, other: str, metric: str
) -> tuple[float | None, tuple[float, float] | None]:
    """The interaction in AP points, and its interval over common seeds and test images; the value
    alone where fewer than three seeds are common."""
    keys = [(run, arm) for run in (frozen, trainable) for arm in ("byol", other)]
    models = [run.results_of(arm) for run, arm in keys]
    common = sorted(set.intersection(*(set(of_seed) for of_seed in models)))
    if not common:
        return None, None
    signs = (1, -1, -1, 1)  # (BYOL - other) under frozen, minus the same under trainable norm
    values = []
    draws = []
    for seed in common:
        of_seed = [model[seed] for model in models]
        values.append(sum(s * m.value(metric) for s, m in zip(signs, of_seed, strict=True)))
        parts = [s * m.columns[metric] for s, m in zip(signs, of_seed, strict=True)]
        draws.append(np.sum(parts, axis=0))
    if len(common) < ENOUGH_SEEDS:
        return 100 * float(np.mean(values)), None
    entry = comparisons.describe_seeds(values, np.array(draws), profile_confidence(frozen))[1]
    return convert_to_points(entry)


def _list_leads(run: RunResults, claim: str, other: str) -> dict[int, float]:
    """BYOL minus another arm for each seed, in the unit of a claim on curves or cut-outs."""
    if claim == "C8":
        ours = run.background.get("byol", {})
        seeds = sorted(ours.keys() & run.background.get(other, {}).keys())
        if not seeds:
            return {}
        return dict(zip(seeds, subtract_cosines(run, other).mean(axis=1).tolist(), strict=True))
    ours = run.curves.get("byol", {})
    theirs = run.curves.get(other, {})
    leads = {}
    for seed in ours.keys() & theirs.keys():
        if claim == "C3":
            ends = [read_last_losses(of[seed])["total"] for of in (ours, theirs)]
        else:
            ends = [read_last_rates(of[seed])[RATE_CLAIMS[claim]] for of in (ours, theirs)]
        leads[seed] = ends[0] - ends[1]
    return leads


def _list_curve(results: Path, study: Study) -> Iterator[dict]:
    """AP of every arm under every condition, and its lead over weights that nobody trained, in
    points and over the same seeds."""
    for condition, run in open_conditions(results, study):
        for point in list_points_of(condition, run):
            other = find_baseline(run, condition.protocol, point["arm"])
            lead = None
            if other is not None:
                ours = select_paired(run, condition.protocol, point["arm"])
                lead = measure_lead(ours, run.results_of(other))
            yield {
                "protocol": condition.protocol,
                "images": condition.images,
                "arm": point["arm"],
                "label": label_arm(point["arm"]),
                "seeds": len(point["seeds"]),
                "AP": point["AP"],
                "interval": point["interval"],
                "other": other if lead else None,
                "lead": lead["lead"] if lead else None,
                "lead_interval": lead["interval"] if lead else None,
                "covers": lead["covers"] if lead else None,
            }


def write_study_markdown(card: dict) -> str:
    """A study's scorecard as text, the scorecards of the protocols at its end."""
    text = f"# Scorecard of the study {card['study']}\n\n" + summarise_study(card)
    for protocol, of_protocol in card["cards"].items():
        inner = write_markdown(of_protocol).replace("\n#", "\n##")
        text += f"\n## Batch norm {protocol}\n\n" + inner.partition("\n\n")[2]
    return text


def summarise_study(card: dict, level: str = "##") -> str:
    """Question, controls, claims, label curve, plan and deviations of a study, as text.

    ``level``: of its headings.
    """
    progress = card["progress"]
    lines = [
        card["question"],
        "",
        f"{progress['done']} of {progress['planned']} trainings are done. Planned to stop: "
        f"{card['stopping']}.",
        "",
        *_describe_photographs(card),
        f"{level} Controls",
        "",
        "| control | expected | pairs of trainings | AP points | interval | it covers | |",
        "|---|---|---|---|---|---|---|",
    ]
    for control in card["controls"]:
        cells = [control["name"], control["expected"], str(control["seeds"])]
        cells += [*_format_pair(control, 2), control["covers"] or "–"]
        lines.append("| " + " | ".join([*cells, f"**{control['verdict']}**"]) + " |")
    lines += ["", *_explain_controls(card)]
    lines += ["", f"{level} Claims under both protocols", "", *_describe_claims(card)]
    lines += ["", *describe_decided(card)]
    lines += [
        "",
        f"{level} AP by initial weights and number of labelled images",
        "",
        "A seed counts once the weights that nobody trained have it too; AP and lead of a row rest "
        "on the same seeds.",
        "",
        "| norm | labelled images | initial weights | seeds | AP | interval | lead over | points "
        "| interval | it covers |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in card["curve"]:
        lead = {"measured": row["lead"], "interval": row["lead_interval"]}
        cells = [row["protocol"], f"{row['images']:,}", row["label"], str(row["seeds"])]
        cells += _format_pair({"measured": row["AP"], "interval": row["interval"]}, 2)
        cells += [label_arm(row["other"]) if row["other"] else "–", *_format_pair(lead, 2)]
        lines.append("| " + " | ".join([*cells, row["covers"] or "–"]) + " |")
    if "learning_rates" in card:
        lines += ["", f"{level} Learning rates, chosen by AP on validation images", ""]
    for condition, rates in card.get("learning_rates", {}).items():
        named = ", ".join(f"{label_arm(arm)} {rate:g}" for arm, rate in rates.items())
        lines.append(f"- {condition}: {named}")
    lines += ["", f"{level} Plan {card['plan']}, and what deviates from it", ""]
    lines += [f"- {line}" for line in card["deviations"]] or ["Nothing deviates from it."]
    return "\n".join(lines) + "\n"


def _describe_photographs(card: dict) -> list[str]:
    """What the pretraining saw, and the supervised arm, where that were photographs."""
    found = card.get("photographs")
    if not found:
        return []
    return [
        f"Pretrained on {found['images']:,} photographs of {found['name']}; "
        f"{label_arm('photographs')} learnt their labels, {found['classes']:,} classes.",
        "",
    ]


def _explain_controls(card: dict) -> list[str]:
    """What the verdicts on the controls mean for everything below."""
    verdicts = {control["verdict"] for control in card["controls"]}
    if FAILS in verdicts:
        return ["A control fails: the instrument is broken, and nothing below counts."]
    if NOT_SHOWN in verdicts:
        return [
            f"*Not shown*: a control takes {ENOUGH_SEEDS} pairs of trainings, so that its interval "
            "covers the luck of training, and an interval that decides. Until both controls hold, "
            "what stands below holds for these trainings, and for the weights nothing is confirmed."
        ]
    return []


def describe_decided(card: dict) -> list[str]:
    """How many rows a study decides under each protocol, and by which tests, as a list."""
    lines = []
    shown = all(control["verdict"] == HOLDS for control in card["controls"])
    what = "rows" if shown else "rows, of these trainings only,"
    counted = len(card["claims"]) - len(MADE_ELSEWHERE)
    for protocol in card["protocols"]:
        decided = []
        for row in card["claims"]:
            found = row["protocols"][protocol]
            verdict = found["verdict"]
            if row["claim"] not in MADE_ELSEWHERE and verdict not in (UNDECIDED, NOT_TESTED):
                tests = found["reason"].partition(";")[0]
                said = f"{row['claim']} {verdict} ({_count_seeds(found)}): {tests}"
                decided.append(f"  - {said}")
        end = ":" if decided else "."
        lines.append(f"- Batch norm {protocol}: {len(decided)} of {counted} {what} decided{end}")
        lines += decided
    lines.append(
        f"- {counted} of the {len(card['claims'])} rows are counted; no study measures "
        f"{', '.join(MADE_ELSEWHERE)}."
    )
    return lines


def _describe_claims(card: dict) -> list[str]:
    protocols = list(card["protocols"])
    of_each = ("interval", "verdict", "seeds", "Holm")
    heads = itertools.chain.from_iterable((p, *of_each) for p in protocols)
    names = ["", "claim", "unit", *heads, "frozen - trainable"]
    lines = [
        f"Judged with all {card['labels']:,} labelled images. *Seeds* are those of a claim's test "
        f"that has the fewest: with fewer than {ENOUGH_SEEDS} a verdict is about these trainings "
        "alone.",
        "",
    ]
    lines.append("| " + " | ".join(names) + " |")
    lines.append("|---" * len(names) + "|")
    for row in card["claims"]:
        cells = [row["claim"], row["text"], row["unit"] or "–"]
        for protocol in protocols:
            found = row["protocols"][protocol]
            value, interval = _format_pair(found, 3)
            of_another = found["measured"] is not None and found["unit"] != row["unit"]
            cells += [f"{value} ({found['unit']})" if of_another else value, interval]
            cells += [f"**{found['verdict']}**", _describe_seeds(found), found["holm"]]
        parts = []
        for entry in row["interaction"] or []:
            if entry["measured"] is not None:
                value, interval = _format_pair(entry, 3)
                said = interval if entry["interval"] else "(no interval)"
                parts.append(f"{entry['name']}: {value} {said}")
        lines.append("| " + " | ".join([*cells, "; ".join(parts) or "–"]) + " |")
    return lines


def _describe_seeds(found: dict) -> str:
    """One cell: on how many seeds a verdict rests, and what too few of them leave out."""
    if found["seeds"] is None:
        return "–"
    few = found["seeds"] < ENOUGH_SEEDS
    return _count_seeds(found) + (": luck of training not covered" if few else "")


def _count_seeds(found: dict) -> str:
    """1 of 5 seeds; 1 seed where the study has not planned them; times of steps have none."""
    if found["seeds"] is None:
        return "timed in blocks"
    if found["planned"] is None:
        return f"{found['seeds']} seed{'s' * (found['seeds'] != 1)}"
    return f"{found['seeds']} of {found['planned']} seeds"


def _format_pair(entry: dict, digits: int) -> list[str]:
    """Cells: a number and its interval, a dash for what is not there."""
    value = entry["measured"]
    ends = entry["interval"]
    return [
        "–" if value is None else f"{value:.{digits}f}",
        f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]" if ends else "–",
    ]


def _shorten(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
