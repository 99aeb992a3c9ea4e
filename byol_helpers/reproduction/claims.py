"""The claims C1 to C14, each measured on the artefacts of a run.

A claim becomes tests: quantities with an interval and the range that the claim puts them in. What
cannot be measured raises ``NotTested`` with the reason.
"""

import statistics
from collections.abc import Callable

import numpy as np

from byol_helpers.core.arms import label_arm
from byol_helpers.core.intervals import (
    ENOUGH_SEEDS,
    deviation_interval,
    mean_interval,
    percentile_interval,
)
from byol_helpers.evaluation.curves import read_final_losses, read_metrics, read_smoothed_rates
from byol_helpers.reproduction.measures import (
    ABOVE,
    BELOW,
    IMAGES_ONLY,
    INF,
    Evidence,
    Measure,
    NotTested,
    choose_smoothing,
    compare_ap,
    convert_to_points,
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
MATCH = -1.0  # AP points behind at which BYOL still counts as matching


def measure_c1(run: RunResults, thesis: Thesis) -> Evidence:
    require_arms(run.comparison["arms"], "byol", run.reference, "random")
    table = thesis.tables["4.3"]
    values = []
    for arm in ("byol", run.reference, "random"):
        for metric in AP_METRICS:
            said = table.number("imagenet" if arm == run.reference else arm, metric)
            entry = run.comparison["arms"][arm]["mask"][metric]
            values.append(measure_points(f"{metric} {label_arm(arm)}", said, entry, None))
    tests = []
    for other, said in _pair_with_others(run, thesis, "C1"):
        tests += compare_ap(run, "AP", other, said, ABOVE)
    return Evidence(tests, values, note_images(run))


def measure_c2(run: RunResults, thesis: Thesis) -> Evidence:
    require_arms(run.comparison["arms"], "byol", run.reference)
    (said,) = thesis.claim("C2").values.values()
    return Evidence(compare_ap(run, "APs", run.reference, said, BELOW), notes=note_images(run))


def measure_c3(run: RunResults, thesis: Thesis) -> Evidence:
    require_arms(run.curves, "byol", run.reference, "random")
    table = thesis.tables["4.2"]
    totals = {}
    values = []
    for arm in ("byol", run.reference, "random"):
        finals = {}
        for seed, path in run.curves[arm].items():
            finals[seed] = read_final_losses(path, choose_smoothing(path))
        totals[arm] = {seed: final["total"] for seed, final in finals.items()}
        for part in table.columns:
            said = table.number("imagenet" if arm == run.reference else arm, part)
            mean = statistics.fmean(final[part] for final in finals.values())
            values.append(Measure(f"{part} {label_arm(arm)}", said, mean))
    tests = []
    for other, said in _pair_with_others(run, thesis, "C3"):
        name = f"total BYOL - {label_arm(other)}"
        differences = subtract_paired(totals["byol"], totals[other])
        tests.append(test_over_seeds(run, name, said, differences, BELOW))
    return Evidence(tests, values, note_seeds(run))


def measure_c4(run: RunResults, thesis: Thesis) -> Evidence:
    require_arms(run.comparison["arms"], "byol", run.reference, "random")
    others = (run.reference, "random")
    differences = [run.difference("byol", other)["per_class"] for other in others]
    classes = []
    for name in differences[0]:
        if all(difference[name]["value"] is not None for difference in differences):
            classes.append(name)
    if not classes:
        raise NotTested("no class of the test images has ground truth")
    arms = run.comparison["arms"].values()
    scoring = [name for name in classes if any(arm["per_class"][name]["value"] for arm in arms)]
    if 2 * len(scoring) < len(classes):
        raise NotTested(f"an arm scores in only {len(scoring)} of {len(classes)} classes")
    (said,) = thesis.claim("C4").values.values()
    test = Measure(
        "share of classes in which BYOL is best",
        said,
        _share_of_wins(differences, classes, "value"),
        (_share_of_wins(differences, classes, "low"), _share_of_wins(differences, classes, "high")),
        (said - 1e-9, INF),
    )
    values = []
    for other, difference in zip(others, differences, strict=True):
        for name in classes:
            entry = convert_to_points(difference[name])
            values.append(Measure(f"AP {name}, BYOL - {label_arm(other)}", None, *entry))
    notes = [f"{len(classes)} classes, each with its own interval", IMAGES_ONLY]
    return Evidence([test], values, notes)


def measure_c5(run: RunResults, thesis: Thesis) -> Evidence:
    return _measure_rate(run, "false_negative", BELOW)


def measure_c6(run: RunResults, thesis: Thesis) -> Evidence:
    return _measure_rate(run, "false_positive", BELOW)


def measure_c7(run: RunResults, thesis: Thesis) -> Evidence:
    evidence = _measure_rate(run, "accuracy", ABOVE)
    evidence.tests = evidence.tests[:1]  # the thesis only says that BYOL and ImageNet are close
    return evidence


def measure_c8(run: RunResults, thesis: Thesis) -> Evidence:
    require_arms(run.background, "byol", run.reference, "random")
    cosine = {}
    values = []
    for arm in ("byol", run.reference, "random"):
        cosine[arm] = _average_cosine(list(run.background[arm].values()))
        said = thesis.tables["4.4"].number("imagenet" if arm == run.reference else arm, "cosine")
        mean = 100 * statistics.fmean(cosine[arm].values())
        values.append(Measure(f"cosine {label_arm(arm)}", said, mean))
    for name, metrics in run.baselines.items():
        mean = 100 * metrics["scores"]["cosine"]["value"]
        values.append(Measure(f"cosine {name} (baseline)", None, mean))
    draws = run.profile["evaluate"]["bootstrap"]
    tests = []
    for other, said in _pair_with_others(run, thesis, "C8"):
        differences = 100 * np.array(subtract_paired(cosine["byol"], cosine[other]))
        found = mean_interval(differences, draws, run.profile["seed"], profile_confidence(run))
        bounds = (found["low"], found["high"])
        name = f"cosine BYOL - {label_arm(other)}"
        tests.append(Measure(name, said, found["value"], bounds, ABOVE))
    return Evidence(tests, values, [IMAGES_ONLY], images=len(cosine["byol"]))


def measure_c9(run: RunResults, thesis: Thesis) -> Evidence:
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
        missing = Measure("AP BYOL - BYOL from random", None, None, None, ABOVE)
        notes = note_pretraining(run)
        notes.append("its segmentation is not tested: add byol-random to finetune.arms")
        return Evidence([objective, missing], notes=notes)
    objective = test_objective(run, ("2048", "random"), ("BYOL", "BYOL from random"), found)
    tests = compare_ap(run, "AP", "byol-random", None, ABOVE)
    return Evidence([*tests, objective], notes=[*note_pretraining(run), *note_images(run)])


def measure_c11(run: RunResults, thesis: Thesis) -> Evidence:
    scores = []
    for metrics in run.models.values():
        if metrics["arm"] == "byol" and metrics["mask"]["AP"]["value"] is not None:
            scores.append(100 * metrics["mask"]["AP"]["value"])
    if len(scores) < ENOUGH_SEEDS:
        raise NotTested(
            f"needs at least {ENOUGH_SEEDS} seeds of the arm byol, this run has {len(scores)}"
        )
    lead = thesis.claim("C1").values["AP BYOL - ImageNet"]
    totals = []
    for path in run.curves.get("byol", {}).values():
        totals.append(read_final_losses(path, choose_smoothing(path))["total"])
    values = [Measure("lead of BYOL over ImageNet", lead, None)]
    if len(totals) >= ENOUGH_SEEDS:
        name = "standard deviation of the total loss"
        bounds = deviation_interval(totals, profile_confidence(run))
        values.append(Measure(name, None, statistics.stdev(totals), bounds))
    name = "standard deviation of AP between seeds"
    bounds = deviation_interval(scores, profile_confidence(run))
    test = Measure(name, None, statistics.stdev(scores), bounds, (-INF, lead))
    return Evidence([test], values, [f"{len(scores)} seeds"])


def measure_c12(run: RunResults, thesis: Thesis) -> Evidence:
    require_arms(run.curves, "byol", run.reference, "random")
    seconds = {}
    for arm in ("byol", run.reference, "random"):
        columns = [read_metrics(path)["seconds"] for path in run.curves[arm].values()]
        seconds[arm] = np.concatenate(columns)
    rng = np.random.default_rng(0)
    medians = {}
    for arm, rows in seconds.items():
        medians[arm] = np.median(rng.choice(rows, (2000, len(rows))), axis=1)
    tests = []
    for other, said in _pair_with_others(run, thesis, "C12"):
        ratio = float(np.median(seconds["byol"]) / np.median(seconds[other]))
        bounds = None
        if min(len(seconds["byol"]), len(seconds[other])) >= 5:
            ratios = medians["byol"] / medians[other]
            bounds = percentile_interval(ratios, profile_confidence(run))
        tests.append(Measure(f"seconds BYOL / {label_arm(other)}", said, ratio, bounds, SAME_TIME))
    values = []
    for arm, rows in seconds.items():
        name = f"seconds per iteration {label_arm(arm)}"
        values.append(Measure(name, None, float(np.median(rows))))
    notes = ["the interval covers the logged rows, not other load on the machine"]
    return Evidence(tests, values, notes)


def measure_c13(run: RunResults, thesis: Thesis) -> Evidence:
    wanted = thesis.settings["pretraining"]["images"].value
    assert isinstance(wanted, int)
    if run.reference != "imagenet":
        raise NotTested(
            "the supervised arm is a stand-in, trained on generated crops and not on "
            "1.3 million labels"
        )
    if (run.pretraining_images or 0) < wanted:
        raise NotTested(f"{run.pretraining_images or 0} unlabelled images instead of {wanted}")
    require_arms(run.comparison["arms"], "byol", "imagenet")
    (said,) = thesis.claim("C13").values.values()
    tests = compare_ap(run, "AP", "imagenet", said, (MATCH, INF))
    notes = note_images(run)
    if run.pretraining.get("byol", {}).get("parameters", {}).get("init") != "random":
        notes.insert(0, "BYOL itself started from the weights of those 1.3 million labels")
    return Evidence(tests, notes=notes)


def measure_c14(run: RunResults, thesis: Thesis) -> Evidence:
    raise NotTested(
        "each kind of image needs a run of its own: give a folder of them as data and read its "
        "row C1"
    )


CLAIMS: dict[str, Callable[[RunResults, Thesis], Evidence]] = {
    "C1": measure_c1,
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


def _share_of_wins(differences: list[dict], classes: list[str], key: str) -> float:
    """Share of classes in which BYOL is ahead of every other arm, by the value or an end of the
    interval."""
    wins = 0
    for name in classes:
        wins += all((difference[name][key] or 0) > 0 for difference in differences)
    return wins / len(classes)


def _average_cosine(models: list[dict]) -> dict[int, float]:
    """Mean over seeds of each image that all of them have, by image id."""
    of_seed = []
    for metrics in models:
        of_seed.append({row["image_id"]: row["cosine"] for row in metrics["per_image"]})
    images = set(of_seed[0]).intersection(*of_seed)
    return {image: statistics.fmean(of[image] for of in of_seed) for image in sorted(images)}


def _measure_rate(run: RunResults, name: str, better: tuple[float, float]) -> Evidence:
    """BYOL nearer to the reference than to random, and both better than random, at the end of the
    smoothed curves."""
    require_arms(run.curves, "byol", run.reference, "random")
    first = {}
    last = {}
    for arm in ("byol", run.reference, "random"):
        first[arm] = {}
        last[arm] = {}
        for seed, path in run.curves[arm].items():
            curve = read_smoothed_rates(path, choose_smoothing(path))[name]
            first[arm][seed] = float(curve[0])
            last[arm][seed] = float(curve[-1])
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
        test_over_seeds(run, "BYOL - random", None, subtract_paired(byol, random), better),
        test_over_seeds(run, reference_name, None, subtract_paired(reference, random), better),
    ]
    values = []
    for arm in last:
        label = label_arm(arm)
        values.append(Measure(f"first {label}", None, statistics.fmean(first[arm].values())))
        values.append(Measure(f"last {label}", None, statistics.fmean(last[arm].values())))
    return Evidence(tests, values, ["pixel rates of the training batch", *note_seeds(run)])
