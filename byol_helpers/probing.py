"""What the weights of an arm know of held-out images: the probes, as a stage."""

from collections.abc import Sequence
from pathlib import Path

from byol_helpers.coco.dataset import list_usable_images, load_split, load_splits
from byol_helpers.core.arms import ARMS, label_arm
from byol_helpers.core.files import read_json, write_json
from byol_helpers.core.progress import UNFINISHED
from byol_helpers.core.stage import Run, run_stage
from byol_helpers.core.stage_parameters import describe_random_weights, describe_run
from byol_helpers.initial_weights import (
    begins_at_random,
    find_initial_weights,
    get_weights_file,
)


def measure_probes(run: Run, arm: str = "byol", detector: Path | None = None) -> dict | None:
    """``probe/<arm>/probe.json``: what the arm's weights know of held-out crops or photographs,
    beside controls.

    Measured once for the weights as they are. None where there are neither.

    Args:
        run: its stages up to the arm's transfer must be done.
        arm: one whose weights are a file; of a pretraining, gains are counted from its start.
        detector: ``model.pth`` of a fine-tuning on other labelled scenes, whose backbone then
            stands in the table as an upper bound.
    """
    from byol_helpers import backbones
    from byol_helpers.pretraining.probe_results import probe_training

    profile = run.profile
    if profile.supervised.source == "imagenet":
        return None
    start = find_initial_weights(run, arm) if ARMS[arm].source == "pretrain" else None
    weights = get_weights_file(run, arm)
    files = {label_arm(arm): weights}
    inputs = [run.path / "splits.json", weights]
    if start:
        inputs.append(start)
    if detector:
        files["body of a detector"] = detector
        inputs.append(detector)

    def work(folder: Path) -> None:
        trained = {name: backbones.load_body(file) for name, file in files.items()}
        begun = backbones.load_backbone(start) if start else None
        images = list_usable_images(run)
        unfinished = folder / UNFINISHED
        found = probe_training(profile, begun, trained, images, run.path / "data", unfinished)
        about = {"arm": arm, "profile": profile.name, "seed": profile.pretraining_seed}
        write_json(folder / "probe.json", about | found)
        unfinished.unlink(missing_ok=True)

    settings = profile.pretrain.model_dump(include={"view_size", "batch_size", "crop_scale"})
    asked = profile.data.model_dump(include={"crop_size", "image_size", "world", "crop_objects"})
    parameters = (
        describe_run(run)
        | describe_random_weights(run)
        | settings
        | asked
        | {"crops": profile.pretrain.probe_crops}
        | profile.pretrain.model_dump(include={"probe_on"}, exclude_defaults=True)
    )
    stage = f"probe/{arm}-and-detector" if detector else f"probe/{arm}"
    return read_json(run_stage(run, stage, parameters, inputs, work) / "probe.json")


def measure_dense_probe(run: Run, arms: Sequence[str]) -> dict | None:
    """``probe/dense/probe.json``: what a linear layer on frozen features says of every place of the
    test scenes, for several numbers of labelled scenes, beside controls.

    Measured once for the weights as they are. None where the profile names no side of the
    scenes, or there are no labels.

    Args:
        run: its stages up to the arms' transfer must be done.
        arms: whose weights are a file; of those that begin with another of them, gains over this
            one are counted too.
    """
    from byol_helpers import backbones
    from byol_helpers.pretraining import dense_probe
    from byol_helpers.pretraining.probe_results import name_random, probe_scenes

    profile = run.profile
    if profile.data.image_size is None or not {"train", "test"} <= load_splits(run).keys():
        return None
    train = load_split(run, "train")
    test = load_split(run, "test")
    files = {label_arm(arm): get_weights_file(run, arm) for arm in arms}
    starts = {}
    for arm in arms:
        begins_with_another = ARMS[arm].source == "pretrain" and not begins_at_random(run, arm)
        if begins_with_another and profile.reference_arm in arms:
            starts[label_arm(arm)] = label_arm(profile.reference_arm)

    def work(folder: Path) -> None:
        trained = {name: backbones.load_backbone(file) for name, file in files.items()}
        images = list_usable_images(run)
        unfinished = folder / UNFINISHED
        found = probe_scenes(profile, trained, starts, images, train, test, unfinished)
        about = {"profile": profile.name, "seed": profile.pretraining_seed}
        write_json(folder / "probe.json", about | found)
        unfinished.unlink(missing_ok=True)

    asked = {"view_size", "batch_size", "crop_scale", "dense_images"}
    parameters = describe_run(run) | describe_random_weights(run)
    parameters |= profile.pretrain.model_dump(include=asked)
    parameters |= {"image_size": profile.data.image_size, "arms": list(arms)}
    parameters |= dense_probe.describe_training()
    inputs = [run.path / "splits.json", train.file, test.file, *files.values()]
    found = read_json(run_stage(run, "probe/dense", parameters, inputs, work) / "probe.json")
    return found | {"rows": name_random(found["rows"])}


def load_probed_networks(run: Run, arm: str = "byol") -> dict:
    """The networks that ``measure_probes`` asks, by their names in its table, in eval mode."""
    from byol_helpers.backbones import load_backbone
    from byol_helpers.pretraining.probe_results import prepare_networks

    start = find_initial_weights(run, arm) if ARMS[arm].source == "pretrain" else None
    begun = load_backbone(start) if start else None
    trained = {label_arm(arm): load_backbone(get_weights_file(run, arm))}
    return prepare_networks(run.profile, begun, trained, list_usable_images(run))


def measure_knn(run: Run, arm: str = "byol") -> list[float] | None:
    """kNN accuracy on the generated crops; None where there are none.

    Of a pretraining's initial weights, of the same with measured statistics, and of its end.
    """
    from byol_helpers.backbones import extract_encoder, load_backbone
    from byol_helpers.pretraining import probes

    if run.profile.supervised.source != "crops":
        return None
    start = find_initial_weights(run, arm)
    weights = load_backbone(start) if start else None
    tensors = extract_encoder(run.path / "pretrain" / arm / "last.ckpt")
    images = list_usable_images(run)
    return probes.compare_knn(run.profile, weights, tensors, run.path / "data", images)
