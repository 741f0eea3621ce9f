"""Distillation: train one student by one method with one seed.

Reads collected/, rationales.jsonl with its filters and verdicts and, for methods with soft labels, mentor/. Writes the
student to students/<method>-seed<k>/ and updates filter_counts.csv; students trained with other settings or data are
moved to students/earlier/. The method self-mentor also writes self-mentor/, a task's folder within the task's folder.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from .. import manifests
from ..data.folder import protocol_of, task_of
from ..data.rationales import Rationale
from ..disk import writes_files
from ..files import InputError, build, read_record, read_settings, sha256
from ..filtering.filters import FilterSettings
from ..manifests import MANIFEST, is_done, require_unchanged, warn_of_changes
from ..models import loading
from ..models.generation import Sampling
from ..training.consistency import most_diverse
from ..training.methods import METHODS, SELF_MENTOR, get_method
from ..training.settings import TrainSettings, recorded, settings_from, under
from ..training.soft_label_cache import discard_damaged
from ..training.train import plan_batches
from .augment import Augmenter, augment
from .collect import RECOLLECT
from .filter import filter_rationales, is_current, rationales, refresh, write_counts
from .fit import Lesson, Stop, alone, encode_rows, fit, never
from .mentor import train_mentor
from .replacing import require_permission


def rows_for(rows: list[Rationale], method: str) -> list[Rationale]:
    """What a method learns from: the kept rationales of its sources, or each question's bare answer.

    For pairs, these are the three most diverse per question. For bare answers, `rows` must contain a rationale, kept or
    not, for every training question, as the mentor's do.
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
    """Train a mentor of the student's size like the run's mentor, and let it augment, into self-mentor/.

    That is a complete task's folder with the same questions, teacher rationales, verdicts and filters, and the settings
    of mentor/ and augmented/. If the student is the mentor's base model, its contents are the same as the run's.
    """
    place = folder / SELF_MENTOR
    (place / "collected").mkdir(parents=True, exist_ok=True)
    given = ["task.json", "questions.jsonl", "teacher.jsonl"]
    for name in ["params.yaml", "filters.yaml", "verdicts.jsonl", *(f"collected/{name}" for name in given)]:
        if not (folder / name).exists():
            (place / name).unlink(missing_ok=True)
        elif not (place / name).exists() or sha256(place / name) != sha256(folder / name):
            shutil.copyfile(folder / name, place / name)
    mentor = read_record(folder / "mentor" / "manifest.json", inputs=dict)["inputs"]
    augmented = read_record(folder / "augmented" / "manifest.json", inputs=dict)["inputs"]
    if "sampling" not in augmented:
        raise InputError(
            f"{SELF_MENTOR} requires augmented/ to be written by the mentor; run notebook 03 with augmenter 'mentor'"
        )
    # it follows the mentor's settings, so it is replaced when they were
    train_mentor(place, student, settings_from(mentor["settings"]), mentor["max_length"], stop, replace=True)
    mentor_again = Augmenter(only_missed="only_missed" in augmented)
    augment(place, Sampling(**augmented["sampling"]), mentor_again, augmented["backend"], stop, replace=True)
    if not is_current(place):
        filters = build(FilterSettings, read_settings(place / "filters.yaml"), place / "filters.yaml")
        filter_rationales(place, filters, replace=True)
    return place


def source(folder: Path, method: str, student: str, stop: Stop = never) -> Path:
    """The folder whose mentor and rationales a method learns from; a self-mentor is trained if needed."""
    folder = Path(folder)
    if get_method(method).mentor != SELF_MENTOR:
        return folder
    with alone(folder, SELF_MENTOR):  # students in several processes share it
        return self_mentor(folder, student, stop)


def planned(rows: list[Rationale], method: str, settings: TrainSettings, student: str, max_length: int) -> int:
    """Optimiser steps of a method's student; rationales that are too long are left out, as in training."""
    outline = loading.in_format(loading.outline(student), settings.prompt_format)
    read = get_method(method).steps_of or method
    examples, _ = encode_rows(outline, rows_for(rows, read), max_length, get_method(read))
    return plan_batches(examples, outline.encoder_decoder, settings).steps


