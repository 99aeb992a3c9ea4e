"""The address of the repository: one place, and everything that shows it.

``[project.urls]`` of pyproject.toml holds it. From there it goes into the setup cell of every
notebook, which clones it, and into the badges of notebooks and README, which open a notebook on
Colab or Kaggle. Without an address there are no badges, and a setup cell looks for a checkout only.
"""

import json
import re
import tomllib
from pathlib import Path

from byol_helpers import __version__
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_text
from byol_helpers.report.notebooks import ROOT

TAG = f"v{__version__}"
FIRST = "00-overview"  # what the README's badges open
BADGES = {
    "Open in Colab": (
        "https://colab.research.google.com/assets/colab-badge.svg",
        "https://colab.research.google.com/github/{name}/blob/{tag}/notebooks/{stem}.ipynb",
    ),
    "Open in Kaggle": (
        "https://kaggle.com/static/images/open-in-kaggle.svg",
        "https://kaggle.com/kernels/welcome?src=https://github.com/{name}/blob/{tag}/notebooks/"
        "{stem}.ipynb",
    ),
}
_BADGE_LINE = re.compile(r"\n*^\[!\[Open in (?:Colab|Kaggle)\].*$", re.MULTILINE)
_SETUP_LINE = re.compile(r'^REPOSITORY = "[^"]*"', re.MULTILINE)
_TAG_LINE = re.compile(r'^TAG = "[^"]*"', re.MULTILINE)
_URLS = re.compile(r"^\[project\.urls\]\n(?:.+\n)*\n?", re.MULTILINE)


def read_address(repository: Path = ROOT) -> str:
    """The address in ``[project.urls]`` of a copy of the repository; empty where there is none."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository", "")


def publish_address(address: str, repository: Path = ROOT) -> list[Path]:
    """Write an address into pyproject.toml, notebooks and README of a copy of the repository.

    Args:
        address: https://..., from where strangers can clone, or file://...; empty removes the one
            that is there.
        repository: where pyproject.toml lies.

    Returns:
        The files that changed.

    Raises:
        UserError: the address is none, or a notebook has no setup cell; nothing is written.
    """
    address = address.removesuffix("/").removesuffix(".git")
    if address and not re.fullmatch(r"(https|file)://[^\s\"'\\]+", address):
        raise UserError(
            f"--repository {address}: give an address that strangers can clone, for example "
            "https://github.com/NAME/REPOSITORY"
        )
    texts = {repository / "pyproject.toml": _write_project}
    texts |= {path: _write_notebook for path in sorted((repository / "notebooks").glob("*.ipynb"))}
    texts[repository / "README.md"] = _write_readme
    changed = {}
    for path, write in texts.items():
        before = path.read_text(encoding="utf-8")
        after = write(before, address, path)
        if after != before:
            changed[path] = after
    return [write_text(path, text) for path, text in changed.items()]


def list_badges(address: str, stem: str) -> str:
    """Badges that open a notebook, as a line of Markdown.

    Empty where neither service can reach the address: both open notebooks from GitHub alone.
    """
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", address)
    if not found:
        return ""
    badges = []
    for label, (picture, link) in BADGES.items():
        target = link.format(name=found[1], tag=TAG, stem=stem)
        badges.append(f"[![{label}]({picture})]({target})")
    return " ".join(badges)


def _write_project(text: str, address: str, _: Path) -> str:
    without = _URLS.sub("", text)
    urls = f'[project.urls]\nRepository = "{address}"\n\n' if address else ""
    before, mark, after = without.partition("[project.scripts]\n")
    return before + urls + mark + after


def _write_notebook(text: str, address: str, path: Path) -> str:
    notebook = json.loads(text)
    title, *_ = notebook["cells"]
    before = "".join(title["source"])
    titled = _add_badges(before, address, path.stem)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    source = "".join(code[0]["source"]) if code else ""
    begun = source
    if not _SETUP_LINE.search(source) or not _TAG_LINE.search(source):
        raise UserError(
            f"{path}: its first code cell is not the setup cell; copy that of {FIRST}.ipynb"
        )
    source = _SETUP_LINE.sub(lambda _: f'REPOSITORY = "{address}"', source, count=1)
    source = _TAG_LINE.sub(lambda _: f'TAG = "{TAG}"', source, count=1)
    if (titled, source) == (before, begun):
        return text
    title["source"] = _write_like(title["source"], titled)
    code[0]["source"] = _write_like(code[0]["source"], source)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _write_readme(text: str, address: str, _: Path) -> str:
    return _add_badges(text, address, FIRST)


def _add_badges(text: str, address: str, stem: str) -> str:
    """A text with the badges of an address below its title, and no others."""
    title, newline, rest = _BADGE_LINE.sub("", text).partition("\n")
    badges = list_badges(address, stem)
    return f"{title}\n\n{badges}{newline}{rest}" if badges else title + newline + rest


def _write_like(before: str | list[str], text: str) -> str | list[str]:
    """A cell's source as one text or as lines, whichever it was."""
    return text if isinstance(before, str) else text.splitlines(keepends=True)
