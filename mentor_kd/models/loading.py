"""Model loading: a model and its tokenizer by sandbox name, local path or hub id; encoding; saving with a model card.

Decoder-only and encoder-decoder models use the same two functions: `encode_prompt` (what the model reads) and
`encode_target` (what it learns to generate). The rest of the package sees only token ids.
"""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from ..files import DATA, MANIFEST, InputError, digest, sha256, write_json, write_text
from . import lora

logging.set_verbosity_error()  # it warns of tied weights and defaults that this package sets itself
logging.disable_progress_bar()

SEPARATOR = "\n###\n"  # between question and target of a decoder-only model
SANDBOX_MODELS = ("sandbox-small", "sandbox-base", "sandbox-large", "sandbox-swaps")
IGNORED = -100  # a label that losses ignore
CARD = "model_card.json"
UNLOADABLE = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)  # what transformers raises for a bad model
NOT_MODEL = (CARD, MANIFEST)  # files in a model's folder that do not change what it computes


@dataclass(frozen=True)
class Loaded:
    """A model with its tokenizer, and the name it was loaded by."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def encoder_decoder(self) -> bool:
        return bool(self.model.config.is_encoder_decoder)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @property
    def vocabulary(self) -> int:
        """The number of tokens that the tokenizer and the output layer have in common.

        FlanT5's tokenizer has 32,100 entries and its output layer 32,128 rows (docs/method.md, Vocabularies).
        """
        return min(len(self.tokenizer), self.model.get_output_embeddings().weight.shape[0])


def model_path(name: str) -> str:
    """The folder of a sandbox model; any other name (a local path, a hub id) unchanged."""
    return str(DATA / "models" / name) if name in SANDBOX_MODELS else str(name)


def identity(name: str | Path) -> str:
    """A model's identity for manifests: a hash of its files for a local folder, else its hub id and commit.

    The identity of adapters includes that of their base model. Raises InputError if the model cannot be found.
    """
    path = Path(model_path(str(name))).expanduser()
    if path.is_dir():
        files = sorted(
            f
            for f in path.iterdir()
            if f.suffix in (".safetensors", ".json", ".model", ".txt") and f.name not in NOT_MODEL
        )
        base = lora.base_of(path)
        return digest([[f.name, sha256(f)] for f in files] + ([["base", identity(base)]] if base else []))[:16]
    try:
        config = AutoConfig.from_pretrained(model_path(str(name)))
    except UNLOADABLE as error:
        raise _unloadable(name, error) from error
    return f"{name}@{getattr(config, '_commit_hash', None)}"


def _unloadable(name: str | Path, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
    return InputError(
        f"model {str(name)!r} could not be loaded ({reason}); give one of {', '.join(SANDBOX_MODELS)}, a local folder "
        f"with config, tokenizer and safetensors, or a hub id"
    )


def best_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _described(name: str | Path) -> tuple[str, AutoConfig, PreTrainedTokenizerBase]:
    """The path of a model, its config and its tokenizer, which always has a pad token."""
    path = model_path(str(name))
    looks_local = Path(path).is_absolute() or str(name).startswith((".", "~")) or name in SANDBOX_MODELS
    if looks_local and not Path(path).expanduser().is_dir():
        raise InputError(
            f"model {str(name)!r}: no folder {path}; give one of {', '.join(SANDBOX_MODELS)}, a folder, or a hub id"
        )
    path = str(Path(path).expanduser()) if looks_local else path
    try:
        config, tokenizer = AutoConfig.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    except UNLOADABLE as error:
        raise _unloadable(name, error) from error
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"model {str(name)!r}: its tokenizer has no end-of-text token, which is required to learn when to stop"
        )
    if tokenizer.pad_token_id is None:
        # GPT-2 and Llama have no pad token. Any id works, because padding is always masked by position, never by id.
        tokenizer.pad_token = tokenizer.eos_token
    return path, config, tokenizer


def _kind(config: AutoConfig) -> Any:
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def outline(name: str | Path) -> Loaded:
    """A model's shape and tokenizer without its weights (they are on the meta device), at almost no cost.

    Enough for tokenizing and decoding. Raises InputError as `load` does.
    """
    path, config, tokenizer = _described(name)
    with torch.device("meta"):
        model = _kind(config).from_config(config)
    with contextlib.suppress(OSError):  # not every model has a generation config file
        model.generation_config = GenerationConfig.from_pretrained(path)
    model.generation_config = plain_generation_config(model, tokenizer)
    return Loaded(str(name), model, tokenizer)


def load(name: str | Path, device: torch.device | str | None = None) -> Loaded:
    """Load a model and its tokenizer by sandbox name, local path or hub id, in float32.

    Adapters are merged into their base model. Only safetensors are read, and no code shipped with a model is run.
    Raises InputError, with the model's name, if it cannot be found or used.
    """
    path, config, tokenizer = _described(name)
    base = lora.base_of(Path(path))
    if base:
        model = lora.add_adapters(load(base, "cpu").model, Path(path))
        return Loaded(str(name), _ready(model, tokenizer).to(device or best_device()), tokenizer)
    try:
        model, info = _kind(config).from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except UNLOADABLE as error:
        raise _unloadable(name, error) from error
    if info["missing_keys"]:  # transformers would initialise them at random
        raise InputError(
            f"model {str(name)!r}: its file lacks {len(info['missing_keys'])} of the weights "
            f"({', '.join(sorted(info['missing_keys'])[:3])}); give a complete checkpoint of a text-generation model"
        )
    return Loaded(str(name), _ready(model, tokenizer).to(device or best_device()), tokenizer)


def _ready(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    model.config.use_cache = True
    model.generation_config = plain_generation_config(model, tokenizer)
    return model.eval()


def plain_generation_config(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """A config of token ids only, so that a model's sampling defaults never change a run silently."""
    ends = model.generation_config.eos_token_id if model.generation_config is not None else None
    ends = set(ends if isinstance(ends, list) else [] if ends is None else [ends])
    ends.add(tokenizer.eos_token_id)  # training targets end with it
    return GenerationConfig(
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=sorted(ends) if len(ends) > 1 else tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
    )


