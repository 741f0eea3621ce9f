"""The settings of a training, and what the two protocols make of them."""

from dataclasses import dataclass, replace

import torch

from .evaluation import PROTOCOLS
from .files import InputError, is_whole
from .lora import LoraSettings
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

    def __post_init__(self):
        for name in ("epochs", "batch_size", "accumulation"):
            value = getattr(self, name)
            if not is_whole(value, 1):
                raise InputError(f"{name} is a whole number from 1, not {value!r}")
        if not isinstance(self.learning_rate, int | float) or not 0 < self.learning_rate < 1:
            raise InputError(
                f"learning_rate is a number between 0 and 1, not {self.learning_rate!r} "
                f"(in YAML write 3.0e-4, for 3e-4 is text there)"
            )
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule is one of {', '.join(SCHEDULES)}, not {self.schedule!r}")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision is one of {', '.join(PRECISIONS)}, not {self.precision!r}")
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
            if not is_whole(value):
                raise InputError(f"{name} is a whole number, 0 {zero}, not {value!r}")
        if not is_whole(self.seed):
            raise InputError(f"seed is a whole number from 0, not {self.seed!r}")


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
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol is one of {', '.join(PROTOCOLS)}, not {protocol!r}")
    if protocol == "sound":
        return settings
    loss = replace(settings.loss, tau_squared=False, mask="as published")
    return replace(settings, schedule="constant", warmup=0.0, max_grad_norm=0.0, loss=loss)
