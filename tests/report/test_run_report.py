"""The report of a run: any number of methods, seeds and tasks; what came out; and links to the rows behind a number."""

import re
from urllib.parse import unquote

import nbformat
import pandas
import pytest
from finished_run import TASK, write_run
from matplotlib.colors import to_hex

from mentor_kd.evaluation import flips
from mentor_kd.files import ROOT, read_jsonl, write_jsonl
from mentor_kd.report import charts, conclusions, figures, latex, result_charts, run_report


def said(run) -> list[str]:
    rows = run_report.predictions(run)
    return conclusions.sentences(run_report.accuracies(run), run_report.comparisons(rows))


def test_one_method_one_seed_one_task_has_a_report(tmp_path):
    run = write_run(tmp_path / "one", {"vanilla-kd": [7]})
    page = run_report.write(run).read_text()
    assert "vanilla-kd gets 35.0% of 20 test questions (95% Wilson interval 18.1 to 56.7; 1 seed)" in page
    assert "It is the only method" in page and "There is nothing to compare" in page
    for name in ("comparisons.csv", "flips.csv"):
        assert pandas.read_csv(run / name).empty
    figure = result_charts.flip_chart(flips.counts([], []))
    assert "nothing to compare" in figure.axes[0].texts[0].get_text()


@pytest.mark.parametrize("counts", [{"vanilla-kd": [7]}, {"mentor": [9], "vanilla-kd": [0, 0], "mentor-kd": [3, 9]}])
def test_notebook_07_runs_with_one_method_and_with_several(reports, counts, capsys):
    write_run(reports / "small", counts)
    book = nbformat.read(ROOT / "notebooks" / "07_chart_accuracy.ipynb", as_version=4)
    names = {"__name__": "notebook"}
    for cell in book.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, cell.id, "exec"), names)  # what the notebook itself does
            if "parameters" in cell.metadata.get("tags", []):
                names |= {"run": "small", "tasks": []}
    assert (reports / "small" / "index.html").exists()
    assert "What is" in capsys.readouterr().out  # a question that decides, or the first one
    paragraphs = [p for c in book.cells if c.cell_type == "markdown" for p in c.source.split("\n\n") if len(p) > 60]
    assert len({p[:60] for p in paragraphs}) == len(paragraphs)  # none is there twice


def test_the_sentence_names_the_best_its_interval_and_how_sure_its_lead_is(tmp_path):
    counts = {"vanilla-kd": [20, 22, 21], "vanilla-kd-step-matched": [30, 29, 31], "mentor-kd": [60, 61, 62]}
    (sentence,) = said(write_run(tmp_path / "sure", counts, n=100))
    # mean 61, standard deviation 1: 61 +- 4.302653 / sqrt(3)
    assert sentence.startswith(
        f"{TASK}: mentor-kd is best with 61.0% of 100 test questions (95% t interval over seeds 58.5"
    )
    assert "+31.0 points against vanilla-kd-step-matched" in sentence and "which is sure: neither" in sentence
    (sentence,) = said(write_run(tmp_path / "close", {"vanilla-kd": [10, 12, 11], "mentor-kd": [12, 11, 11]}))
    assert "which is not sure" in sentence and "+1.7 points against vanilla-kd" in sentence
    (sentence,) = said(write_run(tmp_path / "few", {"vanilla-kd": [1], "mentor-kd": [19]}))
    assert "sure for these students, but a single seed" in sentence
    (sentence,) = said(write_run(tmp_path / "baseline", {"vanilla-kd": [15, 16, 17], "mentor-kd": [3, 4, 2]}))
    assert "vanilla-kd is best" in sentence and "+65.0 points against mentor-kd" in sentence
    (sentence,) = said(write_run(tmp_path / "zero", {"vanilla-kd": [0, 0, 0], "mentor-kd": [0, 0, 0]}))
    assert "no method is ahead; each gets 0.0% of 20 test questions (95% Wilson interval 0.0 to 16.1" in sentence
    (sentence,) = said(write_run(tmp_path / "apart", {"vanilla-kd": [3], "mentor": [4]}))
    assert "the only method" in sentence  # the mentor is no student


