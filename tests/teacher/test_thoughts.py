"""Thought and solution of a text, and which of them becomes the rationale."""

import pytest

from mentor_kd.teacher.thoughts import (
    further_question,
    only_concludes,
    rationale_of,
    split,
    whole_sentences,
    without_conclusion,
)


@pytest.mark.parametrize(
    ("text", "thought", "solution"),
    [
        ("3+2 = 5.", "", "3+2 = 5."),
        ("<think>3+2</think>5", "3+2", "5"),
        ("<think>\n\n</think>\n\n5", "", "5"),  # a model with its thinking turned off
        ("3+2\n</think>\n\n5", "3+2", "5"),
        ("<think>3+2, then", "3+2, then", ""),
        ("Well. <think>3+2</think> 5", "3+2", "Well.  5"),
        ("<think>a</think>b<think>c</think>d", "a\n\nc", "bd"),
        ("<Thinking>3+2</Thinking>5", "3+2", "5"),
        ("[THINK]3+2[/THINK]5", "3+2", "5"),
        ("◁think▷3+2◁/think▷5", "3+2", "5"),
        ("<|begin_of_thought|>3+2<|end_of_thought|><|begin_of_solution|>5<|end_of_solution|>", "3+2", "5"),
        ("<|channel|>analysis<|message|>3+2", "3+2", ""),
        ("<think>3+2</think><answer>5</answer>", "3+2", "<answer>5</answer>"),
        ("<think>2 < 3 and x<y</think>5", "2 < 3 and x<y", "5"),
        ("", "", ""),
    ],
)
def test_thoughts_are_taken_out_of_the_text(text, thought, solution):
    found = split(text)
    assert (found.thought, found.solution) == (thought, solution)


def test_a_thought_from_a_field_comes_first():
    found = split("<think>b</think>c", "a")
    assert (found.thought, found.solution) == ("a\n\nb", "c")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (" 5.\n\nQ: Tom has 3 cats. How many?\nA: 7.", " 5."),
        ("3+2 = 5.\nThe answer is 5.\n\nQuestion 2: And now?\nAnswer: 7", "3+2 = 5.\nThe answer is 5."),
        ("5\nHuman: Thanks. Another?\nAssistant: 7", "5"),
        ("She has 5 now.\nShe had 3.\n\n### Problem 2: ...", "She has 5 now.\nShe had 3."),
        ("The answer is 5.\n问题：7?", "The answer is 5."),
        ("Q: What is 3+2?\nA: 5", None),  # the question itself, repeated first
        ("Let me repeat it:\nQ: What is 3+2?\nA: 5", None),
        ("First.\nQuestions of this kind are easy: 5", None),
        ("3+2 = 5.", None),
    ],
)
def test_a_text_ends_where_invented_questions_begin(text, left):
    assert text[: further_question(text)] == (text if left is None else left)
    assert split(text).ran_on == (left is not None)


def test_end_tokens_are_removed_and_counted():
    found = split("<think>3+2<|im_end|></think>5</s></s>")
    assert (found.thought, found.solution, found.stripped) == ("3+2", "5", 2)


@pytest.mark.parametrize(
    "text",
    ["", "5", "The answer is 5.", "**Answer: 5**", "\\boxed{5}", "#### 5", "<answer>5</answer>",
     "So she has 18 apples.", "Therefore, the final answer is $\\boxed{\\text{red}}$.", "Yes.", "(B) the red ball"],
)  # fmt: skip
def test_a_bare_conclusion_is_no_rationale(text):
    assert only_concludes(text)
    assert rationale_of("3+2 = 5.", text, "solution") == ("3+2 = 5.", "thought")
    assert rationale_of("", text, "solution") == (text, "solution")


@pytest.mark.parametrize(
    "text",
    ["3+2 = 5.", "She has 3 and buys 2, so she has 5.", "Yes, because 7 is less than 9.", "Ann is tall. Yes.",
     "The last letters of Bob and Ann are b and n, joined bn"],
)  # fmt: skip
def test_a_step_or_a_reason_is_a_rationale(text):
    assert not only_concludes(text)
    assert rationale_of("Hm.", text, "solution") == (text, "solution")


def test_the_setting_chooses_the_part():
    assert rationale_of("A thought.", "A solution.", "thought") == ("A thought.", "thought")
    assert rationale_of("A thought.", "A solution.", "both") == ("A thought.\n\nA solution.", "both")
    assert rationale_of("", "A solution.", "thought") == ("A solution.", "solution")
    assert rationale_of("A thought.", "", "both") == ("A thought.", "thought")
    assert rationale_of("She buys 2. --> 5", "", "solution") == ("She buys 2.", "thought")


def test_a_marked_conclusion_is_cut_and_an_arrow_is_not():
    assert without_conclusion("3+2 = 5 --> 5 apples") == "3+2 = 5"
    arrow = "A --> B means that one follows from the other, and so on to the end of it"
    assert without_conclusion(arrow) == arrow


def test_whole_sentences_of_a_text_that_was_cut():
    assert whole_sentences(" 5. Ann has 1") == "5."
    assert whole_sentences("5.5 apples") == whole_sentences("Ann has 1") == whole_sentences("") == ""
    assert whole_sentences("5\nand then") == "5\n"
