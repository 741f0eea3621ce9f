"""Model cards: model_card.json, which this package reads, and README.md in the form of the Hugging Face Hub.

README.md has the Hub's metadata (base model, data set, licence, pipeline, test accuracy) and a snippet that asks the
model with transformers alone, as this package does.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData, metadata_load
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..cards import HERE, README, UNKNOWN, block, code, front_matter, one_line, plain
from ..files import read_json, write_json, write_text
from . import names
from .prompts import CHAT, SEPARATOR

CARD = "model_card.json"
CHAT_INPUTS = (  # the lines of a snippet that write a question in the chat format
    'turn = [{"role": "user", "content": question}]',
    "text = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False, enable_thinking=False)",
    'inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt", return_token_type_ids=False)',
)
_SHOWN = ("name", "summary", "example", "task", "marker", "test")  # keys of a card that README.md shows in its text


def write_card(folder: Path, card: dict, encoder_decoder: bool, ends_prompt: bool) -> None:
    """Write a model card as model_card.json and as README.md.

    A decoder reads the question in the card's `prompt_format`. With `ends_prompt`, its tokenizer appends an end token,
    which must be removed from the prompt.
    """
    folder = Path(folder)
    write_json(folder / CARD, card)
    title = card.get("name", folder.name)
    lines = [f"# {plain(title)}", "", plain(card.get("summary", "")), ""]
    if "example" in card:
        lines += ["## Use", "", block(snippet(card, encoder_decoder, ends_prompt), "python")]
    lines += ["## Facts", ""]
    lines += [
        f"- **{key.replace('_', ' ')}**: {_shown(key, value)}" for key, value in card.items() if key not in _SHOWN
    ]
    adapters = (folder / "adapter_config.json").exists()
    top = front_matter(metadata(card, title, encoder_decoder, adapters))
    write_text(folder / README, top + "\n" + "\n".join(lines) + "\n")


def _shown(key: str, value: Any) -> str:
    if isinstance(value, bool | int | float):
        return str(value)
    if key in ("base", "starts_from"):
        return code(public_name(str(value)))
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return str(len(value))  # ids of rows that were left out
    value = without_folders(value)
    return code(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def public_name(model: str) -> str:
    """A model's name without the folders of this machine: of a path its last part, also after a word as in "mentor /x".

    A hub id is unchanged.
    """
    if os.path.isdir(model):
        return Path(model).resolve().name
    found = re.fullmatch(r"(|.* )((?:~|\.{1,2})?/.*)", model, re.DOTALL)
    return found[1] + Path(found[2]).name if found else model


def without_folders(value: Any) -> Any:
    """A JSON value in which each text that is the path of something on this machine is reduced to its last part."""
    if isinstance(value, dict):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str) and os.path.isabs(value) and "\0" not in value and os.path.lexists(value):
        return Path(value).name
    return value


def metadata(card: dict, title: str, encoder_decoder: bool, adapters: bool) -> dict:
    """The Hub's metadata of a model card."""
    results, base = None, public_name(card.get("base", ""))
    if "test" in card and "dataset" in card:
        test = card["test"]
        results = [
            EvalResult(
                task_type="text2text-generation" if encoder_decoder else "text-generation",
                dataset_type=one_line(card["dataset"]),
                dataset_name=one_line(card["task"]["title"] or card["task"]["name"]),
                dataset_split="test",
                metric_type="accuracy",
                metric_name=f"accuracy in percent, {test['n']} questions",
                metric_value=round(test["value"], 2),
            )
        ]
    data = ModelCardData(
        model_name=one_line(title) if results else None,
        base_model=base if _is_repo(base) else None,
        datasets=[one_line(card["dataset"])] if "dataset" in card else None,
        language=card.get("language"),
        license=card.get("licence", UNKNOWN).lower(),
        library_name="peft" if adapters else "transformers",
        pipeline_tag="text2text-generation" if encoder_decoder else "text-generation",
        tags=["mentor-kd", "knowledge-distillation", "reasoning"],
        eval_results=results,
        base_model_relation=("adapter" if adapters else "finetune") if _is_repo(base) else None,
    )
    return data.to_dict()


def _is_repo(name: str) -> bool:
    if names.is_named(name) or name in names.SANDBOX_MODELS:  # a model of this machine
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return bool(name)


def licence_of(folder: Path) -> str:
    """The licence that a local model states in its card; "unknown" if it states none, or is not a local folder."""
    folder = Path(folder)
    if (folder / CARD).is_file() and (stated := read_json(folder / CARD).get("licence")):
        return str(stated)
    if not (folder / README).is_file():
        return UNKNOWN
    try:
        found = metadata_load(folder / README) or {}
    except (ValueError, yaml.YAMLError, OSError):  # somebody else's file
        return UNKNOWN
    stated = found.get("license")
    return stated if isinstance(stated, str) and stated else UNKNOWN


def snippet(card: dict, encoder_decoder: bool, ends_prompt: bool) -> str:
    """Python code that asks the model one question with transformers alone; run it in the model's folder."""
    kind = "AutoModelForSeq2SeqLM" if encoder_decoder else "AutoModelForCausalLM"
    chat = card.get("prompt_format") == CHAT
    prompt = "question" if encoder_decoder else f"question + {SEPARATOR!r}"
    lines = [
        f"from transformers import {kind}, AutoTokenizer",
        "",
        f'model_id = "."  {HERE}',
        "tokenizer = AutoTokenizer.from_pretrained(model_id)",
        f"model = {kind}.from_pretrained(model_id)",
        f"question = {card['example']!r}  # on one line, with single spaces",
        *(CHAT_INPUTS if chat else [f'inputs = tokenizer({prompt}, return_tensors="pt", return_token_type_ids=False)']),
    ]
    if ends_prompt and not encoder_decoder and not chat:
        lines.append("inputs = {name: value[:, :-1] for name, value in inputs.items()}  # without the end token")
    start = "" if encoder_decoder else ', inputs["input_ids"].shape[1] :'
    lines += [
        f"ids = model.generate(**inputs, max_new_tokens={card['max_new_tokens']}, do_sample=False)",
        f"text = tokenizer.decode(ids[0{start}], skip_special_tokens=True)",
        f"rationale, _, answer = text.rpartition({card['marker']!r})",
        'print(rationale.strip(), answer.strip(), sep="\\n")',
    ]
    return "\n".join(lines)