def encode_prompt(tokenizer: PreTrainedTokenizerBase, encoder_decoder: bool, question: str) -> list[int]:
    """Token ids of the model's input: the question with EOS for an encoder, with the separator for a decoder.

    A decoder's tokenizer may add its BOS; an EOS that it adds is removed, because the text continues.
    """
    ids = tokenizer(question if encoder_decoder else question + SEPARATOR)["input_ids"]
    if not encoder_decoder and ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return ids


def encode_target(tokenizer: PreTrainedTokenizerBase, target: str) -> list[int]:
    """Token ids of the target, with EOS; the same for both kinds of model, so that soft labels fit both."""
    return [*tokenizer(target, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Decode generated ids, without special tokens."""
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _vocabulary(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    return tokenizer.get_vocab()


_PROBE = "Ann has 12 apples;\u00a0she's given 3.5 away \u2014 r\u00e9sum\u00e9! --> (B) \u6f22\u5b57 \U0001f600"


def same_tokenizer(a: PreTrainedTokenizerBase, b: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers give the same ids for the same text: same vocabulary, same ids for a difficult text.

    Sizes are no evidence: FlanT5's tokenizer has 32,100 entries and its config says 32,128 (docs/method.md).
    """
    if a is b:
        return True
    return (
        _vocabulary(a) == _vocabulary(b)
        and a.eos_token_id == b.eos_token_id
        and a(_PROBE, add_special_tokens=False)["input_ids"] == b(_PROBE, add_special_tokens=False)["input_ids"]
    )


def require_same_tokenizer(mentor: Loaded, student: Loaded, methods_without: list[str]) -> None:
    """Raise InputError, naming both models, if the student cannot use the mentor's soft labels."""
    without = ", ".join(methods_without)
    if mentor.encoder_decoder != student.encoder_decoder:
        kinds = ("a decoder-only model", "an encoder-decoder")
        raise InputError(
            f"soft labels require two models of the same kind, but mentor {mentor.name!r} is "
            f"{kinds[mentor.encoder_decoder]} and student {student.name!r} is {kinds[student.encoder_decoder]}; "
            f"choose two models of the same kind, or a method without soft labels: {without}"
        )
    if not same_tokenizer(mentor.tokenizer, student.tokenizer):
        raise InputError(
            f"soft labels require the same tokenizer for both models, but mentor {mentor.name!r} "
            f"({len(mentor.tokenizer)} tokens) and student {student.name!r} ({len(student.tokenizer)} tokens) have "
            f"different ones; choose two models of the same family, or a method without soft labels: {without}"
        )


def save(folder: Path, loaded: Loaded, card: dict, adapters_of: str = "") -> None:
    """Save weights (safetensors), config, tokenizer and a model card (model_card.json and README.md).

    With `adapters_of`, the name of the base model, only the adapters are saved.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if adapters_of:
        local = Path(model_path(adapters_of)).expanduser()
        named = adapters_of in SANDBOX_MODELS or not local.is_dir()
        lora.save_adapters(folder, loaded.model, adapters_of if named else str(local.resolve()))
    else:
        loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    write_card(folder, {"parameters": loaded.parameters, **card})


def write_card(folder: Path, card: dict) -> None:
    """Write a model card as model_card.json and as a short README.md."""
    folder = Path(folder)
    write_json(folder / CARD, card)
    title = card.get("name", folder.name)
    lines = [f"# {title}", "", card.get("summary", ""), ""]
    for key, value in card.items():
        if key not in ("name", "summary"):
            shown = value if isinstance(value, str | int | float) else f"`{json.dumps(value, ensure_ascii=False)}`"
            lines.append(f"- **{key.replace('_', ' ')}**: {shown}")
    write_text(folder / "README.md", "\n".join(lines) + "\n")
