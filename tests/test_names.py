"""One public name has one meaning in the whole package, and no module is named like a stage."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "byol_helpers"
FILES = sorted(PACKAGE.rglob("*.py"))
# A contract that several modules fulfil is one meaning: what an engine or a method is.
SHARED = {"build", "train", "detect", "compute_losses", "raise_threshold", "main"}
STAGES = {"prepare", "supervised", "pretrain", "transfer", "finetune", "evaluate", "scorecard"}


def public_definitions() -> dict[str, list[str]]:
    """Where each public function, class and constant is defined at the top of a module."""
    places = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            else:
                names = []
            for name in names:
                if not name.startswith("_"):
                    places[name].append(str(path.relative_to(PACKAGE)))
    return places


def test_a_public_name_is_defined_once():
    twice = {name: places for name, places in public_definitions().items() if len(places) > 1}
    assert {name: places for name, places in twice.items() if name not in SHARED} == {}


def test_a_module_is_not_named_like_a_function():
    functions = public_definitions()
    modules = {path.stem for path in FILES if path.stem != "__init__"} | {
        path.name for path in PACKAGE.iterdir() if path.is_dir()
    }
    named = {module: functions[module] for module in modules if module in functions}
    assert named == {}


def test_no_module_is_named_like_a_stage():
    assert {path.stem for path in FILES} & STAGES == set()


def test_a_module_is_not_named_like_an_offered_name():
    """Importing the module would put it in the name's place."""
    for stub in PACKAGE.rglob("__init__.pyi"):
        beside = {path.stem for path in stub.parent.iterdir()}
        offered = set()
        for node in ast.parse(stub.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                offered |= {alias.name for alias in node.names}
        assert offered & beside == set(), stub
