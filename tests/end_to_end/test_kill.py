"""A process that is killed outright in the middle of a step: run again, the step ends as if nothing had happened.

test_kill_matrix kills whole runs at random moments.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from mentor_kd.files import read_json, read_jsonl
from mentor_kd.filtering import verdicts
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.models.generation import Sampling
from mentor_kd.pipeline import augment, distill, filter, mentor
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.training.settings import TrainSettings

TASK = "sandbox-letters"
COLLECT = CollectSettings(train_questions=24, dev_questions=3, test_questions=6)
# a checkpoint after every step, so that there is one soon; dropout, so that the random state matters
TRAINING = TrainSettings(epochs=4, batch_size=8, learning_rate=3e-3, save_minutes=0.0)
SAMPLING = Sampling(n=2, temperature=0.9, top_k=50, max_new_tokens=40, batch_size=2)  # six shards
RUN = {
    "mentor": lambda folder, model: mentor.train_mentor(folder, model, TRAINING),
    "augment": lambda folder, model: augment.augment(folder, SAMPLING),
    "distil": lambda folder, model: distill.distill(folder, "mentor-kd", model, TRAINING),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny.gpt2(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, model):
    """The whole chain, never disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed") / TASK
    collect(folder, TASK, COLLECT)
    RUN["mentor"](folder, model)
    RUN["augment"](folder, model)
    filter.filter_rationales(folder, FilterSettings())
    for row in [row for row in filter.rationales(folder) if row.source == "mentor"][:10]:
        verdicts.add_verdict(folder / "verdicts.jsonl", row.id, "keep")  # a random mentor is never right by itself
    RUN["distil"](folder, model)
    return folder


def kill_in_the_middle(step, folder, model, pattern):
    """Start the step in a process of its own and kill it as soon as two files of the pattern have been there."""
    log = folder.parent / "log.txt"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}  # the helpers next to conftest.py
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, __file__, step, str(folder), model], stdout=output, stderr=output, env=environment
        )
        try:
            seen = set()
            give_up = time.monotonic() + 120
            while len(seen) < 2:
                assert process.poll() is None and time.monotonic() < give_up, log.read_text()
                seen |= set(folder.glob(pattern))
                time.sleep(0.002)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert process.returncode == -signal.SIGKILL


def copy_with(undisturbed, tmp_path, names):
    folder = tmp_path / TASK
    for name in names:
        source = undisturbed / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy2(source, folder / name)
    return folder


def check_same_training(ours, theirs):
    for name in ("model.safetensors", "predictions.jsonl"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    facts = [read_json(place / "manifest.json") for place in (ours, theirs)]
    assert facts[0]["test"] == facts[1]["test"]
    assert facts[0]["training"] | {"seconds": 0} == facts[1]["training"] | {"seconds": 0}
    logged = [
        [(row["step"], sorted(row)) for _, row in read_jsonl(place / "metrics.jsonl")] for place in (ours, theirs)
    ]
    assert logged[0] == logged[1]
    assert not list(ours.rglob("checkpoint-*"))


def test_killed_while_the_mentor_writes_rationales(undisturbed, tmp_path, model):
    folder = copy_with(undisturbed, tmp_path, ["collected", "params.yaml", "mentor"])
    kill_in_the_middle("augment", folder, model, "augmented/shards/shard-*.jsonl")
    assert not (folder / "augmented" / "manifest.json").exists()
    done = {path: path.stat().st_mtime_ns for path in folder.glob("augmented/shards/shard-*.jsonl")}
    assert 2 <= len(done) < 6
    RUN["augment"](folder, model)
    rows = (folder / "augmented" / "mentor.jsonl").read_bytes()
    assert rows == (undisturbed / "augmented" / "mentor.jsonl").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in done} == done  # what was done was not done again
    assert len(list(folder.glob("augmented/shards/shard-*.jsonl"))) == 6


def test_killed_while_a_student_is_trained(undisturbed, tmp_path, model):
    needed = ["collected", "params.yaml", "mentor", "augmented", "rationales.jsonl", "filters.yaml", "verdicts.jsonl"]
    folder = copy_with(undisturbed, tmp_path, needed)
    place = folder / "students" / "mentor-kd-seed0"
    kill_in_the_middle("distil", folder, model, "students/*/work/checkpoint-*/trainer_state.json")
    assert not (place / "manifest.json").exists()
    RUN["distil"](folder, model)
    check_same_training(place, undisturbed / "students" / "mentor-kd-seed0")


if __name__ == "__main__":  # the process that is killed
    import torch

    torch.set_num_threads(1)
    RUN[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
