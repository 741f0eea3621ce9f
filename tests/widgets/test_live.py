"""Live training without a browser: what is drawn and how often, stops, errors, and resuming."""

import asyncio
import os
import signal
import threading
import time
from types import SimpleNamespace

import nbformat
import pytest
import tiny

from mentor_kd.files import ROOT, read_json
from mentor_kd.pipeline import mentor
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.training.settings import TrainSettings
from mentor_kd.widgets import live
from mentor_kd.widgets.live import Live, StopButton, Stopped, picture

ROWS = [{"step": step, "loss": 1 / step, "ce": 1 / step, "time": 0.0} for step in range(1, 6)]
ACCURATE = {"step": 4, "dev_accuracy": 25.0, "time": 0.0}


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would show: for each display, its successive contents."""
    import IPython.display

    displays = []

    def display(content, display_id):
        displays.append([content])
        return SimpleNamespace(update=displays[-1].append)

    monkeypatch.setattr(live, "in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(live, "EVERY", 0.02)
    return displays


def button(shown):
    return next(one for display in shown for one in reversed(display) if isinstance(one, StopButton))


def until_stopped(stop, watch):
    """A training that runs until it is stopped, with a message like that of the real steps."""
    for row in ROWS:
        watch(row)
    while not stop():
        time.sleep(0.01)
    raise KeyboardInterrupt("a training was stopped at step 5; run the same again to go on from there")


def run(step, *arguments, show=None, **named):
    return asyncio.run((show or Live("Training")).train(step, *arguments, **named))


def test_a_training_runs_in_a_thread_and_returns_its_result(shown):
    threads, show = [], Live("Training")

    def step(a, b, stop, watch, c=0):
        threads.append(threading.current_thread())
        for row in ROWS:
            watch(row)
        return a, b, c, stop()

    assert run(step, 1, 2, c=3, show=show, run="first") == (1, 2, 3, False)
    assert threads[0] is not threading.main_thread()
    assert show.rows == {"first": ROWS}


def test_the_picture_is_updated_in_place_and_the_button_disappears(shown):
    show = Live("Training")
    for name in ("first", "second"):
        run(lambda stop, watch: [watch(row) for row in ROWS], show=show, run=name)
    control, drawn = shown
    assert [type(one).__name__ for one in control] == ["StopButton", "HTML"] * 2
    assert control[-1].data == "<pre style='margin:0'></pre>"
    assert drawn[-1].axes[0].get_title(loc="left") == "Loss of second (nats per token)"


def test_a_step_that_fails_before_its_first_row_is_not_called_trained(shown):
    def step(stop, watch):
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        run(step, run="first")
    assert shown[0][-1].data == "<pre style='margin:0'></pre>"


def test_a_finished_training_is_reported_with_its_name_escaped(shown):
    assert run(lambda stop, watch: "manifest", run="<b>") == "manifest"
    assert shown[0][-1].data == "<pre style='margin:0'>&lt;b&gt;: already trained</pre>" and len(shown) == 1


def test_the_button_stops(shown):
    async def press():
        training = asyncio.ensure_future(Live("Training").train(until_stopped))
        while len(shown) < 2:
            await asyncio.sleep(0.01)
        button(shown).asked = True  # what a click sets
        assert button(shown).label.startswith("Stopping")
        await training

    with pytest.raises(Stopped, match="stopped at step 5; run the same again to go on"):
        asyncio.run(press())
    assert len(shown[1][-1].axes[0].lines[0].get_xdata()) == 5  # the last picture has every row


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_repeated_signal_stops_the_training(number):
    before = signal.getsignal(number)

    def step(stop, watch):
        for _ in range(3):
            os.kill(os.getpid(), number)
            time.sleep(0.05)
        until_stopped(stop, watch)

    with pytest.raises(Stopped):
        run(step)
    assert signal.getsignal(number) in (before, signal.default_int_handler)


def test_a_cancelled_cell_waits_for_the_checkpoint(shown):
    """The effect of a kernel interrupt where something else handles the signals."""

    async def cancel():
        training = asyncio.ensure_future(Live("Training").train(until_stopped))
        while len(shown) < 2:
            await asyncio.sleep(0.01)
        for _ in range(2):
            training.cancel()
            await asyncio.sleep(0)
        await training

    with pytest.raises(Stopped):
        asyncio.run(cancel())


def test_a_stop_shows_its_message_instead_of_a_traceback():
    assert Stopped("stopped at step 3")._render_traceback_() == ["stopped at step 3"]
    assert issubclass(Stopped, KeyboardInterrupt)  # so that no `except Exception` catches it


def test_an_error_comes_with_the_traceback_of_the_training(shown):
    def breaks(stop, watch):
        watch(ROWS[0])
        raise ValueError("the milk is sour")

    with pytest.raises(ValueError, match="sour") as error:
        run(breaks)
    assert "breaks" in [entry.name for entry in error.traceback]
    assert not [one for display in shown for one in display[-1:] if isinstance(one, StopButton)]


def test_the_cost_of_a_picture_limits_how_often_it_is_drawn(monkeypatch):
    """A picture that takes 0.1 s is drawn every 5 s at most, one that costs nothing every 0.5 s."""
    clock = SimpleNamespace(now=100.0, cpu=0.0)
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: clock.now, thread_time=lambda: clock.cpu))
    for cost, expected in ((0.1, 5.0), (0.0, 0.5)):
        drawn = []

        def draw(rows, title, cost=cost, drawn=drawn):
            drawn.append(clock.now)
            clock.cpu += cost

        monkeypatch.setattr(live, "picture", draw)
        show = Live("Training")
        show.rows[""] = []
        for _ in range(300):
            clock.now += 0.1
            show.rows[""].append({"step": 1})
            show._draw()
        gaps = [b - a for a, b in zip(drawn, drawn[1:], strict=False)]
        assert min(gaps) >= expected - 1e-6 and max(gaps) < expected + 0.2
        assert show.seconds <= 0.02 * 30 + 0.1
        known = len(drawn)
        show._draw()
        show._draw(last=True)  # at the end, new rows are drawn at once, and nothing twice
        show._draw(last=True)
        assert len(drawn) == known + (clock.now != drawn[known - 1])


def test_the_picture_has_the_parts_of_the_loss_and_every_accuracy():
    soft = [{**row, "kl": 0.5, "loss": 2.0} for row in ROWS] + [ACCURATE]
    figure = picture({"hard": [*ROWS, ACCURATE], "soft": soft, "to come": []}, "a <title>")
    loss, accuracy = figure.axes
    legend = [text.get_text() for text in loss.get_legend().get_texts()]
    assert legend == ["Loss", "Cross-entropy", "Divergence from the mentor"]
    assert len({(line.get_linestyle(), line.get_color()) for line in loss.lines}) == 3
    assert [list(line.get_ydata()) for line in accuracy.lines] == [[25.0], [25.0]]
    assert accuracy.get_title(loc="left") == "Dev accuracy (%); grey: 1 earlier"
    assert figure._repr_png_().startswith(b"\x89PNG")
    hard = picture({"": ROWS})
    assert [text.get_text() for text in hard.axes[0].get_legend().get_texts()] == ["Cross-entropy"]
    assert len(picture({}).axes) == 2  # no rows yet is not an error


# stopping a real training and resuming

TRAINING = TrainSettings(epochs=3, batch_size=4, learning_rate=3e-3)


def test_a_stopped_and_resumed_training_equals_an_uninterrupted_one(tmp_path):
    """Dropout is on, so that the random state matters; the stop request comes from another thread than usual."""
    model = str(tiny.gpt2(tmp_path / "model"))
    folders = [tmp_path / name / "sandbox-letters" for name in ("undisturbed", "stopped")]
    for folder in folders:
        collect(folder, "sandbox-letters", CollectSettings(train_questions=12, dev_questions=3, test_questions=5))
    mentor.train_mentor(folders[0], model, TRAINING)
    show, place = Live("Mentor"), folders[1] / "mentor"

    def stopping(*arguments, stop, watch):
        asked = []
        return mentor.train_mentor(*arguments, stop=lambda: bool(asked.append(1)) or len(asked) == 4, watch=watch)

    with pytest.raises(Stopped, match="was stopped at step 4"):
        run(stopping, folders[1], model, TRAINING, show=show)
    assert (place / "work" / "checkpoint-4").is_dir() and not (place / "manifest.json").exists()
    seen = [row["step"] for row in show.rows[""]]
    run(mentor.train_mentor, folders[1], model, TRAINING, show=show)
    again = [row["step"] for row in show.rows[""]]
    assert again[: len(seen)] == seen and again == sorted(again) and len(again) > len(seen)
    for name in ("model.safetensors", "predictions.jsonl"):
        assert (place / name).read_bytes() == (folders[0] / "mentor" / name).read_bytes(), name
    facts = [read_json(folder / "mentor" / "manifest.json") for folder in folders]
    assert facts[0]["test"] == facts[1]["test"] and facts[1]["training"]["steps"] == 12


@pytest.mark.parametrize("name", ["02_train_mentor", "06_distill_student"])
def test_a_notebook_keeps_one_picture_of_its_training_and_no_widget(name):
    book = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    [cell] = [cell for cell in book.cells if "await show.train" in cell.source]
    found = [kind for output in cell.outputs for kind in output.get("data", {})]
    told = "already trained" in str(cell.outputs)  # the curve of a finished training is drawn in the next section
    assert found.count("image/png") == (0 if told else 1)
    assert "application/vnd.jupyter.widget-view+json" not in found
