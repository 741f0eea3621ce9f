"""The cache of one mentor's soft labels: files of tensors, and a manifest that names them.

A row is identified by its rationale's id and is valid for the token ids it was computed from. soft_labels.py describes
the two forms and computes what is missing.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..checks import is_number, require_integer
from ..files import InputError, read_record, sha256, write_json
from ..manifests import CHANGED, changed, is_sealed, sealed
from ..models.batches import Example
from .losses import Shaped, States, TopK, log_top_mass
from .tail_directions import RANK, Directions, frozen_layer

SHARD = re.compile(r"shard-\d{5}\.safetensors")
HEAD = "head.safetensors"
TAIL = "tail.safetensors"


@dataclass(frozen=True)
class SoftLabelSettings:
    """How much of the mentor's distribution is kept.

    All of it with k = 0; otherwise the k most likely tokens, the mass of the rest at these temperatures, and its
    approximate spread.
    """

    k: int = 0
    temperatures: tuple[float, ...] = (1.0, 1.5, 2.0, 4.0)

    def __post_init__(self) -> None:
        require_integer("soft_label_k", self.k, note="0 for all tokens")
        if not self.temperatures or not all(is_number(t) and t > 0 for t in self.temperatures):
            raise InputError(f"temperatures must be numbers > 0, got {self.temperatures!r}")

    def facts(self) -> dict:
        """What the cached numbers depend on; the exact form serves any temperature."""
        return {**asdict(self), "numbers": RANK} if self.k else {"k": 0}


def with_temperature(settings: SoftLabelSettings, temperature: float) -> SoftLabelSettings:
    """The settings with this temperature added; the exact form ignores temperatures."""
    return SoftLabelSettings(settings.k, tuple(sorted({*settings.temperatures, float(temperature)})))


def check_of(example: Example) -> str:
    """A short hash of the prompt's and the target's token ids, stored with each cached row."""
    text = json.dumps([example.prompt, example.target], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class SoftLabels:
    """The cached soft labels of one mentor, memory-mapped; created by `cached`."""

    def __init__(self, folder: Path, settings: SoftLabelSettings, vocabulary: int):
        self.folder, self.settings, self.vocabulary = Path(folder), settings, vocabulary
        self.places: dict[tuple[str, str], tuple[int, int, int]] = {}  # (id, check) -> shard, first, length
        self.shards: list[dict[str, Tensor]] = []
        self.head: torch.nn.Linear | None = None  # the mentor's output layer, in the exact form
        self.rounded = False  # whether its products are rounded to bfloat16
        known = self._manifest()
        self.plain_head: bool = known.get("plain_head", True)  # False if the mentor has no exact form
        if self._whole(HEAD, known.get("head")):
            self.head = frozen_layer(**load_file(self.folder / HEAD))
        self.directions: Directions | None = None  # of the logits, in the top-k form
        self.tail: torch.nn.Linear | None = None  # gives approximate logits from the numbers
        if self._whole(TAIL, known.get("tail_file")):
            self._use(Directions(**load_file(self.folder / TAIL)))
        lost = self.tail is None and known.get("tail_file")  # without it the numbers in the shards mean nothing
        for name, recorded in known["shards"].items():
            if not SHARD.fullmatch(name):  # it would be removed, wherever it is
                raise InputError(f"{self.folder / 'manifest.json'}: {name!r} is not a shard; delete the folder")
            if self._whole(name, recorded) and not lost:  # a damaged shard is removed; its rows are computed again
                self._open(self.folder / name)

    def _whole(self, name: str, recorded: str | None) -> bool:
        """Whether a file matches the manifest; a file that does not is removed."""
        path = self.folder / name
        if recorded and not changed(self.folder, {name: recorded}):
            return True
        if path.is_dir():
            raise InputError(f"{path}: a folder in place of a file; remove it")
        path.unlink(missing_ok=True)
        return False

    def _manifest(self) -> dict:
        path = self.folder / "manifest.json"
        return read_record(path, shards=dict) if path.exists() else {"shards": {}}

    def _open(self, path: Path) -> None:
        with safetensors.safe_open(path, framework="pt") as file:
            rows = json.loads(file.metadata()["rows"])
            self.shards.append({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        first = 0
        for identity, check, length in rows:
            self.places[identity, check] = (len(self.shards) - 1, first, length)
            first += length

    def __contains__(self, example: Example) -> bool:
        return (example.id, check_of(example)) in self.places

    def ready(self, device: torch.device, kind: torch.dtype, rounded: bool = False) -> None:
        """Hold the mentor's output layer on the device with this dtype; `rounded` as in losses.States."""
        self.rounded = rounded
        if self.head is not None:
            large = any(shard["states"].dtype == torch.float32 for shard in self.shards)  # exceeded half precision
            self.head.to(device, torch.float32 if large else kind)
        if self.tail is not None:
            self.tail.to(device)

    def rows(self, examples: Iterable[Example], temperature: float) -> TopK | Shaped | States:
        """The mentor's distribution at a cached temperature for all target tokens, example after example.

        Raises KeyError for an example that is not cached, and ValueError for a temperature that is not; the exact form
        serves any temperature.
        """
        found = [self.places[example.id, check_of(example)] for example in examples]

        def column(name: str) -> Tensor:
            return torch.cat([self.shards[shard][name][first : first + length] for shard, first, length in found])

        if self.head is not None:
            return States(column("states"), self.head, self.rounded)
        tail = column("log_tail")[:, self.settings.temperatures.index(float(temperature))]
        ids = column("ids").to(torch.int64)
        if self.tail is not None:
            misses = column("misses") * column("step").float()[:, None]
            return Shaped(ids, misses, tail, column("numbers"), self.tail, float(temperature))
        # only the shares within the top k are rounded; their sum and the tail's mass are exact
        log_probs = (column("logits").float() / temperature).log_softmax(-1)
        return TopK(ids, log_probs + log_top_mass(tail)[:, None], tail, self.vocabulary)

    def add(self, rows: list[tuple[Example, dict[str, Tensor]]]) -> None:
        """Write rows as a new shard: to a temporary name first, and the manifest last."""
        known = self._manifest()
        number = 1 + max((int(name[6:11]) for name in known["shards"]), default=-1)
        path = self.folder / f"shard-{number:05d}.safetensors"
        tensors = {name: torch.cat([found[name] for _, found in rows]) for name in rows[0][1]}
        index = [[example.id, check_of(example), len(example.target)] for example, _ in rows]
        _save(path, tensors, {"rows": json.dumps(index)})
        self.note(shards={**known["shards"], path.name: sha256(path)})
        self._open(path)

    def add_head(self, head: torch.nn.Linear) -> None:
        """Store the rows of the mentor's output layer for the shared vocabulary."""
        tensors = {name: value[: self.vocabulary].detach().cpu() for name, value in head.state_dict().items()}
        _save(self.folder / HEAD, tensors, {})
        self.note(head=sha256(self.folder / HEAD))
        self.head = frozen_layer(**tensors)

    def add_directions(self, directions: Directions) -> None:
        """Store the directions that the numbers refer to; removes the shards of any earlier directions."""
        for path in self.folder.glob("shard-*"):
            path.unlink()
        self.shards, self.places = [], {}
        _save(self.folder / TAIL, vars(directions), {})
        self.note(tail_file=sha256(self.folder / TAIL), shards={})
        self._use(directions)

    def _use(self, directions: Directions) -> None:
        self.directions, self.tail = directions, frozen_layer(directions.weight, directions.bias)

    def note(self, **facts) -> None:
        """Add facts to the manifest."""
        known = {**self._manifest(), **self.settings.facts(), "vocabulary": self.vocabulary}
        write_json(self.folder / "manifest.json", sealed({**known, **facts}))


