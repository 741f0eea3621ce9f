"""The filters as sliders and checkboxes that show their effect immediately: counts, a yield chart, examples."""

import html
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ipywidgets
import numpy

from ...files import write_text
from ...filtering.filters import FilterSettings, parameters
from ...parsing import yaml_text
from ...report.charts import PART_COLOURS
from .markup import escaped
from .table import CODE, REASONS, Columns

EXAMPLES = 4
WIDE = ipywidgets.Layout(width="350px")


def write_parameters(folder: Path, settings: FilterSettings) -> Path:
    """Write chosen_filters.yaml into a task folder: parameters for papermill and 04_inspect_and_filter.ipynb."""
    folder = Path(folder).resolve()
    chosen = {"run": folder.parent.name, "task": folder.name, **parameters(settings)}
    write_text(folder / "chosen_filters.yaml", yaml_text(chosen))
    return folder / "chosen_filters.yaml"


class FilterPanel(ipywidgets.HBox):
    """Controls at the left, their effect at the right. `settings` and `reasons` are the current ones."""

    def __init__(self, columns: Columns, settings: FilterSettings, changed: Callable[[], None]):
        self.columns, self.changed = columns, changed
        self.settings, self.reasons = settings, columns.reasons(settings)
        self.before, self.known = self.reasons, {}
        self.controls = self._controls(settings)
        self.drops = {name: ipywidgets.HTML() for name in self.controls}
        self.effect = ipywidgets.HTML()
        self.effect.add_class("mkd-effect")
        always = ipywidgets.Checkbox(True, description="the answer is correct (always on)", disabled=True, indent=False)
        self.wrong = ipywidgets.HTML()
        lines = [ipywidgets.HBox([always, self.wrong])]
        lines += [ipywidgets.HBox([control, self.drops[name]]) for name, control in self.controls.items()]
        for line in lines:
            line.add_class("mkd-filter")
            line.children[0].layout = WIDE
        left = ipywidgets.VBox(lines)
        left.add_class("mkd-controls")
        super().__init__([left, self.effect])
        self.add_class("mkd-filters")
        self.show()

    def _controls(self, now: FilterSettings) -> dict[str, ipywidgets.Widget]:
        c, style = self.columns, {"description_width": "130px"}
        longest = int(c.words.max(initial=1))
        usual = int(3 * numpy.quantile(c.words, 0.95)) if len(c) else 1  # so one very long text has no effect
        given = 1 + max(now.min_words or 0, now.max_words or 0)
        self.top = max(min(longest, usual), given)  # the end of the slider means no limit
        self.floor = self._floor(now)
        slider = {"continuous_update": True, "style": style}
        return {
            "duplicates": ipywidgets.Checkbox(now.duplicates, description="no exact duplicates", indent=False),
            "near duplicates": ipywidgets.FloatSlider(
                now.near_duplicates or 0, min=0, max=1, step=0.01, description="near duplicates at", **slider
            ),
            "words": ipywidgets.IntRangeSlider(
                value=(now.min_words or 0, now.max_words or self.top),
                min=0,
                max=self.top,
                description="words",
                **slider,
            ),
            "conclusion": ipywidgets.Checkbox(
                now.conclusion, description="the conclusion agrees with the answer", indent=False
            ),
            "arithmetic": ipywidgets.Checkbox(now.arithmetic, description="every sum is correct", indent=False),
            "confidence": ipywidgets.FloatSlider(
                now.min_confidence or self.floor,
                min=self.floor,
                max=-0.001,
                step=0.001,
                readout_format=".3f",
                description="confidence at least",
                disabled=c.confidence is None,
                **slider,
            ),
        }

    def _floor(self, now: FilterSettings) -> float:
        """The lower end of the confidence slider, which means no limit."""
        known = self.columns.confidence
        sure = numpy.zeros(1) if known is None else known[~numpy.isnan(known)]
        return min(float(numpy.floor(20 * sure.min(initial=-0.05)) / 20), now.min_confidence or 0)

    def show_confidence(self) -> None:
        """Turn on the confidence slider, at its lower end, once the columns have the confidence."""
        slider, self.floor = self.controls["confidence"], self._floor(self.settings)
        slider.min, slider.value, slider.disabled = self.floor, self.floor, False

    def read(self) -> FilterSettings:
        """The settings that the controls show."""
        c = {name: control.value for name, control in self.controls.items()}
        low, high = c["words"]
        confidence = round(c["confidence"], 4)
        return replace(
            self.settings,
            duplicates=c["duplicates"],
            near_duplicates=round(c["near duplicates"], 4) or None,
            min_words=low or None,
            max_words=high if high < self.top else None,
            conclusion=c["conclusion"],
            arithmetic=c["arithmetic"],
            min_confidence=confidence if confidence > self.floor else None,
        )

    def update(self) -> None:
        """Apply the controls' settings and any new verdicts, and show their effect."""
        self.settings, self.before = self.read(), self.reasons
        self.reasons = self.columns.reasons(self.settings)
        self.show()

    def alone(self, **one: object) -> int:
        """How many correct rationales a filter would drop if it were the only one."""
        asked = tuple(one.items())
        if asked not in self.known:  # does not depend on verdicts, so it is computed once
            no_verdicts = numpy.zeros_like(self.columns.said)
            reasons = self.columns.reasons(FilterSettings(**{"duplicates": False} | one), no_verdicts)
            self.known[asked] = int(((reasons != 0) & self.columns.correct).sum())
        return self.known[asked]

    def show(self) -> None:
        """Draw counts, chart and examples."""
        s, wrong = self.settings, int((~self.columns.correct).sum())
        self.wrong.value = f"drops <b>{wrong:,}</b>"
        limits = {"min_words": s.min_words, "max_words": s.max_words}
        trials = {
            "duplicates": (s.duplicates, {"duplicates": True}, ("duplicate",)),
            "near duplicates": (s.near_duplicates, {"near_duplicates": s.near_duplicates}, ("near duplicate",)),
            "words": (s.min_words or s.max_words, limits, ("too short", "too long")),
            "conclusion": (s.conclusion, {"conclusion": True}, ("conclusion",)),
            "arithmetic": (s.arithmetic, {"arithmetic": True}, ("arithmetic",)),
            "confidence": (s.min_confidence, {"min_confidence": s.min_confidence}, ("low confidence",)),
        }
        for name, (on, one, reasons) in trials.items():
            alone = self.alone(**one) if on or True in one.values() else 0
            now = sum(int((self.reasons == CODE[reason]).sum()) for reason in reasons)
            text = f"drops <b>{now:,}</b> ({alone:,} alone)" if on else f"off, would drop {alone:,}" if alone else "off"
            self.drops[name].value = f"<span>{text}</span>"
        self.effect.value = yield_chart(self.columns, self.reasons) + self._examples()

    def _examples(self) -> str:
        kept = {code: numpy.isin(code, [0, CODE["verdict: keep"]]) for code in range(len(REASONS))}
        was, now = (numpy.array(list(kept.values()))[some] for some in (self.before, self.reasons))
        lost, won = numpy.flatnonzero(was & ~now), numpy.flatnonzero(~was & now)
        if len(lost) or len(won):
            title = f"The last change drops {len(lost):,} more and keeps {len(won):,} more, for example:"
            shown = [*lost[: EXAMPLES - min(len(won), 1)], *won[:1]]
        else:
            title, dropped = "Examples of dropped rationales:", numpy.flatnonzero(~now)
            shown = [dropped[self.reasons[dropped] == code][0] for code in numpy.unique(self.reasons[dropped])][
                :EXAMPLES
            ]
        cards = "".join(
            f'<div class="mkd-card"><b>{html.escape(REASONS[self.reasons[i]])}</b> '
            f"<i>{html.escape(self.columns.rows[i].source)}</i><br>{escaped(self.columns.rows[i].rationale, 220)}</div>"
            for i in shown
        )
        return f"<p>{title}</p>{cards}"


