"""The rationale explorer in a real browser: judged by button and by key, and found again after reload and restart."""

import subprocess
import sys

import hostile
import pytest
from browser import HEIGHT, THEMES, WIDTH, needs_browser, unreadable

from mentor_kd.data.folder import task_folder
from mentor_kd.filtering.verdicts import add_verdict, read_rows, read_verdicts
from mentor_kd.pipeline import ensure
from mentor_kd.runs import notebook_html

pytestmark = [needs_browser, pytest.mark.timeout(300)]


BROKEN = """root => {  // words that are on two lines
    const found = [], walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT), range = document.createRange();
    while (walker.nextNode()) for (const match of walker.currentNode.textContent.matchAll(/[\\w]+/g)) {
        range.setStart(walker.currentNode, match.index);
        range.setEnd(walker.currentNode, match.index + match[0].length);
        if (new Set([...range.getClientRects()].map(box => box.top)).size > 1) found.push(match[0]);
    }
    return found;
}"""


def rows(page):
    return page.locator(".mkd-table tbody tr")


def headline(page) -> str:
    return page.locator(".mkd-headline").inner_text()


def open_explorer(book, page):
    book.run_all()
    rows(page).first.wait_for()


def test_notebook_04_filter_judge_reload_and_find_the_verdicts(lab, page, reports):
    folder = task_folder("smoke", "sandbox-letters")
    ensure.ensure(folder, "augmented")
    verdicts = folder / "verdicts.jsonl"
    book = lab.open(page, "04_inspect_and_filter")
    cells = book.cells()
    open_explorer(book, page)

    # both themes, and a window so narrow that the list and the text are below each other
    page.set_viewport_size({"width": 1000, "height": 1000})
    for theme in THEMES:
        book.theme(theme)
        for tab in ("Filters", "People", "Read and judge"):
            page.get_by_role("tab", name=tab).click()
            assert unreadable(page, ".mkd-explorer") == [], theme
        assert unreadable(page, ".jp-RenderedHTML table") == [], theme  # of the page, and the explorer's twin
        page.locator(".mkd-explorer").screenshot(path=reports / f"explorer-{theme.split()[1]}.png")
    table, text = page.locator(".mkd-table").bounding_box(), page.locator("td.mkd-text").first.bounding_box()
    assert text["width"] > 400 and text["x"] + text["width"] <= table["x"] + table["width"]
    assert page.locator(".mkd-explorer .mkd-one").evaluate(BROKEN) == []
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    book.theme(THEMES[0])

    # facets and search, with counts
    page.locator('[data-facet="source/teacher"]').check()
    page.locator('[data-facet="status/kept"]').check()
    page.wait_for_function("document.querySelectorAll('.mkd-table td.mkd-status[data-kept=false]').length === 0")
    shown = headline(page)
    assert shown.startswith("43 of 192")

    # by button, by key, undone by key
    page.get_by_role("button", name="drop", exact=False).first.click()
    page.get_by_text("1 judged").wait_for()
    assert [row.verdict for row in read_rows(verdicts)] == ["drop"]
    page.locator(".mkd-table").focus()
    for key in ("u", "k", "d", "z", "ArrowDown"):
        page.keyboard.press(key)
    page.wait_for_function("document.querySelector('.mkd-headline').innerText.includes('3 judged')")
    given = [row.verdict for row in read_rows(verdicts)]
    assert given == ["drop", "unsure", "keep", "drop", "withdrawn"]
    # keys that JupyterLab knows: delete, cut, paste, new cell above and below, undo
    page.locator(".mkd-judge button").first.focus()
    for key in "ddxvabz":
        page.keyboard.press(key)
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    page.keyboard.press("d")
    page.wait_for_timeout(500)
    assert book.cells() == cells

    # a note by key
    page.keyboard.press("n")
    page.keyboard.type("kept? dropped? no")
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.classList.contains('mkd-table')")
    page.wait_for_timeout(300)
    noted = next(row for row in read_rows(verdicts) if row.note == "kept? dropped? no")
    before = read_verdicts(verdicts)
    assert noted.id not in before  # a note is not a verdict

    # the kernel dies, the page is loaded afresh
    book.restart_kernel()
    book.reload()
    open_explorer(book, page)
    assert f"{len(before)} judged" in headline(page)
    dropped = sum(row.verdict == "drop" for row in before.values())
    page.locator('[data-facet="verdict/drop"]').check()
    page.wait_for_function(
        "document.querySelectorAll('.mkd-table td:not([data-verdict=drop]).mkd-verdict').length === 0"
    )
    assert headline(page).startswith(f"{dropped} of 192") and rows(page).count() == min(12, dropped)
    assert read_verdicts(verdicts) == before and book.cells() == cells


def test_a_slider_shows_at_once_what_it_would_drop(lab, page):
    ensure.ensure(task_folder("smoke", "sandbox-letters"), "augmented")
    book = lab.open(page, "04_inspect_and_filter")
    open_explorer(book, page)
    page.get_by_role("tab", name="Filters").click()
    assert page.locator(".mkd-key").first.inner_text() == "kept 43"
    page.locator(".mkd-filter .noUi-handle").first.focus()
    for _ in range(5):  # to 0.05, by the keyboard
        page.keyboard.press("ArrowRight")
    page.get_by_text("The last change drops").wait_for()
    page.wait_for_function("document.querySelector('.mkd-key').innerText === 'kept 38'")
    page.get_by_role("button", name="Write settings").click()
    page.locator(".mkd-explorer code", has_text="chosen_filters.yaml").wait_for()


def test_texts_that_would_run_are_shown_as_text_in_the_notebook_and_in_its_page(lab, page, tmp_path):
    folder = task_folder("smoke", "sandbox-letters")
    ensure.ensure(folder, "augmented")
    planted = hostile.plant(folder)
    add_verdict(folder / "verdicts.jsonl", planted[0], "keep", hostile.IMAGE, who=hostile.SCRIPT)
    asked = []  # what an image or a script would fetch
    page.on("request", lambda request: asked.append(request.url))
    book = lab.open(page, "04_inspect_and_filter")
    open_explorer(book, page)
    seen = ""
    for words in ("window.__ran = 1</script>", "onerror", "javascript:", "isolated", "a NUL", "word word word"):
        page.locator(".mkd-search input").fill(words)
        page.wait_for_function("document.querySelector('.mkd-headline').innerText.match(/^[12345] of/)")
        page.locator(".mkd-table").focus()
        for _ in range(rows(page).count()):
            seen += page.locator(".mkd-explorer .mkd-read").inner_text() + page.locator(".mkd-table").inner_text()
            page.keyboard.press("ArrowDown")
            page.wait_for_timeout(150)
    page.get_by_role("tab", name="Filters").click()
    page.get_by_role("tab", name="People").click()
    for text in (
        hostile.SCRIPT,
        "<img src=x onerror=",
        "</pre>",
        "שלום",
        "😀",
        "a NUL ␀, a bell ␇",
        "⟨U+202E⟩",
        "are shown",
    ):
        assert text in seen, text
    assert page.evaluate("window.__ran") is None
    assert not [url for url in asked if url.endswith("/x")]

    # headless, then as the page that a run leaves
    done = tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", str(lab.notebooks / "04_inspect_and_filter.ipynb"), str(done)]
    subprocess.run(command, check=True, capture_output=True, cwd=lab.notebooks)
    notebook_html.to_html(done)
    page.goto(done.with_suffix(".html").as_uri())
    assert hostile.SCRIPT in page.locator("body").inner_text()
    assert page.evaluate("window.__ran") is None