def discard_damaged(folder: Path) -> None:
    """Remove the files of a cache that differ from its manifest, and print their names; they are computed again.

    `folder` has one cache for each mentor and form. A cache is removed as a whole if its manifest was changed, or the
    directions without which its numbers mean nothing.
    """
    for place in sorted(Path(folder).glob("*/")):
        with filelock.FileLock(place / ".lock"):
            manifest = place / "manifest.json"
            try:
                known: dict = read_record(manifest, shards=dict)
            except InputError:
                known = {}
            recorded = {**known.get("shards", {}), HEAD: known.get("head"), TAIL: known.get("tail_file")}
            damaged = changed(place, {name: value for name, value in recorded.items() if value})
            if not is_sealed(known) or TAIL in damaged:
                damaged = {one.name: CHANGED for one in sorted(place.iterdir()) if not one.name.startswith(".")}
            elif damaged:
                shards = {name: value for name, value in known["shards"].items() if name not in damaged}
                head = None if HEAD in damaged else known.get("head")
                write_json(manifest, sealed({**known, "shards": shards, "head": head}))
            for name in damaged:
                print(f"{place / name}: missing or changed; computed again where it is needed")
                (place / name).unlink(missing_ok=True)


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write to a temporary name, then rename."""
    part = path.with_suffix(".part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part, metadata=metadata)
    part.replace(path)
