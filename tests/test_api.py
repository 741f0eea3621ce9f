"""The Python API: complete, light to import, and described in the README."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mentor_kd
from mentor_kd.files import ROOT


def python(code: str) -> str:
    """The output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_name_can_be_imported():
    names = {name: getattr(mentor_kd, name) for name in mentor_kd.__all__}
    assert 20 <= len(names) <= 30 and all(value is not None for value in names.values())
    assert set(mentor_kd._PLACES) == set(mentor_kd.__all__) and set(names) <= set(dir(mentor_kd))


def test_the_names_for_type_checkers_are_the_same():
    code = (ROOT / "mentor_kd" / "__init__.py").read_text()
    block = code.split("if TYPE_CHECKING:")[1].split("__all__")[0]
    names = re.findall(r"\w+", " ".join(re.findall(r"import (.+)", block)))
    assert sorted(names) == sorted(mentor_kd.__all__)


def test_the_readme_describes_every_name():
    table = (ROOT / "README.md").read_text().split("## Python")[1].split("\n## ")[0]
    missing = [name for name in mentor_kd.__all__ if f"`{name}`" not in table and f"`{name}(" not in table]
    assert not missing, f"not in the README's table: {missing}"


def test_importing_the_package_is_light():
    heavy = "torch transformers pandas matplotlib yaml httpx"
    code = f"import sys, mentor_kd; print([name for name in '{heavy}'.split() if name in sys.modules])"
    assert python(code) == "[]"


def test_collecting_and_settings_need_no_torch():
    code = "import sys, mentor_kd; mentor_kd.CollectSettings(); mentor_kd.collect; print('torch' in sys.modules)"
    assert python(code) == "False"


def test_a_subpackage_finds_its_modules_when_they_are_used():
    code = (
        "import mentor_kd as kd; print(kd.data.tasks.TASKS['gsm8k'].name, kd.training.methods.METHODS['mcc-kd'].pairs)"
    )
    assert python(code) == "gsm8k True"


@pytest.mark.parametrize("place", ["mentor_kd.nothing", "mentor_kd.data.nothing"])
def test_an_unknown_name_is_an_attribute_error(place):
    package, _, name = place.rpartition(".")
    with pytest.raises(AttributeError, match=f"{package.replace('.', '[.]')}.* has no attribute '{name}'"):
        getattr(sys.modules.get(package) or __import__(package, fromlist=["_"]), name)


def test_a_missing_dependency_of_a_module_is_reported(tmp_path, monkeypatch):
    """A missing dependency is reported as such, not as a missing module of the package."""
    (tmp_path / "lazy_sample").mkdir()
    (tmp_path / "lazy_sample" / "__init__.py").write_text(
        "from mentor_kd.lazy import submodules\n__getattr__ = submodules(__name__)\n"
    )
    (tmp_path / "lazy_sample" / "part.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    import lazy_sample

    with pytest.raises(ModuleNotFoundError, match="a_package_that_nobody_has"):
        _ = lazy_sample.part


def test_a_task_folder_is_a_path_and_reads_what_the_steps_wrote(folder, monkeypatch):
    """`folder` is a small finished run of one task (small_run.py)."""
    monkeypatch.setenv("MENTOR_KD_REPORTS", str(folder.parent.parent))
    found = mentor_kd.TaskFolder(folder.parent.name, folder.name)
    assert found.path == folder == Path(found)
    assert found.task.name == folder.name and found.protocol == "sound"
    assert {one.split for one in found.questions("test")} == {"test"}
    assert {row.source for row in found.teacher} == {"teacher"}
    assert {row.source for row in found.rationales()} == {"teacher", "mentor"}
    assert (found / "collected").is_dir() and repr(found) == f"TaskFolder({folder.parent.name!r}, {folder.name!r})"


def test_the_whole_workflow_through_the_api(tmp_path, monkeypatch, model):
    monkeypatch.setenv("MENTOR_KD_REPORTS", str(tmp_path))
    folder = mentor_kd.TaskFolder("story", "sandbox-letters")
    mentor_kd.collect(
        folder, "sandbox-letters", mentor_kd.CollectSettings(train_questions=8, dev_questions=2, test_questions=3)
    )
    training = mentor_kd.TrainSettings(epochs=1, batch_size=4)
    mentor = mentor_kd.train_mentor(folder, model, training)
    length = min(20, mentor["max_new_tokens"])
    made = mentor_kd.augment(folder, mentor_kd.Sampling(n=2, temperature=0.9, max_new_tokens=length))
    assert made["rows"] == 16
    counts = mentor_kd.filter_rationales(folder, mentor_kd.FilterSettings())
    assert counts["total"].sum() == len(folder.rationales())
    student = mentor_kd.distill(folder, "vanilla-kd", model, training)
    table = mentor_kd.accuracy_table(folder)
    assert list(table["method"]) == ["mentor", "vanilla-kd"]
    assert mentor_kd.summarise(table)["accuracy"].iloc[1] == student["test"]["value"]
    (answer,) = mentor_kd.predict(folder / "students" / "vanilla-kd-seed0", ["Take the last letters of ..."])
    assert set(answer) == {"question", "prediction", "rationale", "miss"}
    assert mentor_kd.explore(folder).twin()


COMMANDS = ["", "run", "sweep", "reproduce", "bench", "annotate", "augment", "data", "data fetch", "start", "report"]
COMMANDS += ["predict", "export", "push", "distill", "data look", "models", "models fetch", "models cut", "models heal"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_quick_and_needs_no_torch(command):
    """By processor time, the minimum of three runs, so that a busy machine does not count."""
    code = (
        "import contextlib, io, sys, time\n"
        "from mentor_kd.__main__ import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as printed:\n"
        f"    main([*{command.split()!r}, '--help'])\n"
        "assert 'usage: ' in printed.getvalue()\n"
        "print('torch' in sys.modules or 'transformers' in sys.modules, time.process_time())"
    )
    found = [python(code).split() for _ in range(3)]
    assert {loaded for loaded, _ in found} == {"False"}
    assert min(float(seconds) for _, seconds in found) < 0.5


def test_annotate_needs_no_torch(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("question,answer\n" + "".join(f"What is {i} + 1?,{i + 1}\n" for i in range(10)))
    options = "--answer-type number --model gpt-4o-mini --base-url http://127.0.0.1:9/v1 --dry-run"
    code = (
        "import sys; from mentor_kd.__main__ import main\n"
        f"assert main(['annotate', {str(table)!r}, *{options.split()!r}, '--out', {str(tmp_path / 'out')!r}]) == 0\n"
        "print('torch' in sys.modules)"
    )
    assert python(code).splitlines()[-1] == "False"
