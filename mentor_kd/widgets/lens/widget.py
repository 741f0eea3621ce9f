"""The soft-label lens in JupyterLab: rationales token by token, with the predictions of mentor and students.

    Lens(rows, mentor, {"before": untrained, "after": distilled}, settings)

The models run only on the rationale that is shown. Tokens are selected with the mouse or the arrow keys. Everything on
the page is in the widget's traits, so it can be tested without a browser.
"""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import anywidget
import traitlets

from ...data.rationales import Rationale, target
from ...files import InputError
from ...models.batches import encode
from ...models.loading import Loaded
from ...report.figures import BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION
from ...training.losses import LossSettings
from . import measures as lens
from .charts import UNIT, colour, number, scale
from .measures import MEASURES


class Lens(anywidget.AnyWidget):
    """The page sets index, token, measure, temperature and weight, and shows the other traits."""

    _esm = Path(__file__).with_name("lens.js")
    _css = Path(__file__).with_name("lens.css")
    count = traitlets.Int().tag(sync=True)
    measures = traitlets.Dict(MEASURES).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    token = traitlets.Int(-1).tag(sync=True)
    measure = traitlets.Unicode("entropy").tag(sync=True)
    temperature = traitlets.Float().tag(sync=True)
    weight = traitlets.Float().tag(sync=True)
    page = traitlets.Dict().tag(sync=True)
    strips = traitlets.List().tag(sync=True)
    legend = traitlets.Dict().tag(sync=True)
    bars = traitlets.Dict().tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        rows: list[Rationale],
        mentor: Loaded,
        students: dict[str, Loaded],
        settings: LossSettings | None = None,
        max_length: int = 512,
        index: int = 0,
    ):
        if not rows:
            raise InputError(
                "the lens requires at least one rationale, got none; check the filters' counts in notebook 04"
            )
        settings = settings or LossSettings()
        self.rows, self.mentor, self.students, self.max_length = list(rows), mentor, students, max_length
        self.seen: lens.Look | None = None
        super().__init__(
            count=len(rows),
            index=index,
            temperature=float(settings.soft_label_temperature),
            weight=float(settings.soft_label_weight),
        )
        self.observe(self._look_at_another, "index")
        self.observe(self._colour, ["measure", "temperature"])
        self.observe(self._weigh, ["token", "temperature", "weight"])
        self._look_at_another()

    def _repr_mimebundle_(self, **kwargs) -> dict | tuple | None:
        """The widget, with a text for pages that cannot show widgets."""
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data:
            data["text/plain"] = "The soft-label lens: run this cell in JupyterLab to use it."
        return bundle

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """Send all changes together, and show errors in the widget: what a callback prints or raises is lost."""
        with self.hold_sync():
            try:
                self.error = ""
                yield
            except Exception as error:  # the user must see every error
                self.error = f"{type(error).__name__}: {error}"

    def _look_at_another(self, change: object = None) -> None:
        """Run the models on another rationale and select the token where the mentor's entropy is highest."""
        self.seen = None
        with self._said():
            row = self.rows[min(max(self.index, 0), self.count - 1)]
            examples, too_long = encode(self.mentor, [(row.id, row.question, target(row))], self.max_length)
            if too_long:
                raise InputError(
                    f"rationale {row.id} is longer than {self.max_length} tokens and was left out of training"
                )
            self.seen = lens.look(examples[0], self.mentor, self.students)
            facts = {"id": row.id, "question": lens.visible(row.question).replace(lens.SHOWN[" "], " ")}
            self.page = {**facts, "source": row.source, "tokens": list(self.seen.texts)}
            self.token = int(lens.entropy(self.seen.mentor).argmax())
        if self.error:  # clear the previous rationale, or it would be taken for this one
            self.page, self.strips, self.bars = {"question": "", "tokens": []}, [], {}
            return
        self._colour()
        self._weigh()

    def _colour(self, change: object = None) -> None:
        """Update the strips: one for the mentor, or one for each student, on one scale."""
        if self.seen is None:
            return
        with self._said():
            table = lens.tokens(self.seen, self._settings().soft_label_temperature)
            names, highest = scale(table, self.measure)
            strips = []
            for name, column in names.items():
                colours = [colour(value, highest) for value in table[column]]
                faces, inks = map(list, zip(*colours, strict=True))
                values = table[column].round(4).tolist()
                mean = f"{table[column].mean():.2f} {UNIT} per token"
                strips.append({"name": name, "mean": mean, "values": values, "faces": faces, "inks": inks})
            self.strips = strips
            ramp = [colour(i, 15)[0] for i in range(16)]
            title = MEASURES[self.measure] + (f" at τ = {self.temperature:g}" if self.measure != "loss" else "")
            self.legend = {"title": title, "high": f"{highest:.2f}", "unit": UNIT, "ramp": ramp}

    def _weigh(self, change: object = None) -> None:
        """Update the bars of the selected token."""
        if self.seen is None:
            return
        with self._said():
            settings = self._settings()
            place = min(max(self.token, 0), len(self.seen.texts) - 1)
            table = lens.candidates(self.seen, place, settings)
            pushes = [name for name in table if name.startswith("push on ")]
            reach = max(1e-3, float(table[pushes].abs().max().max())) if pushes else 1.0
            tau = f"at τ = {settings.soft_label_temperature:g}"
            notes = {"hard label": "the token itself", "mentor": tau, "target": f"λ = {settings.soft_label_weight:g}"}
            fills = {
                "hard label": GREY,
                "mentor": BLUE,
                "target": GREEN,
                **dict(zip(self.students, itertools.cycle((SKY, ORANGE)), strict=False)),
            }
            columns = []
            for name in [n for n in table if n not in ("token", *pushes)] + pushes:
                signed = name in pushes
                values = (table[name] / (reach if signed else 1)).round(4).tolist()
                fill = (
                    [BLUE if v >= 0 else VERMILLION for v in values] if signed else [fills.get(name, SKY)] * len(table)
                )
                labels = [number(value, signed) for value in table[name]]
                note = "on its logits, by the loss" if signed else notes.get(name, tau)
                columns.append(
                    {"name": name, "note": note, "signed": signed, "values": values, "labels": labels, "fill": fill}
                )
            title = f"Token {place + 1} of {len(self.seen.texts)}: {self.seen.texts[place]}"
            self.bars = {"title": title, "tokens": table["token"].tolist(), "columns": columns}

    def _settings(self) -> LossSettings:
        """The settings chosen by the sliders. Raises InputError for values out of range."""
        return LossSettings(self.weight, self.temperature)
