"""Project checks: installation files agree, imports follow the layers, and only intended files are committed."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from mentor_kd.files import ROOT
from mentor_kd.provenance import source_hash

CONDA_NAMES = {"torch": "pytorch"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_mirrors_pyproject():
    wanted = project()["dependencies"] + project()["optional-dependencies"]["dev"]
    wanted = {name.partition("[")[0]: bound for name, bound in (re.split(r"(?=>=)", one, maxsplit=1) for one in wanted)}
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = dict(one.split(" ") for one in listed if isinstance(one, str) and " " in one)
    assert conda.pop("python") == project()["requires-python"]
    assert conda == {CONDA_NAMES.get(name, name): bound for name, bound in wanted.items()}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().lower().splitlines()
    return {name.replace("_", "-"): version for name, version in (line.split("==") for line in lines if "==" in line)}


def test_constraints_pin_every_dependency_exactly():
    pins = constraints()
    for one in project()["dependencies"] + project()["optional-dependencies"]["dev"]:
        assert re.split(r">=|\[", one)[0].lower().replace("_", "-") in pins, f"{one} is not pinned in constraints.txt"


def test_every_pinned_version_supports_the_oldest_supported_python():
    """Including its patch level: Debian 12 has Python 3.11.2, and one package that needs more stops the setup."""
    oldest = project()["requires-python"].removeprefix(">=") + ".0"
    too_new, seen = {}, 0
    for name, version in constraints().items():
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another platform, or of an extra that is not installed
            continue
        if package.version.partition("+")[0] == version.partition("+")[0]:
            seen += 1
            asked = package.metadata["Requires-Python"]
            if asked and not SpecifierSet(asked).contains(oldest):
                too_new[name] = asked
    assert seen > 0 and not too_new


def tracked() -> list[str]:
    found = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("not a git checkout")
    return found.stdout.splitlines()


def test_no_official_data_and_no_large_file_is_committed():
    names = tracked()
    assert not [name for name in names if name.startswith("data/official/")]
    assert sum((ROOT / name).stat().st_size for name in names if name.startswith("data/models/")) < 12e6


def contracts() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]


def test_every_module_and_subpackage_has_its_layer():
    """A new subpackage or root module must be added to the layers, or the contract would not cover it."""
    layered = {name.strip().removeprefix("mentor_kd.") for row in contracts()["layers"] for name in row.split("|")}
    package = ROOT / "mentor_kd"
    here = {path.parent.name for path in package.glob("*/__init__.py")} | {path.stem for path in package.glob("*.py")}
    assert len(here) > 15 and layered == here - {"__init__"}


def broken(tmp_path, module: str, line: str) -> str:
    """The output of import-linter for a copy of the package in which a module has one more import."""
    shutil.copytree(ROOT / "mentor_kd", tmp_path / "mentor_kd", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "mentor_kd" / module
    path.write_text(path.read_text() + f"\n\n{line}\n")
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache", "--config", "pyproject.toml"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("module", "line", "named"),
    [
        ("data/tasks.py", "", ""),
        (
            "data/tasks.py",
            "from ..training import losses",
            "mentor_kd.data is not allowed to import mentor_kd.training",
        ),
        ("data/tasks.py", "from ..models import lora", "mentor_kd.data is not allowed to import mentor_kd.models"),
        ("pipeline/fit.py", "from ..runs import grids", "mentor_kd.pipeline is not allowed to import mentor_kd.runs"),
        ("data/tasks.py", "from . import rationales", "No circle within a subpackage BROKEN"),
    ],
)
def test_an_import_that_goes_up_or_sideways_breaks_the_contract(tmp_path, module, line, named):
    printed = broken(tmp_path, module, line)
    assert (named in printed and "0 broken" not in printed) if line else "0 broken" in printed, printed


def test_the_hash_of_the_code_sees_every_file_of_the_package(tmp_path):
    """Without the subpackages, a run would count as up to date after its code changed."""
    package = shutil.copytree(ROOT / "mentor_kd", tmp_path / "mentor_kd")
    before = source_hash(package)
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len(files) > 100 and {".py", ".js", ".css", ".yaml", ".tsv"} <= {path.suffix for path in files}
    for name in ("training/losses.py", "widgets/explorer/rows.js", "teacher/prompts.yaml", "files.py"):
        text = (package / name).read_text()
        (package / name).write_text(text + " ")
        assert source_hash(package) != before, name
        (package / name).write_text(text)
    assert source_hash(package) == before
    (package / "training" / "__pycache__").mkdir(exist_ok=True)
    (package / "training" / "__pycache__" / "x.pyc").write_text("compiled")
    assert source_hash(package) == before


def test_tests_mirror_the_package():
    packages = {path.parent.name for path in (ROOT / "mentor_kd").glob("*/__init__.py")}
    assert packages <= {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
