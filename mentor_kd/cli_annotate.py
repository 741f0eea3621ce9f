"""The command `python -m mentor_kd annotate`: questions in, a file of rationales out, and nothing paid for twice."""

import argparse
import os
import re
from pathlib import Path

from .files import InputError, reports_root
from .teacher.ask import ASKED, AskSettings
from .teacher.connection import ROUTES, EndpointSettings
from .teacher.prompts import read_prompts

SUMMARY = "Have a language model annotate your questions."
MORE = """

The questions come from a CSV or JSONL table with the columns question and answer (and, where you have them, rationale
and split: train, dev or test). Only training questions are annotated. Where the table marks no dev or test questions,
a fifth each is drawn, always the same ones.

Every answer is on disk before the next question is asked. After a crash, Ctrl-C or a budget's end, run the same command
again: it asks only what it does not have. Say --dry-run first: it prints calls, tokens and money, and sends nothing.

examples:
  export OPENAI_API_KEY=...      # the key stays in the environment; the command is told the variable's name only
  python -m mentor_kd annotate my.csv --answer-type number --base-url https://api.openai.com/v1 \\
      --model gpt-4o-mini --key-env OPENAI_API_KEY --budget-money 5 --dry-run
  python -m mentor_kd annotate my.csv --answer-type number --base-url http://127.0.0.1:8000/v1 --model my-model
  python -m mentor_kd annotate my.csv --answer-type number --teacher local --model Qwen/Qwen2.5-1.5B-Instruct
"""


