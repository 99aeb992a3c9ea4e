"""The claims C1a to C14, each measured on the artefacts of a run.

A claim becomes tests: quantities with an interval and the range that the claim puts them in. What
cannot be measured raises ``NotTested`` with the reason.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from byol_helpers.core.arms import BASELINE_LABELS, find_control, label_arm
from byol_helpers.core.intervals import (
    ENOUGH_SEEDS,
    combine_intervals,
    count_seeds_needed,
    deviation_interval,
    draw_weights,
    mean_interval,
    measure_shared_spread,
    read_p_value,
    t_interval,
)
from byol_helpers.evaluation.curves import (
    LOSSES,
    RATES,
    read_last_losses,
    read_last_rates,
    read_metrics,
)
from byol_helpers.reproduction.image_kinds import make_measure, read_image_kinds
from byol_helpers.reproduction.measures import (
    ABOVE,
    BELOW,
    INF,
    Evidence,
    Measure,
    NotTested,
    compare_ap,
    compare_ap_gain,
    convert_to_points,
    count_pairs,
    is_frozen,
    list_compared,
    measure_points,
    note_images,
    note_pretraining,
    note_seeds,
    profile_confidence,
    require_arms,
    subtract_paired,
    test_objective,
    test_over_seeds,
)
from byol_helpers.reproduction.run_results import RunResults
from byol_helpers.reproduction.thesis import Thesis

AP_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
SAME_TIME = (0.9, 1.1)  # "about the same": within ten per cent
FALSE_DISCOVERIES = 0.05  # share of the classes called different that may be wrong
PUBLISHED_DEVIATION = 0.3  # AP points between trainings on COCO
KINDS_CLAIMED = {"grey", "medical", "multispectral", "video"}  # chapter 5
LAST_ROWS = "means over the last tenth of the logged rows"
PIXEL_RATES = "pixel rates of the training batch"


def measure_c1a(run: RunResults, thesis: Thesis) -> Evidence:
    """BYOL's AP is above that of the supervised weights."""
    require_arms(run.comparison["arms"], "byol", run.reference)
    (said,) = thesis.claim("C1a").values.values()
    values = _list_precision(run, thesis, ("byol", run.reference))
    notes = note_images(run, *list_compared(run, run.reference))
    return Evidence(compare_ap_gain(run, run.reference, said), values, notes)


def measure_c1b(run: RunResults, thesis: Thesis) -> Evidence:
    """BYOL's AP is above that of random weights."""
    require_arms(run.comparison["arms"], "byol", "random")
    (said,) = thesis.claim("C1b").values.values()
    values = _list_precision(run, thesis, ("byol", "random"))
    notes = note_images(run, *list_compared(run, "random"))
    return Evidence(compare_ap_gain(run, "random", said), values, notes)


def measure_c2(run: RunResults, thesis: Thesis) -> Evidence:
    """BYOL's AP on small objects is below that of the supervised weights."""
    require_arms(run.comparison["arms"], "byol", run.reference)
    (said,) = thesis.claim("C2").values.values()
    notes = note_images(run, run.reference)
    return Evidence([compare_ap(run, "APs", run.reference, said, BELOW)], notes=notes)


def measure_c3(run: RunResults, thesis: Thesis) -> Evidence:
    """BYOL ends with a lower total loss than the supervised and the random weights."""
    require_arms(run.curves, "byol", run.reference, "random")
    table = thesis.tables["4.2"]
    totals = {}
    values = []
    for arm in ("byol", run.reference, "random"):
        finals = {seed: read_last_losses(path) for seed, path in run.curves[arm].items()}
        totals[arm] = {seed: final["total"] for seed, final in finals.items()}
        for part in table.columns:
            said = table.number("imagenet" if arm == run.reference else arm, part)
            mean = statistics.fmean(final[part] for final in finals.values())
            values.append(Measure(f"{part} {label_arm(arm)}", said, mean))
    tests = []
    for other, said in _pair_with_others(run, thesis, "C3"):
        tests.append(_compare_totals(run, totals, other, said))
        if is_frozen(run):
            control = find_control(other)
            of_seed = run.curves.get(control, {})
            totals[control] = {k: read_last_losses(path)["total"] for k, path in of_seed.items()}
            tests.append(_compare_totals(run, totals, control, None))
    values += compare_validation(run, "total", "loss")
    return Evidence(tests, values, [LAST_ROWS, *note_seeds(run)])


