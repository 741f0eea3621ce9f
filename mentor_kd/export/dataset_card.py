"""The card of an exported set: where its rationales come from, what was left out and why, and how to read it."""

from dataclasses import asdict
from pathlib import Path

from ..cards import HERE, block, code, front_matter, plain
from ..data.answers import MARKER
from ..data.tasks import TASKS
from ..files import read_record, read_settings
from ..filtering import filters
from ..models.card import public_name
from . import soft_columns
from .rows import Contents
from .settings import SetSettings

MODELS = 20  # names of teacher models that are listed
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
FORM = {
    "parquet": "`question`, `rationale`, `answer`; `prompt` and `completion` are the same as training texts",
    "chat-jsonl": "`messages`: the question as the user's turn, rationale and answer as the assistant's",
    "prompt-completion": "`prompt`: what the student reads; `completion`: what it learns to write",
}


def card(
    name: str, folder: Path, found: Contents, settings: SetSettings, files: dict[str, str], soft: dict | None
) -> str:
    """README.md of a set in a folder of this name, with these data files per split; `folder` is the task's."""
    task = found.task
    rows = len(found.kept) + sum(len(found.questions[split]) for split in ("dev", "test"))
    configs = [{"config_name": "default", "data_files": [{"split": s, "path": path} for s, path in files.items()]}]
    if soft:
        configs.append({"config_name": "soft_labels", "data_files": [{"split": "train", "path": soft_columns.FILE}]})
    top = {
        "pretty_name": f"Rationales for {task.title or task.name}",
        "license": settings.licence,
        "language": ["en"] if task.name in TASKS else None,
        "task_categories": ["text-generation", "question-answering"],
        "tags": ["mentor-kd", "reasoning", "chain-of-thought", "knowledge-distillation", "synthetic"],
        "size_categories": [next((name for most, name in SIZES if rows < most), "n>1M")],
        "configs": configs,
    }
    title = f"# {plain(top['pretty_name'])}"
    about = (
        f"Questions of the task {code(task.name)} with rationales that were written by language models and filtered: "
        f"a distillation set for small models, made with mentor-kd."
    )
    parts = [
        title,
        about,
        _reading(name, soft),
        _columns(found, settings),
        _origin(folder, found),
        _filters(folder, found),
    ]
    parts += [_splits(found), *([_soft(soft)] if soft else [])]
    return front_matter(top) + "\n" + "\n\n".join(parts) + "\n"


def _reading(name: str, soft: dict | None) -> str:
    lines = ["from datasets import load_dataset", "", f"data_id = {name!r}  {HERE}", "data = load_dataset(data_id)"]
    lines += ['soft_labels = load_dataset(data_id, "soft_labels", split="train")'] if soft else []
    lines += ['print(data["train"][0])']
    return "## Reading it\n\n" + block("\n".join(lines), "python").rstrip()


def _columns(found: Contents, settings: SetSettings) -> str:
    further = f", and of the questions {', '.join(map(code, found.meta))}" if found.meta else ""
    return (
        f"## Columns\n\nFormat {code(settings.format)}: {FORM[settings.format]}. A training text is the rationale, the "
        f"marker {code(MARKER)} and the gold answer. Also: `id`, `question_id`, `split`, the gold `answer`, the "
        f"`source` of the rationale (teacher or mentor), the `prediction` that its text states and whether that is "
        f"`correct`, and how it was sampled (`model`, `temperature`, `top_k`, `seed`, `index`){further}. Rows of dev "
        f"and test have a question and its gold answer, and no rationale. A rationale whose text alone would be read "
        f"as another answer, or whose text is empty, ends with the marker and the gold answer."
    )


def _origin(folder: Path, found: Contents) -> str:
    lines = ["## How it was made", ""]
    for source in ("teacher", "mentor"):
        rows = [row for row in found.kept if row.source == source]
        if not rows:
            continue
        models = sorted({public_name(row.sampler["model"]) for row in rows})
        more = f" and {len(models) - MODELS} more" if len(models) > MODELS else ""
        lines.append(f"- **{source}**: {len(rows)} rationales by {', '.join(map(code, models[:MODELS]))}{more}")
    if (folder / "mentor" / "manifest.json").exists() and any(row.source == "mentor" for row in found.kept):
        known = read_record(folder / "mentor" / "manifest.json")
        lines.append(
            f"- The mentor is {code(public_name(known['base']))}, fine-tuned on the teacher's correct rationales; it "
            f"answers {known['test']['value']:.1f}% of {known['test']['n']} test questions correctly."
        )
    lines.append("- Answers were found in the texts and compared with the gold answers by mentor-kd.")
    return "\n".join(lines)


def _filters(folder: Path, found: Contents) -> str:
    table = filters.counts(found.every)
    rows = [["source", *table.columns], ["---"] + ["---:"] * len(table.columns)]
    rows += [[name, *map(str, line)] for name, line in zip(table.index, table.to_numpy().tolist(), strict=True)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    usual = asdict(filters.FilterSettings())
    used = read_settings(folder / "filters.yaml")
    changed = [f"{name} {code(value)}" for name, value in used.items() if value != usual.get(name)]
    said = "Filters: only correct rationales" + (", no duplicates" if used.get("duplicates", True) else "")
    said += f"; {', '.join(changed)}." if changed else "."
    said += " The verdicts of people come first. Rationales by source, with the reason for each that was left out:"
    return "## Filters\n\n" + said + "\n\n" + "\n".join(lines)


def _splits(found: Contents) -> str:
    counts = {split: len(rows) for split, rows in found.questions.items()}
    explained = counts["train"] - found.unexplained
    return (
        f"## Splits\n\n- train: {len(found.kept)} rationales of {explained} questions; {found.unexplained} more "
        f"training questions have no exported rationale and are left out\n"
        f"- dev: {counts['dev']} questions\n- test: {counts['test']} questions"
    )


def _soft(soft: dict) -> str:
    left_out = f"{soft['too_long']} too long for the mentor and {soft['special_tokens']} with special tokens"
    return (
        f"## Soft labels\n\nConfiguration `soft_labels`: {soft['rows']} rationales ({left_out} are left out). For each "
        f"target token, the mentor's {soft['k']} likeliest tokens of {soft['vocabulary']}, computed at temperature "
        f"{soft['temperature']:g} from the {soft['form_in_the_run']} form that the run stores: `top_ids` and "
        f"`top_log_probs` (likeliest first), and `log_rest`, the log-probability of all others. `prompt_ids` and "
        f"`target_ids` are token ids of the tokenizer of {code(soft['tokenizer'])}; the target includes its end token."
    )
