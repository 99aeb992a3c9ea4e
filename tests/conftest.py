"""What the tests of several rooms share."""

import importlib.util
from pathlib import Path

import pytest

from byol_helpers.synthetic.scene_files import GeneratedFolder, write_split

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco-real"


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in COCO's layout: the photographs of ``REAL`` where they are, else generated scenes.

    Its images lie in ``train2017/``, their annotations in ``annotations/instances_train2017.json``.
    """
    if REAL.is_dir():
        return REAL
    folder = tmp_path_factory.mktemp("photographs")
    annotations = folder / "annotations" / "instances_train2017.json"
    write_split(GeneratedFolder(folder / "train2017", 0, 24, 320), annotations, "train")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what carries the marker ``detectron2`` where that engine is not installed."""
    if importlib.util.find_spec("detectron2") is not None:
        return
    skip = pytest.mark.skip(reason="detectron2 is not installed; see docs/engines.md")
    for item in items:
        if item.get_closest_marker("detectron2"):
            item.add_marker(skip)