def _compare_totals(
    run: RunResults, totals: dict[str, dict[int, float]], other: str, said: float | None
) -> Measure:
    """Total loss of BYOL minus that of another arm, over the seeds that both have."""
    differences = subtract_paired(totals["byol"], totals[other])
    name = f"total BYOL - {label_arm(other)}"
    return test_over_seeds(run, name, said, differences, BELOW)


def measure_c4(run: RunResults, thesis: Thesis) -> Evidence:
    """Whether BYOL is best in more classes than one of three equal models would be."""
    require_arms(run.comparison["arms"], "byol", run.reference, "random")
    others = (run.reference, "random")
    compared = [run.difference("byol", other) for other in others]
    found = [(pair["images_and_seeds"] or pair)["per_class"] for pair in compared]
    classes = []
    for name in found[0]:
        if all(entries[name]["low"] is not None for entries in found):
            classes.append(name)
    if not classes:
        raise NotTested("no class of the test images has ground truth")
    arms = run.comparison["arms"].values()
    scoring = [name for name in classes if any(arm["per_class"][name]["value"] for arm in arms)]
    if 2 * len(scoring) < len(classes):
        raise NotTested(f"an arm scores in only {len(scoring)} of {len(classes)} classes")
    from scipy.stats import binom, binomtest  # a second to import

    (said,) = thesis.claim("C4").values.values()
    wins = sum(all(entries[name]["value"] > 0 for entries in found) for name in classes)
    ends = binomtest(wins, len(classes)).proportion_ci(profile_confidence(run))
    test = Measure(
        "share of classes in which BYOL is best of three",
        said,
        wins / len(classes),
        (float(ends.low), float(ends.high)),
        (1 / 3, INF),
        trainings=min(count_pairs(run, other) for other in others),
    )
    enough = math.ceil(said * len(classes) - 1e-9)
    chance = float(binom.sf(enough - 1, len(classes), 1 / 3))
    name = f"chance that one of three equal models is best in {enough} of {len(classes)} classes"
    values = [Measure(name, None, chance)]
    for other, entries in zip(others, found, strict=True):
        values += _count_decided_classes(run, other, entries, classes)
        for name in classes:
            measured = convert_to_points(entries[name])
            label = f"AP {name}, BYOL - {label_arm(other)}"
            values.append(Measure(label, None, *measured, unit="AP points"))
    notes = ["by chance a third; the interval takes classes as independent", *note_images(run)]
    return Evidence([test], values, notes)


def _count_decided_classes(
    run: RunResults, other: str, entries: dict, classes: list[str]
) -> list[Measure]:
    """In how many classes BYOL is ahead of another arm or behind it, of which five in a hundred are
    expected to be wrong (Benjamini and Hochberg's false-discovery rate)."""
    from scipy.stats import false_discovery_control  # a second to import

    p_values = []
    for name in classes:
        entry = entries[name]
        ends = (entry["low"], entry["high"])
        p_values.append(read_p_value(entry["value"], ends, 0.0, profile_confidence(run)))
    decided = false_discovery_control(p_values) <= FALSE_DISCOVERIES
    ahead = 0
    behind = 0
    for name, is_decided in zip(classes, decided, strict=True):
        ahead += is_decided and entries[name]["value"] > 0
        behind += is_decided and entries[name]["value"] < 0
    rate = f"false-discovery rate {FALSE_DISCOVERIES:.0%}"
    return [
        Measure(f"classes ahead of {label_arm(other)}, {rate}", None, float(ahead), unit="classes"),
        Measure(f"classes behind {label_arm(other)}, {rate}", None, float(behind), unit="classes"),
    ]


def measure_c5(run: RunResults, thesis: Thesis) -> Evidence:
    """The false-negative rate of the mask head, see ``_measure_rate``."""
    return _measure_rate(run, "false_negative")


def measure_c6(run: RunResults, thesis: Thesis) -> Evidence:
    """The false-positive rate of the mask head, see ``_measure_rate``."""
    return _measure_rate(run, "false_positive")


