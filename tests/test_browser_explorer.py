"""The rationale explorer in a real browser: judged by button and by key, and found again after reload and restart."""

import pytest
from browser import needs_browser

from mentor_kd import steps
from mentor_kd.collecting import task_folder
from mentor_kd.verdicts import read_rows, read_verdicts

pytestmark = [needs_browser, pytest.mark.timeout(300)]


def rows(page):
    return page.locator(".mkd-table tbody tr")


def headline(page) -> str:
    return page.locator(".mkd-headline").inner_text()


def open_explorer(book, page):
    book.run_all()
    rows(page).first.wait_for()


def test_notebook_04_filter_judge_reload_and_find_the_verdicts(lab, page):
    folder = task_folder("smoke", "sandbox-letters")
    steps.ensure(folder, "augmented")
    verdicts = folder / "verdicts.jsonl"
    book = lab.open(page, "04_inspect_and_filter")
    cells = book.cells()
    open_explorer(book, page)

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
    assert "kept? dropped? no" in {row.note for row in read_rows(verdicts)}
    before = read_verdicts(verdicts)

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
    steps.ensure(task_folder("smoke", "sandbox-letters"), "augmented")
    book = lab.open(page, "04_inspect_and_filter")
    open_explorer(book, page)
    page.get_by_role("tab", name="Filters").click()
    kept = page.locator(".mkd-key").first.inner_text()
    handle = page.locator(".mkd-filter .noUi-handle").first
    handle.focus()
    for _ in range(5):
        page.keyboard.press("PageUp")
    page.get_by_text("The last change drops").wait_for()
    page.wait_for_function("(old) => document.querySelector('.mkd-key').innerText !== old", arg=kept)
    page.get_by_role("button", name="Write settings").click()
    page.get_by_text("chosen_filters.yaml").first.wait_for()
