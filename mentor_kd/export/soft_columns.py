"""Soft labels as columns: the mentor's likeliest tokens, with log-probabilities, at each token of a kept rationale.

One row per rationale, in the order of the exported set: `id`; `prompt` and `completion`; `prompt_ids` [P] and
`target_ids` [T] as the mentor's tokenizer gives them, the target with its end token; `top_ids` [T, k] and
`top_log_probs` [T, k] at temperature 1, the likeliest first; `log_rest` [T], the log-probability of all other tokens
together. They come from the run's cache (training/soft_labels.py); what is missing there is computed.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow
import torch
from torch import Tensor

from ..data.rationales import Rationale, target
from ..data.special_tokens import tokens_of, trainable
from ..files import InputError, read_record
from ..models import loading
from ..models.batches import Example, encode
from ..models.card import public_name
from ..models.loading import Loaded
from ..models.prompts import prompt_text
from ..training.losses import TopK
from ..training.soft_label_cache import SoftLabels, SoftLabelSettings
from ..training.soft_labels import cached
from .tables import write_batches

FILE = "soft_labels/train.parquet"
ROWS = 64  # rationales that are held in memory at a time
WHOLE, REAL = pyarrow.int32(), pyarrow.float32()
SCHEMA = pyarrow.schema(
    [
        ("id", pyarrow.string()),
        ("prompt", pyarrow.string()),
        ("completion", pyarrow.string()),
        ("prompt_ids", pyarrow.list_(WHOLE)),
        ("target_ids", pyarrow.list_(WHOLE)),
        ("top_ids", pyarrow.list_(pyarrow.list_(WHOLE))),
        ("top_log_probs", pyarrow.list_(pyarrow.list_(REAL))),
        ("log_rest", pyarrow.list_(REAL)),
    ]
)


def write(path: Path, folder: Path, rows: list[Rationale], k: int) -> dict:
    """Write the soft labels of these rationales as Parquet and return what was written.

    Raises InputError if the run has no mentor. Rationales too long for the mentor, or with a special token of its
    tokenizer inside, have no soft labels; the result has their counts.
    """
    place = Path(folder) / "mentor"
    if not (place / "manifest.json").exists():
        raise InputError(f"{folder}: mentor/ is missing, and soft labels are the mentor's; run notebook 02 first")
    known, outline = read_record(place / "manifest.json", inputs=dict), loading.outline(place)
    clean, special = trainable(rows, tokens_of(outline.tokenizer))
    texts = {row.id: (row.question, target(row)) for row in clean}
    triples = [(identity, *both) for identity, both in texts.items()]
    examples, too_long = encode(outline, triples, known["inputs"]["max_length"])
    if not examples:
        raise InputError(f"{folder}: none of {len(rows)} rationales fits the mentor's maximum length")
    vocabulary, identity = outline.vocabulary, loading.identity(place)
    settings = SoftLabelSettings()
    labels = cached(Path(folder) / "soft_labels", identity, lambda: loading.load(place), vocabulary, examples, settings)
    labels.ready(torch.device("cpu"), torch.float32)
    size = min(k, labels.settings.k or vocabulary)
    write_batches(path, _batches(labels, examples, texts, outline, size), SCHEMA)
    return {
        "rows": len(examples),
        "too_long": len(too_long),
        "special_tokens": len(special),
        "k": size,
        "temperature": 1.0,
        "form_in_the_run": f"top {labels.settings.k}" if labels.settings.k else "exact",
        "vocabulary": vocabulary,
        "tokenizer": public_name(known["base"]),
    }


def _batches(
    labels: SoftLabels, examples: list[Example], texts: dict[str, tuple[str, str]], outline: Loaded, k: int
) -> Iterator[list[dict]]:
    for start in range(0, len(examples), ROWS):
        batch = []
        for example in examples[start : start + ROWS]:
            question, text = texts[example.id]
            ids, log_probs, rest = _likeliest(labels, example, k)
            batch.append(
                {
                    "id": example.id,
                    "prompt": prompt_text(outline.tokenizer, outline.encoder_decoder, question, outline.prompt_format),
                    "completion": text,
                    "prompt_ids": example.prompt,
                    "target_ids": example.target,
                    "top_ids": ids.tolist(),
                    "top_log_probs": log_probs.tolist(),
                    "log_rest": rest.tolist(),
                }
            )
        yield batch


@torch.no_grad()
def _likeliest(labels: SoftLabels, example: Example, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k likeliest tokens of each position of one example [T, k], likeliest first, and the rest's mass [T]."""
    found = labels.rows([example], 1.0)
    if isinstance(found, TopK):
        outside = torch.cat([found.log_probs[:, k:], found.log_tail[:, None]], dim=-1)
        return found.ids[:, :k], found.log_probs[:, :k], outside.logsumexp(-1)
    log_probs = found.logits().float().log_softmax(-1)
    best, ids = log_probs.topk(k, dim=-1)
    return ids, best, log_probs.scatter(-1, ids, -torch.inf).logsumexp(-1)
