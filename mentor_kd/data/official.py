"""The data published by the paper's authors, as questions and rationales; `download` fetches and verifies the files."""

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..checks import require_choice
from ..files import InputError, official_root, read_json
from .answers import MARKER
from .download import require_published
from .rationales import Question, Rationale, _check_keys, _name, new_question, new_rationale
from .tasks import PROTOCOLS, TASKS, Task, get_task, judge

LABELS = ("corrected", "as published")
FAMILIES = ("flan-t5_large", "t5_large")
TEACHER = {"model": "gpt-3.5-turbo", "temperature": 0.7, "top_k": None, "seed": None}
MENTOR = {"temperature": 0.7, "top_k": 50, "seed": None}  # top_k: the library's default
# Question id -> (published label, correct label). The published test file treats a two-word name as one word; the
# authors' data/skeleton file of the same test set has the correct labels.
LAST_LETTER_LABELS = {
    "ad0cb8213d527d25": ("eaya", "neaya"),
    "064f7186ba638b39": ("aewo", "aewno"),
    "daf28f1a4e1c49d4": ("lnyl", "nlnyl"),
    "02b91b18d2616185": ("snya", "synya"),
    "805c1ebb82de1ab0": ("aejt", "aaejt"),
    "55b42834c9da3667": ("oedl", "ooedl"),
}
HELD_OUT = "held out of training: the question is also in the test file"
NO_COMPLETION = "no completion published; upstream verdict taken"
_TYPES: dict[Any, str] = {str: "a string", str | None: "a string or null", bool: "true or false"}


@dataclass(frozen=True)
class OfficialTask:
    """A task's official questions.

    `dropped` lists each row left out, with file, row and reason; `rows` counts the rows read per split, so that rows of
    both splits = train + test + dropped. `corrected` holds the ids of test questions whose label was corrected.
    """

    task: str
    train: list[Question]
    test: list[Question]
    rows: dict[str, int]
    dropped: tuple[str, ...] = ()
    corrected: tuple[str, ...] = ()


@dataclass(frozen=True)
class OfficialRationales:
    """The rows of an official file; iterates over them. `dropped` lists each row left out, with the reason.

    `disagreements` holds the rows on which our verdict and upstream's differ: (as judged here, as published).
    """

    rows: list[Rationale]
    dropped: tuple[str, ...] = ()
    disagreements: tuple[tuple[Rationale, Rationale], ...] = ()

    def __iter__(self):
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def load_task(
    task: str | Task, protocol: str = "sound", last_letter_labels: str = "corrected", *, root: Path | None = None
) -> OfficialTask:
    """The distinct train and test questions of a task, with gold answers.

    Train questions come from data/skeleton or, if that file is missing, from the teacher's rationales (which lack the
    questions that the teacher never answered correctly). A repeated question is taken once. Under protocol "sound" a
    train question that is also in the test file is held out; under "paper" it stays. Six gold labels of the
    published last-letter test file are wrong; they are corrected unless `last_letter_labels` is "as published".
    Raises InputError for a file that is missing, cannot be read, or, without `root`, is not the published one.
    """
    task = _official_task(task, protocol)
    require_choice("last_letter_labels", last_letter_labels, LABELS)
    test_file = official_file(f"data/main/{task.official}_test.json", root)
    test_rows = list(enumerate(read_official_questions(test_file, task.name, "test"), start=1))
    published, dropped = _select(test_file, test_rows)
    test = [_corrected(row) for row in published] if last_letter_labels == "corrected" else published
    corrected = tuple(old.id for old, new in zip(published, test, strict=True) if old.answer != new.answer)
    train_file, train_rows = _train_rows(task, root)
    train, more = _select(train_file, train_rows, {row.id for row in test} if protocol == "sound" else ())
    rows = {"train": len(train_rows), "test": len(test_rows)}
    return OfficialTask(task.name, train, test, rows, (*dropped, *more), corrected)


def read_dev(path: Path, task: str | Task) -> list[Question]:
    """Read dev questions in MCC-KD's format (`instruction`, `label`; `output` and `predict` are not needed).

    Raises InputError, with file and row, as `read_array` does, and for a repeated question.
    """
    task = get_task(task)
    rows = read_array(path, {"instruction": str, "label": str}, {"output": str, "predict": str})
    questions = each_row(path, rows, lambda row: new_question(task.name, row["instruction"], row["label"], "dev"))
    _, repeated = _select(path, list(enumerate(questions, start=1)))
    if repeated:
        raise InputError(f"{repeated[0]}; remove one of them")
    return questions


