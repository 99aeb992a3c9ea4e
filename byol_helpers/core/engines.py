"""The engines of Mask R-CNN: one entry each, read by profiles and stages without loading torch.

A new one is a module that fulfils ``segmentation.engine.Engine``, and an entry in ``ENGINES``.
"""

import importlib.util
from dataclasses import dataclass

from byol_helpers.core.errors import UserError


@dataclass(frozen=True)
class EngineEntry:
    """Where an engine is and what it can do.

    Attributes:
        module: that fulfils ``segmentation.engine.Engine``.
        package: that must be installed for it.
        remedy: how a user gets that package.
        scales: whether it trains on several devices and in mixed precision.
    """

    module: str
    package: str
    remedy: str
    scales: bool


ENGINES = {
    "torchvision": EngineEntry(
        "byol_helpers.segmentation.torchvision_engine",
        "torchvision",
        "pip install torchvision",
        scales=True,
    ),
    "detectron2": EngineEntry(
        "byol_helpers.segmentation.detectron2_engine",
        "detectron2",
        "install it from its repository (see docs/engines.md)",
        scales=False,
    ),
}


def list_installed_engines() -> list[str]:
    """The engines whose package is installed here."""
    return [name for name, entry in ENGINES.items() if importlib.util.find_spec(entry.package)]


def require_engine(name: str) -> EngineEntry:
    """The entry of an engine whose package is installed.

    Raises:
        UserError: it is not.
    """
    entry = ENGINES[name]
    if name not in list_installed_engines():
        raise UserError(
            f"finetune.engine is {name}, which is not installed; {entry.remedy} or use "
            "--engine torchvision"
        )
    return entry
