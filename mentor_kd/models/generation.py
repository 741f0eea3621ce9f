"""Generation: sampling and greedy decoding in batches of similar length, seeded and resumable by shard.

A shard is a few batches with one seed, written as one file. A restarted run skips existing shards and generates the
others, so it ends with the same rows as an uninterrupted run.
"""

import functools
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from ..checks import require_integer, require_number
from ..files import InputError, digest, read_json, read_jsonl, write_json, write_jsonl
from ..progress import Progress
from .batches import mask, pad
from .loading import Loaded
from .prompts import decode

BATCHES_PER_SHARD = 4
ROW = {"id": str, "index": int, "text": str, "finished": bool, "tokens": int}  # a row of a shard
SEGMENT = 8  # tokens generated before finished texts are removed from their batch
PADDING = 1.15  # maximum number of prompt slots per real token in the batches


@dataclass(frozen=True)
class Sampling:
    """How texts are sampled: n per prompt, temperature (0 is greedy), top_k, top_p, lengths, batch size, seed.

    Everything is explicit: by default transformers silently restricts sampling to the 50 likeliest tokens. A mentor's
    defaults are those of the official scripts: three samples at temperature 0.7 with top_k 50.
    """

    n: int = 1
    temperature: float = 0.0
    top_k: int = 50
    top_p: float = 1.0
    max_new_tokens: int = 256
    batch_size: int = 64
    seed: int = 0
    min_new_tokens: int = 0  # if equal to max_new_tokens, all texts have the same length (for benchmarks)

    def __post_init__(self) -> None:
        for name in ("n", "max_new_tokens", "batch_size"):
            require_integer(name, getattr(self, name), 1)
        require_integer("min_new_tokens", self.min_new_tokens)
        if self.min_new_tokens > self.max_new_tokens:
            raise InputError(
                f"min_new_tokens must be <= max_new_tokens ({self.max_new_tokens}), got {self.min_new_tokens}"
            )
        require_number("temperature", self.temperature, least=0, note="0 is greedy")
        require_integer("top_k", self.top_k, note="0 for no limit")
        require_number("top_p", self.top_p, above=0, most=1)
        require_integer("seed", self.seed)
        if self.greedy and self.n > 1:
            raise InputError(
                f"n must be 1 for greedy decoding (temperature 0), got {self.n}; set n to 1 or raise temperature"
            )

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def prompts_at_once(self) -> int:
        """Prompts per batch, so that a batch has `batch_size` texts."""
        return max(1, self.batch_size // self.n)


@dataclass(frozen=True)
class Text:
    """One generated text; `finished` says whether the model ended it within max_new_tokens."""

    text: str
    finished: bool
    tokens: int


# A backend: `n` texts for each encoded prompt, in order; the same for the same prompts, sampling and seed.
Draw = Callable[[list[list[int]], Sampling, int], list[list[Text]]]


def end_tokens(loaded: Loaded) -> set[int]:
    """The token ids that end a text."""
    ends = loaded.model.generation_config.eos_token_id
    return set(ends) if isinstance(ends, list) else {ends}


def as_text(loaded: Loaded, ids: list[int]) -> Text:
    """Decode generated ids up to the first end token."""
    ends = end_tokens(loaded)
    length = next((i for i, token in enumerate(ids) if token in ends), None)
    kept = ids if length is None else ids[:length]
    return Text(decode(loaded.tokenizer, kept), length is not None, len(kept))


def generate_batch(loaded: Loaded, prompts: list[list[int]], sampling: Sampling, seed: int) -> list[list[Text]]:
    """`n` texts for each encoded prompt of a batch; the same for the same batch and seed."""
    texts = [as_text(loaded, row) for row in generate_ids(loaded, prompts, sampling, seed)]
    return [texts[i : i + sampling.n] for i in range(0, len(texts), sampling.n)]


@torch.inference_mode()
def generate_ids(loaded: Loaded, prompts: list[list[int]], sampling: Sampling, seed: int) -> list[list[int]]:
    """The new token ids of each text of a batch, `n` texts per prompt; ids after an end token are padding.

    A decoder's prompts are left-padded with an attention mask, so that a text does not depend on the rest of its batch
    (up to rounding). The caller's random state and the model's mode are restored.
    """
    device, training = loaded.model.device, loaded.model.training
    loaded.model.eval()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        rows = _write(loaded, prompts, sampling)
    loaded.model.train(training)
    return rows


def _write(loaded: Loaded, prompts: list[list[int]], sampling: Sampling) -> list[list[int]]:
    """The new ids of each text, generated by transformers SEGMENT tokens at a time.

    Finished texts leave the batch between segments; otherwise all rows would be computed until the longest text ends.
    """
    model, left, ends = loaded.model, not loaded.encoder_decoder, end_tokens(loaded)
    ids = pad(prompts, loaded.tokenizer.pad_token_id, left).to(model.device)
    seen = mask(prompts, left).to(model.device)
    given = {"input_ids": ids} if left else {"encoder_outputs": model.get_encoder()(ids, attention_mask=seen)}
    how: dict[str, Any] = {"do_sample": False}
    if not sampling.greedy:
        how = {"do_sample": True, "temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
    written: list[list[int]] = [[] for _ in range(len(prompts) * sampling.n)]
    live, copies, done = list(range(len(written))), sampling.n, 0
    while live:
        size = min(SEGMENT, sampling.max_new_tokens - done)
        found = model.generate(
            **given,
            **how,
            attention_mask=seen,
            num_return_sequences=copies,
            max_new_tokens=size,
            min_new_tokens=min(size, max(0, sampling.min_new_tokens - done)) or None,
            use_cache=True,
            return_dict_in_generate=True,
        )
        new = found.sequences[:, ids.shape[1] if left else done + 1 :].tolist()
        for number, row in zip(live, new, strict=True):
            written[number] += row
        done += size
        going_on = [k for k, row in enumerate(new) if ends.isdisjoint(row)] if done < sampling.max_new_tokens else []
        live = [live[k] for k in going_on]
        if live:
            chosen = torch.tensor(going_on, device=model.device)
            cache, ids = found.past_key_values, found.sequences[chosen]
            cache.batch_select_indices(chosen)
            seen = seen.repeat_interleave(copies, dim=0)[chosen]
            if left:
                seen = torch.cat([seen, seen.new_ones(len(live), size)], dim=1)
                given = {"input_ids": ids, "past_key_values": cache}
            else:
                states = given["encoder_outputs"].last_hidden_state.repeat_interleave(copies, dim=0)[chosen]
                given = {"encoder_outputs": BaseModelOutput(last_hidden_state=states)}
                # without a mask, the next segment would not see T5's start token, which is its pad token
                given |= {"decoder_input_ids": ids, "decoder_attention_mask": torch.ones_like(ids)}
                given |= {"past_key_values": cache}
            copies = 1
    return written


def by_length(prompts: list[list[int]], batch_size: int) -> list[list[int]]:
    """Prompt numbers in batches of similar length, longest first, so that running out of memory shows immediately.

    While the batches have more than PADDING slots per real token, a batch is split where that saves most.
    """
    lengths = [len(prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (-lengths[i], i))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    while prompt_padding(prompts, batches) > PADDING:
        _, number, place = max(
            ((lengths[batch[0]] - lengths[batch[place]]) * (len(batch) - place), number, place)
            for number, batch in enumerate(batches)
            for place in range(1, len(batch))
        )
        batch = batches[number]
        batches[number : number + 1] = [batch[:place], batch[place:]]
    return batches


def prompt_padding(prompts: list[list[int]], batches: list[list[int]]) -> float:
    """Prompt slots per real token over these batches; 1.0 means no padding."""
    lengths = [[len(prompts[i]) for i in batch] for batch in batches]
    return sum(max(batch) * len(batch) for batch in lengths) / max(1, sum(map(sum, lengths)))


def draw(loaded: Loaded, prompts: list[list[int]], sampling: Sampling, seed: int) -> list[list[Text]]:
    """The reference backend: generation by transformers, in batches of similar length with one seed each."""
    results: list[list[Text]] = [[] for _ in prompts]
    with Progress("generating", len(prompts), "questions", inner=True) as progress:
        for number, batch in enumerate(by_length(prompts, sampling.prompts_at_once)):
            drawn = generate_batch(loaded, [prompts[i] for i in batch], sampling, seed + number)
            for i, texts in zip(batch, drawn, strict=True):
                results[i] = texts
            progress.advance(len(batch))
    return results


def generate(loaded: Loaded, questions: list[str], sampling: Sampling) -> list[list[Text]]:
    """Texts for each question from the reference backend, in order; held in memory, for small jobs."""
    prompts = [loaded.prompt(question) for question in questions]
    return draw(loaded, prompts, sampling, shard_seed(sampling.seed, 0))


def in_shards(prompts: list[list[int]], sampling: Sampling) -> list[list[int]]:
    """The prompt numbers of each shard, a few batches each, longest first."""
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    size = BATCHES_PER_SHARD * sampling.prompts_at_once
    return [order[i : i + size] for i in range(0, len(order), size)]


def shard_seed(seed: int, shard: int) -> int:
    """The seed of one shard of a run."""
    return random.Random(f"{seed} shard {shard}").getrandbits(31)


def generate_to(
    folder: Path,
    loaded: Loaded,
    questions: list[tuple[str, str]],
    sampling: Sampling,
    origin: dict,
    label: str = "sampling",
    stop: Callable[[], bool] = lambda: False,
    backend: Draw | None = None,
) -> Iterator[dict]:
    """Sample texts for (id, question) pairs into shards under `folder`, and yield all rows in the questions' order.

    A row has `id`, `index`, `text`, `finished` and `tokens`. `backend` defaults to the reference backend. `origin` says
    what else the texts depend on (the model's hash, the backend's name): shards with a different origin, sampling or
    set of questions are deleted first, all others are kept.
    Raises KeyboardInterrupt if `stop()` becomes true between two shards; finished shards are kept.
    """
    folder = Path(folder)
    plan = {"origin": origin, "sampling": asdict(sampling), "questions": digest(questions)}
    if folder.exists() and (not (folder / "plan.json").exists() or read_json(folder / "plan.json") != plan):
        shutil.rmtree(folder)
    write_json(folder / "plan.json", plan)
    prompts = [loaded.prompt(text) for _, text in questions]
    backend = backend or functools.partial(draw, loaded)
    shards = in_shards(prompts, sampling)
    with Progress(label, len(questions), unit="questions") as progress:
        for number, shard in enumerate(shards):
            path = folder / f"shard-{number:05d}.jsonl"
            if path.exists():
                progress.skip(len(shard))
                continue
            if stop():
                raise KeyboardInterrupt(f"stopped after {number} of {len(shards)} shards; run again to resume")
            started = time.perf_counter()
            drawn = backend([prompts[i] for i in shard], sampling, shard_seed(sampling.seed, number))
            rows = [
                {"id": questions[i][0], "index": k, **asdict(text)}
                for i, texts in zip(shard, drawn, strict=True)
                for k, text in enumerate(texts)
            ]
            write_jsonl(path, rows)
            tokens = sum(row["tokens"] for row in rows)
            progress.advance(len(shard), f"{tokens / (time.perf_counter() - started):,.0f} tokens/s")
    found = {}
    for number in range(len(shards)):
        path = folder / f"shard-{number:05d}.jsonl"
        for line, row in read_jsonl(path):
            if not all(type(row.get(name)) is kind for name, kind in ROW.items()):
                raise InputError(f"{path}, line {line}: not a sampled text; delete the file to sample it again")
            found[row["id"], row["index"]] = row
    for identity, _ in questions:
        for index in range(sampling.n):
            if (identity, index) not in found:
                raise InputError(f"{folder}: text {index} of {identity} is missing; delete the folder to sample again")
            yield found[identity, index]
