"""Checkpoints: damaged ones are skipped, file times and places do not matter, and a lost best one is noticed."""

import os
import re
import shutil

import pytest
import tiny
from trained import SETTINGS, rows_of, same, weights

from mentor_kd.evaluation.metrics import DevScore
from mentor_kd.files import RunFailed
from mentor_kd.models import loading
from mentor_kd.training import checkpoints
from mentor_kd.training.train import train

SCORES = (10.0, 30.0, 20.0)  # at steps 3, 6 and 9: the best is at 6


class Run:
    """A small training in a folder; `scores` are those of its evaluations that are still to come."""

    def __init__(self, folders, work, scores=SCORES):
        self.folders, self.work, self.scores, self.loaded = folders, work, iter(scores), None

    def train(self, steps=None, stop=None):
        self.loaded = loading.load(self.folders["gpt2"])
        left = iter(range((steps or 99) - 1))
        stop = stop or (lambda: next(left, None) is None)
        return train(
            self.loaded,
            tiny.examples(self.loaded, 12),
            lambda best: DevScore(next(self.scores)),
            SETTINGS,
            self.work,
            stop=stop if steps or stop else None,
        )


@pytest.fixture(scope="module")
def undisturbed(folders, tmp_path_factory):
    run = Run(folders, tmp_path_factory.mktemp("undisturbed"))
    assert run.train().best_step == 6
    return weights(run.loaded), [row["step"] for row in rows_of(run.work)]


def check(run, undisturbed):
    final, steps = undisturbed
    assert same(weights(run.loaded), final)
    assert [row["step"] for row in rows_of(run.work)] == steps
    assert next(run.scores, None) is None


def names(work):
    return [path.name for path in checkpoints.in_order(work)]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


FILES = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "manifest.json"]
HARM = [(name, harm) for name in FILES for harm in (cut, os.unlink)]


@pytest.mark.parametrize(("name", "harm"), [*HARM, ("optimizer.pt", overwrite), ("model.safetensors", empty)])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(folders, tmp_path, undisturbed, capsys, name, harm):
    run = Run(folders, tmp_path)
    run.train(steps=5)
    assert names(tmp_path) == ["checkpoint-3", "checkpoint-5"]
    harm(tmp_path / "checkpoint-5" / name)
    capsys.readouterr()
    assert checkpoints.last_whole(tmp_path) == tmp_path / "checkpoint-3"
    [line] = capsys.readouterr().out.splitlines()
    assert re.search(r"checkpoint-5: .*(written completely|changed|missing); it is skipped", line)
    if name == "optimizer.pt":  # once is enough
        run.train()
        check(run, undisturbed)


def test_a_checkpoint_whose_best_one_is_damaged_cannot_be_used(folders, tmp_path, undisturbed, capsys):
    run = Run(folders, tmp_path)
    run.train(steps=8)
    assert names(tmp_path) == ["checkpoint-6", "checkpoint-8"]
    cut(tmp_path / "checkpoint-6" / "model.safetensors")
    run.scores = iter(SCORES)
    run.train()
    assert "checkpoint-8: the best checkpoint so far, checkpoint-6, cannot be used" in capsys.readouterr().out
    check(run, undisturbed)


def test_a_moved_folder_resumes_and_finds_its_best_checkpoint(folders, tmp_path, undisturbed):
    run = Run(folders, tmp_path / "here")
    run.train(steps=8)
    shutil.move(tmp_path / "here", tmp_path / "there")
    run.work = tmp_path / "there"
    assert run.train().best_step == 6
    check(run, undisturbed)


def test_file_times_do_not_decide_which_checkpoints_are_kept(folders, tmp_path, undisturbed):
    run, seen = Run(folders, tmp_path), []

    def stop():
        for number, path in enumerate(checkpoints.in_order(tmp_path)):  # the later, the older
            os.utime(path, (2e9 - number, 2e9 - number))
        seen.append(names(tmp_path))
        return False

    run.train(stop=stop)
    assert seen[-1] == ["checkpoint-3", "checkpoint-6"]  # before the last is written
    assert names(tmp_path) == ["checkpoint-6", "checkpoint-9"]
    check(run, undisturbed)


def test_a_best_checkpoint_that_was_removed_ends_the_run_and_the_next_one_is_right(folders, tmp_path, undisturbed):
    run, steps = Run(folders, tmp_path), []

    def stop():
        steps.append(1)
        if len(steps) == 8:
            shutil.rmtree(tmp_path / "checkpoint-6")
        return False

    with pytest.raises(RunFailed, match=r"checkpoint-6: .*the best epoch cannot be loaded; run the same command again"):
        run.train(stop=stop)
    run.scores = iter(SCORES[1:])
    run.train()  # from checkpoint-3
    check(run, undisturbed)
