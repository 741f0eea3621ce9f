"""Fitting: one model trained on what it is to learn, evaluated on the test questions, and saved with all that.

Mentors and students go through the same door; what a method needs beside rationales comes in as arguments.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import filelock

from ..data.answers import MARKER
from ..data.folder import protocol_of, questions, task_of, teacher_rows
from ..data.rationales import Rationale, target
from ..evaluation.metrics import DevScore, accuracy
from ..evaluation.predict import answer_cap, dev_score, predictions
from ..files import InputError, digest, finish, is_done, read_json, read_jsonl, sha256, write_json, write_jsonl
from ..models import loading, lora
from ..models.batches import Example, encode
from ..models.generation import Sampling
from ..models.loading import Loaded
from ..provenance import provenance
from ..training.consistency import encode_apart
from ..training.methods import Method
from ..training.settings import TrainSettings
from ..training.soft_labels import SoftLabels, SoftLabelSettings, cached, with_temperature
from ..training.train import Trained, clean_up, train

Stop = Callable[[], bool]
PROTOCOL = {
    "sound": "sound: epoch chosen on dev, never on the test questions",
    "paper": "paper: epoch chosen on the test questions; nothing held out; verdicts of the official evaluator's rules; "
    "padding in the divergence; no tau squared",
}


@dataclass(frozen=True)
class Lesson:
    """What one model is to learn, by which settings, and where from.

    `name` is the model to begin with; `mentor` the folder that holds the mentor and its soft labels, for methods with
    soft labels. `card` (name, method, seed) and `inputs` go into the model's card and manifest.
    """

    name: str
    rows: list[Rationale]
    settings: TrainSettings
    max_length: int
    card: dict
    inputs: dict
    method: Method = Method(("teacher",))
    mentor: Path | None = None


def encode_rows(
    loaded: Loaded, rows: list[Rationale], max_length: int, method: Method
) -> tuple[list[Example], list[str]]:
    """Rationales as a method's examples, and the ids of those that are too long."""
    if method.pairs:
        return encode_apart(loaded, rows, max_length)
    return encode(loaded, [(row.id, row.question, target(row)) for row in rows], max_length)


def fit(
    place: Path,
    folder: Path,
    lesson: Lesson,
    label: str,
    stop: Stop,
    watch: Callable[[dict], None] | None,
) -> dict:
    """Train a model on its lesson, evaluate it on the test split, and save all that with a card and a manifest.

    `folder` is the task's. Under protocol `sound` the dev questions choose the epoch; under `paper` the test questions
    do, by the official evaluator's verdict. Called again with the same inputs it returns the manifest; after a stop or
    a kill it goes on.
    """
    if not is_done(place, lesson.inputs):
        with alone(folder, place.name):
            if not is_done(place, lesson.inputs):  # another process may have done it in the meantime
                _fit(place, folder, lesson, label, stop, watch)
    return read_json(place / "manifest.json")


def alone(folder: Path, name: str) -> filelock.FileLock:
    """The lock under which one process at a time works on that part of a task's folder; it goes with the process."""
    (folder / ".locks").mkdir(exist_ok=True)
    return filelock.FileLock(folder / ".locks" / f"{name}.lock")


