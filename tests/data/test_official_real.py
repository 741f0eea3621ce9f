"""The official files themselves, if they are installed."""

import json
import re

import official_files
import pytest
import tiny

from mentor_kd.data import download, official
from mentor_kd.data.official import load_task, mentor_rationales, read_official_questions, read_official_rationales
from mentor_kd.data.rationales import normalise, target
from mentor_kd.data.tasks import PROTOCOLS, TASKS
from mentor_kd.files import official_root
from mentor_kd.models import loading
from mentor_kd.models.batches import encode, padding_waste, row_lengths
from mentor_kd.training.settings import TrainSettings
from mentor_kd.training.train import plan_batches

REAL = download.hashes()
real = pytest.mark.skipif(
    not REAL, reason=f"no official data in {official_root()}: `python -m mentor_kd data fetch` gets it"
)
SIZES = {  # train and test questions (paper, table 6)
    "gsm8k": (7473, 659),
    "asdiv": (1462, 314),
    "svamp": (700, 150),
    "strategy-qa": (1603, 687),
    "commonsense-qa": (8520, 1221),
    "tracking-shuffled-objects": (525, 225),
    "date-understanding": (258, 111),
    "last-letter-concatenation": (350, 150),
}
TEACHER_QUESTIONS = {  # those of data/main/*_3_train.json, each with three rationales
    "svamp": 651,
    "strategy-qa": 1496,
    "tracking-shuffled-objects": 512,
    "date-understanding": 256,
    "last-letter-concatenation": 350,
}
RIGHT_OF_MENTOR = {  # FlanT5-large (paper, table 7)
    "strategy-qa": 4396,
    "commonsense-qa": 25413,
    "asdiv": 2667,
    "svamp": 1558,
    "tracking-shuffled-objects": 1392,
    "date-understanding": 763,
    "last-letter-concatenation": 1029,
}
NAMES = {task.official: name for name, task in TASKS.items() if task.official}
DRAW = {"model": "any", "temperature": None, "top_k": None, "seed": None}


@real
def test_the_real_files_are_the_published_ones():
    download.verify()


@pytest.mark.parametrize("path", sorted(REAL) or [pytest.param("", marks=real)])
def test_every_real_file_is_read(path):
    file = official.official_file(path)
    name = next(name for base, name in NAMES.items() if file.name.startswith(base))
    count = len(json.loads(file.read_text(encoding="utf-8")))
    if "prompt" in path:  # six stored outputs per question, which the package does not use
        assert count == SIZES[name][0]
        return
    questions = read_official_questions(file, name)
    assert len(questions) == count
    if "skeleton" in path or path.endswith("_test.json"):
        assert count == SIZES[name]["test" in path]
        return
    rows = read_official_rationales(file, name, "teacher", DRAW)
    assert len(rows) == count == len({row.id for row in rows})
    if path.endswith("_3_train.json"):
        assert all(row.correct and row.prediction is None for row in rows)
        if name in TEACHER_QUESTIONS:
            assert count == 3 * TEACHER_QUESTIONS[name] == 3 * len({row.question_id for row in rows})
    else:
        assert count == 3 * SIZES[name][0]
        assert "flan" not in path or sum(row.correct for row in rows) == RIGHT_OF_MENTOR[name]
    published = json.loads(file.read_text(encoding="utf-8"))
    read = [(row.question, row.original, row.prediction, row.answer, row.correct) for row in rows]
    keys = ("chain", "completion", "answer", "initial_correct")
    assert read == [(normalise(row["input"]), *(row.get(key) for key in keys)) for row in published]


@real
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_real_tasks(name, protocol):
    base = TASKS[name].official
    if not {f"data/main/{base}_test.json", f"data/skeleton/{base}_train.json"} <= set(REAL):
        pytest.skip(f"the official data here lacks {name}'s questions")
    task = load_task(name, protocol)
    train, test = SIZES[name]
    assert task.rows == {"train": train, "test": test} and official_files.adds_up(task)
    assert len(task.test) == test
    overlap = {row.id for row in task.train} & {row.id for row in task.test}
    if protocol == "sound":
        assert not overlap
    if name == "strategy-qa":
        assert len(task.train) == 1603 - (protocol == "sound") and len(overlap) == (protocol == "paper")


@real
def test_real_last_letter_labels():
    base = "data/{}/last_letter_concatenation_test.json"
    if not {base.format("main"), base.format("skeleton")} <= set(REAL):
        pytest.skip("the official data here lacks the last-letter test files")
    name = "last-letter-concatenation"
    fixed, published = load_task(name), load_task(name, last_letter_labels="as published")
    clean = read_official_questions(official.official_file(base.format("skeleton")), name, "test")
    assert fixed.test == clean
    spelt = ["".join(word[-1].lower() for word in re.search('"(.*)"', row.question)[1].split()) for row in clean]
    assert [row.answer for row in fixed.test] == spelt
    assert sum(old.answer != new.answer for old, new in zip(published.test, fixed.test, strict=True)) == 6
    assert set(fixed.corrected) == set(official.LAST_LETTER_LABELS) and published.corrected == ()


@real
@pytest.mark.parametrize("name", RIGHT_OF_MENTOR)
def test_real_mentor_verdicts_match_upstream(name):
    base = TASKS[name].official
    needed = {f"data/main/{base}_test.json", f"data/aug/flan-t5_large/{base}_rand3_aug3.json"}
    if not needed <= set(REAL):
        pytest.skip(f"the official data here lacks {name}'s mentor rationales")
    got = mentor_rationales(name, protocol="paper")
    assert sum(row.correct for row in got) == RIGHT_OF_MENTOR[name] and not got.disagreements


@real
@pytest.mark.parametrize("name", TEACHER_QUESTIONS)
def test_padding_on_real_rationales_is_small(name, tmp_path):
    """Slots per real token: at most 1.15 with 8 rationales per step, at most 1.10 with a token budget."""
    base = TASKS[name].official
    if not {f"data/main/{base}_3_train.json", f"data/main/{base}_test.json"} <= set(REAL):
        pytest.skip(f"the official data here lacks {name}'s teacher rationales or test questions")
    rows = list(official.teacher_rationales(name))
    if f"data/aug/flan-t5_large/{base}_rand3_aug3.json" in REAL:
        rows += mentor_rationales(name)
    model = loading.load(tiny.t5(tmp_path / "t5"))
    examples, _ = encode(model, [(row.id, row.question, target(row)) for row in rows if row.correct], 512)
    mean = sum(map(sum, row_lengths(examples, True))) / len(examples)
    for encoder_decoder in (True, False):
        for most, settings in ((1.15, {"batch_size": 8}), (1.10, {"token_budget": round(16 * mean)})):
            plan = plan_batches(examples, encoder_decoder, TrainSettings(epochs=1, **settings))
            assert padding_waste(examples, plan.epoch(0), encoder_decoder) <= most
