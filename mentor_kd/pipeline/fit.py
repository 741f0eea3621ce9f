"""Fitting: train one model on rationales, evaluate it on the test questions, and save it with a card and a manifest.

The same code fits mentors and students; what a method needs in addition to rationales is part of the `Lesson`.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import filelock

from ..cards import README
from ..data.answers import MARKER
from ..data.folder import protocol_of, questions, task_of, teacher_rows
from ..data.rationales import Rationale, target
from ..data.special_tokens import tokens_of, trainable
from ..data.tasks import TASKS, Task
from ..evaluation.metrics import DevScore, Interval, accuracy
from ..evaluation.predict import answer_cap, dev_score, predictions
from ..files import InputError, digest, read_json, read_jsonl, read_record, sha256, write_json, write_jsonl
from ..manifests import MANIFEST, discard_changed, finish, is_done, problems
from ..models import loading, lora
from ..models.batches import Example, encode
from ..models.card import licence_of
from ..models.generation import Sampling
from ..models.loading import Loaded
from ..provenance import provenance
from ..training.checkpoints import require_finite
from ..training.consistency import encode_apart
from ..training.methods import Method
from ..training.settings import TrainSettings, recorded
from ..training.soft_label_cache import SoftLabels, SoftLabelSettings, with_temperature
from ..training.soft_labels import cached
from ..training.train import Trained, train

Stop = Callable[[], bool]
Watch = Callable[[dict], None] | None
PROTOCOL = {
    "sound": "sound: epoch chosen on dev, never on the test questions",
    "paper": "paper: epoch chosen on the test questions; nothing held out; verdicts of the official evaluator's rules; "
    "padding in the divergence; no tau squared",
}

AT_ZERO = "More epochs, a higher learning rate, a larger model or easier data may help."


@dataclass(frozen=True)
class Lesson:
    """What one model is trained on, with which settings, and from which starting point.

    `name` is the model to start from. `mentor` is the folder with the mentor and its soft labels, for methods with soft
    labels. `card` (name, method, seed) and `inputs` go into the model's card and manifest.
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
) -> tuple[list[Example], dict[str, list[str]]]:
    """Rationales encoded as examples for a method, and the ids of those left out: too long, or with a special token.

    A special token of the model's tokenizer inside a rationale would end it early; at its end it is removed.
    """
    rows, special = trainable(rows, tokens_of(loaded.tokenizer))
    if method.pairs:
        examples, too_long = encode_apart(loaded, rows, max_length)
    else:
        examples, too_long = encode(loaded, [(row.id, row.question, target(row)) for row in rows], max_length)
    return examples, {"too_long": too_long, "special_tokens": special}


def fit(place: Path, folder: Path, lesson: Lesson, label: str, stop: Stop, watch: Watch) -> dict:
    """Train a model on its lesson, evaluate it on the test split, and save it with a card; returns the manifest.

    `folder` is the task's. Under protocol `sound` the dev questions choose the epoch; under `paper` the test questions
    do, by the official evaluator's verdict. Called again with the same inputs it returns the manifest; after a stop or
    a kill it resumes. Raises InputError if no rationale is left to train on, and KeyboardInterrupt after a stop.
    """
    if not is_done(place, lesson.inputs):
        with alone(folder, place.name):
            if set(problems(place)) == {README}:  # it only repeats the card
                loading.save_card(place, loading.outline(place), read_json(place / loading.CARD))
            if not is_done(place, lesson.inputs):  # another process may have finished it in the meantime
                discard_changed(place)
                _fit(place, folder, lesson, label, stop, watch)
    shutil.rmtree(place / "work", ignore_errors=True)  # after the manifest, so that a kill loses nothing
    return read_record(place / "manifest.json")


def alone(folder: Path, name: str) -> filelock.FileLock:
    """The lock for working on this part of a task's folder, one process at a time; released if the process ends."""
    (folder / ".locks").mkdir(exist_ok=True)
    return filelock.FileLock(folder / ".locks" / f"{name}.lock")


