"""Export of an executed notebook as one HTML page that opens offline, runs no script and loads nothing.

Pictures are embedded, formulas become MathML, and links to other notebooks lead to their pages in the same folder.
"""

import contextlib
import html
import io
import re
from pathlib import Path

import nbformat
from markupsafe import Markup

from ..files import ROOT, digest, write_text
from ..report import pages

WIDGET = "application/vnd.jupyter.widget-view+json"
MATH = re.compile(
    r"(?P<code>(?P<fence>`+|~~~+).+?(?P=fence))"
    r"|\$\$(?P<block>.+?)\$\$|\\\[(?P<bracket>.+?)\\\]"
    r"|(?P<environment>\\begin\{(?P<name>[a-z]+\*?)\}.+?\\end\{(?P=name)\})"
    r"|\\\((?P<paren>.+?)\\\)|(?<![\\$\w])\$(?=\S)(?P<inline>[^$\n]+?)(?<=[^\s\\])\$(?!\d)",
    re.DOTALL,
)
NOTEBOOK_LINK = re.compile(r"\[([^\]]*)\]\((?:\./)?([\w-]+)\.ipynb(#[^)]*)?\)")
MATHML = "math mrow mi mn mo mtext mspace mfrac msqrt mroot msup msub msubsup mover munder munderover mtable mtr mtd"
MATHML_ATTRIBUTES = ["display", "mathvariant", "stretchy", "fence", "width", "columnalign", "displaystyle"]
STYLE = """
.output_error pre, .ansi-red-fg { color: #a33f00; }
.output_png img, .text_cell img { height: auto; }
"""


def to_html(path: Path) -> None:
    """Write an executed notebook as HTML in the same folder, without its code.

    Widgets are left out: they need scripts from the network, and the static outputs show the same content.
    """
    from nbconvert import HTMLExporter

    book = nbformat.read(path, as_version=4)
    book.metadata.pop("widgets", None)
    formulas: dict[str, str] = {}
    mark = f"formula{digest(book)[:16]}n"
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        elif cell.cell_type == "markdown":
            cell.source = _links(MATH.sub(lambda found: _set_aside(found, formulas, mark), cell.source), path.parent)
    pictures = path.parent if (path.parent / "figures").is_dir() else ROOT / "notebooks"
    with contextlib.redirect_stderr(io.StringIO()):  # hides warnings about images without alt text
        exporter = HTMLExporter(
            template_name="basic",
            exclude_input=True,
            exclude_output_prompt=True,
            exclude_anchor_links=True,
            embed_images=True,
            sanitize_html=True,
        )
        exporter.register_filter("clean_html", _clean_html)
        body, _ = exporter.from_notebook_node(book, {"metadata": {"name": path.stem, "path": str(pictures)}})
    for name, formula in formulas.items():
        body = body.replace(name, formula)
    body = body.replace("<table", '<div class="wide"><table').replace("</table>", "</table></div>")
    write_text(path.with_suffix(".html"), pages.page(path.stem, Markup(f"<style>{STYLE}</style>{body}")))


def _set_aside(found: re.Match, formulas: dict[str, str], mark: str) -> str:
    """A word in place of a formula, which is put in after markdown and cleaning; code stays as it is."""
    if found["code"]:
        return found[0]
    latex = next(filter(None, (found[name] for name in ("block", "bracket", "environment", "paren", "inline"))))
    block = bool(found["block"] or found["bracket"] or found["environment"])
    name = f"{mark}{len(formulas)}z"
    formulas[name] = mathml(latex, block)
    return f"\n\n{name}\n\n" if block else name


def mathml(latex: str, block: bool = False) -> str:
    """A formula as MathML, which browsers draw without a script; as code if it has commands that are not known."""
    import bleach
    from latex2mathml.converter import convert

    try:
        drawn = convert(latex.strip(), display="block" if block else "inline")
    except Exception:  # the library raises many kinds, some bare
        drawn = "\\"
    if "\\" in drawn:
        return f"<code>{html.escape(latex)}</code>"
    return bleach.clean(drawn, set(MATHML.split()), MATHML_ATTRIBUTES)


def _links(text: str, folder: Path) -> str:
    """Links to notebooks that were run here lead to their pages; others become plain text."""

    def page(found: re.Match) -> str:
        here = (folder / f"{found[2]}.ipynb").exists()
        return f"[{found[1]}](./{found[2]}.html)" if here else found[1]

    return NOTEBOOK_LINK.sub(page, text)


def _of_a_picture(tag: str, name: str, value: str) -> bool:
    """Whether an attribute of a picture is kept: no picture is loaded, so all that is left is embedded."""
    return name in ("alt", "width", "height") or (name == "src" and value.startswith("data:image/"))


def _clean_html(html: str) -> str:
    """Sanitise HTML but keep tables, headings and images; nbconvert's default list lacks tables."""
    import bleach
    from bleach.css_sanitizer import CSSSanitizer

    tags = "a b blockquote br code del div em h1 h2 h3 h4 h5 h6 hr i img li ol p pre span strong u ul"
    tags += " table thead tbody tfoot tr th td bdi ins mark"
    attributes = {
        "*": ["class", "dir", "id", "style", "title"],
        "a": ["href"],
        "img": _of_a_picture,
    }
    protocols = ["http", "https", "data", "mailto"]
    html = re.sub(r"(?is)<(style|script)\b.*?(</\1\s*>|\Z)", "", html)  # else their content would be shown as text
    return bleach.clean(html, set(tags.split()), attributes, protocols, css_sanitizer=CSSSanitizer())
