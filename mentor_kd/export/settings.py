"""Settings of an exported set."""

from dataclasses import dataclass

from ..cards import UNKNOWN
from ..checks import require_choice, require_integer, require_text
from ..files import InputError

FORMATS = ("parquet", "chat-jsonl", "prompt-completion")
WHOSE = ("all", "teacher", "mentor")


@dataclass(frozen=True)
class SetSettings:
    """The form of an exported set, whose rationales it has, its licence, and how many tokens of each soft label."""

    format: str = "parquet"
    source: str = "all"  # whose rationales: all, teacher or mentor
    licence: str = UNKNOWN  # an identifier of the Hub, such as cc-by-4.0
    soft_labels: int = 0  # the likeliest tokens of each position; 0 writes no soft labels

    def __post_init__(self) -> None:
        require_choice("format", self.format, FORMATS)
        require_choice("source", self.source, WHOSE)
        require_text("license", self.licence, empty=False)
        require_integer("soft_labels", self.soft_labels, note="0 for none")
        if self.soft_labels and self.format != "parquet":
            raise InputError(f"soft labels are columns of a Parquet file: use the format parquet, not {self.format}")
