"""Training: one trainer for mentor and student, based on transformers' Trainer.

A mentor is trained by cross-entropy on the teacher's rationales, a student by its method (methods.py). The epoch is
chosen by accuracy on the dev split. Every evaluation writes a checkpoint; a stopped or killed run resumes from the last
one and ends with the same numbers. A loss that is not a number ends the run at once, and nothing is saved.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import PrinterCallback, TrainerCallback, TrainerState, TrainingArguments

from ..checks import is_number
from ..evaluation.metrics import DevScore
from ..files import InputError, RunFailed, append_jsonl, read_lines, write_jsonl
from ..models.batches import BucketBatches, Example, longest_rows, padding_waste, row_lengths
from ..models.loading import Loaded
from ..parsing import parse_json
from ..progress import Progress
from ..signals import asked_to_stop
from . import checkpoints, tracking
from .consistency import PairBatches
from .settings import TrainSettings, in_bfloat16
from .soft_label_cache import SoftLabels
from .trainer import DistillationTrainer

LOGGED = ("loss", "ce", "kl", "consistency", "own_texts", "learning_rate", "grad_norm")


@dataclass(frozen=True)
class Trained:
    """The result of a training run: the chosen evaluation, its dev accuracy in percent, and the cost."""

    steps: int
    best_step: int
    dev_accuracy: float | None
    seconds: float
    padding: float
    stopped: bool = False


def plan_batches(examples: list[Example], encoder_decoder: bool, settings: TrainSettings) -> BucketBatches:
    """The batches of a whole training run; `steps` is its number of optimiser steps. Pairs stay together.

    With the mask "as published" every row is padded to the longest of all, so lengths are ignored and batches are drawn
    at random, as in the paper's code.
    """
    lengths = row_lengths(examples, encoder_decoder)
    if settings.loss.mask == "as published":
        lengths = [longest_rows(examples, encoder_decoder)] * len(examples)
    how = {
        "batch_size": settings.batch_size,
        "accumulation": settings.accumulation,
        "steps": settings.steps,
        "seed": settings.seed,
        "token_budget": settings.token_budget,
        "epochs": settings.epochs,
    }
    return PairBatches(examples, lengths, **how) if examples[0].group else BucketBatches(lengths, **how)


class _Watcher(TrainerCallback):
    """Writes metrics.jsonl, shows progress, saves at time intervals, and stops on request."""

    def __init__(self, path, progress, stop, save_minutes, watch):
        self.path, self.progress, self.stop, self.save_minutes, self.watch = path, progress, stop, save_minutes, watch
        self.saved = time.monotonic()
        self.note = ""

    def on_train_begin(self, args, state, control, **kwargs):
        if state.best_global_step:  # the recorded path is of the place where the checkpoint was written
            state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{state.best_global_step}")

    def on_step_end(self, args, state, control, **kwargs):
        self.progress.advance(1, self.note)
        if time.monotonic() - self.saved > 60 * self.save_minutes:
            control.should_save = True
        if self.stop():
            control.should_save = control.should_training_stop = True

    def on_save(self, args, state, control, **kwargs):
        self.saved = time.monotonic()

    def on_log(self, args, state, control, logs=None, **kwargs):
        kept = {k: v for k, v in (logs or {}).items() if k in LOGGED}
        if "eval_dev_accuracy" in (logs or {}):
            name, sign = ("dev_accuracy", "") if logs["eval_exact"] else ("dev_accuracy_at_most", "at most ")
            kept = {name: logs["eval_dev_accuracy"], "eval_seconds": logs["eval_seconds"]}
            self.note = f"dev {sign}{logs['eval_dev_accuracy']:.1f}%"
        elif "loss" in kept:
            self.note = f"loss {float(kept['loss']):.3f}" + (f" · {self.note}" if self.note.startswith("dev") else "")
        if kept:
            row = {"step": state.global_step, **{k: float(v) for k, v in kept.items()}, "time": round(time.time(), 2)}
            append_jsonl(self.path, row)
            if self.watch:
                self.watch(row)


@contextlib.contextmanager
def stop_on_signal(stop: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C or SIGTERM request a clean stop; a second one interrupts immediately."""
    asked = threading.Event()

    def ask() -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    with asked_to_stop(ask):
        yield lambda: asked.is_set() or stop()


