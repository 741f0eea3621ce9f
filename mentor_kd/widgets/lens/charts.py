"""Static figures with the content of the lens, for pages without a kernel."""

import itertools
import unicodedata
from collections.abc import Iterator

import pandas
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.patches import Rectangle

from ...checks import require_choice
from ...report.figures import BLUE, GREEN, GREY, INK, ORANGE, PALE, SKY, VERMILLION, Chart
from .measures import MEASURES

COLOURS = colormaps["cividis"]  # dark to bright, for any colour vision
LINE = 88  # characters in a line of a strip
UNIT = "nats"


def colour(value: float, highest: float) -> tuple[str, str]:
    """A token's colour on a scale from 0 to `highest`, and a text colour that is readable on it."""
    red, green, blue, _ = COLOURS(value / highest if highest > 0 else 0.0)
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]  # as WCAG 2 defines it
    return to_hex((red, green, blue)), "#000000" if luminance > 0.179 else "#ffffff"  # the higher contrast, >= 4.5


def scale(frame: pandas.DataFrame, measure: str) -> tuple[dict[str, str], float]:
    """The columns of a measure by the name of their strip, and the upper end of their shared scale.

    Raises InputError for an unknown measure.
    """
    require_choice("measure", measure, MEASURES)
    columns = {name.removeprefix(f"{measure} of "): name for name in frame if name.split(" of ")[0] == measure}
    names = {"mentor" if short == measure else short: name for short, name in columns.items()}
    return names, max(1e-3, float(frame[list(columns.values())].max().max()))


def token_strip(frame: pandas.DataFrame, measure: str = "entropy", title: str = "", marked: int | None = None) -> Chart:
    """A rationale token by token, coloured by a measure; one strip for the mentor or for each student.

    `frame` is `measures.tokens`. All strips share one scale, in nats. The token at position `marked` is framed.
    """
    names, highest = scale(frame, measure)
    places = list(_places(frame["token"]))
    lines = places[-1][1] + 1
    height = 0.75 + len(names) * (0.36 + 0.25 * lines)
    figure = Chart(figsize=(8, height), dpi=120, layout="constrained", facecolor="white")
    figure.suptitle(title or MEASURES[measure], x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    panels = figure.subplots(len(names), 1, squeeze=False)[:, 0]
    for panel, (name, column) in zip(panels, names.items(), strict=True):
        panel.set_xlim(-0.3, LINE + 0.3)
        panel.set_ylim(lines - 0.35, -0.65)
        panel.set_axis_off()
        panel.set_title(f"{name}: {frame[column].mean():.2f} {UNIT} per token", loc="left", fontsize=9, color=INK)
        for position, (token, value, (start, line, width)) in enumerate(
            zip(frame["token"], frame[column], places, strict=True)
        ):
            face, ink = colour(value, highest)
            panel.add_patch(Rectangle((start, line - 0.42), width, 0.84, facecolor=face, edgecolor="white", lw=0.6))
            style = {"family": "monospace", "fontsize": 8, "ha": "center", "va": "center", "parse_math": False}
            panel.text(start + width / 2, line, token, color=ink, **style)
            if position == marked:
                frame_style = {"edgecolor": VERMILLION, "facecolor": "none", "lw": 2, "zorder": 3}
                panel.add_patch(Rectangle((start, line - 0.45), width, 0.9, **frame_style))
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, highest), COLOURS), ax=panels, fraction=0.025, pad=0.01, aspect=30
    )
    bar.set_label(UNIT, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    return figure


def _places(tokens: pandas.Series) -> Iterator[tuple[float, int, float]]:
    """Start, line and width of each token, in characters and lines; a line break ends its line."""
    start, line = 0.0, 0
    for token in tokens:
        letters = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in token)
        width = min(max(letters, 1) + 0.6, LINE)
        if start + width > LINE:
            start, line = 0.0, line + 1
        yield start, line, width
        start += width
        if token.endswith("\u21b5"):
            start, line = 0.0, line + 1


def token_bars(frame: pandas.DataFrame, title: str = "One token") -> Chart:
    """Probabilities of the likeliest tokens under hard label, mentor, target and students, and the loss's pushes.

    `frame` is `measures.candidates`: probabilities from 0 to 1, and pushes on the logits, blue up and orange down.
    """
    columns = [name for name in frame if name != "token"]
    pushes = [name for name in columns if name.startswith("push on ")]
    order = [name for name in columns if name not in pushes] + pushes
    fills = {"hard label": GREY, "mentor": BLUE, "target": GREEN}
    figure = Chart(figsize=(8, 1.15 + 0.27 * len(frame)), dpi=120, layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    panels = figure.subplots(1, len(order), sharey=True, squeeze=False)[0]
    reach = max(1e-3, float(frame[pushes].abs().max().max())) if pushes else 1.0
    students = itertools.cycle((SKY, ORANGE))
    for panel, name in zip(panels, order, strict=True):
        if name in pushes:
            colours = [BLUE if value >= 0 else VERMILLION for value in frame[name]]
            panel.set_xlim(-1.75 * reach, 1.75 * reach)
            panel.axvline(0, color=GREY, linewidth=0.7)
        else:
            colours = fills[name] if name in fills else next(students)
            panel.set_xlim(0, 1.32)
        bars = panel.barh(range(len(frame)), frame[name], height=0.7, color=colours)
        labels = [number(value, name in pushes) for value in frame[name]]
        panel.bar_label(bars, labels, padding=1.5, fontsize=7, color=INK)
        panel.set_title(name.replace("push on ", "push on\n"), fontsize=8, color=INK)
        _bare(panel)
    panels[0].set_yticks(range(len(frame)), frame["token"], family="monospace", fontsize=8, parse_math=False)
    panels[0].set_ylim(len(frame) - 0.4, -0.6)
    return figure


def number(value: float, signed: bool) -> str:
    """A probability, or a push with its sign, to two decimals; "~0" for a small value other than 0."""
    if abs(value) < 0.005:
        return "0" if value == 0 else "~0"
    return f"{value:+.2f}" if signed else f"{value:.2f}"


def _bare(panel: Axes) -> None:
    panel.spines[["top", "right", "bottom"]].set_visible(False)
    panel.spines["left"].set_color(PALE)
    panel.set_xticks([])
    panel.tick_params(axis="y", length=0)
