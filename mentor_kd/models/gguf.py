"""GGUF files, the format of llama.cpp, converted into a folder that transformers loads like any other model.

transformers reads the file with the package `gguf` and unpacks quantised weights; here they are stored as float32
safetensors, with the config, the tokenizer with its chat template, and the special tokens. Pre-tokenizers that
transformers does not know are added here: it would silently use GPT-2's, and split spaces and digits differently than
in the model's training.
"""

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoTokenizer, GgufConfig

from ..cards import UNKNOWN
from ..files import InputError
from ..progress import Progress
from . import loading, trust
from .base_card import write_readme

MAGIC = b"GGUF"
PROBE = "Q: 12 balls,\n\n 3 of 45 are red. How many are not?\n"
# values of tokenizer.ggml.pre, after llama.cpp's list: those of GPT-2, and those that first split off every digit
AS_GPT2 = ("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling")
SINGLE_DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")


@dataclass(frozen=True)
class Header:
    """The header of a GGUF file."""

    architecture: str
    name: str
    licence: str
    tokenizer: str
    pre_tokenizer: str
    chat_template: str
    weights: tuple[str, ...]  # their types, such as F32 and Q4_1

    @property
    def byte_level(self) -> bool:
        return self.tokenizer == "gpt2"


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn whatever is raised for a GGUF file that cannot be used into an InputError with its name."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{file}: {str(error).removeprefix(f'{file}: ')}") from None
    except Exception as error:  # the readers raise all kinds
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
        raise InputError(f"{file}: transformers cannot read this GGUF file ({reason}); give another model") from error


def read_header(file: Path) -> Header:
    """Read the header of a GGUF file. Raises InputError if it is not one, or only part of a model."""
    file = Path(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file; give a GGUF file")
    with file.open("rb") as stream:
        if stream.read(4) != MAGIC:
            raise InputError(f"{file}: not a GGUF file, as it does not begin with GGUF; the file may be incomplete")
    with _reading(file):
        reader = GGUFReader(file)

        def fact(key: str) -> Any:
            field = reader.fields.get(key)
            return "" if field is None else field.contents()

        if (parts := fact("split.count")) and parts > 1:
            raise InputError(f"one of the {parts} parts of a model; merge them with llama.cpp's gguf-split --merge")
        return Header(
            architecture=str(fact("general.architecture")),
            name=str(fact("general.name")),
            licence=str(fact("general.license")),
            tokenizer=str(fact("tokenizer.ggml.model")),
            pre_tokenizer=str(fact("tokenizer.ggml.pre")),
            chat_template=str(fact("tokenizer.chat_template")),
            weights=tuple(sorted({tensor.tensor_type.name for tensor in reader.tensors})),
        )


def add_pre_tokenizer(tokenizer: Any, header: Header) -> str:
    """Give a byte-level tokenizer the pre-tokenizer that the file names; returns a warning, or "".

    A pre-tokenizer that is known neither to transformers nor here is left as GPT-2's.
    """
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    if not header.byte_level or header.pre_tokenizer in (*AS_GPT2, *GGUF_PRE_TOKENIZER_SPLITS):
        return ""
    if header.pre_tokenizer in SINGLE_DIGITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        return ""
    return (
        f"its pre-tokenizer {header.pre_tokenizer or '(none named)'!r} is not known, so text is split as GPT-2 does; "
        f"numbers and spaces may be read differently from what the model was trained on"
    )


def convert(file: Path, folder: Path, name: str, facts: dict[str, str]) -> dict[str, Any]:
    """Convert a GGUF file into `folder`, a new folder with weights, config, tokenizer and a card; returns facts.

    `facts` (source, licence, base) are stated in the card. The folder is loaded once more, and must give the same
    logits as the file does in transformers. Raises InputError for a file that transformers cannot read.
    """
    file, header = Path(file), read_header(file)
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    with Progress(f"converting {name}", 4) as progress, _reading(file):
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars of the readers
            config = AutoConfig.from_pretrained(**where)
            trust.check_values(file.name, json.loads(config.to_json_string()))
            config.name_or_path = name
            tokenizer = AutoTokenizer.from_pretrained(**where)
            progress.advance(note="tokenizer read")
            kind = loading.kind_of(config)
            unpacked = GgufConfig(gguf_file=file.name, dequantize=True)
            packed, info = kind.from_pretrained(
                **where, dtype=torch.float32, quantization_config=unpacked, output_loading_info=True
            )
        loading.require_all(name, packed, info)
        progress.advance(note="weights read")
        warning = add_pre_tokenizer(tokenizer, header)
        model = _plain(packed, config)
        model.save_pretrained(folder)
        tokenizer.clean_up_tokenization_spaces = False
        tokenizer.model_max_length = getattr(config, "max_position_embeddings", tokenizer.model_max_length)
        tokenizer.save_pretrained(folder)
        progress.advance(note="written")
        loaded = loading.load(folder, "cpu")
        _require_same(loaded, packed, tokenizer)
        progress.advance(note="checked")
    known = {
        "parameters": loaded.parameters,
        "architecture": header.architecture,
        "weights": f"{', '.join(header.weights)} in the GGUF file, unpacked to float32",
        "chat_template": bool(header.chat_template),
        **({"warning": warning} if warning else {}),
    }
    licence = facts.get("licence") or header.licence or UNKNOWN
    write_readme(folder, name, header.name, {**facts, **known, "licence": licence})
    return {**known, "licence": licence}


def _plain(packed: Any, config: Any) -> Any:
    """The same weights in a model without GGUF settings: transformers refuses to save the one it loaded."""
    with torch.device("meta"):
        model = type(packed)(config)
    model.load_state_dict(packed.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = packed.generation_config
    return model


@torch.inference_mode()
def _require_same(loaded: loading.Loaded, packed: Any, tokenizer: Any) -> None:
    ids = tokenizer(PROBE)["input_ids"]
    if ids != loaded.tokenizer(PROBE)["input_ids"]:
        raise InputError("the converted tokenizer reads a text differently")
    inputs = {"input_ids": torch.tensor([ids])}
    if loaded.encoder_decoder:
        inputs["decoder_input_ids"] = inputs["input_ids"]
    if not torch.allclose(loaded.model(**inputs).logits, packed.eval()(**inputs).logits, atol=1e-4):
        raise InputError("the converted model computes other logits")