def measure_c7(run: RunResults, thesis: Thesis) -> Evidence:
    """The thesis only says that BYOL and ImageNet are close."""
    require_arms(run.curves, "byol", run.reference)
    last = _average_rates(run, "accuracy", ("byol", run.reference))
    margin = thesis.claim("C7").margin
    assert margin is not None
    differences = subtract_paired(last["byol"], last[run.reference])
    name = f"accuracy BYOL - {label_arm(run.reference)}"
    range_ = (-margin.value, margin.value)
    test = replace(test_over_seeds(run, name, None, differences, range_), close=True)
    values = _describe_rates(last) + compare_validation(run, "accuracy")
    return Evidence([test], values, [PIXEL_RATES, LAST_ROWS, *note_seeds(run)])


def measure_c8(run: RunResults, thesis: Thesis) -> Evidence:
    """Background removal is better with BYOL than with supervised and with random weights."""
    require_arms(run.background, "byol", run.reference, "random")
    arms = ("byol", run.reference, "random")
    cosine = {arm: _average_cosine(list(run.background[arm].values())) for arm in arms}
    values = []
    for arm in arms:
        said = thesis.tables["4.4"].number("imagenet" if arm == run.reference else arm, "cosine")
        mean = 100 * statistics.fmean(cosine[arm].values())
        values.append(Measure(f"cosine {label_arm(arm)}", said, mean))
    for name, metrics in run.baselines.items():
        mean = 100 * metrics["scores"]["cosine"]["value"]
        values.append(Measure(f"cosine {name} (baseline)", None, mean))
    values += _measure_skill(run, cosine)
    tests = []
    for other, said in _pair_with_others(run, thesis, "C8"):
        tests.append(compare_cosine(run, other, said))
        if is_frozen(run):
            tests.append(compare_cosine(run, find_control(other), None))
    return Evidence(tests, values, note_images(run), images=len(cosine["byol"]))


def compare_cosine(run: RunResults, other: str, said: float | None) -> Measure:
    """Mean cosine of BYOL minus that of another arm on the same images, in per cent: over images
    and seeds together, or over the images alone where there are too few seeds."""
    name = f"cosine BYOL - {label_arm(other)}"
    if not run.background["byol"].keys() & run.background.get(other, {}).keys():
        return Measure(name, said, None, None, ABOVE)
    differences = subtract_cosines(run, other)
    seed = run.profile["seed"]
    replicates = run.profile["evaluate"]["bootstrap"]
    confidence = profile_confidence(run)
    found = mean_interval(differences.mean(axis=0), replicates, seed, confidence)
    bounds = (found["low"], found["high"])
    over_seeds = t_interval(differences.mean(axis=1).tolist(), confidence)
    trainings = len(differences)
    if over_seeds is None:
        return Measure(name, said, found["value"], bounds, ABOVE, trainings=trainings)
    weights = draw_weights(differences.shape[1], replicates, seed)
    shared = measure_shared_spread(differences @ weights.T / differences.shape[1])
    both = combine_intervals(found["value"], bounds, over_seeds, shared)
    measure = Measure(name, said, found["value"], both, ABOVE, trainings=trainings)
    return replace(measure, seeds=trainings, over_images=bounds)


def subtract_cosines(run: RunResults, other: str) -> np.ndarray:
    """Cosine of BYOL minus that of another arm in per cent, [common seeds, common images]."""
    ours = run.background["byol"]
    theirs = run.background[other]
    images = _average_cosine([*ours.values(), *theirs.values()]).keys()
    rows = []
    for seed in sorted(ours.keys() & theirs.keys()):
        ours_of = _average_cosine([ours[seed]])
        theirs_of = _average_cosine([theirs[seed]])
        rows.append([100 * (ours_of[image] - theirs_of[image]) for image in images])
    return np.array(rows)


