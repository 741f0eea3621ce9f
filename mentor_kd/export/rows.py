"""Rows of an exported set: what the filters kept, and the questions of dev and test with their gold answers.

All splits have the same columns. A row of dev or test has no rationale: the columns about one are null, and its
training text is only the marker and the gold answer.

The column `rationale` is read back by `data:` as the same rationale. There, a text without a marker is read for its
answer; one that would be read as another answer, or as none, therefore ends with the marker and the gold answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..data.answers import MARKER
from ..data.folder import questions, task_of
from ..data.rationales import Question, Rationale, target
from ..data.tasks import Task, judge
from ..files import InputError
from ..models.card import public_name
from ..models.prompts import SEPARATOR
from ..pipeline.filter import rationales

FORMS = {  # the columns of each format that hold the texts; all formats have the columns ABOUT, `answer` and META
    "parquet": ("question", "rationale", "prompt", "completion"),
    "chat-jsonl": ("messages",),
    "prompt-completion": ("prompt", "completion"),
}
FIRST = ("id", "question_id", "split")
SAMPLER = ("model", "temperature", "top_k", "seed", "index")
ABOUT = ("source", "prediction", "correct", *SAMPLER)
OWN = {*FIRST, *ABOUT, "answer", *(name for names in FORMS.values() for name in names)}


@dataclass(frozen=True)
class Contents:
    """The parts of a set: all filtered rationales, those that are exported, and the questions of each split.

    `meta` maps the further columns of the run's own data to the type of their values; a name that the set itself uses
    is not among them, and values of several types become texts.
    """

    task: Task
    every: list[Rationale]
    kept: list[Rationale]
    questions: dict[str, list[Question]]
    meta: dict[str, type]

    @property
    def unexplained(self) -> int:
        """The number of training questions without an exported rationale."""
        explained = {row.question_id for row in self.kept}
        return sum(question.id not in explained for question in self.questions["train"])

    def records(self, split: str, form: str) -> Iterator[dict]:
        """The rows of a split in one of the formats."""
        for row in self.kept if split == "train" else self.questions[split]:
            given = _of_rationale(row, self.task) if isinstance(row, Rationale) else _of_question(row)
            picked = {name: given[name] for name in (*FIRST, *FORMS[form], "answer", *ABOUT)}
            further = {name: kind(row.meta[name]) if name in row.meta else None for name, kind in self.meta.items()}
            yield picked | further


def contents(folder: Path, source: str = "all") -> Contents:
    """Read a task's folder. Raises InputError if it was not filtered, or if nothing was kept."""
    folder = Path(folder)
    if not (folder / "rationales.jsonl").exists():
        raise InputError(f"{folder}: rationales.jsonl is missing; run notebook 04, which filters the rationales, first")
    every = rationales(folder)
    kept = [row for row in every if row.kept and source in ("all", row.source)]
    if not kept:
        raise InputError(
            f"{folder}: none of {len(every)} rationales is kept (source: {source}), so there is no set to write; relax "
            f"the filters in notebook 04"
        )
    asked = {split: questions(folder, split) for split in ("train", "dev", "test")}
    return Contents(task_of(folder), every, kept, asked, _meta([*kept, *asked["dev"], *asked["test"]]))


def _meta(rows: list[Rationale | Question]) -> dict[str, type]:
    kinds: dict[str, set[type]] = {}
    for row in rows:
        for name, value in row.meta.items():
            kinds.setdefault(name, set()).add(type(value))
    return {name: next(iter(found)) if len(found) == 1 else str for name, found in kinds.items() if name not in OWN}


def _of_rationale(row: Rationale, task: Task) -> dict:
    about = {"source": row.source, "prediction": row.prediction, "correct": row.correct, **row.sampler}
    about["model"] = public_name(row.sampler["model"])
    return {
        "id": row.id,
        "question_id": row.question_id,
        "split": "train",
        "rationale": _stating(row, task),
        **_texts(row.question, row.answer, target(row)),
        **about,
    }


def _of_question(question: Question) -> dict:
    return {
        "id": question.id,
        "question_id": question.id,
        "split": question.split,
        "rationale": None,
        **_texts(question.question, question.answer, f"{MARKER} {question.answer}"),
        **dict.fromkeys(ABOUT),
    }


def _texts(question: str, answer: str, completion: str) -> dict:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": completion}]
    prompt = question + SEPARATOR
    return {"question": question, "answer": answer, "prompt": prompt, "completion": completion, "messages": turns}


def _stating(row: Rationale, task: Task) -> str:
    """The rationale, with marker and gold answer after it if it would otherwise be read as another answer."""
    found = judge(task, row.rationale, row.answer, row.question)
    silent = found.prediction is None and found.reason.endswith(" is stated")  # then the row's own answer counts
    return row.rationale if row.rationale and (found.correct or silent) else target(row)
