"""Pages of predictions: from a number in the report to the answers behind it, searchable and offline.

Each page has all answers of one method on one task: of every seed, with what the other methods made of the same
question on the same seed.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..files import write_text
from . import pages
from .conclusions import baseline
from .texts import visible

FOLDER = "rows"
LONGEST = 20_000  # characters of a text that are shown
TEMPLATE = """<p><a href="./../../index.html">Back to the report</a></p>
<h1>{{ task }}: {{ method }}</h1>
<p>{{ said }}</p>
<noscript><p>This page needs JavaScript to list its rows; they are in predictions.jsonl, which the report links.</p>
</noscript>
<div class="controls" role="group" aria-label="which rows">
{% for name, label in kinds.items() %}<button type="button" data-show="{{ name }}">{{ label }} (<span></span>)</button>
{% endfor %}</div>
<div class="controls">
<label>seed <select id="seed"><option value="">all</option>
{% for seed in seeds %}<option>{{ seed }}</option>{% endfor %}</select></label>
{% if others %}<label>flips against <select id="against">{% for name in others %}
<option{% if name == baseline %} selected{% endif %}>{{ name }}</option>{% endfor %}</select></label>{% endif %}
<label>search <input id="words" type="search" placeholder="question, answer or text"></label>
</div>
<div class="controls"><button type="button" id="previous">◀ previous</button><span id="where" role="status"></span>
<button type="button" id="next">next ▶</button></div>
<ol class="rows" id="rows"></ol>
<script type="application/json" id="data">{{ data }}</script>
"""
KINDS = {"all": "all", "right": "right", "wrong": "wrong"}
FLIPS = {"flips": "flips", "won": "only this one right", "lost": "only the other right"}


def place(run: Path, task: str, method: str) -> Path:
    """The page of a method on a task."""
    return Path(run) / FOLDER / task / f"{method}.html"


def write(run: Path, rows: Iterable[Mapping], said: Mapping[tuple[str, str], str]) -> list[Path]:
    """Write a page for each task and method of these predictions, and remove pages of methods that are gone.

    `rows` are `run_report.predictions`; `said` is a sentence for each (task, method). Returns the paths.
    """
    models: dict[str, dict[str, list[Mapping]]] = {}
    for row in rows:
        if row["split"] == "test":
            models.setdefault(row["task"], {}).setdefault(row["method"], []).append(row)
    made = []
    for task, methods in models.items():
        right = {
            method: {(row["seed"], row["id"]): _right(row) for row in answers} for method, answers in methods.items()
        }
        for method, answers in methods.items():
            path = place(run, task, method)
            write_text(path, _page(task, method, answers, right, said.get((task, method), "")))
            made.append(path)
    for old in set((Path(run) / FOLDER).glob("*/*.html")) - set(made):
        old.unlink()
    return made


def _right(row: Mapping) -> bool:
    return bool(row["paper_correct" if row.get("protocol") == "paper" else "correct"])


def _page(task: str, method: str, answers: list[Mapping], right: dict[str, dict[tuple, bool]], said: str) -> str:
    others = [name for name in right if name != method]
    against = baseline(method, list(right))
    questions = {
        row["id"]: [visible(str(row.get("question") or "not stored"), LONGEST), visible(str(row["answer"]), LONGEST)]
        for row in answers
    }
    lines = [
        {
            "id": row["id"],
            "seed": row["seed"],
            "right": _right(row),
            "prediction": None if row.get("prediction") is None else visible(str(row["prediction"]), LONGEST),
            "miss": row.get("miss") or "no answer was found",
            "text": visible(str(row.get("text", "")), LONGEST),
            "others": [right[name].get((row["seed"], row["id"])) for name in others],
        }
        for row in answers
    ]
    body = pages.render(
        TEMPLATE,
        task=task,
        method=method,
        said=said,
        kinds=KINDS | (FLIPS if others else {}),
        seeds=sorted({row["seed"] for row in answers}),
        others=others,
        baseline=against,
        data=pages.data({"rows": lines, "questions": questions, "others": others, "baseline": against}),
    )
    script = (Path(__file__).parent / "rows.js").read_text(encoding="utf-8")
    return pages.page(f"{task}: {method}", body, script)
