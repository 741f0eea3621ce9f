"""Rationales as columns, so that filters, facets and searches over 100,000 of them take milliseconds.

Whatever does not depend on a setting is computed once, by the constructor: lengths, wrong steps, contradictions, and
the similarity of each pair of rationales of a question. `reasons` gives exactly the result of `filters.apply`.
"""

import bisect
import itertools
from collections.abc import Mapping, Sequence

import numpy
import pandas
from scipy import sparse

from ...data.rationales import Rationale, normalise
from ...data.tasks import Task
from ...files import InputError
from ...filtering import filters
from ...filtering.arithmetic import wrong_steps
from ...filtering.filters import FilterSettings
from ...filtering.verdicts import VERDICTS
from ...report.texts import visible

REASONS = ("kept", *filters.REASONS, "verdict: keep")  # the codes of `reasons` are indices into this
CODE = {name: number for number, name in enumerate(REASONS)}
SAID = {name: number for number, name in enumerate(("", *VERDICTS))}
CHUNK = 5_000  # rows whose words are held in memory at once
FACETS = ("task", "source", "answer", "status", "verdict")
FEW = 12  # distinct values of a further column that can be a facet


class Columns:
    """The columns of a list of rationales; row numbers are positions in that list, and all arrays are [N].

    `tasks` has your own tasks by name, `confidence` is the result of `confidence.confidences`. The caller sets the
    verdicts in `said`.
    """

    def __init__(
        self, rows: Sequence[Rationale], tasks: Mapping[str, Task] | None = None, confidence: Mapping | None = None
    ):
        self.rows, self.tasks, self.ngram = list(rows), dict(tasks or {}), FilterSettings().ngram
        n, texts = len(self.rows), [row.rationale for row in self.rows]
        self.ids = numpy.array([row.id for row in self.rows], dtype=object)
        self.number = {identity: i for i, identity in enumerate(self.ids)}
        self.task = pandas.Categorical([row.task for row in self.rows])
        self.source = pandas.Categorical([row.source for row in self.rows], categories=["teacher", "mentor"])
        self.question = _codes(row.question_id for row in self.rows)
        self.text = _codes(row.rationale for row in self.rows)
        self.correct = numpy.fromiter((row.correct for row in self.rows), bool, n)
        self.answered = numpy.fromiter((row.prediction is not None for row in self.rows), bool, n)
        self.words = numpy.fromiter((text.count(" ") + bool(text) for text in texts), "int32", n)  # normalised texts
        self.wrong_step = numpy.fromiter(("=" in text and bool(wrong_steps(text)) for text in texts), bool, n)
        self.contradicts = numpy.fromiter(
            (row.correct and filters.contradicts(row, self.tasks.get(row.task)) for row in self.rows), bool, n
        )
        self.confidence: numpy.ndarray | None = None
        if confidence is not None:
            self.set_confidence(confidence)
        self.meta = _meta(self.rows)
        self.said = numpy.zeros(n, dtype="int8")  # SAID code of the verdict that counts for each row
        self._pairs: dict[int, tuple] = {}
        first, second, alike, _ = self.pairs(self.ngram)
        self.similarity = numpy.zeros(n)  # to the most similar other rationale of the same question
        numpy.maximum.at(self.similarity, first, alike)
        numpy.maximum.at(self.similarity, second, alike)
        self._search = _Texts(self.rows, self.question)

    def __len__(self) -> int:
        return len(self.rows)

    def set_confidence(self, confidence: Mapping[str, float]) -> None:
        """Set the mentor's confidence from values by id; NaN for a rationale without one."""
        values = (confidence.get(row.id, numpy.nan) for row in self.rows)
        self.confidence = numpy.fromiter(values, "float64", len(self))

    def pairs(self, ngram: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """All pairs of a question's rationales that share an n-gram: row numbers, Jaccard similarity, equal or not.

        Sorted by similarity, most similar first. Computed once for each n.
        """
        if ngram not in self._pairs:
            first, second, alike = _similar([row.rationale for row in self.rows], self.question, ngram)
            self._pairs[ngram] = (first, second, alike, self.text[first] == self.text[second])
        return self._pairs[ngram]

    def siblings(self, row: int) -> numpy.ndarray:
        """The row numbers of the other rationales of the row's question."""
        same = numpy.flatnonzero(self.question == self.question[row])
        return same[same != row]

    def search(self, words: str) -> numpy.ndarray:
        """Which rows contain this phrase in question, rationale or conclusion, ignoring case; bool."""
        return self._search.having(words)

    # Filters

    def own_reasons(self, settings: FilterSettings) -> numpy.ndarray:
        """The code of the first filter that each row fails regardless of other rows; 0 for none."""
        low, high, limit = settings.min_words, settings.max_words, settings.min_confidence
        if limit is not None and self.confidence is None:
            raise InputError("filter min_confidence: the mentor's confidence is missing; pass it as `confidence`")
        checks = [
            ("no answer", ~self.correct & ~self.answered),
            ("wrong answer", ~self.correct),
            ("conclusion", self.contradicts if settings.conclusion else None),
            ("too short", None if low is None else self.words < low),
            ("too long", None if high is None else self.words > high),
            ("arithmetic", self.wrong_step if settings.arithmetic else None),
            ("low confidence", None if limit is None else self.confidence < limit),
        ]
        found = numpy.zeros(len(self), dtype="int8")
        for name, fails in reversed(checks):  # reversed, so that the first failing one is written last
            if fails is not None:
                found[fails] = CODE[name]
        return found

    def reasons(self, settings: FilterSettings, said: numpy.ndarray | None = None) -> numpy.ndarray:
        """The code of each row's reason under the settings and the verdicts `said` (by default the columns')."""
        said = self.said if said is None else said
        keep, drop = said == SAID["keep"], said == SAID["drop"]
        reason = self.own_reasons(settings)
        reason[keep] = 0
        self._duplicates(reason, keep, drop, settings)
        reason[keep] = CODE["verdict: keep"]
        reason[drop] = CODE["verdict: drop"]
        return reason

    def _duplicates(self, reason: numpy.ndarray, keep: numpy.ndarray, drop: numpy.ndarray, settings: FilterSettings):
        """Write the duplicates among the rows without a reason into `reason`.

        `filters.apply` goes through the rows in order of priority. Here each round decides all rows that depend on no
        undecided one; the number of rounds is the length of the longest chain of similar texts, which is small.
        """
        first, second, alike, same = self.pairs(settings.ngram)
        if settings.near_duplicates is not None:
            end = len(alike) - numpy.searchsorted(alike[::-1], settings.near_duplicates, side="left")
            first, second, same = first[:end], second[:end], same[:end] & settings.duplicates
        elif settings.duplicates:
            first, second, same = first[same], second[same], same[same]
        else:
            return
        priority = (2 * ~keep + (self.source.codes != 0)) * len(self) + numpy.arange(len(self))
        ahead = priority[first] < priority[second]
        source, target = numpy.where(ahead, first, second), numpy.where(ahead, second, first)
        # exact copies of a text that a person dropped are duplicates; texts merely similar to it are not
        matters = (reason[source] == 0) & (reason[target] == 0) & ~keep[target] & (same | ~drop[source])
        source, target, same = source[matters], target[matters], same[matters]
        copies, blocked = (source[same], target[same]), numpy.zeros(len(self), dtype=bool)
        while len(source):
            waits = numpy.zeros(len(self), dtype=bool)
            waits[target] = True
            stays = ~waits[source]
            blocked[target[stays]] = True
            left = ~stays & ~blocked[source] & ~blocked[target]
            source, target = source[left], target[left]
        reason[blocked] = CODE["near duplicate"]
        original, copy = copies
        reason[copy[reason[original] == 0]] = CODE["duplicate"]


def _meta(rows: Sequence[Rationale]) -> dict[str, tuple[list[str], numpy.ndarray]]:
    """The further columns with 2 to FEW distinct values ("" if a row has none): labels, and each row's label index."""
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row.meta):
        values = [str(row.meta.get(name, "")) for row in rows]
        if 1 < len(set(values)) <= FEW:
            codes, labels = pandas.factorize(pandas.Series(values, dtype=object), sort=True)
            shown = [visible(label, 60) or "none" for label in labels]
            if len(set(shown)) == len(shown):
                facet = visible(f"{name} (data)" if name in FACETS else name, 40)
                found[facet] = shown, codes.astype("int8")
    return found