def _measure_skill(run: RunResults, cosine: dict[str, dict[int, float]]) -> list[Measure]:
    """How far each arm comes from keeping the whole image to a perfect cut-out, in per cent.

    The cosine flatters: an image that is kept whole already scores far above zero.
    """
    floor = run.baselines.get(BASELINE_LABELS["keep-everything"])
    if floor is None:
        return []
    of_image = _average_cosine([floor])
    values = []
    for arm, scores in cosine.items():
        images = sorted(scores.keys() & of_image.keys())
        if not images:
            continue
        lowest = statistics.fmean(of_image[image] for image in images)
        mean = statistics.fmean(scores[image] for image in images)
        skill = 100 * (mean - lowest) / (1 - lowest) if lowest < 1 else math.nan
        values.append(Measure(f"skill over keeping everything, {label_arm(arm)}", None, skill))
    return values


def measure_c9(run: RunResults, thesis: Thesis) -> Evidence:
    """BYOL's objective converges faster with a hidden layer of 2048 than with one of 4096."""
    found = {}
    for name, entry in run.pretraining.items():
        if name != "byol-random":
            found[str(entry["parameters"].get("hidden"))] = entry["metrics"]
    if not {"2048", "4096"} <= (found.keys() | run.pretraining_study.keys()):
        raise NotTested(
            "needs pretraining with both widths of the hidden layer: "
            "python -m byol_helpers study pretraining"
        )
    test = test_objective(run, ("2048", "4096"), ("2048", "4096"), found)
    return Evidence([test], notes=note_pretraining(run))


def measure_c10(run: RunResults, thesis: Thesis) -> Evidence:
    """BYOL from supervised weights converges faster and segments better than from random ones."""
    found = {name: entry["metrics"] for name, entry in run.pretraining.items()}
    found |= {"2048": found.get("byol"), "random": found.get("byol-random")}
    if run.pretraining.get("byol", {}).get("parameters", {}).get("init") == "random":
        raise NotTested("the arm byol itself started from random weights (pretrain.init)")
    if "byol-random" not in run.comparison["arms"] or "byol" not in run.comparison["arms"]:
        if not {"2048", "random"} <= run.pretraining_study.keys():
            raise NotTested(
                "needs pretraining from random weights too: add byol-random to finetune.arms"
            )
        objective = test_objective(run, ("2048", "random"), ("BYOL", "BYOL from random"), found)
        missing = compare_ap(run, "AP", "byol-random", None, ABOVE)
        notes = note_pretraining(run)
        notes.append("its segmentation is not tested: add byol-random to finetune.arms")
        return Evidence([objective, missing], notes=notes)
    objective = test_objective(run, ("2048", "random"), ("BYOL", "BYOL from random"), found)
    test = compare_ap(run, "AP", "byol-random", None, ABOVE)
    notes = [*note_pretraining(run), *note_images(run, "byol-random")]
    return Evidence([test, objective], notes=notes)


def measure_c11(run: RunResults, thesis: Thesis) -> Evidence:
    """AP differs less between seeds than BYOL leads in the thesis."""
    lead = thesis.claim("C1a").values["AP BYOL - ImageNet"]
    confidence = profile_confidence(run)
    scores = []
    for metrics in run.models.values():
        if metrics["arm"] == "byol" and metrics["mask"]["AP"]["value"] is not None:
            scores.append(100 * metrics["mask"]["AP"]["value"])
    if len(scores) < ENOUGH_SEEDS:
        needed = count_seeds_needed(PUBLISHED_DEVIATION, lead, confidence)
        raise NotTested(
            f"needs at least {ENOUGH_SEEDS} seeds of the arm byol, this run has {len(scores)}; "
            f"with the {PUBLISHED_DEVIATION} points by which COCO results vary it takes {needed}"
        )
    totals = [read_last_losses(path)["total"] for path in run.curves.get("byol", {}).values()]
    values = [Measure("lead of BYOL over ImageNet", lead, None)]
    if len(totals) >= ENOUGH_SEEDS:
        name = "standard deviation of the total loss"
        bounds = deviation_interval(totals, confidence)
        values.append(Measure(name, None, statistics.stdev(totals), bounds, unit="loss"))
    deviation = statistics.stdev(scores)
    bounds = deviation_interval(scores, confidence)
    name = "standard deviation of AP between seeds"
    test = Measure(name, None, deviation, bounds, (-INF, lead), trainings=len(scores))
    needed = count_seeds_needed(deviation, lead, confidence)
    takes = f"with this deviation it takes {needed}" if needed else "no number of them suffices"
    return Evidence([test], values, [f"{len(scores)} seeds; {takes}", *note_images(run)])


