"""LoRA by peft: small trained matrices added to the attention's query and value layers, for models too large to train.

The paper's XL and XXL models are trained so (rank 64 and 128, alpha 32, dropout 0.05, targets q and v; its code also
trains the whole output layer, which the paper does not say and which is left alone here).
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from ..checks import require_bool, require_integer, require_number
from ..files import InputError, read_json

ADAPTER = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
# what families call their query and value layers; GPT-2's is one layer for query, key and value
QUERY_VALUE = (("q", "v"), ("q_proj", "v_proj"), ("query", "value"), ("c_attn",))


@dataclass(frozen=True)
class LoraSettings:
    """Rank of the adapters (0: no LoRA, all weights are trained), their scale, dropout, and how they are saved."""

    rank: int = 0
    alpha: int = 32
    dropout: float = 0.05
    merge: bool = True  # into the weights when saved; False saves the adapters alone, a few MB

    def __post_init__(self) -> None:
        require_integer("rank", self.rank, note="0 trains all weights")
        require_integer("alpha", self.alpha, 1)
        require_number("dropout", self.dropout, least=0, below=1)
        require_bool("merge", self.merge)


def targets(model: torch.nn.Module) -> list[str]:
    """The names of a model's query and value layers; InputError where none are known."""
    leaves = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    for names in QUERY_VALUE:
        if leaves >= set(names):
            return list(names)
    raise InputError(
        f"LoRA knows no query and value layers of a {type(model).__name__}; set lora_rank to 0 to train all weights"
    )


def adapt(model: torch.nn.Module, settings: LoraSettings, seed: int) -> torch.nn.Module:
    """The model with fresh adapters, which alone are trained; the same for the same seed."""
    from peft import LoraConfig, get_peft_model

    names = targets(model)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=names,
        fan_in_fan_out=names == ["c_attn"],  # GPT-2 keeps that layer's weight transposed
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that it will rename
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def merged(model: torch.nn.Module) -> torch.nn.Module:
    """The base model with the adapters added into its weights."""
    return model.merge_and_unload()


def save_adapters(folder: Path, model: torch.nn.Module, base: str) -> None:
    """The adapters alone, with the base's name and the config that tells its shape."""
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder, safe_serialization=True)
    (Path(folder) / "README.md").unlink(missing_ok=True)  # peft's own card, a form to be filled in
    model.base_model.model.config.save_pretrained(folder)


def base_of(folder: Path) -> str | None:
    """The base model's name where the folder holds adapters, else None. InputError for what cannot be read safely."""
    if not (Path(folder) / ADAPTER).is_file():
        return None
    found = read_json(Path(folder) / ADAPTER)
    base = found.get("base_model_name_or_path") if isinstance(found, dict) else None
    if not isinstance(base, str) or not base:
        raise InputError(f"{Path(folder) / ADAPTER}: it names no base model (base_model_name_or_path)")
    if not (Path(folder) / WEIGHTS).is_file():  # peft would take a pickle instead
        raise InputError(f"{folder}: {WEIGHTS} is missing; only safetensors are read")
    return base


def add_adapters(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """The base model with a folder's adapters merged into it; InputError where they do not fit."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (RuntimeError, ValueError, KeyError, json.JSONDecodeError) as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise InputError(f"{folder}: the adapters do not fit their base model ({reason})") from None
