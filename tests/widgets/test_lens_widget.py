"""The lens widget and its figures, without a browser."""

import re
import shutil
from pathlib import Path

import pandas
import pytest
import tiny

from mentor_kd.data.rationales import new_question, new_rationale
from mentor_kd.files import InputError, read_json
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.models.generation import Sampling
from mentor_kd.pipeline import augment, distill, filter, mentor
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.report import charts as report_charts
from mentor_kd.training.losses import LossSettings
from mentor_kd.training.settings import TrainSettings
from mentor_kd.widgets.lens import charts, measures
from mentor_kd.widgets.lens import widget as lens_widget
from mentor_kd.widgets.lens.widget import Lens

TASK = "sandbox-letters"
HARD = "<img src=x onerror=alert(1)> <script>alert(2)</script>"
TRAINING = TrainSettings(epochs=1, batch_size=4, learning_rate=3e-3, loss=LossSettings(0.4, 3.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A task folder with a mentor, a student without soft labels and one with them."""
    root = tmp_path_factory.mktemp("lens")
    model, folder = str(tiny.llama(root / "model")), root / TASK
    collect(folder, TASK, CollectSettings(train_questions=12, dev_questions=3, test_questions=5))
    mentor.train_mentor(folder, model, TRAINING)
    augment.augment(folder, Sampling(n=1, temperature=0.9, top_k=50, max_new_tokens=20))
    filter.filter_rationales(folder, FilterSettings())
    for method in ("vanilla-kd", "mentor-kd"):
        distill.distill(folder, method, model, TRAINING, max_length=300)
    return folder


@pytest.fixture(scope="module")
def ours(folder):
    return measures.subjects(folder)


@pytest.fixture(scope="module")
def rows(folder):
    return distill.rows_for(filter.rationales(folder), "mentor-kd")


@pytest.fixture
def widget(ours, rows):
    return Lens(rows, ours.mentor, ours.students, ours.settings, ours.max_length)


# the models


def test_the_subjects_are_the_first_student_with_soft_labels_and_its_base_model(folder, ours):
    assert ours.method == "mentor-kd" and list(ours.students) == ["before", "after"]
    assert (ours.settings, ours.max_length) == (LossSettings(0.4, 3.0), 300)
    assert ours.students["before"].name == read_json(folder / "students/mentor-kd-seed0/manifest.json")["base"]
    assert measures.subjects(folder, "vanilla-kd-seed0").method == "vanilla-kd"


def test_a_missing_student_is_named_with_the_trained_ones(folder, tmp_path):
    with pytest.raises(InputError, match="no student 'mentor-kd-seed7'; trained: mentor-kd-seed0, vanilla-kd-seed0"):
        measures.subjects(folder, "mentor-kd-seed7")
    shutil.copytree(folder / "students" / "vanilla-kd-seed0", tmp_path / "students" / "vanilla-kd-seed0")
    with pytest.raises(InputError, match="no student with soft labels; trained: vanilla-kd-seed0"):
        measures.subjects(tmp_path)


# the widget


def column(widget, name):
    return next(one for one in widget.bars["columns"] if one["name"] == name)


def test_the_widget_opens_at_the_token_with_the_highest_mentor_entropy(widget, rows):
    assert widget.error == "" and widget.count == len(rows)
    assert (widget.temperature, widget.weight) == (3.0, 0.4)
    assert widget.page["id"] == rows[0].id and widget.page["tokens"] == list(widget.seen.texts)
    assert widget.token == int(measures.entropy(widget.seen.mentor).argmax())
    assert [strip["name"] for strip in widget.strips] == ["mentor"]
    assert widget.legend["title"] == "Mentor's entropy at τ = 3"
    assert len(widget.strips[0]["faces"]) == len(widget.page["tokens"])


def test_selecting_a_token_changes_the_bars(widget):
    first = widget.bars
    widget.token = (widget.token + 1) % len(widget.page["tokens"])
    assert widget.bars != first and widget.bars["title"].startswith(f"Token {widget.token + 1} of ")
    expected = measures.candidates(widget.seen, widget.token, LossSettings(0.4, 3.0))
    assert widget.bars["tokens"] == expected["token"].tolist()
    assert column(widget, "mentor")["values"] == expected["mentor"].round(4).tolist()


def test_the_sliders_change_the_target(widget):
    widget.weight = 0.0
    assert column(widget, "target")["values"] == column(widget, "hard label")["values"]
    widget.weight = 1.0
    assert column(widget, "target")["values"] == column(widget, "mentor")["values"]
    warm, strip = column(widget, "mentor"), widget.strips
    widget.temperature = 8.0
    assert column(widget, "mentor")["note"] == "at τ = 8"
    assert max(column(widget, "mentor")["values"][:-1]) < max(warm["values"][:-1])  # flatter
    assert widget.strips != strip


def test_before_and_after_share_one_scale(widget):
    widget.measure = "divergence"
    assert [strip["name"] for strip in widget.strips] == ["before", "after"]
    highest = max(max(strip["values"]) for strip in widget.strips)
    assert widget.legend["high"] == f"{highest:.2f}" and widget.legend["unit"] == "nats"
    brightest = next(s for s in widget.strips if max(s["values"]) == highest)
    assert widget.legend["title"] == "Divergence of the student from the mentor at τ = 3"
    assert brightest["faces"][brightest["values"].index(highest)] == widget.legend["ramp"][-1]


def test_the_models_run_on_another_rationale_when_it_is_selected(widget, rows):
    widget.index = 3
    assert widget.page["id"] == rows[3].id and widget.error == ""
    widget.index = 10_000  # beyond the end is the end
    assert widget.page["id"] == rows[-1].id


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("temperature", -1.0, "InputError: soft_label_temperature .tau. must be a number > 0, got -1.0"),
        ("weight", 2.0, "InputError: soft_label_weight .lambda. must be a number >= 0 and <= 1, got 2.0"),
        ("measure", "beauty", "InputError: measure must be one of entropy, divergence, loss, got 'beauty'"),
    ],
)
def test_an_error_shows_in_the_widget_until_it_is_fixed(widget, name, value, words):
    before = getattr(widget, name)
    setattr(widget, name, value)
    assert re.search(words, widget.error)
    setattr(widget, name, before)
    assert widget.error == ""


def test_a_rationale_that_is_too_long_gives_an_error_and_clears_the_previous_one(ours, rows):
    widget = Lens(rows, ours.mentor, ours.students, ours.settings, max_length=5)
    assert f"rationale {rows[0].id} is longer than 5 tokens" in widget.error
    assert (widget.page["tokens"], widget.strips, widget.bars) == ([], [], {})
    widget.max_length, widget.index = 300, 1
    assert widget.error == "" and widget.page["id"] == rows[1].id and widget.bars["tokens"]


def test_an_error_of_a_model_shows_in_the_widget(widget, monkeypatch):
    def fails(*arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(measures, "look", fails)
    widget.index = 2
    assert widget.error == "RuntimeError: out of memory"


def test_no_rationale_is_an_error_that_says_how_to_fix_it(ours):
    with pytest.raises(InputError, match="at least one rationale.*notebook 04"):
        Lens([], ours.mentor, ours.students)


def test_markup_and_directions_reach_the_page_as_text(ours):
    question = new_question(TASK, f"{HARD}\u202eabc", "a")
    sampler = {"model": "m", "temperature": 0.7, "top_k": 50, "seed": 0, "index": 0}
    row = new_rationale(question, f"{HARD} \x00 \u202ecba \U0001f600", "teacher", sampler, prediction="a", correct=True)
    widget = Lens([row], ours.mentor, ours.students)
    assert widget.error == "" and "<script>" in "".join(widget.page["tokens"])  # unescaped: the page sets it as text
    assert "\u202e" not in widget.page["question"] + "".join(widget.page["tokens"])
    code = Path(lens_widget.__file__).with_name("lens.js").read_text()
    assert "innerHTML" not in code and "insertAdjacentHTML" not in code


def test_pages_without_widgets_show_a_text(widget):
    bundle = widget._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "run this cell in JupyterLab" in data["text/plain"]


# the figures


def test_there_is_a_strip_for_each_student_with_a_coloured_box_for_each_token(ours, widget):
    frame = measures.tokens(widget.seen, 2.0)
    for measure, panels in (("entropy", 1), ("divergence", 2), ("loss", 2)):
        figure = charts.token_strip(frame, measure, marked=3)
        strips = figure.axes[:panels]
        assert len(figure.axes) == panels + 1  # and the scale
        for strip in strips:
            assert [text.get_text() for text in strip.texts] == list(frame["token"])
            assert len(strip.patches) == len(frame) + 1  # and the mark
        assert report_charts.png(figure).startswith(b"\x89PNG")
    with pytest.raises(InputError, match="got 'beauty'"):
        charts.token_strip(frame, "beauty")


def test_a_strip_wraps_between_tokens_and_after_line_breaks():
    frame = pandas.DataFrame({"token": ["a" * 50, "b" * 50, "c\u21b5", "d"], "entropy": [0.0, 1.0, 0.5, 0.2]})
    places = list(charts._places(frame["token"]))
    assert [line for _, line, _ in places] == [0, 1, 1, 2]
    assert all(start + width <= charts.LINE for start, _, width in places)


def test_the_text_colour_is_readable_on_every_colour():
    assert charts.colour(0.0, 1.0)[1] == "#ffffff" and charts.colour(1.0, 1.0)[1] == "#000000"
    assert charts.colour(0.0, 0.0)[1] == "#ffffff"  # an empty scale
    for step in range(256):
        face, ink = charts.colour(step / 255, 1.0)
        light = luminance(face)
        assert (1.05 / (light + 0.05) if ink == "#ffffff" else (light + 0.05) / 0.05) >= 4.5


def luminance(colour: str) -> float:
    """Relative luminance of a colour such as #ffffff, by WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_bars_have_a_panel_for_each_column_with_its_values(widget):
    frame = measures.candidates(widget.seen, 2, LossSettings(0.3, 2.0))
    figure = charts.token_bars(frame, "A $token$ with <markup>")
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == ["hard label", "mentor", "target", "before", "after", "push on\nbefore", "push on\nafter"]
    for name, panel in zip([n for n in frame if n != "token" and not n.startswith("push")], figure.axes, strict=False):
        assert [bar.get_width() for bar in panel.patches] == frame[name].tolist()
    assert report_charts.png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.0, False, "0"), (0.004, False, "~0"), (0.125, False, "0.12"), (-0.5, True, "-0.50")],
)
def test_numbers_are_formatted_for_reading(value, signed, text):
    assert charts.number(value, signed) == text
