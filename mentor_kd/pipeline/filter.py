"""Filtering: which rationales are kept for distillation.

Reads collected/teacher.jsonl, augmented/mentor.jsonl, verdicts.jsonl and, if the filters use its confidence, mentor/.
Writes rationales.jsonl (all rows, each with the decision and the reason), filters.yaml (the settings),
filter_counts.csv and manifest.json.
"""

from dataclasses import asdict
from pathlib import Path

import pandas

from .. import manifests
from ..data.folder import task_of, teacher_rows
from ..data.rationales import Rationale, read_rationales, write_rationales
from ..disk import writes_files
from ..files import MANIFEST, InputError, build, read_settings, read_text, sha256, write_text
from ..filtering import filters
from ..filtering.confidence import confidences
from ..filtering.filters import FilterSettings
from ..filtering.verdicts import read_verdicts
from ..manifests import finish, is_done, problems, require_unchanged, require_whole
from ..parsing import yaml_text
from .collect import RECOLLECT
from .replacing import require_permission


@writes_files
def filter_rationales(folder: Path, settings: FilterSettings, replace: bool = True) -> pandas.DataFrame:
    """Apply filters and verdicts to all rationales, write them to rationales.jsonl, and return the counts.

    Raises InputError if the run has other filters, unless `replace` is True: students may have learned from them.
    """
    folder = Path(folder)
    if manifests.read(folder) and "filters.yaml" not in problems(folder):
        require_permission(folder / "filters.yaml", asdict(_settings(folder)), asdict(settings), replace)
    require_unchanged(folder / "collected", RECOLLECT)
    require_unchanged(folder / "augmented", "run notebook 03 again to restore it")
    rows = teacher_rows(folder) + read_rationales(folder / "augmented" / "mentor.jsonl")
    kept = _filtered(folder, rows, settings)
    write_rationales(folder / "rationales.jsonl", kept)
    write_text(folder / "filters.yaml", yaml_text(asdict(settings), sort_keys=True))
    finish(folder, _inputs(folder), ["rationales.jsonl", "filters.yaml"])
    return write_counts(folder, kept)


def _inputs(folder: Path) -> dict:
    """What the rows of rationales.jsonl are read from."""
    names = ("collected/task.json", "collected/teacher.jsonl", "augmented/mentor.jsonl")
    return {name: sha256(folder / name) for name in names}


def is_current(folder: Path) -> bool:
    """Whether rationales.jsonl is as it was written, from the rationales that the folder has now."""
    return is_done(folder, _inputs(Path(folder)))


def refresh(folder: Path) -> None:
    """Filter again, with the same settings, if rationales.jsonl was changed or its sources were replaced.

    Does nothing in a folder without a manifest of the filters. Raises InputError if filters.yaml was changed.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).exists() or is_current(folder):
        return
    path, found = folder / "filters.yaml", problems(folder)
    if path.name in found:
        raise InputError(f"{path}: {found[path.name]} since the filters were applied; run notebook 04 again")
    why = ", ".join(f"{name} {what}" for name, what in found.items()) or "the rationales were replaced"
    print(f"{folder / 'rationales.jsonl'}: filtered again ({why})")
    filter_rationales(folder, _settings(folder))


def _settings(folder: Path) -> FilterSettings:
    return build(FilterSettings, read_settings(folder / "filters.yaml"), folder / "filters.yaml")


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
    return _filtered(folder, rows, _settings(folder))


def _filtered(folder: Path, rows: list[Rationale], settings: FilterSettings) -> list[Rationale]:
    """The rows under the settings, the folder's verdicts and, if a filter needs it, its mentor's confidence."""
    require_whole(folder / "verdicts.jsonl", "verdicts")
    confidence = confidences(folder, rows) if settings.min_confidence is not None else None
    return filters.apply(rows, settings, read_verdicts(folder / "verdicts.jsonl"), task_of(folder), confidence)
