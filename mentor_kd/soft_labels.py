"""Soft labels: the mentor's distribution over each target token, computed once and read from disk.

The rationales do not change while students learn, so the mentor runs over them once instead of at every step of every
epoch, and need not be in memory while a student trains. For each target token the cache holds the mentor's k likeliest
tokens, their logits, and the exact mass of all others at each temperature: 276 bytes at k = 64 for a vocabulary of up
to 65,536 tokens and five temperatures. A row is found by its rationale's id and its target offset, and belongs to the
token ids that it was made for, so padding, order and epoch play no part.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from .batches import Example, has_plain_head, model_inputs, target_logits, target_states
from .chunks import chunk_size
from .files import InputError, digest, read_json, sha256, write_json
from .losses import TopK
from .models import Loaded
from .progress import Progress

SHARD_TOKENS = 65_536  # target tokens in one file, about 18 MB at k = 64: what a kill may cost
BATCH_TOKENS = {"cpu": 2048, "cuda": 32_768}  # token slots that the mentor reads at once


@dataclass(frozen=True)
class SoftLabelSettings:
    """How much of the mentor's distribution is kept: the k likeliest tokens, and at which temperatures the rest."""

    k: int = 64
    temperatures: tuple[float, ...] = (1.0, 1.5, 2.0, 4.0)

    def __post_init__(self):
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise InputError(f"soft_label_k is a whole number from 1, not {self.k!r}")
        if not self.temperatures or not all(0 < t < math.inf for t in self.temperatures):
            raise InputError(f"temperatures are numbers above 0, not {self.temperatures!r}")


def with_temperature(settings: SoftLabelSettings, temperature: float) -> SoftLabelSettings:
    """The settings with this temperature among theirs."""
    return SoftLabelSettings(settings.k, tuple(sorted({*settings.temperatures, float(temperature)})))


