"""Model names: sandbox models, models in data/models/, folders and hub ids; any of them with some of its layers.

`smollm2-135m[0-19,28,29]` is the model with only these layers (layers.py). A name without a slash is looked up first
among the sandbox models, then in `models_root()`; write `./name` for a folder in the current directory.
"""

import os
import re
from pathlib import Path

from ..files import DATA, WORK, InputError

SANDBOX_MODELS = ("sandbox-small", "sandbox-base", "sandbox-large", "sandbox-swaps")
FETCHABLE = ("smollm2-135m",)  # see fetch.py
CUT = {  # chosen greedily, see docs/models.md
    "smollm2-135m-26": "smollm2-135m[0-2,5-16,18-24,26-29]",
    "smollm2-135m-20": "smollm2-135m[0-2,7-11,15,16,18-24,27-29]",
    "smollm2-135m-14": "smollm2-135m[0-2,8-11,21-24,27-29]",
}
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
WITH_LAYERS = re.compile(r"(.+)\[([^\[\]]*)\]", re.DOTALL)


def models_root() -> Path:
    """The folder of fetched and cut models: MENTOR_KD_MODELS, or data/models/ of the project.

    For a package installed without a checkout, it is data/models/ in the current folder.
    """
    return Path(os.environ.get("MENTOR_KD_MODELS", WORK / "data" / "models"))


def split(name: str | Path) -> tuple[str, str]:
    """A model's name without its layers, and the text of its layers, "" for all of them.

    An existing folder whose name ends in brackets is that folder.
    """
    text = CUT.get(str(name), str(name))
    found = WITH_LAYERS.fullmatch(text)
    if not found or os.path.isdir(Path(text).expanduser()):
        return text, ""
    if not found[2].strip():
        raise InputError(f"model {str(name)!r}: the brackets must contain layers, such as [0-19,28,29]")
    return found[1], found[2]


def model_path(name: str | Path) -> str:
    """The folder of a sandbox model, or of a model in `models_root()`; any other name (a path, a hub id) unchanged.

    Layers in the name are left out. Raises InputError for a known model that was not fetched.
    """
    base, _ = split(name)
    if base in SANDBOX_MODELS:
        return str(DATA / "models" / base)
    if not PLAIN.fullmatch(base):
        return base
    folder = models_root() / base
    if (folder / "config.json").is_file():
        return str(folder)
    if base in FETCHABLE:
        raise InputError(
            f"model {str(name)!r}: {base} is not in {models_root()}; run `mentor-kd models fetch {base}` first"
        )
    return base


def is_named(name: str | Path) -> bool:
    """Whether a name is that of a sandbox model or of a model in `models_root()`, in any current folder."""
    base, _ = split(name)
    return base in SANDBOX_MODELS or model_path(base) != base


def from_anywhere(name: str | Path) -> str:
    """The name, with an absolute path if it is that of a folder: it means the same in any current folder."""
    base, chosen = split(name)
    local = Path(base).expanduser()
    if is_named(base) or not local.is_dir():
        return str(name)
    return f"{local.resolve()}[{chosen}]" if chosen else str(local.resolve())
