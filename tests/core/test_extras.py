"""The extras of the installation: what a room needs is in the one that its commands name."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

from byol_helpers.cli import main
from byol_helpers.core.extras import MODULES, find_extra

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "byol_helpers"
# Names of modules that are not those of their distributions.
MODULE_OF = {
    "pillow": "PIL",
    "pyyaml": "yaml",
    "lazy-loader": "lazy_loader",
    "opencv-python-headless": "cv2",
    "scikit-image": "skimage",
    "pillow-heif": "pillow_heif",
    "ipykernel": "IPython",
}
# Brought by something that an extra asks for, or installed by hand.
OTHERS = {
    "detectron2",
    "fvcore",
    "google",
    "markupsafe",
    "nbformat",
    "pkg_resources",
    "traitlets",
}


def list_modules(lines: list[str]) -> set[str]:
    names = [line.partition(">=")[0] for line in lines]
    return {MODULE_OF.get(name, name) for name in names}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def imported_modules() -> set[str]:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").split(".")[0])
    return found - set(sys.stdlib_module_names) - {"byol_helpers"}


def test_every_module_that_is_imported_has_its_place(project):
    base = list_modules(project["dependencies"])
    placed = {module for modules in MODULES.values() for module in modules}
    assert imported_modules() <= base | placed | OTHERS
    assert base & placed == set()


def test_an_extra_brings_the_modules_that_it_is_named_for(project):
    for extra, modules in MODULES.items():
        offered = list_modules(project["optional-dependencies"][extra])
        assert set(modules) <= offered, extra


def test_a_plain_installation_brings_neither_torch_nor_jupyter(project):
    heavy = {"torch", "torchvision", "lightning", "jupyterlab", "matplotlib", "cv2", "av"}
    assert list_modules(project["dependencies"]) & heavy == set()


def test_the_extra_of_a_module_is_found():
    assert find_extra("torch") == "train"
    assert find_extra("av.error") == "video"
    assert find_extra("something_else") is None
    assert find_extra(None) is None


def test_a_command_without_its_extra_says_which(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("byol_helpers.pretraining")]:
        monkeypatch.delitem(sys.modules, name)
    run = str(tmp_path / "run")
    assert main(["supervised", "--profile", "smoke", "--run", run]) == 2
    said = capsys.readouterr().err
    assert "torch, which is not installed" in said and "[train]" in said
    assert said.count("\n") == 1


def test_whatever_is_asked_for_is_pinned(project):
    """The pins hold for Python 3.11 to 3.13 on Linux, macOS and Windows."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().splitlines()
    pinned = {line.partition("==")[0].replace("_", "-") for line in lines if "==" in line}
    asked = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    names = {line.partition(">=")[0].partition("[")[0] for line in asked}
    assert names - {project["name"]} <= pinned
