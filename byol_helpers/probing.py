"""What the weights of an arm know of held-out images: the probes, as a stage."""

from pathlib import Path

from byol_helpers.coco.dataset import list_usable_images
from byol_helpers.core.arms import ARMS, label_arm
from byol_helpers.core.files import read_json, write_json
from byol_helpers.core.stage import Run, run_stage
from byol_helpers.core.stage_parameters import describe_random_weights, describe_run
from byol_helpers.initial_weights import find_initial_weights, get_weights_file


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
        found = probe_training(profile, begun, trained, list_usable_images(run), run.path / "data")
        about = {"arm": arm, "profile": profile.name, "seed": profile.pretraining_seed}
        write_json(folder / "probe.json", about | found)

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
