"""Mentor training: a model fine-tuned on the teacher's correct rationales.

Reads collected/. Writes mentor/: the model and its card, predictions.jsonl on the test questions, metrics.jsonl and
manifest.json.
"""

from collections.abc import Callable
from pathlib import Path

from ..data.folder import protocol_of, task_of, teacher_rows
from ..disk import writes_files
from ..files import sha256
from ..filtering import filters
from ..filtering.filters import FilterSettings
from ..manifests import require_unchanged
from ..models import loading
from ..training.settings import TrainSettings, recorded, under
from .collect import RECOLLECT
from .fit import Lesson, Stop, fit, never
from .replacing import make_way


@writes_files
def train_mentor(
    folder: Path,
    mentor: str,
    settings: TrainSettings,
    max_length: int = 512,
    stop: Stop = never,
    watch: Callable[[dict], None] | None = None,
    replace: bool = True,
) -> dict:
    """Train the mentor on the teacher's correct rationales, by cross-entropy, into mentor/.

    A finished mentor with other settings is kept aside; InputError if `replace` is False (see `replacing`).
    """
    folder = Path(folder)
    require_unchanged(folder / "collected", RECOLLECT)
    rows = [row for row in filters.apply(teacher_rows(folder), FilterSettings(), {}, task_of(folder)) if row.kept]
    data = {
        "teacher": sha256(folder / "collected" / "teacher.jsonl")[:16],
        "rows": [row.id for row in rows],
    }
    settings = under(protocol_of(folder), settings)
    inputs = {
        "base": loading.identity(mentor),
        "settings": recorded(settings),
        "max_length": max_length,
        "data": data,
        "questions": sha256(folder / "collected" / "questions.jsonl"),
    }
    card = {"name": f"mentor for {task_of(folder).name}", "method": "mentor", "seed": settings.seed}
    make_way(folder / "mentor", inputs, replace)
    lesson = Lesson(mentor, rows, settings, max_length, card, inputs)
    return fit(folder / "mentor", folder, lesson, f"mentor {mentor}", stop, watch)
