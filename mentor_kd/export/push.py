"""Uploads to the Hugging Face Hub: what is uploaded of a model or an exported set, and nothing else.

The files are chosen by name, so that logs, checkpoints, optimiser states and predictions stay here, and are sent from a
temporary folder in which no text names a local folder. The token is found as huggingface_hub does.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import httpx
from huggingface_hub import HfApi, RepoCard
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from ..cards import HERE, README
from ..files import MANIFEST, InputError, RunFailed, read_json, read_record, read_text, write_json, write_text
from ..models.card import CARD, without_folders
from . import dataset

PREFIX = "hub:"
WEIGHTS = ("*.safetensors",)
MODEL_FILES = (
    *WEIGHTS,
    *("model.safetensors.index.json", "config.json", "generation_config.json", "adapter_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "*.model", "chat_template.jinja", README, CARD),
)
REWRITTEN = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "adapter_config.json", CARD)
LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write there"


@dataclass(frozen=True)
class Upload:
    """An upload: from where, to which repository of which kind (model or dataset), and the names of the files."""

    folder: Path
    repo: str
    kind: str
    files: tuple[str, ...]
    left_out: tuple[str, ...]
    licence: str = ""  # replaces the one in the card

    @property
    def size(self) -> int:
        """Bytes, before texts are rewritten."""
        return sum((self.folder / name).stat().st_size for name in self.files)


def repo_of(to: str) -> str:
    """The repository of `hub:owner/name`; InputError for anything else."""
    name = to.removeprefix(PREFIX)
    try:
        validate_repo_id(name)
    except HFValidationError:
        name = ""
    if not to.startswith(PREFIX) or name.count("/") != 1:
        raise InputError(f"the destination must be {PREFIX}owner/name, as on the Hugging Face Hub, got {to!r}")
    return name


def plan(folder: Path, to: str, licence: str = "") -> Upload:
    """What would be uploaded of a saved model or an exported set.

    Raises InputError if the folder is neither, is unfinished, or has adapters whose base model is only on this machine.
    """
    folder, repo = Path(folder), repo_of(to)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of a student, a mentor or an exported set")
    here = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    known = read_record(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    if known.get("kind") == dataset.KIND:
        kind, files = "dataset", list(known["outputs"])
        missing = [name for name in files if name not in here]
        if missing:
            raise InputError(f"{folder}: {missing[0]} is missing; export the set again")
    elif CARD in here:
        kind, files = "model", [name for name in here if any(fnmatch(name, one) for one in MODEL_FILES)]
        files = [name for name in files if "/" not in name]  # not those of checkpoints
        _require_finished(folder, files, known)
    else:
        raise InputError(
            f"{folder}: neither {CARD} nor the manifest of an exported set; give a student, a mentor or a set"
        )
    return Upload(folder, repo, kind, tuple(files), tuple(name for name in here if name not in files), licence)


def _require_finished(folder: Path, files: list[str], manifest: dict) -> None:
    if (folder / "work").exists() and not manifest:
        raise InputError(f"{folder}: training is not finished; run it to its end first")
    if not any(fnmatch(name, one) for name in files for one in WEIGHTS):
        raise InputError(f"{folder}: there are no weights (*.safetensors)")
    if "adapter_config.json" in files:
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        if not isinstance(base, str) or os.path.isabs(base):
            raise InputError(
                f"{folder}: its adapters belong to the model {base!r} of this machine, so nobody else could load them; "
                f"train with lora_merge true to save the whole model"
            )


def send(upload: Upload, private: bool = False) -> str:
    """Create the repository if needed and upload the files in one commit; returns the repository's address.

    Raises RunFailed if the Hub cannot be reached or refuses.
    """
    api = HfApi()
    try:
        with staged(upload) as place:
            url = api.create_repo(upload.repo, repo_type=upload.kind, private=private or None, exist_ok=True)
            api.upload_folder(
                repo_id=upload.repo, repo_type=upload.kind, folder_path=place, commit_message="Upload with mentor-kd"
            )
    except (HfHubHTTPError, httpx.HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled, OSError) as error:
        reason = re.sub(r"hf_\w+", "hf_...", (str(error).splitlines() or [type(error).__name__])[0][:300])
        raise RunFailed(f"{PREFIX}{upload.repo}: not uploaded ({reason}); {LOGIN}, and run the command again") from None
    return str(url)


@contextlib.contextmanager
def staged(upload: Upload) -> Iterator[Path]:
    """A temporary folder with exactly what is uploaded: links to the files, and rewritten texts."""
    with tempfile.TemporaryDirectory(prefix="mentor-kd-upload-") as name:
        place = Path(name)
        for file in upload.files:
            source, copy = upload.folder / file, place / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            if file == README:
                write_text(copy, _readme(upload))
            elif file in REWRITTEN:
                write_json(copy, without_folders(read_json(source)))
            else:
                copy.symlink_to(source.resolve())
        yield place


def _readme(upload: Upload) -> str:
    text = re.sub(
        rf"^(\w+_id = ).*{HERE}$", rf'\1"{upload.repo}"', read_text(upload.folder / README), flags=re.MULTILINE
    )
    if not upload.licence:
        return text
    card = RepoCard(text)
    card.data["license"] = upload.licence
    return str(card)
