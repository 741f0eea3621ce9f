"""Soft labels: the mentor's distribution over each target token, computed once and read from disk.

The rationales do not change while students learn, so the mentor runs over them once instead of at every step of every
epoch, and need not be in memory while a student trains. A row is identified by its rationale's id and target offset and
is valid for the token ids it was computed from, so padding, order and epoch do not matter. There are two forms:

- exact (k = 0): the input of the mentor's output layer at each target token, in half precision, and one copy of that
  layer; the loss recomputes the logits, one chunk at a time. This takes two bytes per token and dimension of the mentor
  and one matrix product per step, and allows any temperature and any divergence;
- top-k: the k most likely tokens, the exact mass of all others at each temperature, and numbers that approximate how
  that mass is spread (tail_directions.py): 292 bytes per token at k = 64 for a vocabulary of up to 65,536 tokens and
  four temperatures, whatever the mentor's width, plus one small layer. A mentor whose logits are not one layer of its
  states gets one bucket for all tokens outside the top k, and the divergence is a lower bound.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import filelock
import torch
from torch import Tensor

from ..files import digest
from ..models.batches import Example, has_plain_head, inputs_on_device, target_logits, target_states
from ..models.loading import Loaded
from ..progress import Progress
from .chunked_loss import chunk_size
from .soft_label_cache import SoftLabels, SoftLabelSettings, check_of
from .tail_directions import Directions, main_directions

SHARD_TOKENS = 65_536  # target tokens per file, about 19 MB at k = 64: the most that a kill can lose
TOP_K = 64  # for a mentor without an exact form, whose logits are not one layer of its states
TAIL_ROWS = 64  # rationales from which the directions of the tails are computed
BATCH_TOKENS = {"cpu": 2048, "cuda": 32_768}  # token slots per batch of the mentor, padding included


def _rounded(states: Tensor) -> dict[str, Tensor]:
    """States in half precision, or in float32 if they are too large for it."""
    half = states.half()
    return {"states": (half if half.isfinite().all() else states.float()).cpu()}


def _compress(logits: Tensor, states: Tensor | None, labels: SoftLabels) -> dict[str, Tensor]:
    """Top-k ids, the log mass of the rest at each temperature, and what the labels' form stores of the logits."""
    settings, vocabulary = labels.settings, labels.vocabulary
    logits = logits[:, :vocabulary].float()
    best, ids = logits.topk(min(settings.k, vocabulary), dim=-1)
    best -= best[:, :1].clone()
    rest = (logits - logits.amax(-1, keepdim=True)).scatter_(-1, ids, -math.inf)
    tails = []
    for temperature in settings.temperatures:
        mass = torch.div(rest, temperature).exp_().sum(-1)
        tails.append(mass.log() - (mass + (best / temperature).exp_().sum(-1)).log())
    if labels.directions is None:
        kept = {"logits": best.clamp_min(-60_000).half()}
    else:
        numbers = labels.directions.numbers(states)
        misses, step = labels.directions.misses(numbers, ids, best)
        kept = {"numbers": numbers, "misses": misses, "step": step}
    kind = torch.uint16 if vocabulary <= 65_536 else torch.int32
    kept |= {"ids": ids.to(torch.int32).to(kind), "log_tail": torch.stack(tails, dim=-1)}
    return {name: one.cpu() for name, one in kept.items()}


@torch.inference_mode()
def _of_batch(mentor: Loaded, examples: list[Example], labels: SoftLabels, plain: bool):
    """Each example with its rows; in the top-k form, logits are computed a few positions at a time."""
    inputs = inputs_on_device(examples, mentor)
    if not labels.settings.k:
        parts = [_rounded(target_states(mentor, inputs))]
    elif plain:
        head, states = mentor.model.get_output_embeddings(), target_states(mentor, inputs)
        some = states.split(chunk_size(head.weight.shape[0], states.device))
        parts = [_compress(head(part), part, labels) for part in some]
    else:
        parts = [_compress(target_logits(mentor, inputs), None, labels)]
    lengths = [len(example.target) for example in examples]
    found = {name: torch.cat([part[name] for part in parts]).split(lengths) for name in parts[0]}
    return [(example, {name: found[name][i] for name in found}) for i, example in enumerate(examples)]


