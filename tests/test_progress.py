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
