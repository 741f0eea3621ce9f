"""The command `python -m mentor_kd augment`: samples of a mentor that a server runs."""

import argparse
import os
from pathlib import Path

from .cli_options import RESUMES, shown
from .files import InputError

SUMMARY = "Sample a mentor served by vLLM or any OpenAI-compatible server."
MORE = f"""\
Replaces notebook 03. If both use the same sampling settings, the notebook finds its work done.

{RESUMES}"""
EXAMPLES = """\
  vllm serve reports/mine/gsm8k/mentor --served-model-name mentor
  python -m mentor_kd augment reports/mine/gsm8k --base-url http://127.0.0.1:8000/v1 --model mentor"""


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    one.add_argument("folder", help="task folder with a trained mentor, reports/<run>/<task>")
    one.add_argument("--base-url", required=True, metavar="URL", help="server URL, such as http://127.0.0.1:8000/v1")
    one.add_argument("--model", required=True, metavar="NAME", help="name of the mentor on the server")
    one.add_argument("--key-env", default="", metavar="NAME", help="environment variable that holds the key, if any")
    one.add_argument("--samples", type=int, default=3, metavar="N", help="samples per training question (default: 3)")
    one.add_argument("--temperature", type=float, default=0.7, metavar="T", help="sampling temperature (default: 0.7)")
    text = "top-k sampling; 0 if the server does not support it (default: 50)"
    one.add_argument("--top-k", type=int, default=50, metavar="K", help=text)
    one.add_argument("--top-p", type=float, default=1.0, metavar="P", help="nucleus sampling (default: 1.0)")
    text = "token limit of a sample (default: as stored with the mentor)"
    one.add_argument("--max-new-tokens", type=int, default=0, metavar="N", help=text)
    text = "batch size of notebook 03; no effect here except that it must match (default: 64)"
    one.add_argument("--generation-batch", type=int, default=64, metavar="N", help=text)
    one.add_argument("--seed", type=int, default=0, metavar="N", help="sampling_seed of notebook 03 (default: 0)")
    one.add_argument("--in-flight", type=int, default=64, metavar="N", help="concurrent requests (default: 64)")


def run(args: argparse.Namespace) -> int:
    """Request the missing samples and print how many there are."""
    from .files import read_record
    from .models.generation import Sampling
    from .pipeline.augment import Augmenter, augment
    from .teacher.connection import EndpointSettings

    folder = Path(args.folder)
    usual = folder / "mentor" / "manifest.json"
    if not os.path.lexists(usual):
        raise InputError(f"{folder}: mentor/manifest.json is missing; pass reports/<run>/<task> with a trained mentor")
    sampling = Sampling(
        n=args.samples,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        max_new_tokens=args.max_new_tokens or read_record(usual, max_new_tokens=int)["max_new_tokens"],
        batch_size=args.generation_batch,
        seed=args.seed,
    )
    where = EndpointSettings(base_url=args.base_url, key_env=args.key_env, in_flight=args.in_flight)
    made = augment(folder, sampling, Augmenter(endpoint=where, served=args.model))
    print(f"{made['rows']} samples in {shown(folder / 'augmented' / 'mentor.jsonl')}")
    return 0


COMMANDS = {"augment": ((SUMMARY, MORE, EXAMPLES), add_arguments, run)}
