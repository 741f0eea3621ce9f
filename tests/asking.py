"""Shared by the endpoint tests: settings, questions, and readers of requests."""

from dataclasses import replace

from fault_server import reply

from mentor_kd.data.rationales import new_question
from mentor_kd.data.tasks import Task
from mentor_kd.teacher.annotate import annotate, summary
from mentor_kd.teacher.ask import AskSettings, write_script
from mentor_kd.teacher.connection import EndpointSettings
from mentor_kd.teacher.endpoint import Endpoint
from mentor_kd.teacher.store import Replies

TASK = Task("sums", "number")
SETTINGS = EndpointSettings(
    in_flight=4, tries=3, first_wait=0.02, read_timeout=0.7, total_timeout=1.5, breaker_failures=1000
)
ASK = AskSettings(model="m", prompt="one-call", rationales=1, max_tokens=20)


def questions(n):
    return [new_question("sums", f"What is {i} + 1?", str(i + 1), "train") for i in range(n)]


def number(body):
    """The number in a request's question."""
    text = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
    return int(text.split("What is ")[1].split(" ")[0])


def right(body, nth=0):
    return reply(f"{number(body)} + 1 = {number(body) + 1}. --> {number(body) + 1}")


def run(server, folder, n=10, ask=ASK, price=None, **settings):
    """Annotate n questions; returns the draws and the counts."""
    where = replace(SETTINGS, base_url=server.url, **settings)
    with Replies(folder) as store, Endpoint(where, store, ask.budget, price) as client:
        draws = annotate(questions(n), write_script(TASK, ask, where), client)
        return draws, summary(draws, client, price)
