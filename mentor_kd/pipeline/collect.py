"""Collection: questions with their splits and the teacher's rationales, from any source, into collected/."""

import dataclasses
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..checks import require_choice, require_integer, require_number, require_text
from ..data import download, official, sandbox, sources, table
from ..data.answers import ANSWER_TYPES
from ..data.columns import require_mapping
from ..data.guess import guess
from ..data.look import looked
from ..data.rationales import Question, Rationale, judged, write_questions, write_rationales
from ..data.splits import ShareSettings, draw, split_dev
from ..data.tasks import PROTOCOLS, TASKS, Task
from ..disk import writes_files
from ..files import InputError, read_record, sha256, write_json, write_text
from ..manifests import discard_changed, finish, is_done, require_whole
from ..parsing import yaml_text
from ..progress import visible
from ..teacher import annotate
from ..teacher.annotate import ANNOTATION
from ..teacher.ask import ASKED, AskSettings
from ..teacher.connection import EndpointSettings
from .replacing import allow, make_way

RECOLLECT = "run the collection (notebook 01) again to restore it"
PAID = "paid replies"
OUTPUTS = ("task.json", "questions.jsonl", "teacher.jsonl", "../params.yaml")


@dataclass(frozen=True)
class CollectSettings:
    """Where the questions and the teacher's rationales come from, and how many."""

    data: str = "sandbox"  # sandbox, official, or your own: a file, a folder, or hub:owner/name (see data.sources)
    answer_type: str = ""  # for your own task: number, choice, yes/no, text or pattern
    answer_pattern: str = ""  # for answer_type pattern: the regular expression that finds an answer
    answer_choices: str = ""  # for answer_type choice: the letters; "": ABCDE
    columns: dict[str, Any] = field(default_factory=dict)  # your own data: role -> name of its column
    data_test: str = ""  # your own data: a second file, folder or hub id with the test questions
    teacher: str = ""  # "": the rationales in the data; or endpoint, local, or a JSONL file of rationales
    train_questions: int = 0  # 0: all
    dev_questions: int = 0  # 0: all given ones, or a fifth of the training questions if there are none
    test_questions: int = 0  # 0: all
    coverage: float = 0.6  # sandbox teacher: share of training questions that it annotates
    error_rate: float = -1.0  # sandbox teacher: share of wrong rationales; -1: the task's default
    rationales: int = 3  # rationales per question
    dev_file: str = ""  # official: file with a dev split in MCC-KD's format
    last_letter_labels: str = "corrected"
    seed: int = 0
    test_seed: int = 0  # sandbox: seed of new test questions; 0: those included in the package
    protocol: str = "sound"  # paper: as the official code, no dev split, and the epoch chosen on test
    ask: AskSettings = field(default_factory=AskSettings)  # how an endpoint or a local model is prompted
    endpoint: EndpointSettings = field(default_factory=EndpointSettings)
    share: ShareSettings = ShareSettings()  # how much of the teacher's rationales is used

    def __post_init__(self) -> None:
        for name in ("data", "answer_type", "answer_pattern", "answer_choices", "teacher", "dev_file", "data_test"):
            require_text(name, getattr(self, name))
        require_mapping(self.columns)
        for name in ("columns", "data_test"):
            if getattr(self, name) and not self.own:
                raise InputError(f"{name} is for your own data, got {getattr(self, name)!r} with data {self.data!r}")
        if self.data_test:
            sources.require_source("data_test", self.data_test)
        require_choice("protocol", self.protocol, PROTOCOLS)
        require_choice("last_letter_labels", self.last_letter_labels, official.LABELS)
        for name in ("train_questions", "dev_questions", "test_questions"):
            require_integer(name, getattr(self, name), note="0 for all")
        for name in ("test_seed", "seed"):
            require_integer(name, getattr(self, name))
        require_integer("rationales", self.rationales, 1)
        require_number("coverage", self.coverage, above=0, most=1)
        if self.error_rate != -1:
            require_number("error_rate", self.error_rate, least=0, most=1, note="or -1 for the task's default")
        if self.test_seed and self.data != "sandbox":
            raise InputError(
                f"test_seed must be 0 unless data is 'sandbox', got {self.test_seed} with data {self.data!r}"
            )
        if self.dev_file and not Path(self.dev_file).is_file():
            raise InputError(f"dev_file must be the path of a file with the dev split, got {self.dev_file!r}")
        annotate.check_teacher(self.teacher, self.ask, self.endpoint)

    @property
    def own(self) -> bool:
        """Whether the data is the user's own."""
        return self.data not in ("sandbox", "official")


