"""Charts draw exactly what their tables contain."""

import subprocess
import sys

import numpy
import pandas
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from mentor_kd.data.rationales import new_question, new_rationale
from mentor_kd.files import InputError
from mentor_kd.filtering import summaries
from mentor_kd.filtering.filters import FilterSettings, apply, counts
from mentor_kd.report import charts

COLUMNS = ["task", "method", "seed", "n", "correct", "accuracy", "low", "high", "protocol"]


def accuracies(protocol="sound", tasks=("sandbox-sums", "sandbox-dates"), seeds=3) -> pandas.DataFrame:
    rows = []
    for task in tasks:
        for k, method in enumerate(["answer-only", "vanilla-kd-step-matched", "mentor-kd"]):
            for seed in range(seeds):
                value = 40.0 + 10 * k + seed
                rows.append([task, method, seed, 100, int(value), value, value - 9, value + 9, protocol])
    return pandas.DataFrame(rows, columns=COLUMNS)


def drawn(panel, gid) -> list:
    return [artist for artist in panel.collections if artist.get_gid() == gid]


def shown(figure) -> list:
    """The texts visible in the drawn figure, without ticks outside the axis limits."""
    figure.draw_without_rendering()
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for panel in figure.axes:
        found += [panel.title, panel.xaxis.label, panel.yaxis.label, *panel.texts]
        for axis, limits in [(panel.xaxis, panel.get_xlim()), (panel.yaxis, panel.get_ylim())]:
            ticks = axis.get_major_ticks() if panel.axison else []
            found += [tick.label1 for tick in ticks if min(limits) <= tick.get_loc() <= max(limits)]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in shown(figure))


