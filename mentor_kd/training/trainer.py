"""The loss of an optimiser step under transformers' Trainer: batches, positions and divergence.

There are four kinds of loss (losses.py): cross-entropy with or without soft labels, the same with the mask of the
paper's code, the consistency of two rationales, and the mentor's scores of texts that the student wrote. All are sums
divided by counts over the whole step, over all its batches and processes.
"""

import math
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from ..files import RunFailed
from ..models.batches import (
    Example,
    has_plain_head,
    longest_rows,
    model_inputs,
    padded_to,
    target_logits,
    target_states,
)
from ..models.loading import IGNORED, Loaded
from .checkpoints import REMEDY, ResumableTrainer, in_order
from .chunked_loss import Workspace, chunked_loss
from .consistency import answer_places
from .losses import (
    cached_divergence,
    consistency,
    consistency_loss,
    cross_entropy,
    distillation_loss,
    soft_label_divergence,
    soft_label_factor,
)
from .on_policy import OnPolicySettings, batch_seed, is_fresh, write
from .settings import rounds_soft_labels
from .soft_label_cache import SoftLabels

AT_ONCE = ("cpu",)  # devices that need not wait when a value is read
PARTS = {
    "ce": "the cross-entropy",
    "kl": "the divergence from the mentor",
    "consistency": "the divergence between two rationales (consistency)",
    "own_texts": "the divergence from the mentor on the student's own texts",
    "gradient": "the gradient",
}
LATER = 1e-9  # percent a step, which lets the later of two epochs with the same dev accuracy win


