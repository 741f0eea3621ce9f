"""Estimates: what an annotation would cost, before anything is sent."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.rationales import Question
from .ask import CONCLUDE_TOKENS, Script
from .prices import Price
from .store import Cost, Replies, Request, estimated_tokens


@dataclass(frozen=True)
class Estimate:
    """What an annotation costs before it is done: at least, at most, and likely (where some answers are there)."""

    draws: tuple[int, int]
    stored: int
    least: Cost
    most: Cost
    likely: Cost | None
    price: Price | None

    def __str__(self) -> str:
        lines = [
            f"{self.draws[0]} to {self.draws[1]} rationales"
            if len(set(self.draws)) > 1
            else f"{self.draws[0]} rationales"
        ]
        lines[0] += f"; {self.stored} answers are in the store already and cost nothing"
        for name, cost in (("at least", self.least), ("likely", self.likely), ("at most", self.most)):
            if cost is not None and not (name == "at least" and self.least == self.most):
                money = f", {cost.money:.4f} {self.price.currency}" if self.price else ""
                lines.append(f"{name}: {cost.calls} calls, {cost.tokens_in} tokens in, {cost.tokens_out} out{money}")
        if not self.price:
            lines.append("no price of this model is known; write it into a YAML file for `prices` to see money")
        lines.append("(a token for every four characters of a prompt; an answer at its limit of tokens, or, for")
        lines.append("`likely`, as long as those in the store; failed calls that are tried again come on top)")
        return "\n".join(lines)


def estimate(questions: Sequence[Question], script: Script, store: Replies, price: Price | None) -> Estimate:
    """Calls, tokens and money that `annotate` would take now. Sends nothing."""
    fewest, most = script.ask.draws
    stored, lengths = 0, ([], [])
    pending: list[tuple[int, int, int, bool]] = []  # index, which call, tokens of its prompt, whether those are a guess
    for question in questions:
        for index in range(most):
            first = script.first(question, index)
            reply = store.get(first)
            if reply:
                stored += 1
                lengths[0].append(reply.tokens_out)
            else:
                pending.append((index, 0, _prompt_tokens(first), False))
            if not script.prompt.conclude or (reply and reply.state != "complete"):
                continue
            second = script.second(question, index, reply.text if reply else "")
            answer = store.get(second) if reply else None
            if answer:
                stored += 1
                lengths[1].append(answer.tokens_out)
            else:
                tokens = _prompt_tokens(second) + (0 if reply else script.ask.max_tokens)
                pending.append((index, 1, tokens, reply is None))
    limits = (script.ask.max_tokens, CONCLUDE_TOKENS)
    means = [sum(found) / len(found) if found else limit for found, limit in zip(lengths, limits, strict=True)]

    def total(draws: int, out: Sequence[float]) -> Cost:
        chosen = [row for row in pending if row[0] < draws]
        tokens_in = sum(tokens for _, _, tokens, _ in chosen)
        if out is means:  # a second prompt holds an answer of the usual length
            tokens_in -= sum(guess for *_, guess in chosen) * max(0, round(script.ask.max_tokens - means[0]))
        tokens_out = round(sum(out[call] for _, call, _, _ in chosen))
        return Cost(len(chosen), tokens_in, tokens_out, price.of(tokens_in, tokens_out) if price else 0.0)

    likely = total(most, means) if lengths[0] and fewest == most else None
    counts = (fewest * len(questions), most * len(questions))
    return Estimate(counts, stored, total(fewest, limits), total(most, limits), likely, price)


def _prompt_tokens(request: Request) -> int:
    texts = [request.body["prompt"]] if "prompt" in request.body else [m["content"] for m in request.body["messages"]]
    return sum(estimated_tokens(text) + 8 for text in texts)
