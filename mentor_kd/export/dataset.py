"""Exporting a set: a folder that `datasets.load_dataset` reads, with its card and a manifest that is written last."""

from pathlib import Path

from ..cards import README
from ..files import digest, write_json, write_jsonl, write_text
from ..manifests import finish
from . import soft_columns
from .dataset_card import card
from .folders import clear
from .rows import Contents, contents
from .settings import SetSettings
from .tables import write_rows

KIND = "mentor-kd data set"  # in the manifest, so that only an earlier export is ever replaced
LLAMA_FACTORY = "dataset_info.json"  # the file in which LLaMA-Factory looks up a data set


def export(folder: Path, to: Path, settings: SetSettings) -> dict:
    """Write the distillation set of a task's folder to a folder, and return the manifest's facts.

    Raises InputError if the task was not filtered, if nothing was kept, or if the folder has other files.
    """
    folder, to = Path(folder), Path(to)
    found = contents(folder, settings.source)
    clear(to, KIND)
    parquet, files = settings.format == "parquet", {}
    for split in ("train", "dev", "test"):
        if split == "train" or found.questions[split]:
            files[split] = f"data/{split}.{'parquet' if parquet else 'jsonl'}"
            rows = found.records(split, settings.format)
            write_rows(to / files[split], rows, found.meta) if parquet else write_jsonl(to / files[split], rows)
    soft = None
    if settings.soft_labels:
        soft = soft_columns.write(to / soft_columns.FILE, folder, found.kept, settings.soft_labels)
    facts = _facts(folder, found, settings, soft)
    write_json(to / LLAMA_FACTORY, llama_factory(settings.format, files["train"]))
    write_text(to / README, card(to.resolve().name, folder, found, settings, files, soft))
    outputs = [*files.values(), *([soft_columns.FILE] if soft else []), LLAMA_FACTORY, README]
    inputs = {"rows": digest([row.id for row in found.kept]), "format": settings.format, "source": settings.source}
    finish(to, inputs, outputs, **facts)
    return facts


def _facts(folder: Path, found: Contents, settings: SetSettings, soft: dict | None) -> dict:
    return {
        "kind": KIND,
        "run": folder.resolve().parent.name,
        "task": found.task.name,
        "rationales": len(found.every),
        "exported": len(found.kept),
        "questions": {split: len(rows) for split, rows in found.questions.items()},
        "train_questions_without_rationale": found.unexplained,
        "licence": settings.licence,
        "soft_labels": soft,
    }


def llama_factory(form: str, train: str) -> dict:
    """The entry of the training split in LLaMA-Factory's dataset_info.json."""
    if form == "chat-jsonl":
        tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
        entry = {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    else:
        entry = {"formatting": "alpaca", "columns": {"prompt": "prompt", "response": "completion"}}
    return {"mentor_kd": {"file_name": train, **entry}}
