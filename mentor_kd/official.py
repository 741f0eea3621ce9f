"""The data of the paper's authors: fetched and verified, or taken from a local copy, and read as questions and rows.

Source: github.com/2hojae/mentor-kd (Apache-2.0) at the commit below. `upstream.tsv` pins the git blob hash of every
data file. The folder (`files.official_root()`) is laid out as upstream, `data/main/...`, so that a checkout of the
repository, or a part of one, can be used where it is. The underlying sets have licences of their own (paper, table 6).
"""

import hashlib
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import httpx
import tenacity

from .files import InputError, official_root, write_bytes
from .rationales import (
    Question,
    Rationale,
    each_row,
    new_question,
    new_rationale,
    read_array,
    read_official_prompt,
    read_official_questions,
    read_official_rationales,
)
from .tasks import MARKER, TASKS, Task, get_task, judge

COMMIT = "ec9ea1118ef1ef71152b61c0768220011ac58e52"
BASE_URL = f"https://raw.githubusercontent.com/2hojae/mentor-kd/{COMMIT}"
PROTOCOLS = ("sound", "paper")
LABELS = ("corrected", "as published")
FAMILIES = ("flan-t5_large", "t5_large")
TEACHER = {"model": "gpt-3.5-turbo", "temperature": 0.7, "top_k": None, "seed": None}
STORED = TEACHER | {"model": "gpt-3.5-turbo (stored outputs)"}  # a name of its own: its draws are other draws
MENTOR = {"temperature": 0.7, "top_k": 50, "seed": None}  # paper's code: top_k is the library's silent default

# Question id -> (published label, right label). The published test file takes a two-word name for one word; the
# authors' data/skeleton file of the same test set holds the right labels.
LAST_LETTER_LABELS = {
    "ad0cb8213d527d25": ("eaya", "neaya"),
    "064f7186ba638b39": ("aewo", "aewno"),
    "daf28f1a4e1c49d4": ("lnyl", "nlnyl"),
    "02b91b18d2616185": ("snya", "synya"),
    "805c1ebb82de1ab0": ("aejt", "aaejt"),
    "55b42834c9da3667": ("oedl", "ooedl"),
}
HELD_OUT = "held out of training: the question also stands in the test file"


@dataclass(frozen=True)
class FetchReport:
    """What `fetch` did: paths installed, there already, missing at the source, and failed (path -> why)."""

    installed: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return not self.missing and not self.failed

    def __str__(self) -> str:
        done = f"{len(self.installed)} installed, {len(self.present)} there already"
        lines = [f"missing: {path}" for path in self.missing]
        lines += [f"failed: {path}: {why}" for path, why in self.failed.items()]
        return "\n  ".join([f"{done}, {len(self.missing)} missing, {len(self.failed)} failed", *lines])


@dataclass(frozen=True)
class OfficialTask:
    """A task's official questions.

    `dropped` says for each row left out, file, row and why; `rows` counts the rows read per split, so that rows of
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
    """Rows of an official file, over which it iterates; `dropped` says for each row left out which and why.

    `disagreements` pairs rows whose correctness upstream judged otherwise: (as judged here, as published).
    """

    rows: list[Rationale]
    dropped: tuple[str, ...] = ()
    disagreements: tuple[tuple[Rationale, Rationale], ...] = ()

    def __iter__(self):
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


@cache
def upstream() -> dict[str, str]:
    """Path -> git blob hash of every data file at the pinned commit."""
    text = (Path(__file__).parent / "upstream.tsv").read_text(encoding="utf-8")
    pairs = (line.split("\t") for line in text.splitlines() if line and not line.startswith("#"))
    return {path: value for value, path in pairs}


def blob_hash(content: bytes) -> str:
    """The hash by which git names a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def hashes(root: Path | None = None) -> dict[str, str]:
    """Path -> git blob hash of those of the official files that are there."""
    root = Path(official_root() if root is None else root)
    return {path: blob_hash((root / path).read_bytes()) for path in upstream() if (root / path).is_file()}


def verify(root: Path | None = None, remedy: str = "`python -m mentor_kd data fetch` replaces such files") -> None:
    """InputError names each file there whose content is not upstream's, with the hash found and the one expected."""
    root = Path(official_root() if root is None else root)
    lines = [
        f"{root / path}: not the published file: git blob hash {found}, expected {upstream()[path]}"
        for path, found in hashes(root).items()
        if found != upstream()[path]
    ]
    if lines:
        raise InputError("\n".join([*lines, remedy]))


