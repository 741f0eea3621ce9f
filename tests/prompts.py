"""Prompts and sampling settings shared by the generation tests."""

from mentor_kd.models.generation import (
    Sampling,
)
from mentor_kd.models.prompts import encode_prompt

GREEDY = Sampling(max_new_tokens=12, batch_size=3)
THREE = Sampling(n=3, temperature=0.9, top_k=50, max_new_tokens=8, batch_size=6, seed=5)
QUESTIONS = [
    "Where?",
    "How many apples has Ann now, and how many has Bob?",
    "Who?",
    "Today is 3 May 2010. What is the date tomorrow?",
    "Copy: red blue red",
    "What does Kim have if Kim and Leo swap?",
    "Why?",
    "Spell Bobadi.",
]


def prompts(loaded):
    return [encode_prompt(loaded.tokenizer, loaded.encoder_decoder, question) for question in QUESTIONS]