def teacher_rationales(task: str | Task, protocol: str = "sound", *, root: Path | None = None) -> OfficialRationales:
    """The teacher's rationales (data/main/*_3_train.json; paper, section 4.1), three per question in most files.

    These rows have no completion, so `correct` is upstream's verdict. The prediction is the gold answer if
    `tasks.judge` finds it in the chain; else it is None, and `miss` says so. Under protocol "sound", rows whose
    question is not a training question (see `load_task`) or has a different gold answer are dropped and listed.
    """
    task = _official_task(task, protocol)
    path = official_file(f"data/main/{task.official}_3_train.json", root)
    rows = []
    for row in read_official_rationales(path, task.name, "teacher", TEACHER):
        found = judge(task, row.original, row.answer, row.question).correct
        rows.append(replace(row, prediction=row.answer, miss="") if found else replace(row, prediction=None))
    return _trainable(task, path, rows, protocol, root)


def mentor_rationales(
    task: str | Task, family: str = "flan-t5_large", protocol: str = "sound", *, root: Path | None = None
) -> OfficialRationales:
    """The samples of the paper's mentor (data/aug/*), right and wrong, three per training question.

    Each completion is judged again by `tasks.judge`, in the protocol's mode; where upstream's verdict differs, the
    row is also listed in `disagreements`. Protocol "sound" drops rows as `teacher_rationales` does.
    """
    task = _official_task(task, protocol)
    require_choice("family", family, FAMILIES)
    path = official_file(f"data/aug/{family}/{task.official}_rand3_aug3.json", root)
    sampler = {"model": family.replace("_", "-")} | MENTOR
    published = read_official_rationales(path, task.name, "mentor", sampler)
    rows = []
    for row in published:
        text = row.original if row.prediction is None else f"{row.original} {MARKER} {row.prediction}"
        found = judge(task, text, row.answer, row.question, mode=protocol)
        rows.append(replace(row, prediction=found.prediction, correct=found.correct, miss=found.reason))
    kept = _trainable(task, path, rows, protocol, root)
    ids = {row.id for row in kept}
    pairs = [(ours, theirs) for ours, theirs in zip(rows, published, strict=True) if ours.correct != theirs.correct]
    return replace(kept, disagreements=tuple(pair for pair in pairs if pair[0].id in ids))


def official_file(path: str, root: Path | None = None) -> Path:
    """The path of an official file; InputError if it does not exist, or if it is not the published one.

    In another folder than the usual one, `root`, files are not compared with the published ones.
    """
    place = Path(official_root() if root is None else root) / path
    if not place.is_file():
        raise InputError(
            f"{place}: no such file; run `python -m mentor_kd data fetch`, or set MENTOR_KD_OFFICIAL_DATA to a copy "
            "of the authors' repository (the folder that contains data/)"
        )
    if root is None:
        require_published(path)
    return place


def _corrected(row: Question) -> Question:
    published, right = LAST_LETTER_LABELS.get(row.id, ("", row.answer))
    return replace(row, answer=right) if row.answer == published else row


def _train_rows(task: Task, root: Path | None) -> tuple[Path, list[tuple[int, Question]]]:
    """The file of the train questions, and the questions with row numbers (in a rationale file, their first rows)."""
    skeleton = f"data/skeleton/{task.official}_train.json"
    if (Path(official_root() if root is None else root) / skeleton).is_file():
        path = official_file(skeleton, root)
        return path, list(enumerate(read_official_questions(path, task.name, "train"), start=1))
    path = official_file(f"data/main/{task.official}_3_train.json", root)
    first: dict[str, tuple[int, Question]] = {}
    for number, row in enumerate(read_official_questions(path, task.name, "train"), start=1):
        first.setdefault(row.id, (number, row))
    return path, list(first.values())