def _fit(place: Path, folder: Path, lesson: Lesson, label: str, stop: Stop, watch: Watch) -> None:
    ready = _prepare(place, folder, lesson, label)
    trained = _train(ready, label, stop, watch)
    if lesson.settings.lora.rank and lesson.settings.lora.merge:
        ready = replace(ready, loaded=replace(ready.loaded, model=lora.merged(ready.loaded.model)))
    require_finite(ready.loaded.model, label)
    test = _evaluate(ready)
    _save(ready, trained, test)


@dataclass(frozen=True)
class _Ready:
    """A lesson with everything that is known before training starts."""

    place: Path
    folder: Path
    lesson: Lesson
    task: Task
    protocol: str
    loaded: Loaded  # with LoRA adapters if the lesson uses them
    parameters: int  # without adapters
    trained_parameters: int
    examples: list[Example]
    left_out: dict[str, list[str]]  # ids of the rationales that are left out, by reason
    greedy: Sampling  # for answers to dev and test questions

    @property
    def chosen_on(self) -> str:
        """The split that chooses the epoch."""
        return "test" if self.protocol == "paper" else "dev"

    @property
    def verdict(self) -> str:
        """The field of a prediction with the verdict that counts."""
        return "paper_correct" if self.protocol == "paper" else "correct"


def _prepare(place: Path, folder: Path, lesson: Lesson, label: str) -> _Ready:
    """Prepare the output folder, load the model, encode the rationales, and add LoRA adapters."""
    task, protocol, settings = task_of(folder), protocol_of(folder), lesson.settings
    _begin(place, lesson.inputs)
    loaded = loading.in_format(loading.load(lesson.name), settings.prompt_format)
    parameters = loaded.parameters
    examples, left_out = encode_rows(loaded, lesson.rows, lesson.max_length, lesson.method)
    if not examples:
        counts = ", ".join(f"{reason.replace('_', ' ')}: {len(ids)}" for reason, ids in left_out.items() if ids)
        raise InputError(
            f"{label}: none of {len(lesson.rows)} rationale(s) is left to train on ({counts or 'none given'}); raise "
            f"max_length or keep more rationales"
        )
    greedy = Sampling(max_new_tokens=answer_cap(examples, lesson.max_length), batch_size=64)
    if settings.lora.rank:
        loaded = replace(loaded, model=lora.adapt(loaded.model, settings.lora, settings.seed))
    trained = sum(p.numel() for p in loaded.model.parameters() if p.requires_grad)
    return _Ready(place, folder, lesson, task, protocol, loaded, parameters, trained, examples, left_out, greedy)


def _train(ready: _Ready, label: str, stop: Stop, watch: Watch) -> Trained:
    """Train the model in place, or only score it for methods without training; KeyboardInterrupt after a stop."""
    lesson, loaded, work = ready.lesson, ready.loaded, ready.place / "work"
    choosing = questions(ready.folder, ready.chosen_on)

    def score(to_beat: float | None) -> DevScore:
        return dev_score(loaded, choosing, ready.task, ready.greedy, to_beat, ready.verdict)

    mentor, method = _mentor(lesson, loaded, ready.examples, stop), lesson.method
    if not method.tuned:
        scored = Trained(steps=0, best_step=0, dev_accuracy=score(None).accuracy, seconds=0.0, padding=1.0)
        write_jsonl(work / "metrics.jsonl", [])
        return scored
    trained = train(loaded, ready.examples, score, lesson.settings, work, mentor, label, stop, watch, method.on_policy)
    if trained.stopped:
        raise KeyboardInterrupt(f"{label} was stopped at step {trained.steps}; run it again to resume")
    if trained.dev_accuracy == 0 and choosing:
        print(f"{label}: no {ready.chosen_on} question was right after any epoch, so the last epoch is kept. {AT_ZERO}")
    return trained


def _evaluate(ready: _Ready) -> Interval:
    """Answer the test questions, write predictions.jsonl, and return the accuracy in percent."""
    rows = predictions(ready.loaded, questions(ready.folder, "test"), ready.task, ready.greedy)
    write_jsonl(ready.place / "predictions.jsonl", [{**row, "protocol": ready.protocol} for row in rows])
    return accuracy(row[ready.verdict] for row in rows)