def _limited(rows: list[Question], split: str, limit: int) -> list[Question]:
    chosen = [row for row in rows if row.split == split]
    return chosen[: limit or None]


def _under(protocol: str, questions: list[Question]) -> list[Question]:
    """The questions as a protocol splits them: `paper` holds none out, so dev questions become training questions."""
    if protocol == "sound":
        return questions
    return [dataclasses.replace(q, split="train") if q.split == "dev" else q for q in questions]


def _sandbox(task: Task, settings: CollectSettings) -> tuple[list[Question], list[Rationale], dict]:
    if task.name not in sandbox.FAMILIES:
        raise InputError(
            f"task {task.name!r} is not a sandbox task ({', '.join(sandbox.FAMILIES)}); set data to 'official' for the "
            f"paper's tasks, or to your own file, folder or hub id"
        )
    questions = sandbox.load_questions(task.name)
    if settings.test_seed:
        count = settings.test_questions or sum(q.split == "test" for q in questions)
        avoid = frozenset(q.id for q in questions)
        drawn = sandbox.make_questions(task.name, count, settings.test_seed, "test", avoid)
        questions = [q for q in questions if q.split != "test"] + drawn
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
        "official_files": download.hashes(),
        "left_out": list(found.dropped) + list(rationales.dropped),
        "teacher_rows_read": len(rationales) + len(rationales.dropped),
        "teacher_rows_of_dev_or_beyond_the_limits": len(rationales) - len(rows),
        "corrected_labels": list(found.corrected),
    }
    return split + test, rows, facts


def _own(task: Task, settings: CollectSettings) -> tuple[list[Question], list[Rationale], dict]:
    found = table.read_table(settings.data, task, settings.columns, settings.data_test)
    questions, facts = _own_splits(found.questions, settings)
    ids = {q.id for q in questions if q.split == "train"}
    kept = [row for row in found.rationales if row.question_id in ids]
    facts["teacher_rows_of_dev_test_or_beyond_the_limits"] = len(found.rationales) - len(kept)
    return questions, kept, {**found.facts(), **facts}