def check_of(example: Example) -> str:
    """What a cached row belongs to: a short hash of the prompt's and the target's token ids."""
    text = json.dumps([example.prompt, example.target], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class SoftLabels:
    """The cached soft labels of one mentor, memory-mapped; made by `cached`."""

    def __init__(self, folder: Path, settings: SoftLabelSettings, vocabulary: int):
        self.folder, self.settings, self.vocabulary = Path(folder), settings, vocabulary
        self.places: dict[tuple[str, str], tuple[int, int, int]] = {}  # (id, check) -> shard, first, length
        self.shards: list[dict[str, Tensor]] = []
        for name, recorded in self._manifest()["shards"].items():
            path = self.folder / name
            if not path.exists() or sha256(path) != recorded:  # torn or damaged: its rows are made again
                path.unlink(missing_ok=True)
                continue
            self._open(path)

    def _manifest(self) -> dict:
        path = self.folder / "manifest.json"
        return read_json(path) if path.exists() else {"shards": {}}

    def _open(self, path: Path) -> None:
        with safetensors.safe_open(path, framework="pt") as file:
            rows = json.loads(file.metadata()["rows"])
            self.shards.append({name: file.get_tensor(name) for name in ("ids", "logits", "log_tail")})
        first = 0
        for identity, check, length in rows:
            self.places[identity, check] = (len(self.shards) - 1, first, length)
            first += length

    def __contains__(self, example: Example) -> bool:
        return (example.id, check_of(example)) in self.places

    def rows(self, examples: Iterable[Example], temperature: float) -> TopK:
        """The mentor's distribution at a cached temperature for all target tokens, example after example.

        KeyError for an example that is not in the cache, ValueError for a temperature that is not.
        """
        column = self.settings.temperatures.index(float(temperature))
        parts = {"ids": [], "logits": [], "log_tail": []}
        for example in examples:
            shard, first, length = self.places[example.id, check_of(example)]
            for name, tensors in parts.items():
                tensors.append(self.shards[shard][name][first : first + length])
        ids = torch.cat(parts["ids"]).to(torch.int64)
        tail = torch.cat(parts["log_tail"])[:, column]
        scaled = torch.cat(parts["logits"]).float() / temperature
        # what is rounded are the shares within the top k; their sum and the tail's are exact
        log_probs = scaled.log_softmax(-1) + torch.log1p(-tail.exp()).clamp_min(-60)[:, None]
        return TopK(ids, log_probs, tail, self.vocabulary)

    def add(self, rows: list[tuple[Example, dict[str, Tensor]]]) -> None:
        """Write rows as one more shard: under another name first, and the manifest last."""
        known = self._manifest()
        number = 1 + max((int(name[6:11]) for name in known["shards"]), default=-1)
        path = self.folder / f"shard-{number:05d}.safetensors"
        tensors = {name: torch.cat([found[name] for _, found in rows]) for name in ("ids", "logits", "log_tail")}
        index = [[example.id, check_of(example), len(example.target)] for example, _ in rows]
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file(tensors, part, metadata={"rows": json.dumps(index)})
        part.replace(path)
        known["shards"][path.name] = sha256(path)
        write_json(self.folder / "manifest.json", {**known, **asdict(self.settings), "vocabulary": self.vocabulary})
        self._open(path)


def _compress(logits: Tensor, settings: SoftLabelSettings, vocabulary: int) -> dict[str, Tensor]:
    """Top-k ids, their logits below the highest (float16), and the log mass of the rest at each temperature."""
    logits = logits[:, :vocabulary].float()
    best, ids = logits.topk(min(settings.k, vocabulary), dim=-1)
    best -= best[:, :1].clone()
    rest = (logits - logits.amax(-1, keepdim=True)).scatter_(-1, ids, -math.inf)
    tails = []
    for temperature in settings.temperatures:
        mass = torch.div(rest, temperature).exp_().sum(-1)
        tails.append(mass.log() - (mass + (best / temperature).exp_().sum(-1)).log())
    kind = torch.uint16 if vocabulary <= 65_536 else torch.int32
    return {
        "ids": ids.to(torch.int32).to(kind).cpu(),
        "logits": best.clamp_min(-60_000).half().cpu(),
        "log_tail": torch.stack(tails, dim=-1).cpu(),
    }


@torch.inference_mode()
def _of_batch(mentor: Loaded, examples: list[Example], settings: SoftLabelSettings, vocabulary: int, plain: bool):
    """Each example with its compressed rows; the logits of a few positions at a time."""
    inputs = {key: value.to(mentor.model.device) for key, value in model_inputs(examples, mentor).items()}
    if plain:
        head, states = mentor.model.get_output_embeddings(), target_states(mentor, inputs)
        parts = [
            _compress(head(some), settings, vocabulary)
            for some in states.split(chunk_size(head.weight.shape[0], states.device))
        ]
    else:
        parts = [_compress(target_logits(mentor, inputs), settings, vocabulary)]
    lengths = [len(example.target) for example in examples]
    found = {name: torch.cat([part[name] for part in parts]).split(lengths) for name in parts[0]}
    return [(example, {name: found[name][i] for name in found}) for i, example in enumerate(examples)]


def _batches(examples: list[Example], tokens: int) -> list[list[Example]]:
    """Examples in batches of similar length and at most so many tokens (a longer one stands alone), longest first."""
    batches, sizes = [[]], []
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
) -> SoftLabels:
    """The soft labels of all examples, those that are not in `folder` yet made now.

    `identity` is the mentor's (models.identity): each mentor, k and set of temperatures has a folder of its own, so a
    changed one starts afresh; a changed rationale is made anew and the others stay. `mentor()` loads it, and is called
    only if a row is missing. Raises KeyboardInterrupt when `stop()` turns true between two batches.
    """
    place = Path(folder) / digest([identity, asdict(settings), vocabulary])[:16]
    place.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(place / ".lock"):  # students of several processes share one mentor
        labels = SoftLabels(place, settings, vocabulary)
        missing = [example for example in examples if example not in labels]
        if not missing:
            return labels
        loaded = mentor()
        loaded.model.eval()
        plain, waiting, tokens = has_plain_head(loaded), [], 0
        with Progress(label, len(missing), unit="rationales") as progress:
            for batch in _batches(missing, BATCH_TOKENS.get(loaded.model.device.type, 2048)):
                if stop():
                    raise KeyboardInterrupt(f"{label}: stopped; run again to go on from the last shard")
                waiting += _of_batch(loaded, batch, settings, vocabulary, plain)
                tokens += sum(len(example.target) for example in batch)
                if tokens >= SHARD_TOKENS:
                    labels.add(waiting)
                    waiting, tokens = [], 0
                progress.advance(len(batch))
        if waiting:
            labels.add(waiting)
    return labels
