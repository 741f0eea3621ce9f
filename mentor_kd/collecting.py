"""Collecting: questions with their splits and the teacher's rationales, from wherever they come, as files of a run."""

import dataclasses
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from . import fetching, official, own_data, sandbox
from .evaluation import PROTOCOLS, split_dev
from .files import InputError, finish, is_done, read_json, read_text, reports_root, sha256, write_json, write_text
from .rationales import (
    Question,
    Rationale,
    new_rationale,
    read_questions,
    read_rationales,
    write_questions,
    write_rationales,
)
from .tasks import TASKS, Task, judge, split_target


@dataclass(frozen=True)
class CollectSettings:
    """Where questions and the teacher's rationales come from, and how many."""

    data: str = "sandbox"  # sandbox, official, or the path of a CSV or JSONL file of one's own
    answer_type: str = ""  # for a task of one's own: number, choice, yes/no or text
    train_questions: int = 0  # 0: all
    dev_questions: int = 0  # 0: all that are given, or a fifth of the training questions
    test_questions: int = 0  # 0: all
    coverage: float = 0.6  # sandbox teacher: share of the training questions that it annotates
    error_rate: float = -1.0  # sandbox teacher: share of wrong rationales; -1: the task's own rate
    rationales: int = 3  # rationales a question
    dev_file: str = ""  # official: a dev split in MCC-KD's format
    last_letter_labels: str = "corrected"
    seed: int = 0
    protocol: str = "sound"  # paper: as the official code, nothing is held out and the test set chooses the epoch

    def __post_init__(self):
        if self.protocol not in PROTOCOLS:
            raise InputError(f"protocol is one of {', '.join(PROTOCOLS)}, not {self.protocol!r}")
        for name in ("train_questions", "dev_questions", "test_questions"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(f"{name} is a whole number, 0 for all, not {value!r}")
        if not isinstance(self.rationales, int) or self.rationales < 1:
            raise InputError(f"rationales (for each question) is a whole number from 1, not {self.rationales!r}")


def task_folder(run: str, task: str) -> Path:
    """Where a run keeps a task: reports/<run>/<task>."""
    for name, value in (("run", run), ("task", task)):
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", value):
            raise InputError(f"{name} {value!r}: use letters, digits, '-', '_' and '.' only, for it names a folder")
    return reports_root() / run / task


def task_of(folder: Path) -> Task:
    """The task whose folder this is, as the collection step wrote it down."""
    return Task(**read_json(Path(folder) / "collected" / "task.json"))


def protocol_of(folder: Path) -> str:
    """The protocol of a task's folder, `sound` or `paper`, as the collection step wrote it down."""
    return yaml.safe_load(read_text(Path(folder) / "params.yaml"))["protocol"]


def _limited(rows: list[Question], split: str, limit: int) -> list[Question]:
    chosen = [row for row in rows if row.split == split]
    return chosen[: limit or None]


def _under(protocol: str, questions: list[Question]) -> list[Question]:
    """The questions as a protocol splits them: `paper` holds none out, so what would be dev is trained on."""
    if protocol == "sound":
        return questions
    return [dataclasses.replace(q, split="train") if q.split == "dev" else q for q in questions]


def _sandbox(task: Task, settings: CollectSettings) -> tuple[list[Question], list[Rationale], dict]:
    if task.name not in sandbox.FAMILIES:
        raise InputError(
            f"task {task.name!r} is not one of the sandbox ({', '.join(sandbox.FAMILIES)}); set data to 'official' for "
            f"the paper's tasks, or to the path of a CSV or JSONL file of your own"
        )
    questions = sandbox.load_questions(task.name)
    questions = (
        _limited(questions, "train", settings.train_questions)
        + _limited(questions, "dev", settings.dev_questions)
        + _limited(questions, "test", settings.test_questions)
    )
    questions = _under(settings.protocol, questions)
    teacher = sandbox.TeacherSettings(
        coverage=settings.coverage,
        error_rate=None if settings.error_rate < 0 else settings.error_rate,
        n=settings.rationales,
        seed=settings.seed,
    )
    rows = []
    for question, index, style, text in sandbox.annotate([q for q in questions if q.split == "train"], teacher):
        sampler = {
            "model": f"sandbox teacher, style {style}",
            "temperature": None,
            "top_k": None,
            "seed": settings.seed,
            "index": index,
        }
        rows.append(judged(question, text, "teacher", sampler, task))
    return questions, rows, {}


def _official(task: Task, settings: CollectSettings) -> tuple[list[Question], list[Rationale], dict]:
    found = official.load_task(task, last_letter_labels=settings.last_letter_labels)
    train = found.train[: settings.train_questions or None]
    if settings.protocol == "paper":
        split = [dataclasses.replace(q, split="train") for q in train]
    elif settings.dev_file:
        dev = official.read_dev(Path(settings.dev_file), task)
        dev = dev[: settings.dev_questions or None]
        held = {q.id for q in dev}
        train = [dataclasses.replace(q, split="train") for q in train if q.id not in held]
        split = train + dev
    else:
        count = settings.dev_questions or max(1, len(train) // 5)
        split = split_dev([dataclasses.replace(q, split="") for q in train], count=count, seed=settings.seed)
    test = found.test[: settings.test_questions or None]
    ids = {q.id for q in split if q.split == "train"}
    rationales = official.teacher_rationales(task)
    rows = [r for r in rationales if r.question_id in ids and r.sampler["index"] < settings.rationales]
    facts = {
        "official_files": fetching.hashes(),
        "left_out": list(found.dropped) + list(rationales.dropped),
        "teacher_rows_read": len(rationales) + len(rationales.dropped),
        "teacher_rows_of_dev_or_beyond_the_limits": len(rationales) - len(rows),
        "corrected_labels": list(found.corrected),
    }
    return split + test, rows, facts


def _own(task: Task, settings: CollectSettings) -> tuple[list[Question], list[Rationale], dict]:
    questions, rows = own_data.read_table(Path(settings.data), task)
    if not any(q.split == "dev" for q in questions):
        train = [q for q in questions if q.split == "train"]
        count = settings.dev_questions or max(1, len(train) // 5)
        split = split_dev([dataclasses.replace(q, split="") for q in train], count=count, seed=settings.seed)
        questions = split + [q for q in questions if q.split != "train"]
    questions = (
        _limited(questions, "train", settings.train_questions)
        + _limited(questions, "dev", settings.dev_questions)
        + _limited(questions, "test", settings.test_questions)
    )
    questions = _under(settings.protocol, questions)
    ids = {q.id for q in questions if q.split == "train"}
    kept = [row for row in rows if row.question_id in ids]
    return questions, kept, {"teacher_rows_of_dev_test_or_beyond_the_limits": len(rows) - len(kept)}


def judged(question: Question, text: str, source: str, sampler: dict, task: Task) -> Rationale:
    """A rationale row from a text as written: split at its last marker, its answer looked for and judged."""
    rationale, _ = split_target(text)
    found = judge(task, text, question.answer, question.question)
    return new_rationale(
        question,
        rationale,
        source,
        sampler,
        prediction=found.prediction,
        correct=found.correct,
        miss=found.reason,
        original=text,
    )


def task_for(task: str, settings: CollectSettings) -> Task:
    """The task of that name, or one's own by its answer type; InputError where task or data cannot be."""
    if settings.data not in ("sandbox", "official") and not Path(settings.data).is_file():
        raise InputError(f"data is 'sandbox', 'official', or the path of a CSV or JSONL file, not {settings.data!r}")
    if task not in TASKS and not settings.answer_type:
        raise InputError(
            f"task {task!r} is none of {', '.join(TASKS)}; for a task of your own set answer_type to number, "
            f"choice, yes/no or text"
        )
    return Task(task, settings.answer_type) if settings.answer_type else TASKS[task]


def collect(folder: Path, task: str, settings: CollectSettings) -> None:
    """Questions with their splits, and the teacher's rationales, into collected/."""
    place = Path(folder) / "collected"
    one = task_for(task, settings)
    own = settings.data not in ("sandbox", "official")
    inputs = {"task": asdict(one), "settings": asdict(settings)}
    if own:
        inputs["file"] = sha256(Path(settings.data)) if Path(settings.data).is_file() else None
    elif settings.data == "official":
        inputs["files"] = fetching.hashes()
    if is_done(place, inputs):
        return
    make = _own if own else {"sandbox": _sandbox, "official": _official}[settings.data]
    questions, rows, facts = make(one, settings)
    if not rows:
        raise InputError(
            f"task {one.name!r}: no training question has a rationale of the teacher; raise coverage, or, in a "
            f"table of your own, add a column `rationale`"
        )
    for split in ("train", "dev", "test") if settings.protocol == "sound" else ("train", "test"):
        if not any(q.split == split for q in questions):
            raise InputError(
                f"task {one.name!r}: there is no {split} question; give some (your own table marks them in its "
                f"column `split`)"
            )
    write_json(place / "task.json", asdict(one))
    write_questions(place / "questions.jsonl", questions)
    write_rationales(place / "teacher.jsonl", rows)
    write_text(Path(folder) / "params.yaml", yaml.safe_dump({"task": one.name, "protocol": settings.protocol}))
    counts = {split: sum(q.split == split for q in questions) for split in ("train", "dev", "test")}
    finish(place, inputs, ["task.json", "questions.jsonl", "teacher.jsonl"], questions=counts, **facts)


def questions(folder: Path, split: str) -> list[Question]:
    """The questions of one split."""
    return [q for q in read_questions(Path(folder) / "collected" / "questions.jsonl") if q.split == split]


def teacher_rows(folder: Path) -> list[Rationale]:
    """The teacher's rationales as collected."""
    return read_rationales(Path(folder) / "collected" / "teacher.jsonl")