def matched(
    rows: list[Rationale], method: str, settings: TrainSettings, student: str, max_length: int
) -> TrainSettings:
    """The settings, with the number of optimiser steps of the method named by `steps_of`, if there is one."""
    if not get_method(method).steps_of:
        return settings
    return dataclasses.replace(settings, steps=planned(rows, method, settings, student, max_length))


def _own(inputs: dict) -> dict:
    """The settings among a student's inputs; its texts and questions are data."""
    return {name: value for name, value in inputs.items() if name not in ("texts", "questions")}


def _set_aside(folder: Path, inputs: dict, replace: bool) -> None:
    """Move students with other settings or data to students/earlier/, so that no table mixes them with this one.

    Raises InputError if the settings differ and `replace` is False.
    """

    def what(manifest: dict) -> dict:
        settings = {k: v for k, v in manifest["settings"].items() if k not in ("seed", "steps")}
        return {"settings": settings, "texts": manifest["data"]["texts"]} | {
            k: manifest[k] for k in ("base", "max_length", "questions")
        }

    for place in sorted((folder / "students").glob("*-seed*")):
        manifest = manifests.read(place)
        if manifest and what(manifest["inputs"]) != what(inputs):
            before, now = (what(json.loads(json.dumps(one))) for one in (manifest["inputs"], inputs))
            require_permission(place, _own(before), _own(now), replace)
            earlier = folder / "students" / "earlier" / f"{place.name}-{sha256(place / MANIFEST)[:8]}"
            earlier.parent.mkdir(exist_ok=True)
            if earlier.exists():
                shutil.rmtree(earlier)
            place.rename(earlier)
            print(f"{place.name} was trained with other settings or data: moved to {earlier.relative_to(folder)}")


@writes_files
def distill(
    folder: Path,
    method: str,
    student: str,
    settings: TrainSettings,
    max_length: int = 512,
    stop: Stop = never,
    watch: Callable[[dict], None] | None = None,
    replace: bool = True,
) -> dict:
    """Train one student by one method with one seed, into students/<method>-seed<k>/; returns its manifest.

    Raises InputError if the run's students have other settings, unless `replace` is True; they are moved to
    students/earlier/ then, as they are when the rationales were replaced.
    """
    folder, row = Path(folder), get_method(method)
    require_unchanged(folder / "collected", RECOLLECT)
    refresh(folder)
    home, settings = source(folder, method, student, stop), under(protocol_of(folder), settings)
    every = rationales(home)
    write_counts(home, every)  # there may be new verdicts
    rows, row_settings = rows_for(every, method), matched(every, method, settings, student, max_length)
    data = {"rows": [one.id for one in rows], "texts": sha256(folder / "rationales.jsonl")[:16]}
    inputs = {
        "method": method,
        "base": loading.identity(student),
        "settings": recorded(row_settings),
        "max_length": max_length,
        "data": data,
        "questions": sha256(folder / "collected" / "questions.jsonl"),
        "mentor": loading.identity(home / "mentor") if row.soft_labels else None,
    }
    card = {"name": f"{method} student for {task_of(folder).name}", "method": method, "seed": settings.seed}
    place, start = folder / "students" / f"{method}-seed{settings.seed}", student
    _set_aside(folder, inputs, replace)
    if row.soft_labels:
        warn_of_changes(home / "mentor")
        discard_damaged(home / "soft_labels")
    if row.soft_labels and not is_done(place, inputs):
        without = [name for name, one in METHODS.items() if not one.soft_labels]
        own = loading.in_format(loading.outline(student), settings.prompt_format)
        loading.require_same_tokenizer(loading.outline(home / "mentor"), own, without)
    if row.starts_from:
        distill(folder, row.starts_from, student, settings, max_length, stop, replace=replace)
        before = folder / "students" / f"{row.starts_from}-seed{settings.seed}"
        start, inputs["starts_from"] = str(before), loading.identity(before)
        card |= {"base": student, "starts_from": before.name}
    lesson = Lesson(start, rows, row_settings, max_length, card, inputs, row, home if row.soft_labels else None)
    return fit(place, folder, lesson, f"{method}, seed {settings.seed}", stop, watch)
