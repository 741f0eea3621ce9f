"""CSV files that people open in a spreadsheet contain no formula."""

import io

import pandas

from mentor_kd.data.spreadsheet import csv_text, neutral
from mentor_kd.report.charts import save
from mentor_kd.report.figures import new_figure


def test_formulas_get_an_apostrophe_and_numbers_do_not():
    for text in ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\rx"):
        assert neutral(text) == f"'{text}"
    for value in ("-3", "+1.5", "a=b", "", -3, 2.5, None, True):
        assert neutral(value) is value


def test_cells_columns_and_index_are_neutral(tmp_path):
    frame = pandas.DataFrame({"=column": ["=1", "b"], "x": [-1.5, 2.0], "mixed": ["-a", None]})
    text = csv_text(frame)
    assert text == "'=column,x,mixed\n'=1,-1.5,'-a\nb,2.0,\n"
    back = pandas.read_csv(io.StringIO(csv_text(frame.set_index("=column").rename_axis("task"), index=True)))
    assert list(back["task"]) == ["'=1", "b"] and list(back["x"]) == [-1.5, 2.0]
    figure, _ = new_figure("t", 1, 1, 1.0)
    _, table = save(figure, pandas.DataFrame({"token": ["=", "+"], "n": [1, -2]}), tmp_path / "strip")
    assert table.read_text() == "token,n\n'=,1\n'+,-2\n"
