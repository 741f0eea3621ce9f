"""An installed wheel, used from another folder, without a checkout: what a pip user has."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from mentor_kd.files import ROOT

LEFT_OUT = (".git", ".venv*", "reports", "build", "*.egg-info", "__pycache__", ".*cache*", ".hypothesis", "official")

CHAIN = """
import mentor_kd as kd
from mentor_kd import TaskFolder

folder = TaskFolder("installed", "sandbox-letters")
kd.collect(folder, "sandbox-letters", kd.CollectSettings(train_questions=8, dev_questions=2, test_questions=3))
training = kd.TrainSettings(epochs=1, batch_size=8)
kd.train_mentor(folder, "sandbox-small", training)
kd.augment(folder, kd.Sampling(n=1, temperature=0.7, max_new_tokens=40))
kd.filter_rationales(folder, kd.FilterSettings())
kd.distill(folder, "mentor-kd", "sandbox-small", training)
print(folder.path)
print(list(kd.accuracy_table(folder)["method"]))
print(kd.teacher.prompts.get_prompt("zero-shot-cot").name, len(kd.data.download.upstream()) > 10)
widgets = (kd.widgets.lens.widget, kd.widgets.live, kd.widgets.explorer.reading_panel)
scripts = [one for module in widgets for one in vars(module).values() if hasattr(one, "_esm")]
print(all("export default" in str(one._esm) for one in scripts), len(scripts))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The bin folder of an environment with the wheel; it borrows all other packages from this one."""
    place = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, place / "source", ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.copytree(ROOT / "reports" / "sandbox", place / "source" / "reports" / "sandbox")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(place), str(place / "source")]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    venv.create(place / "env", with_pip=False)
    python = place / "env" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(place / "env")}))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")  # a .pth there is not followed
    wheel = next(place.glob("mentor_kd-*.whl"))
    assert wheel.stat().st_size < 20e6
    done = subprocess.run(
        [*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return python.parent


def run(installed, cwd, *command):
    hidden = ("MENTOR_KD_HOME", "MENTOR_KD_REPORTS", "MENTOR_KD_OFFICIAL_DATA", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [str(installed / command[0]), *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_the_package_is_the_installed_one(installed, tmp_path):
    place = run(installed, tmp_path, "python", "-c", "import mentor_kd; print(mentor_kd.__file__)")
    assert str(installed.parent) in place


def test_the_command_line_works(installed, tmp_path):
    assert "usage: " in run(installed, tmp_path, "mentor-kd", "reproduce", "--help")
    params = ("run", "--dry-run", "--params")
    found = run(installed, tmp_path, "python", "-c", "from mentor_kd.files import ROOT; print(ROOT)").strip()
    printed = run(installed, tmp_path, "mentor-kd", *params, f"{found}/notebooks/params/quick.yaml")
    assert "06_distill_student" in printed


def test_a_chain_in_process_writes_to_the_current_folder(installed, tmp_path):
    lines = run(installed, tmp_path, "python", "-c", CHAIN).strip().splitlines()
    *_, place, methods, prompt, scripts = lines
    assert place == str(tmp_path / "reports" / "installed" / "sandbox-letters") and methods == "['mentor', 'mentor-kd']"
    assert prompt == "zero-shot-cot True" and scripts.startswith("True") and int(scripts.split()[1]) >= 3


def test_start_copies_a_folder_to_work_in(installed, tmp_path):
    run(installed, tmp_path, "mentor-kd", "start", "mine")
    mine = tmp_path / "mine"
    for name in ("notebooks/00_tour.ipynb", "notebooks/params/quick.yaml", "data/sandbox/sandbox-sums.jsonl"):
        assert (mine / name).is_file()
    assert sorted(path.name for path in (mine / "notebooks").glob("*.ipynb")) == sorted(
        path.name for path in (ROOT / "notebooks").glob("*.ipynb")
    )
    assert (mine / "reports" / "sandbox" / "table4" / "chart.csv").is_file()
    code = "import json, mentor_kd.files as f; print(json.dumps([str(f.ROOT), str(f.reports_root())]))"
    root, reports = json.loads(run(installed, mine / "notebooks", "python", "-c", code))
    assert (root, reports) == (str(mine), str(mine / "reports"))


def test_start_overwrites_nothing(installed, tmp_path):
    run(installed, tmp_path, "mentor-kd", "start", "mine")
    done = subprocess.run([str(installed / "mentor-kd"), "start", "mine"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "already exists" in done.stderr and "Traceback" not in done.stderr
