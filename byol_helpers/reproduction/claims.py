"""The claims C1 to C14, each measured on the artefacts of a run.

A claim becomes tests: quantities with an interval and the range that the claim puts them in. What cannot be
measured raises ``NotTested`` with the reason.
"""

import statistics
from collections.abc import Callable

import numpy as np

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
from byol_helpers.reproduction.run_results import RunResults, arm_label
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
            said = table.value("imagenet" if arm == run.reference else arm, metric)
            entry = run.comparison["arms"][arm]["mask"][metric]
            values.append(measure_points(f"{metric} {arm_label(arm)}", said, entry, None))
    said = list(thesis.claim("C1").values.values())
    pairs = zip((run.reference, "random"), said, strict=True)
    tests = [test for other, value in pairs for test in compare_ap(run, "AP", other, value, ABOVE)]
    return Evidence(tests, values, note_images(run))


def measure_c2(run: RunResults, thesis: Thesis) -> Evidence:
    require_arms(run.comparison["arms"], "byol", run.reference)
    (said,) = thesis.claim("C2").values.values()
    return Evidence(compare_ap(run, "APs", run.reference, said, BELOW), notes=note_images(run))


def measure_c3(run: RunResults, thesis: Thesis) -> Evidence:
    require_arms(run.curves, "byol", run.reference, "random")
    table, losses, values = thesis.tables["4.2"], {}, []
    for arm in ("byol", run.reference, "random"):
        finals = {
            seed: read_final_losses(path, choose_smoothing(path))
            for seed, path in run.curves[arm].items()
        }
        losses[arm] = {seed: final["total"] for seed, final in finals.items()}
        for part in table.columns:
            said = table.value("imagenet" if arm == run.reference else arm, part)
            mean = statistics.fmean(final[part] for final in finals.values())
            values.append(Measure(f"{part} {arm_label(arm)}", said, mean))
    said = dict(zip((run.reference, "random"), thesis.claim("C3").values.values(), strict=True))
    tests = [
        test_over_seeds(
            run,
            f"total BYOL - {arm_label(other)}",
            said[other],
            subtract_paired(losses["byol"], losses[other]),
            BELOW,
        )
        for other in said
    ]
    return Evidence(tests, values, note_seeds(run))


def measure_c4(run: RunResults, thesis: Thesis) -> Evidence:
    require_arms(run.comparison["arms"], "byol", run.reference, "random")
    found = [run.difference("byol", other)["per_class"] for other in (run.reference, "random")]
    classes = [name for name in found[0] if all(d[name]["value"] is not None for d in found)]
    if not classes:
        raise NotTested("no class of the test images has ground truth")
    scoring = [
        name
        for name in classes
        if any(arm["per_class"][name]["value"] for arm in run.comparison["arms"].values())
    ]
    if 2 * len(scoring) < len(classes):
        raise NotTested(f"an arm scores in only {len(scoring)} of {len(classes)} classes")
    better, surely, possibly = (
        sum(all((d[name][key] or 0) > 0 for d in found) for name in classes) / len(classes)
        for key in ("value", "low", "high")
    )
    (said,) = thesis.claim("C4").values.values()
    test = Measure(
        "share of classes in which BYOL is best",
        said,
        better,
        (surely, possibly),
        (said - 1e-9, INF),
    )
    values = [
        Measure(f"AP {name}, BYOL - {arm_label(other)}", None, *convert_to_points(difference[name]))
        for other, difference in zip((run.reference, "random"), found, strict=True)
        for name in classes
    ]
    return Evidence(
        [test], values, [f"{len(classes)} classes, each with its own interval", IMAGES_ONLY]
    )


def measure_c5(run: RunResults, thesis: Thesis) -> Evidence:
    return _rate(run, "false_negative", BELOW)


def measure_c6(run: RunResults, thesis: Thesis) -> Evidence:
    return _rate(run, "false_positive", BELOW)


def measure_c7(run: RunResults, thesis: Thesis) -> Evidence:
    finding = _rate(run, "accuracy", ABOVE)
    finding.tests = finding.tests[:1]  # the thesis only says that BYOL and ImageNet are close
    return finding


