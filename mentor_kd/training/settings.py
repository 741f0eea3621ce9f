"""Settings of a training run, and how the two protocols change them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ..checks import require_bool, require_choice, require_integer, require_number
from ..data.tasks import PROTOCOLS
from ..files import InputError
from ..models.lora import LoraSettings
from ..models.prompts import AUTO, PROMPT_FORMATS
from .losses import LossSettings
from .on_policy import OnPolicySettings
from .tracking import check_trackers

SCHEDULES = ("constant", "linear", "cosine")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class TrainSettings:
    """Optimisation of one training run: epochs (or a number of steps), learning rate, loss, seed."""

    epochs: int = 10
    batch_size: int = 8  # rationales per optimiser step
    accumulation: int = 1  # micro-batches per optimiser step, to save memory
    learning_rate: float = 3e-4
    schedule: str = "linear"
    warmup: float = 0.05  # share of the steps
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    loss: LossSettings = LossSettings()
    seed: int = 0
    steps: int = 0  # number of optimiser steps, with `epochs` checkpoints among them; 0: as epochs give
    save_minutes: float = 10.0  # a checkpoint at least this often, in addition to those after each epoch
    token_budget: int = 0  # padded tokens per batch, instead of batch_size, which is then ignored; 0: off
    precision: str = "auto"  # auto: bfloat16 on GPUs that have it, for soft labels on CPUs that do; else float32
    soft_label_k: int = 0  # most likely tokens in a cached soft label; 0: all tokens, exactly
    gradient_checkpointing: bool = False  # far less memory for a third more time; for XL and XXL models
    lora: LoraSettings = LoraSettings()
    on_policy: OnPolicySettings = OnPolicySettings()
    prompt_format: str = "auto"  # how a decoder reads a question: plain, chat, or auto (models/prompts.py)
    report_to: Sequence[str] = ()  # experiment trackers, see tracking.py; without effect on the result

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation"):
            require_integer(name, getattr(self, name), 1)
        require_number("learning_rate", self.learning_rate, above=0, below=1)
        require_choice("schedule", self.schedule, SCHEDULES)
        require_choice("precision", self.precision, PRECISIONS)
        require_choice("prompt_format", self.prompt_format, PROMPT_FORMATS)
        require_number("warmup", self.warmup, least=0, below=1, note="a share of the steps")
        for name in ("weight_decay", "max_grad_norm"):
            require_number(name, getattr(self, name), least=0)
        require_number("save_minutes", self.save_minutes, least=0)
        if self.batch_size % self.accumulation:
            raise InputError(
                f"batch_size {self.batch_size} must be a multiple of accumulation, got {self.accumulation}"
            )
        require_integer("steps", self.steps, note="0 to train for `epochs`")
        require_integer("token_budget", self.token_budget, note="0 to use batch_size")
        require_integer("soft_label_k", self.soft_label_k, note="0 for all tokens")
        require_integer("seed", self.seed)
        require_bool("gradient_checkpointing", self.gradient_checkpointing)
        check_trackers(self.report_to)


def in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether training with this precision multiplies in bfloat16 on the device; weights are always float32."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def rounds_soft_labels(precision: str, device: torch.device) -> bool:
    """Whether training with this precision rounds the products of the mentor's logits (losses.rounded_products).

    Rounding is faster on CPUs with AMX. The student's products follow `precision` alone.
    """
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # missing in older versions of torch
    return precision != "float32" and device.type == "cpu" and known.get("amx_bf16", False)


def recorded(settings: TrainSettings) -> dict:
    """The settings for manifests and cards: all that a result depends on, so without `report_to`.

    The prompt format `auto` follows from the model, so it is left out too.
    """
    left_out = ("report_to", "prompt_format") if settings.prompt_format == AUTO else ("report_to",)
    return {name: value for name, value in asdict(settings).items() if name not in left_out}


def settings_from(written: dict) -> TrainSettings:
    """The settings recorded in a manifest."""
    parts = {"loss": LossSettings, "lora": LoraSettings, "on_policy": OnPolicySettings}
    return TrainSettings(**{name: parts[name](**value) if name in parts else value for name, value in written.items()})


def under(protocol: str, settings: TrainSettings) -> TrainSettings:
    """The settings under a protocol; `sound` does not change them.

    `paper` trains as the official code does: a constant learning rate without warm-up, no gradient clipping, no tau
    squared, the divergence averaged over every position of a batch, padding included (data/paper/defects.md: 3, 4, 21).
    """
    require_choice("protocol", protocol, PROTOCOLS)
    if protocol == "sound":
        return settings
    loss = replace(settings.loss, tau_squared=False, mask="as published")
    return replace(settings, schedule="constant", warmup=0.0, max_grad_norm=0.0, loss=loss)
