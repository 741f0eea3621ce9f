"""Two questions and a factory for rationales, shared by the filter and explorer tests."""

from mentor_kd.data.rationales import Rationale, new_question, new_rationale

QUESTION = new_question("sandbox-sums", "Ann has 2 pens and gets 3. How many has she?", "5", "train")
OTHER = new_question("sandbox-sums", "Bob has 4 pens and gets 1. How many has he?", "5", "train")


def rationale(text: str, index: int, source="teacher", question=QUESTION, correct=True, prediction="5") -> Rationale:
    sampler = {"model": "m", "temperature": 0.7, "top_k": 50, "seed": 0, "index": index}
    return new_rationale(question, text, source, sampler, prediction=prediction, correct=correct)