def _save(ready: _Ready, trained: Trained, test: Interval) -> None:
    """Write metrics.jsonl, the model (or only its adapters, if they are not merged) with its card, and the manifest."""
    lesson, place = ready.lesson, ready.place
    write_jsonl(place / "metrics.jsonl", [row for _, row in read_jsonl(place / "work" / "metrics.jsonl")])
    facts = {
        "base": lesson.name,
        "parameters": ready.parameters,
        "trained_parameters": ready.trained_parameters,
        "rationales": len(lesson.rows),
        "trained_on": len(ready.examples),
        **ready.left_out,
        "max_length": lesson.max_length,
        "prompt_format": ready.loaded.prompt_format,
        "max_new_tokens": ready.greedy.max_new_tokens,
        "training": asdict(trained),
        "protocol": ready.protocol,
        "chosen_on": ready.chosen_on,
        "test": asdict(test),
        **lesson.card,
    }
    data = lesson.inputs["data"]
    hashes = {"questions": sha256(ready.folder / "collected" / "questions.jsonl")[:16], **data}
    hashes["rows"] = digest(data["rows"])[:16]  # the manifest lists them
    card = {
        "summary": f"Trained by {lesson.card['method']} on {ready.task.name}; answers as `rationale {MARKER} answer`.",
        "task": asdict(ready.task),
        "dataset": ready.task.name,
        "licence": licence_of(Path(loading.model_path(lesson.name))),
        **({"language": "en"} if ready.task.name in TASKS else {}),
        "marker": MARKER,
        "example": ready.lesson.rows[0].question,
        **facts,
        "protocol": PROTOCOL[ready.protocol],
        "accuracy": f"{test.value:.1f}% of {test.n} test questions (Wilson 95%: {test.low:.1f} to {test.high:.1f})",
        "settings": recorded(lesson.settings),
        "data_hashes": hashes,
        "provenance": provenance(),
    }
    separate = lesson.settings.lora.rank and not lesson.settings.lora.merge
    loading.save(place, ready.loaded, card, adapters_of=lesson.name if separate else "")
    finish(place, lesson.inputs, _outputs(place), **facts)


def _outputs(place: Path) -> list[str]:
    """Every file of a model's folder: weights, config, tokenizer, card, predictions and metrics."""
    return sorted(
        path.name
        for path in place.iterdir()
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
    )


def _mentor(lesson: Lesson, student: Loaded, examples: list[Example], stop: Stop) -> Loaded | SoftLabels | None:
    """The source of the mentor's soft labels for these examples: none, the cache in soft_labels/, or the live mentor.

    The cache holds target positions of known texts only, so padding and texts written during training need the live
    mentor. So does any divergence other than KL(mentor || student) if only the top k tokens are stored exactly.
    """
    home = lesson.mentor
    if home is None:
        return None
    place, settings = home / "mentor", lesson.settings
    loss = settings.loss
    if lesson.method.on_policy or loss.mask == "as published" or (loss.beta > 0 and settings.soft_label_k):
        return loading.load(place)
    vocabulary = min(student.vocabulary, loading.outline(place).vocabulary)
    kept = with_temperature(SoftLabelSettings(settings.soft_label_k), loss.soft_label_temperature)
    where, identity = home / "soft_labels", loading.identity(place)

    def basis() -> list[Example]:  # the same for all methods, so that labels do not depend on which student came first
        return encode_rows(student, teacher_rows(home), lesson.max_length, Method(("teacher",)))[0]

    labels = cached(where, identity, lambda: loading.load(place), vocabulary, examples, kept, stop=stop, basis=basis)
    return loading.load(place) if loss.beta > 0 and labels.settings.k else labels  # this mentor has no exact form


def _begin(place: Path, inputs: dict) -> None:
    """Prepare a step's folder: unfinished work with the same inputs stays, anything else is removed."""
    begun = place / "work" / "inputs.json"
    try:
        known = read_json(begun)
    except InputError:
        known = None
    if place.exists() and known != inputs:
        shutil.rmtree(place)
    write_json(begun, inputs)


def never() -> bool:
    """A `stop` that never asks for a stop."""
    return False