def measure_c12(run: RunResults, thesis: Thesis) -> Evidence:
    """Ratios of the seconds of a step, over blocks in which the arms took turns."""
    arms = ("byol", run.reference, "random")
    require_arms(run.curves, *arms)
    values = []
    for arm in arms:
        columns = [read_metrics(path)["seconds"] for path in run.curves[arm].values()]
        median = float(np.median(np.concatenate(columns)))
        name = f"seconds per iteration {label_arm(arm)}, while it trained"
        values.append(Measure(name, None, median, unit="seconds"))
    if not set(arms) <= run.timing.keys():
        raise NotTested(
            "needs steps timed in interleaved blocks, by the stage finetune of torchvision"
        )
    tests = []
    for other, said in _pair_with_others(run, thesis, "C12"):
        ratios = np.log(run.timing["byol"]) - np.log(run.timing[other])
        bounds = t_interval(ratios.tolist(), profile_confidence(run))
        if bounds:
            bounds = (math.exp(bounds[0]), math.exp(bounds[1]))
        name = f"seconds BYOL / {label_arm(other)}"
        tests.append(Measure(name, said, math.exp(ratios.mean()), bounds, SAME_TIME, close=True))
    blocks = len(run.timing["byol"])
    return Evidence(tests, values, [f"{blocks} interleaved blocks, geometric mean of their ratios"])


def measure_c13(run: RunResults, thesis: Thesis) -> Evidence:
    """BYOL's AP is not below that of the weights of 1.3 million labelled images."""
    wanted = thesis.settings["pretraining"]["images"].value
    assert isinstance(wanted, int)
    if run.reference != "imagenet":
        what = {
            "supervised": "a stand-in, trained on generated crops",
            "photographs": "trained on the labels of the pretraining's own photographs",
        }
        raise NotTested(
            f"the supervised arm is {what[run.reference]} and not on 1.3 million labels"
        )
    if (run.pretraining_images or 0) < wanted:
        raise NotTested(f"{run.pretraining_images or 0} unlabelled images instead of {wanted}")
    require_arms(run.comparison["arms"], "byol", "imagenet")
    (said,) = thesis.claim("C13").values.values()
    margin = thesis.claim("C13").margin
    assert margin is not None
    range_ = (-margin.value, INF)
    tests = [compare_ap(run, "AP", "imagenet", said, range_)]
    if is_frozen(run):
        tests.append(compare_ap(run, "AP", find_control("imagenet"), None, range_))
    notes = note_images(run)
    if run.pretraining.get("byol", {}).get("parameters", {}).get("init") != "random":
        notes.insert(0, "BYOL itself started from the weights of those 1.3 million labels")
    return Evidence(tests, notes=notes)


def measure_c14(run: RunResults, thesis: Thesis) -> Evidence:
    """Whether BYOL's features are better on each kind of image, measured once on real sets."""
    rows = read_image_kinds()
    if not rows:
        raise NotTested("each kind of image needs images of its own: see notebook 08, part 10")
    tests = [make_measure(row) for row in rows]
    measured = {row["kind"] for row in rows}
    for kind in sorted(KINDS_CLAIMED - measured):
        tests.append(Measure(f"{kind}: BYOL - random", None, None, None, ABOVE, unit="IoU points"))
    notes = [
        "measured by notebook 08 on real sets, not by this run: a linear layer on frozen features",
        "intervals cover the choice of test images, not the luck of training (one pretraining)",
    ]
    return Evidence(tests, notes=notes, images=rows[0]["test"])


CLAIMS: dict[str, Callable[[RunResults, Thesis], Evidence]] = {
    "C1a": measure_c1a,
    "C1b": measure_c1b,
    "C2": measure_c2,
    "C3": measure_c3,
    "C4": measure_c4,
    "C5": measure_c5,
    "C6": measure_c6,
    "C7": measure_c7,
    "C8": measure_c8,
    "C9": measure_c9,
    "C10": measure_c10,
    "C11": measure_c11,
    "C12": measure_c12,
    "C13": measure_c13,
    "C14": measure_c14,
}


