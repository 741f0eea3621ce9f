"""LoRA with peft: small matrices added to the query and value layers, for models too large to train in full.

The paper trains its XL and XXL models this way (rank 64 and 128, alpha 32, dropout 0.05, targets q and v; its code also
trains the whole output layer, which the paper does not mention; here that layer is frozen).
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from ..checks import require_bool, require_integer, require_number
from ..files import InputError, read_json

ADAPTER = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
# names of query and value layers by model family; GPT-2 has one layer for query, key and value
QUERY_VALUE = (("q", "v"), ("q_proj", "v_proj"), ("query", "value"), ("c_attn",))


@dataclass(frozen=True)
class LoraSettings:
    """Rank of the adapters (0: no LoRA, all weights are trained), scale, dropout, and whether they are merged."""

    rank: int = 0
    alpha: int = 32
    dropout: float = 0.05
    merge: bool = True  # merge into the weights when saving; False saves only the adapters, a few MB

    def __post_init__(self) -> None:
        require_integer("rank", self.rank, note="0 trains all weights")
        require_integer("alpha", self.alpha, 1)
        require_number("dropout", self.dropout, least=0, below=1)
        require_bool("merge", self.merge)


def targets(model: torch.nn.Module) -> list[str]:
    """The names of a model's query and value layers; InputError if they are unknown."""
    leaves = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    for names in QUERY_VALUE:
        if leaves >= set(names):
            return list(names)
    raise InputError(
        f"LoRA does not support {type(model).__name__} (unknown query and value layers); set lora_rank to 0"
    )


def adapt(model: torch.nn.Module, settings: LoraSettings, seed: int) -> torch.nn.Module:
    """The model with new adapters, the only trainable weights; the same for the same seed."""
    from peft import LoraConfig, get_peft_model

    names = targets(model)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=names,
        fan_in_fan_out=names == ["c_attn"],  # GPT-2 stores the weight of this layer transposed
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses a name that transformers will rename
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def merged(model: torch.nn.Module) -> torch.nn.Module:
    """The base model with the adapters merged into its weights."""
    return model.merge_and_unload()


def save_adapters(folder: Path, model: torch.nn.Module, base: str) -> None:
    """Save the adapters alone, with the name and the config of the base model."""
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder, safe_serialization=True)
    (Path(folder) / "README.md").unlink(missing_ok=True)  # peft's card is an empty template
    model.base_model.model.config.save_pretrained(folder)


def bases_of(folder: Path) -> list[str]:
    """The names of the models below a folder's adapters: their base and, if that has adapters too, its bases.

    Empty if the folder has no adapters. Raises InputError if they cannot be read, or are their own base.
    """
    folder, found, seen = Path(folder), [], [os.path.realpath(folder)]
    while base := _base_of(folder):
        folder = Path(base).expanduser()
        found.append(base)
        if os.path.realpath(folder) in seen:
            raise InputError(f"{folder / ADAPTER}: the adapters are their own base model")
        seen.append(os.path.realpath(folder))
    return found


def _base_of(folder: Path) -> str | None:
    if not os.path.lexists(folder / ADAPTER):
        return None
    found = read_json(folder / ADAPTER)
    base = found.get("base_model_name_or_path") if isinstance(found, dict) else None
    if not isinstance(base, str) or not base or "\0" in base:
        raise InputError(f"{folder / ADAPTER}: base_model_name_or_path must name the base model, got {base!r}")
    if found.get("peft_type") != "LORA":
        raise InputError(f"{folder / ADAPTER}: peft_type must be LORA, got {found.get('peft_type')!r}")
    if not (folder / WEIGHTS).is_file():  # peft would load a pickle instead
        raise InputError(f"{folder}: {WEIGHTS} is missing; only safetensors are read")
    return base


def add_adapters(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """The base model with a folder's adapters merged into it; InputError if they do not fit or are incomplete."""
    from peft import PeftModel, get_peft_model_state_dict

    try:
        with safe_open(Path(folder) / WEIGHTS, framework="pt") as file:
            saved = set(file.keys())
        adapted = PeftModel.from_pretrained(model, str(folder))
        if saved != (wanted := set(get_peft_model_state_dict(adapted))):  # peft would ignore the difference
            raise InputError(f"the file has {len(saved)} of {len(wanted)} weights")
        return adapted.merge_and_unload()
    except Exception as error:  # peft and safetensors raise all kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"{folder}: the adapters do not fit their base model ({reason})") from None
