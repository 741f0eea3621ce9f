"""Our verdict on every official row with a completion is the published one, except for a listed set."""

import json

import pytest

from mentor_kd.data.tasks import TASKS, judge
from mentor_kd.files import official_root

# (file, row from 0): why we judge correct what upstream judges wrong. The opposite does not occur.
HYPHENS = "the letters are joined by hyphens, as in h-e-e-o: spelled out, not another answer"
PUNCTUATION = "the verdict has punctuation attached, as in `yes!`"
DETERMINER = "a `no` that belongs to a noun, as in `no evidence`, is not the verdict"
EXPLAINED = {
    ("main/last_letter_concatenation_test.json", 33): HYPHENS,
    ("main/last_letter_concatenation_test.json", 82): HYPHENS,
    ("main/last_letter_concatenation_test.json", 98): HYPHENS,
    ("main/last_letter_concatenation_test.json", 139): HYPHENS,
    ("main/strategy_qa_test.json", 309): PUNCTUATION,
    ("main/strategy_qa_test.json", 375): DETERMINER,
    ("main/strategy_qa_test.json", 640): PUNCTUATION,
}
ROWS = {
    "main/strategy_qa_test.json": 687,
    "main/last_letter_concatenation_test.json": 150,
    "main/tracking_shuffled_objects_test.json": 225,
    "aug/flan-t5_large/last_letter_concatenation_rand3_aug3.json": 1050,
    "aug/flan-t5_large/svamp_rand3_aug3.json": 2100,
    "aug/flan-t5_large/tracking_shuffled_objects_rand3_aug3.json": 1575,
}


def task_of(name: str):
    stem = name.rsplit("/", 1)[1]
    return next(task for task in TASKS.values() if task.official and stem.startswith(task.official))


@pytest.mark.parametrize("name", ROWS)
def test_verdicts_match_upstream_except_for_the_listed_rows(name):
    path = official_root() / "data" / name
    if not path.is_file():
        pytest.skip(f"{path} is missing; run `python -m mentor_kd data fetch`")
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert len(rows) == ROWS[name]
    differ = {}
    for number, row in enumerate(rows):
        found = judge(task_of(name), row["completion"], row["answer"], row["input"])
        assert (found.prediction is None) == bool(found.reason)
        if found.correct != row["initial_correct"]:
            differ[name, number] = found.correct
    expected = {key for key in EXPLAINED if key[0] == name}
    assert set(differ) == expected and all(differ.values())