def _pair_with_others(run: RunResults, thesis: Thesis, claim: str) -> list[tuple[str, float]]:
    """The arms that BYOL is compared with, each with the value that the thesis gives for it."""
    said = thesis.claim(claim).values.values()
    return list(zip((run.reference, "random"), said, strict=True))


def _list_precision(run: RunResults, thesis: Thesis, arms: tuple[str, ...]) -> list[Measure]:
    """Table 4.3 for some arms."""
    values = []
    for arm in arms:
        for metric in AP_METRICS:
            row = "imagenet" if arm == run.reference else arm
            said = thesis.tables["4.3"].number(row, metric)
            entry = run.comparison["arms"][arm]["mask"][metric]
            values.append(measure_points(f"{metric} {label_arm(arm)}", said, entry, None))
    return values


def _average_cosine(models: list[dict]) -> dict[int, float]:
    """Mean over seeds of each image that all of them have, by image id."""
    of_seed = []
    for metrics in models:
        of_seed.append({row["image_id"]: row["cosine"] for row in metrics["per_image"]})
    images = set(of_seed[0]).intersection(*of_seed)
    return {image: statistics.fmean(of[image] for of in of_seed) for image in sorted(images)}


def _measure_rate(run: RunResults, name: str) -> Evidence:
    """BYOL nearer to the reference than to random, and both below random."""
    arms = ("byol", run.reference, "random")
    require_arms(run.curves, *arms)
    last = _average_rates(run, name, arms)
    byol = last["byol"]
    reference = last[run.reference]
    random = last["random"]
    nearer = []
    for seed in sorted(byol.keys() & reference.keys() & random.keys()):
        to_reference = abs(byol[seed] - reference[seed])
        nearer.append(to_reference - abs(byol[seed] - random[seed]))
    distance = "BYOL's distance to the supervised arm minus that to random"
    reference_name = f"{label_arm(run.reference)} - random"
    tests = [
        test_over_seeds(run, distance, None, nearer, BELOW),
        test_over_seeds(run, "BYOL - random", None, subtract_paired(byol, random), BELOW),
        test_over_seeds(run, reference_name, None, subtract_paired(reference, random), BELOW),
    ]
    values = _describe_rates(last) + compare_validation(run, name)
    return Evidence(tests, values, [PIXEL_RATES, LAST_ROWS, *note_seeds(run)])


def compare_validation(run: RunResults, name: str, unit: str | None = None) -> list[Measure]:
    """A loss or rate on validation images: of each arm, and BYOL minus each other arm.

    Args:
        name: ``total`` (box, class and mask together) or a key of ``curves.RATES``.
        unit: where it is not the claim's.
    """
    found = {}
    for arm in ("byol", run.reference, "random"):
        of_seed = run.validation.get(arm, {})
        found[arm] = {seed: _read_validation(losses, name) for seed, losses in of_seed.items()}
    if not all(found.values()):
        return []
    values = []
    for arm, of_seed in found.items():
        label = f"{name} on validation images, {label_arm(arm)}"
        values.append(Measure(label, None, statistics.fmean(of_seed.values()), unit=unit))
    for other in (run.reference, "random"):
        label = f"{name} on validation images, BYOL - {label_arm(other)}"
        differences = subtract_paired(found["byol"], found[other])
        values.append(replace(test_over_seeds(run, label, None, differences, None), unit=unit))
    return values


def _read_validation(losses: dict[str, float], name: str) -> float:
    if name == "total":
        return sum(losses[column] for column in LOSSES.values())
    return losses[RATES[name]]


def _average_rates(
    run: RunResults, name: str, arms: tuple[str, ...]
) -> dict[str, dict[int, float]]:
    """A rate over the last rows of each training, {arm: {seed: rate}}."""
    last = {}
    for arm in arms:
        last[arm] = {seed: read_last_rates(path)[name] for seed, path in run.curves[arm].items()}
    return last


def _describe_rates(last: dict[str, dict[int, float]]) -> list[Measure]:
    values = []
    for arm, of_seed in last.items():
        values.append(Measure(f"last {label_arm(arm)}", None, statistics.fmean(of_seed.values())))
    return values
