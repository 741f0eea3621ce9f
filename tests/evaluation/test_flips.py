"""Flips: counts, lists and displayed answers."""

import pytest

from mentor_kd.evaluation import flips
from mentor_kd.evaluation.metrics import accuracy_table
from mentor_kd.files import InputError
from mentor_kd.report import latex, result_charts


def rows(right: dict, task="svamp", protocol="sound") -> list[dict]:
    """Predictions from (method, seed) -> a string with a 1 per question answered right."""
    made = []
    for (method, seed), marks in right.items():
        for number, mark in enumerate(marks):
            made.append(
                {
                    "task": task,
                    "method": method,
                    "seed": seed,
                    "protocol": protocol,
                    "id": f"q{number}",
                    "split": "test",
                    "answer": str(number),
                    "prediction": str(number) if mark == "1" else "no",
                    "correct": mark == "1",
                    "paper_correct": mark == "1",
                    "text": f"<b>{method}</b> on q{number}",
                }
            )
    return made


TWO = rows({("a", 0): "110000", ("a", 1): "100100", ("b", 0): "111100", ("b", 1): "011100", ("c", 5): "111111"})


def test_counts_by_hand():
    found = flips.counts(TWO, [("svamp", "a", "b"), ("svamp", "a", "c")])
    assert found[["seed", "only a", "only b", "both", "neither"]].values.tolist() == [[0, 0, 2, 2, 2], [1, 1, 2, 1, 2]]
    assert found["p"].tolist() == pytest.approx([0.5, 1.0])  # exact binomial: 2 of 2 is 2/4, 2 of 3 is 1
    assert found["p_holm"].tolist() == pytest.approx([1.0, 1.0])
    assert (found[["only a", "only b", "both", "neither"]].sum(axis=1) == 6).all()
    assert list(flips.counts(TWO, []).columns) == flips.COUNTS


def test_flipping_questions_are_listed_with_their_gain():
    found = flips.by_question(TWO, "svamp", "a", "b")
    assert list(found["id"]) == ["q2", "q1", "q3", "q0"]  # q0 is lost on seed 1; q4 never differs
    assert list(found["gain"]) == [2, 1, 1, -1] and list(found["flips"]) == [2, 1, 1, 1]
    assert list(found["a right"]) == [0, 1, 1, 2] and list(found["b right"]) == [2, 2, 2, 1]
    with pytest.raises(InputError, match="a and c have no seed in common"):
        flips.by_question(TWO, "svamp", "a", "c")


def test_a_question_whose_wins_and_losses_cancel_still_flips():
    even = rows({("a", 0): "10", ("a", 1): "00", ("b", 0): "00", ("b", 1): "10"})
    found = flips.by_question(even, "svamp", "a", "b")
    assert found[["id", "gain", "flips"]].values.tolist() == [["q0", 0, 2]]


def test_reasoning_is_quoted_and_from_a_seed_that_differs():
    text = flips.reasoning(TWO, "q0", ["a", "b"])
    assert text.splitlines()[:3] == ["gold answer '0', seed 1", "a: '0', right", "   '<b>a</b> on q0'"]
    assert "b: 'no', wrong" in text
    assert "seed 0" in flips.reasoning(TWO, "q0", ["a", "b"], seed=0)
    with pytest.raises(InputError, match="question q9: a, b must all have answered it"):
        flips.reasoning(TWO, "q9", ["a", "b"])


def test_protocol_paper_uses_the_official_evaluators_verdict():
    odd = [{**row, "correct": not row["correct"]} for row in rows({("a", 0): "10", ("b", 0): "01"}, protocol="paper")]
    assert flips.counts(odd, [("svamp", "a", "b")])["only a"].tolist() == [1]
    assert "a: '0', right" in flips.reasoning(odd, "q0", ["a", "b"])


def test_the_flip_chart_draws_the_totals():
    figure = result_charts.flip_chart(flips.counts(TWO, [("svamp", "a", "b")]))
    bars = {bar.get_gid(): bar.get_width() for bar in figure.axes[0].patches}
    assert bars == {"only a": -1, "only b": 4}
    assert "12 answers" in figure.axes[0].get_title()
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_cost_table_has_means_over_seeds_and_can_be_drawn():
    import pandas

    columns = ["task", "model", "base", "parameters", "rationales", "steps", "seconds"]
    lines = [["svamp", f"{m}-seed{s}", "tiny", 9, 10, 20, 30.0 + s] for m in "ab" for s in (0, 1)]
    found = result_charts.cost_table(accuracy_table(TWO), pandas.DataFrame(lines, columns=columns))
    assert list(found["method"]) == ["a", "b"] and list(found["seconds"]) == [30.5, 30.5]
    assert found["accuracy"].tolist() == pytest.approx([100 / 3, 700 / 12])
    assert result_charts.cost_chart(found)._repr_png_().startswith(b"\x89PNG")


def test_the_latex_table_has_one_row_per_method_and_escapes_text():
    import pandas

    both = TWO + rows({("a_1 & 50%", 0): "1111", ("b", 0): "0000"}, task="x_y")
    reference = pandas.DataFrame({"task": ["svamp"], "label": ["paper: a"], "accuracy": [12.0]})
    text = latex.table(accuracy_table(both), reference, "Own run #1")
    lines = text.splitlines()
    assert lines[2] == r"\begin{tabular}{lcc}" and lines[4] == r"method & svamp & x\_y \\"
    assert any(line.startswith(r"a\_1 \& 50\% & -- & \textbf{100.0}") for line in lines)
    assert any(line.startswith(r"c & \textbf{100.0}") and line.endswith(r"& -- \\") for line in lines)
    assert r"\textit{paper: a} & \textit{12.0} & \textit{--} \\" in lines
    assert r"Own run \#1 Accuracy (\%)" in text and "dagger" not in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1 and text.count(r"\midrule") == 2
    assert all(line.count("&") - line.count(r"\&") == 2 for line in lines if line.endswith(r"\\"))


def test_the_latex_table_marks_the_papers_protocol():
    assert r"a$^\dagger$ &" in latex.table(accuracy_table(rows({("a", 0): "10"}, protocol="paper")))


def test_latex_escapes_each_character_once():
    assert latex.escape("a_b\\{~^}$#%&") == r"a\_b\textbackslash{}\{\textasciitilde{}\textasciicircum{}\}\$\#\%\&"
