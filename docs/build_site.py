"""Build the documentation as a static site: `make docs`. The pages load no script, font or picture from elsewhere.

Sources are the README (the front page), the pages of this folder, the committed notebooks with their outputs, and the
docstrings of the package.
"""

import re
import shutil
import sys
from pathlib import Path

import nbformat
from mkdocs.commands.build import build
from mkdocs.config import load_config
from nbconvert import MarkdownExporter

from mentor_kd.runs.notebook_html import MATH, mathml

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "docs" / "mkdocs.yml"
PAGES = ("*.md", "*.png", "*.csv")
MODULES = "data models teacher filtering evaluation training pipeline report widgets runs bench pretraining export"


def main() -> None:
    """Write the sources to build/docs and the site to build/site."""
    sources = ROOT / "build" / "docs"
    shutil.rmtree(sources, ignore_errors=True)
    (sources / "notebooks").mkdir(parents=True)
    for pattern in PAGES:
        for path in sorted((ROOT / "docs").glob(pattern)):
            shutil.copy(path, sources)
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    (sources / "index.md").write_text(_front(front), encoding="utf-8")
    shutil.copytree(ROOT / "notebooks" / "figures", sources / "notebooks" / "figures")
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        _notebook(path, sources / path.relative_to(ROOT).parent)
    for path in sorted((ROOT / "notebooks").glob("*.md")):
        shutil.copy(path, sources / "notebooks" / ("index.md" if path.stem == "README" else path.name))
    for path in sorted(sources.rglob("*.md")):
        path.write_text(_formulas(path.read_text(encoding="utf-8")), encoding="utf-8")
    _reference(sources / "api")
    build(load_config(str(CONFIG), strict="--strict" in sys.argv))
    print(f"open {(ROOT / 'build' / 'site' / 'index.html').relative_to(Path.cwd())}")


def _front(text: str) -> str:
    """The README with links that hold within the site; links to other files of the project become plain text."""
    text = (
        text.replace("](docs/", "](")
        .replace(".ipynb)", ".md)")
        .replace("](notebooks/README.md", "](notebooks/index.md")
    )
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|notebooks/|[\w-]+\.(?:md|png|csv))[^)]*\)", r"\1", text)


def _notebook(path: Path, place: Path) -> None:
    """A notebook as a Markdown page with its outputs; its figures are written to the same folder."""
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if not str(one.get("data", {})).count("widget-view+json")]
    body, resources = MarkdownExporter().from_notebook_node(
        book, {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    )
    body = re.sub(r"<style scoped>.*?</style>", "", body, flags=re.DOTALL)
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{path.stem}.md").write_text(body.replace(".ipynb)", ".md)"), encoding="utf-8")
    for name, content in resources["outputs"].items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(content)


def _formulas(text: str) -> str:
    """Formulas as MathML, which needs no script."""

    def drawn(found: re.Match) -> str:
        if found["code"]:
            return found[0]
        names = ("block", "bracket", "environment", "paren", "inline")
        block = not (found["paren"] or found["inline"])
        return mathml(next(filter(None, (found[name] for name in names))), block)

    return MATH.sub(drawn, text)


def _reference(place: Path) -> None:
    """A page for each subpackage, with the docstrings of its modules."""
    place.mkdir()
    for name in MODULES.split():
        folder = ROOT / "mentor_kd" / name
        modules = sorted(
            ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for path in folder.rglob("*.py")
            if path.stem not in ("__init__", "__main__")
        )
        parts = [f"# mentor_kd.{name}", *(f"## {module}\n\n::: {module}" for module in modules)]
        (place / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
