"""Speed of sampling, side by side in one run: the paper's way, the reference backend and CTranslate2.

The paper's way is written here from its description (paper.md, defects 18 and 26; 512 tokens for mentor and student
alike): questions in the file's order, every prompt padded to the longest of the set, each batch going on until its
longest text ends, at 512 tokens at the latest. Ours draws as a run does, sorted, capped and shard by shard.
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
from ..models.loading import Loaded, encode_prompt
from ..progress import Progress

PAPER = "paper"
WAYS = (PAPER, ct2.REFERENCE, "ct2-float32", "ct2-int8")
PAPER_LENGTH = 512
COLUMNS = ["way", "round", "seconds", "texts", "tokens", "length", "unfinished"]


@dataclass(frozen=True)
class SamplingBench:
    """What is timed: texts a question, their number at once, their length, paired rounds.

    `length` is the number of tokens of every text, so that all ways do the same work. 0 lets texts end by themselves:
    ours at `cap` at the latest, the paper's way at 512 in all. InputError for a way that this machine has not.
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
        require_integer("length", self.length, note="0 for texts that end by themselves")
        known = (PAPER, *ct2.BACKENDS)
        if not self.ways:
            raise InputError(f"backends must name at least one of {', '.join(known)}")
        for way in self.ways:
            require_choice("backends", way, known)
            if way != PAPER:
                ct2.check_backend(way)

    def sampling(self, seed: int) -> Sampling:
        """The same in the words of generation."""
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
    """Texts in the paper's way: file order, prompts padded to the longest of the set, 512 tokens and no cap.

    With `sampling.min_new_tokens` above 0 every text has as many tokens as that. A decoder is given a left-padded
    batch with an attention mask, which the paper's code lacks: without one its texts would be wrong, not faster.
    """
    prompts = [encode_prompt(loaded.tokenizer, loaded.encoder_decoder, question) for question in questions]
    longest, left = max(map(len, prompts)), not loaded.encoder_decoder
    limit = {"max_new_tokens": PAPER_LENGTH - (longest if left else 1)}
    if sampling.min_new_tokens:
        limit = {"min_new_tokens": sampling.min_new_tokens, "max_new_tokens": sampling.min_new_tokens}
    torch.manual_seed(sampling.seed)
    texts = []
    for start in range(0, len(prompts), sampling.prompts_at_once):
        rows = prompts[start : start + sampling.prompts_at_once]
        # a row of the longest length, taken off again, pads the others to it
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
    """Texts by a backend, shard by shard as a run draws them."""
    prompts = [encode_prompt(loaded.tokenizer, loaded.encoder_decoder, question) for question in questions]
    texts = []
    for number, shard in enumerate(in_shards(prompts, sampling)):
        for drawn in draw([prompts[i] for i in shard], sampling, shard_seed(sampling.seed, number)):
            texts += drawn
    return texts


def _runner(way: str, model: str | Path, cache: Path) -> Callable[[list[str], Sampling], list[Text]]:
    """What draws texts for questions in one way, its model loaded and, where need be, converted."""
    if way == PAPER:
        return functools.partial(paper_way, loading.load(model))
    loaded = (loading.load if way == ct2.REFERENCE else loading.outline)(model)
    return functools.partial(our_way, loaded, ct2.get_backend(way, loaded, cache / way))


def compare(model: str | Path, questions: list[str], settings: SamplingBench, cache: Path) -> pandas.DataFrame:
    """Time the ways in turn, round after round, on the same questions; one line for each way and round.

    Columns: way, round, seconds, texts (a second), tokens (a second, end tokens counted), length (mean tokens of a
    text), unfinished (share of texts that did not end by themselves). Loading and conversion, which a run does once,
    are not timed; what CTranslate2 loads for each shard is. `cache` keeps the converted models.
    """
    if not questions:
        raise InputError("there is no question to sample for")
    run = {way: _runner(way, model, cache) for way in settings.ways}
    lines = []
    for way in settings.ways:  # first calls build what later ones find
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
    """Pairs of each round of `compare`, seconds over seconds: median, min and max.

    The paper's way over each of ours, and the reference backend over each of CTranslate2's.
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
    """The most memory in MB that each way needs, in a process of its own, its libraries counted; Linux only.

    On a GPU, what torch held there for the paper's way and the reference (CTranslate2 does not tell).
    """
    for way in settings.ways:  # a conversion needs more than what is measured here
        if way != PAPER:
            ct2.get_backend(way, loading.outline(model), cache / way)
    context, found = multiprocessing.get_context("spawn"), {}
    for way in settings.ways:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            job = (_peak, way, str(model), questions, settings, cache, torch.get_num_threads())
            found[way] = pool.submit(*job).result()
    return pandas.Series(found, name="peak memory (MB)")
