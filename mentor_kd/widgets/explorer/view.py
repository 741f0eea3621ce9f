"""Which rows of the columns are shown: facets with live counts, ranges, search and order."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy

from .judging import NAMES
from .table import REASONS, Columns


@dataclass
class View:
    """Which rows are shown, and in which order. Change a field or `reasons`, then call `update`.

    `chosen` maps a facet to its selected labels; a facet without any passes all rows. `ranges` maps words, similarity
    or confidence to (low, high), both inclusive; a row without a confidence passes every range.
    """

    columns: Columns
    reasons: numpy.ndarray
    chosen: dict[str, set[str]] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    text: str = ""
    only: numpy.ndarray | None = None  # the only row numbers that may be shown
    order: str = "question"
    falling: bool = False

    def __post_init__(self) -> None:
        self._found = ("", None)
        self.update()

    def facets(self) -> dict[str, tuple[list[str], numpy.ndarray]]:
        """For each facet its labels, and the index of each row's label."""
        c = self.columns
        names = ["kept" if name == "verdict: keep" else name for name in REASONS]
        status = numpy.where(self.reasons == len(REASONS) - 1, 0, self.reasons)
        return {
            "task": (list(c.task.categories), c.task.codes),
            "source": (list(c.source.categories), c.source.codes),
            "answer": (["wrong", "correct"], c.correct.astype("int8")),
            "status": (names[:-1], status),
            "verdict": (["none", *NAMES[1:]], c.said),
            **c.meta,
        }

    def update(self) -> None:
        """Compute the shown rows, their order, and how many rows each label of each facet shows or would show."""
        base, passing = self._base(), {}
        facets = self.facets()
        for name, (labels, codes) in facets.items():
            if wanted := self.chosen.get(name):
                passing[name] = numpy.isin(labels, list(wanted))[codes]
        self.counts: dict[str, Mapping[str, int]] = {}
        for name, (labels, codes) in facets.items():
            others = base.copy()  # a facet's counts apply all other facets
            for other, passes in passing.items():
                if other != name:
                    others &= passes
            counted = numpy.bincount(codes[others], minlength=len(labels))
            self.counts[name] = dict(zip(labels, counted.tolist(), strict=True))
        for passes in passing.values():
            base &= passes
        self.rows = self._ordered(numpy.flatnonzero(base))

    def _base(self) -> numpy.ndarray:
        c, base = self.columns, numpy.ones(len(self.columns), dtype=bool)
        if self.only is not None:
            base[:] = False
            base[self.only] = True
        for name, (low, high) in self.ranges.items():
            values = getattr(c, name)
            if values is not None:
                base &= ~((values < low) | (values > high))
        if self.text.strip():
            if self._found[0] != self.text:
                self._found = (self.text, c.search(self.text))
            base &= self._found[1]
        return base

    def _ordered(self, rows: numpy.ndarray) -> numpy.ndarray:
        c = self.columns
        keys = {
            "question": c.question,
            "source": c.source.codes,
            "status": self.reasons,
            "answer": c.correct,
            "words": c.words,
            "similarity": c.similarity,
            "confidence": c.confidence,
            "verdict": c.said,
        }
        key = keys[self.order]
        if key is None:
            return rows
        key = -key[rows].astype("float64") if self.falling else key[rows]
        return rows[numpy.argsort(key, kind="stable")]
