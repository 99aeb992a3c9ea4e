"""The ResNet inside somebody else's checkpoint, found and brought to torchvision's names."""

import re
from collections import Counter
from pathlib import Path

import torch

from byol_helpers.core.channels import RGB
from byol_helpers.core.config import FULL_WIDTH
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import sha256
from byol_helpers.core.progress import announce
from byol_helpers.core.resnet import build_resnet
from byol_helpers.core.weights import SAVE_STATE, drop_counters, fit_exactly, read_tensors
from byol_helpers.segmentation.detectron2_names import rename_from_detectron2

Tensors = dict[str, torch.Tensor]
# Words in the names of networks that follow another one.
SLOW = {"momentum", "target", "teacher", "ema", "avg", "k", "key"}
# torch.nn.Sequential over the children of a torchvision ResNet.
SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
BLOCKS = {  # in each layer, and whether a block is a bottleneck of three convolutions
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}
DEPTHS = (18, 50)  # those that a profile can have
MSRA = (
    "made from MSRA's weights of Detectron, whose images are BGR and whose stride is in the 1x1 "
    "convolutions, which no renaming changes; take one made from torchvision's R-50.pkl"
)


def adopt_checkpoint(path: Path, depth: int, width: int = FULL_WIDTH) -> tuple[Tensors, dict]:
    """The ResNet inside somebody else's checkpoint, and where it was found.

    Known by what they call the first convolution: torchvision and timm (``conv1``), lightly
    (``backbone.0``), solo-learn (``backbone.conv1``), MoCo (``module.encoder_q.conv1``,
    ``module.base_encoder.conv1``), DataParallel (``module.conv1``), detectron2 (``stem.conv1``),
    alone or inside ``state_dict``, ``model`` or another key. Of an online and a momentum network
    the online one is taken; the same tensors under several names are one network. What is not part
    of the ResNet (heads, optimiser, queue) is left out, and what is not a tensor is not even
    opened.

    Args:
        path: what ``torch.save`` or ``pickle.dump`` wrote, or a ``.safetensors`` file.
        depth: of the ResNet that is wanted, 18 or 50.
        width: channels of its first stage.

    Returns:
        Tensors under torchvision's names, and what is said about their origin.

    Raises:
        UserError: no ResNet inside, more than one, another architecture, numbers that are not
            finite, or a file of another kind.
    """
    path = Path(path)
    held, unread = read_tensors(path)
    networks = find_networks(held)
    if not networks:
        raise UserError(f"{path}: {explain_nothing(held, unread)}")
    if len(networks) > 1:
        names = ", ".join(list(networks)[:4])
        raise UserError(
            f"{path}: one ResNet is needed, found {len(networks)} ({names}); save the state of the "
            "backbone alone with torch.save(backbone.state_dict(), file)"
        )
    ((prefix, tensors),) = networks.items()
    _check_architecture(path, tensors, depth, width)
    _check_numbers(path, tensors)
    source = {
        "file": path.name,
        "sha256": sha256(path),
        "prefix": prefix,
        "tensors left out": len(held) - len(tensors),
    }
    if unread:
        announce(f"{path.name}: only its tensors are read; left out: {_list_names(unread)}")
        source["objects left out"] = sorted(unread)
    return tensors, source


def find_networks(held: Tensors) -> dict[str, Tensors]:
    """The different ResNets among tensors, by the prefix of their names.

    A ResNet is known by its first convolution. Those that follow another one (momentum networks)
    are left out, and of equal ones only the first counts.
    """
    networks: dict[str, Tensors] = {}
    for name in sorted(held):
        first = re.fullmatch(r"((?:.*\.)?)(conv1|0)\.weight", name)
        if not first or not _is_stem(held[name]) or _follows(first[1]):
            continue
        prefix = first[1]
        tensors = _take_resnet(held, prefix, first[2])
        if len(held[name]) != FULL_WIDTH and "layer1.0.conv1.weight" not in tensors:
            continue  # another kind of network
        if not any(_are_equal(tensors, other) for other in networks.values()):
            networks[prefix.removesuffix("stem.")] = tensors
    return networks


def _is_stem(value: torch.Tensor) -> bool:
    """Whether a tensor can be a ResNet's first convolution, of any width."""
    return tuple(value.shape[1:]) == (len(RGB), 7, 7)


def _follows(prefix: str) -> bool:
    """Whether a name is that of a momentum network."""
    return bool(SLOW & set(re.split(r"[._]", prefix.lower())))


def _take_resnet(held: Tensors, prefix: str, stem: str) -> Tensors:
    """The tensors below a prefix under torchvision's names, without what is no part of a ResNet."""
    from_detectron2 = re.fullmatch(r"((?:.*\.)?)stem\.", prefix)
    if from_detectron2:
        prefix = from_detectron2[1]
    inside = {}
    for name, value in held.items():
        if name.startswith(prefix):
            inside[name.removeprefix(prefix)] = value
    if stem == "0":
        for name in list(inside):
            first, dot, rest = name.partition(".")
            inside[SEQUENTIAL.get(first, first) + dot + rest] = inside.pop(name)
    elif from_detectron2:
        inside = rename_from_detectron2(inside)
    roots = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.", "layer4.")
    return {name: value for name, value in inside.items() if name.startswith(roots)}


