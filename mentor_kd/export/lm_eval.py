"""A run's task for lm-evaluation-harness: its test questions, the students' prompts and this package's verdicts.

A folder with one YAML file per kind of model in the run, test.jsonl, task.json, utils.py (a copy of
lm_eval_functions.py) and a manifest.
"""

from dataclasses import asdict
from pathlib import Path

import yaml

from ..data.folder import protocol_of, questions, task_of
from ..files import InputError, read_json, read_record, write_bytes, write_json, write_jsonl, write_text
from ..manifests import finish
from ..models.card import CARD
from ..models.prompts import CHAT, PLAIN, SEPARATOR
from . import lm_eval_functions
from .folders import clear

KIND = "mentor-kd task for lm-evaluation-harness"
SEPARATED, ENCODER_DECODER = "separated", "encoder-decoder"
KINDS = (SEPARATED, ENCODER_DECODER, CHAT)  # of models, by how they read a question
LONGEST = 256  # tokens of an answer if the run has no trained model yet


class _Function(str):
    """A tag of the harness: the name of a function in a Python file next to the YAML."""


class _Dumper(yaml.SafeDumper):
    pass


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\n" in text else None)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", str(name)))


def export(folder: Path, to: Path) -> dict:
    """Write the task of a task's folder for lm-evaluation-harness, and return the manifest's facts.

    Raises InputError if there are no test questions, or if the folder has other files.
    """
    folder, to = Path(folder), Path(to)
    task, protocol, asked = task_of(folder), protocol_of(folder), questions(folder, "test")
    if not asked:
        raise InputError(f"{folder}: there are no test questions to export")
    clear(to, KIND)
    models = trained(folder)
    longest = max((read_record(place / CARD)["max_new_tokens"] for place in models), default=LONGEST)
    rows = [{"id": q.id, "question": q.question, "answer": q.answer} for q in asked]
    write_jsonl(to / "test.jsonl", rows)
    write_json(to / "task.json", {"task": asdict(task), "protocol": protocol})
    write_bytes(to / "utils.py", Path(lm_eval_functions.__file__).read_bytes())
    kinds = sorted(set(map(_kind, models)), key=KINDS.index) or [SEPARATED]
    names, chat = {}, []
    for kind in kinds:
        name = f"mentor-kd-{task.name}" + (f"-{kind}" if kind != SEPARATED and len(kinds) > 1 else "")
        names[name] = described(name, kind, longest)
        chat += [name] if kind == CHAT else []
    for name, config in names.items():
        write_text(to / f"{name}.yaml", yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True))
    outputs = ["test.jsonl", "task.json", "utils.py", *(f"{name}.yaml" for name in names)]
    facts = {"kind": KIND, "tasks": list(names), "chat": chat, "questions": len(asked), "max_gen_toks": longest}
    finish(to, {"run": folder.resolve().parent.name, "task": task.name}, outputs, **facts)
    return facts


def trained(folder: Path) -> list[Path]:
    """The folders of the models that were trained in a task's folder."""
    places = [folder / "mentor", *sorted((folder / "students").glob("*-seed*"))]
    return [place for place in places if (place / CARD).exists() and (place / "config.json").exists()]


def _kind(place: Path) -> str:
    """How a trained model reads a question."""
    if read_json(place / "config.json").get("is_encoder_decoder"):
        return ENCODER_DECODER
    return CHAT if read_record(place / CARD).get("prompt_format", PLAIN) == CHAT else SEPARATED


def described(name: str, kind: str, longest: int) -> dict:
    """The configuration of a task: greedy texts for the prompt that students of a kind read, and their verdicts.

    For students in the chat format the harness writes the chat itself, with its option --apply_chat_template.

    A model saved by this package stops at its own length limit, which generation_config.json states; `longest` is the
    limit of other models. No stop sequence: the models end their texts with their end token.
    """
    return {
        "task": name,
        "custom_dataset": _Function("utils.dataset"),
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}" + (SEPARATOR if kind == SEPARATED else ""),
        "doc_to_target": "answer",
        "process_results": _Function("utils.process_results"),
        "num_fewshot": 0,
        "generation_kwargs": {"until": [], "do_sample": False, "max_gen_toks": longest},
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
