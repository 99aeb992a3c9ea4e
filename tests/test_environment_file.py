"""The conda environment asks for what the package and its extra ``dev`` ask for."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENT = re.compile(r"(?P<name>[\w-]+)(?:\[[\w,]+\])?(?P<bound>>=[\d.]+)")
ON_CONDA_FORGE = {"torch": "pytorch", "opencv-python-headless": "opencv"}
CONDA_ALONE = ["python=3.12", "pip", "detectron2"]


def list_requirements() -> list[str]:
    """What the package and the tests ask for, under conda-forge's names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = list(project["dependencies"])
    for extra in ("train", "video", "notebooks", "dev"):
        lines += [line for line in extras[extra] if not line.startswith(project["name"])]
    asked = []
    for line in lines:
        found = REQUIREMENT.fullmatch(line)
        assert found, line
        asked.append(ON_CONDA_FORGE.get(found["name"], found["name"]) + found["bound"])
    return asked


def test_environment_file_asks_for_the_same():
    made = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *listed, by_pip = made["dependencies"]
    editable, *others = by_pip["pip"]
    assert editable == "-e ."
    assert sorted(listed + others) == sorted(list_requirements() + CONDA_ALONE)
