"""100,000 rationales in the explorer: every click, slider and search takes under 200 ms, and memory stays under 1 GB.

    python tests/widgets/test_explorer_speed.py          # prints the measurements

Measured in a separate process, so that no other memory is counted: with torch loaded, as in notebook 04, real rows,
real widgets and verdicts on disk. The time is that of the kernel's answer, from the event to its last message to the
page, which receives a dozen rows however many there are.
"""

import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS, SIBLINGS = 100_000, 10
LIMIT_MS, LIMIT_MB = 200, 1_000


def synthetic(n: int, siblings: int, seed: int = 0) -> list:
    """Rationales of 20 to 70 words, half of them with sums; those of a question differ in few words or in most."""
    from mentor_kd.data.rationales import Rationale

    rng = random.Random(seed)
    words = [f"word{i}" for i in range(3000)]
    rows = []
    for q in range(n // siblings):
        question, base = " ".join(rng.choices(words, k=30)), rng.choices(words, k=60)
        for s in range(siblings):
            some = list(base)
            for _ in range(rng.choice([0, 0, 1, 2, 5, 20, 40])):
                some[rng.randrange(60)] = rng.choice(words)
            if rng.random() < 0.5:
                some[10:10] = ["12", "+", "3", "=", rng.choice(["15", "15", "14"]), "pens."]
            text = " ".join(some[: rng.randint(20, 70)]) + f" so the answer is {q % 7}."
            correct = rng.random() < 0.7
            rows.append(
                Rationale(
                    id=f"{q:08x}{s:08x}",
                    task="sandbox-sums",
                    question_id=f"{q:016x}",
                    question=question,
                    rationale=text,
                    prediction=str(q % 7 if correct else 9),
                    answer=str(q % 7),
                    correct=correct,
                    source="teacher" if s < 3 else "mentor",
                    sampler={"model": "m", "temperature": 0.7, "top_k": 50, "seed": 0, "index": s},
                    original=f"{text} --> {q % 7}",
                )
            )
    return rows


def measure(n: int = ROWS, siblings: int = SIBLINGS) -> dict:
    """Milliseconds of each interaction (three repeats), seconds to build, and peak memory in MB."""
    import torch  # noqa: F401  in memory as in the notebook

    from mentor_kd.bench.loops import high_water
    from mentor_kd.filtering.filters import FilterSettings
    from mentor_kd.widgets.explorer.explorer import Explorer
    from mentor_kd.widgets.explorer.judging import Judging
    from mentor_kd.widgets.explorer.table import Columns

    rows = synthetic(n, siblings)
    confidence = {row.id: -random.Random(row.id).random() for row in rows}
    started = time.perf_counter()
    columns = Columns(rows, confidence=confidence)
    folder = Path(tempfile.mkdtemp())
    explorer = Explorer(columns, Judging(columns, {"sandbox-sums": folder / "v.jsonl"}), FilterSettings(), [folder])
    built = time.perf_counter() - started
    read, controls = explorer.reading, explorer.panel.controls

    def key(action: str, **more: object):
        return lambda: read.rows._handle_custom_msg({"action": action, **more}, [])

    def put(widget, name: str, *values: object):
        values = itertools.cycle(values)
        return lambda: setattr(widget, name, next(values))

    def all_shown():
        read.all["drop"].click()
        read.confirm.click()

    events = {
        "next row": key("next"),
        "next page": key("page down"),
        "last row": key("last"),
        "verdict by key": key("keep"),
        "verdict by button": read.buttons["drop"].click,
        "undo": key("undo"),
        "note": key("note", text="a note"),
        "facet": put(read.facets, "chosen", {"source": ["mentor"]}, {"answer": ["wrong"]}, {"status": ["kept"]}),
        "facets off": put(read.facets, "chosen", {}, {"source": ["teacher"]}),
        "search, rare": put(read.search, "value", "word12 word1", "word77 w", "word2999"),
        "search, every row": put(read.search, "value", "w", "so the answer", "word"),
        "search off": put(read.search, "value", "", "wor"),
        "range of words": put(read.ranges["words"], "value", (20, 40), (30, 60), (0, 50)),
        "range of similarity": put(read.ranges["similarity"], "value", (0.5, 1), (0, 0.5), (0.2, 1)),
        "show all": read.clear.click,
        "sort by similarity": key("sort", order="similarity"),
        "sort by confidence": key("sort", order="confidence"),
        "sort by question": key("sort", order="question"),
        "near duplicates": put(controls["near duplicates"], "value", 0.8, 0.5, 0.01),
        "words": put(controls["words"], "value", (10, 60), (25, 60), (25, 50)),
        "duplicates": put(controls["duplicates"], "value", False, True),
        "conclusion": put(controls["conclusion"], "value", True, False),
        "arithmetic": put(controls["arithmetic"], "value", True, False),
        "confidence": put(controls["confidence"], "value", -0.9, -0.5, -0.2),
        "write settings": explorer.write.click,
        "drop all shown": all_shown,
        "undo of all": key("undo"),
    }
    times = {}
    for name, event in events.items():
        times[name] = []
        for _ in range(3):
            begun = time.perf_counter()
            event()
            times[name].append(round(1000 * (time.perf_counter() - begun), 1))
            assert explorer.problem.value == "", explorer.problem.value
    load = round(os.getloadavg()[0] / os.cpu_count(), 1)  # runnable processes per processor
    peak = high_water()  # not ru_maxrss, which is inherited from the parent process
    facts = {"rows": n, "siblings": siblings, "build_s": round(built, 1), "peak_mb": round(peak), "load": load}
    return facts | {"ms": times}


def test_a_hundred_thousand_rationales_are_handled_fast_within_a_gigabyte():
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] == ROWS and found["peak_mb"] < LIMIT_MB
    # the limit holds for an otherwise idle machine and scales with the load
    limit = LIMIT_MS * max(1, found["load"])
    assert not {name: times for name, times in found["ms"].items() if min(times) >= limit}


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
