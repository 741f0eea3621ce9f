"""The commands `python -m mentor_kd export` and `push`: results for other programs, and uploads to the Hub."""

import argparse
import tempfile
from pathlib import Path

from .cards import UNKNOWN
from .export.settings import FORMATS, WHOSE, SetSettings
from .files import InputError

SUMMARY = "Write the distillation set, or the task for lm-evaluation-harness, for other programs."
MORE = """\
The set has the kept rationales, with the questions of dev and test as separate splits and a card that says how it
was made. `datasets.load_dataset` reads the folder; TRL, Axolotl and LLaMA-Factory train on it. With --lm-eval, the
test questions are written as a task of lm-evaluation-harness that prompts and judges a student as this package does."""
EXAMPLES = """\
  python -m mentor_kd export quick/sandbox-sums --to sums-set
  python -m mentor_kd export quick/sandbox-sums --to hub:me/sums-set --format chat-jsonl --license cc-by-4.0
  python -m mentor_kd export quick/sandbox-sums --to sums-task --lm-eval
  lm_eval --include_path sums-task --tasks mentor-kd-sandbox-sums --batch_size 16 \\
      --model_args pretrained=reports/quick/sandbox-sums/students/mentor-kd-seed0,dtype=float32"""
TOP = 20  # tokens of a soft label, if --soft-labels does not say how many

PUSH_SUMMARY = "Upload a student, a mentor or an exported set to the Hugging Face Hub."
PUSH_MORE = """\
Weights, configuration, tokenizer and card of a model, or the data and card of a set: nothing else is uploaded, and no
uploaded text names a local folder. The token comes from `hf auth login` or from HF_TOKEN."""
PUSH_EXAMPLES = """\
  python -m mentor_kd push reports/quick/sandbox-sums/students/mentor-kd-seed0 hub:me/sums-student --dry-run
  python -m mentor_kd push sums-set hub:me/sums-set --private"""


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Add the arguments of `export` to its parser."""
    one.add_argument("task", metavar="RUN/TASK", help="a run and a task in it, or the path of the task's folder")
    text = "a new or empty folder (an earlier export is replaced), or hub:owner/name"
    one.add_argument("--to", required=True, metavar="DIR", help=text)
    text = "parquet: columns; chat-jsonl: messages; prompt-completion: the student's texts (default: parquet)"
    one.add_argument("--format", choices=FORMATS, default=FORMATS[0], help=text)
    one.add_argument("--source", choices=WHOSE, default=WHOSE[0], help="whose rationales (default: all)")
    text = f"licence of the set, an identifier of the Hub such as cc-by-4.0 (default: {UNKNOWN})"
    one.add_argument("--license", default=UNKNOWN, metavar="ID", help=text)
    text = f"add the mentor's K most likely tokens at each position, as columns (parquet only; K: {TOP})"
    one.add_argument("--soft-labels", type=int, nargs="?", const=TOP, default=0, metavar="K", help=text)
    one.add_argument("--lm-eval", action="store_true", help="write the task for lm-evaluation-harness instead")
    one.add_argument("--private", action="store_true", help="with hub:, create a private repository")


def run(args: argparse.Namespace) -> int:
    """Export, and say what was written."""
    from .export.push import PREFIX, repo_of

    folder = _folder(args.task)
    if not args.to.startswith(PREFIX):
        print(_written(args, folder, Path(args.to)))
        return 0
    if args.lm_eval:
        raise InputError("a task for lm-evaluation-harness is not uploaded; pass a folder to --to")
    repo_of(args.to)
    with tempfile.TemporaryDirectory(prefix="mentor-kd-export-") as place:
        print(_written(args, folder, Path(place)))
        return _send(Path(place), args.to, args.private, "", False)


def _folder(named: str) -> Path:
    """The task's folder: a path, or RUN/TASK."""
    from .data.folder import task_folder

    if (Path(named) / "collected").is_dir():
        return Path(named)
    run_name, _, task = named.partition("/")
    if not task:
        raise InputError(f"{named!r} must be RUN/TASK, such as quick/sandbox-sums, or the path of a task's folder")
    folder = task_folder(run_name, task)
    if not (folder / "collected").is_dir():
        raise InputError(f"{folder}: no such task folder, or nothing was collected in it; give RUN/TASK of a run")
    return folder


def _written(args: argparse.Namespace, folder: Path, to: Path) -> str:
    if args.lm_eval:
        from .export import lm_eval

        facts = lm_eval.export(folder, to)
        lines = [f"written: {to} ({facts['questions']} test questions)"]
        for task in facts["tasks"]:
            more = " --apply_chat_template" if task in facts["chat"] else ""
            lines.append(
                f"next: lm_eval --include_path {to} --tasks {task} --model_args pretrained=STUDENT,dtype=float32{more}"
            )
        return "\n".join(lines)
    from .export import dataset

    facts = dataset.export(folder, to, SetSettings(args.format, args.source, args.license, args.soft_labels))
    counts = facts["questions"]
    lines = [
        f"written: {args.to}: {facts['exported']} of {facts['rationales']} rationales, {counts['dev']} dev and "
        f"{counts['test']} test questions; the card says why the others were left out",
        f"{facts['train_questions_without_rationale']} of {counts['train']} training questions have no exported "
        f"rationale",
    ]
    if soft := facts["soft_labels"]:
        lines.append(
            f"soft labels of {soft['rows']} rationales: top {soft['k']} of {soft['vocabulary']} tokens, from the "
            f"{soft['form_in_the_run']} form; left out: {soft['too_long']} too long, {soft['special_tokens']} with "
            f"special tokens"
        )
    return "\n".join([*lines, f'read it with datasets.load_dataset("{args.to.removeprefix("hub:")}")'])


def add_push_arguments(one: argparse.ArgumentParser) -> None:
    """Add the arguments of `push` to its parser."""
    one.add_argument("folder", help="folder of a student, a mentor or an exported set")
    one.add_argument("to", metavar="hub:owner/name", help="the repository; it is created if there is none")
    one.add_argument("--private", action="store_true", help="create a private repository")
    one.add_argument("--license", default="", metavar="ID", help="licence for the card (default: as the card says)")
    one.add_argument("--dry-run", action="store_true", help="list what would be uploaded, and send nothing")


def push(args: argparse.Namespace) -> int:
    """Upload, or say what would be uploaded."""
    return _send(Path(args.folder), args.to, args.private, args.license, args.dry_run)


def _send(folder: Path, to: str, private: bool, licence: str, dry_run: bool) -> int:
    from .export.push import plan, send

    upload = plan(folder, to, licence)
    print(f"{upload.kind} {upload.repo}: {len(upload.files)} files, {upload.size / 1e6:.1f} MB")
    for name in upload.files:
        print(f"  {name}")
    if upload.left_out:
        print(f"not uploaded: {', '.join(upload.left_out[:20])}{' ...' if len(upload.left_out) > 20 else ''}")
    if dry_run:
        return 0
    print(f"uploaded: {send(upload, private)}")
    return 0


COMMANDS = {
    "export": ((SUMMARY, MORE, EXAMPLES), add_arguments, run),
    "push": ((PUSH_SUMMARY, PUSH_MORE, PUSH_EXAMPLES), add_push_arguments, push),
}
