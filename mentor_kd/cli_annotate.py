"""The command `python -m mentor_kd annotate`: questions in, a file of rationales out, no request paid for twice."""

import argparse
from pathlib import Path

from .cli_options import add_answers, add_columns, add_value, own_data, shown
from .data.folder import require_folder_name
from .files import InputError, reports_root
from .teacher.ask import ASKED, AskSettings
from .teacher.connection import ROUTES, EndpointSettings
from .teacher.prompts import read_prompts
from .teacher.thoughts import RATIONALE_FROM

SUMMARY = "Have a language model write rationales for your questions."
MORE = """\
The questions come from a file (JSON, JSONL, CSV, TSV, Parquet, Arrow), a folder saved by `datasets`, or
hub:owner/name; docs/data.md has the forms that are recognised. Only training questions are annotated. If the data has
no dev or test questions, a fifth of the questions is set aside for each; the split is always the same.

Every reply is saved as it arrives. After a crash, Ctrl-C or an exhausted budget, the same command requests only what is
missing. Start with --dry-run: it prints calls, tokens and cost, and sends nothing."""
EXAMPLES = """\
  export OPENAI_API_KEY=...    # the key stays in your environment; pass only the variable's name
  python -m mentor_kd annotate my.csv --answer-type number --base-url https://api.openai.com/v1 \\
      --model gpt-4o-mini --key-env OPENAI_API_KEY --budget-money 5 --dry-run
  python -m mentor_kd annotate my.csv --answer-type number --base-url http://127.0.0.1:8000/v1 \\
      --model my-model
  python -m mentor_kd annotate my.csv --answer-type number --teacher local \\
      --model Qwen/Qwen2.5-1.5B-Instruct"""


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    one.add_argument("data", help="file or folder of questions, or hub:owner/name; or `sandbox` or `official`")
    one.add_argument("--out", default="", metavar="DIR", help="output folder (default: reports/annotations/<task>)")
    one.add_argument("--dry-run", action="store_true", help="print calls, tokens and cost, send nothing, and exit")
    _add_task(one.add_argument_group("task"))
    _add_teacher(one.add_argument_group("teacher"))
    _add_requests(one.add_argument_group("requests"))
    text = "Budgets count all runs into the same output folder; 0 means no limit."
    _add_limits(one.add_argument_group("limits", text))


