"""Small files in the format of the paper's data: five tasks, with correct and wrong rows and the real files' oddities.

Oddities: the last training question of each task has no teacher rationale and no stored output; one StrategyQA
training question is also in the test file; ASDiv has a duplicate training question; the last-letter test file used
for scoring has a wrong label for a two-word name that is correct in data/skeleton.
"""

import json
from pathlib import Path

from mentor_kd.data import download, official
from mentor_kd.data.rationales import question_id

TWO_WORDS = 'Take the last letters of each words in "Anna Maria Bob" and concatenate them.'
TESTED = "Is 9 more than 4?"


def _sum(a: int, b: int) -> tuple[str, str, str, str]:
    question = f"Ann has {a} pens and gets {b} more. How many pens does she have?\n"
    return question, str(a + b), f"She has {a} pens.\nThen {a} + {b} = {a + b} pens.", f"{a + b + 1}.0"


def _more(a: int, b: int) -> tuple[str, str, str, str]:
    answer, wrong = ("Yes", "no") if a > b else ("No", "yes")
    return f"Is {a} more than {b}?", answer, f"Compare:\n\n{a} and {b}. So the answer is {answer.lower()}.", wrong


def _letters(*names: str) -> tuple[str, str, str, str]:
    answer = "".join(name[-1].lower() for name in names)
    question = f'Take the last letters of each words in "{" ".join(names)}" and concatenate them.'
    steps = "\n".join(f"{k}. {name} - {name[-1]}" for k, name in enumerate(names, start=1))
    return question, answer, f'{steps}\nSo the answer is "{answer}".', answer + "x"


def _balls(k: int) -> tuple[str, str, str, str]:
    colours, answer = [("red", "blue", "pink"), ("blue", "pink", "red"), ("pink", "red", "blue")][k % 3], "ABC"[k % 3]
    options = ", ".join(f"({letter}) {colour} ball" for letter, colour in zip("ABC", colours, strict=True))
    question = f"Game {k}: Ann holds the {colours[k % 3]} ball. \nWhich choice is true? Answer choices: {options}."
    return question, answer, f"Ann keeps her ball.\n\nSo the answer is ({answer}).", "ABC"[(k + 1) % 3]


TRAIN = {
    "svamp": [_sum(1, 2), _sum(10, 5), _sum(7, 7), _sum(3, 9)],
    "asdiv": [_sum(2, 2), _sum(4, 5), _sum(2, 2), _sum(8, 8)],
    "strategy_qa": [_more(9, 4), _more(1, 2), _more(3, 2), _more(5, 6)],
    "last_letter_concatenation": [_letters("Ann", "Bob"), _letters("Lee", "Kim"), _letters("Al", "Jo")],
    "tracking_shuffled_objects": [_balls(0), _balls(1), _balls(2), _balls(3)],
}
TEST = {
    "svamp": [_sum(20, 1), _sum(30, 2)],
    "asdiv": [_sum(40, 1), _sum(50, 2)],
    "strategy_qa": [_more(9, 4), _more(8, 9)],
    "last_letter_concatenation": [_letters("Eve", "Sam"), _letters("Anna", "Maria", "Bob")],
    "tracking_shuffled_objects": [_balls(4), _balls(5)],
}


def contents() -> dict[str, bytes]:
    """Content of every synthetic file, keyed by its upstream path."""
    files = {}
    for name, train in TRAIN.items():
        test = TEST[name]
        files[f"data/skeleton/{name}_train.json"] = [{"input": q, "answer": a} for q, a, _, _ in train]
        files[f"data/skeleton/{name}_test.json"] = [{"input": q, "answer": a} for q, a, _, _ in test]
        published = [{"input": q, "answer": "ab" if q == TWO_WORDS else a} for q, a, _, _ in test]
        files[f"data/main/{name}_test.json"] = published
        files[f"data/main/{name}_3_train.json"] = [
            {"input": q, "chain": f"{chain}{' ' * k}", "answer": a, "initial_correct": True}
            for q, a, chain, _ in train[:-1]
            for k in range(3)
        ]
        files[f"data/aug/flan-t5_large/{name}_rand3_aug3.json"] = [
            {
                "input": q,
                "chain": " ".join(chain.split()),
                "completion": wrong if k == 2 else a,
                "answer": a,
                "initial_correct": k < 2,
            }
            for q, a, chain, wrong in train
            for k in range(3)
        ]
        if name in ("last_letter_concatenation", "tracking_shuffled_objects"):
            files[f"data/prompt/{name}_6.json"] = [
                {"instruction": q, "output": [chain] * 6 if row < len(train) - 1 else [], "label": a}
                for row, (q, a, chain, _) in enumerate(train)
            ]
    return {path: json.dumps(rows, indent=4).encode() for path, rows in files.items()}


def write_tree(root: Path) -> dict[str, bytes]:
    """Write the synthetic files to a folder in the upstream layout; returns `contents()`."""
    files = contents()
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return files


def pin(monkeypatch) -> dict[str, bytes]:
    """Make the package accept the synthetic files as the published ones; returns `contents()`."""
    files = contents()
    hashes = {path: download.blob_hash(content) for path, content in files.items()}
    monkeypatch.setattr(download, "upstream", lambda: hashes)
    key = question_id("last-letter-concatenation", TWO_WORDS)
    monkeypatch.setitem(official.LAST_LETTER_LABELS, key, ("ab", "aab"))
    return files


def adds_up(task: official.OfficialTask) -> bool:
    """Whether every row of a task's files is either a question or listed as dropped."""
    return sum(task.rows.values()) == len(task.train) + len(task.test) + len(task.dropped)
