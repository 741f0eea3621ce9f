"""Export of an executed notebook as one HTML page that opens offline and runs no script from its outputs."""

import contextlib
import io
from pathlib import Path

import nbformat

from ..files import write_text

WIDGET = "application/vnd.jupyter.widget-view+json"


def to_html(path: Path) -> None:
    """Write an executed notebook as HTML in the same folder, without its code.

    Widgets are left out: they need scripts from the network, and the static outputs show the same content.
    """
    from nbconvert import HTMLExporter

    book = nbformat.read(path, as_version=4)
    book.metadata.pop("widgets", None)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
    with contextlib.redirect_stderr(io.StringIO()):  # hides warnings about images without alt text
        exporter = HTMLExporter(exclude_input=True, embed_images=True, sanitize_html=True)
        exporter.register_filter("clean_html", _clean_html)
        page, _ = exporter.from_notebook_node(book, {"metadata": {"name": path.stem, "path": str(path.parent)}})
    write_text(path.with_suffix(".html"), page)


def _clean_html(html: str) -> str:
    """Sanitise HTML but keep tables, headings and images; nbconvert's default list lacks tables."""
    import bleach
    from bleach.css_sanitizer import CSSSanitizer

    tags = "a b blockquote br code del div em h1 h2 h3 h4 h5 h6 hr i img li ol p pre span strong u ul"
    tags += " table thead tbody tfoot tr th td bdi ins mark"
    attributes = {
        "*": ["class", "dir", "id", "style", "title"],
        "a": ["href"],
        "img": ["src", "alt", "width", "height"],
    }
    protocols = ["http", "https", "data", "mailto"]
    return bleach.clean(html, set(tags.split()), attributes, protocols, css_sanitizer=CSSSanitizer())
