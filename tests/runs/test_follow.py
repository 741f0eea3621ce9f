"""Following a run: what its notebook does now, the time left, and the line in a terminal and in a log."""

import json
import os
import time

import pytest
from rich.console import Console

from mentor_kd.runs import follow, jobs, notebooks


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job of a notebook with six cells."""
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    (tmp_path / "09_one.ipynb").write_text(json.dumps({"cells": [{}] * 6}))
    follow._cells.cache_clear()
    (tmp_path / "out" / "notebooks").mkdir(parents=True)
    return jobs.Job("09_one", tmp_path / "out", {}, "sums/09_one")


def line(label: str, done: int, total: int, unit: str = "steps", note: str = "", left: float | None = None) -> dict:
    return {"label": label, "done": done, "total": total, "unit": unit, "note": note, "left": left}


def tell(job, *lines: dict, age: float = 0.0) -> None:
    jobs.news_file(job).write_text(json.dumps({"time": time.time() - age, "lines": lines}))


def test_before_any_progress_the_cell_is_named(job):
    assert follow.news(job) == follow.News("starting")
    log = job.folder / "notebooks" / "09_one.log"
    log.write_text("Executing Cell 2-------\nhello\nEnding Cell 2------\nExecuting Cell 5------\n")
    assert follow.news(job) == follow.News("cell 5 of 7")  # papermill adds the cell with the parameters
    log.write_text("x" * 50_000 + "\nExecuting Cell 6------\n" + "y" * 500)
    assert follow.news(job).text == "cell 6 of 7"


def test_the_work_is_named_with_step_inner_step_loss_and_time_left(job):
    training = line("mentor-kd, seed 1", 120, 450, note="loss 1.2 · dev 45.0%", left=40.0)
    inner = line("dev evaluation", 32, 60, "questions", left=9.0)
    tell(job, training, inner, line("generating", 0, 32))
    assert follow.news(job) == follow.News(
        "mentor-kd, seed 1 120/450 steps > dev evaluation 32/60 questions · loss 1.2 · dev 45.0%", 40.0
    )


def test_a_silent_kernel_gets_no_estimate_and_finished_work_no_line(job):
    tell(job, line("training", 1, 9, left=40.0), age=200)
    assert follow.news(job) == follow.News("training 1/9 steps · nothing new for 3 min 20 s")
    tell(job, age=200)
    assert follow.news(job) == follow.News("starting")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"lines": []}', '{"time": 1}', '{"time": 1, "lines": [{}]}', "\xff"])
def test_news_that_cannot_be_read_is_no_news(job, text):
    jobs.news_file(job).write_text(text, encoding="latin-1")
    assert follow.news(job) == follow.News("starting")


def test_the_time_left_is_scaled_by_what_was_spent():
    assert follow.seconds_left([10, 20], []) == 30
    assert follow.seconds_left([10, 20], [(20, 10), (20, 50)]) == 45
    assert follow.seconds_left([], [(20, 10)]) == 0
    assert follow.seconds_left([10, 0], []) is None  # one that cannot be estimated


def test_a_log_gets_one_line_every_half_minute(capsys, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(follow.time, "monotonic", lambda: now[0])
    with follow.Line(Console(force_terminal=False)) as shown:
        shown.say("[1/2] one ...")
        for second in range(120):
            now[0] += 1
            shown.show(f"second {second}")
        shown.show("")
    assert capsys.readouterr().out.splitlines() == [
        "[1/2] one ...",
        *(f"second {second}" for second in (29, 59, 89, 119)),
    ]


def test_a_terminal_shows_the_last_text_and_clears_it(capsys):
    console = Console(force_terminal=True, width=60)
    with follow.Line(console) as shown:
        shown.show("training 1/2 \x1b[2J")
        shown.live.refresh()
        during = capsys.readouterr().out
        shown.show("")
        shown.live.refresh()
    assert "training 1/2 \\x1b[2J" in during and "\x1b[2J" not in during
    assert "training" not in capsys.readouterr().out


def test_a_notebook_finds_the_file_and_it_is_gone_afterwards(job, monkeypatch):
    seen = []
    script = "import os, time; open(os.environ['MENTOR_KD_NEWS'], 'w').write('{}'); time.sleep(0.6)"
    monkeypatch.setattr(jobs, "command", lambda job, minutes: [os.sys.executable, "-S", "-c", script])
    assert jobs.execute(job, look=lambda: seen.append(jobs.news_file(job).exists())) == (0, "")
    assert True in seen and not jobs.news_file(job).exists()
    tell(job, line("training", 1, 2))  # left by a runner that was killed
    jobs.start(job).wait()
    assert jobs.news_file(job).read_text() == "{}"
