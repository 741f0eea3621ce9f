"""data/paper/defects.md lists all 28 defects, and the tests and settings that it names exist."""

import ast
import dataclasses
import re

import pytest
import tiny

from mentor_kd.files import ROOT
from mentor_kd.filtering import filters
from mentor_kd.models import generation, loading, lora
from mentor_kd.pipeline import augment, collect
from mentor_kd.training import losses, trainer
from mentor_kd.training import settings as train_settings
from mentor_kd.training.settings import TrainSettings
from mentor_kd.training.train import train

TABLE = (ROOT / "data" / "paper" / "defects.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines() if re.match(r"\| \d", line)
]
SETTINGS = {
    kind.__name__: {field.name for field in dataclasses.fields(kind)}
    for kind in (
        augment.Augmenter,
        collect.CollectSettings,
        filters.FilterSettings,
        generation.Sampling,
        losses.LossSettings,
        lora.LoraSettings,
        train_settings.TrainSettings,
    )
}


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_defect_is_listed_once():
    assert [int(row[0]) for row in ROWS] == list(range(1, 29))
    assert all(len(row) == 4 and row[1] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_what_a_row_names_exists(row):
    _, _, here, shown = row
    kind = next(kind for kind in ("mended", "switchable", "not applicable") if here.startswith(kind))
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown)
    settings = re.findall(r"`(\w+)\.(\w+)`", here)
    assert "".join(f"`{path}::{name}`" for path, name in named) == shown.replace(" ", "")
    for path, name in named:
        assert name in names_in(path), f"{path} has no test {name}"
    for owner, name in settings:
        assert name in SETTINGS[owner], f"{owner} has no setting {name}"
    if kind == "not applicable":
        assert not named and len(here) > len("not applicable: ") + 20
    else:
        assert named
    assert kind != "switchable" or settings


def test_sums_for_the_log_hold_no_graph(tmp_path, monkeypatch):
    """A sum with a graph would keep the activations of each step alive until the next log (defect 20)."""
    seen = []
    note = trainer.DistillationTrainer._note

    def watched(self, **parts):
        note(self, **parts)
        seen.extend(total for _, _, total, _ in self.noted)

    monkeypatch.setattr(trainer.DistillationTrainer, "_note", watched)
    monkeypatch.setattr(trainer.DistillationTrainer, "_read_notes", lambda self: None)  # as between two logs on a GPU
    loaded = loading.load(tiny.llama(tmp_path / "model"))
    train(loaded, tiny.examples(loaded, 4), None, TrainSettings(epochs=2, batch_size=4), tmp_path / "work")
    assert seen and not any(value.requires_grad for value in seen)
