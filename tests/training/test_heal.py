"""The commands that cut and heal a model, from end to end, with the sandbox's smallest one."""

import pytest
import torch

from mentor_kd.__main__ import main
from mentor_kd.data.rationales import read_rationales
from mentor_kd.files import InputError, read_json
from mentor_kd.models import loading
from mentor_kd.models.card import licence_of
from mentor_kd.training import heal

DATA = ["--data", "sandbox-sums", "--data", "sandbox-letters"]


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """sandbox-small with two of its three layers."""
    folder = tmp_path_factory.mktemp("cut") / "two"
    assert main(["models", "cut", "sandbox-small", "--layers", "2", *DATA, "--out", str(folder)]) == 0
    return folder


def test_a_cut_model_is_saved_with_a_table_and_can_be_used(cut, capsys):
    again = ["models", "cut", "sandbox-small", "--layers", "2", *DATA, "--out", str(cut)]
    assert main(again) == 0
    printed, card = capsys.readouterr().out, (cut / "README.md").read_text()
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert len(rows) == 3 and "(whole) | " in rows[1] and all(row in card for row in rows)
    kept = printed.rpartition("by name: ")[2].strip()
    assert kept.startswith("sandbox-small[") and loading.load(kept).parameters == loading.load(cut).parameters
    assert licence_of(cut).lower() == "apache-2.0"


def test_a_cut_into_a_folder_with_something_else_is_refused_before_the_search(cut, capsys):
    assert main(["models", "cut", "sandbox-small", "--layers", "1", *DATA, "--out", str(cut)]) == 2
    error = capsys.readouterr().err
    assert "something else is there; choose another name" in error and "leaving out" not in error


def test_healing_lowers_the_loss_and_says_so(cut, tmp_path, capsys):
    command = ["models", "heal", str(cut), "--teacher", "sandbox-small", *DATA, "--out", str(tmp_path / "healed")]
    assert main([*command, "--steps", "30", "--learning-rate", "3e-3"]) == 0
    facts = read_json(tmp_path / "healed" / "manifest.json")
    assert facts["loss"] < facts["loss_before"] - 0.2 and facts["held_out"] and facts["steps"] == 30
    assert f"{facts['loss_before']:.3f} before, {facts['loss']:.3f} after 30 steps" in capsys.readouterr().out
    card = (tmp_path / "healed" / "README.md").read_text()
    assert "**teacher**: `sandbox-small`" in card and str(tmp_path) not in card and str(cut.parent) not in card
    assert loading.load(tmp_path / "healed").parameters == loading.load(cut).parameters
    assert sorted(path.name for path in tmp_path.iterdir()) == [".healed.lock", "healed"]


def rows():
    from mentor_kd.cli_models import _rationales

    return _rationales(["sandbox-letters"])[:40]


def test_a_stopped_healing_ends_with_the_same_weights(cut, tmp_path):
    settings = heal.HealSettings(steps=12, batch_size=4)
    heal.heal(str(cut), "sandbox-small", rows(), settings, tmp_path / "whole")
    work = tmp_path / ".halves.work" / "training"
    with pytest.raises(KeyboardInterrupt, match="stopped at step"):
        heal.heal(str(cut), "sandbox-small", rows(), settings, tmp_path / "halves", work.exists)
    assert not (tmp_path / "halves").exists() and list(work.glob("checkpoint-*"))
    heal.heal(str(cut), "sandbox-small", rows(), settings, tmp_path / "halves")
    one, other = (loading.load(tmp_path / name).model.state_dict() for name in ("whole", "halves"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_tenth_question_is_held_out_and_every_text_is_counted(cut):
    given = rows()
    loaded = loading.load(cut)
    learned, measured, too_long = heal.texts(loaded, given, 512)
    held_out = {one.id for one in measured}
    questions = {row.question for row in given}
    apart = {row.question for row in given if row.id in held_out}
    assert len(apart) == -(-len(questions) // 10) and too_long == 0
    assert len(learned) + len(measured) == len(given) + len(questions) - len(apart)
    assert not held_out & {one.id for one in learned}
    few = [row for row in given if row.question in sorted(questions)[:9]]
    learned, measured, _ = heal.texts(loaded, few, 512)
    assert [one.id for one in measured] == [row.id for row in few] and len(learned) == len(few) + 9
    fewer, _, too_long = heal.texts(loaded, given, 60)
    assert too_long > 0 and len(fewer) < len(learned)


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("weight", 1.5), ("temperature", 0), ("learning_rate", 2)])
def test_invalid_settings_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        heal.HealSettings(**{name: value})


def test_data_may_be_a_file_of_rationales_or_a_task_folder(folder):
    from mentor_kd.cli_models import _rationales

    teacher = folder / "collected" / "teacher.jsonl"
    expected = [row.id for row in read_rationales(teacher) if row.correct]
    assert [row.id for row in _rationales([str(teacher)])] == [row.id for row in _rationales([str(folder)])] == expected
    with pytest.raises(InputError, match="task must be one of|nowhere"):
        _rationales(["nowhere"])
