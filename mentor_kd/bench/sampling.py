"""Speed of sampling: the paper's way, the reference backend and CTranslate2, compared in one run.

The paper's way is reimplemented from the description of the official code (data/paper/defects.md, defects 18 and 27;
512 tokens for mentor and student): questions in file order, every prompt padded to the longest of the set, and each
batch runs until its longest text ends, at most 512 tokens. Ours samples as a run does: sorted, capped, shard by shard.
"""

import concurrent.futures
import functools
import itertools
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas
import torch

from ..checks import require_choice, require_integer
from ..files import InputError
from ..models import ct2, loading
from ..models.batches import mask, pad
from ..models.generation import Draw, Sampling, Text, as_text, in_shards, shard_seed
from ..models.loading import Loaded
from ..progress import Progress

PAPER = "paper"
WAYS = (PAPER, ct2.REFERENCE, "ct2-float32", "ct2-int8")
PAPER_LENGTH = 512
COLUMNS = ["way", "round", "seconds", "texts", "tokens", "length", "unfinished"]


@dataclass(frozen=True)
class SamplingBench:
    """Settings of the timing: texts per question, texts per batch, tokens per text, paired rounds, ways.

    With `length` > 0 every text has exactly that many tokens, so all ways do the same work. With 0 texts end at their
    end token, at the latest after `cap` tokens (paper's way: 512 in total, prompt or start token included). Raises
    InputError for a way that is not available on this machine.
    """

    n: int = 3
    batch_size: int = 96
    length: int = 64
    cap: int = 256
    temperature: float = 0.7
    top_k: int = 50
    rounds: int = 3
    ways: tuple[str, ...] = WAYS

    def __post_init__(self) -> None:
        for name in ("n", "batch_size", "cap", "rounds"):
            require_integer(name, getattr(self, name), 1)
        require_integer("length", self.length, note="0: texts end at their end token")
        known = (PAPER, *ct2.BACKENDS)
        if not self.ways:
            raise InputError(f"backends must name at least one of {', '.join(known)}")
        for way in self.ways:
            require_choice("backends", way, known)
            if way != PAPER:
                ct2.check_backend(way)

    def sampling(self, seed: int) -> Sampling:
        """These settings as generation settings."""
        return Sampling(
            n=self.n,
            temperature=self.temperature,
            top_k=self.top_k,
            max_new_tokens=self.length or self.cap,
            min_new_tokens=self.length,
            batch_size=self.batch_size,
            seed=seed,
        )


@torch.inference_mode()
def paper_way(loaded: Loaded, questions: list[str], sampling: Sampling) -> list[Text]:
    """Sample texts in the paper's way: file order, prompts padded to the longest of the set, up to 512 tokens.

    If `sampling.min_new_tokens` is above 0, every text has exactly that many tokens. Decoder-only models get
    left-padded batches with an attention mask. The official code has no mask, which makes its texts wrong, not faster.
    """
    prompts = [loaded.prompt(question) for question in questions]
    longest, left = max(map(len, prompts)), not loaded.encoder_decoder
    limit = {"max_new_tokens": PAPER_LENGTH - (longest if left else 1)}
    if sampling.min_new_tokens:
        limit = {"min_new_tokens": sampling.min_new_tokens, "max_new_tokens": sampling.min_new_tokens}
    torch.manual_seed(sampling.seed)
    texts = []
    for start in range(0, len(prompts), sampling.prompts_at_once):
        rows = prompts[start : start + sampling.prompts_at_once]
        # an extra row of the longest length, removed again, pads the others
        ids = pad([*rows, [0] * longest], loaded.tokenizer.pad_token_id, left)[:-1]
        seen = mask([*rows, [0] * longest], left)[:-1]
        written = loaded.model.generate(
            input_ids=ids.to(loaded.model.device),
            attention_mask=seen.to(loaded.model.device),
            do_sample=True,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            num_return_sequences=sampling.n,
            **limit,
        )
        texts += [as_text(loaded, row) for row in written[:, longest if left else 1 :].tolist()]
    return texts