def train(
    loaded: Loaded,
    examples: list[Example],
    dev: Callable[[float | None], DevScore] | None,
    settings: TrainSettings,
    work: Path,
    mentor: Loaded | SoftLabels | None = None,
    label: str = "training",
    stop: Callable[[], bool] = lambda: False,
    watch: Callable[[dict], None] | None = None,
    on_policy: bool = False,
) -> Trained:
    """Train `loaded` in place and leave it at its best evaluation; writes checkpoints and metrics.jsonl to `work`.

    `dev(to_beat)` scores on dev, given the best accuracy so far, which a later epoch may equal; with None the last step
    is kept. `mentor` gives soft labels, cached or live; without one the loss is cross-entropy alone. `stop()` is called
    after each step: if true, a checkpoint is written and `Trained.stopped` is set; the same call resumes from there.
    `watch` receives each row of the metrics, starting with those from before a stop. With `on_policy` the student
    writes a share of its batches, and a live mentor scores them.

    Raises InputError without examples, ValueError for `on_policy` without a live mentor, and RunFailed for a loss, a
    gradient or weights that are not numbers, and for a best checkpoint that cannot be loaded.
    """
    if not examples:
        raise InputError("no rationale to train on; check the counts of the filters")
    if on_policy and not isinstance(mentor, Loaded):
        raise ValueError(
            "on_policy requires a live mentor: there are no cached soft labels for texts written in training"
        )
    work = Path(work)
    log = work / "metrics.jsonl"
    batches = plan_batches(examples, loaded.encoder_decoder, settings)
    total = batches.steps
    every = max(1, total // settings.epochs)
    last = checkpoints.last_whole(work)
    done = checkpoints.step_of(last) if last else 0
    if log.exists():  # rows that a killed run logged after its last checkpoint are logged again
        before = [row for row in whole_rows(log) if row["step"] <= done]
        write_jsonl(log, before)
        if watch:
            for row in before:
                watch(row)
    cuda = loaded.model.device.type == "cuda"
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=total,
        per_device_train_batch_size=max(1, settings.batch_size // settings.accumulation),
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        warmup_steps=round(settings.warmup * total),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=in_bfloat16(settings.precision, loaded.model.device),
        use_cpu=not cuda,
        logging_steps=max(1, min(10, every)),
        eval_strategy="steps" if dev else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        load_best_model_at_end=dev is not None,
        metric_for_best_model="eval_dev_choice",
        greater_is_better=True,
        seed=settings.seed,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        logging_nan_inf_filter=False,
        **tracking.arguments(settings.report_to, work.parent),
    )
    started = time.monotonic()
    with (
        Progress(label, total) as progress,
        stop_on_signal(stop) as stopping,
        tracking.tracked(settings.report_to, work.parent),
    ):
        watcher = _Watcher(log, progress, stopping, settings.save_minutes, watch)
        trainer = DistillationTrainer(
            loaded=loaded,
            examples=examples,
            batches=batches,
            settings=settings,
            mentor=mentor,
            dev=dev,
            on_policy=settings.on_policy if on_policy else None,
            args=arguments,
            train_dataset=examples,
            eval_dataset=examples if dev else None,
            callbacks=[watcher],
            label=label,
        )
        trainer.remove_callback(PrinterCallback)  # replaced by our progress line
        if done:
            progress.skip(done)
        if settings.gradient_checkpointing:
            loaded.model.activation_checkpointing_enable({"use_reentrant": False})
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        if settings.gradient_checkpointing:
            loaded.model.activation_checkpointing_disable()
    state = trainer.state
    seconds = state_seconds(log) or time.monotonic() - started
    loaded.model.eval()
    stopped = state.global_step < total
    best = state.best_model_checkpoint
    if dev and not stopped and not best:
        raise RunFailed(f"{work}: the best checkpoint is missing; run the same command again")
    return Trained(
        steps=state.global_step,
        best_step=checkpoints.step_of(best) if best and not stopped else state.global_step,
        dev_accuracy=_accuracy_at(state, checkpoints.step_of(best)) if best else None,
        seconds=round(seconds, 1),
        padding=round(padding_waste(examples, batches.epoch(0), loaded.encoder_decoder), 3),
        stopped=stopped,
    )


def _accuracy_at(state: TrainerState, step: int) -> float:
    """The dev accuracy at a step, as it was logged."""
    scored = {row["step"]: row["eval_dev_accuracy"] for row in state.log_history if "eval_dev_accuracy" in row}
    return scored[step]


def whole_rows(log: Path) -> list[dict]:
    """The complete rows of a log, which have a `step`; its writer may have been killed in the middle of a line."""
    rows = []
    for number, line in enumerate(read_lines(log), 1):
        with contextlib.suppress(InputError):
            row = parse_json(line, log, number)
            rows += [row] if isinstance(row, dict) and is_number(row.get("step")) else []
    return rows


def state_seconds(log: Path) -> float:
    """Seconds of training by the timestamps of the metrics, without pauses between a kill and a resume.

    A clock that is set back counts as no time.
    """
    rows = whole_rows(log) if Path(log).exists() else []
    times = [row["time"] for row in rows if is_number(row.get("time"))]
    return sum(min(max(b - a, 0), 600) for a, b in zip(times, times[1:], strict=False))
