"""The steps of the story, each from files to files in a task's folder: collect, mentor, augment, filter, distil.

A step writes its manifest last; called again with the same inputs it does nothing, after a kill it goes on. What a
step needs and does not find, `ensure` makes at smoke size, so that every notebook runs alone.
"""

import dataclasses
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas
import yaml

from . import fast, filters, models
from .collecting import CollectSettings, collect, judged, missed, protocol_of, questions, task_of, teacher_rows
from .confidence import confidences
from .files import InputError, finish, is_done, read_json, read_text, sha256, write_text
from .filters import FilterSettings
from .fitting import Lesson, Stop, alone, encode_rows, fit
from .generation import Sampling, generate_to
from .methods import METHODS, SELF_MENTOR, USUAL, get_method
from .pairs import most_diverse
from .rationales import Rationale, read_rationales, write_rationales
from .tasks import TASKS
from .train_settings import settings_from, under
from .training import TrainSettings, plan_batches
from .verdicts import read_verdicts


def never() -> bool:
    """The stop that never comes."""
    return False


def train_mentor(
    folder: Path,
    mentor: str,
    settings: TrainSettings,
    max_length: int = 512,
    stop: Stop = never,
    watch: Callable[[dict], None] | None = None,
) -> dict:
    """Train the mentor on the teacher's correct rationales, by cross-entropy, into mentor/."""
    folder = Path(folder)
    rows = [row for row in filters.apply(teacher_rows(folder), FilterSettings(), {}, task_of(folder)) if row.kept]
    data = {
        "teacher": sha256(folder / "collected" / "teacher.jsonl")[:16],
        "rows": [row.id for row in rows],
    }
    settings = under(protocol_of(folder), settings)
    inputs = {
        "base": models.identity(mentor),
        "settings": asdict(settings),
        "max_length": max_length,
        "data": data,
        "questions": sha256(folder / "collected" / "questions.jsonl"),
    }
    card = {"name": f"mentor for {task_of(folder).name}", "method": "mentor", "seed": settings.seed}
    lesson = Lesson(mentor, rows, settings, max_length, card, inputs)
    return fit(folder / "mentor", folder, lesson, f"mentor {mentor}", stop, watch)


def augment(
    folder: Path,
    sampling: Sampling,
    stop: Stop = never,
    backend: str = fast.REFERENCE,
    only_missed: bool = False,
) -> None:
    """Have the mentor answer every training question several times, into augmented/mentor.jsonl.

    `backend` is one of fast.BACKENDS; which it was stands in the manifest and in each row's sampler. With
    `only_missed` only the questions are asked of which the teacher has no right rationale.
    """
    folder, place = Path(folder), Path(folder) / "augmented"
    inputs = {
        "mentor": models.identity(folder / "mentor"),
        "sampling": asdict(sampling),
        "backend": backend,
        "questions": sha256(folder / "collected" / "questions.jsonl"),
        "protocol": protocol_of(folder),  # by whose rules an answer is found and judged
    }
    if only_missed:
        inputs["only_missed"] = sha256(folder / "collected" / "teacher.jsonl")
    if is_done(place, inputs):
        return
    fast.check_backend(backend)
    task = task_of(folder)
    # any other backend than the reference brings the weights itself
    loaded = (models.load if backend == fast.REFERENCE else models.outline)(folder / "mentor")
    asked = missed(folder) if only_missed else questions(folder, "train")
    base = read_json(folder / "mentor" / "manifest.json")["base"]
    texts = generate_to(
        place / "shards",
        loaded,
        [(q.id, q.question) for q in asked],
        sampling,
        {"mentor": inputs["mentor"], "backend": backend},
        stop=stop,
        backend=fast.get_backend(backend, loaded, folder / "mentor" / backend),
    )
    by_id = {q.id: q for q in asked}
    rows = []
    for text in texts:
        sampler = {
            "model": f"mentor {base}" + (f" by {backend}" if backend != fast.REFERENCE else ""),
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "seed": sampling.seed,
            "index": text["index"],
        }
        rows.append(judged(by_id[text["id"]], text["text"], "mentor", sampler, task, inputs["protocol"]))
    write_rationales(place / "mentor.jsonl", rows)
    finish(place, inputs, ["mentor.jsonl"], rows=len(rows))


def filter_rationales(folder: Path, settings: FilterSettings) -> pandas.DataFrame:
    """Apply filters and verdicts to the teacher's and the mentor's rationales, into rationales.jsonl; the counts."""
    folder = Path(folder)
    rows = teacher_rows(folder) + read_rationales(folder / "augmented" / "mentor.jsonl")
    kept = _filtered(folder, rows, settings)
    write_rationales(folder / "rationales.jsonl", kept)
    write_text(folder / "filters.yaml", yaml.safe_dump(asdict(settings)))
    return _write_counts(folder, kept)


