"""Provenance: the versions, commit and hardware behind a result, so that it can be reproduced."""

import functools
import hashlib
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

from . import __version__
from .files import ROOT

PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "papermill", "numpy", "ctranslate2")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


@functools.cache
def commit() -> str:
    """The commit of the project's checkout, with "+changes" if tracked files were modified; "unknown" outside git."""
    try:
        git = ["git", "-C", str(ROOT)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changed.strip() else "") if head.returncode == 0 else "unknown"


@functools.cache
def code_hash() -> str:
    """A hash of the package's source and data files, including subpackages, in 16 hex digits."""
    return source_hash(Path(__file__).parent)


def source_hash(package: Path) -> str:
    """A hash of all files of a package except compiled ones, by relative path and content, in 16 hex digits."""
    total = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            total.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]


def hardware() -> dict:
    """Machine type, operating system, threads in use, and the GPU with its memory in GB if there is one."""
    found = {"machine": platform.machine(), "system": platform.system(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(0)
        found["gpu_memory_gb"] = round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1)
    return found


def provenance(**facts: object) -> dict:
    """Versions, commit and hardware, plus the given facts (seeds, data hashes)."""
    return {
        "mentor_kd": __version__,
        "commit": commit(),
        "python": sys.version.split()[0],
        "versions": {name: _version(name) for name in PACKAGES},
        "hardware": hardware(),
        **facts,
    }
