"""Models of a run whose files are missing or were changed since they were written: a report names them."""

import re
from pathlib import Path

from .. import manifests
from ..files import MANIFEST, InputError, read_records, sha256
from ..models import loading
from ..training.methods import SELF_MENTOR

RESULTS = ("predictions.jsonl", MANIFEST)  # the files that a report reads
MODEL = re.compile(r"((?:self-mentor/)?mentor|students/[^/]+-seed\d+)/[^/]+")
SOURCES = {
    "teacher": "collected/teacher.jsonl",
    "texts": "rationales.jsonl",
    "questions": "collected/questions.jsonl",
}
WORDS = {"teacher": "set of the teacher's rationales", "texts": "set of rationales", "questions": "set of questions"}
REMEDY = "Run the command that created it again."


def models(folder: Path) -> list[Path]:
    """The folders of the mentors and students in a task's folder, finished or not."""
    found = [folder / "mentor", folder / "self-mentor" / "mentor", *sorted((folder / "students").glob("*-seed*"))]
    return [place for place in found if place.is_dir()]


def left_out(run: Path) -> dict[Path, str]:
    """The models whose results are missing or were changed, with the reason; they are not part of the numbers.

    What is missing is known from status.json, which lists the files that each notebook left.
    """
    found = {}
    for place, names in _recorded(run).items():
        if gone := [name for name in names if name in RESULTS and not (place / name).exists()]:
            found[place] = f"{', '.join(gone)} missing"
    for folder in sorted(Path(run).glob("*/")):
        for place in models(folder):
            wrong = {name: what for name, what in manifests.problems(place).items() if name in RESULTS}
            if wrong:
                found[place] = ", ".join(f"{name} {what}" for name, what in wrong.items())
    return found


def _recorded(run: Path) -> dict[Path, list[str]]:
    """The files of each model that status.json lists, by the model's folder."""
    try:
        states = read_records(Path(run) / "status.json")
    except InputError:
        return {}
    found: dict[Path, list[str]] = {}
    for key, state in states.items():
        folder = Path(run) / key.rpartition("/")[0]
        for name in state.get("made") or {}:
            if MODEL.fullmatch(name):
                found.setdefault((folder / name).parent, []).append(Path(name).name)
    return found


def stale(folder: Path) -> dict[Path, str]:
    """The models of a task's folder that were made from something that was replaced since, with what that is."""
    folder = Path(folder)
    found = {}
    now = {name: _hash(folder / path) for name, path in SOURCES.items()}
    mentor = ""
    for place in models(folder):
        made = manifests.read(place)
        if made is None or place.parent.name == "self-mentor":
            continue
        data = made["inputs"].get("data", {})
        read = {
            "teacher": data.get("teacher"),
            "texts": data.get("texts"),
            "questions": made["inputs"].get("questions"),
        }
        old = [WORDS[name] for name, value in read.items() if value and now[name] and not now[name].startswith(value)]
        if taught := made["inputs"].get("mentor"):
            mentor = mentor or loading.identity(folder / "mentor")
            old += ["mentor"] if taught != mentor and _own_mentor(place) else []
        if old:
            found[place] = ", ".join(old)
    return found


def _own_mentor(place: Path) -> bool:
    """Whether a student learned from the mentor of its task's folder, not from a mentor of the student's size."""
    return not place.name.startswith(SELF_MENTOR) and (place.parent.parent / "mentor").is_dir()


def _hash(path: Path) -> str:
    return sha256(path) if path.exists() else ""


def notes(run: Path) -> list[str]:
    """A sentence for each model that is left out or stale, and for each other file of a step that was changed."""
    run, without = Path(run), left_out(run)
    said = [
        f"{place.relative_to(run)} is left out: {why} since it was written. {REMEDY}" for place, why in without.items()
    ]
    for folder in sorted(run.glob("*/")):
        for place, what in stale(folder).items():
            said.append(f"{place.relative_to(run)} is stale: its {what} was replaced since it was made. {REMEDY}")
        for place in [folder, folder / "collected", folder / "augmented", *models(folder)]:
            for name, what in manifests.problems(place).items() if place not in without else ():
                said.append(f"{(place / name).relative_to(run)} is {what} since it was written. {REMEDY}")
    return said
