"""Formulas of the site as MathML: browsers draw it without a script and without a connection."""

from typing import Any

from latex2mathml.converter import convert


def render_inline(translator: Any, node: Any) -> None:
    """A formula in a line."""
    from docutils.nodes import SkipNode

    translator.body.append(convert(node.astext(), display="inline"))
    raise SkipNode


def render_display(translator: Any, node: Any) -> None:
    """A formula by itself, with the number that its label holds (``eq-06-3``: 06.3)."""
    from docutils.nodes import SkipNode

    label = node.get("label") or ""
    classes = "formula numbered" if label else "formula"
    translator.body.append(translator.starttag(node, "div", CLASS=classes))
    body = convert(node.astext(), display="block")
    translator.body.append(f'<div class="formula-body" tabindex="0">{body}</div>')
    if label:
        number = label.removeprefix("eq-").replace("-", ".")
        translator.body.append(f'<span class="eqno">({number})</span>')
    translator.body.append("</div>\n")
    raise SkipNode


def setup(app: Any) -> dict[str, Any]:
    """Entry point of the Sphinx extension."""
    app.add_html_math_renderer("mathml", (render_inline, None), (render_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
