"""HTML export of notebooks: keeps tables and images, drops widgets and scripts."""

import re

import nbformat

from mentor_kd.files import ROOT
from mentor_kd.runs import notebook_html


def test_html_keeps_tables_and_drops_scripts(tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title\n\nA paragraph.")])
    cell = nbformat.v4.new_code_cell("x", execution_count=1)
    html = "<table><thead><tr><th>a</th></tr></thead></table><script>alert(1)</script><img src=x onerror=alert(2)>"
    cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": html})]
    cell.outputs.append(nbformat.v4.new_output("stream", text="<script>alert(3)</script>"))
    book.cells.append(cell)
    nbformat.write(book, tmp_path / "b.ipynb")
    notebook_html.to_html(tmp_path / "b.ipynb")
    page = (tmp_path / "b.html").read_text()
    assert "<th>a</th>" in page and ">A paragraph.</p>" in page and "&lt;thead" not in page and "&lt;p&gt;" not in page
    assert "<script>alert" not in page and "onerror" not in page


def test_html_shows_the_static_output_instead_of_the_widget(tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title")])
    book.metadata["widgets"] = {
        notebook_html.WIDGET.replace("view", "state"): {"state": {"a": {"value": "</script><b>x"}}}
    }
    cell = nbformat.v4.new_code_cell("x", execution_count=1)
    data = {notebook_html.WIDGET: {"model_id": "a"}, "text/plain": "a widget"}
    cell.outputs = [nbformat.v4.new_output("display_data", data), nbformat.v4.new_output("stream", text="the text")]
    book.cells.append(cell)
    nbformat.write(book, tmp_path / "b.ipynb")
    notebook_html.to_html(tmp_path / "b.ipynb")
    page = (tmp_path / "b.html").read_text()
    assert "the text" in page and "model_id" not in page and "widget-state" not in page
    assert "html-manager" not in page


def exported(folder, *cells) -> str:
    """The page of a notebook with these cells: a markdown text, or the text/html of an output."""
    book = nbformat.v4.new_notebook()
    for kind, text in cells:
        if kind == "markdown":
            book.cells.append(nbformat.v4.new_markdown_cell(text))
        else:
            output = nbformat.v4.new_output("display_data", {"text/html": text})
            book.cells.append(nbformat.v4.new_code_cell("x", execution_count=1, outputs=[output]))
    nbformat.write(book, folder / "b.ipynb")
    notebook_html.to_html(folder / "b.ipynb")
    return (folder / "b.html").read_text()


def test_formulas_are_drawn_without_a_script_and_code_stays_code(tmp_path):
    text = r"At $\tau = 2$ it costs \$3, not $5 or $6: $$\frac{\lambda}{N}.$$ Write `$\tau$` or \(x^2\), $\nosuch{x}$."
    page = exported(tmp_path, ("markdown", text))
    assert page.count("<math") == 3 and page.count("<mfrac>") == 1 and '<math display="block">' in page
    assert "<code>$\\tau$</code>" in page and "<code>\\nosuch{x}</code>" in page and "not $5 or $6" in page
    assert "formula" not in page


def test_a_formula_cannot_bring_markup_or_a_link(tmp_path):
    text = r"$\text{<img src=x onerror=alert(1)>}$ and $\href{javascript:alert(1)}{x}$ and $\style{color:red}{y}$"
    page = exported(tmp_path, ("markdown", text))
    assert "<img" not in page and "javascript:" not in page.replace("<code>", "") and "color:red" not in page


def test_styles_of_tables_are_left_out_and_tables_scroll_inside_the_page(tmp_path):
    table = "<style scoped>\n .dataframe th { text-align: top }\n</style><table><tr><td>1</td></tr></table><style>x"
    page = exported(tmp_path, ("html", table))
    assert "scoped" not in page and "dataframe th" not in page and '<div class="wide"><table>' in page


def test_pictures_of_every_notebook_are_embedded_and_nothing_is_loaded(tmp_path):
    for path in sorted((ROOT / "notebooks").glob("0*.ipynb")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
        notebook_html.to_html(tmp_path / path.name)
        page = (tmp_path / path.name).with_suffix(".html").read_text()
        assert "default-src 'none'" in page and "<script" not in page and "<link" not in page
        assert all(src.startswith("data:image/") for src in re.findall(r'<img[^>]* src="([^"]*)"', page)), path.name
        assert not re.search(r"\$[^$<]*\\\\[a-z]+", page), path.name  # no formula is left


def test_links_to_notebooks_lead_to_their_pages_where_these_are(tmp_path):
    (tmp_path / "01_one.ipynb").write_text("{}")
    page = exported(tmp_path, ("markdown", "[one](01_one.ipynb), [two](02_two.ipynb), [web](https://example.org)"))
    assert '<a href="./01_one.html">one</a>' in page and "02_two.ipynb" not in page and "two, <a" in page
