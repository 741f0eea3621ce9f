"""HTML export of notebooks: keeps tables and images, drops widgets and scripts."""

import nbformat

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
