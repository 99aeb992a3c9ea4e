"""The label curve of a committed study: AP by arm and number of labels, what BYOL gains, how many
labels that is worth, and what the probes say about it.

Everything is computed in seconds from ``results/<study>`` (``study_files``), with as many seeds as
are there. Of fewer than three seeds an interval covers the test images only.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from byol_helpers.core.arms import ARMS, label_arm
from byol_helpers.core.files import read_json
from byol_helpers.core.intervals import ENOUGH_SEEDS, percentile_interval, t_interval
from byol_helpers.evaluation.comparison import ModelResult
from byol_helpers.reproduction.leads import (
    AHEAD,
    ARM_KEY,
    BEHIND,
    COMPARED_WITH,
    UNTOLD,
    average_precision_of,
    measure_lead,
    select_paired,
)
from byol_helpers.reproduction.plan import Condition, Study, list_conditions
from byol_helpers.reproduction.run_results import RunResults, open_results

COMPARED = ("byol", "byol-random", "supervised")
MEASURED_START = "start, measured"
SAID = {
    AHEAD: "ahead, and the luck of training is covered",
    BEHIND: "behind, and the luck of training is covered",
    UNTOLD: "the lead cannot be told from zero",
}
SAID_SO_FAR = {
    AHEAD: "ahead on these images; the luck of training is not covered",
    BEHIND: "behind on these images; the luck of training is not covered",
    UNTOLD: "the lead cannot be told from zero on these images",
}


def open_conditions(results: Path, study: Study) -> Iterator[tuple[Condition, RunResults]]:
    """The conditions of a study that have results."""
    for condition in list_conditions(study):
        folder = results / condition.name
        if (folder / "study.json").is_file():
            yield condition, open_results(folder)


def list_points(results: Path, study: Study) -> list[dict]:
    """AP of every arm under every condition that has results.

    A seed counts for an arm once the weights that nobody trained have it too (``select_paired``),
    so that AP and leads rest on the same trainings.

    Args:
        results: folder of the study, ``results/<name>``, which may be missing.
        study: its plan.

    Returns:
        Rows ``protocol``, ``images`` (labelled), ``arm``, ``AP`` in points, its ``interval`` over
        the test images or None, and ``seeds``, the AP of each.
    """
    rows = []
    for condition, run in open_conditions(results, study):
        rows += list_points_of(condition, run)
    return rows


def list_points_of(condition: Condition, run: RunResults) -> list[dict]:
    """The rows of ``list_points`` of one condition."""
    rows = []
    for arm in run.comparison["arms"]:
        models = select_paired(run, condition.protocol, arm)
        entry = average_precision_of(models)
        if entry["value"] is None:
            continue
        ends = None
        if entry["low"] is not None:
            ends = [100 * entry["low"], 100 * entry["high"]]
        rows.append(
            {
                "protocol": condition.protocol,
                "images": condition.images,
                "arm": arm,
                "AP": 100 * entry["value"],
                "interval": ends,
                "seeds": {seed: 100 * model.value(ARM_KEY) for seed, model in models.items()},
            }
        )
    return rows


def list_leads(results: Path, study: Study) -> list[dict]:
    """How much further every pretrained arm comes than the arms it has to be compared with.

    Under trainable batch norm that is ``random``; under frozen batch norm ``random-measured`` too.

    Returns:
        Rows ``protocol``, ``images``, ``arm``, ``other``, ``seeds`` (how many both have), ``lead``
        and ``interval`` in AP points, ``covers`` (what the interval covers) and ``verdict``.
    """
    rows = []
    for condition, run in open_conditions(results, study):
        for arm in COMPARED:
            for other in ("random", "random-measured"):
                ours = select_paired(run, condition.protocol, arm)
                lead = measure_lead(ours, run.results_of(other))
                if lead:
                    about = {"protocol": condition.protocol, "images": condition.images}
                    rows.append(about | {"arm": arm, "other": other} | lead)
    return rows


def list_worths(results: Path, study: Study) -> list[dict]:
    """With how many labels the weights of another arm would reach what a pretrained arm reaches.

    Under trainable batch norm: every pretrained arm on the curve of random weights, and BYOL on the
    curve of the supervised weights that it began with. Between the numbers of labels that were
    tried, AP of the other arm is taken on a straight line over the logarithm of the labels. All
    points are means over the same seeds; the interval, by the paired draws, covers the test images
    only.

    Returns:
        Rows ``arm``, ``other``, ``images``, ``seeds`` (how many), ``unlabelled`` (images of the
        pretraining), ``lead`` over the other arm with as many labels (``measure_lead``), ``worth``
        (labelled images), ``interval`` and ``least`` and ``most``, the numbers of labels between
        which it can be read: a value at one of them may lie beyond it. None for arms at the most
        labels of random weights.
    """
    runs = {}
    for condition, run in open_conditions(results, study):
        if condition.protocol == "trainable":
            runs[condition.images] = run
    rows = []
    for arm in COMPARED:
        of_arm = _list_worths_on(runs, arm, "random")
        rows += [row for row in of_arm if row["images"] < row["most"]]
    first = next(iter(runs.values()), None)
    if first is not None and first.profile["pretrain"]["init"] == "supervised":
        rows += _list_worths_on(runs, "byol", first.reference)
    return rows


def _list_worths_on(runs: dict[int, RunResults], arm: str, other: str) -> list[dict]:
    """The rows of ``list_worths`` of one arm on the curve of another.

    Args:
        runs: by the number of labelled images.
    """
    labels = [images for images in sorted(runs) if runs[images].results_of(other)]
    curve = [runs[images].results_of(other) for images in labels]
    rows = []
    for images, theirs in zip(labels, curve, strict=True):
        ours = runs[images].results_of(arm)
        common = sorted(set(ours).intersection(*curve))
        if common:
            found = _read_worth([ours[k] for k in common], _pick(curve, common), labels)
            about = {"arm": arm, "other": other, "images": images, "seeds": len(common)}
            about["unlabelled"] = runs[images].study["pretraining_images"]
            about["lead"] = measure_lead(ours, theirs)
            rows.append(about | found | {"least": labels[0], "most": labels[-1]})
    return rows


def _pick(curve: list[dict[int, ModelResult]], seeds: list[int]) -> list[list[ModelResult]]:
    return [[models[seed] for seed in seeds] for models in curve]


def _read_worth(
    ours: list[ModelResult], curve: list[list[ModelResult]], labels: list[int]
) -> dict[str, float | list[float]]:
    """Where a curve, a list of models for each number of labels, reaches our AP: on all test
    images, and by each draw of them."""
    value = float(np.mean([model.value(ARM_KEY) for model in ours]))
    values = [float(np.mean([model.value(ARM_KEY) for model in models])) for models in curve]
    drawn = np.mean([model.columns[ARM_KEY] for model in ours], axis=0)  # [B]
    curves = [np.mean([model.columns[ARM_KEY] for model in models], axis=0) for models in curve]
    draws = [_invert(a, b, labels) for a, b in zip(drawn, np.transpose(curves), strict=True)]
    confidence = ours[0].metrics["bootstrap"]["confidence"]
    ends = percentile_interval(np.array(draws), confidence)
    return {"worth": _invert(value, values, labels), "interval": list(ends)}


def _invert(value: float, values: list[float] | np.ndarray, labels: list[int]) -> float:
    """The number of labels at which a curve that never falls reaches a value, within its ends."""
    rising = np.maximum.accumulate(values)
    return float(np.exp(np.interp(value, rising, np.log(labels))))


def list_probes(results: Path) -> list[dict]:
    """What a linear probe reads from the last stage of each pretraining, with all labels.

    Returns:
        Rows ``arm``, ``seeds`` (how many), and in per cent, means over the seeds, ``value``,
        ``start`` (the same weights before the training, statistics measured), ``untrained`` and
        ``gain`` with ``interval``, Student's over seeds or None.
    """
    found: dict[str, list[dict]] = {}
    for path in sorted(results.glob("pretrain/*-seed*/probes.json")):
        arm = path.parent.name.rpartition("-seed")[0]
        probes = read_json(path)
        if probes:
            found.setdefault(arm, []).append(_pick_linear(probes, label_arm(arm)))
    rows = []
    for arm in sorted(found, key=list(ARMS).index):
        of_arm = found[arm]
        row: dict = {"arm": arm, "seeds": len(of_arm)}
        for name in ("value", "start", "untrained", "gain"):
            row[name] = 100 * float(np.mean([entry[name] for entry in of_arm]))
        ends = t_interval([100 * entry["gain"] for entry in of_arm])
        rows.append(row | {"interval": list(ends) if ends else None})
    return rows


def _pick_linear(probes: dict, encoder: str) -> dict:
    """Accuracies of the linear probe on layer4 with all labels, of an encoder and its controls."""
    of = {}
    for row in probes["rows"]:
        if (row["stage"], row["probe"], row["per_class"]) == ("layer4", "linear", None):
            of[row["encoder"]] = row
    return {
        "value": of[encoder]["value"],
        "start": of[MEASURED_START]["value"],
        "untrained": of["untrained"]["value"],
        "gain": of[encoder]["gain"],
    }


def describe_help(leads: list[dict], probes: list[dict]) -> list[str]:
    """In sentences where BYOL from random weights is ahead, where not, and what the probes say.

    Args:
        leads: of ``list_leads``.
        probes: of ``list_probes``.
    """
    of_byol = _select(leads, "byol-random")
    if not of_byol:
        return ["No pair of BYOL from random and random weights has been trained so far."]
    lines = []
    for row in of_byol:
        enough = row["seeds"] >= ENOUGH_SEEDS
        said = (SAID if enough else SAID_SO_FAR)[row["verdict"]]
        lines.append(
            f"{'' if enough else 'So far: '}BYOL from random, {row['images']:,} labelled images, "
            f"batch norm {row['protocol']}: {row['lead']:+.1f} points over "
            f"{label_arm(row['other'])} ({_describe_interval(row)}): {said}."
            f"{_compare_others(row, leads)}"
        )
    return lines + _explain(leads, of_byol, {row["arm"]: row for row in probes})


def _describe_interval(row: dict) -> str:
    """Interval of a lead, number of seeds, and what the interval covers."""
    low, high = row["interval"]
    return f"{low:+.1f} to {high:+.1f} over {row['covers']}, {_count(row['seeds'], 'seed')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number > 1)}"


def _compare_others(row: dict, leads: list[dict]) -> str:
    """The leads of the other pretrained arms under the same condition, as a sentence."""
    said = []
    for arm in ("supervised", "byol"):
        for other in _select(leads, arm):
            if (other["protocol"], other["images"]) == (row["protocol"], row["images"]):
                lead = f"{other['lead']:+.1f} ({_describe_interval(other)})"
                said.append(f"{label_arm(arm)} {lead}")
    return f" Beside it: {_join(said)}." if said else ""


def describe_worth(worths: list[dict], leads: list[dict]) -> list[str]:
    """In sentences how many labels pretraining is worth, where it stops to pay, and what unlabelled
    images add to supervised weights.

    Where a lead cannot be told from zero, nothing is read from a curve.

    Args:
        worths: of ``list_worths``.
        leads: of ``list_leads``.
    """
    over_random = [row for row in worths if row["other"] == "random"]
    added = [_describe_added(row) for row in worths if row["other"] != "random"]
    if not over_random:
        missing = "No number of labels has both a pretrained arm and a curve of random weights."
        return [missing, *added]
    trainable = [row for row in leads if row["protocol"] == "trainable"]
    lines = []
    for row in over_random:
        said = f"{label_arm(row['arm'])} with {row['images']:,} labelled images"
        if row["lead"]["verdict"] == UNTOLD:
            lines.append(f"{said} cannot be told from random weights with as many.")
            continue
        worth = _describe_labels(row["worth"], row)
        low, high = (_describe_labels(end, row) for end in row["interval"])
        each = _describe_each(row) if row["arm"] == "byol-random" else ""
        lines.append(
            f"{said} is where random weights are with {worth} ({low} to {high} over images only, "
            f"{_count(row['seeds'], 'seed')}).{each}"
        )
    most = over_random[0]["most"]
    at_most = [row for row in trainable if row["images"] == most]
    ahead = [label_arm(row["arm"]) for row in at_most if row["verdict"] == AHEAD]
    others = [label_arm(row["arm"]) for row in at_most if row["verdict"] != AHEAD]
    said = [f"With {most:,}, the most that were tried"]
    if ahead:
        said.append(f"{_join(ahead)} still led")
    if others:
        said.append(f"no lead of {_join(others, 'or')} shows")
    beyond = "beyond" if ahead else "below"
    lines.append(
        f"{', '.join(said)}: where pretraining stops to pay is {beyond} them. "
        "What a lead is worth there cannot be read, because the curve of random weights ends."
    )
    lines.append(
        f"BYOL saw {worths[0]['unlabelled']:,} unlabelled images. Only BYOL from random shows what "
        "these alone are worth: the arm BYOL began with supervised weights."
    )
    return [*lines, *added]


def _describe_added(row: dict) -> str:
    """What unlabelled images add to the supervised weights that BYOL began with, or take."""
    lead = row["lead"]
    other = label_arm(row["other"])
    begin = "With" if lead["seeds"] >= ENOUGH_SEEDS else "So far, with"
    at = f"{begin} {row['images']:,} labelled images"
    unlabelled = f"{row['unlabelled']:,} unlabelled ones"
    points = f"{lead['lead']:+.1f} points over it ({_describe_interval(lead)})"
    if lead["verdict"] == UNTOLD:
        return (
            f"{at} it cannot be told what {unlabelled} add to {other}: BYOL, which began with it, "
            f"has {points}."
        )
    ahead = lead["verdict"] == AHEAD
    if row["images"] == row["most" if ahead else "least"]:
        return (
            f"{at} BYOL, which began with {other}, has {points}. How many labels {unlabelled} "
            f"{'add' if ahead else 'take'} there cannot be read, because the curve of {other} "
            f"{'ends' if ahead else 'begins'} there."
        )
    low, high = row["interval"] if ahead else reversed(row["interval"])
    return (
        f"{at} {unlabelled} {'add' if ahead else 'take'} {_count_added(row['worth'], row)} "
        f"labelled ones {'to' if ahead else 'from'} {other} ({_count_added(low, row)} to "
        f"{_count_added(high, row)} over images only, {_count(row['seeds'], 'seed')}): BYOL, which "
        f"began with it, is where it is with {_describe_labels(row['worth'], row)}."
        f"{_describe_each(row)}"
    )


def _describe_each(row: dict) -> str:
    """How many labels one unlabelled image of the pretraining is worth, as a sentence; nothing
    where BYOL is not ahead or the curve ends before it."""
    places = [row["worth"], *row["interval"]]
    if row["lead"]["verdict"] != AHEAD or max(places) >= row["most"] * (1 - 1e-9):
        return ""
    each = [(place - row["images"]) / row["unlabelled"] for place in places]
    value, low, high = (f"{labels:.2g}" for labels in each)
    return f" That is {value} of a label ({low} to {high}) for each unlabelled image."


def _count_added(count: float, row: dict) -> str:
    """By how many labels a place on the curve lies beyond a row's own, in the direction of its
    lead, to two digits; at the end of the curve at least so many."""
    ahead = row["lead"]["verdict"] == AHEAD
    added = count - row["images"] if ahead else row["images"] - count
    number = f"{float(f'{added:.2g}'):,.0f}"
    end = row["most"] if ahead else row["least"]
    return f"{number} or more" if math.isclose(count, end) else f"about {number}"


def _describe_labels(count: float, row: dict) -> str:
    """A number of labels to two digits; at the ends of the curve what can be said of it."""
    if count >= row["most"] * (1 - 1e-9):
        return f"{row['most']:,} or more"
    if count <= row["least"] * (1 + 1e-9):
        return f"{row['least']:,} or fewer"
    return f"about {float(f'{count:.2g}'):,.0f}"


def _select(leads: list[dict], arm: str) -> list[dict]:
    """The leads of an arm over what it has to be ahead of."""
    return [
        row for row in leads if row["arm"] == arm and row["other"] == COMPARED_WITH[row["protocol"]]
    ]


def _explain(leads: list[dict], of_byol: list[dict], probes: dict[str, dict]) -> list[str]:
    """What the probes say of the weights whose leads these are."""
    byol = probes.get("byol-random")
    if byol is None:
        return []
    lines = [
        f"A linear probe reads {byol['value']:.1f} % of the held-out objects from the features of "
        f"BYOL from random, {byol['start']:.1f} % from the weights it started from, "
        f"{byol['untrained']:.1f} % from the untrained network: {byol['gain']:+.1f} points are "
        f"BYOL's (the study's own weights, {_count(byol['seeds'], 'pretraining')})."
    ]
    labels = probes.get("supervised")
    share = math.nan
    if labels is not None and labels["value"] > byol["start"]:
        share = (byol["value"] - byol["start"]) / (labels["value"] - byol["start"])
        lines.append(
            f"Supervised weights give {labels['value']:.1f} %, so BYOL from random went "
            f"{share:.0%} of the way that labels go."
        )
    without = [row for row in of_byol if row["verdict"] != AHEAD]
    if not without:
        return lines
    where = _join([f"{row['images']:,} labelled images ({row['protocol']})" for row in without])
    conditions = {(row["protocol"], row["images"]) for row in without}
    of_labels = []
    for row in _select(leads, "supervised"):
        if (row["protocol"], row["images"]) in conditions:
            of_labels.append(row)
    helped = [row for row in of_labels if row["verdict"] == AHEAD]
    if of_labels and not helped:
        lines.append(
            f"With {where} BYOL from random is not seen to be ahead. Supervised weights, which "
            "know more, are not seen to be ahead there either: that speaks for a fine-tuning that "
            "needs none, not for poor features."
        )
    elif share < 0.5:
        lines.append(
            f"With {where} BYOL from random is not seen to be ahead. By the probes it knows less "
            "than half of what labels teach, which may be too little."
        )
    else:
        lines.append(
            f"With {where} BYOL from random is not seen to be ahead, though its features name "
            "objects well: what the probe asks, one object in a window, may not be what a detector "
            "needs most."
        )
    return lines


def _join(parts: list[str], word: str = "and") -> str:
    """a, b and c."""
    return f" {word} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