def _are_equal(first: Tensors, second: Tensors) -> bool:
    first = drop_counters(first)
    second = drop_counters(second)
    if first.keys() != second.keys():
        return False
    return all(torch.equal(first[name], second[name]) for name in first)


def _check_architecture(path: Path, tensors: Tensors, depth: int, width: int) -> None:
    """Raise a ``UserError`` for any other network than this ResNet of torchvision's."""
    found = recognise_depth(tensors)
    if _is_msra(tensors):
        raise UserError(f"{path}: {MSRA}")
    channels = len(tensors["conv1.weight"])
    if found is not None and len(tensors["layer1.0.conv1.weight"]) != channels:
        raise UserError(
            f"{path}: this is a ResNet whose blocks are of another width than its stem (a wide "
            "ResNet, a ResNeXt); the profiles have a plain ResNet-18 or ResNet-50, so give weights "
            "of one of these"
        )
    if found in DEPTHS and found != depth:
        raise UserError(
            f"{path}: this is a ResNet-{found}, and the profile has a ResNet-{depth}; set "
            f"depth={found} (--set depth={found}), or give weights of a ResNet-{depth}"
        )
    if found is not None and found != depth:
        raise UserError(
            f"{path}: this is a ResNet-{found}; the profiles have a ResNet-18 or a ResNet-50, so "
            "give weights of one of these"
        )
    if found is not None and channels != width:
        raise UserError(
            f"{path}: this is a ResNet-{found} of width {channels} (channels of its first stage), "
            f"and the profile has width={width}; set width={channels} (--set width={channels}), or "
            f"give weights of width {width}"
        )
    with torch.device("meta"):  # names and shapes alone
        network = build_resnet(depth, width)
    del network.fc
    try:
        fit_exactly(network, tensors)
    except UserError as error:
        raise UserError(f"{path}: no ResNet-{depth}: {error}") from None


def _is_msra(tensors: Tensors) -> bool:
    """Whether batch norm has no statistics of its own, as in detectron2's copies of MSRA's weights.

    Its FrozenBatchNorm2d then has a mean of 0 and a variance of 1 - 1e-5. MSRA's networks all have
    bottlenecks.
    """
    mean = tensors.get("bn1.running_mean")
    variance = tensors.get("bn1.running_var")
    if mean is None or variance is None or "layer1.0.conv3.weight" not in tensors:
        return False
    if bool(mean.any()):
        return False
    return bool(((variance.float() - (1 - 1e-5)).abs() < 1e-6).all())


def recognise_depth(tensors: Tensors) -> int | None:
    """18, 34, 50, 101 or 152 by the number of blocks; None for another shape."""
    counts = []
    for layer in range(1, 5):
        blocks = 0
        while f"layer{layer}.{blocks}.conv1.weight" in tensors:
            blocks += 1
        counts.append(blocks)
    return BLOCKS.get((tuple(counts), "layer1.0.conv3.weight" in tensors))


def _check_numbers(path: Path, tensors: Tensors) -> None:
    """Raise a ``UserError`` where a tensor holds NaN or infinity."""
    broken = []
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            broken.append(name)
    if broken:
        raise UserError(
            f"{path}: {len(broken)} of {len(tensors)} tensors hold NaN or infinity ({broken[0]} "
            "...): that training had diverged; give an earlier checkpoint of it"
        )


def explain_nothing(held: Tensors, unread: Counter[str]) -> str:
    """Why no ResNet was found, with the remedy; in one line."""
    if "blobs.conv1_w" in held or "conv1_w" in held:
        return MSRA
    for name, value in held.items():
        first = re.fullmatch(r"((?:.*\.)?)(conv1|0)\.weight", name)
        if first and value.ndim == 4 and _has_blocks(held, first[1], first[2]):
            shape = tuple(value.shape)
            if _is_stem(value):  # of a momentum network
                return (
                    f"the only ResNet is that of a network that follows another one ({first[1]}); "
                    "save the trained one with torch.save(backbone.state_dict(), file)"
                )
            return (
                f"its first convolution has filters of {shape[2]}x{shape[3]} over {shape[1]} "
                f"channels, a ResNet here has 7x7 over {len(RGB)} (RGB); give weights of such a "
                "ResNet"
            )
        if re.fullmatch(r"(.*\.)?conv1\.0\.weight", name):
            return (
                "its stem is three convolutions (a ResNet-D), a ResNet here has one of 7x7; give "
                "weights of such a ResNet"
            )
    said = f"one ResNet is needed, found none among {len(held)} tensors"
    if unread:
        said += f" (left out: {_list_names(unread)})"
    return f"{said}; save the tensors of the backbone alone with {SAVE_STATE}"


def _has_blocks(held: Tensors, prefix: str, stem: str) -> bool:
    layer = "4" if stem == "0" else "layer1"
    return f"{prefix}{layer}.0.conv1.weight" in held


def _list_names(unread: Counter[str]) -> str:
    """The names of objects, the two most frequent of them with their numbers."""
    said = [f"{name} ({count})" for name, count in unread.most_common(2)]
    if len(unread) > 2:
        said.append(f"{len(unread) - 2} more kinds")
    return ", ".join(said)
