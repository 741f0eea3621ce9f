"""Augmentation: more rationales for the training questions, written by the mentor or another augmenter.

An augmenter is the mentor on this machine, the mentor behind a server, the sandbox's teacher asked again, another
language model, or a file of rationales (paper, section 5.1 and figure 4). All write to augmented/mentor.jsonl with the
source "mentor", and each row's sampler names the model, so filters and students need no special case.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..checks import require_bool, require_text
from ..data import sandbox
from ..data.folder import missed, protocol_of, questions, task_of, teacher_rows
from ..data.rationales import Question, Rationale, judged, rationale_id, write_rationales
from ..disk import writes_files
from ..evaluation import memorisation
from ..files import InputError, RunFailed, read_record, sha256
from ..manifests import ASIDE, discard_changed, finish, is_done, require_unchanged, warn_of_changes
from ..models import ct2, loading, prompts
from ..models.generation import Sampling, generate_to
from ..teacher import annotate
from ..teacher.ask import ASKED, AskSettings
from ..teacher.connection import EndpointSettings
from ..teacher.endpoint import Endpoint
from ..teacher.prices import Budget
from ..teacher.store import Replies, Request
from .collect import RECOLLECT
from .fit import never
from .replacing import make_way

MENTOR, SANDBOX = "mentor", "sandbox"


@dataclass(frozen=True)
class Augmenter:
    """The mentor, the sandbox's teacher asked again, an endpoint, a local model, or a file of rationales.

    With `served`, the mentor's name at a server, the mentor is sampled through `endpoint`. Otherwise `ask` and
    `endpoint` apply to the augmenters `endpoint` and `local`. The number of rationales and how they are sampled is set
    by Sampling.
    """

    who: str = MENTOR
    only_missed: bool = False  # only the training questions without a correct teacher rationale
    ask: AskSettings = field(default_factory=AskSettings)
    endpoint: EndpointSettings = field(default_factory=EndpointSettings)
    served: str = ""  # the mentor's name at the server `endpoint`; "": the mentor on this machine

    def __post_init__(self):
        require_text("who", self.who, empty=False)
        require_bool("only_missed", self.only_missed)
        if self.served and (self.who != MENTOR or not self.endpoint.base_url):
            raise InputError("served requires who='mentor' and an endpoint with the base_url of the mentor's server")
        if self.who in (MENTOR, SANDBOX):
            return
        if self.who not in ASKED and not (self.who and Path(self.who).is_file()):
            raise InputError(
                f"who must be '{MENTOR}', '{SANDBOX}' (its rule-based teacher, asked again), 'endpoint', "
                f"'local', or the path of a JSONL file of rationales, got {self.who!r}"
            )
        annotate.check_teacher(self.who, self.ask, self.endpoint)


@writes_files
def augment(
    folder: Path,
    sampling: Sampling,
    augmenter: Augmenter = Augmenter(),
    backend: str = ct2.REFERENCE,
    stop: Callable[[], bool] = never,
    replace: bool = True,
) -> dict:
    """Write an augmenter's rationales for the training questions to augmented/mentor.jsonl; returns the manifest.

    `backend`, one of ct2.BACKENDS, samples a mentor on this machine. A finished step returns its manifest immediately.
    Raises InputError if the mentor or the backend cannot be used, or if the step is finished with other settings and
    `replace` is False (see `replacing`), and RunFailed if requests to a server remain unanswered;
    the next call sends only those.
    """
    folder, place = Path(folder), Path(folder) / "augmented"
    require_unchanged(folder / "collected", RECOLLECT)
    inputs = _inputs(folder, sampling, augmenter, backend)
    if is_done(place, inputs):
        return read_record(place / "manifest.json")
    make_way(place, inputs, replace)
    discard_changed(place)
    asked = missed(folder) if augmenter.only_missed else questions(folder, "train")
    facts: dict = {}
    if augmenter.who != MENTOR:
        rows, counts = _other_rows(folder, asked, sampling, augmenter)
        facts = {"asked": len(asked), "annotation": counts}
    elif augmenter.served:
        rows = _served_rows(folder, asked, sampling, augmenter, inputs["mentor"])
        facts = {"served": augmenter.endpoint.who}
    else:
        rows = _mentor_rows(folder, asked, sampling, backend, inputs["mentor"], stop)
    write_rationales(place / "mentor.jsonl", rows)
    if augmenter.who == MENTOR:
        facts["memorisation"] = memorisation.measure(rows, _trained_on(folder))
    shards = [path.name for path in place.glob("shards/*") if path.suffix != ASIDE and not path.name.startswith(".")]
    outputs = ["mentor.jsonl", *(f"shards/{name}" for name in sorted(shards))]
    finish(place, inputs, outputs, rows=len(rows), **facts)
    return read_record(place / "manifest.json")


def _inputs(folder: Path, sampling: Sampling, augmenter: Augmenter, backend: str) -> dict:
    """What the augmentation depends on."""
    if augmenter.who == MENTOR:
        warn_of_changes(folder / "mentor")
        inputs: dict[str, Any] = {
            "mentor": loading.identity(folder / "mentor"),
            "sampling": asdict(sampling),
            "backend": ct2.REFERENCE if augmenter.served else backend,  # a served mentor's rows name the server instead
            "questions": sha256(folder / "collected" / "questions.jsonl"),
            "protocol": protocol_of(folder),  # its rules extract and judge the answers
        }
        missed_of = {"only_missed": sha256(folder / "collected" / "teacher.jsonl")}
        return inputs | (missed_of if augmenter.only_missed else {})
    is_file = augmenter.who not in (SANDBOX, *ASKED)
    inputs = {
        "augmenter": sha256(Path(augmenter.who)) if is_file else augmenter.who,
        "only_missed": augmenter.only_missed,
        "collected": sha256(folder / "collected" / "manifest.json"),
        "protocol": protocol_of(folder),
    }
    if not is_file:
        inputs |= {"n": sampling.n, "seed": sampling.seed}
    if augmenter.who in ASKED:
        inputs |= {"ask": asdict(augmenter.ask), "base_url": augmenter.endpoint.base_url}
    return inputs


def _trained_on(folder: Path) -> list[Rationale]:
    """The teacher's rationales that the folder's mentor was trained on."""
    made = read_record(folder / "mentor" / "manifest.json")
    ids = set(made.get("inputs", {}).get("data", {}).get("rows", []))  # none for a mentor of another program
    return [row for row in teacher_rows(folder) if row.id in ids]


# The mentor on this machine


def _mentor_rows(
    folder: Path, asked: list[Question], sampling: Sampling, backend: str, identity: str, stop: Callable[[], bool]
) -> list[Rationale]:
    ct2.check_backend(backend)
    # a backend other than the reference loads the weights itself
    loaded = (loading.load if backend == ct2.REFERENCE else loading.outline)(folder / "mentor")
    texts = generate_to(
        folder / "augmented" / "shards",
        loaded,
        [(q.id, q.question) for q in asked],
        sampling,
        {"mentor": identity, "backend": backend},
        stop=stop,
        backend=ct2.get_backend(backend, loaded, folder / "mentor" / backend),
    )
    by_id = {q.id: q for q in asked}
    engine = f" by {backend}" if backend != ct2.REFERENCE else ""
    return _judged_rows(folder, sampling, engine, ((by_id[one["id"]], one["index"], one["text"]) for one in texts))


def _judged_rows(
    folder: Path, sampling: Sampling, engine: str, texts: Iterable[tuple[Question, int, str]]
) -> list[Rationale]:
    """The mentor's texts (question, sample index, text) as rationales, judged under the folder's protocol."""
    task, protocol = task_of(folder), protocol_of(folder)
    name = f"mentor {read_record(folder / 'mentor' / 'manifest.json', base=str)['base']}{engine}"
    drawn = {"model": name, "temperature": sampling.temperature, "top_k": sampling.top_k, "seed": sampling.seed}
    return [
        judged(question, text, "mentor", {**drawn, "index": index}, task, protocol) for question, index, text in texts
    ]


# The mentor behind a server


def requests_for(
    questions: Iterable[Question],
    sampling: Sampling,
    where: EndpointSettings,
    model: str,
    identity: str,
    prompt: Callable[[str], str],
) -> list[tuple[Question, Request]]:
    """A completion request per question and sample, distinct for each mentor by its hash `identity`.

    `prompt` writes a question as the mentor reads it in training (`served_prompt`). A server's defaults may restrict
    sampling further than the settings do: transformers' server samples from the 50 most likely tokens.
    """
    requests = []
    for question in questions:
        for index in range(sampling.n):
            body = {
                "model": model,
                "prompt": prompt(question.question),
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                where.limit_field: sampling.max_new_tokens,
                "seed": sampling.seed * 1_000_003 + index,
            }
            if sampling.top_k:
                body["top_k"] = sampling.top_k
            requests.append((question, Request(f"{where.who} mentor {identity}", "completions", body, index)))
    return requests


def _served_rows(
    folder: Path, asked: list[Question], sampling: Sampling, augmenter: Augmenter, identity: str
) -> list[Rationale]:
    """A served mentor's samples; replies are stored in augmented/replies/ as they arrive."""
    mentor = folder / "mentor"
    if not (mentor / "manifest.json").exists():
        raise InputError(f"{mentor}: no trained mentor in this folder; run notebook 02 first")
    if read_record(mentor / "config.json").get("is_encoder_decoder"):
        raise InputError(
            f"{mentor}: completion servers do not run encoder-decoder models; sample it on this machine (notebook 03)"
        )
    where, outline = replace(augmenter.endpoint, route="completions"), loading.outline(mentor)
    prompt = partial(prompts.served_prompt, outline.tokenizer, prompt_format=outline.prompt_format)
    requests = requests_for(asked, sampling, where, augmenter.served, identity, prompt)
    with Replies(folder / "augmented" / "replies") as store, Endpoint(where, store, Budget(), None) as client:
        causes = client.ask([request for _, request in requests], "sampling the mentor")
    if causes:
        raise RunFailed(
            f"{len(causes)} of {len(requests)} samples were not received ({next(iter(causes.values()))}); run the same "
            f"command again to request them"
        )
    texts = []
    for question, request in requests:
        reply = store.get(request)
        assert reply is not None  # every request without a reply is in `causes`
        texts.append((question, request.index, reply.text))
    return _judged_rows(folder, sampling, " by a server", texts)