def _write_counts(folder: Path, rows: list[Rationale]) -> pandas.DataFrame:
    """Count what is kept and why the rest is dropped; the file is touched only if the counts have changed."""
    table = filters.counts(rows)
    path, text = folder / "filter_counts.csv", table.to_csv()
    if not path.exists() or read_text(path) != text:
        write_text(path, text)
    return table


def rationales(folder: Path) -> list[Rationale]:
    """All rationales with what the filters and verdicts said; verdicts given since are honoured."""
    folder = Path(folder)
    rows = read_rationales(folder / "rationales.jsonl")
    settings = FilterSettings(**yaml.safe_load((folder / "filters.yaml").read_text(encoding="utf-8")))
    return _filtered(folder, rows, settings)


def _filtered(folder: Path, rows: list[Rationale], settings: FilterSettings) -> list[Rationale]:
    """The rows under the settings, the folder's verdicts and, where it is asked for, its mentor's confidence."""
    confidence = confidences(folder, rows) if settings.min_confidence is not None else None
    return filters.apply(rows, settings, read_verdicts(folder / "verdicts.jsonl"), task_of(folder), confidence)


def rows_for(rows: list[Rationale], method: str) -> list[Rationale]:
    """What a method learns from: the kept rationales of its sources, or each question's bare answer.

    For pairs these are the three most diverse of each question. For bare answers `rows` must hold a rationale, kept or
    not, of every training question; the mentor's do.
    """
    row = get_method(method)
    if not row.sources:
        first: dict[str, Rationale] = {}
        for one in rows:
            first.setdefault(one.question_id, one)
        return [dataclasses.replace(one, id=one.question_id, rationale="", original="") for one in first.values()]
    kept = [one for one in rows if one.kept and one.source in row.sources]
    return most_diverse(kept) if row.pairs else kept


def self_mentor(folder: Path, student: str, stop: Stop = never) -> Path:
    """Train a mentor of the student's size as the run's mentor was trained, and have it augment, into self-mentor/.

    The folder is a task's folder of its own: the same questions, teacher's rationales, verdicts and filters, and the
    settings that mentor/ and augmented/ were made with. With the mentor's own base all that is in it is the same.
    """
    place = folder / SELF_MENTOR
    (place / "collected").mkdir(parents=True, exist_ok=True)
    given = ["task.json", "questions.jsonl", "teacher.jsonl"]
    for name in ["params.yaml", "filters.yaml", "verdicts.jsonl", *(f"collected/{name}" for name in given)]:
        if not (folder / name).exists():
            (place / name).unlink(missing_ok=True)
        elif not (place / name).exists() or sha256(place / name) != sha256(folder / name):
            shutil.copyfile(folder / name, place / name)
    mentor = read_json(folder / "mentor" / "manifest.json")["inputs"]
    augmented = read_json(folder / "augmented" / "manifest.json")["inputs"]
    if "sampling" not in augmented:
        raise InputError(f"{SELF_MENTOR} writes its own rationales; here another augmenter wrote them (notebook 03)")
    train_mentor(place, student, settings_from(mentor["settings"]), mentor["max_length"], stop)
    augment(place, Sampling(**augmented["sampling"]), stop, augmented["backend"], "only_missed" in augmented)
    rows = teacher_rows(place) + read_rationales(place / "augmented" / "mentor.jsonl")
    kept = read_rationales(place / "rationales.jsonl") if (place / "rationales.jsonl").exists() else []
    if [(one.id, one.original) for one in kept] != [(one.id, one.original) for one in rows]:
        filter_rationales(place, FilterSettings(**yaml.safe_load(read_text(place / "filters.yaml"))))
    return place


def source(folder: Path, method: str, student: str, stop: Stop = never) -> Path:
    """The folder whose mentor and rationales a method learns from; that of a self-mentor is made where it is due."""
    folder = Path(folder)
    if get_method(method).mentor != SELF_MENTOR:
        return folder
    with alone(folder, SELF_MENTOR):  # students of several processes share it
        return self_mentor(folder, student, stop)


def planned(rows: list[Rationale], method: str, settings: TrainSettings, student: str, max_length: int) -> int:
    """Optimiser steps of a method's student, rationales that are too long for it left out as in training."""
    outline, read = models.outline(student), get_method(method).steps_of or method
    examples, _ = encode_rows(outline, rows_for(rows, read), max_length, get_method(read))
    return plan_batches(examples, outline.encoder_decoder, settings).steps


def matched(
    rows: list[Rationale], method: str, settings: TrainSettings, student: str, max_length: int
) -> TrainSettings:
    """The settings with as many optimiser steps as the method that this one controls, where it controls one."""
    if not get_method(method).steps_of:
        return settings
    return dataclasses.replace(settings, steps=planned(rows, method, settings, student, max_length))


