"""Cost estimates of an annotation, before anything is sent."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.rationales import Question
from .ask import Script
from .prices import Price
from .store import Cost, Replies, Request, estimated_tokens


@dataclass(frozen=True)
class Estimate:
    """The cost of an annotation: at least, at most and, once some replies are stored, likely."""

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
        lines[0] += f"; {self.stored} replies are stored already and cost nothing"
        for name, cost in (("at least", self.least), ("likely", self.likely), ("at most", self.most)):
            if cost is not None and not (name == "at least" and self.least == self.most):
                money = f", {cost.money:.4f} {self.price.currency}" if self.price else ""
                lines.append(
                    f"{name}: {cost.calls} calls, {cost.tokens_in} input, {cost.tokens_out} output tokens{money}"
                )
        if not self.price:
            lines.append("no price is known for this model; add it to a YAML file and set `prices` to see the cost")
        lines.append("(counts one token per four characters of a prompt, and replies at their token limit or, for")
        lines.append("`likely`, at the mean length of the stored ones; retries of failed calls are extra)")
        return "\n".join(lines)


def estimate(questions: Sequence[Question], script: Script, store: Replies, price: Price | None) -> Estimate:
    """Calls, tokens and money that `annotate` would need now. Sends nothing."""
    fewest, most = script.ask.draws
    stored = 0
    lengths: tuple[list[int], list[int]] = ([], [])  # tokens of the stored replies, by call
    pending: list[tuple[int, int, int, bool]] = []  # sample index, call, prompt tokens, whether estimated
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
            second = script.second_to(question, index, reply, store) if reply else script.second(question, index, "")
            answer = store.get(second) if reply else None
            if answer:
                stored += 1
                lengths[1].append(answer.tokens_out)
            else:
                tokens = _prompt_tokens(second) + (0 if reply else script.ask.max_tokens)
                pending.append((index, 1, tokens, reply is None))
    limits = (script.ask.max_tokens, script.ask.conclude_tokens)
    means = [sum(found) / len(found) if found else limit for found, limit in zip(lengths, limits, strict=True)]

    def total(draws: int, out: Sequence[float]) -> Cost:
        chosen = [row for row in pending if row[0] < draws]
        tokens_in = sum(tokens for _, _, tokens, _ in chosen)
        if out is means:  # a second prompt contains a first reply of mean length
            tokens_in -= sum(guess for *_, guess in chosen) * max(0, round(script.ask.max_tokens - means[0]))
        tokens_out = round(sum(out[call] for _, call, _, _ in chosen))
        return Cost(len(chosen), tokens_in, tokens_out, price.of(tokens_in, tokens_out) if price else 0.0)

    likely = total(most, means) if lengths[0] and fewest == most else None
    counts = (fewest * len(questions), most * len(questions))
    return Estimate(counts, stored, total(fewest, limits), total(most, limits), likely, price)


def _prompt_tokens(request: Request) -> int:
    texts = [request.body["prompt"]] if "prompt" in request.body else [m["content"] for m in request.body["messages"]]
    return sum(estimated_tokens(text) + 8 for text in texts)
