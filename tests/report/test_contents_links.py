"""Links to places within a notebook work in the pages that ``make report`` writes."""

import copy
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from byol_helpers.report.html import render_notebook

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))


class Places(HTMLParser):
    """Collects the ids of a page, and where its own links lead."""

    def __init__(self, page: str):
        super().__init__()
        self.ids = set()
        self.targets = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids.add(found.get("id"))
        # nbconvert puts a link to itself beside each heading.
        link = found.get("href") or ""
        if tag == "a" and link.startswith("#") and found.get("class") != "anchor-link":
            self.targets.add(link[1:])


def render_texts(notebook: dict, folder: Path) -> Places:
    """The page of a notebook's texts alone."""
    texts = copy.deepcopy(notebook)
    texts["cells"] = [cell for cell in texts["cells"] if cell["cell_type"] == "markdown"]
    path = folder / "texts.ipynb"
    path.write_text(json.dumps(texts), encoding="utf-8")
    return Places(render_notebook(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_link_within_a_page_has_its_place(path, tmp_path):
    places = render_texts(json.loads(path.read_text(encoding="utf-8")), tmp_path)
    assert len(places.targets) >= 5
    assert places.targets <= places.ids


def test_a_dead_link_is_seen(tmp_path):
    notebook = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))
    notebook["cells"][0]["source"] = "# A title (1)\n\n[there](#A-title-%281%29) [gone](#a-title)"
    places = render_texts(notebook, tmp_path)
    assert "A-title-(1)" in places.targets & places.ids
    assert places.targets - places.ids == {"a-title"}