def overlapping(figure) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes overlap by more than a pixel on each side."""
    boxes = [(text.get_text(), text_box(text).padded(-1)) for text in shown(figure)]
    return [(a, b) for i, (a, one) in enumerate(boxes) for b, other in boxes[:i] if one.overlaps(other)]


def outside(figure) -> list[str]:
    """Texts cut off by the edge of the figure."""
    boxes = [(text.get_text(), text_box(text)) for text in shown(figure)]
    right, top = figure.bbox.max + 1
    return [text for text, box in boxes if min(box.min) < -1 or box.x1 > right or box.y1 > top]


def text_box(text):
    """The bounding box of the text, without the arrow of an annotation."""
    return Text.get_window_extent(text)


def rationale(index, source, question, correct, text="a b c"):
    sampler = {"model": "m", "temperature": 0.7, "top_k": 50, "seed": 0, "index": index}
    asked = new_question("sandbox-sums", question, "5", "train")
    return new_rationale(asked, text, source, sampler, prediction="5" if correct else "6", correct=correct)


ROWS = [
    rationale(0, "teacher", "one", True),
    rationale(0, "teacher", "two", False, "a b c d e"),
    rationale(0, "mentor", "one", True, "a b"),
    rationale(1, "mentor", "one", False, "a"),
    rationale(0, "mentor", "two", True),
    rationale(1, "mentor", "two", True),
    rationale(0, "teacher", "three", True),
]


def test_accuracy_chart_draws_every_seed_and_the_mean():
    figure = charts.accuracy_chart(accuracies())
    assert [panel.get_title() for panel in figure.axes] == ["sandbox-sums", "sandbox-dates"]
    for panel in figure.axes:
        assert [dots.get_offsets()[:, 0].tolist() for dots in drawn(panel, "seeds")] == [
            [40, 41, 42],
            [50, 51, 52],
            [60, 61, 62],
        ]
        assert [mean.get_offsets()[0].tolist() for mean in drawn(panel, "mean")] == [[41, 0], [51, 1], [61, 2]]
        low, high = panel.lines[0].get_xdata()  # variance 1: 41 +- 4.302653 / sqrt(3)
        assert (low, high) == (pytest.approx(41 - 2.48414, abs=1e-4), pytest.approx(41 + 2.48414, abs=1e-4))
        assert panel.yaxis_inverted()  # the first method is at the top
        assert "n = 100" in panel.get_xlabel()
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["answer-only", "vanilla-kd-step-matched", "mentor-kd"]
    written = texts(figure)
    assert "Seeds: 3" in written and "95% t interval" in written and "Protocol: sound" in written and "51.0" in written
    assert charts.PAPER_MARK not in written


def test_methods_differ_in_colour_and_in_marker():
    means = drawn(charts.accuracy_chart(accuracies()).axes[0], "mean")
    assert len({to_hex(mean.get_edgecolor()[0]) for mean in means}) == 3
    assert len({mean.get_paths()[0].vertices.tobytes() for mean in means}) == 3


def test_a_single_seed_gets_a_wilson_interval():
    figure = charts.accuracy_chart(accuracies(seeds=1))
    assert list(figure.axes[0].lines[0].get_xdata()) == [31, 49]
    assert "Wilson" in texts(figure) and "t interval" not in texts(figure)


def test_the_paper_protocol_is_marked():
    figure = charts.accuracy_chart(accuracies("paper"))
    assert charts.PAPER_MARK in texts(figure) and "Protocol: paper" in texts(figure)
    assert all(to_hex(mean.get_facecolor()[0]) == "#ffffff" for mean in drawn(figure.axes[0], "mean"))
    both = charts.accuracy_chart(pandas.concat([accuracies(seeds=2), accuracies("paper", seeds=1)]))
    names = [label.get_text() for label in both.axes[0].get_yticklabels()]
    assert names[2:] == [
        "mentor-kd",
        "answer-only (paper protocol)",
        "vanilla-kd-step-matched (paper protocol)",
        "mentor-kd (paper protocol)",
    ]
    assert charts.PAPER_MARK in texts(both)


def test_reference_lines_are_drawn_in_their_task_panel():
    reference = pandas.DataFrame(
        [["sandbox-sums", "mentor", 70.0], ["sandbox-sums", "untuned student", 69.5]],
        columns=["task", "label", "accuracy"],
    )
    figure = charts.accuracy_chart(accuracies(), reference)
    lines = [[line.get_xdata()[0] for line in p.lines if line.get_gid() == "reference"] for p in figure.axes]
    assert lines == [[69.5, 70.0], []]
    assert "mentor 70.0" in texts(figure) and "untuned student 69.5" in texts(figure)
    low, high = figure.axes[0].get_xlim()
    assert low < 37 and high > 70
    assert overlapping(figure) == [] and outside(figure) == []


def test_a_method_missing_on_a_task_is_labelled_not_run():
    table = accuracies()
    table = table[(table["task"] == "sandbox-sums") | (table["method"] != "mentor-kd")]
    figure = charts.accuracy_chart(table)
    assert len(drawn(figure.axes[1], "mean")) == 2
    assert "not run" in [text.get_text() for text in figure.axes[1].texts]


def test_seven_tasks_fit():
    figure = charts.accuracy_chart(accuracies("paper", [f"last-letter-concatenation-{k}" for k in range(7)]))
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    assert len(titles) == 7 and overlapping(figure) == [] and outside(figure) == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("log", [False, True])
def test_the_names_of_lines_are_beside_their_panel_and_apart(log):
    runs = {"vanilla-kd": 74.0, "vanilla-kd-step-matched": 72.0, "mentor-kd": 84.0}
    rows = [
        {"run": run, "step": 40 * k, "dev_accuracy": end * k / 4, "loss": 5.0 / k}
        for run, end in runs.items()
        for k in (1, 2, 3, 4)
    ]
    figure = charts.learning_curve(pandas.DataFrame(rows), log=log)
    charts.png(figure)  # the layout must succeed
    heights = sorted(text.xyann[1] for text in figure.axes[1].texts)
    assert len(heights) == 3 and all(-0.05 <= height <= 1.05 for height in heights)
    assert min(b - a for a, b in zip(heights, heights[1:], strict=False)) > 0.06


def test_learning_curve_draws_each_run_for_each_of_its_metrics():
    frame = pandas.DataFrame(
        {
            "run": ["mentor-kd"] * 3 + ["vanilla-kd-step-matched"] * 3,
            "step": [10, 20, 30] * 2,
            "loss": [3.0, 2.0, 1.0, 3.5, 2.5, 1.01],
            "kl": [1.0, 0.5, 0.2] + [numpy.nan] * 3,
            "dev_accuracy": [numpy.nan, 40.0, 50.0, numpy.nan, 30.0, 50.0],
        }
    )
    figure = charts.learning_curve(frame)
    panels = {panel.get_title(): panel for panel in figure.axes if panel.get_title()}
    assert list(panels) == ["Loss", "Dev accuracy (%)", "Divergence from the mentor"]
    lines = [line.get_xydata().tolist() for line in panels["Dev accuracy (%)"].lines]
    assert lines == [[[20, 40], [30, 50]], [[20, 30], [30, 50]]]
    assert len(panels["Divergence from the mentor"].lines) == 1
    labels = [text.get_text() for text in panels["Dev accuracy (%)"].texts]
    assert sorted(labels) == ["mentor-kd", "vanilla-kd-step-matched"]  # both end at 50: moved apart
    assert overlapping(figure) == [] and outside(figure) == []
    alone = charts.learning_curve(frame[frame["run"] == "mentor-kd"].drop(columns="run"))
    assert len(alone.axes[0].lines) == 1 and not alone.axes[0].texts


def test_yield_chart_stacks_the_counts_of_the_table():
    table = counts(apply(ROWS, FilterSettings()))
    figure = charts.yield_chart(table)
    (panel,) = figure.axes
    widths = {bars.get_label(): [bar.get_width() for bar in bars] for bars in panel.containers}
    assert widths == {"kept (4)": [2, 2], "wrong answer (2)": [1, 1], "duplicate (1)": [0, 1]}
    assert [max(bars[k].get_x() + bars[k].get_width() for bars in panel.containers) for k in (0, 1)] == [3, 4]
    assert "66.7% of 3 kept" in texts(figure)
    assert overlapping(figure) == [] and outside(figure) == []


def test_length_histogram_by_source_and_verdict():
    frame = summaries.lengths(ROWS)
    assert frame["words"].tolist() == [3, 5, 2, 1, 3, 3, 3]
    figure = charts.length_histogram(frame)
    assert [panel.get_title() for panel in figure.axes] == ["teacher", "mentor"]
    assert "correct: 3, median 3 words" in texts(figure) and "wrong: 1, median 1 words" in texts(figure)
    assert overlapping(figure) == []
    charts.length_histogram(frame[frame["words"] == 3])  # all the same length: one bin


def test_agreement_counts_questions_by_correct_rationales():
    frame = summaries.agreement(ROWS)
    assert frame.values.tolist() == [
        ["mentor", 2, 1, 1],
        ["mentor", 2, 2, 1],
        ["teacher", 1, 0, 1],
        ["teacher", 1, 1, 2],
    ]
    figure = charts.agreement_chart(frame)
    assert [panel.get_title() for panel in figure.axes] == [
        "teacher: 3 questions, 1 rationale each",
        "mentor: 2 questions, 2 rationales each",
    ]
    assert [[bar.get_height() for bar in panel.patches] for panel in figure.axes] == [[1, 2], [0, 1, 1]]


def test_coverage_counts_each_question_once():
    rows = apply(ROWS, FilterSettings(duplicates=False))
    frame = summaries.coverage(rows, [row.question_id for row in rows] + ["unseen"])
    assert frame.values.tolist() == [
        ["teacher only", 1, 25.0],
        ["both", 1, 25.0],
        ["mentor only", 1, 25.0],
        ["none", 1, 25.0],
    ]
    figure = charts.coverage_chart(frame)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [1, 1, 1, 1]
    assert "1 (25.0%)" in texts(figure)
    with pytest.raises(InputError, match="is not in `questions`"):
        summaries.coverage(rows, ["unseen"])


def test_save_writes_the_picture_and_its_table(tmp_path):
    table = counts(apply(ROWS, FilterSettings()))
    figure = charts.yield_chart(table)
    image, numbers = charts.save(figure, table, tmp_path / "new" / "yield-tau-0.3")
    assert (image.name, numbers.name) == ("yield-tau-0.3.png", "yield-tau-0.3.csv")
    assert image.read_bytes() == figure._repr_png_() and image.read_bytes().startswith(b"\x89PNG")
    pandas.testing.assert_frame_equal(pandas.read_csv(numbers, index_col="source"), table)
    frame = accuracies()
    _, numbers = charts.save(charts.accuracy_chart(frame), frame, tmp_path / "accuracy")
    pandas.testing.assert_frame_equal(pandas.read_csv(numbers), frame)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracy.csv", "accuracy.png", "new"]


def test_an_invalid_table_is_rejected():
    with pytest.raises(InputError, match="no column 'protocol'; its columns: task, method"):
        charts.accuracy_chart(accuracies().drop(columns="protocol"))
    with pytest.raises(InputError, match="no rows"):
        charts.accuracy_chart(accuracies().iloc[:0])
    with pytest.raises(InputError, match="at least one of loss, dev_accuracy, ce, kl"):
        charts.learning_curve(pandas.DataFrame({"step": [1]}))


def test_charts_do_not_import_pyplot():
    code = "import sys, mentor_kd.report.charts; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
