"""What lm-evaluation-harness calls for an exported task; a copy of this file, utils.py, is next to the task's YAML.

It reads task.json and test.jsonl from its own folder, so that the folder can be moved and used from anywhere.
"""

from functools import cache
from pathlib import Path

from mentor_kd.data.tasks import Task, judge
from mentor_kd.files import read_json

HERE = Path(__file__).parent


def dataset(**_):
    """The test split."""
    from datasets import Dataset, DatasetDict

    from mentor_kd.files import read_jsonl

    return DatasetDict(test=Dataset.from_list([row for _, row in read_jsonl(HERE / "test.jsonl")]))


def process_results(doc: dict, results: list[str]) -> dict[str, float]:
    """Whether the generated text answers the question, by the rules of the run's protocol."""
    task, protocol = _task()
    return {"acc": float(judge(task, results[0], doc["answer"], doc["question"], mode=protocol).correct)}


@cache
def _task() -> tuple[Task, str]:
    known = read_json(HERE / "task.json")
    return Task(**known["task"]), known["protocol"]
