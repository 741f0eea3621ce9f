"""HTML pages that open offline: one style, tables that scroll inside the page, and nothing loaded from elsewhere.

A page's content security policy forbids every request, and every script but the page's own.
"""

import base64
import hashlib
import json
import os
from pathlib import Path
from urllib.parse import quote

import jinja2
import pandas
from markupsafe import Markup, escape

HERE = Path(__file__).parent
SHELL = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
{{ style }}</style></head><body>
{{ body }}
{% if script %}<script>{{ script }}</script>
{% endif %}</body></html>
"""
ENVIRONMENT = jinja2.Environment(autoescape=True)


def page(title: str, body: Markup, script: str = "") -> str:
    """A whole page; `script` is the page's own, which must not contain `</script`."""
    allowed = ""
    if script:
        allowed = f"; script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    style = (HERE / "page.css").read_text(encoding="utf-8")
    shell = ENVIRONMENT.from_string(SHELL)
    return shell.render(
        title=title, policy=Markup(policy + allowed), style=Markup(style), body=body, script=Markup(script)
    )


def render(template: str, **values: object) -> Markup:
    """A part of a page from a Jinja template, in which every value that is not Markup is escaped."""
    return Markup(ENVIRONMENT.from_string(template).render(**values))


def link(path: Path, start: Path) -> str:
    """The address of a file as seen from a folder: relative, quoted, and never read as an address of another kind."""
    return "./" + quote(Path(os.path.relpath(path, start)).as_posix())


def anchor(path: Path, start: Path, text: object) -> Markup:
    """A link to a file, to be put in a page of the folder `start`."""
    return Markup('<a href="{}">{}</a>').format(link(path, start), text)


def number(value: float) -> str:
    """A number with two decimals, or four if it is small, so that a small p is not shown as 0.00."""
    if pandas.isna(value):
        return "–"
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.005 else f"{value:.4f}"


def table(frame: pandas.DataFrame, index: bool = False) -> Markup:
    """A table that scrolls inside the page; cells that are Markup are kept, all others are escaped."""
    frame = frame.reset_index() if index else frame
    head = Markup().join(Markup("<th>{}</th>").format(name) for name in frame)
    lines = [
        Markup("<tr>{}</tr>").format(Markup().join(Markup("<td>{}</td>").format(_cell(value)) for value in row))
        for row in frame.itertuples(index=False, name=None)
    ]
    whole = '<div class="wide names"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    return Markup(whole).format(head, Markup("\n").join(lines))


def _cell(value: object) -> Markup:
    if isinstance(value, float):
        return escape(number(value))
    if isinstance(value, bool):
        return escape("yes" if value else "no")
    return escape("–" if value is None else value)


def data(value: object) -> Markup:
    """A value as JSON for a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