@torch.no_grad()
def _directions(mentor: Loaded, examples: list[Example], vocabulary: int) -> Directions:
    """The main directions of the logits on some of these examples, independent of their order."""
    some = sorted(examples, key=check_of)[:TAIL_ROWS]
    batches = _batches(some, BATCH_TOKENS.get(mentor.model.device.type, 2048))
    states = torch.cat([target_states(mentor, inputs_on_device(batch, mentor)).float().cpu() for batch in batches])
    head = mentor.model.get_output_embeddings()
    return main_directions(states, head.weight[:vocabulary], None if head.bias is None else head.bias[:vocabulary])


def _batches(examples: list[Example], tokens: int) -> list[list[Example]]:
    """Batches of examples of similar length, longest first, of at most `tokens` tokens (or one longer example)."""
    batches: list[list[Example]] = [[]]
    sizes: list[int] = []
    for example in sorted(examples, key=lambda e: -(len(e.prompt) + len(e.target))):
        sizes.append(len(example.prompt) + len(example.target))
        if batches[-1] and max(sizes) * len(sizes) > tokens:
            batches.append([])
            sizes = sizes[-1:]
        batches[-1].append(example)
    return batches


def cached(
    folder: Path,
    identity: str,
    mentor: Callable[[], Loaded],
    vocabulary: int,
    examples: list[Example],
    settings: SoftLabelSettings,
    label: str = "soft labels",
    stop: Callable[[], bool] = lambda: False,
    basis: Callable[[], list[Example]] | None = None,
) -> SoftLabels:
    """The soft labels of all examples; those missing from `folder` are computed now.

    `identity` is the mentor's (loading.identity). Each mentor, k and set of temperatures has a separate subfolder, so a
    changed one starts from scratch; if a rationale changes, only its rows are recomputed. `mentor()` loads the mentor,
    and is called only if a row is missing. A mentor whose logits are not one layer of its states has no exact form: it
    gets the top-k form, with a printed notice and the new k in `SoftLabels.settings`. `basis()` gives the rationales
    from which the directions of the logits are computed (tail_directions.py), by default the missing ones; pass the
    same to all calls that share the folder. Raises KeyboardInterrupt when `stop()` is true between two batches.
    """

    def top_k(load: Callable[[], Loaded]) -> SoftLabels:
        return cached(folder, identity, load, vocabulary, examples, replace(settings, k=TOP_K), label, stop, basis)

    place = Path(folder) / digest([identity, settings.facts(), vocabulary])[:16]
    place.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(place / ".lock"):  # students in several processes share one mentor
        labels = SoftLabels(place, settings, vocabulary)
        if not labels.plain_head:
            return top_k(mentor)
        missing = [example for example in examples if example not in labels]
        if not missing and (settings.k or labels.head is not None):
            return labels
        loaded = mentor()
        loaded.model.eval()
        plain, waiting, tokens = labels.tail is not None or has_plain_head(loaded), [], 0
        if not settings.k and not plain:
            labels.note(plain_head=False)
            print(f"{label}: this mentor's logits are not one layer of its states, so its top {TOP_K} tokens are kept")
            return top_k(lambda: loaded)
        if not settings.k and labels.head is None:
            labels.add_head(loaded.model.get_output_embeddings())
        if not missing:  # only the layer had to be stored again
            return labels
        if plain and 0 < settings.k < vocabulary and labels.tail is None:
            labels.add_directions(_directions(loaded, basis() if basis else missing, vocabulary))
            missing = [example for example in examples if example not in labels]
        if labels.directions is not None:
            labels.directions = labels.directions.to(loaded.model.device)
        with Progress(label, len(missing), unit="rationales") as progress:
            for batch in _batches(missing, BATCH_TOKENS.get(loaded.model.device.type, 2048)):
                if stop():
                    raise KeyboardInterrupt(f"{label}: stopped; run again to resume from the last shard")
                waiting += _of_batch(loaded, batch, labels, plain)
                tokens += sum(len(example.target) for example in batch)
                if tokens >= SHARD_TOKENS:
                    labels.add(waiting)
                    waiting, tokens = [], 0
                progress.advance(len(batch))
        if waiting:
            labels.add(waiting)
    return labels