def _fit(
    place: Path,
    folder: Path,
    lesson: Lesson,
    label: str,
    stop: Stop,
    watch: Callable[[dict], None] | None,
) -> None:
    task, protocol, settings = task_of(folder), protocol_of(folder), lesson.settings
    _begin(place, lesson.inputs)
    loaded, rows = loading.load(lesson.name), lesson.rows
    examples, too_long = encode_rows(loaded, rows, lesson.max_length, lesson.method)
    if not examples:
        raise InputError(f"{label}: none of {len(rows)} rationale(s) is left to train on (too long: {len(too_long)})")
    greedy = Sampling(max_new_tokens=answer_cap(examples, lesson.max_length), batch_size=64)
    asked, verdict = ("test", "paper_correct") if protocol == "paper" else ("dev", "correct")
    choosing = questions(folder, asked)
    parameters = loaded.parameters
    if settings.lora.rank:
        loaded = replace(loaded, model=lora.adapt(loaded.model, settings.lora, settings.seed))
    trained_parameters = sum(p.numel() for p in loaded.model.parameters() if p.requires_grad)

    def score(to_beat: float | None) -> DevScore:
        return dev_score(loaded, choosing, task, greedy, to_beat, verdict)

    mentor = _mentor(lesson, loaded, examples, stop)
    on_policy = lesson.method.on_policy
    if lesson.method.tuned:
        trained = train(loaded, examples, score, settings, place / "work", mentor, label, stop, watch, on_policy)
    else:
        trained = Trained(steps=0, best_step=0, dev_accuracy=score(None).accuracy, seconds=0.0, padding=1.0)
        write_jsonl(place / "work" / "metrics.jsonl", [])
    if trained.stopped:
        raise KeyboardInterrupt(f"{label} was stopped at step {trained.steps}; run the same again to go on from there")
    apart = settings.lora.rank and not settings.lora.merge
    if settings.lora.rank and not apart:
        loaded = replace(loaded, model=lora.merged(loaded.model))
    answers = [{**row, "protocol": protocol} for row in predictions(loaded, questions(folder, "test"), task, greedy)]
    write_jsonl(place / "predictions.jsonl", answers)
    write_jsonl(place / "metrics.jsonl", [row for _, row in read_jsonl(place / "work" / "metrics.jsonl")])
    test = accuracy(row[verdict] for row in answers)
    facts = {
        "base": lesson.name,
        "parameters": parameters,
        "trained_parameters": trained_parameters,
        "rationales": len(rows),
        "trained_on": len(examples),
        "too_long": too_long,
        "max_length": lesson.max_length,
        "max_new_tokens": greedy.max_new_tokens,
        "training": asdict(trained),
        "protocol": protocol,
        "chosen_on": asked,
        "test": asdict(test),
        **lesson.card,
    }
    data = lesson.inputs["data"]
    hashes = {"questions": sha256(folder / "collected" / "questions.jsonl")[:16], **data}
    hashes["rows"] = digest(data["rows"])[:16]  # the manifest lists them
    accuracy_text = f"{test.value:.1f}% of {test.n} test questions (Wilson 95%: {test.low:.1f} to {test.high:.1f})"
    card = {
        "summary": f"Trained by {lesson.card['method']} on {task.name}; answers as `rationale {MARKER} answer`.",
        "task": asdict(task),
        **facts,
        "protocol": PROTOCOL[protocol],
        "accuracy": accuracy_text,
        "settings": asdict(settings),
        "data_hashes": hashes,
        "provenance": provenance(),
    }
    loading.save(place, loaded, card, adapters_of=lesson.name if apart else "")
    weights = lora.WEIGHTS if apart else "model.safetensors"
    finish(place, lesson.inputs, [weights, "predictions.jsonl", "metrics.jsonl"], **facts)
    clean_up(place / "work")


def _mentor(lesson: Lesson, student: Loaded, examples: list[Example], stop: Stop) -> Loaded | SoftLabels | None:
    """The mentor's soft labels for these examples: none, from the cache under soft_labels/, or the live mentor.

    The cache holds the targets' own positions only: padding, and texts that are yet to be written, need the mentor
    itself. So does any divergence but KL(mentor || student) where only the likeliest tokens are kept as they are.
    """
    if lesson.mentor is None:
        return None
    place, settings = lesson.mentor / "mentor", lesson.settings
    loss = settings.loss
    if lesson.method.on_policy or loss.mask == "as published" or (loss.beta > 0 and settings.soft_label_k):
        return loading.load(place)
    vocabulary = min(student.vocabulary, loading.outline(place).vocabulary)
    kept = with_temperature(SoftLabelSettings(settings.soft_label_k), loss.soft_label_temperature)
    where, identity = lesson.mentor / "soft_labels", loading.identity(place)

    def basis() -> list[Example]:  # the same for all methods, so that no student's labels depend on who came first
        return encode_rows(student, teacher_rows(lesson.mentor), lesson.max_length, Method(("teacher",)))[0]

    labels = cached(where, identity, lambda: loading.load(place), vocabulary, examples, kept, stop=stop, basis=basis)
    return loading.load(place) if loss.beta > 0 and labels.settings.k else labels  # a mentor without an exact form


def _begin(place: Path, inputs: dict) -> None:
    """Make ready for a step: unfinished work of the same inputs stays, anything else is removed."""
    begun = place / "work" / "inputs.json"
    if place.exists() and not (begun.exists() and read_json(begun) == inputs):
        shutil.rmtree(place)
    write_json(begun, inputs)


def never() -> bool:
    """The stop that never comes."""
    return False