def _select(
    path: Path, rows: list[tuple[int, Question]], held_out: Container[str] = ()
) -> tuple[list[Question], list[str]]:
    """The first row of each question that is not held out, and the reason why each other row was dropped."""
    kept: list[Question] = []
    dropped: list[str] = []
    first: dict[str, tuple[int, str]] = {}
    for number, row in rows:
        earlier, answer = first.setdefault(row.id, (number, row.answer))
        if earlier != number:
            other = "" if row.answer == answer else f", with the answer {row.answer!r} instead of {answer!r}"
            dropped.append(f"{path}, row {number}: repeats the question of row {earlier}{other}")
        elif row.id in held_out:
            dropped.append(f"{path}, row {number}: {HELD_OUT}")
        else:
            kept.append(row)
    return kept, dropped


def _trainable(task: Task, path: Path, rows: list[Rationale], protocol: str, root: Path | None) -> OfficialRationales:
    """The rows allowed for training: all under "paper", only those of training questions under "sound"."""
    if protocol == "paper":
        return OfficialRationales(rows)
    questions = load_task(task, protocol, root=root)
    answers = {row.id: row.answer for row in questions.train}
    tested = {row.id for row in questions.test}
    kept, dropped = [], []
    for row in rows:
        if row.question_id not in answers:
            why = HELD_OUT if row.question_id in tested else "its question is not among the training questions"
        elif row.answer != answers[row.question_id]:
            why = f"its gold answer is {row.answer!r}, the training question's is {answers[row.question_id]!r}"
        else:
            kept.append(row)
            continue
        dropped.append(f"{path}, rationale {row.id}: {why}")
    return OfficialRationales(kept, tuple(dropped))


def _official_task(task: str | Task, protocol: str) -> Task:
    require_choice("protocol", protocol, PROTOCOLS)
    task = get_task(task)
    if not task.official:
        known = ", ".join(name for name, one in TASKS.items() if one.official)
        raise InputError(f"task: {task.name} has no official data; choose one of {known}")
    return task


def read_array(path: Path, required: dict[str, Any], optional: dict[str, Any]) -> list[dict]:
    """Read a JSON array of objects with these keys and types; returns every row, in order.

    InputError names the file, and the line of a syntax error or the row (from 1) of any other error.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path}: expected a JSON array of rows, got {_name(rows)}")
    if not rows:
        raise InputError(f"{path}: the file is empty; expected at least one row")
    kinds = required | optional
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected a JSON object, got {_name(row)}")
        _check_keys(where, row, required, kinds)
        for key, value in row.items():
            if not isinstance(value, kinds[key]):
                raise InputError(f"{where}: {key} must be {_TYPES[kinds[key]]}, got {_name(value)} ({str(value)[:60]})")
    return rows


def read_official_questions(path: Path, task: str, split: str = "") -> list[Question]:
    """Read `input` and `answer` of an official file, one Question per row, including repeated questions.

    Raises InputError as `read_array` does. `*_3_train.json` and augmented files contain each question three times.
    """
    optional = {"chain": str, "completion": str | None, "initial_correct": bool}
    rows = read_array(path, {"input": str, "answer": str}, optional)
    return each_row(path, rows, lambda row: new_question(task, row["input"], row["answer"], split))


def read_official_rationales(path: Path, task: str, source: str, sampler: dict) -> list[Rationale]:
    """Read the rationales of an official file (`*_3_train.json`, augmented, or annotated test file), one per row.

    `index` is added to `sampler`: it counts the rows of each question from 0, in file order. The completion becomes the
    prediction and `initial_correct` the verdict, both as published. Raises InputError as `read_array` does.
    """
    required = {"input": str, "chain": str, "answer": str, "initial_correct": bool}
    rows = read_array(path, required, {"completion": str | None})
    seen: Counter[str] = Counter()

    def rationale(row: dict) -> Rationale:
        question = new_question(task, row["input"], row["answer"])
        seen[question.id] += 1
        draw = sampler | {"index": seen[question.id] - 1}
        prediction = row.get("completion")
        miss = NO_COMPLETION if prediction is None else ""
        correct = row["initial_correct"]
        return new_rationale(question, row["chain"], source, draw, prediction=prediction, correct=correct, miss=miss)

    return each_row(path, rows, rationale)


def each_row(path: Path, rows: list[dict], make: Callable) -> list:
    """Apply `make` to each row of an array; an InputError is prefixed with the file and the row (from 1)."""
    made = []
    for number, row in enumerate(rows, start=1):
        try:
            made.append(make(row))
        except InputError as error:
            raise InputError(f"{path}, row {number}: {error}") from None
    return made