def _add_task(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--task", default="", metavar="NAME", help="task name (default: the table's file name)")
    add_answers(group)
    add_columns(group)
    add_value(group, "--questions", 0, "N", "use the first N training questions only")
    text = "number of dev questions (default: all marked dev in the table, or a fifth if there are none)"
    add_value(group, "--dev-questions", 0, "N", text)


def _add_teacher(group: argparse._ArgumentGroup) -> None:
    route = EndpointSettings().route
    text = "a model on a server, or on this machine (default: endpoint)"
    group.add_argument("--teacher", choices=ASKED, default="endpoint", help=text)
    text = "model name on the server; for local, a hub id, folder or size"
    group.add_argument("--model", required=True, metavar="NAME", help=text)
    add_value(group, "--base-url", "", "URL", "server URL, such as https://api.openai.com/v1")
    add_value(group, "--key-env", "", "NAME", "environment variable that holds the API key")
    text = f"completions sends prompts without a chat format (default: {route})"
    group.add_argument("--route", choices=ROUTES, default=route, help=text)
    add_value(group, "--provider", "", "NAME", "name to store replies under if the URL may change (default: the URL)")


def _add_requests(group: argparse._ArgumentGroup) -> None:
    ask, where = AskSettings(), EndpointSettings()
    text = f"{', '.join(read_prompts())}, or a YAML file (default: {ask.prompt})"
    group.add_argument("--prompt", default=ask.prompt, help=text)
    add_value(group, "--rationales", ask.rationales, "N", "rationales per question (default: %(default)s)")
    add_value(group, "--until-correct", 0, "K", "instead, request rationales until K are correct ...")
    add_value(group, "--most-asked", ask.most_asked, "N", "... or N have been requested (default: %(default)s)")
    text = "if a model allows only 1, pass 1 and a single-call prompt such as one-call (default: %(default)s)"
    add_value(group, "--temperature", ask.temperature, "T", text)
    text = "token limit of a reply, thoughts included (default: %(default)s)"
    add_value(group, "--max-tokens", ask.max_tokens, "N", text)
    text = "token limit of the second call's reply, if the prompt has one (default: %(default)s)"
    add_value(group, "--conclude-tokens", ask.conclude_tokens, "N", text)
    text = (
        "the part of a reply that becomes the rationale; solution is the visible text, or the thought if that only "
        "states an answer. Changing it requests nothing again (default: solution)"
    )
    group.add_argument("--rationale-from", choices=RATIONALE_FROM, default=ask.rationale_from, help=text)
    text = "field of the token limit; some models need max_completion_tokens (default: %(default)s)"
    add_value(group, "--limit-field", where.limit_field, "NAME", text)
    add_value(group, "--seed", ask.seed, "N", "seed of the requests, plus the sample's index; -1: none (default: -1)")
    add_value(group, "--extra", "", "YAML", "more request fields, such as '{top_p: 0.9}'")


def _add_limits(group: argparse._ArgumentGroup) -> None:
    where = EndpointSettings()
    add_value(group, "--budget-money", 0.0, "X", "maximum cost, in the currency of --prices")
    add_value(group, "--budget-tokens", 0, "N", "maximum number of tokens")
    add_value(group, "--budget-calls", 0, "N", "maximum number of paid replies")
    add_value(group, "--prices", "", "FILE", "YAML file of prices (default: mentor_kd/teacher/prices.yaml)")
    add_value(group, "--in-flight", where.in_flight, "N", "concurrent requests (default: %(default)s)")
    add_value(group, "--requests-per-minute", 0, "N", "rate limit of the server")
    add_value(group, "--tokens-per-minute", 0, "N", "rate limit of the server")
    add_value(group, "--timeout", where.total_timeout, "S", "seconds per request (default: %(default)g)")


def run(args: argparse.Namespace) -> int:
    """Annotate, then print the counts and the next command; returns 1 if some rationales are missing."""
    from .data.rationales import write_rationales  # imported here to keep --help fast
    from .pipeline.collect import look_text, make, task_for
    from .pipeline.own_task import name_of, with_answer_type
    from .progress import visible
    from .teacher import annotate

    ask = AskSettings(
        model=args.model,
        prompt=args.prompt,
        rationales=args.rationales,
        until_correct=args.until_correct,
        most_asked=max(args.most_asked, args.until_correct),
        temperature=args.temperature,
        max_tokens=args.max_tokens,
        conclude_tokens=args.conclude_tokens,
        rationale_from=args.rationale_from,
        seed=args.seed,
        extra=args.extra,
        prices=args.prices,
        budget_calls=args.budget_calls,
        budget_tokens=args.budget_tokens,
        budget_money=args.budget_money,
    )
    endpoint = EndpointSettings(
        base_url=args.base_url,
        route=args.route,
        key_env=args.key_env,
        provider=args.provider,
        in_flight=args.in_flight,
        requests_per_minute=args.requests_per_minute,
        tokens_per_minute=args.tokens_per_minute,
        total_timeout=args.timeout,
        read_timeout=min(EndpointSettings.read_timeout, args.timeout),
        limit_field=args.limit_field,
    )
    annotate.check_teacher(args.teacher, ask, endpoint)
    own = args.data not in ("sandbox", "official")
    if not own and not args.task:
        raise InputError(f"--task is required with `{args.data}`; pass the name of one of its tasks")
    name = args.task or name_of(args.data)
    require_folder_name("--task", name)
    settings = own_data(args, train_questions=args.questions, dev_questions=args.dev_questions)
    if args.dry_run and (look := look_text(name, settings)):
        print(f"{look}\n")
    settings = with_answer_type(name, settings)
    task = task_for(name, settings)
    questions, given, _ = make(task, settings)
    train = [question for question in questions if question.split == "train"]
    counts = ", ".join(f"{sum(q.split == split for q in questions)} {split}" for split in ("train", "dev", "test"))
    print(f"task {name}: {counts} questions; annotating the train questions")
    folder = Path(args.out) if args.out else reports_root() / "annotations" / name
    what = (folder, task, train, given, args.teacher, ask, endpoint)
    if args.dry_run:
        print(visible(str(annotate.estimated(*what))))
        return 0
    rows, facts = annotate.annotated(*what)
    result = folder / "teacher.jsonl"
    write_rationales(result, rows)
    print(visible(annotate.said(facts)))
    print(
        f"written: {shown(result)} ({len(rows)} rationales), with replies.jsonl (every paid reply) and outcomes.jsonl"
    )
    if facts["open"]:
        print(f"{facts['open']} rationales are missing; run the same command again to request them")
        return 1
    if own:
        more = f" -p answer_pattern='{settings.answer_pattern}'" if settings.answer_pattern else ""
        more += f" -p answer_choices={settings.answer_choices}" if settings.answer_choices else ""
        more += f" -p 'columns={args.columns}'" if args.columns else ""
        more += f" -p data_test={args.data_test}" if args.data_test else ""
        print(
            f"next: python -m mentor_kd run --params notebooks/params/own.yaml -p run={name} -p task={name} "
            f"-p data={args.data} -p answer_type={settings.answer_type}{more} -p teacher={shown(result)}"
        )
    return 0


COMMANDS = {"annotate": ((SUMMARY, MORE, EXAMPLES), add_arguments, run)}
