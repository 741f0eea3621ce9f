"""Predicting: greedy answers to questions whose answers are known, by the reference backend, and a score on dev.

A dev evaluation costs little: questions are sorted by length, answers are capped a little above what the model was
taught, and no more questions are asked once the evaluation can no longer be the chosen one.
"""

import math

from .batches import Example
from .evaluation import DevScore, score_while_open
from .generation import Sampling, Text, by_length, generate
from .models import Loaded, encode_prompt
from .rationales import Question
from .tasks import Task, judge


def answer_cap(examples: list[Example], longest: int) -> int:
    """Tokens that an answer may have: a little above the 99.5th percentile of what the model was taught."""
    lengths = sorted(len(e.target) for e in examples)
    usual = lengths[min(len(lengths) - 1, math.floor(0.995 * len(lengths)))]
    return min(longest, math.ceil(1.2 * usual) + 4)


def _prediction(question: Question, text: Text, task: Task) -> dict:
    found = judge(task, text.text, question.answer, question.question)
    as_paper = judge(task, text.text, question.answer, question.question, mode="paper")
    return {
        "id": question.id,
        "prediction": found.prediction,
        "answer": question.answer,
        "correct": found.correct,
        "miss": found.reason,
        "text": text.text,
        "finished": text.finished,
        "split": question.split,
        "paper_correct": as_paper.correct,
    }


def predict(loaded: Loaded, asked: list[Question], task: Task, sampling: Sampling) -> list[dict]:
    """Prediction rows for questions with known answers, by greedy decoding unless `sampling` says otherwise."""
    texts = generate(loaded, [q.question for q in asked], sampling)
    return [_prediction(q, text[0], task) for q, text in zip(asked, texts, strict=True)]


def dev_score(
    loaded: Loaded, asked: list[Question], task: Task, sampling: Sampling, to_beat: float | None = None
) -> DevScore:
    """Accuracy on dev questions, asked batch by batch as long as an accuracy above `to_beat` is possible."""
    prompts = [encode_prompt(loaded.tokenizer, loaded.encoder_decoder, question.question) for question in asked]
    batches = by_length(prompts, sampling.prompts_at_once)
    right = ([row["correct"] for row in predict(loaded, [asked[i] for i in b], task, sampling)] for b in batches)
    return score_while_open(right, len(asked), to_beat)
