import json
import sys

import pytest

from mentor_kd import progress
from mentor_kd.progress import Progress, duration


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only on request."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

        time = monotonic

    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "0 s"),
        (89.4, "89 s"),
        (90, "1 min 30 s"),
        (200, "3 min 20 s"),
        (5399, "89 min 59 s"),
        (5400, "1 h 30 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_are_readable(seconds, said):
    assert duration(seconds) == said


def test_the_estimate_uses_the_speed_so_far(clock):
    line = Progress("sampling", 100, "questions")
    assert line.remaining() is None
    assert line.line() == "sampling: 0/100 questions"
    clock.now += 20
    line.advance(10, "5 tokens/s")
    assert line.remaining() == 180
    assert line.line() == "sampling: 10/100 questions, about 3 min 0 s left · 5 tokens/s"


def test_work_already_done_is_left_out_of_the_speed(clock):
    line = Progress("sampling", 100)
    line.skip(80)
    assert line.remaining() is None
    clock.now += 10
    line.advance(10)
    assert line.remaining() == 10
    assert line.line(final=True) == "sampling: 90/100 steps done after 10 s (80 already done)"


def test_a_log_gets_a_line_every_ten_seconds_and_a_last_one(clock, capsys):
    with Progress("training", 1000) as line:
        for _ in range(1000):
            clock.now += 0.05
            line.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "training: 1000/1000 steps done after 50 s"
    assert 4 <= len(lines) <= 6  # one in ten seconds


def test_a_failure_is_shown_as_stopped(clock, capsys):
    with pytest.raises(KeyboardInterrupt), Progress("training", 10) as line:
        line.advance(3)
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "training: 3/10 steps stopped after 0 s\n"


def test_a_terminal_rewrites_its_line(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress("training", 2) as line:
        clock.now += 1
        line.advance()
    written = capsys.readouterr().err
    assert written.count("\r\033[K") == 3
    assert written.endswith("done after 1 s\n")
    assert written.count("\n") == 1


def test_a_notebook_updates_one_display_and_escapes_what_models_write(clock, monkeypatch):
    import IPython.display

    shown = []

    class Handle:
        def update(self, content):
            shown.append(content.data)

    def display(content, display_id):
        shown.append(("new", content.data))
        return Handle()

    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", display)
    with Progress("a <b> & c", 1) as line:
        line.advance()
    assert [isinstance(one, tuple) for one in shown] == [True, False]
    assert "a &lt;b> &amp; c: 1/1" in shown[-1]


def told(path):
    return json.loads(path.read_text())["lines"]


def test_the_open_lines_are_told_to_the_process_that_runs_the_notebook(clock, tmp_path, monkeypatch, capsys):
    path = tmp_path / "news.json"
    monkeypatch.setenv(progress.NEWS, str(path))
    with Progress("training", 100) as outer:
        clock.now += 50
        outer.advance(25, "loss 1.5")
        with Progress("dev evaluation", 8, "questions", inner=True) as inner:
            clock.now += 2
            inner.advance(2)
            first, second = told(path)
            assert first == {
                "label": "training",
                "done": 25,
                "total": 100,
                "unit": "steps",
                "note": "loss 1.5",
                "left": 156.0,
            }
            assert (second["label"], second["done"], second["left"]) == ("dev evaluation", 2, 6.0)
            inner.advance(1)  # within a second: not told again
            assert told(path)[1]["done"] == 2
        assert [one["label"] for one in told(path)] == ["training"]
    assert told(path) == []  # nothing stale is left
    assert "dev evaluation" not in capsys.readouterr().err and not list(tmp_path.glob("*.part"))


def test_work_goes_on_if_nothing_can_be_told(tmp_path, monkeypatch):
    monkeypatch.setenv(progress.NEWS, str(tmp_path / "no such folder" / "news.json"))
    with Progress("training", 1) as line, pytest.raises(ValueError), Progress("inner", 1, inner=True):
        line.advance()
        raise ValueError
    assert line.done == 1


def test_control_characters_are_visible_and_other_texts_unchanged():
    hostile = "\x1b]0;title\x07 \x9b31m \r \u202e \u2028 \ud800 \U000e0041"
    assert progress.visible(hostile) == r"\x1b]0;title\x07 \x9b31m \r \u202e \u2028 \ud800 \U000e0041"
    assert progress.visible("é 漢字 👩\u200d🎓\n\t") == "é 漢字 👩\u200d🎓\n\t"
    assert progress.visible("a\n\tb", keep="") == r"a\n\tb"


def test_a_note_cannot_write_control_characters(capsys):
    with Progress("asking", 1) as line:
        line.advance(note="server said \x1b[2J\n")
    assert r"server said \x1b[2J\n" in capsys.readouterr().err