def _codes(values) -> numpy.ndarray:
    return pandas.factorize(pandas.Series(list(values), dtype=object))[0].astype("int32")


def _similar(texts: list[str], question: numpy.ndarray, n: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Row numbers and Jaccard similarity of all pairs of one question that share an n-gram, most similar first."""
    order = numpy.argsort(question, kind="stable")
    ends = numpy.flatnonzero(numpy.diff(question[order], append=-1)) + 1  # where a question's rows end
    found, start = [], 0
    while start < len(order):
        end = int(ends[min(numpy.searchsorted(ends, start + CHUNK), len(ends) - 1)])
        found.append(_similar_in(texts, question, order[start:end], n))
        start = end
    nothing = (numpy.zeros(0, "int32"), numpy.zeros(0, "int32"), numpy.zeros(0))
    first, second, alike = (numpy.concatenate(part) for part in zip(nothing, *found, strict=True))
    best = numpy.argsort(-alike, kind="stable")
    return first[best], second[best], alike[best]


def _similar_in(texts: list[str], question: numpy.ndarray, rows: numpy.ndarray, n: int) -> tuple:
    """`_similar` for some of the rows: a sparse rows-by-n-grams matrix times its transpose counts shared n-grams."""
    words = [texts[row].casefold().split() for row in rows]
    lengths = numpy.array([max(len(some), n) for some in words])
    codes = numpy.zeros(lengths.sum(), dtype="int64")  # 0 pads texts of fewer than n words
    real = numpy.arange(len(codes)) < numpy.repeat(numpy.cumsum(lengths) - lengths + [len(w) for w in words], lengths)
    codes[real] = _codes(itertools.chain.from_iterable(words)) + 1
    owner = numpy.repeat(numpy.arange(len(rows)), lengths)
    begins = numpy.flatnonzero(numpy.arange(len(codes)) <= numpy.repeat(numpy.cumsum(lengths) - n, lengths))
    grams = question[rows][owner[begins]].astype("int64")  # n-grams match only within a question
    for place in range(n):
        grams = pandas.factorize(grams * (codes.max() + 1) + codes[begins + place])[0]
    shape = (len(rows), int(grams.max(initial=-1)) + 1)
    table = sparse.csr_matrix((numpy.ones(len(grams), dtype="int32"), (owner[begins], grams)), shape)
    table.data[:] = 1  # a repeated n-gram counts once
    sizes = numpy.diff(table.indptr)
    shared = sparse.triu(table @ table.T, k=1).tocoo()
    alike = shared.data / (sizes[shared.row] + sizes[shared.col] - shared.data)
    return rows[shared.row].astype("int32"), rows[shared.col].astype("int32"), alike


class _Texts:
    """All texts in two byte strings, one of rationales and one of questions, each searched in a single pass."""

    def __init__(self, rows: list[Rationale], question: numpy.ndarray):
        self.question = question
        asked = dict(zip(question.tolist(), (row.question for row in rows), strict=True))
        self.rationales = _Joined(_whole(row) for row in rows)
        self.questions = _Joined(asked[code] for code in range(len(asked)))

    def having(self, words: str) -> numpy.ndarray:
        return self.rationales.having(words) | self.questions.having(words)[self.question]


def _whole(row: Rationale) -> str:
    """The rationale with its conclusion, normalised."""
    original = normalise(row.original)
    return original if original.startswith(row.rationale) else f"{row.rationale} {original}"


class _Joined:
    END = b"\xff"  # a byte that never occurs in UTF-8

    def __init__(self, texts):
        parts = [_folded(text) for text in texts]
        self.ends = list(itertools.accumulate(len(part) + 1 for part in parts))
        self.bytes = self.END.join([*parts, b""])

    def having(self, words: str) -> numpy.ndarray:
        wanted, ends, find = _folded(normalise(words)), self.ends, self.bytes.find
        hits, row, place = [], 0, find(wanted)
        while 0 <= place < len(self.bytes):
            if place >= ends[row]:  # otherwise this row itself has the hit
                row = bisect.bisect_right(ends, place, row)
            hits.append(row)
            place = find(wanted, ends[row])  # one hit per row is enough
            row += 1
        found = numpy.zeros(len(ends), dtype=bool)
        found[hits] = True
        return found


def _folded(text: str) -> bytes:
    return text.casefold().encode("utf-8", "surrogatepass")
