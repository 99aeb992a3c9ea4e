"""What a finished site must not have: dead links, pictures without words, pages wider than a
telephone, findings of axe-core, formulas that are not drawn."""

import re
import shutil
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
SERIOUS = ("serious", "critical")
TEX = re.compile(r"\$\$|\\(?:frac|sum|begin|text|mathcal|left|qquad)\b")


class Page(HTMLParser):
    """Ids, links and pictures of one page.

    Attributes:
        ids: what a fragment may name.
        targets: every ``href`` and ``src``.
        speechless: sources of pictures without an alternative text.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[str] = []
        self.speechless: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for key in ("id", "name"):
            if given.get(key):
                self.ids.add(str(given[key]))
        for key in ("href", "src"):
            if given.get(key) and tag not in ("link", "base"):
                self.targets.append(str(given[key]))
        if tag == "img" and not (given.get("alt") or "").strip():
            self.speechless.append(str(given.get("src", "?"))[:80])


def check_site(site: Path) -> Iterator[str]:
    """All findings, one a line, each with the page that it is on."""
    yield from check_files(site)
    browser = find_browser()
    if browser is None:
        yield f"no browser to look at the pages with; one of {', '.join(BROWSERS)}"
    else:
        yield from check_in_browser(site, browser)


def check_files(site: Path) -> Iterator[str]:
    """Dead links within the site, and pictures without words."""
    pages = {}
    for path in sorted(site.glob("**/*.html")):
        if "_static" not in path.parts:
            pages[path.resolve()] = Page(path.read_text(encoding="utf-8"))
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for source in page.speechless:
            yield f"{name}: no alternative text: {source}"
        for target in page.targets:
            problem = follow_link(path, target, pages)
            if problem:
                yield f"{name}: {problem}: {target[:120]}"


def follow_link(path: Path, target: str, pages: dict[Path, Page]) -> str | None:
    """What is wrong with a link of a page; None where it leads somewhere, or out of the site."""
    parts = urlsplit(target)
    if parts.scheme or target.startswith("//"):
        return None
    place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not place.is_file():
        return "dead link"
    if parts.fragment and place in pages:
        # A browser looks for the fragment as it is written, and then for what it stands for.
        if not {parts.fragment, unquote(parts.fragment)} & pages[place].ids:
            return "dead anchor"
    return None


def find_browser() -> str | None:
    """A Chromium or Chrome of this machine."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def check_in_browser(site: Path, browser: str) -> Iterator[str]:
    """What only shows when a page is drawn: width, contrast, names, formulas, errors of scripts."""
    from playwright.sync_api import sync_playwright

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        with sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            pages = sorted(path.relative_to(site) for path in site.glob("**/*.html"))
            for name in (path.as_posix() for path in pages if path.parts[0] != "_static"):
                for scheme, size in (("light", PHONE), ("dark", DESKTOP)):
                    context = chromium.new_context(
                        viewport=size,  # pyright: ignore
                        color_scheme=scheme,  # pyright: ignore
                        bypass_csp=True,
                    )
                    page = context.new_page()
                    for finding in look_at_page(page, f"{address}/{name}"):
                        yield f"{name}, {scheme}, {size['width']} px: {finding}"
                    context.close()
            chromium.close()
    finally:
        server.shutdown()


def look_at_page(page: Any, address: str) -> Iterator[str]:
    """Findings of one page in one size and colour scheme."""
    from axe_playwright_python.sync_playwright import Axe

    errors = []
    page.on("pageerror", lambda error: errors.append(f"script: {error}"))
    page.on("requestfailed", lambda request: errors.append(f"not loaded: {request.url}"))
    page.goto(address, wait_until="load")
    yield from errors
    too_wide = page.evaluate(
        "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
    )
    if too_wide > 0:
        yield f"{too_wide} px wider than the window: {page.evaluate(FIND_WIDE)}"
    flat = page.evaluate(
        "[...document.querySelectorAll('math')].filter(m => m.checkVisibility()"
        " && m.getBoundingClientRect().height < 4).length"
    )
    if flat:
        yield f"{flat} formulas are not drawn"
    raw = page.evaluate(FIND_TEX)
    yield from (f"TeX in the text: {line[:100]}" for line in raw if TEX.search(line))
    # The colours of code are the same on every page; a notebook has thousands of such words.
    context = {"exclude": [["pre"]]} if is_notebook(address) else None
    for found in Axe().run(page, context=context).response["violations"]:
        if found["impact"] in SERIOUS:
            where = found["nodes"][0]["target"]
            yield f"axe {found['id']} ({found['impact']}, {len(found['nodes'])} x): {where}"


def is_notebook(address: str) -> bool:
    """Whether a page is made of a notebook: its name begins with a number."""
    return address.rsplit("/", 1)[-1][:2].isdigit()


FIND_WIDE = """
() => {
  const width = document.documentElement.clientWidth + 1;
  const isCut = (e) => e && (
    getComputedStyle(e).overflowX !== "visible" || isCut(e.parentElement));
  const wide = [...document.querySelectorAll("article *")].filter(
    (e) => e.getBoundingClientRect().right > width && !isCut(e.parentElement));
  return wide.slice(0, 3).map((e) => e.outerHTML.slice(0, 80)).join(" | ");
}
"""
FIND_TEX = """
() => [...document.querySelectorAll("article :is(p, li, td, h2)")].map((e) => {
  const copy = e.cloneNode(true);
  copy.querySelectorAll("math, code, pre").forEach((m) => m.remove());
  return copy.textContent;
})
"""
