"""A mentor that is served: the same client samples it from any OpenAI-compatible server, such as vLLM's.

The server runs the folder of the mentor (`reports/<run>/<task>/mentor`); the prompt is what the mentor was trained to
read, by the completions route, without a chat template. Each sample is a request of its own. A server's own defaults
may cut sampling further than the settings say: transformers' own draws from the 50 likeliest tokens.
"""

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from . import models
from .address import EndpointSettings
from .collecting import protocol_of
from .endpoint import Endpoint
from .files import InputError, RunFailed, finish, is_done, read_json, sha256
from .generation import Sampling
from .prices import Budget
from .rationales import Question, read_questions, write_rationales
from .replies import Replies, Request
from .tasks import Task
from .teacher import judged


def requests_for(
    questions: Iterable[Question], sampling: Sampling, where: EndpointSettings, model: str, identity: str
) -> list[tuple[Question, Request]]:
    """A request for each question and sample; `identity` is the mentor's hash, so a new mentor is asked anew."""
    made = []
    for question in questions:
        for index in range(sampling.n):
            body = {
                "model": model,
                "prompt": question.question + models.SEPARATOR,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                where.limit_field: sampling.max_new_tokens,
                "seed": sampling.seed * 1_000_003 + index,
            }
            if sampling.top_k:
                body["top_k"] = sampling.top_k
            made.append((question, Request(f"{where.who} mentor {identity}", "completions", body, index)))
    return made


def augment_served(folder: Path, sampling: Sampling, where: EndpointSettings, model: str) -> dict:
    """Have a served mentor answer every training question, into augmented/mentor.jsonl as `steps.augment` does.

    `model` is its name at the server. Answers are kept in augmented/replies/ as they come. Raises RunFailed where some
    did not come; the next call asks for those. Returns the manifest.
    """
    folder, place = Path(folder), Path(folder) / "augmented"
    mentor = folder / "mentor"
    identity = models.identity(mentor)
    if not (mentor / "manifest.json").exists():
        raise InputError(f"{mentor}: no trained mentor there; run notebook 02 first")
    if read_json(mentor / "config.json").get("is_encoder_decoder"):
        raise InputError(f"{mentor}: an encoder-decoder; the servers know decoders only. Sample it with notebook 03")
    inputs = {
        "mentor": identity,
        "sampling": asdict(sampling),
        "backend": "hf",  # as the notebook's own default has it: which engine serves, the rows say
        "questions": sha256(folder / "collected" / "questions.jsonl"),
        "protocol": protocol_of(folder),
    }
    if is_done(place, inputs):
        return read_json(place / "manifest.json")
    task = Task(**read_json(folder / "collected" / "task.json"))
    train = [q for q in read_questions(folder / "collected" / "questions.jsonl") if q.split == "train"]
    where = replace(where, route="completions")
    asked = requests_for(train, sampling, where, model, identity)
    with Replies(place / "replies") as store, Endpoint(where, store, Budget(), None) as client:
        causes = client.ask([request for _, request in asked], "sampling the mentor")
    if causes:
        raise RunFailed(
            f"{len(causes)} of {len(asked)} samples did not come ({next(iter(causes.values()))}); run the same again "
            f"to ask for them"
        )
    base = read_json(mentor / "manifest.json")["base"]
    rows = []
    for question, request in asked:
        sampler = {
            "model": f"mentor {base} by a server",
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "seed": sampling.seed,
            "index": request.index,
        }
        rows.append(judged(question, store.get(request).text, "mentor", sampler, task, inputs["protocol"]))
    write_rationales(place / "mentor.jsonl", rows)
    finish(place, inputs, ["mentor.jsonl"], rows=len(rows), served=where.who)
    return read_json(place / "manifest.json")
