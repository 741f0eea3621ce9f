"""Text written by models or people is always shown as text: in the widget, the static tables and HTML pages."""

import re
import time
from dataclasses import replace

import hostile
import nbformat
import pytest
from explorers import make, press
from hypothesis import given
from hypothesis import strategies as st
from rows import OTHER, rationale

from mentor_kd.data.rationales import normalise
from mentor_kd.filtering.verdicts import add_verdict
from mentor_kd.runs import notebook_html
from mentor_kd.widgets.explorer import markup
from mentor_kd.widgets.explorer.markup import CUT, differences, escaped, steps, visible

SAFE_TAGS = {
    "b",
    "bdi",
    "br",
    "div",
    "i",
    "span",
    "p",
    "h4",
    "table",
    "tr",
    "td",
    "th",
    "ol",
    "li",
    "mark",
    "ins",
    "del",
}
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\u200b\u202a-\u202e\u2066-\u2069]")


def harmless(html: str) -> None:
    """Only our own tags, no event handlers, no invisible characters."""
    tags = set(re.findall(r"</?([a-zA-Z][\w-]*)", html))
    assert tags <= SAFE_TAGS, tags - SAFE_TAGS
    assert not re.search(r"<[^>]*\son\w+\s*=", html) and "href" not in re.sub(r">[^<]*<", "><", html)
    assert not UNSEEN.search(html)


def rows():
    made = []
    for k, text in enumerate(hostile.TEXTS):
        bad = hostile.SCRIPT + hostile.IMAGE
        row = rationale(normalise(text), k, "mentor" if k % 2 else "teacher")
        sampler = {**row.sampler, "model": bad}
        made.append(replace(row, original=f"{text} --> 5", prediction="5" if k else bad, sampler=sampler, miss=bad))
    question = replace(OTHER, question=normalise(hostile.SCRIPT + hostile.TURNED), answer=hostile.SCRIPT)
    return [*made, rationale("it is 5", 9, question=question), rationale(hostile.LONG[:-1], 10, question=question)]


@pytest.fixture
def explorer(tmp_path):
    some = rows()
    add_verdict(tmp_path / "verdicts.jsonl", some[0].id, "keep", hostile.IMAGE, who=hostile.SCRIPT)
    return make(tmp_path, some, who="me")


def test_every_row_is_harmless_and_shown_quickly(explorer):
    for number in range(len(explorer.view.rows)):
        started = time.perf_counter()
        press(explorer, "go", row=number)
        assert time.perf_counter() - started < 2  # a million characters do not freeze it
        detail = explorer.reading.detail.value
        harmless(detail)
        assert len(detail) < 60_000
    harmless(explorer.panel.effect.value)
    harmless(explorer.twin().data)
    press(explorer, "go", row=0)
    press(explorer, "drop")
    harmless(explorer.people.table.value)
    assert "&lt;script&gt;" in explorer.people.table.value


def test_a_million_characters_are_cut_with_a_notice_and_a_show_more_button(explorer):
    press(explorer, "go", row=hostile.TEXTS.index(hostile.LONG))
    assert "4,000 of 1,000,006 characters are shown" in explorer.reading.detail.value
    assert "The prediction is further down" in explorer.reading.detail.value
    assert explorer.reading.more.layout.display == ""
    explorer.reading.more.click()
    assert "50,000 of 1,000,006 characters are shown" in explorer.reading.detail.value
    press(explorer, "next")
    assert explorer.reading.more.layout.display == "none"


def test_the_list_receives_short_visible_texts(explorer):
    for line in explorer.reading.rows.rows:
        assert len(str(line)) < 1200 and not UNSEEN.search(line["text"])
    texts = [line["text"] for line in explorer.reading.rows.rows]
    assert hostile.SCRIPT in texts  # the browser sets it as text
    assert any("a NUL ␀, a bell ␇, an escape ␛[31m, zero⟨U+200B⟩width" in text for text in texts)
    assert any("😀" in text and "שלום" in text for text in texts)


@given(st.text(max_size=80) | st.sampled_from([t[:300] for t in hostile.TEXTS]), st.text(max_size=80))
def test_markup_escapes_any_text(a, b):
    marks = [(0, 3, "x"), (2, 9, "y")]
    for html in (escaped(a), steps(a, marks=marks), differences(a, b), markup.around(a, 0, 2), escaped(a, 5)):
        harmless(html)


def test_marks_and_steps():
    html = steps("One <b>. Two\n--> 7", marks=[(13, 18, "s")])
    assert re.findall(r"<li>(.*?)</li>", html) == [
        '<bdi dir="auto">One &lt;b&gt;.</bdi>',
        '<bdi dir="auto">Two</bdi>',
        '<bdi dir="auto"><mark style="s">--&gt; 7</mark></bdi>',
    ]
    points = re.findall(r"<li><bdi[^>]*>(.*?)</bdi></li>", steps("1. Mit - t 2. Lagar - r 3. Vel - l --> trl"))
    assert points == ["1. Mit - t", "2. Lagar - r", "3. Vel - l", "--&gt; trl"]
    assert "Cut here: 3 of 6" in steps("abcdef", 3) and "Cut" not in steps("abc", 3)
    assert visible("a\ud800\u00ad", None) == "a⟨U+D800⟩⟨U+00AD⟩" and visible("abc", 2) == "ab…"


def test_differences():
    html = differences("2 and 3 make 5", "2 and 4 make 5 pens")
    assert re.sub(r' style="[^"]*"', "", html) == (
        '<bdi dir="auto">2 and <del>3</del> <ins>4</ins> make 5 <ins>pens</ins></bdi>'
    )
    assert "words are compared" in differences("a", "b " * 500) and CUT < 10_000


def test_the_html_page_of_a_notebook_shows_hostile_texts_as_text(explorer, tmp_path):
    cell = nbformat.v4.new_code_cell("x", execution_count=1)
    data = {"text/html": explorer.twin().data, "text/plain": "a twin"}
    cell.outputs = [nbformat.v4.new_output("display_data", data)]
    cell.outputs += [nbformat.v4.new_output("stream", text=text[:3000]) for text in hostile.TEXTS]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# T"), cell])
    nbformat.write(book, tmp_path / "b.ipynb")
    notebook_html.to_html(tmp_path / "b.ipynb")
    page = (tmp_path / "b.html").read_text()
    assert "<script>window" not in page and "<img src=x" not in page and "<svg onload" not in page
    assert page.count("&lt;script&gt;window.__ran") > 3
    assert '<bdi dir="auto">' in page and "&lt;bdi" not in page  # our own tags stay
