"""Model loading: a model and its tokenizer by sandbox name, local path or hub id; saving with a model card.

Decoder-only and encoder-decoder models have the same two methods: `prompt` (what the model reads) and `target` (what it
learns to generate). The rest of the package sees only token ids.
"""

import contextlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
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

from ..files import MANIFEST, InputError, digest, read_json, sha256
from . import layers, lora, names, prompts, trust
from .card import CARD, write_card
from .names import SANDBOX_MODELS, model_path

logging.set_verbosity_error()  # it warns of tied weights and defaults that this package sets itself
logging.disable_progress_bar()

IGNORED = -100  # a label that losses ignore
NOT_MODEL = (CARD, MANIFEST)  # files in a model's folder that do not change what it computes


@dataclass(frozen=True)
class Loaded:
    """A model with its tokenizer, the name it was loaded by, and the format of its prompts (prompts.py)."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompt_format: str = prompts.PLAIN

    @property
    def encoder_decoder(self) -> bool:
        return bool(self.model.config.is_encoder_decoder)

    def prompt(self, question: str) -> list[int]:
        """Token ids of what the model reads."""
        return prompts.encode_prompt(self.tokenizer, self.encoder_decoder, question, self.prompt_format)

    def target(self, text: str) -> list[int]:
        """Token ids of what the model learns to write, with EOS."""
        return prompts.encode_target(self.tokenizer, text)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @property
    def vocabulary(self) -> int:
        """The number of tokens that the tokenizer and the output layer have in common.

        FlanT5's tokenizer has 32,100 entries and its output layer 32,128 rows (docs/method.md, Vocabularies).
        """
        return min(len(self.tokenizer), self.model.get_output_embeddings().weight.shape[0])


def identity(name: str | Path) -> str:
    """A model's identity for manifests: a hash of its files for a local folder, else its hub id and commit.

    The identity of adapters includes that of their base model, and of a model with some layers left out that of the
    whole one. Raises InputError if the model cannot be found.
    """
    base_name, chosen = names.split(name)
    if chosen:
        with trust.reading(name):
            trust.check(model_path(base_name))
            config = AutoConfig.from_pretrained(model_path(base_name), trust_remote_code=False)
        return digest([identity(base_name), layers.parse(str(name), chosen, layers.counts(config))])[:16]
    path = Path(model_path(str(name))).expanduser()
    if os.path.isdir(path):
        files = sorted(
            f
            for f in path.iterdir()
            if f.suffix in (".safetensors", ".json", ".jinja", ".model", ".txt") and f.name not in NOT_MODEL
        )
        base = (*lora.bases_of(path), None)[0]
        return digest([[f.name, sha256(f)] for f in files] + ([["base", identity(base)]] if base else []))[:16]
    with trust.reading(name):
        trust.check(str(name))
        config = AutoConfig.from_pretrained(str(name), trust_remote_code=False)
    return f"{name}@{getattr(config, '_commit_hash', None)}"


def best_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _described(name: str | Path) -> tuple[str, AutoConfig, PreTrainedTokenizerBase]:
    """The path of a model, its config and its tokenizer, which always has a pad token."""
    path = model_path(str(name))
    looks_local = Path(path).is_absolute() or str(name).startswith((".", "~")) or names.is_named(name)
    if looks_local and not os.path.isdir(Path(path).expanduser()):
        raise InputError(
            f"model {str(name)!r}: no folder {path}; give one of {', '.join(SANDBOX_MODELS)}, a folder, or a hub id"
        )
    path = str(Path(path).expanduser()) if looks_local else path
    with trust.reading(name):
        trust.check(path)
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        trust.check_tokenizer(name, tokenizer, config, _PROBE)
    return path, config, tokenizer


def kind_of(config: AutoConfig) -> Any:
    """The auto class of transformers for a model with this config."""
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def outline(name: str | Path) -> Loaded:
    """A model's shape and tokenizer without its weights (they are on the meta device), at almost no cost.

    Enough for tokenizing and decoding. Raises InputError as `load` does.
    """
    base, chosen = names.split(name)
    if chosen:
        return _cut(name, outline(base), chosen)
    path, config, tokenizer = _described(name)
    with trust.reading(name):
        with torch.device("meta"):
            model = kind_of(config).from_config(config, trust_remote_code=False)
        with contextlib.suppress(OSError):  # not every model has a generation config file
            model.generation_config = GenerationConfig.from_pretrained(path)
        model.generation_config = plain_generation_config(model, tokenizer)
    return Loaded(str(name), model, tokenizer, recorded_format(path) or prompts.PLAIN)


def load(name: str | Path, device: torch.device | str | None = None) -> Loaded:
    """Load a model and its tokenizer by name (names.py), local path or hub id, in float32.

    Adapters are merged into their base model. Only safetensors are read, and no code shipped with a model is run.
    Raises InputError, with the model's name, if it cannot be found or used.
    """
    base, chosen = names.split(name)
    if chosen:
        return _cut(name, load(base, device), chosen)
    path, config, tokenizer = _described(name)
    read_as = recorded_format(path) or prompts.PLAIN
    bases = lora.bases_of(Path(path))
    if bases:
        model = lora.add_adapters(load(bases[0], "cpu").model, Path(path))
        return Loaded(str(name), _ready(model, tokenizer).to(device or best_device()), tokenizer, read_as)
    with trust.reading(name):
        model, info = kind_of(config).from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, output_loading_info=True, trust_remote_code=False
        )
        require_all(name, model, info)
        return Loaded(str(name), _ready(model, tokenizer).to(device or best_device()), tokenizer, read_as)


def recorded_format(path: str | Path) -> str:
    """The prompt format in which a saved model was trained, from its card; "" if there is no record."""
    card = Path(path) / CARD
    found = read_json(card).get("prompt_format", "") if card.is_file() else ""
    if found not in ("", prompts.PLAIN, prompts.CHAT):
        raise InputError(f"{card}: prompt_format must be {prompts.PLAIN} or {prompts.CHAT}, got {found!r}")
    return found


def in_format(loaded: Loaded, wanted: str) -> Loaded:
    """The model with its prompts in a format: `plain`, `chat` or `auto` (see prompts.prompt_format)."""
    base, _ = names.split(loaded.name)
    recorded = recorded_format(Path(model_path(base)).expanduser())
    found = prompts.prompt_format(loaded.name, loaded.tokenizer, loaded.encoder_decoder, wanted, recorded)
    return replace(loaded, prompt_format=found)


def _cut(name: str | Path, whole: Loaded, chosen: str) -> Loaded:
    """A model with only these layers, as they are written in its name."""
    kept = layers.parse(str(name), chosen, layers.counts(whole.model.config))
    try:
        return replace(whole, name=str(name), model=layers.cut(whole.model, kept))
    except InputError as error:
        raise InputError(f"model {str(name)!r}: {error}") from None


def require_all(name: str | Path, model: PreTrainedModel, info: dict) -> None:
    """Raise InputError if weights are missing, which transformers would initialise at random, or left over."""
    if info["missing_keys"]:
        raise InputError(
            f"its file lacks {len(info['missing_keys'])} of the weights ({', '.join(sorted(info['missing_keys'])[:3])})"
        )
    known = {re.sub(r"\d+", "0", key) for key in model.state_dict()}
    more = sorted(key for key in info["unexpected_keys"] if re.sub(r"\d+", "0", key) in known)
    if more:
        raise InputError(f"its file has weights of more layers than config.json says ({', '.join(more[:3])})")


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
    if mentor.prompt_format != student.prompt_format:
        raise InputError(
            f"soft labels require the same prompts for both models, but mentor {mentor.name!r} reads them as "
            f"{mentor.prompt_format} and student {student.name!r} as {student.prompt_format}; set prompt_format to "
            f"{mentor.prompt_format} for both, or choose a method without soft labels: {without}"
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
        lora.save_adapters(folder, loaded.model, names.from_anywhere(adapters_of))
    else:
        loaded.model.save_pretrained(folder)
    loaded.tokenizer.clean_up_tokenization_spaces = False  # decode as this package does, wherever it is loaded
    loaded.tokenizer.save_pretrained(folder)
    if "max_new_tokens" in card:  # other programs then stop where this package does, instead of after 20 tokens
        config = plain_generation_config(loaded.model, loaded.tokenizer)
        config.max_new_tokens = card["max_new_tokens"]
        config.save_pretrained(folder)
    save_card(folder, loaded, {"parameters": loaded.parameters, **card})


def save_card(folder: Path, loaded: Loaded, card: dict) -> None:
    """Save a model card as model_card.json and README.md; an outline of the model is enough."""
    ends_prompt = loaded.tokenizer("a")["input_ids"][-1] == loaded.tokenizer.eos_token_id
    write_card(folder, card, loaded.encoder_decoder, ends_prompt)