def yield_chart(columns: Columns, reasons: numpy.ndarray) -> str:
    """Kept and dropped rationales as one HTML bar per source, with a legend of counts."""
    reasons = numpy.where(reasons == CODE["verdict: keep"], 0, reasons)
    table = numpy.zeros((2, len(REASONS)), dtype="int64")
    numpy.add.at(table, (columns.source.codes, reasons), 1)
    bars = []
    for source, counts in zip(columns.source.categories, table, strict=True):
        total = counts.sum()
        if not total:
            continue
        parts = "".join(
            f'<span title="{REASONS[code]}: {n}" style="flex:{n} 0 0;background:{PART_COLOURS[REASONS[code]]}"></span>'
            for code, n in enumerate(counts)
            if n
        )
        share = f"{100 * counts[0] / total:.1f}% of {total:,} kept"
        bars.append(
            f'<div class="mkd-yield"><b>{source}</b><div class="mkd-bar">{parts}</div><span>{share}</span></div>'
        )
    legend = "".join(
        f'<span class="mkd-key"><i style="background:{PART_COLOURS[REASONS[code]]}"></i>{REASONS[code]} {n:,}</span>'
        for code, n in enumerate(table.sum(axis=0))
        if n
    )
    return f'{"".join(bars)}<div class="mkd-legend">{legend}</div>'
