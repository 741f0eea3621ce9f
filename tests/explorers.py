"""An explorer over a few rationales, and a helper that triggers its actions."""

from pathlib import Path

from rows import OTHER, rationale

from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.widgets.explorer.explorer import Explorer
from mentor_kd.widgets.explorer.judging import Judging
from mentor_kd.widgets.explorer.table import Columns


def make(folder: Path, rows=None, settings=None, confidence=None, who="") -> Explorer:
    rows = rows or [
        rationale("Ann has 2 pens and gets 3, so 5.", 0),
        rationale("Ann has 2 pens and gets 4, so 5.", 1),
        rationale("2 + 3 = 6, so it is 6.", 2, "mentor", correct=False, prediction="6"),
        rationale("It has no end", 3, "mentor", correct=False, prediction=None),
        rationale("4 + 1 = 5", 4, "mentor", question=OTHER),
    ]
    columns = Columns(rows, confidence=confidence)
    judging = Judging(columns, {"sandbox-sums": folder / "verdicts.jsonl"}, who)
    return Explorer(columns, judging, settings or FilterSettings(), [folder])


def press(explorer: Explorer, action: str, **more) -> None:
    """Send an action as a key or a click in the list would."""
    explorer.reading.rows._handle_custom_msg({"action": action, **more}, [])
    assert explorer.problem.value == "", explorer.problem.value