def measure_c8(run: RunResults, thesis: Thesis) -> Evidence:
    require_arms(run.background, "byol", run.reference, "random")
    cosine, values = {}, []
    for arm in ("byol", run.reference, "random"):
        of_seed = [
            {row["image_id"]: row["cosine"] for row in m["per_image"]}
            for m in run.background[arm].values()
        ]
        images = set.intersection(*map(set, of_seed))
        cosine[arm] = {
            image: statistics.fmean(of[image] for of in of_seed) for image in sorted(images)
        }
        said = thesis.tables["4.4"].value("imagenet" if arm == run.reference else arm, "cosine")
        values.append(
            Measure(f"cosine {arm_label(arm)}", said, 100 * statistics.fmean(cosine[arm].values()))
        )
    for name, metrics in run.baselines.items():
        values.append(
            Measure(f"cosine {name} (baseline)", None, 100 * metrics["scores"]["cosine"]["value"])
        )
    tests = []
    for other, said in zip(
        (run.reference, "random"), thesis.claim("C8").values.values(), strict=True
    ):
        differences = 100 * np.array(subtract_paired(cosine["byol"], cosine[other]))
        found = mean_interval(
            differences,
            run.profile["evaluate"]["bootstrap"],
            run.profile["seed"],
            profile_confidence(run),
        )
        bounds = found["low"], found["high"]
        tests.append(
            Measure(f"cosine BYOL - {arm_label(other)}", said, found["value"], bounds, ABOVE)
        )
    return Evidence(tests, values, [IMAGES_ONLY], images=len(cosine["byol"]))


