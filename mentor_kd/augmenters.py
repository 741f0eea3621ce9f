"""Augmenters: who writes more rationales for the training questions: the mentor, the teacher again, another model.

Paper, section 5.1 (figure 4): the mentor against large language models on the questions that the teacher got wrong.
Whoever it was, what is written lies in augmented/mentor.jsonl under the source "mentor", and each row's sampler says
who wrote it: so filters and students need not know.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from . import annotation, fast, sandbox, steps
from .address import EndpointSettings
from .asking import AskSettings
from .collecting import judged, missed, protocol_of, questions, task_of, teacher_rows
from .files import InputError, RunFailed, finish, is_done, read_json, sha256
from .generation import Sampling
from .rationales import Question, Rationale, rationale_id, write_rationales

MENTOR, SANDBOX = "mentor", "sandbox"


@dataclass(frozen=True)
class Augmenter:
    """Who is asked: the mentor, the sandbox's teacher again, an endpoint, a local model, or a file of rationales.

    `ask` and `endpoint` are for endpoint and local; how many rationales and how they are drawn says the Sampling.
    """

    who: str = MENTOR
    only_missed: bool = False  # only the training questions of which the teacher has no right rationale
    ask: AskSettings = field(default_factory=AskSettings)
    endpoint: EndpointSettings = field(default_factory=EndpointSettings)

    def __post_init__(self):
        if not isinstance(self.only_missed, bool):
            raise InputError(f"only_missed is true or false, not {self.only_missed!r}")
        if self.who in (MENTOR, SANDBOX):
            return
        if self.who not in annotation.ASKED and not (self.who and Path(self.who).is_file()):
            raise InputError(
                f"augmenter is '{MENTOR}', '{SANDBOX}' (its rule-based teacher, asked again), 'endpoint', 'local', or "
                f"the path of a JSONL file of rationales, not {self.who!r}"
            )
        annotation.check_teacher(self.who, self.ask, self.endpoint)


def augment(
    folder: Path,
    augmenter: Augmenter,
    sampling: Sampling,
    backend: str = fast.REFERENCE,
    stop: Callable[[], bool] = steps.never,
) -> None:
    """Have an augmenter write rationales for the training questions, into augmented/mentor.jsonl.

    Raises RunFailed where an endpoint did not answer all; the next call asks for the rest.
    """
    folder, place = Path(folder), Path(folder) / "augmented"
    if augmenter.who == MENTOR:
        steps.augment(folder, sampling, stop, backend, augmenter.only_missed)
        return
    file = augmenter.who if augmenter.who not in (SANDBOX, *annotation.ASKED) else ""
    inputs = {
        "augmenter": sha256(Path(file)) if file else augmenter.who,
        "only_missed": augmenter.only_missed,
        "collected": sha256(folder / "collected" / "manifest.json"),
        "protocol": protocol_of(folder),
    }
    if not file:
        inputs |= {"n": sampling.n, "seed": sampling.seed}
    if augmenter.who in annotation.ASKED:
        inputs |= {"ask": asdict(augmenter.ask), "base_url": augmenter.endpoint.base_url}
    if is_done(place, inputs):
        return
    asked = missed(folder) if augmenter.only_missed else questions(folder, "train")
    facts: dict = {}
    if augmenter.who == SANDBOX:
        rows = asked_again(folder, asked, sampling)
    else:
        ask = replace(augmenter.ask, rationales=sampling.n, temperature=sampling.temperature, until_correct=0)
        task, where = task_of(folder), augmenter.endpoint
        rows, facts = annotation.annotated(
            folder / "augmenter", task, asked, teacher_rows(folder), augmenter.who, ask, where
        )
        if facts.get("open"):
            raise RunFailed(f"{facts['open']} rationales did not come; run the same again to ask for them")
    write_rationales(place / "mentor.jsonl", [_as_augmentation(row) for row in rows])
    finish(place, inputs, ["mentor.jsonl"], rows=len(rows), asked=len(asked), annotation=facts)


def asked_again(folder: Path, asked: list[Question], sampling: Sampling) -> list[Rationale]:
    """What the sandbox's teacher says when it is asked once more, about every one of these questions.

    It errs at the rate of the collection, and independently of what it said before, for its seed is another.
    """
    given = read_json(folder / "collected" / "manifest.json")["inputs"]["settings"]
    rate = given["error_rate"] if given["error_rate"] >= 0 else None
    seed = given["seed"] + 1 + sampling.seed
    teacher = sandbox.TeacherSettings(coverage=1.0, error_rate=rate, n=sampling.n, seed=seed)
    task, protocol, rows = task_of(folder), protocol_of(folder), []
    for question, index, style, text in sandbox.annotate(asked, teacher):
        sampler = {"model": f"sandbox teacher, style {style}, asked again", "temperature": None, "top_k": None}
        sampler |= {"seed": seed, "index": index}
        rows.append(judged(question, text, "mentor", sampler, task, protocol))
    return rows


def _as_augmentation(row: Rationale) -> Rationale:
    """The row with the source under which methods and filters look for what was not the teacher's first word."""
    return replace(row, source="mentor", id=rationale_id(row.task, row.question, "mentor", row.sampler))
