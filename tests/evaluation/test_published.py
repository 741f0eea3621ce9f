"""The paper's numbers: complete, consistent with each other, and usable as reference lines."""

import math

import pandas
import pytest

from mentor_kd.data.tasks import TASKS
from mentor_kd.evaluation import published
from mentor_kd.files import DATA, InputError
from mentor_kd.report import charts

QUESTIONS = {
    "strategy-qa": 687,
    "commonsense-qa": 1221,
    "asdiv": 314,
    "svamp": 150,
    "gsm8k": 659,
    "tracking-shuffled-objects": 225,
    "date-understanding": 111,
    "last-letter-concatenation": 150,
}
COUNTS = {"table1": 28, "table2": 56, "table3": 49, "table4": 12, "table5": 24}
COUNTS |= {"figure3": 36, "figure4": 32, "figure5": 24, "figure6": 10, "figure7": 14}


def right_answers(value, n):
    """The number of right answers among n that matches an accuracy in percent with two digits, or None."""
    k = round(value * n / 100)
    return k if math.isclose(100 * k / n, value, abs_tol=0.00501) else None


def every(*sources) -> pandas.DataFrame:
    return pandas.concat([published.numbers(source) for source in sources], ignore_index=True)


@pytest.mark.parametrize("source", published.SOURCES)
def test_each_source_is_complete_and_each_number_names_its_origin(source):
    found = published.numbers(source)
    assert len(found) == COUNTS[source]
    assert not found.duplicated(["task", "model", "mentor", "method", "at", "what"]).any()
    assert found["value"].between(0, 100).all() and set(found["task"]) <= set(QUESTIONS) <= set(TASKS)
    named = f"{source[:-1].capitalize()} {source[-1]}"
    assert found["source"].str.startswith(named).all()
    assert found["source"].str.endswith("(read off the vector graphics)").all() == source.startswith("figure")
    counted = found[found["what"] == published.ACCURACY]
    assert (counted["n"] == counted["task"].map(QUESTIONS)).all()


def test_every_file_has_a_name():
    assert {path.stem for path in (DATA / "paper").glob("*.csv")} >= {*published.SOURCES, "datasets"}
    with pytest.raises(InputError, match="source must be one of table1, .*figure7, got 'table9'"):
        published.numbers("table9")


def test_the_means_of_table_1_match_the_papers_claim():
    """Vanilla-KD 40.66, MCC-KD 42.13, Mentor-KD 44.12: the paper's "about 2.0%" is 1.99 points over MCC-KD."""
    found = published.numbers("table1")
    means = found[found["model"] == "FlanT5-XL"].groupby("method")["value"].mean()
    assert means["vanilla-kd"] == pytest.approx(40.66, abs=0.006)
    assert means["mcc-kd"] == pytest.approx(42.13, abs=0.006)
    assert means["mentor-kd"] == pytest.approx(44.12, abs=0.006)
    assert means["mentor-kd"] - means["mcc-kd"] == pytest.approx(1.99, abs=0.006)


def test_tables_2_to_4_are_single_runs_except_for_two_numbers():
    found = every("table2", "table3", "table4").drop_duplicates(["task", "model", "method"])
    new = found[~found["note"].str.startswith("copied")]
    assert len(new) == 110
    odd = new[[right_answers(v, int(n)) is None for v, n in zip(new["value"], new["n"], strict=True)]]
    assert sorted(odd["value"]) == [13.05, 58.07] and odd["note"].ne("").all()


def test_the_figures_are_single_runs_too():
    found = every("figure3", "figure5", "figure6", "figure7")
    assert len(found) == 84
    assert all(right_answers(v, int(n)) is not None for v, n in zip(found["value"], found["n"], strict=True))


def test_table_1_is_not_a_single_run():
    found = published.numbers("table1").query("method == 'mentor-kd'").set_index("task")
    assert all(right_answers(found.loc[t, "value"], QUESTIONS[t]) is None for t in ("gsm8k", "asdiv", "svamp"))


def test_numbers_that_the_paper_repeats_are_equal():
    """Tables 2 and 3 reappear in Table 4; Table 3 at the ends of Table 5 and in Figure 6; Figure 5 is Table 5."""
    keys = ["task", "model", "method"]
    tables = every("table2", "table3").set_index(keys)["value"]
    for row in published.numbers("table4").query("method == 'mentor-kd'").itertuples():
        assert tables[row.task, row.model, row.method] == row.value
    for row in published.numbers("table5").query("at == '100'").itertuples():
        assert tables[row.task, row.model, row.method] == row.value
    for row in published.numbers("figure6").query("mentor == 'FlanT5-large' or method == 'vanilla-kd'").itertuples():
        assert tables[row.task, row.model, row.method] == row.value
    assert list(published.numbers("table5")["value"]) == list(published.numbers("figure5")["value"])
    zero = published.numbers("figure7").query("at == '0.0'")  # the point without mentor rationales
    assert [tables[row.task, row.model, "vanilla-kd"] for row in zero.itertuples()] == list(zero["value"])


def test_an_accuracy_matches_one_count_or_none():
    assert right_answers(63.11, 225) == 142 and right_answers(52.67, 150) == 79
    assert right_answers(13.05, 150) is None and right_answers(100.0, 7) == 7


def test_wilson_intervals():
    found = published.with_intervals(published.numbers("table3"))
    row = found.query("task == 'tracking-shuffled-objects' and model == 'FlanT5-small' and method == 'vanilla-kd'")
    assert row.iloc[0]["correct"] == 142
    assert row.iloc[0][["low", "high"]].tolist() == pytest.approx([56.6, 69.1], abs=0.06)
    assert len(published.with_intervals(published.numbers("figure4"))) == 16  # the other half has no test questions


def test_reference_lines_for_either_name_of_a_student():
    for name in ("FlanT5-small", "google/flan-t5-small"):
        lines = published.reference(["svamp", "sandbox-sums"], name)
        assert lines.to_dict("list") == {
            "task": ["svamp"] * 3,
            "label": ["paper: vanilla-kd", "paper: mcc-kd", "paper: mentor-kd"],
            "accuracy": [10.67, 10.0, 10.67],
        }
    assert published.reference(["svamp"], "sandbox-small").empty
    frame = pandas.DataFrame(
        [["svamp", "mentor-kd", 0, 150, 15, 10.0, 6.2, 15.8, "sound"]],
        columns=["task", "method", "seed", "n", "correct", "accuracy", "low", "high", "protocol"],
    )
    panel = charts.accuracy_chart(frame, lines).axes[0]
    assert [line.get_xdata()[0] for line in panel.lines if line.get_gid() == "reference"] == [10.0, 10.67, 10.67]


def test_all_models_of_the_tables_are_known():
    local = every("table1", "table2", "table3").query("note == '' and method != 'teacher'")["model"]
    assert set(local) == set(published.MODELS)