def measure_c9(run: RunResults, thesis: Thesis) -> Evidence:
    found = {
        str(entry["parameters"].get("hidden")): entry["metrics"]
        for name, entry in run.pretraining.items()
        if name != "byol-random"
    }
    if not {"2048", "4096"} <= (found.keys() | run.pretraining_study.keys()):
        raise NotTested(
            "needs pretraining with both widths of the hidden layer: python -m byol_helpers study "
            "pretraining"
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
        return Evidence(
            [objective, missing],
            notes=[
                *note_pretraining(run),
                "its segmentation is not tested: add byol-random to finetune.arms",
            ],
        )
    objective = test_objective(run, ("2048", "random"), ("BYOL", "BYOL from random"), found)
    tests = compare_ap(run, "AP", "byol-random", None, ABOVE)
    return Evidence([*tests, objective], notes=[*note_pretraining(run), *note_images(run)])


def measure_c11(run: RunResults, thesis: Thesis) -> Evidence:
    scores = [
        100 * m["mask"]["AP"]["value"]
        for m in run.models.values()
        if m["arm"] == "byol" and m["mask"]["AP"]["value"] is not None
    ]
    if len(scores) < ENOUGH_SEEDS:
        raise NotTested(
            f"needs at least {ENOUGH_SEEDS} seeds of the arm byol, this run has {len(scores)}"
        )
    lead = thesis.claim("C1").values["AP BYOL - ImageNet"]
    totals = [
        read_final_losses(path, choose_smoothing(path))["total"]
        for path in run.curves.get("byol", {}).values()
    ]
    values = [Measure("lead of BYOL over ImageNet", lead, None)]
    if len(totals) >= ENOUGH_SEEDS:
        values.append(
            Measure(
                "standard deviation of the total loss",
                None,
                statistics.stdev(totals),
                deviation_interval(totals, profile_confidence(run)),
            )
        )
    bounds = deviation_interval(scores, profile_confidence(run))
    test = Measure(
        "standard deviation of AP between seeds",
        None,
        statistics.stdev(scores),
        bounds,
        (-INF, lead),
    )
    return Evidence([test], values, [f"{len(scores)} seeds"])


def measure_c12(run: RunResults, thesis: Thesis) -> Evidence:
    require_arms(run.curves, "byol", run.reference, "random")
    seconds = {
        arm: np.concatenate([read_metrics(path)["seconds"] for path in run.curves[arm].values()])
        for arm in ("byol", run.reference, "random")
    }
    rng = np.random.default_rng(0)
    medians = {
        arm: np.median(rng.choice(rows, (2000, len(rows))), axis=1) for arm, rows in seconds.items()
    }
    tests = []
    for other, said in zip(
        (run.reference, "random"), thesis.claim("C12").values.values(), strict=True
    ):
        ratio = float(np.median(seconds["byol"]) / np.median(seconds[other]))
        enough = min(len(seconds["byol"]), len(seconds[other])) >= 5
        bounds = (
            percentile_interval(medians["byol"] / medians[other], profile_confidence(run))
            if enough
            else None
        )
        tests.append(Measure(f"seconds BYOL / {arm_label(other)}", said, ratio, bounds, SAME_TIME))
    values = [
        Measure(f"seconds per iteration {arm_label(arm)}", None, float(np.median(rows)))
        for arm, rows in seconds.items()
    ]
    return Evidence(
        tests, values, ["the interval covers the logged rows, not other load on the machine"]
    )


def measure_c13(run: RunResults, thesis: Thesis) -> Evidence:
    wanted = thesis.settings["pretraining"]["images"].value
    if run.reference != "imagenet":
        raise NotTested(
            "the supervised arm is a stand-in, trained on generated crops and not on 1.3 million labels"
        )
    if (run.pretraining_images or 0) < wanted:
        raise NotTested(f"{run.pretraining_images or 0} unlabelled images instead of {wanted}")
    require_arms(run.comparison["arms"], "byol", "imagenet")
    (said,) = thesis.claim("C13").values.values()
    tests = compare_ap(run, "AP", "imagenet", said, (MATCH, INF))
    from_labels = run.pretraining.get("byol", {}).get("parameters", {}).get("init") != "random"
    notes = (
        ["BYOL itself started from the weights of those 1.3 million labels"] if from_labels else []
    )
    return Evidence(tests, notes=[*notes, *note_images(run)])


def measure_c14(run: RunResults, thesis: Thesis) -> Evidence:
    raise NotTested(
        "each kind of image needs a run of its own: give a folder of them as data and read its row C1"
    )


CLAIMS: dict[str, Callable[[RunResults, Thesis], Evidence]] = {
    f"C{number}": measure
    for number, measure in enumerate(
        (
            measure_c1,
            measure_c2,
            measure_c3,
            measure_c4,
            measure_c5,
            measure_c6,
            measure_c7,
            measure_c8,
            measure_c9,
            measure_c10,
            measure_c11,
            measure_c12,
            measure_c13,
            measure_c14,
        ),
        start=1,
    )
}


def _rate(run: RunResults, name: str, better: tuple[float, float]) -> Evidence:
    """BYOL nearer to the reference than to random, and both better than random, at the end of the smoothed curves."""
    require_arms(run.curves, "byol", run.reference, "random")
    first, last = {}, {}
    for arm in ("byol", run.reference, "random"):
        smooth = {
            seed: read_smoothed_rates(path, choose_smoothing(path))[name]
            for seed, path in run.curves[arm].items()
        }
        first[arm] = {seed: float(curve[0]) for seed, curve in smooth.items()}
        last[arm] = {seed: float(curve[-1]) for seed, curve in smooth.items()}
    byol, reference, random = (last[arm] for arm in ("byol", run.reference, "random"))
    nearer = [
        abs(byol[s] - reference[s]) - abs(byol[s] - random[s])
        for s in sorted(byol.keys() & reference.keys() & random.keys())
    ]
    tests = [
        test_over_seeds(
            run, "BYOL's distance to the supervised arm minus that to random", None, nearer, BELOW
        ),
        test_over_seeds(run, "BYOL - random", None, subtract_paired(byol, random), better),
        test_over_seeds(
            run,
            f"{arm_label(run.reference)} - random",
            None,
            subtract_paired(reference, random),
            better,
        ),
    ]
    values = [
        Measure(f"{when} {arm_label(arm)}", None, statistics.fmean(of[arm].values()))
        for arm in last
        for when, of in (("first", first), ("last", last))
    ]
    return Evidence(tests, values, ["pixel rates of the training batch", *note_seeds(run)])
