"""A teacher on this machine: a transformers model that answers requests into the same store as an endpoint.

The tokenizer's chat template is used if there is one. A model trained by this project reads questions in its training
format (prompt `question-only`); any other model reads the plain text. Texts are sampled in batches, each with its own
seed, so a different batch size, or resuming after a kill, gives different texts for what was still missing.
"""

import contextlib
import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..files import InputError, digest
from ..models import loading, prompts
from ..models.generation import Sampling, by_length, generate_batch
from ..progress import Progress
from .ask import Where
from .prices import Budget
from .store import Cost, Replies, Reply, Request


@dataclass(frozen=True)
class LocalWhere:
    """Replies are stored under the hash of the model, so a different model of the same name does not reuse them."""

    who: str
    route: str = "chat"
    limit_field: str = "max_tokens"


class LocalTeacher:
    """A model by sandbox size, path or hub id; loaded with the first request. Raises InputError for a money budget."""

    def __init__(self, model: str, store: Replies, budget: Budget, batch_size: int = 32, where: Where | None = None):
        if budget.money:
            raise InputError("budget_money must be 0 for a model on this machine, as it has no price")
        self.name, self.store, self.budget, self.batch_size = model, store, budget, batch_size
        self.where = where or local_where(model)  # the hash of a large model takes its time
        self.loaded: loading.Loaded | None = None
        self.stopped = ""

    def ask(self, requests: Iterable[Request], label: str = "asking") -> dict[str, str]:
        """Answer the requests that have no stored reply, and store the replies. Returns key -> cause for the others."""
        wanted = {request.key: request for request in requests}
        todo = [one for one in wanted.values() if self.store.get(one) is None]
        with Progress(label, len(wanted), "requests") as progress:
            progress.skip(len(wanted) - len(todo))
            if todo and self.loaded is None:
                progress.advance(0, f"loading {self.name}")
                self.loaded = loading.load(self.name)
            prompts = {request.key: self._encode(request) for request in todo}
            todo.sort(key=_how)
            for how, group in itertools.groupby(todo, key=_how):
                same = list(group)
                for places in by_length([prompts[one.key] for one in same], self.batch_size):
                    batch = [same[place] for place in places]
                    if not self._affords(batch):
                        break
                    with self._watched(progress, len(batch), how):
                        self._draw(batch, [prompts[one.key] for one in batch], how)
                    progress.advance(len(batch))
            left = {one.key: f"not asked: {self.stopped}" for one in todo if self.store.get(one) is None}
            progress.advance(0, f"{len(left)} not asked: {self.stopped}" if left else "all answered")
        return left

    @contextlib.contextmanager
    def _watched(self, progress: Progress, texts: int, how: tuple) -> Iterator[None]:
        """Show the tokens of a batch while it is written: a batch can take minutes."""
        assert self.loaded is not None, "ask loads the model"
        written = itertools.count(1)

        def show(*_) -> None:
            progress.advance(0, f"{texts} texts, token {next(written)} of at most {how[1]}")

        watch = self.loaded.model.register_forward_hook(show)
        try:
            yield
        finally:
            watch.remove()

    def _affords(self, batch: list[Request]) -> bool:
        most = sum((Cost(1, *one.most_tokens) for one in batch), self.store.spent)
        self.stopped = self.stopped or self.budget.exceeded(most)
        return not self.stopped

    def _draw(self, batch: list[Request], prompts: list[list[int]], how: tuple) -> None:
        assert self.loaded is not None, "ask loads the model"
        sampling = _sampling(how, len(batch), self._room(max(map(len, prompts))))
        seed = int(digest([one.key for one in batch])[:8], 16)
        texts = generate_batch(self.loaded, prompts, sampling, seed)
        for request, prompt, (text,) in zip(batch, prompts, texts, strict=True):
            written, cut = _before(text.text, request.body.get("stop", ()))
            finish = "stop" if text.finished or cut else "length"
            reply = Reply(written, finish, len(prompt), text.tokens, model=self.name)
            self.store.add(request, reply, Cost(1, reply.tokens_in, reply.tokens_out))

    def _room(self, prompt: int) -> int:
        """The number of tokens that the model can write after a prompt of this length. Raises InputError if none."""
        assert self.loaded is not None, "ask loads the model"
        most = getattr(self.loaded.model.config, "max_position_embeddings", None)
        if most is None or self.loaded.encoder_decoder:
            return sys.maxsize
        if most <= prompt:
            raise InputError(
                f"model {self.name!r} reads {most} tokens, and a prompt has {prompt}; use shorter questions or prompts"
            )
        return most - prompt

    def _encode(self, request: Request) -> list[int]:
        assert self.loaded is not None, "ask loads the model"
        tokenizer, messages = self.loaded.tokenizer, request.body["messages"]
        if tokenizer.chat_template:
            return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        text = "\n\n".join(message["content"] for message in messages)
        if self.loaded.encoder_decoder or (Path(loading.model_path(self.name)) / loading.CARD).exists():
            return prompts.encode_prompt(tokenizer, self.loaded.encoder_decoder, text)
        ids = tokenizer(text)["input_ids"]
        return ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids


def local_where(model: str) -> LocalWhere:
    """The request target for this model; InputError if there is no such model."""
    return LocalWhere(f"local {loading.identity(model)}")


def _before(text: str, stops: Iterable[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    end = min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))
    return text[:end], end < len(text)


def _how(request: Request) -> tuple:
    """The fields that the requests of a batch must share. Raises InputError for an extra field it does not support."""
    unknown = sorted(
        set(request.body) - {"model", "messages", "temperature", "max_tokens", "seed", "stop", "top_k", "top_p"}
    )
    if unknown:
        raise InputError(f"extra: a model on this machine supports top_k and top_p only, got {unknown[0]!r}")
    body = request.body
    return body["temperature"], body["max_tokens"], body.get("top_k", 0), body.get("top_p", 1.0)


def _sampling(how: tuple, size: int, room: int) -> Sampling:
    temperature, limit, top_k, top_p = how
    return Sampling(1, temperature, top_k, top_p, min(limit, room), size)
