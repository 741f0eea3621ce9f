"""Tables as CSV that a spreadsheet shows as text: no cell is read as a formula."""

import pandas

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins with one of these can be executed by a spreadsheet


def neutral(value: object) -> object:
    """The value, with an apostrophe before a text that a spreadsheet would read as a formula; numbers are unchanged."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def csv_text(frame: pandas.DataFrame, index: bool = False) -> str:
    """A table as CSV text in which every text cell, column name and index label is neutral."""
    safe = frame.rename(columns=neutral, index=neutral) if index else frame.rename(columns=neutral)
    texts = {name: safe[name].map(neutral) for name in safe if not pandas.api.types.is_numeric_dtype(safe[name])}
    return safe.assign(**texts).to_csv(index=index, lineterminator="\n")
