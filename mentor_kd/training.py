"""Training: one trainer for mentor and student, on transformers' Trainer.

A mentor is trained by cross-entropy on the teacher's rationales; a student by its method (methods.py). The epoch is
chosen by accuracy on the dev split; every evaluation leaves a checkpoint; a stopped or killed run goes on at the last
one and ends with the same numbers.
"""

import contextlib
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from .batches import (
    BucketBatches,
    Example,
    has_plain_head,
    model_inputs,
    padding_waste,
    row_lengths,
    target_logits,
    target_states,
)
from .chunks import chunked_loss
from .evaluation import DevScore
from .files import InputError, append_jsonl, read_json, read_jsonl, read_text, write_jsonl
from .losses import (
    LossSettings,
    TopK,
    cross_entropy,
    distillation_loss,
    soft_label_divergence,
    top_k_divergence,
)
from .models import IGNORED, Loaded
from .progress import Progress
from .soft_labels import SoftLabels

SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class TrainSettings:
    """Optimisation of one training: passes over the rationales (or a number of steps), rates, loss, seed."""

    epochs: int = 10
    batch_size: int = 8  # rationales an optimiser step
    accumulation: int = 1  # batches that an optimiser step is cut into, where memory is short
    learning_rate: float = 3e-4
    schedule: str = "linear"
    warmup: float = 0.05  # share of the steps
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    loss: LossSettings = LossSettings()
    seed: int = 0
    steps: int = 0  # 0: epochs decide; otherwise the number of optimiser steps, with `epochs` checkpoints among them
    save_minutes: float = 10.0  # a checkpoint at least this often, beside those at each epoch's end
    token_budget: int = 0  # padded tokens of a batch in place of batch_size, which then plays no part; 0: off
    soft_label_k: int = 64  # likeliest tokens in a cached soft label; 0: all of them, from the live mentor
    gradient_checkpointing: bool = False  # a third more time for far less memory: for the XL and XXL sizes

    def __post_init__(self):
        for name in ("epochs", "batch_size", "accumulation"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} is a whole number from 1, not {value!r}")
        if not isinstance(self.learning_rate, int | float) or not 0 < self.learning_rate < 1:
            raise InputError(
                f"learning_rate is a number between 0 and 1, not {self.learning_rate!r} "
                f"(in YAML write 3.0e-4, for 3e-4 is text there)"
            )
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule is one of {', '.join(SCHEDULES)}, not {self.schedule!r}")
        if not isinstance(self.warmup, int | float) or not 0 <= self.warmup < 1:
            raise InputError(f"warmup is a share of the steps in [0, 1), not {self.warmup!r}")
        if self.batch_size % self.accumulation:
            raise InputError(f"batch_size {self.batch_size} cannot be cut into {self.accumulation} batches")
        for name, zero in (
            ("steps", "to go by epochs"),
            ("token_budget", "to go by batch_size"),
            ("soft_label_k", "for all tokens"),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(f"{name} is a whole number, 0 {zero}, not {value!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"seed is a whole number from 0, not {self.seed!r}")


@dataclass(frozen=True)
class Trained:
    """What a training gave: which evaluation was chosen, the dev accuracy (in percent) there, and the cost."""

    steps: int
    best_step: int
    dev_accuracy: float | None
    seconds: float
    padding: float
    stopped: bool = False


def plan_batches(examples: list[Example], encoder_decoder: bool, settings: TrainSettings) -> BucketBatches:
    """The batches of a whole training; their `steps` are its optimiser steps."""
    return BucketBatches(
        row_lengths(examples, encoder_decoder),
        settings.batch_size,
        settings.accumulation,
        settings.steps,
        settings.seed,
        settings.token_budget,
        settings.epochs,
    )


class DistillationTrainer(Trainer):
    """Trainer with our batches, our loss normalised over a whole optimiser step, and dev accuracy as its evaluation."""

    def __init__(self, *, loaded, examples, batches, settings, mentor, dev, **kwargs):
        super().__init__(model=loaded.model, **kwargs)
        self.loaded, self.examples, self.batches, self.settings = loaded, examples, batches, settings
        self.mentor, self.dev = mentor, dev
        self.plain_head = has_plain_head(loaded) and not self.is_fsdp_enabled and not self.is_deepspeed_enabled
        # This makes Trainer count the labels of all micro-batches and processes of a step and leave scaling to us.
        # T5's forward takes that count and ignores it, so the model's own loss is never used.
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = False
        self.parts = {"ce": 0.0, "kl": 0.0, "tokens": 0}

    def get_train_dataloader(self):
        loader = torch.utils.data.DataLoader(self.examples, batch_sampler=self.batches, collate_fn=self._collate)
        return self.accelerator.prepare(loader)

    def _collate(self, examples: list[Example]) -> dict:
        inputs = model_inputs(examples, self.loaded)
        if isinstance(self.mentor, SoftLabels):
            soft = self.mentor.rows(examples, self.settings.loss.soft_label_temperature)
            inputs |= {"soft_ids": soft.ids, "soft_log_probs": soft.log_probs, "soft_log_tail": soft.log_tail}
        return inputs

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs, soft = dict(inputs), None
        if isinstance(self.mentor, SoftLabels):
            parts = [inputs.pop(name) for name in ("soft_ids", "soft_log_probs", "soft_log_tail")]
            soft = TopK(*parts, self.mentor.vocabulary)
        targets = inputs["labels"][inputs["labels"] != IGNORED]
        tokens = targets.numel() if num_items_in_batch is None else num_items_in_batch
        if self.plain_head and not isinstance(self.mentor, Loaded):
            states = target_states(self.loaded, inputs, model)
            head = self.loaded.model.get_output_embeddings()
            loss, ce, kl = chunked_loss(states, head, targets, soft, self.settings.loss, tokens)
        else:
            loss, ce, kl = self._loss_of_all_logits(model, inputs, targets, soft, tokens)
        self.parts["ce"] += ce.detach()  # tensors: asking for their values here would make a GPU wait
        self.parts["kl"] += kl.detach()
        self.parts["tokens"] += targets.numel()
        # processes average their gradients, but the loss is already divided by the tokens of all of them
        loss = loss * self.accelerator.num_processes
        return (loss, {}) if return_outputs else loss

    def _loss_of_all_logits(self, model, inputs, targets, soft, tokens):
        """The loss by the plain functions: for a live mentor, and for models whose head is more than one layer."""
        logits = target_logits(self.loaded, inputs, model)
        ce, settings = cross_entropy(logits, targets), self.settings.loss
        if self.mentor is None:
            return ce / tokens, ce, torch.zeros_like(ce)
        if soft is not None:
            kl = top_k_divergence(logits, soft, settings.soft_label_temperature)
        else:
            with torch.no_grad():
                taught = target_logits(self.mentor, inputs)
            # Families pad their vocabularies to different sizes beyond the shared tokenizer: compare what both have.
            shared = min(self.loaded.vocabulary, self.mentor.vocabulary)
            kl = soft_label_divergence(logits[:, :shared], taught[:, :shared], settings.soft_label_temperature)
        return distillation_loss(ce, kl, tokens, settings), ce, kl

    def log(self, logs, start_time=None):
        if "loss" in logs and self.parts["tokens"]:
            tokens = self.parts["tokens"]
            row = {"ce": float(self.parts["ce"]) / tokens}
            if self.mentor is not None:
                row["kl"] = float(self.parts["kl"]) / tokens
            logs = {**logs, **row}
            self.parts = {"ce": 0.0, "kl": 0.0, "tokens": 0}
        super().log(logs, start_time)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        started = time.perf_counter()
        score = self.dev(self.state.best_metric)
        # where the score is an upper bound, it is none that could be chosen
        metrics = {"eval_dev_accuracy": score.accuracy, "eval_exact": score.exact}
        metrics["eval_seconds"] = round(time.perf_counter() - started, 2)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _Watcher(TrainerCallback):
    """Writes metrics.jsonl, shows progress, saves by the clock, and stops when it is asked to."""

    def __init__(self, path, progress, stop, save_minutes, watch):
        self.path, self.progress, self.stop, self.save_minutes, self.watch = path, progress, stop, save_minutes, watch
        self.saved = time.monotonic()
        self.note = ""

    def on_step_end(self, args, state, control, **kwargs):
        self.progress.advance(1, self.note)
        if time.monotonic() - self.saved > 60 * self.save_minutes:
            control.should_save = True
        if self.stop():
            control.should_save = control.should_training_stop = True

    def on_save(self, args, state, control, **kwargs):
        self.saved = time.monotonic()

    def on_log(self, args, state, control, logs=None, **kwargs):
        kept = {k: v for k, v in (logs or {}).items() if k in ("loss", "ce", "kl", "learning_rate", "grad_norm")}
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
def stop_on_signal(stop: Callable[[], bool]):
    """Let a first Ctrl-C or SIGTERM ask for a clean stop; a second Ctrl-C interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield stop
        return

    def ask(number, frame):
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked.is_set() or stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
) -> Trained:
    """Train `loaded` in place and leave it at its best evaluation; checkpoints and metrics.jsonl lie in `work`.

    `dev(to_beat)` scores on dev, given the best accuracy so far; None: no choice, the last step counts. `mentor` gives
    soft labels, from the cache or live; without one the loss is cross-entropy alone. `stop()` is asked after each
    step: when true, a checkpoint is written and `Trained.stopped` is set; the same call goes on from there. `watch`
    gets each row of the metrics, those of before a stop first. Raises InputError without examples.
    """
    if not examples:
        raise InputError("there is no rationale to train on; look at the filters' counts")
    work = Path(work)
    log = work / "metrics.jsonl"
    batches = plan_batches(examples, loaded.encoder_decoder, settings)
    total = batches.steps
    every = max(1, total // settings.epochs)
    last = last_checkpoint(work)
    done = int(Path(last).name.split("-")[1]) if last else 0
    if log.exists():  # what a killed run logged after its last checkpoint comes again
        before = [row for row in whole_rows(log) if row["step"] <= done]
        write_jsonl(log, before)
        for row in before if watch else []:
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
        bf16=cuda and torch.cuda.is_bf16_supported(),
        use_cpu=not cuda,
        logging_steps=max(1, min(10, every)),
        eval_strategy="steps" if dev else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,  # the best and the last; with 1, Trainer would remove the last where a run is stopped
        load_best_model_at_end=dev is not None,
        metric_for_best_model="eval_dev_accuracy",
        greater_is_better=True,
        seed=settings.seed,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        logging_nan_inf_filter=False,
    )
    started = time.monotonic()
    with Progress(label, total) as progress, stop_on_signal(stop) as stopping:
        watcher = _Watcher(log, progress, stopping, settings.save_minutes, watch)
        trainer = DistillationTrainer(
            loaded=loaded,
            examples=examples,
            batches=batches,
            settings=settings,
            mentor=mentor,
            dev=dev,
            args=arguments,
            train_dataset=examples,
            eval_dataset=examples if dev else None,
            callbacks=[watcher],
        )
        trainer.remove_callback(PrinterCallback)  # our progress line says it better
        if done:
            progress.skip(done)
        if settings.gradient_checkpointing:
            loaded.model.activation_checkpointing_enable({"use_reentrant": False})
        trainer.train(resume_from_checkpoint=last)
        if settings.gradient_checkpointing:
            loaded.model.activation_checkpointing_disable()
    state = trainer.state
    seconds = state_seconds(log) or time.monotonic() - started
    loaded.model.eval()
    stopped = state.global_step < total
    best = state.best_model_checkpoint
    return Trained(
        steps=state.global_step,
        best_step=int(Path(best).name.split("-")[1]) if best and not stopped else state.global_step,
        dev_accuracy=state.best_metric,
        seconds=round(seconds, 1),
        padding=round(padding_waste(examples, batches.epoch(0), loaded.encoder_decoder), 3),
        stopped=stopped,
    )


def last_checkpoint(work: Path) -> str | None:
    """The last whole checkpoint; one whose writer was killed lacks the state that is written last, and is removed."""
    for checkpoint in work.glob("checkpoint-*"):
        try:
            read_json(checkpoint / TRAINER_STATE_NAME)
        except InputError:
            shutil.rmtree(checkpoint)
    return get_last_checkpoint(str(work)) if work.is_dir() else None


def whole_rows(log: Path) -> list[dict]:
    """The rows of a log whose writer may have been killed halfway through a line."""
    rows = []
    for line in read_text(log).split("\n"):
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def state_seconds(log: Path) -> float:
    """Seconds of training by the metrics' own clock, pauses between a kill and a resume left out."""
    times = [row["time"] for _, row in read_jsonl(log)] if Path(log).exists() else []
    return sum(min(b - a, 600) for a, b in zip(times, times[1:], strict=False))


def clean_up(work: Path) -> None:
    """Remove a finished training's checkpoints; metrics.jsonl stays."""
    for checkpoint in Path(work).glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
