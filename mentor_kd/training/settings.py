"""The settings of a training, and what the two protocols make of them."""

from dataclasses import dataclass, replace

import torch

from ..checks import require_bool, require_choice, require_integer, require_number
from ..data.tasks import PROTOCOLS
from ..files import InputError
from ..models.lora import LoraSettings
from .losses import LossSettings
from .on_policy import OnPolicySettings

SCHEDULES = ("constant", "linear", "cosine")
PRECISIONS = ("auto", "float32", "bfloat16")


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
    precision: str = "auto"  # bfloat16 on GPUs that have it, of soft labels on CPUs that do, else float32; or one
    soft_label_k: int = 0  # likeliest tokens in a cached soft label; 0: all of them, exactly
    gradient_checkpointing: bool = False  # a third more time for far less memory: for the XL and XXL sizes
    lora: LoraSettings = LoraSettings()
    on_policy: OnPolicySettings = OnPolicySettings()

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation"):
            require_integer(name, getattr(self, name), 1)
        require_number("learning_rate", self.learning_rate, above=0, below=1)
        require_choice("schedule", self.schedule, SCHEDULES)
        require_choice("precision", self.precision, PRECISIONS)
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


def in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether a training of that precision multiplies in bfloat16 there; the weights are float32 in any case."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def rounds_soft_labels(precision: str, device: torch.device) -> bool:
    """Whether a training of that precision rounds what makes the mentor's logits to bfloat16 (losses.rounded_products).

    It gains time on processors with AMX. The student's own products stay as the precision says.
    """
    known = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch do not say
    return precision != "float32" and device.type == "cpu" and known.get("amx_bf16", False)


def settings_from(written: dict) -> TrainSettings:
    """The settings that a manifest holds."""
    parts = {"loss": LossSettings, "lora": LoraSettings, "on_policy": OnPolicySettings}
    return TrainSettings(**{name: parts[name](**value) if name in parts else value for name, value in written.items()})


def under(protocol: str, settings: TrainSettings) -> TrainSettings:
    """The settings as a protocol has them; `sound` leaves them as they are.

    `paper` trains as the official code does: a constant rate without warm-up, gradients not clipped, no tau squared,
    the divergence averaged over every position of a batch, padding included (data/paper/defects.md: 3, 4, 21).
    """
    require_choice("protocol", protocol, PROTOCOLS)
    if protocol == "sound":
        return settings
    loss = replace(settings.loss, tau_squared=False, mask="as published")
    return replace(settings, schedule="constant", warmup=0.0, max_grad_norm=0.0, loss=loss)
