"""The mentor's confidence in a rationale: the mean log-probability it assigns to a token of the training text.

Computed once, in batches of similar length, and stored in the task folder as confidence/<mentor>.jsonl. Each row has
the rationale's `id`, a hash of the scored `text`, and `confidence` (null if the text is too long for the mentor). Each
mentor has its own file; a killed run resumes after the last row.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch.nn import functional

from ..checks import is_number
from ..data.folder import task_of
from ..data.rationales import Rationale, target
from ..files import InputError, append_text, digest, read_lines, read_record
from ..models import loading
from ..models.batches import Example, encode, inputs_on_device, target_logits
from ..models.loading import IGNORED, Loaded
from ..parsing import parse_json
from ..progress import Progress

BATCH = 64


def confidences(folder: Path, rows: Iterable[Rationale], batch_size: int = BATCH) -> dict[str, float]:
    """The confidence of the task's mentor in each rationale, by id: at most 0, and closer to 0 is more confident.

    Stored values are read; others are computed and appended to the file. Texts too long for the mentor are left out.
    """
    folder, rows = Path(folder), list(rows)
    path, texts = _path(folder), _texts(rows)
    known = stored(folder, rows)
    missing = [row for row in rows if row.id not in known]
    if missing:
        loaded = loading.load(folder / "mentor")
        longest = read_record(folder / "mentor" / "manifest.json", max_length=int)["max_length"]
        with Progress("scoring rationales with the mentor", len(missing), unit="rationales") as progress:
            for batch in scored(loaded, missing, longest, batch_size):
                lines = [f'{{"id": "{i}", "text": "{texts[i]}", "confidence": {_json(value)}}}\n' for i, value in batch]
                append_text(path, "".join(lines))
                progress.advance(len(batch))
        known = stored(folder, rows)
    return {row.id: value for row in rows if (value := known[row.id]) is not None}


def stored(folder: Path, rows: Iterable[Rationale]) -> dict[str, float | None]:
    """The confidences that are stored for these rationales, by id; None for a text too long for the mentor.

    Nothing is computed: a rationale that was not scored yet is left out.
    """
    known = _read(_path(Path(folder)))
    return {identity: known[identity, text] for identity, text in _texts(rows).items() if (identity, text) in known}


def scores(folders: Sequence[Path], rows: Sequence[Rationale], compute: bool) -> dict[str, float] | None:
    """The mentor's confidence in these rationales, by id; None if some are not stored and `compute` is false."""
    found: dict[str, float] = {}
    for folder in folders:
        here = [row for row in rows if row.task == task_of(folder).name]
        if compute:
            found |= confidences(folder, here)
            continue
        known = stored(folder, here) if (folder / "mentor").exists() else {}
        if len(known) < len(here):
            return None
        found |= {identity: value for identity, value in known.items() if value is not None}
    return found


def _path(folder: Path) -> Path:
    return folder / "confidence" / f"{loading.identity(folder / 'mentor')}.jsonl"


def _texts(rows: Iterable[Rationale]) -> dict[str, str]:
    """The hash of each rationale's training text, by id."""
    return {row.id: digest([row.question, target(row)])[:16] for row in rows}


def _read(path: Path) -> dict[tuple[str, str], float | None]:
    if not path.exists():
        return {}
    rows = {}
    for number, line in enumerate(read_lines(path), 1):
        with contextlib.suppress(InputError, TypeError, KeyError):  # cut off by a kill: score its rationale again
            row = parse_json(line, path, number)
            if row["confidence"] is None or (is_number(row["confidence"]) and row["confidence"] <= 0):
                rows[row["id"], row["text"]] = row["confidence"]
    return rows


def _json(value: float | None) -> str:
    return "null" if value is None else f"{value:.6f}"


def scored(
    loaded: Loaded, rows: list[Rationale], max_length: int, batch_size: int = BATCH
) -> Iterator[list[tuple[str, float | None]]]:
    """Yield batches of (rationale id, mean log-probability per target token, EOS included); None if too long."""
    examples, too_long = encode(loaded, [(row.id, row.question, target(row)) for row in rows], max_length)
    if too_long:
        yield [(identity, None) for identity in too_long]
    examples.sort(key=lambda example: len(example.prompt) + len(example.target))
    for start in range(0, len(examples), batch_size):
        batch = examples[start : start + batch_size]
        yield [(e.id, value) for e, value in zip(batch, mean_log_probabilities(loaded, batch), strict=True)]


@torch.no_grad()
def mean_log_probabilities(loaded: Loaded, examples: list[Example]) -> list[float]:
    """The mean natural log-probability per target token of each example, computed in float32."""
    inputs = inputs_on_device(examples, loaded)
    loaded.model.eval()
    logits = target_logits(loaded, inputs)
    labels = inputs["labels"][inputs["labels"] != IGNORED]
    values = -functional.cross_entropy(logits.float(), labels, reduction="none")
    return [part.mean().item() for part in values.split([len(example.target) for example in examples])]
