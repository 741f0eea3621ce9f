"""Texts that do harm if a page treats them as markup; the scripts among them set window.__ran if executed."""

from dataclasses import replace
from pathlib import Path

from mentor_kd.data.folder import teacher_rows
from mentor_kd.data.rationales import normalise, write_rationales
from mentor_kd.files import MANIFEST, read_json
from mentor_kd.manifests import SEAL, finish

SCRIPT = "<script>window.__ran = 1</script>"
IMAGE = "<img src=x onerror=\"window.__ran = 1\">'\"><svg onload='window.__ran = 1'>"
MARKDOWN = "[a](javascript:window.__ran=1) ![b](x) `</pre>` </bdi></div></script>" + SCRIPT
TURNED = "\u202eright to left\u202c, \u2067isolated\u2069 and שלום עולם 😀"
NUL = "a NUL \x00, a bell \x07, an escape \x1b[31m, zero\u200bwidth"
LONG = "word " * 100_000 + "x" * 500_000
TEXTS = (SCRIPT, IMAGE, MARKDOWN, TURNED, NUL, LONG)


def plant(folder: Path) -> list[str]:
    """Replace the teacher's first correct rationales with these texts; returns the ids of the rows."""
    rows = teacher_rows(folder)
    right = [i for i, row in enumerate(rows) if row.correct][: len(TEXTS)]
    for i, text in zip(right, TEXTS, strict=True):
        original = f"{text} --> {rows[i].answer}"
        rows[i] = replace(rows[i], rationale=normalise(text), original=original)
    write_rationales(folder / "collected" / "teacher.jsonl", rows)
    facts = read_json(folder / "collected" / MANIFEST)
    if "outputs" in facts:  # as if the teacher had written these texts
        finish(folder / "collected", **{name: value for name, value in facts.items() if name != SEAL})
    return [rows[i].id for i in right]
