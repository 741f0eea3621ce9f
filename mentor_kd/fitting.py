"""Fitting: one model trained on what it is to learn, evaluated on the test questions, and saved with all that.

Mentors and students go through the same door; what a method needs beside rationales comes in as arguments.
"""

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import lora, models
from .batches import Example, encode
from .collecting import protocol_of, questions, task_of
from .evaluation import accuracy
from .files import InputError, digest, finish, is_done, read_json, read_jsonl, sha256, write_json, write_jsonl
from .generation import Sampling, Text, generate
from .methods import Method
from .models import Loaded
from .pairs import encode_apart
from .provenance import provenance
from .rationales import Question, Rationale, target
from .soft_labels import SoftLabels, SoftLabelSettings, cached, with_temperature
from .tasks import MARKER, Task, judge
from .train_settings import TrainSettings
from .training import clean_up, train

Stop = Callable[[], bool]
SELECTION = {
    "sound": "sound: epoch chosen on dev, never on the test questions",
    "paper": "paper: epoch chosen on the test questions, nothing held out, padding in the divergence, no tau squared",
}


def _encode(loaded: Loaded, rows: list[Rationale], max_length: int) -> tuple[list[Example], list[str]]:
    return encode(loaded, [(row.id, row.question, target(row)) for row in rows], max_length)


def answer_cap(examples: list[Example], longest: int) -> int:
    """Tokens that an answer may have: a little above the 99.5th percentile of what the model was taught."""
    lengths = sorted(len(e.target) for e in examples)
    usual = lengths[min(len(lengths) - 1, math.floor(0.995 * len(lengths)))]
    return min(longest, math.ceil(1.2 * usual) + 4)


def _prediction(question: Question, text: Text, task: Task) -> dict:
    found = judge(task, text.text, question.answer, question.question)
    as_paper = judge(task, text.text, question.answer, question.question, mode="paper")
    return {
        "id": question.id,
        "prediction": found.prediction,
        "answer": question.answer,
        "correct": found.correct,
        "miss": found.reason,
        "text": text.text,
        "finished": text.finished,
        "split": question.split,
        "paper_correct": as_paper.correct,
    }


def predict(loaded: Loaded, asked: list[Question], task: Task, sampling: Sampling) -> list[dict]:
    """Prediction rows for questions with known answers, by greedy decoding unless `sampling` says otherwise."""
    texts = generate(loaded, [q.question for q in asked], sampling)
    return [_prediction(q, text[0], task) for q, text in zip(asked, texts, strict=True)]


def _fit(
    place: Path,
    folder: Path,
    name: str,
    rows: list[Rationale],
    settings: TrainSettings,
    max_length: int,
    soft: bool,
    card: dict,
    inputs: dict,
    label: str,
    stop: Stop,
    watch: Callable[[dict], None] | None,
) -> dict:
    """Train a model on rationale rows, evaluate it on the test split, and save all that with a card and a manifest."""
    task = task_of(folder)
    outputs = ["model.safetensors", "predictions.jsonl", "metrics.jsonl"]
    if is_done(place, inputs):
        return read_json(place / "manifest.json")
    _begin(place, inputs)
    loaded = models.load(name)
    examples, too_long = _encode(loaded, rows, max_length)
    if not examples:
        raise InputError(f"{label}: none of {len(rows)} rationale(s) is left to train on (too long: {len(too_long)})")
    greedy = Sampling(max_new_tokens=answer_cap(examples, max_length), batch_size=64)
    dev = questions(folder, "dev")

    def dev_accuracy() -> float:
        return accuracy(row["correct"] for row in predict(loaded, dev, task, greedy)).value

    mentor = _soft_labels(folder, loaded, examples, settings, stop) if soft else None
    trained = train(loaded, examples, dev_accuracy, settings, place / "work", mentor, label, stop, watch)
    if trained.stopped:
        raise KeyboardInterrupt(f"{label} was stopped at step {trained.steps}; run the same again to go on from there")
    predictions = predict(loaded, questions(folder, "test"), task, greedy)
    write_jsonl(place / "predictions.jsonl", predictions)
    write_jsonl(place / "metrics.jsonl", [row for _, row in read_jsonl(place / "work" / "metrics.jsonl")])
    test = accuracy(row["correct"] for row in predictions)
    facts = {
        "base": name,
        "parameters": loaded.parameters,
        "rationales": len(rows),
        "trained_on": len(examples),
        "too_long": too_long,
        "max_length": max_length,
        "max_new_tokens": greedy.max_new_tokens,
        "training": asdict(trained),
        "test": asdict(test),
        **card,
    }
    hashes = {"questions": sha256(folder / "collected" / "questions.jsonl")[:16], **inputs["data"]}
    hashes["rows"] = digest(inputs["data"]["rows"])[:16]  # the manifest lists them
    models.save(
        place,
        loaded,
        {
            "summary": f"Trained by {card['method']} on {task.name}; answers as `rationale {MARKER} answer`.",
            "task": asdict(task),
            "protocol": "sound: epoch chosen on dev, never on the test questions",
            "accuracy": f"{test.value:.1f}% of {test.n} test questions (Wilson 95%: {test.low:.1f} to {test.high:.1f})",
            **facts,
            "settings": asdict(settings),
            "data_hashes": hashes,
            "provenance": provenance(),
        },
    )
    finish(place, inputs, outputs, **facts)
    clean_up(place / "work")
    return read_json(place / "manifest.json")


def _soft_labels(
    folder: Path, student: Loaded, examples: list[Example], settings: TrainSettings, stop: Stop
) -> Loaded | SoftLabels:
    """The mentor's soft labels for these examples, from the cache under soft_labels/; or the live mentor for k = 0."""
    place = folder / "mentor"
    if not settings.soft_label_k:
        return models.load(place)
    vocabulary = min(student.vocabulary, models.outline(place).vocabulary)
    kept = with_temperature(SoftLabelSettings(settings.soft_label_k), settings.loss.soft_label_temperature)
    where, identity = folder / "soft_labels", models.identity(place)
    return cached(where, identity, lambda: models.load(place), vocabulary, examples, kept, stop=stop)


def _begin(place: Path, inputs: dict) -> None:
    """Make ready for a step: unfinished work of the same inputs stays, anything else is removed."""
    begun = place / "work" / "inputs.json"
    if place.exists() and not (begun.exists() and read_json(begun) == inputs):
        shutil.rmtree(place)
    write_json(begun, inputs)


