"""What the setup cell installs: only what is missing, never PyTorch or numpy."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def install():
    spec = importlib.util.spec_from_file_location("install", ROOT / "notebooks" / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_here_nothing_is_missing(install, capsys, monkeypatch):
    monkeypatch.setattr("subprocess.run", None)
    install.main()
    assert capsys.readouterr().out == ""


def test_it_reads_the_package_and_the_extras_of_the_notebooks(install):
    names = {requirement.name for requirement in install.read_requirements(ROOT / "pyproject.toml")}
    assert {"torch", "numpy", "av", "seaborn", "pycocotools"} <= names
    assert names & {"byol-instance-segmentation", "pytest", "ipykernel", "jupyterlab"} == set()


def test_what_is_missing_or_too_old_is_found(install):
    wanted = [Requirement("pytest>=1"), Requirement("pytest>=9999"), Requirement("no-such-thing")]
    assert install.list_missing(wanted) == wanted[1:]


@pytest.mark.parametrize("name", ["torch", "torchvision", "numpy"])
def test_what_comes_with_the_machine_is_refused_not_replaced(install, name):
    with pytest.raises(RuntimeError, match="is needed") as told:
        install.list_missing([Requirement(f"{name}>=9999")])
    assert "\n" not in str(told.value)


def test_pip_is_held_to_the_versions_that_are_there(install, monkeypatch):
    calls = []

    def pretend(command, **_):
        constraints = Path(command[command.index("--constraint") + 1]).read_text()
        calls.append((command, constraints))
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr("subprocess.run", pretend)
    install.install([Requirement("lightning>=2.4")])
    [(command, constraints)] = calls
    assert command[0] == sys.executable and command[-1] == "lightning>=2.4"
    kept = [line.partition("==")[0] for line in constraints.splitlines()]
    assert kept == ["torch", "torchvision", "numpy"]
    assert f"torch=={install.find_version('torch')}\n" in constraints


def test_a_failure_of_pip_is_one_line(install, monkeypatch):
    failed = SimpleNamespace(returncode=1, stderr="much\nERROR: no matching version")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match="no matching version") as told:
        install.install([Requirement("lightning>=2.4")])
    assert "\n" not in str(told.value)
