"""The loss of an optimiser step under transformers' Trainer: batches, positions and divergence.

There are four kinds of loss (losses.py): cross-entropy with or without soft labels, the same with the mask of the
paper's code, the consistency of two rationales, and the mentor's scores of texts that the student wrote. All are sums
divided by counts over the whole step, over all its batches and processes.
"""

import time
from collections import Counter
from dataclasses import replace

import torch
from transformers import Trainer

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
from .soft_labels import SoftLabels


class DistillationTrainer(Trainer):
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
        """Add to the sums reported by the next log, as tensors: reading their values would make a GPU wait."""
        for name, (total, count) in parts.items():
            self.sums[name] += total.detach()
            self.sums[f"{name} count"] += count

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
        if "loss" in logs and self.sums:
            names = [name for name in ("ce", "kl", "consistency", "own_texts") if self.sums[f"{name} count"]]
            if self.mentor is None and "kl" in names:
                names.remove("kl")
            logs = {**logs, **{name: float(self.sums[name]) / self.sums[f"{name} count"] for name in names}}
            self.sums.clear()
        super().log(logs, start_time)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
        started = time.perf_counter()
        score = self.dev(self.state.best_metric)
        # an inexact score is an upper bound that does not exceed the best, so it is never chosen
        metrics = {"eval_dev_accuracy": score.accuracy, "eval_exact": score.exact}
        metrics["eval_seconds"] = round(time.perf_counter() - started, 2)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