def fetch(
    destination: Path | None = None,
    source: Path | None = None,
    base_url: str = BASE_URL,
    *,
    say: Callable[[str], None] = print,
    attempts: int = 4,
    wait: float = 0.5,
    timeout: float = 30.0,
) -> FetchReport:
    """Install the official files, each verified by its git blob hash and put in place atomically.

    A file that is there with the right hash is left alone, one with a wrong hash is replaced; so a fetch that broke
    off is simply run again. With `source`, a local copy laid out as upstream (a part will do), nothing is downloaded,
    and nothing is installed unless every file in it has the right hash. `say` gets a line a file. A dropped
    connection or a busy server is tried `attempts` times, `wait` seconds apart at first, then twice as long.

    Raises InputError for a source without data or with a wrong file, for a URL that is none, and for a destination
    that cannot be written. What could not be downloaded is in the report.
    """
    destination = Path(official_root() if destination is None else destination)
    found = hashes(destination)
    wanted = [path for path, expected in upstream().items() if found.get(path) != expected]
    if source is not None:
        return _install(destination, found, _take(Path(source), wanted), say)
    if not base_url.startswith(("http://", "https://")):
        raise InputError(f"base_url: {base_url!r} is no http:// or https:// address")
    with httpx.Client(timeout=timeout, follow_redirects=True) as client:
        return _install(destination, found, _download(client, base_url.rstrip("/"), wanted, attempts, wait), say)


def load_task(
    task: str | Task, protocol: str = "sound", last_letter_labels: str = "corrected", *, root: Path | None = None
) -> OfficialTask:
    """The distinct train and test questions of a task, with gold answers.

    Train questions come from data/skeleton, or, where that file is not there, from the teacher's rationales (which
    lack the questions that the teacher never got right). A repeated question is taken once. Under protocol "sound" a
    train question that also stands in the test file is held out; under "paper" it stays. Six gold labels of the
    published last-letter test file are wrong; they are corrected unless `last_letter_labels` is "as published".
    Raises InputError for a file that is missing or cannot be read; `verify` tells whether the files are upstream's.
    """
    task = _official_task(task, protocol)
    _check_option("last_letter_labels", last_letter_labels, LABELS)
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

    Raises InputError, with file and row, as `rationales.read_array` does, and for a question that comes twice.
    """
    task = get_task(task)
    rows = read_array(path, {"instruction": str, "label": str}, {"output": str, "predict": str})
    questions = each_row(path, rows, lambda row: new_question(task.name, row["instruction"], row["label"], "dev"))
    _, repeated = _select(path, list(enumerate(questions, start=1)))
    if repeated:
        raise InputError(f"{repeated[0]}; remove one of both")
    return questions


def teacher_rationales(task: str | Task, protocol: str = "sound", *, root: Path | None = None) -> OfficialRationales:
    """The teacher's rationales (data/main/*_3_train.json; paper, section 4.1), three a question in most files.

    These rows have no completion, so `correct` is upstream's verdict. The prediction is the gold answer where
    `tasks.judge` finds it in the chain; else it is None, and `miss` says so. Under protocol "sound", rows whose
    question is not a training question (see `load_task`), or whose gold answer is another, are dropped and listed.
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
    """The samples of the paper's mentor (data/aug/*), right and wrong, three a training question.

    Each completion is judged anew by `tasks.judge`, in the protocol's mode; where upstream's verdict is another, the
    row is also listed in `disagreements`. Protocol "sound" drops rows as `teacher_rationales` does.
    """
    task = _official_task(task, protocol)
    _check_option("family", family, FAMILIES)
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


def prompt_rationales(task: str | Task, protocol: str = "sound", *, root: Path | None = None) -> OfficialRationales:
    """The teacher's stored outputs (data/prompt/*_6.json), six for most questions; their verdicts are ours.

    Nothing is published about their correctness, and the official evaluator never saw them without a completion, so
    they are read soundly under either protocol. A question without any output is listed in `dropped`; protocol
    "sound" drops rows as `teacher_rationales` does.
    """
    task = _official_task(task, protocol)
    path = official_file(f"data/prompt/{task.official}_6.json", root)
    rows, empty = [], []
    for number, (question, outputs) in enumerate(read_official_prompt(path, task.name), start=1):
        if not outputs:
            empty.append(f"{path}, row {number}: no stored output")
        for k, output in enumerate(outputs):
            found = judge(task, output, question.answer, question.question)
            verdict = {"prediction": found.prediction, "correct": found.correct, "miss": found.reason}
            rows.append(new_rationale(question, output, "teacher", STORED | {"index": k}, **verdict))
    kept = _trainable(task, path, rows, protocol, root)
    return replace(kept, dropped=(*empty, *kept.dropped))