def _set_aside(folder: Path, inputs: dict) -> None:
    """Move students of other settings or data to students/earlier/, so that no table mixes them with this one."""

    def what(manifest: dict) -> dict:
        settings = {k: v for k, v in manifest["settings"].items() if k not in ("seed", "steps")}
        return {"settings": settings, "texts": manifest["data"]["texts"]} | {
            k: manifest[k] for k in ("base", "max_length", "questions")
        }

    for place in sorted((folder / "students").glob("*-seed*")):
        manifest = place / "manifest.json"
        if manifest.exists() and what(read_json(manifest)["inputs"]) != what(inputs):
            earlier = folder / "students" / "earlier" / f"{place.name}-{sha256(manifest)[:8]}"
            earlier.parent.mkdir(exist_ok=True)
            if earlier.exists():
                shutil.rmtree(earlier)
            place.rename(earlier)
            print(f"{place.name} was trained with other settings or data: moved to {earlier.relative_to(folder)}")


def distil(
    folder: Path,
    method: str,
    student: str,
    settings: TrainSettings,
    max_length: int = 512,
    stop: Stop = never,
    watch: Callable[[dict], None] | None = None,
) -> dict:
    """Train one student by one method with one seed, into students/<method>-seed<k>/; returns its manifest."""
    folder, row = Path(folder), get_method(method)
    home, settings = source(folder, method, student, stop), under(protocol_of(folder), settings)
    every = rationales(home)
    _write_counts(home, every)  # verdicts were perhaps given since
    rows, row_settings = rows_for(every, method), matched(every, method, settings, student, max_length)
    data = {"rows": [one.id for one in rows], "texts": sha256(folder / "rationales.jsonl")[:16]}
    inputs = {
        "method": method,
        "base": models.identity(student),
        "settings": asdict(row_settings),
        "max_length": max_length,
        "data": data,
        "questions": sha256(folder / "collected" / "questions.jsonl"),
        "mentor": models.identity(home / "mentor") if row.soft_labels else None,
    }
    card = {"name": f"{method} student for {task_of(folder).name}", "method": method, "seed": settings.seed}
    place, start = folder / "students" / f"{method}-seed{settings.seed}", student
    _set_aside(folder, inputs)
    if row.soft_labels and not is_done(place, inputs):
        without = [name for name, one in METHODS.items() if not one.soft_labels]
        models.require_same_tokenizer(models.outline(home / "mentor"), models.outline(student), without)
    if row.starts_from:
        distil(folder, row.starts_from, student, settings, max_length, stop)
        before = folder / "students" / f"{row.starts_from}-seed{settings.seed}"
        start, inputs["starts_from"] = str(before), models.identity(before)
        card |= {"base": student, "starts_from": before.name}
    lesson = Lesson(start, rows, row_settings, max_length, card, inputs, row, home if row.soft_labels else None)
    return fit(place, folder, lesson, f"{method}, seed {settings.seed}", stop, watch)


# What `ensure` makes where a notebook's input is missing: small enough for a few seconds on a laptop.
SMOKE_COLLECT = CollectSettings(train_questions=40, dev_questions=16, test_questions=24)
SMOKE_TRAINING = TrainSettings(epochs=2, batch_size=16, learning_rate=3e-3)
SMOKE_SAMPLING = Sampling(n=3, temperature=0.7, top_k=50, max_new_tokens=80)
SMOKE_MODEL = "sandbox-small"


def ensure(folder: Path, needed: str) -> None:
    """Make what is missing up to "collected", "mentor", "augmented", "rationales" or "students", at smoke size.

    Questions come from the sandbox or, for one of the paper's tasks, from its data. InputError for any other task.
    """
    folder = Path(folder)
    if not (folder / "collected" / "manifest.json").exists() and folder.name not in TASKS:
        raise InputError(f"task {folder.name!r} is your own: run notebook 01 first, with data and answer_type")
    source = "official" if folder.name in TASKS and TASKS[folder.name].official else "sandbox"
    smoke = dataclasses.replace(SMOKE_COLLECT, data=source)

    def students() -> None:
        for method in USUAL:
            distil(folder, method, SMOKE_MODEL, SMOKE_TRAINING)

    steps = {
        "collected": ("collected/manifest.json", lambda: collect(folder, folder.name, smoke)),
        "mentor": ("mentor/manifest.json", lambda: train_mentor(folder, SMOKE_MODEL, SMOKE_TRAINING)),
        "augmented": ("augmented/manifest.json", lambda: augment(folder, SMOKE_SAMPLING)),
        "rationales": ("rationales.jsonl", lambda: filter_rationales(folder, FilterSettings())),
        "students": ("students/*/manifest.json", students),
    }
    for name, (result, make) in steps.items():
        if not list(folder.glob(result)):
            started = time.monotonic()
            make()
            seconds = time.monotonic() - started
            print(f"{name} was missing in {folder.parent.name}/{folder.name}: made at smoke size in {seconds:.0f} s")
        if name == needed:
            return
    raise InputError(f"nothing is called {needed!r}; there are {', '.join(steps)}")
