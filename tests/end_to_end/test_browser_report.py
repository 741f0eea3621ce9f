"""The pages that a run leaves, opened from disk: readable, within 800 px, and nothing is loaded from elsewhere."""

import hostile
import nbformat
from browser import needs_browser, requests_outside, unreadable
from finished_run import TASK, write_run

from mentor_kd.files import ROOT
from mentor_kd.report import run_report
from mentor_kd.runs import notebook_html

pytestmark = needs_browser
BODY = "document.documentElement.scrollWidth <= window.innerWidth"
PICTURES = "[...document.images].every(one => one.complete && one.naturalWidth > 0)"


def test_the_report_leads_from_a_number_to_its_rows(page, tmp_path):
    counts = {"vanilla-kd": [400, 410], "vanilla-kd-step-matched": [500, 480], "mentor-kd": [640, 655], "mentor": [800]}
    text = f"{hostile.SCRIPT} {hostile.IMAGE} {hostile.TURNED} so it is {{}}"
    run = write_run(tmp_path / "a run", counts, n=1000, text=text)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.set_viewport_size({"width": 800, "height": 1000})
    page.goto(run_report.write(run).as_uri())
    assert page.locator(".lead").inner_text().startswith(f"{TASK}: mentor-kd is best with 64.8% of 1000")
    assert page.evaluate(BODY) and page.evaluate(PICTURES) and unreadable(page, "body") == []
    page.get_by_role("link", name="64.75").click()

    page.get_by_text("1 to 50 of 2,000").wait_for()
    assert page.evaluate(BODY) and unreadable(page, "body") == []
    assert hostile.SCRIPT in page.locator("#rows li").first.inner_text() and "⟨U+202E⟩" in page.content()
    page.get_by_role("button", name="next").click()
    page.get_by_text("51 to 100 of 2,000").wait_for()
    page.get_by_role("button", name="wrong (705)").click()
    page.get_by_text("1 to 50 of 705").wait_for()
    assert page.locator("#rows li").count() == page.locator("#rows li.wrong").count() == 50
    # against the fairer baseline: questions 500 to 639 with seed 0, and 480 to 654 with seed 1
    page.get_by_role("button", name="flips (315)").click()
    page.get_by_label("seed").select_option("0")
    page.get_by_text("1 to 50 of 140").wait_for()
    page.get_by_label("search").fill("what is 50")
    page.get_by_text("1 to 10 of 10").wait_for()
    assert all("vanilla-kd-step-matched: ✗ wrong" in one for one in page.locator("#rows .head").all_inner_texts())
    page.get_by_label("flips against").select_option("mentor")
    page.get_by_text("no row matches").wait_for()
    page.get_by_label("search").fill("")
    page.goto((run / "rows" / TASK / "mentor-kd.html").as_uri() + "#seed=1&show=wrong")
    page.get_by_text("1 to 50 of 345").wait_for()
    page.get_by_role("link", name="Back to the report").click()
    page.locator(".lead").wait_for()
    assert page.evaluate("window.__ran") is None and errors == []


def test_exported_notebooks_are_whole_and_load_nothing(page, tmp_path):
    page.set_viewport_size({"width": 800, "height": 1000})
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        book.cells.append(nbformat.v4.new_markdown_cell("![far](http://pictures.example/x.png)"))
        nbformat.write(book, tmp_path / path.name)
        notebook_html.to_html(tmp_path / path.name)
        page.goto((tmp_path / path.name).with_suffix(".html").as_uri())
        assert page.evaluate(BODY), path.name
        assert page.evaluate(PICTURES.replace("document.images", "document.querySelectorAll('img:not([alt=far])')"))
        assert unreadable(page, "body") == [], path.name
        text = page.locator("body").inner_text()
        assert "<style" not in text and "\\frac" not in text and "$$" not in text, path.name


def test_a_request_that_leaves_the_machine_is_noticed(page):
    other = page.context.browser.new_page()
    asked = requests_outside(other)
    other.set_content('<img src="http://pictures.example/x.png"><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">')
    other.wait_for_load_state("networkidle")
    assert asked == ["http://pictures.example/x.png"]