def _own_splits(questions: list[Question], settings: CollectSettings) -> tuple[list[Question], dict]:
    """The questions of your own data in three splits, drawing missing ones, and facts about the draw."""
    facts = {}
    if not any(q.split == "test" for q in questions):
        train = [q for q in questions if q.split == "train"]
        count = max(1, len(train) // 5)  # independent of the limits below, so that they never move a question
        drawn = {q.id for q in split_dev(train, count=count, seed=settings.seed + 1) if q.split == "dev"}
        questions = [dataclasses.replace(q, split="test") if q.id in drawn else q for q in questions]
        facts["test_questions_drawn"] = count
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
    return _under(settings.protocol, questions), facts


def look_text(task: str, settings: CollectSettings) -> str:
    """A first look at your own data, for the terminal; empty for the sandbox and the official data.

    It has the rows, what was recognised, the splits, rows left out with reasons, and three examples with the text that
    a model is trained to write. Nothing is written or sent (a hub id is downloaded). Dry runs print it: call it with
    the task's name and the settings of the collection. A missing answer type is guessed and reported. Raises
    InputError, as `collect` would, if the data cannot be read.
    """
    if not settings.own:
        return ""
    found = table.read_sources(settings.data, settings.columns, settings.data_test)
    known = settings.answer_type or task in TASKS
    one, why = (task_for(task, settings), "") if known else guess(found, task)
    made = table.build(found, one)
    given = {q.split for q in made.questions}
    drawn = [split for split in ("dev", "test") if split not in given]
    try:
        questions, _ = _own_splits(made.questions, settings)
        note = f" ({' and '.join(drawn)} drawn from the training questions)" if drawn else ""
    except InputError as error:
        questions, note = made.questions, f" ({error})"
    name = settings.data if not settings.data_test else f"{settings.data} and, for test, {settings.data_test}"
    return visible(f"{name}\n{looked(made, one, why, questions, note)}")


def task_for(task: str, settings: CollectSettings) -> Task:
    """The task of this name, or your own task by its answer type; InputError if task or data is invalid."""
    if settings.own:
        sources.require_source("data", settings.data)
    if task not in TASKS and not settings.answer_type:
        raise InputError(
            f"task must be one of {', '.join(TASKS)}, got {task!r}; for your own task, set answer_type to one of "
            f"{', '.join(ANSWER_TYPES)} (`mentor-kd data look FILE` proposes one)"
        )
    if not settings.answer_type:
        return TASKS[task]
    more = {"choices": settings.answer_choices} if settings.answer_choices else {}
    return Task(task, settings.answer_type, pattern=settings.answer_pattern, **more)


def make(task: Task, settings: CollectSettings) -> tuple[list[Question], list[Rationale], dict]:
    """Questions with their splits, the rationales that come with the data, and facts for the manifest."""
    return (_own if settings.own else {"sandbox": _sandbox, "official": _official}[settings.data])(task, settings)


def _inputs(task: Task, settings: CollectSettings) -> dict:
    """What the collection depends on; the speed and limits of an endpoint do not change its replies."""
    found: dict[str, Any] = {"task": asdict(task), "settings": asdict(settings)}
    del found["settings"]["ask"], found["settings"]["endpoint"]
    if settings.share.share == 1:  # nothing is drawn
        del found["settings"]["share"]
    if settings.teacher in ASKED:
        found["ask"] = asdict(settings.ask)
        found["endpoint"] = {name: getattr(settings.endpoint, name) for name in ("base_url", "route", "provider")}
        if settings.endpoint.provider:  # replies are stored under its name, wherever it listens
            found["endpoint"]["base_url"] = ""
    elif settings.teacher:
        found["annotations"] = sha256(Path(settings.teacher))
    for name in ("columns", "data_test"):
        if not found["settings"][name]:
            del found["settings"][name]
    if settings.data == "official":
        found["files"] = download.hashes()
    elif settings.own:
        found["file"] = sources.identity(settings.data)
    if settings.data_test:
        found["test_file"] = sources.identity(settings.data_test)
    return found


def _finished(place: Path, inputs: dict) -> bool:
    """Whether the collection is complete, with no requested rationale missing."""
    if not is_done(place, inputs):
        return False
    annotation = read_record(place / "manifest.json").get("annotation", {})
    return not (isinstance(annotation, dict) and annotation.get("open", 0))


@writes_files
def collect(folder: Path, task: str, settings: CollectSettings, replace: bool = True) -> None:
    """Write the questions with their splits, and the teacher's rationales, to collected/.

    Requested rationales that did not arrive (a failure, an exhausted budget) are requested again by the next call; see
    teacher/annotate for what is stored in between. Raises InputError if there is a finished collection with other
    settings, unless `replace` is True (see `replacing`).
    """
    place = Path(folder) / "collected"
    one = task_for(task, settings)
    inputs = _inputs(one, settings)
    replies = Path(folder) / ANNOTATION / "replies.jsonl"
    if settings.teacher in ASKED:
        require_whole(replies, PAID)
    if _finished(place, inputs):
        return
    allow(place, inputs, replace)  # before anything is asked and paid for
    discard_changed(place)
    questions, rows, facts = make(one, settings)
    if settings.teacher:
        train = [q for q in questions if q.split == "train"]
        given = rows if settings.own else []
        asked, facts["annotation"] = annotate.annotated(
            Path(folder) / ANNOTATION, one, train, rows, settings.teacher, settings.ask, settings.endpoint
        )
        require_whole(replies, PAID)  # notes the length with the new replies
        rows = given + asked
    if settings.share.share < 1:
        rows, facts["teacher_share"] = draw(rows, settings.share)
    if not rows:
        raise InputError(
            f"task {one.name!r}: no training question has a teacher rationale; raise coverage, add a `rationale` "
            f"column to your own table, or set teacher to request rationales from a language model"
        )
    for split in ("train", "dev", "test") if settings.protocol == "sound" else ("train", "test"):
        if not any(q.split == split for q in questions):
            raise InputError(
                f"task {one.name!r}: there are no {split} questions; add some (in your own table, mark them in the "
                f"`split` column)"
            )
    make_way(place, inputs, replace)
    write_json(place / "task.json", asdict(one))
    write_questions(place / "questions.jsonl", questions)
    write_rationales(place / "teacher.jsonl", rows)
    write_text(Path(folder) / "params.yaml", yaml_text({"protocol": settings.protocol, "task": one.name}))
    counts = {split: sum(q.split == split for q in questions) for split in ("train", "dev", "test")}
    finish(place, inputs, OUTPUTS, questions=counts, **facts)