def test_two_seeds_that_tie_at_the_top_are_both_named(tmp_path):
    (sentence,) = said(write_run(tmp_path / "tie", {"vanilla-kd": [5, 7], "mcc-kd": [9, 9], "mentor-kd": [9, 9]}))
    assert "mcc-kd and mentor-kd are best, each with 45.0%" in sentence and "against vanilla-kd" in sentence


def test_each_accuracy_links_to_its_rows_and_all_links_are_relative_and_lead_somewhere(tmp_path):
    run = write_run(tmp_path / "a run #1", {"vanilla-kd": [7, 8], "mentor-kd": [9, 9], "mentor": [15]})
    write_run(run, {"vanilla-kd": [7]}, task="a task & more")
    page = run_report.write(run).read_text()
    links = re.findall(r'href="([^"]*)"', page)
    assert all(link.startswith("./") for link in links)
    assert f"./rows/{TASK}/mentor-kd.html" in links and f"./rows/{TASK}/mentor-kd.html#seed=1" in links
    assert "./rows/a%20task%20%26%20more/vanilla-kd.html" in links
    for link in links:
        assert (run / unquote(link.partition("#")[0])).exists(), link


def test_predictions_without_the_question_get_it_from_the_questions(tmp_path):
    run = write_run(tmp_path / "old", {"vanilla-kd": [7]})
    path = run / TASK / "students" / "vanilla-kd-seed0" / "predictions.jsonl"
    write_jsonl(path, [{k: v for k, v in row.items() if k != "question"} for _, row in read_jsonl(path)])
    assert all("question" not in row for row in run_report.predictions(run))
    asked = [{"id": f"q{i}", "task": TASK, "question": f"Old {i}?", "answer": "1", "split": "test"} for i in range(20)]
    write_jsonl(run / TASK / "collected" / "questions.jsonl", asked)
    assert [row["question"] for row in run_report.predictions(run)][:2] == ["Old 0?", "Old 1?"]
    run_report.write(run)
    assert "Old 19?" in (run / "rows" / TASK / "vanilla-kd.html").read_text()


def test_a_method_keeps_its_colour_in_every_chart_whatever_is_beside_it(tmp_path):
    def colours(counts):
        run = write_run(tmp_path / "-".join(counts), counts)
        rows, table = run_report.predictions(run), run_report.accuracies(run)
        figure = run_report.chart(table, run)
        dots = [mark for mark in figure.axes[0].collections if mark.get_gid() == "mean"]
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        found = {name: {to_hex(mark.get_edgecolor()[0])} for name, mark in zip(names, dots, strict=True)}
        costs = result_charts.cost_chart(result_charts.cost_table(table, run_report.costs(run)))
        for handle in costs.legends[0].legend_handles:
            found[handle.get_label()].add(to_hex(handle.get_facecolor()[0]))
        pairs = list(run_report.comparisons(rows)[["task", "a", "b"]].itertuples(index=False, name=None))
        bars = result_charts.flip_chart(flips.counts(rows, pairs)).axes[0].patches
        for bar, name in zip(bars, [name for _, *pair in pairs for name in pair], strict=True):
            found[name].add(to_hex(bar.get_facecolor()))
        curves = charts.learning_curve(pandas.DataFrame({"step": [1, 2] * len(names), "loss": 1.0, "run": names * 2}))
        for line in curves.axes[0].lines:
            found[line.get_label()].add(to_hex(line.get_color()))
        return found

    first = colours({"mentor-kd": [9], "vanilla-kd": [3]})
    second = colours({"answer-only": [2], "mcc-kd": [2], "vanilla-kd": [3], "mentor-kd": [9], "mentor-kd-no-rd": [4]})
    assert all(len(used) == 1 for used in second.values()) and len({min(used) for used in second.values()}) == 5
    assert first == {name: second[name] for name in first}
    looks = {(figures.method_colour(name), figures.method_marker(name)) for name in figures.KNOWN}
    assert len(looks) == len(figures.KNOWN)


def test_the_latex_table_of_one_method(tmp_path):
    run = write_run(tmp_path / "one", {"vanilla-kd": [7]})
    assert r"\textbf{35.0} {\scriptsize [18.1, 56.7]}" in latex.table(run_report.accuracies(run))