# Other augmenters


def _other_rows(
    folder: Path, asked: list[Question], sampling: Sampling, augmenter: Augmenter
) -> tuple[list[Rationale], dict]:
    """The rationales of the sandbox's teacher, a language model or a file, with the counts of the annotation."""
    facts: dict = {}
    if augmenter.who == SANDBOX:
        rows = asked_again(folder, asked, sampling)
    else:
        ask = replace(augmenter.ask, rationales=sampling.n, temperature=sampling.temperature, until_correct=0)
        given = teacher_rows(folder)
        rows, facts = annotate.annotated(
            folder / "augmenter", task_of(folder), asked, given, augmenter.who, ask, augmenter.endpoint
        )
        if facts.get("open"):
            raise RunFailed(f"{facts['open']} rationales were not received; run the same command again to request them")
    return [
        replace(row, source="mentor", id=rationale_id(row.task, row.question, "mentor", row.sampler)) for row in rows
    ], facts


def asked_again(folder: Path, asked: list[Question], sampling: Sampling) -> list[Rationale]:
    """The rationales of the sandbox's teacher, asked once more about each of these questions.

    It has the error rate of the collection and another seed, so its errors are independent of the first ones.
    """
    given = read_record(folder / "collected" / "manifest.json", inputs=dict)["inputs"]["settings"]
    rate = given["error_rate"] if given["error_rate"] >= 0 else None
    seed = given["seed"] + 1 + sampling.seed
    teacher = sandbox.TeacherSettings(coverage=1.0, error_rate=rate, n=sampling.n, seed=seed)
    task, protocol, rows = task_of(folder), protocol_of(folder), []
    for question, index, style, text in sandbox.annotate(asked, teacher):
        sampler = {
            "model": f"sandbox teacher, style {style}, asked again",
            "temperature": None,
            "top_k": None,
            "seed": seed,
            "index": index,
        }
        rows.append(judged(question, text, "mentor", sampler, task, protocol))
    return rows