def official_file(path: str, root: Path | None = None) -> Path:
    """Where an official file lies; InputError if it is not there."""
    place = Path(official_root() if root is None else root) / path
    if not place.is_file():
        raise InputError(
            f"{place}: no such file; run `python -m mentor_kd data fetch`, or let MENTOR_KD_OFFICIAL_DATA name a copy "
            "of the authors' repository (the folder that holds data/)"
        )
    return place


def _take(source: Path, paths: Iterable[str]) -> Iterator[tuple[str, bytes | None, str]]:
    """As `_download`, from a local copy; InputError before the first if it holds no official file, or a wrong one."""
    found = hashes(source)
    if not found:
        raise InputError(f"{source}: holds none of the official files; give the folder that holds data/main/ and so on")
    verify(source, "nothing was installed; take the file from the pinned commit, or remove it and fetch it")
    return ((path, (source / path).read_bytes() if path in found else None, "") for path in paths)


def _download(
    client: httpx.Client, base_url: str, paths: Iterable[str], attempts: int, wait: float
) -> Iterator[tuple[str, bytes | None, str]]:
    """Yield (path, content or None, why there is none; "" for a file that the server does not have)."""
    busy = tenacity.retry_if_result(lambda response: response.status_code in (429, 500, 502, 503, 504))
    retry = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential(multiplier=wait, max=30),
        retry=busy | tenacity.retry_if_exception_type(httpx.TransportError),
        retry_error_callback=lambda state: state.outcome.result(),
    )
    unreachable = ""
    for path in paths:
        if unreachable:  # do not wait for the same host again, file by file
            yield path, None, f"not tried: {unreachable}"
            continue
        try:
            response = retry(client.get, f"{base_url}/{path}")
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            unreachable = f"{base_url} cannot be reached ({error or type(error).__name__})"
            yield path, None, unreachable
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            yield path, None, f"{type(error).__name__}: {error}"
        else:
            if response.status_code == 200:
                yield path, response.content, ""
            else:
                yield path, None, "" if response.status_code == 404 else f"HTTP status {response.status_code}"


def _install(
    destination: Path, found: dict[str, str], contents: Iterable[tuple[str, bytes | None, str]], say: Callable
) -> FetchReport:
    """Write what has the right hash, and report on all; `found` are the hashes of what is there."""
    present = tuple(path for path, value in found.items() if value == upstream()[path])
    installed, missing, failed = [], [], {}
    for number, (path, content, why) in enumerate(contents, start=len(present) + 1):
        if content is not None and blob_hash(content) != upstream()[path]:
            why = f"git blob hash {blob_hash(content)}, expected {upstream()[path]}; not installed"
        elif content is None and not why and path in found:
            why = "the file there has a wrong hash, and the source has none; remove it or take it from elsewhere"
        outcome = f"failed: {why}"
        if why:
            failed[path] = why
        elif content is None:
            missing.append(path)
            outcome = "missing"
        else:
            try:
                write_bytes(destination / path, content)
            except OSError as error:
                raise InputError(f"{destination / path}: cannot be written ({error.strerror})") from None
            installed.append(path)
            outcome = "installed"
        say(f"[{number}/{len(upstream())}] {path}: {outcome}")
    return FetchReport(tuple(installed), present, tuple(missing), failed)


def _corrected(row: Question) -> Question:
    published, right = LAST_LETTER_LABELS.get(row.id, (None, None))
    return replace(row, answer=right) if row.answer == published else row


def _train_rows(task: Task, root: Path | None) -> tuple[Path, list[tuple[int, Question]]]:
    """The file of the train questions, and its questions with their row numbers; of rationales, a question's first."""
    skeleton = f"data/skeleton/{task.official}_train.json"
    if (Path(official_root() if root is None else root) / skeleton).is_file():
        path = official_file(skeleton, root)
        return path, list(enumerate(read_official_questions(path, task.name, "train"), start=1))
    path = official_file(f"data/main/{task.official}_3_train.json", root)
    first = {}
    for number, row in enumerate(read_official_questions(path, task.name, "train"), start=1):
        first.setdefault(row.id, (number, row))
    return path, list(first.values())


def _select(
    path: Path, rows: list[tuple[int, Question]], held_out: Container[str] = ()
) -> tuple[list[Question], list[str]]:
    """The first of each question that is not held out, and why each of the other rows was dropped."""
    kept, dropped, first = [], [], {}
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
    """The rows that may be trained on: all under "paper", those of the training questions under "sound"."""
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
    _check_option("protocol", protocol, PROTOCOLS)
    task = get_task(task)
    if not task.official:
        known = ", ".join(name for name, one in TASKS.items() if one.official)
        raise InputError(f"task: {task.name} has no official data; these have: {known}")
    return task


def _check_option(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name}: {value!r} is none of {', '.join(choices)}")