class DistillationTrainer(ResumableTrainer):
    """Trainer with our batches, a loss normalised over a whole optimiser step, and dev accuracy as its evaluation."""

    def __init__(self, *, loaded, examples, batches, settings, mentor, dev, on_policy=None, **kwargs):
        super().__init__(model=loaded.model, **kwargs)
        self.loaded, self.examples, self.batches, self.settings = loaded, examples, batches, settings
        self.mentor, self.dev = mentor, dev
        self.on_policy: OnPolicySettings | None = on_policy
        self.loss_settings = settings.loss
        if on_policy is not None:
            self.loss_settings = replace(settings.loss, beta=on_policy.beta, mask="targets")
        self.longest = longest_rows(examples, loaded.encoder_decoder)
        self.as_published = mentor is not None and self.loss_settings.mask == "as published"
        self.plain_head = has_plain_head(loaded) and not self.is_fsdp_enabled and not self.is_deepspeed_enabled
        # Makes Trainer count the labels of all micro-batches and processes of a step and leave the scaling to us. The
        # model's loss is never used (T5's forward accepts that count but ignores it).
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = False
        if isinstance(mentor, SoftLabels):
            device = self.args.device
            half = self.args.bf16 and device.type == "cuda"  # CPUs are slow at float16
            rounded = rounds_soft_labels(settings.precision, device)
            mentor.ready(device, torch.float16 if half else torch.float32, rounded)
        # a GPU's allocator already reuses memory, also for the rest of the step
        self.workspace = Workspace() if self.args.device.type == "cpu" else None
        self.step_counts = {"answers": 1, "positions": 1}  # over the whole step, like the labels that Trainer counts
        self.noted: list[tuple[int, str, torch.Tensor, int]] = []  # step, part, its sum on the device, and divisor
        self.sums: Counter = Counter()  # of the parts of the loss since the last log, and their divisors

    def get_train_dataloader(self):
        loader = torch.utils.data.DataLoader(self.examples, batch_sampler=self.batches, collate_fn=self._collate)
        return self.accelerator.prepare(loader)

    def _collate(self, examples: list[Example]) -> dict:
        inputs = model_inputs(examples, self.loaded)
        if self.as_published:
            return padded_to(inputs, self.loaded, self.longest)
        if examples[0].group:
            inputs["answers"] = answer_places(examples)
        if isinstance(self.mentor, SoftLabels):
            inputs["soft"] = self.mentor.rows(examples, self.settings.loss.soft_label_temperature)
        if self.on_policy is not None:
            inputs["examples"] = examples  # the student may rewrite their targets
        return inputs

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """The batches of one optimiser step, some written by the student, and their number of target tokens."""
        batches, tokens = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.on_policy is not None:
            batches = [self._perhaps_fresh(inputs, place, device) for place, inputs in enumerate(batches)]
            tokens = self._get_num_items_in_batch(batches, device)
        answers = sum(inputs["answers"].shape[1] for inputs in batches if "answers" in inputs)
        positions = sum(int((inputs["labels"] != 0).sum()) for inputs in batches) if self.as_published else 0
        for name, count in (("answers", answers), ("positions", positions)):
            if self.args.world_size > 1:
                count = int(self.accelerator.gather(torch.tensor([count], device=device)).sum())
            self.step_counts[name] = max(1, count)
        return batches, tokens

    def _perhaps_fresh(self, inputs: dict, place: int, device: torch.device) -> dict:
        """The batch unchanged, or with texts that the student writes now, depending on its number in the run."""
        examples = inputs.pop("examples")
        number = self.state.global_step * self.settings.accumulation + place
        number = number * self.args.world_size + self.args.process_index
        seed, rules = self.settings.seed, self.on_policy
        assert rules is not None
        if not is_fresh(seed, number, rules.share):
            return inputs
        longest = max(len(example.target) for example in self.examples)
        written = write(self.loaded, examples, rules.temperature, longest, batch_seed(seed, number))
        found = model_inputs(written, self.loaded)
        return {**{name: value.to(device) for name, value in found.items()}, "fresh": True}

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        fresh, answers, soft = inputs.pop("fresh", False), inputs.pop("answers", None), inputs.pop("soft", None)
        targets = inputs["labels"][inputs["labels"] != IGNORED]
        tokens = targets.numel() if num_items_in_batch is None else num_items_in_batch
        if answers is not None:
            loss = self._loss_of_pairs(model, inputs, targets, answers, tokens)
        elif fresh:
            loss = self._loss_of_own_texts(model, inputs, tokens)
        elif self.as_published:
            loss = self._loss_as_published(model, inputs, targets, tokens)
        elif self.plain_head and not isinstance(self.mentor, Loaded):
            states = target_states(self.loaded, inputs, model)
            head = self.loaded.model.get_output_embeddings()
            loss, ce, kl = chunked_loss(states, head, targets, soft, self.loss_settings, tokens, self.workspace)
            self._note(ce=(ce, targets.numel()), kl=(kl, targets.numel()))
        else:
            loss = self._loss_of_all_logits(model, inputs, targets, soft, tokens)
        # gradients are averaged over processes, but the loss is already divided by the counts of all of them
        loss = loss * self.accelerator.num_processes
        return (loss, {}) if return_outputs else loss

    def _note(self, **parts: tuple[torch.Tensor, int]) -> None:
        """Note parts of the loss for the next log. On a GPU they stay there until then: reading them makes it wait."""
        for name, (total, count) in parts.items():
            self.noted.append((self.state.global_step + 1, name, total.detach(), count))
        if self.args.device.type in AT_ONCE:
            self._read_notes()

    def _read_notes(self) -> None:
        """Add what was noted to the sums; raises RunFailed if any of it is not a finite number."""
        if not self.noted:
            return
        values = torch.stack([total.float() for _, _, total, _ in self.noted]).tolist()
        for (step, _, _, _), value in zip(self.noted, values, strict=True):
            if not math.isfinite(value):
                raise RunFailed(self._not_a_number(step, values))
        for (_, name, _, count), value in zip(self.noted, values, strict=True):
            self.sums[name] += value
            self.sums[f"{name} count"] += count
        self.noted.clear()

    def _not_a_number(self, step: int, values: list[float]) -> str:
        """What is known about a step whose loss is not a number, and what to try."""
        found = {n: value / count for (at, n, _, count), value in zip(self.noted, values, strict=True) if at == step}
        bad = [name for name, value in found.items() if not math.isfinite(value)]
        said = ", ".join(f"{PARTS[name]} is {value:.4g}" for name, value in found.items())
        why = (
            "The mentor's outputs are not numbers: train it again (notebook 02). "
            if [name for name in bad if name != "gradient"] == ["kl"]
            else ""
        )
        settings, last = self.settings, in_order(Path(self.args.output_dir))
        return (
            f"{self.label}: the loss is not a number at optimiser step {step}: {said} (learning_rate "
            f"{settings.learning_rate:g}, precision {settings.precision}). {why}{REMEDY} Nothing was saved; "
            f"{f'the last good checkpoint is {last[-1].name}' if last else 'there is no checkpoint yet'}"
        )

    def _clip_grad_norm(self, model):
        norm = super()._clip_grad_norm(model)
        if isinstance(norm, torch.Tensor):
            self._note(gradient=(norm, 1))
        return norm

    def _save_checkpoint(self, model, trial):
        self._read_notes()
        super()._save_checkpoint(model, trial)

    def _divergence(self, logits: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        """The divergence from the live mentor; both logits are [N, >= V]."""
        shared, rules = min(self.loaded.vocabulary, self.mentor.vocabulary), self.loss_settings
        # Model families pad their output layers to different sizes beyond the shared tokenizer: compare what both have.
        # The official code includes the padding.
        if self.as_published:
            shared = min(logits.shape[-1], taught.shape[-1])
        return soft_label_divergence(
            logits[..., :shared], taught[..., :shared], rules.soft_label_temperature, rules.beta
        )

    def _loss_of_all_logits(self, model, inputs, targets, soft, tokens):
        """The loss from the plain functions: for a live mentor, and for models whose head is more than one layer."""
        logits = target_logits(self.loaded, inputs, model)
        ce, settings = cross_entropy(logits, targets), self.loss_settings
        self._note(ce=(ce, targets.numel()))
        if self.mentor is None:
            return ce / tokens
        if soft is not None:
            kl = cached_divergence(logits, soft, settings.soft_label_temperature, settings.beta)
        else:
            with torch.no_grad():
                taught = target_logits(self.mentor, inputs)
            kl = self._divergence(logits, taught)
        self._note(kl=(kl, targets.numel()))
        return distillation_loss(ce, kl, tokens, settings)

    def _loss_of_pairs(self, model, inputs, targets, answers, tokens):
        """Cross-entropy of both rationales, plus the consistency of the student's answer distributions after each."""
        if self.plain_head:
            states, head = target_states(self.loaded, inputs, model), self.loaded.model.get_output_embeddings()
            ce = chunked_loss(states, head, targets, None, self.loss_settings, 1, self.workspace)[0]
            first, second = head(states[answers[0]]), head(states[answers[1]])
        else:
            logits = target_logits(self.loaded, inputs, model)
            ce, first, second = cross_entropy(logits, targets), logits[answers[0]], logits[answers[1]]
        shared = self.loaded.vocabulary
        apart = consistency(first[:, :shared], second[:, :shared], self.loss_settings.soft_label_temperature)
        self._note(ce=(ce, targets.numel()), consistency=(apart, answers.shape[1]))
        return consistency_loss(ce, apart, tokens, self.step_counts["answers"], self.loss_settings)

    def _loss_of_own_texts(self, model, inputs, tokens):
        """The divergence alone, at full weight: the student's own texts are not examples to imitate."""
        logits = target_logits(self.loaded, inputs, model)
        with torch.no_grad():
            taught = target_logits(self.mentor, inputs)
        apart = self._divergence(logits, taught)
        self._note(own_texts=(apart, len(logits)))
        return soft_label_factor(replace(self.loss_settings, soft_label_weight=1.0)) * apart / tokens

    def _loss_as_published(self, model, inputs, targets, tokens):
        """Cross-entropy over real tokens, and the divergence over every position whose label is not 0: nearly all.

        The official code tries to exclude padding by `labels != 0`, but padding is -100 (data/paper/defects.md: 3).
        """
        labels = inputs["labels"]
        fed = {name: value for name, value in inputs.items() if name != "labels"}
        logits = model(**fed, use_cache=False).logits
        with torch.no_grad():
            taught = self.mentor.model(**fed, use_cache=False).logits
        ce, selected = cross_entropy(logits[labels != IGNORED], targets), labels != 0
        apart = self._divergence(logits[selected], taught[selected])
        self._note(ce=(ce, targets.numel()), kl=(apart, int(selected.sum())))
        return distillation_loss(ce, apart, tokens, self.loss_settings, self.step_counts["positions"])

    def log(self, logs, start_time=None):
        self._read_notes()
        if "loss" in logs and self.sums:
            names = [name for name in ("ce", "kl", "consistency", "own_texts") if self.sums[f"{name} count"]]
            if self.mentor is None and "kl" in names:
                names.remove("kl")
            logs = {**logs, **{name: self.sums[name] / self.sums[f"{name} count"] for name in names}}
            self.sums.clear()
        super().log(logs, start_time)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        started = time.perf_counter()
        self._read_notes()
        best = self.state.best_metric
        score = self.dev(None if best is None else round(best - LATER * self.state.best_global_step, 8))
        # an inexact score is an upper bound below the best, so it is never chosen; of equals the later is
        choice = score.accuracy + LATER * self.state.global_step if score.exact else -1.0
        metrics = {"eval_dev_accuracy": score.accuracy, "eval_dev_choice": choice, "eval_exact": score.exact}
        metrics["eval_seconds"] = round(time.perf_counter() - started, 2)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
