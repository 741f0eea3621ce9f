"""The house is in order: installation files agree, and nothing is committed that should not be."""

import re
import subprocess
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from mentor_kd.files import ROOT

CONDA_NAMES = {"torch": "pytorch"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_mirrors_pyproject():
    wanted = project()["dependencies"] + project()["optional-dependencies"]["dev"]
    wanted = {name: bound for name, bound in (re.split(r"(?=>=)", one, maxsplit=1) for one in wanted)}
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
        assert re.split(">=", one)[0] in pins, f"{one} is not pinned in constraints.txt"


def test_every_pinned_version_can_be_had_with_the_oldest_python_that_is_promised():
    """Also by its patch level: Debian 12 has Python 3.11.2, and one package that asks for more stops the setup."""
    oldest = project()["requires-python"].removeprefix(">=") + ".0"
    too_new, seen = {}, 0
    for name, version in constraints().items():
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # of another platform, or of an extra that is not here
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


def test_modules_import_downwards_only():
    """No two modules of the package import each other, directly or round a corner."""
    imports = {}
    for path in (ROOT / "mentor_kd").glob("*.py"):
        text = path.read_text()
        found = set(re.findall(r"^from \.(\w+) import", text, re.M))
        for names in re.findall(r"^from \. import (.+)$", text, re.M):
            found |= {name.strip() for name in names.split(",")}
        imports[path.stem] = found
    left = dict(imports)
    while left:
        free = [name for name, needs in left.items() if not needs & set(left)]
        assert free, f"these modules import each other: {sorted(left)}"
        for name in free:
            del left[name]
