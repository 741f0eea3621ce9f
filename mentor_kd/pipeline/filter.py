"""Filtering: the decision which rationales are kept for distillation.

Reads collected/teacher.jsonl, augmented/mentor.jsonl, verdicts.jsonl and, if the filters use its confidence, mentor/.
Writes rationales.jsonl (all rows, with what was kept and why not), filters.yaml (the settings) and filter_counts.csv.
"""

from dataclasses import asdict
from pathlib import Path

import pandas
import yaml

from ..data.folder import task_of, teacher_rows
from ..data.rationales import Rationale, read_rationales, write_rationales
from ..files import read_text, read_yaml, write_text
from ..filtering import filters
from ..filtering.confidence import confidences
from ..filtering.filters import FilterSettings
from ..filtering.verdicts import read_verdicts


def filter_rationales(folder: Path, settings: FilterSettings) -> pandas.DataFrame:
    """Apply filters and verdicts to all rationales, write them to rationales.jsonl, and return the counts."""
    folder = Path(folder)
    rows = teacher_rows(folder) + read_rationales(folder / "augmented" / "mentor.jsonl")
    kept = _filtered(folder, rows, settings)
    write_rationales(folder / "rationales.jsonl", kept)
    write_text(folder / "filters.yaml", yaml.safe_dump(asdict(settings)))
    return write_counts(folder, kept)


def write_counts(folder: Path, rows: list[Rationale]) -> pandas.DataFrame:
    """Count kept rationales and the reasons for dropping others; writes filter_counts.csv only if it changes."""
    table = filters.counts(rows)
    path, text = folder / "filter_counts.csv", table.to_csv()
    if not path.exists() or read_text(path) != text:
        write_text(path, text)
    return table


def rationales(folder: Path) -> list[Rationale]:
    """All rationales with the decisions of filters and verdicts, including verdicts added since filtering."""
    folder = Path(folder)
    rows = read_rationales(folder / "rationales.jsonl")
    settings = FilterSettings(**read_yaml(folder / "filters.yaml"))
    return _filtered(folder, rows, settings)


def _filtered(folder: Path, rows: list[Rationale], settings: FilterSettings) -> list[Rationale]:
    """The rows under the settings, the folder's verdicts and, if a filter needs it, its mentor's confidence."""
    confidence = confidences(folder, rows) if settings.min_confidence is not None else None
    return filters.apply(rows, settings, read_verdicts(folder / "verdicts.jsonl"), task_of(folder), confidence)
