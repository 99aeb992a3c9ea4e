"""What the texts call by name is there: files, modules and functions of the package."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from byol_helpers.cli_options import make_parser
from tests.helpers.notebook_rules import Notebook, text

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "byol_helpers"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
FOLDERS = ("byol_helpers", "tests", "benchmarks", "notebooks", "figures", "docs")
# Names of other libraries, and of files that a run or a user makes.
FOREIGN = {
    "RegionProposalNetwork.compute_loss", "paste_masks_in_image", "grid_sample", "pkg_resources",
    "maskrcnn_resnet50_fpn",
}  # fmt: skip


def get_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def known_words() -> frozenset[str]:
    """Every word in the files of package and benchmarks: names, settings, keys, their values."""
    words = set()
    for path in [*PACKAGE.rglob("*"), *(ROOT / "benchmarks").glob("*.py")]:
        if path.suffix in (".py", ".pyi", ".yaml"):
            words |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
            words.add(path.stem)
    return frozenset(words)


def read_page(path: Path) -> tuple[str, str]:
    """(texts for the reader, code) of a page or of a notebook."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8"), ""
    cells = Notebook(path, ROOT).cells
    sources = {"markdown": [], "code": []}
    for cell in cells:
        sources[cell["cell_type"]].append(text(cell["source"]))
    return "\n\n".join(sources["markdown"]), "\n\n".join(sources["code"])


def find_stale_names(page: str, code: str = "") -> list[str]:
    """Names in backticks, dotted names and paths of the repository that lead nowhere."""
    stale = []
    for path in re.findall(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*\w", page):
        if not (ROOT / path).exists() and not (PACKAGE / path).exists():
            stale.append(path)
    for module in re.findall(r"byol_helpers(?:\.\w+)+", page):
        first, *rest = module.split(".")[1:]
        offered = (PACKAGE / "__init__.pyi").read_text(encoding="utf-8").split()
        there = (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").is_file()
        if not (there or first in offered) or not set(rest) <= known_words():
            stale.append(module)
    inline = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    for said in re.findall(r"`([A-Za-z_][\w.]*(?:\([^`]*\))?)`", inline):
        name = said.split("(")[0]
        is_name = "(" in said or re.fullmatch(r"[a-z_0-9.]*[a-z]_?[a-z_0-9.]*", name)
        is_file = re.search(r"\.(md|yaml|json|jsonl|csv|pth|html|ipynb|py|cff|txt|pyi)$", name)
        if not is_name or is_file or name in FOREIGN or not re.search(r"[._(]", said):
            continue
        words = set(re.findall(r"\w+", code)) | known_words()
        if name.split(".")[-1] not in words or (name.split(".")[0] not in words):
            stale.append(said)
    return stale


@pytest.mark.parametrize("path", NOTEBOOKS + PAGES, ids=get_name)
def test_names_in_texts_lead_somewhere(path):
    assert find_stale_names(*read_page(path)) == []


@pytest.mark.parametrize(
    "stale",
    [
        "see `transfer.encoder_of`",
        "in `byol_helpers/thesis.yaml`",
        "by `byol_helpers.matching`",
        "call `make_it_smaller(image)`",
    ],
)
def test_a_stale_name_is_found(stale):
    assert len(find_stale_names(stale)) == 1


def find_refused_commands(page: str) -> list[str]:
    """Documented command lines of the package that its parser refuses, and unknown make targets."""
    refused = []
    for line in re.findall(r"(?:^|`|python )-m byol_helpers ([^`\n]+)", page, re.MULTILINE):
        words = shlex.split(line, comments=True)
        try:
            make_parser().parse_args(words)
        except SystemExit as ended:
            if ended.code != 0:  # 0: help
                refused.append(line)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", page, re.MULTILINE):
        if f"\n{target}:" not in makefile:
            refused.append(f"make {target}")
    return refused


@pytest.mark.parametrize("path", NOTEBOOKS + PAGES, ids=get_name)
def test_commands_in_texts_are_understood(path):
    assert find_refused_commands(read_page(path)[0]) == []


def test_a_refused_command_is_found():
    page = "`python -m byol_helpers download --archives`\n\nmake everything\n"
    assert find_refused_commands(page) == ["download --archives", "make everything"]
