"""Sphinx's settings for the book; ``python -m docs.book site`` prepares the sources."""

project = "BYOL for instance segmentation"
author = "M. Kaviani's thesis, retold and measured"
html_title = "BYOL for instance segmentation"
language = "en"
extensions = ["myst_nb", "sphinxcontrib.bibtex", "sphinx_copybutton", "docs.book.mathml"]
exclude_patterns = ["notebooks"]

# Notebooks: as they are committed.
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"
nb_mime_priority_overrides = [("html", "text/markdown", 0), ("html", "image/png", 1)]
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4
myst_heading_slug_func = "docs.book.build.slug_heading"
# Anchors within raw HTML are unknown to MyST; the checks follow every link of the finished pages.
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
bibtex_default_style = "plain"

html_theme = "sphinx_book_theme"
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_js_files = [("scorecard.js", {"defer": "defer"})]
html_extra_path = ["extra"]
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
html_math_renderer = "mathml"
