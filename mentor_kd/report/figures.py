"""Shared parts of all charts: colours, the Figure class that notebooks display, and panels in one style.

Colours are those of Okabe and Ito, distinguishable with any colour vision. No chart relies on colour alone.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..data.spreadsheet import csv_text
from ..files import InputError, write_bytes, write_text
from ..training.methods import MENTOR, METHODS

BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILLION, YELLOW = "#56B4E9", "#D55E00", "#F0E442"
INK, GREY, PALE = "#222222", "#6B6B6B", "#DDDDDD"
COLOURS = (BLUE, VERMILLION, GREEN, PINK, ORANGE, SKY, INK)
MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")
KNOWN = (*METHODS, MENTOR)  # a method's place gives its colour and marker in every chart
PAPER_MARK = "PAPER PROTOCOL: epoch selected on the test set"
MARK = {"fontsize": 9, "fontweight": "bold", "color": "white"}
MARK["bbox"] = {"facecolor": "#A33F00", "edgecolor": "none", "pad": 3}


class Chart(Figure):
    """A Figure that notebooks display without pyplot."""

    def _repr_png_(self) -> bytes:
        return png(self)


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, identical for identical figures."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def save(figure: Figure, frame: pandas.DataFrame, path: Path | str) -> tuple[Path, Path]:
    """Write the figure to `path`.png and its table to `path`.csv, each atomically; returns both paths."""
    image, table = Path(f"{path}.png"), Path(f"{path}.csv")  # not with_suffix: a name may contain dots (tau-0.3)
    write_bytes(image, png(figure))
    write_text(table, csv_text(frame, index=frame.index.name is not None))
    return image, table


def marked(title: str, protocol: str) -> str:
    """The title, with the mark of the paper's protocol appended if `protocol` is "paper"."""
    return f"{title} ({PAPER_MARK})" if protocol == "paper" else title


def new_figure(
    title: str, count: int, columns: int, height: float, grid: str = "both", sharex: bool = False, sharey: bool = False
) -> tuple[Chart, list[Axes]]:
    """A figure with `count` panels in rows of `columns`; `height` is that of one row in inches."""
    rows = -(-count // columns)
    figure = Chart(figsize=(8, 0.9 + rows * height), dpi=120, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.04)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).flat)
    for unused in panels[count:]:
        unused.set_axis_off()
    for panel in panels[:count]:
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(GREY)
        panel.tick_params(colors=INK, labelsize=9)
        panel.set_axisbelow(True)
        panel.grid(axis=grid, color=PALE, linewidth=0.7)
    return figure, panels[:count]


def name_rows(panel: Axes, names: Sequence[str]) -> None:
    """Label the rows of a panel, the first at the top."""
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)


def method_colour(name: str, otherwise: int = 0) -> str:
    """The colour of a method, the same in every chart; for another name the colour at position `otherwise`.

    Only the part before a comma counts, as in "mentor-kd, seed 0".
    """
    method = name.partition(",")[0]
    return COLOURS[(KNOWN.index(method) + 2 if method in KNOWN else otherwise) % len(COLOURS)]  # + 2: mentor-kd is blue


def method_marker(name: str, otherwise: int = 0) -> str:
    """The marker of a method, the same in every chart; methods with the same colour have different markers."""
    method = name.partition(",")[0]
    return MARKERS[(KNOWN.index(method) if method in KNOWN else otherwise) % len(MARKERS)]


def ink_on(colour: str) -> str:
    """A text colour that is readable on `colour`."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def span(values: pandas.Series) -> str:
    """The range of integers as text: "3", or "1 to 5"."""
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low} to {high}"


def require_columns(frame: pandas.DataFrame, *columns: str) -> None:
    """Raise InputError unless the table has these columns and at least one row."""
    for column in columns:
        if column not in frame:
            raise InputError(f"chart: the table has no column {column!r}; its columns: {', '.join(frame)}")
    if frame.empty:
        raise InputError("chart: the table has no rows; run the step that produces them first")
