"""What a model's folder may contain: its JSON files are checked before transformers reads them.

A model is data. Code that comes with it is never run, and nothing that it names is fetched: no `auto_map`, no attention
kernel from a hub, no quantisation that needs further packages. What the libraries raise for a damaged folder (among
others a bare Exception, or a panic of the tokenizers' Rust code) becomes an InputError with the model's name.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from ..files import InputError, read_json
from ..parsing import shown

FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "model.safetensors.index.json",
    "adapter_config.json",
)
IMPLEMENTATION = re.compile(r"_?(attn|attention|experts)_implementation(_internal)?")
OWN_IMPLEMENTATIONS = (None, "eager", "sdpa")  # those of torch and transformers; all others may be fetched
OTHER_CODE = ("quantization_config", "kernel_config", "use_kernels", "megatron_config", "custom_generate")
MOST_LAYERS = 1000  # a larger model could not even be built
WANTED = "a local folder with config, tokenizer and safetensors, or a hub id"


def unloadable(name: str | Path, error: BaseException) -> InputError:
    """The InputError for a model that a library cannot load."""
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
    if "trust_remote_code" in str(error):
        reason = "it needs its own code, which is never run"
    return InputError(f"model {str(name)!r} could not be loaded ({reason}); give {WANTED}")


@contextlib.contextmanager
def reading(name: str | Path) -> Iterator[None]:
    """Turn whatever the libraries raise inside the block into an InputError with the model's name."""
    try:
        yield
    except Exception as error:  # transformers, tokenizers and safetensors raise all kinds
        raise unloadable(name, error) from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of Rust code; no subclass of Exception
            raise unloadable(name, error) from error
        raise


def check(path: str) -> None:
    """Check the JSON files of a model, in a local folder or of a hub id; InputError names file and key.

    Raises what transformers raises if a hub id has no config.
    """
    if not os.path.isdir(path):
        check_values("config.json", PreTrainedConfig.get_config_dict(path)[0])
        return
    for name in FILES:
        file = Path(path) / name
        if os.path.lexists(file):
            found = read_json(file, finite=False)  # some configs contain Infinity
            if not isinstance(found, dict):
                raise InputError(f"{file}: expected a JSON object, got {type(found).__name__}")
            check_values(str(file), found)


def check_values(file: str, found: dict[str, Any]) -> None:
    """Check the values of a config; InputError names the file and the key."""
    kind = found.get("model_type")
    if found.get("auto_map") and kind is not None and (not isinstance(kind, str) or kind not in CONFIG_MAPPING):
        raise InputError(
            f"{file}: auto_map names the model's own code for model_type {shown(kind)}, which is never run"
        )
    for key, value in _pairs(found):
        if IMPLEMENTATION.fullmatch(key):
            for one in value.values() if isinstance(value, dict) else [value]:
                if one not in OWN_IMPLEMENTATIONS:
                    raise InputError(f"{file}: {key} must be eager or sdpa, got {shown(one)}; no kernel is fetched")
        if key in OTHER_CODE and value:
            raise InputError(f"{file}: {key} needs other packages, which are not used; save the model without it")
        if key.endswith("_token_id") and not all(map(_is_id, value if isinstance(value, list) else [value])):
            raise InputError(f"{file}: {key} must be a token id, or a list of them, got {shown(value)}")
        layers = "layer" in key and isinstance(value, int) and not isinstance(value, bool)
        if layers and value > MOST_LAYERS:
            raise InputError(f"{file}: {key} must be an integer <= {MOST_LAYERS}, got {value}")


def _is_id(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and -1 <= value < 2**31)


def _pairs(found: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(found, dict):
        for key, value in found.items():
            yield key, value
            yield from _pairs(value)
    elif isinstance(found, list):
        for value in found:
            yield from _pairs(value)


def check_tokenizer(name: str | Path, tokenizer: Any, config: Any, probe: str) -> None:
    """Require a tokenizer that encodes any text, into ids for which the model has embeddings.

    A pad token without an embedding is replaced by the end-of-text token: padding is always masked by position.
    """
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"model {str(name)!r}: its tokenizer has no end-of-text token, which is required to learn when to stop"
        )
    rows = getattr(config.get_text_config(), "vocab_size", None)
    padding = tokenizer.pad_token_id
    if padding is None or (isinstance(rows, int) and padding >= rows):  # GPT-2 and Llama have none
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer(probe)
    most = max((number for number in tokenizer.get_vocab().values() if number != padding), default=-1)
    if isinstance(rows, int) and most >= rows:
        raise InputError(
            f"model {str(name)!r}: its tokenizer has ids up to {most}, but the model has {rows} embeddings; "
            f"give the tokenizer and the weights of the same model"
        )
