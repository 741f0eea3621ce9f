"""The notebooks in JupyterLab, in a real browser: what only a browser can show."""

import nbformat
from browser import needs_browser

pytestmark = needs_browser


def test_a_notebook_opens_runs_and_starts_afresh(lab, page):
    """The browser itself: what the other tests of widgets stand on."""
    cells = [nbformat.v4.new_code_cell(source) for source in ("x = 3", "print('three is', x)")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    small = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(small, lab.notebooks / "small.ipynb")
    book = lab.open(page, "small")
    book.run_all()
    assert [cell["count"] for cell in book.code_cells()] == [1, 2]
    assert page.get_by_text("three is 3").is_visible()
    book.restart_kernel()
    assert [cell["count"] for cell in book.code_cells()] == [None, None]
    book.reload()
    book.run_all()
    assert book.cells() == 2
    assert page.get_by_text("three is 3").is_visible()
