"""Healing: a model with layers left out learns the whole model's distribution over every token of the texts at hand.

The loss is that of soft labels (losses.py), at temperature 1 by default and with full weight; the whole model's soft
labels are cached. It learns rationales after their questions, and the questions themselves.
"""

import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock

from .. import manifests
from ..checks import require_integer, require_number
from ..data.rationales import Rationale, target
from ..files import InputError, RunFailed, digest, read_json, write_json
from ..models import loading
from ..models.base_card import place, write_readme
from ..models.batches import Example, encode, fits
from ..models.card import licence_of, public_name
from ..models.greedy_cut import loss_of
from ..models.loading import Loaded
from ..models.prompts import AUTO, encode_prompt
from .checkpoints import require_finite
from .losses import LossSettings
from .settings import TrainSettings, recorded
from .soft_label_cache import SoftLabelSettings, with_temperature
from .soft_labels import cached
from .train import train

HELD_OUT = 10  # every tenth question is kept for measuring


@dataclass(frozen=True)
class HealSettings:
    """How long and on what a cut model is healed; `weight` is that of the whole model's soft labels."""

    steps: int = 1000
    batch_size: int = 16
    learning_rate: float = 2e-4
    weight: float = 1.0
    temperature: float = 1.0
    max_length: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "max_length"):
            require_integer(name, getattr(self, name), 1)
        require_integer("seed", self.seed)
        require_number("learning_rate", self.learning_rate, above=0, below=1)
        require_number("weight", self.weight, least=0, most=1)
        require_number("temperature", self.temperature, above=0)

    def training(self) -> TrainSettings:
        """The settings of the training: a checkpoint after each tenth, the last step is kept."""
        loss = LossSettings(soft_label_weight=self.weight, soft_label_temperature=self.temperature)
        return TrainSettings(
            epochs=min(10, self.steps),
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule="cosine",
            loss=loss,
            seed=self.seed,
        )


def texts(loaded: Loaded, rows: list[Rationale], max_length: int) -> tuple[list[Example], list[Example], int]:
    """Examples to learn from and to measure on, and the number of texts that are too long.

    They are the rationales after their questions and, to learn from only, each question by itself. With fewer than
    HELD_OUT questions none is held out: the rationales that are learned from are measured on.
    """
    questions = sorted({row.question for row in rows})
    random.Random("healing").shuffle(questions)
    held_out = set(questions[::HELD_OUT]) if len(questions) >= HELD_OUT else set()
    learned = [(row.id, row.question, target(row)) for row in rows if row.question not in held_out]
    measured = [(row.id, row.question, target(row)) for row in rows if row.question in held_out]
    examples, too_long = encode(loaded, learned, max_length)
    measured_examples, too_long_measured = encode(loaded, measured, max_length)
    start = encode_prompt(loaded.tokenizer, True, "") or [loaded.tokenizer.eos_token_id]
    alone = [Example(f"question {digest(q)[:16]}", start, loaded.target(q)) for q in questions]
    alone = [one for one, q in zip(alone, questions, strict=True) if q not in held_out]
    short = [one for one in alone if fits(one, loaded, max_length)]
    left_out = len(too_long) + len(too_long_measured) + len(alone) - len(short)
    return examples + short, measured_examples or examples, left_out


def heal(
    name: str,
    teacher: str,
    rows: list[Rationale],
    settings: HealSettings,
    folder: Path,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Teach the whole model `teacher` to the cut model `name`; returns what the manifest of `folder` says.

    Called again with the same inputs it returns the manifest; after a stop or a kill it resumes. Raises InputError if
    the tokenizers differ or nothing is left to learn from, and KeyboardInterrupt after a stop.
    """
    folder = Path(folder)
    inputs = {
        "model": loading.identity(name),
        "teacher": loading.identity(teacher),
        "rows": digest(sorted([row.question, target(row)] for row in rows)),
        "settings": asdict(settings),
    }
    work = folder.with_name(f".{folder.name}.work")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_name(f".{folder.name}.lock")):
        if not manifests.is_done(folder, inputs):
            if not work.exists() or read_json(work / "inputs.json") != inputs:
                shutil.rmtree(work, ignore_errors=True)
                write_json(work / "inputs.json", inputs)
            place(folder, inputs, lambda made: _heal(made, folder.name, name, teacher, rows, settings, work, stop))
        shutil.rmtree(work, ignore_errors=True)
    found = manifests.read(folder)
    if found is None:
        raise RunFailed(f"{folder}: its manifest was changed by another process; run the same command again")
    return found


def _heal(
    made: Path,
    title: str,
    name: str,
    teacher: str,
    rows: list[Rationale],
    settings: HealSettings,
    work: Path,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    loaded = loading.in_format(loading.load(name), AUTO)
    shape = loading.in_format(loading.outline(teacher), AUTO)
    loading.require_same_tokenizer(shape, loaded, [])
    examples, measured, too_long = texts(loaded, rows, settings.max_length)
    if not examples:
        raise InputError(f"{name}: none of {len(rows)} rationales is left to learn from; raise max_length")
    training = settings.training()
    before = loss_of(loaded, measured)
    kept = with_temperature(SoftLabelSettings(training.soft_label_k), settings.temperature)
    vocabulary = min(loaded.vocabulary, shape.vocabulary)
    labels = cached(
        work / "soft_labels",
        loading.identity(teacher),
        lambda: loading.load(teacher),
        vocabulary,
        examples,
        kept,
        stop=stop,
    )
    trained = train(loaded, examples, None, training, work / "training", labels, f"healing {title}", stop)
    if trained.stopped:
        raise KeyboardInterrupt(f"healing was stopped at step {trained.steps}; run it again to resume")
    require_finite(loaded.model, f"healing {title}")
    facts = {
        "cut_model": public_name(name),
        "teacher": public_name(teacher),
        "parameters": loaded.parameters,
        "texts": len(examples),
        "texts_too_long": too_long,
        "steps": trained.steps,
        "loss_before": round(before, 4),
        "loss": round(loss_of(loaded, measured), 4),
        "loss_whole": round(loss_of(loading.load(teacher), measured), 4),
        "measured_on": len(measured),
        "held_out": {one.id for one in examples}.isdisjoint(one.id for one in measured),
        "licence": licence_of(Path(loading.model_path(name))),
    }
    loaded.model.save_pretrained(made)
    loaded.tokenizer.clean_up_tokenization_spaces = False
    loaded.tokenizer.save_pretrained(made)
    summary = "Some of its layers were left out; then it was taught the whole model's distribution on texts."
    write_readme(made, title, summary, {**facts, "settings": str(recorded(training))})
    return facts
