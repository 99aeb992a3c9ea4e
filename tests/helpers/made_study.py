"""Results of a study as ``byol_helpers.studies`` writes them, made up without a training."""

from pathlib import Path

import numpy as np

from byol_helpers.core.files import write_json, write_text
from byol_helpers.core.intervals import mean_interval
from byol_helpers.core.profile_files import dump_profile, load_profile
from byol_helpers.evaluation.comparison import evaluate_model
from byol_helpers.reproduction.packed_detections import pack_detections, unpack_detections
from byol_helpers.reproduction.plan import REPEAT_SEED, find_study, list_trainings
from byol_helpers.reproduction.study_files import (
    GROUND_TRUTH_FILE,
    write_background,
    write_compressed,
    write_result,
)
from tests.helpers.detections import LIMITS, guesses, world

PLAN = """\
studies:
  made:
    question: is it read?
    profile: smoke
    overrides: [data.train=12]
    per_seed: ["pretrain.seed={seed}"]
    test_images: 15
    seeds: [0, 1, 2]
    trainings:
      - {protocol: trainable, arms: [byol, supervised, random, byol-random]}
      - protocol: frozen
        arms: [byol, supervised, random, supervised-measured, random-measured]
      - {protocol: trainable, labels: 0.25, arms: [supervised, random]}
      - {protocol: trainable, arms: [supervised], again: true}
    controls: {protocol: trainable, same: supervised, positive: supervised, positive_labels: 0.25}
    stopping: when all are done
    primary: [C1a, C1b, C8]
"""
NOISE = {  # pixels by which detections miss their objects
    "byol": 1.0,
    "supervised": 1.2,
    "random": 3.0,
    "byol-random": 2.0,
    "supervised-measured": 1.1,
    "random-measured": 1.1,
}
FEW_LABELS = 2.0  # times as much with few labels
TRUTH, SHAPES = world(5, images=15)


def make_study(folder: Path) -> Path:
    """``plan.yaml`` and ``results/made`` in a folder; the latter is returned."""
    plan = folder / "plan.yaml"
    plan.write_text(PLAN)
    study = find_study("made", plan)
    out = folder / "results" / "made"
    write_compressed(out / GROUND_TRUTH_FILE, TRUTH)
    for training in list_trainings(study):
        if training.condition is None:
            write_curve(out / training.key / "metrics.csv", training.arm, training.seed)
        else:
            condition = out / training.condition.name
            few = training.condition.images < 12
            key = f"{training.arm}-seed{training.finetune_seed}"
            make_model(condition, key, training.arm, training.finetune_seed, few)
            protocol = training.condition.protocol
            arms = list_arms(protocol, few)
            settings = [*study.settings, *training.condition.settings]
            settings += [f"finetune.arms=[{', '.join(arms)}]", "finetune.seeds=[0, 1, 2]"]
            write_text(condition / "profile.yaml", dump_profile(load_profile("smoke", settings)))
            about = {"study": "made", "protocol": protocol, "images": training.condition.images}
            about |= {"pretraining_images": 64, "pretraining_varies": True}
            write_json(condition / "study.json", about)
        record = {"plan": study.fingerprint(), "device": "CPU, 2 cores", "versions": {"torch": "2"}}
        write_json(out / training.key / "stage.json", record)
    return out


def list_arms(protocol: str, few: bool) -> list[str]:
    """Arms of a condition of the plan."""
    if few:
        return ["supervised", "random"]
    if protocol == "frozen":
        return ["byol", "supervised", "random", "supervised-measured", "random-measured"]
    return ["byol", "supervised", "random", "byol-random"]


def make_model(condition: Path, key: str, arm: str, seed: int, few: bool) -> None:
    """Everything of one fine-tuning but its record."""
    noise = NOISE[arm] * (FEW_LABELS if few else 1)
    draw = 10 * sorted(NOISE).index(arm) + seed % REPEAT_SEED + seed // REPEAT_SEED * 5
    packed = pack_detections(guesses(SHAPES, draw, noise, decimals=4), TRUTH, LIMITS)
    result = evaluate_model(
        TRUTH,
        unpack_detections(packed, TRUTH),
        arm=arm,
        seed=seed,
        engine="torchvision",
        profile="smoke",
        iterations=40,
        area_limits=LIMITS,
        replicates=60,
    )
    write_result(condition / "evaluate" / key, packed, result)
    write_curve(condition / "finetune" / key / "metrics.csv", arm, seed)
    losses = {"loss_box_reg": noise, "loss_cls": noise, "loss_mask": noise}
    losses |= {f"mask_rcnn/{name}": 0.1 for name in ("accuracy", "false_positive")}
    losses |= {"mask_rcnn/false_negative": 0.1 + seed / 1000}
    path = condition / "validation" / key / "losses.json"
    write_json(path, {"images": 8, "losses": losses})
    for name in (key, "keep-everything"):
        rng = np.random.default_rng(draw)
        scores = np.clip(1 - 0.1 * noise + rng.normal(0, 0.02, 10), 0, 1)
        rows = [{"image_id": k, "cosine": float(score)} for k, score in enumerate(scores)]
        whole = {
            "per_image": rows,
            "scores": {"cosine": mean_interval(scores, 60, 0, 0.95)},
            "bootstrap": {"replicates": 60, "seed": 0, "confidence": 0.95},
        }
        source = condition / "whole.json"
        write_json(source, whole)
        write_background(source, condition / "background" / name / "metrics.json")
        source.unlink()


def write_curve(path: Path, arm: str, seed: int) -> None:
    """A falling ``metrics.csv`` of twenty rows, lower for arms with less noise."""
    rng = np.random.default_rng(seed)
    parts = ["loss", "loss_box_reg", "loss_cls", "loss_mask"]
    rates = ["mask_rcnn/accuracy", "mask_rcnn/false_positive", "mask_rcnn/false_negative"]
    lines = [",".join(["step", "total_loss", "seconds", *parts, *rates])]
    for step in range(20, 420, 20):
        loss = 0.2 * NOISE[arm] + 20 / step + rng.normal(0, 0.002)
        rate = 0.05 * NOISE[arm] + rng.normal(0, 0.001)
        cells = [step, 3 * loss, 0.1, loss, loss, loss, loss, 1 - rate, rate, rate]
        lines.append(",".join(f"{cell:.7g}" for cell in cells))
    write_text(path, "\n".join(lines) + "\n")