def our_way(loaded: Loaded, draw: Draw, questions: list[str], sampling: Sampling) -> list[Text]:
    """Sample texts with a backend, shard by shard as in a run."""
    prompts = [loaded.prompt(question) for question in questions]
    texts = []
    for number, shard in enumerate(in_shards(prompts, sampling)):
        for drawn in draw([prompts[i] for i in shard], sampling, shard_seed(sampling.seed, number)):
            texts += drawn
    return texts


def _runner(way: str, model: str | Path, cache: Path) -> Callable[[list[str], Sampling], list[Text]]:
    """A function that samples texts in one way; its model is loaded and, if necessary, converted."""
    if way == PAPER:
        return functools.partial(paper_way, loading.load(model))
    loaded = (loading.load if way == ct2.REFERENCE else loading.outline)(model)
    return functools.partial(our_way, loaded, ct2.get_backend(way, loaded, cache / way))


def compare(model: str | Path, questions: list[str], settings: SamplingBench, cache: Path) -> pandas.DataFrame:
    """Time the ways in turn, round after round, on the same questions: one line per way and round.

    Columns: way, round, seconds, texts (per second), tokens (per second, end tokens included), length (mean tokens per
    text), unfinished (share of texts without an end token). Loading and conversion, which a run does once, are not
    timed; CTranslate2's loading per shard is. Converted models are kept in `cache`.
    """
    if not questions:
        raise InputError("no questions to sample for: pass at least one")
    run = {way: _runner(way, model, cache) for way in settings.ways}
    lines = []
    for way in settings.ways:  # warm-up: first calls are slower
        run[way](questions[:2], replace(settings.sampling(0), max_new_tokens=2, min_new_tokens=2))
    with Progress("timing", settings.rounds * len(settings.ways), "draws") as progress:
        for number, way in itertools.product(range(settings.rounds), settings.ways):
            started = time.perf_counter()
            texts = run[way](questions, settings.sampling(number))
            seconds = time.perf_counter() - started
            tokens = sum(text.tokens + text.finished for text in texts)
            unfinished = sum(not text.finished for text in texts) / len(texts)
            lines.append(
                [way, number, seconds, len(texts) / seconds, tokens / seconds, tokens / len(texts), unfinished]
            )
            progress.advance(1, f"{way}: {tokens / seconds:,.0f} tokens/s")
    return pandas.DataFrame(lines, columns=COLUMNS)


def ratios(table: pandas.DataFrame) -> pandas.DataFrame:
    """Ratios of seconds, paired by round of `compare`: median, min and max.

    The paper's way over each backend, and the reference backend over each of CTranslate2's.
    """
    seconds = table.pivot(index="round", columns="way", values="seconds")
    ways = [way for way in (PAPER, *ct2.BACKENDS) if way in seconds]
    pairs = {
        f"{slow} / {quick}": seconds[slow] / seconds[quick]
        for slow, quick in itertools.combinations(ways, 2)
        if slow in (PAPER, ct2.REFERENCE)
    }
    return pandas.DataFrame(pairs).agg(["median", "min", "max"]).T


def _peak(way: str, model: str, questions: list[str], settings: SamplingBench, cache: Path, threads: int) -> float:
    torch.set_num_threads(threads)
    _runner(way, model, cache)(questions, settings.sampling(0))
    if torch.cuda.is_available() and way in (PAPER, ct2.REFERENCE):
        return torch.cuda.max_memory_allocated() / 2**20
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def peak_memory(model: str | Path, questions: list[str], settings: SamplingBench, cache: Path) -> pandas.Series:
    """Peak memory in MB of each way, measured in a separate process, libraries included; Linux only.

    On a GPU, the memory allocated by torch for the paper's way and the reference (CTranslate2 does not report its own).
    """
    for way in settings.ways:  # convert before measuring: conversion needs more memory
        if way != PAPER:
            ct2.get_backend(way, loading.outline(model), cache / way)
    context, found = multiprocessing.get_context("spawn"), {}
    for way in settings.ways:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            job = (_peak, way, str(model), questions, settings, cache, torch.get_num_threads())
            found[way] = pool.submit(*job).result()
    return pandas.Series(found, name="peak memory (MB)")
