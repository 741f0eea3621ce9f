"""Greedy choice of the layers to leave out: one at a time, the layer whose removal raises the loss least.

The loss is the cross-entropy per target token on given rationales, without any training. After each removal all
remaining layers are tried again, because the value of a layer depends on its neighbours (arXiv 2511.05085; dropping
every second layer, or a block, leaves far worse models). For an encoder-decoder the layers of both are candidates.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ..checks import require_integer
from ..files import InputError, append_jsonl, digest, read_jsonl, write_jsonl
from ..progress import Progress
from . import layers
from .base_card import place, write_readme
from .batches import BucketBatches, Example, has_plain_head, inputs_on_device, row_lengths, target_logits, target_states
from .card import licence_of
from .loading import IGNORED, Loaded, load
from .names import model_path, split

BATCH_TOKENS = 1024


@dataclass(frozen=True)
class Cut:
    """A model with some layers left out: which are left, which was left out last, and the loss per token."""

    kept: str  # as in a model's name
    left_out: str
    loss: float


@torch.inference_mode()
def loss_of(loaded: Loaded, examples: list[Example]) -> float:
    """The mean cross-entropy of the target tokens, in nats."""
    plain, head = has_plain_head(loaded), loaded.model.get_output_embeddings()
    total = count = 0.0
    lengths = row_lengths(examples, loaded.encoder_decoder)
    for batch in BucketBatches(lengths, 1, 1, 0, seed=0, token_budget=BATCH_TOKENS).epoch(0):
        inputs = inputs_on_device([examples[i] for i in batch], loaded)
        targets = inputs["labels"][inputs["labels"] != IGNORED]
        logits = head(target_states(loaded, inputs)) if plain else target_logits(loaded, inputs)
        total += cross_entropy(logits.float(), targets, reduction="sum").item()
        count += targets.numel()
    return total / count


def choose(loaded: Loaded, examples: list[Example], least: int, log: Path, source: str) -> list[Cut]:
    """Leave out layers until `least` are left (of the encoder and of the decoder each), starting with the whole model.

    `log` gets a line after each removal, and the same call resumes from there; `source` is the model's identity. The
    model is whole again afterwards. Raises InputError if `least` is not below the number of layers, without examples,
    and for a name with layers.
    """
    if split(loaded.name)[1]:
        raise InputError(f"model {loaded.name!r}: give the whole model, without layers in its name")
    counts = layers.counts(loaded.model.config)
    require_integer("layers", least, 1)
    if least >= max(counts):
        raise InputError(f"layers must be < {max(counts)}, the number of layers of {loaded.name!r}, got {least}")
    if not examples:
        raise InputError("no rationale to measure the loss on; raise max_length or give other data")
    inputs = digest([source, [[one.prompt, one.target] for one in examples]])
    done = _resumed(Path(log), inputs)
    whole = layers.whole(loaded.model)
    kept = layers.parse(loaded.name, done[-1].kept, counts) if done else whole.everything
    total = sum(max(0, n - least) for n in counts)
    try:
        with Progress(f"leaving out layers of {loaded.name}", total, unit="layers") as progress:
            if not done:
                done.append(Cut(layers.text_of(kept), "", loss_of(loaded, examples)))
                append_jsonl(log, {"inputs": inputs, **asdict(done[0])})
            progress.skip(len(done) - 1)
            while max(map(len, kept)) > least:
                kept, cut = _without_one(loaded, examples, whole, kept, least, progress)
                append_jsonl(log, {"inputs": inputs, **asdict(cut)})
                done.append(cut)
                progress.advance(note=f"without {cut.left_out}: loss {cut.loss:.3f}")
    finally:
        whole.keep(whole.everything)
    return [cut for cut in done if max(map(len, layers.parse(loaded.name, cut.kept, counts))) >= least]


def _resumed(log: Path, inputs: str) -> list[Cut]:
    """The lines of a log that were written for the same model and rationales; those of others are removed."""
    if not log.exists():
        return []
    rows = [row for _, row in read_jsonl(log)]
    if any(row.get("inputs") != inputs for row in rows):
        write_jsonl(log, [])
        return []
    return [Cut(row["kept"], row["left_out"], row["loss"]) for row in rows]


def _without_one(
    loaded: Loaded,
    examples: list[Example],
    whole: layers.Whole,
    kept: layers.Kept,
    least: int,
    progress: Progress,
) -> tuple[layers.Kept, Cut]:
    """The best model with one more layer left out."""
    places = [(side, number) for side, numbers in enumerate(kept) if len(numbers) > least for number in numbers]
    best: tuple[float, layers.Kept, str] | None = None
    for tried, (side, number) in enumerate(places, start=1):
        left = tuple(tuple(n for n in row if (i, n) != (side, number)) for i, row in enumerate(kept))
        whole.keep(left)
        loss = loss_of(loaded, examples)
        if best is None or loss < best[0]:
            name = f"{('encoder ', 'decoder ')[side] if len(kept) == 2 else ''}{number}"
            best = loss, left, name
        progress.advance(0, f"{sum(map(len, kept))} layers left, {tried} of {len(places)} tried")
    assert best is not None
    return best[1], Cut(layers.text_of(best[1]), best[2], best[0])


def table(cuts: Sequence[Cut]) -> str:
    """The losses as a Markdown table: whole, and after each layer that was left out."""
    rows = [f"| {cut.left_out or '(whole)'} | {cut.loss:.3f} | {cut.kept} |" for cut in cuts]
    return "\n".join(["| left out | loss per token | layers left |", "|---|---|---|", *rows])


def save(name: str, cuts: Sequence[Cut], folder: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    """Save the last of the cuts as a model in `folder`, with a card that has the table; returns the facts."""
    full = f"{name}[{cuts[-1].kept}]"

    def make(made: Path) -> dict[str, Any]:
        loaded = load(full, "cpu")
        loaded.model.save_pretrained(made)
        loaded.tokenizer.save_pretrained(made)
        facts = {
            "cut_from": full,
            "parameters": loaded.parameters,
            "loss": round(cuts[-1].loss, 4),
            "loss_whole": round(cuts[0].loss, 4),
            "licence": licence_of(Path(model_path(name))),
        }
        summary = "Some of its layers were left out, chosen greedily by the loss on rationales; not trained since."
        write_readme(made, folder.name, summary, facts, f"## Layers\n\n{table(cuts)}")
        return facts

    return place(folder, inputs, make)
