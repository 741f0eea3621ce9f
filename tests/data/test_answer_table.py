"""A table of texts as models write them, each with the answer that a reader would find, or none."""

import itertools
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd.data.answer_text import NEXT_QUESTION
from mentor_kd.data.answers import ANSWER_TYPES
from mentor_kd.data.tasks import Task, extract, judge

TEXTS = [json.loads(line) for line in Path(__file__).with_name("answers.jsonl").read_text("utf-8").splitlines()]
FRAMES = json.loads(Path(__file__).with_name("frames.json").read_text("utf-8"))
OPTIONS = (
    "It is a security measure at a what? Answer Choices:\nA. bank\nB. library\nC. store\nD. book store\nE. new york\n"
)


def task_of(row: dict) -> Task:
    return Task("t", row["answer_type"], choices=row.get("choices", "ABCDE"), pattern=row.get("pattern", ""))


@pytest.mark.parametrize("row", TEXTS, ids=[f"{row['answer_type']}: {row['text'][:40]}" for row in TEXTS])
def test_the_answer_is_the_one_that_a_reader_finds(row):
    task = task_of(row)
    found = extract(task, row["text"], OPTIONS)
    if row["answer_type"] == "math":
        assert judge(task, row["text"], row["gold"]).correct is (row["expected"] is not None)
    elif row["answer_type"] == "text" and row["expected"]:
        assert judge(task, row["text"], row["expected"]).correct, found
    else:
        assert found.value == row["expected"], found.reason
    assert (found.value is None) == bool(found.reason)


def test_the_table_is_large():
    assert len(TEXTS) >= 2000 and len(FRAMES) >= 200


def test_the_examples_in_the_docs_are_true():
    page = (Path(__file__).parents[2] / "docs" / "answers.md").read_text("utf-8")
    kinds = "|".join(map(re.escape, ANSWER_TYPES))
    examples = re.findall(rf"^\| ({kinds}) \| `([^`]+)` \| ([^|]+) \| [^|]+ \|$", page, re.MULTILINE)
    assert len(examples) >= 40
    known = {(row["answer_type"], row["text"]): row for row in TEXTS}
    for answer_type, text, answer in examples:
        row = known[answer_type, text.replace("↵", "\n")]  # which the test above judges
        expected = {"miss": None, "not equal": None, "equal": row.get("gold")}.get(answer, answer)
        assert row["expected"] == expected, text


@pytest.mark.parametrize("frame", FRAMES)
def test_no_is_read_wherever_yes_is(frame):
    for word, verdict in (("Yes", "Yes"), ("yes", "Yes"), ("YES", "Yes"), ("No", "No"), ("no", "No"), ("NO", "No")):
        assert extract(Task("t", "yes/no"), frame.format(word)).value == verdict


def test_swapping_yes_and_no_swaps_the_verdict():
    """In any two frames, one after the other."""
    task = Task("t", "yes/no")
    for first, second, between in itertools.product(FRAMES, FRAMES, " \n"):
        frame = f"{first}{between}{second}"
        yes, no = extract(task, frame.format("Yes", "Yes")), extract(task, frame.format("No", "No"))
        assert (yes.value, no.value) in ((None, None), ("Yes", "No")), frame


@given(st.integers(-(10**6), 10**6), st.sampled_from([row["text"] for row in TEXTS if row["answer_type"] == "number"]))
def test_a_cue_at_the_end_overrules_what_precedes_it(number, before):
    text = f"{before}\n\nThe answer is {number}."
    found = extract("gsm8k", text)
    assert found.value in (str(number), extract("gsm8k", before).value)  # the text may have been cut before it
    cut = NEXT_QUESTION.search(f"\n{before}") or any(mark in before for mark in ("<", "-->", "[/INST]"))
    assert found.value == str(number) or cut


@given(st.sampled_from(TEXTS))
def test_the_span_lies_within_the_text(row):
    found = extract(task_of(row), row["text"], OPTIONS)
    if found.value is not None:
        assert 0 <= found.start < found.end <= len(row["text"])
        if row["answer_type"] == "number":
            readings = (row["text"][found.start : end] for end in (found.end, None))  # a unit may make it readable
            assert found.value in [extract("gsm8k", f"--> {text}").value for text in readings]