def add_arguments(one: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    ask, where = AskSettings(), EndpointSettings()
    one.add_argument("data", help="table of questions (.csv or .jsonl), or: sandbox, official")
    group = one.add_argument_group("the task")
    group.add_argument("--task", default="", help="its name; default: the name of the table")
    group.add_argument("--answer-type", default="", help="number, choice, yes/no, text or pattern")
    group.add_argument("--answer-pattern", default="", metavar="REGEX", help="for pattern: what an answer looks like")
    group.add_argument("--answer-choices", default="", metavar="LETTERS", help="for choice: its letters, such as ABC")
    group.add_argument("--questions", type=int, default=0, metavar="N", help="only the first N training questions")
    group.add_argument("--dev-questions", type=int, default=0, metavar="N", help="dev questions; 0: all, or a fifth")
    group = one.add_argument_group("the teacher")
    group.add_argument("--teacher", choices=ASKED, default="endpoint", help="default: endpoint")
    group.add_argument("--model", required=True, help="its name at the endpoint; for local: a hub id, folder or size")
    group.add_argument("--base-url", default="", metavar="URL", help="of the endpoint, such as https://host/v1")
    group.add_argument("--key-env", default="", metavar="NAME", help="environment variable that holds the key")
    group.add_argument("--route", choices=ROUTES, default=where.route, help="default: chat; completions: raw prompts")
    group.add_argument("--provider", default="", help="a lasting name for who answers, where the URL may change")
    group = one.add_argument_group("what is asked")
    group.add_argument("--prompt", default=ask.prompt, help=f"{', '.join(read_prompts())}, or a YAML file of your own")
    group.add_argument("--rationales", type=int, default=ask.rationales, metavar="N", help="for each question")
    group.add_argument(
        "--until-correct", type=int, default=0, metavar="K", help="go on until K are right (and see --most-asked)"
    )
    group.add_argument("--most-asked", type=int, default=ask.most_asked, metavar="N", help="... or N were asked")
    group.add_argument(
        "--temperature",
        type=float,
        default=ask.temperature,
        help=f"default: {ask.temperature}; where a model allows 1 only, take a prompt with one call",
    )
    group.add_argument("--max-tokens", type=int, default=ask.max_tokens, metavar="N", help="of an answer")
    group.add_argument("--limit-field", default=where.limit_field, help="some models want max_completion_tokens")
    group.add_argument("--seed", type=int, default=ask.seed, help="sent with each request; -1 (default): none")
    group.add_argument("--extra", default="", metavar="YAML", help="further fields, such as '{top_p: 0.9}'")
    group = one.add_argument_group("limits")
    group.add_argument("--budget-money", type=float, default=0.0, metavar="X", help="spend no more, over all runs")
    group.add_argument("--budget-tokens", type=int, default=0, metavar="N", help="use no more, over all runs")
    group.add_argument("--budget-calls", type=int, default=0, metavar="N", help="send no more, over all runs")
    group.add_argument(
        "--prices", default="", metavar="FILE", help="prices in YAML, as mentor_kd/teacher/prices.yaml has them"
    )
    group.add_argument("--in-flight", type=int, default=where.in_flight, metavar="N", help="requests at once")
    group.add_argument("--requests-per-minute", type=int, default=0, metavar="N")
    group.add_argument("--tokens-per-minute", type=int, default=0, metavar="N")
    group.add_argument("--timeout", type=float, default=where.total_timeout, metavar="S", help="seconds for a request")
    one.add_argument("--out", default="", metavar="DIR", help="default: annotations/<task> in the reports folder")
    one.add_argument("--dry-run", action="store_true", help="print what it would cost, send nothing, and stop")


def run(args: argparse.Namespace) -> int:
    """Annotate, print the counts and the next command; 1 if some rationales did not come."""
    from .data.rationales import write_rationales  # what --help does not need is imported here
    from .pipeline.collect import CollectSettings, make, task_for
    from .teacher import annotate

    ask = AskSettings(
        model=args.model,
        prompt=args.prompt,
        rationales=args.rationales,
        until_correct=args.until_correct,
        most_asked=max(args.most_asked, args.until_correct),
        temperature=args.temperature,
        max_tokens=args.max_tokens,
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
    name = args.task or (re.sub(r"[^a-z0-9]+", "-", Path(args.data).stem.lower()).strip("-") if own else "")
    if not name:
        raise InputError(f"name the task with --task: which of {args.data}?")
    if own and not args.answer_type:
        raise InputError("say with --answer-type what an answer is: number, choice, yes/no, text or pattern")
    settings = CollectSettings(
        data=args.data,
        answer_type=args.answer_type,
        answer_pattern=args.answer_pattern,
        answer_choices=args.answer_choices,
        train_questions=args.questions,
        dev_questions=args.dev_questions,
    )
    task = task_for(name, settings)
    questions, given, _ = make(task, settings)
    train = [question for question in questions if question.split == "train"]
    counts = ", ".join(f"{sum(q.split == split for q in questions)} {split}" for split in ("train", "dev", "test"))
    print(f"task {name}: {counts} questions; the training questions are annotated")
    folder = Path(args.out) if args.out else reports_root() / "annotations" / name
    what = (folder, task, train, given, args.teacher, ask, endpoint)
    if args.dry_run:
        print(annotate.estimated(*what))
        return 0
    rows, facts = annotate.annotated(*what)
    result = folder / "teacher.jsonl"
    write_rationales(result, rows)
    shown = os.path.relpath(result) if not os.path.relpath(result).startswith("..") else result
    print(annotate.said(facts))
    print(f"written: {shown} ({len(rows)} rationales), replies.jsonl (what was paid for) and outcomes.jsonl beside it")
    if facts["open"]:
        print(f"{facts['open']} rationales did not come; run the same command again to ask for them")
        return 1
    if own:
        more = f" -p answer_pattern='{args.answer_pattern}'" if args.answer_pattern else ""
        more += f" -p answer_choices={args.answer_choices}" if args.answer_choices else ""
        print(
            f"next: python -m mentor_kd run --params notebooks/params/own.yaml -p run={name} -p task={name} "
            f"-p data={args.data} -p answer_type={args.answer_type}{more} -p teacher={shown}"
        )
    return 0
