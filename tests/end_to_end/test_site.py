"""The documentation is built as a static site whose pages load nothing from elsewhere."""

import re
import shutil
import subprocess
import sys

import pytest

from mentor_kd.files import ROOT

pytest.importorskip("mkdocs", reason="needs the extra docs")


def test_the_site_is_built_and_loads_nothing_from_elsewhere(tmp_path):
    for name in ("docs", "mentor_kd", "notebooks"):
        ignored = shutil.ignore_patterns("__pycache__", "params")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "README.md", tmp_path)
    command = [sys.executable, "docs/build_site.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    pages = {
        path.relative_to(tmp_path / "build" / "site").as_posix(): path for path in tmp_path.rglob("site/**/*.html")
    }
    assert {"index.html", "method.html", "notebooks/06_distill_student.html", "api/training.html"} <= set(pages)
    assert "distillation_loss" in pages["api/training.html"].read_text(encoding="utf-8")
    for name, path in pages.items():
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=\"(https?:[^\"]+)", text)
        assert not loaded, (name, loaded)
        assert "<style scoped>" not in text
