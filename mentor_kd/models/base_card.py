"""Saving models that were trained on no task: fetched, cut or healed ones, with a card in the hub's format."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import manifests
from ..cards import README, code, front_matter, plain
from ..files import InputError, write_text


def write_readme(folder: Path, name: str, summary: str, facts: dict[str, Any], text: str = "") -> None:
    """Write README.md: the hub's metadata, a summary, facts, and a further text in Markdown.

    There is no model_card.json: it marks models that were trained on a task.
    """
    top = {
        "license": str(facts["licence"]).lower(),
        "base_model": facts.get("base"),
        "library_name": "transformers",
    }
    lines = [f"- **{key.replace('_', ' ')}**: {code(value)}" for key, value in facts.items()]
    parts = [front_matter(top).rstrip("\n"), f"# {plain(name)}", plain(summary), "## Facts", "\n".join(lines), text]
    write_text(Path(folder) / README, "\n\n".join(part for part in parts if part) + "\n")


def require_free(folder: Path, inputs: dict[str, Any]) -> None:
    """Raise InputError if the path exists and is not a folder made from the same inputs."""
    if os.path.lexists(folder) and (manifests.read(folder) or {"inputs": None})["inputs"] != inputs:
        raise InputError(f"{folder}: something else is there; choose another name, or remove it first")


def place(folder: Path, inputs: dict[str, Any], make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Create a model's folder with a manifest, atomically; `make` fills a new folder and returns facts about it.

    A folder that was made from the same inputs is replaced. Raises InputError if anything else is there.
    """
    folder = Path(folder)
    require_free(folder, inputs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{folder.name}.part-*"):  # of a process that was killed
        shutil.rmtree(left)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.part-"))
    try:
        facts = make(made)
        outputs = sorted(path.name for path in made.iterdir())
        manifests.finish(made, inputs, outputs, **facts)
        made.chmod(0o755)  # mkdtemp creates folders that only their owner can read, and safetensors such files
        for path in made.iterdir():
            path.chmod(0o644)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return facts
