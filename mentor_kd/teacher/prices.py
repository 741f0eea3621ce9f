"""Prices per token, from a YAML table, and budgets."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checks import require_integer, require_number
from ..files import InputError, read_yaml
from .store import Cost

TABLE = Path(__file__).parent / "prices.yaml"


@dataclass(frozen=True)
class Price:
    """Price of a million input tokens and of a million output tokens."""

    model: str
    input: float
    output: float
    currency: str = "USD"

    def of(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


@dataclass(frozen=True)
class Budget:
    """What may be spent in total over all runs into one store; 0 for no limit."""

    calls: int = 0
    tokens: int = 0
    money: float = 0.0

    def __post_init__(self) -> None:
        for name in ("calls", "tokens"):
            require_integer(f"budget_{name}", getattr(self, name), note="0 for no limit")
        require_number("budget_money", self.money, least=0, note="0 for no limit")

    def exceeded(self, cost: Cost) -> str:
        """A message with the limit that this cost exceeds; "" if none."""
        counts = {"calls": cost.calls, "tokens": cost.tokens_in + cost.tokens_out, "money": cost.money}
        for name, value in counts.items():
            limit = getattr(self, name)
            if limit and value > limit * (1 + 1e-12):
                return f"the budget of {limit} {name} is used up"
        return ""


def read_prices(path: Path | str = "") -> dict[str, Price]:
    """The prices in a YAML file ("" for teacher/prices.yaml), by model. Raises InputError for an invalid file."""
    path = Path(path) if path else TABLE
    found = read_yaml(path)
    models = found.get("models") if isinstance(found, dict) else None
    if not isinstance(models, dict):
        raise InputError(f"{path}: needs a key `models` with a price for each, such as `m: {{input: 1, output: 2}}`")
    prices = {}
    for name, row in models.items():
        values: list[Any] = [row.get(key) for key in ("input", "output")] if isinstance(row, dict) else [None]
        if not all(type(value) in (int, float) and 0 <= value < math.inf for value in values):
            raise InputError(f"{path}: {name}: the price must be written as {{input: 1.0, output: 2.0}}, got {row!r}")
        prices[str(name)] = Price(str(name), float(values[0]), float(values[1]), str(found.get("currency", "USD")))
    return prices


def price_of(model: str, path: Path | str = "") -> Price | None:
    """The price of a model or of its dated version (gpt-4o-2024-08-06); None if the table has neither."""
    prices = read_prices(path)
    return prices.get(model) or prices.get(re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model))
