"""The pages of rows hold every answer as data, and nothing in them can run or be fetched."""

import json
import re

import hostile
from finished_run import TASK, write_run

from mentor_kd.report import pages, rows_pages, run_report
from mentor_kd.report.texts import visible


def embedded(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_a_page_has_all_answers_of_a_method_with_what_the_others_made_of_them(tmp_path):
    run = write_run(tmp_path / "run", {"vanilla-kd": [2, 3], "mentor-kd": [4, 1], "mentor": [5]}, n=5)
    run_report.write(run)
    found = embedded((run / "rows" / TASK / "mentor-kd.html").read_text())
    assert found["others"] == ["mentor", "vanilla-kd"] and found["baseline"] == "vanilla-kd"
    assert len(found["rows"]) == 10 and found["questions"]["q4"] == ["What is 4 plus 1?", "5"]
    flips = [(row["seed"], row["id"]) for row in found["rows"] if row["right"] != row["others"][1]]
    assert flips == [(0, "q2"), (0, "q3"), (1, "q1"), (1, "q2")]
    assert [row["others"][0] for row in found["rows"]] == [True] * 5 + [None] * 5  # the mentor has one seed
    page = (run / "rows" / TASK / "mentor-kd.html").read_text()
    assert "50.0% of 5 test questions right (95% interval" in page and 'href="./../../index.html"' in page


def test_pages_of_methods_that_are_gone_are_removed(tmp_path):
    run = write_run(tmp_path / "run", {"vanilla-kd": [2], "mentor-kd": [4]})
    rows = run_report.predictions(run)
    assert len(rows_pages.write(run, rows, {})) == 2
    made = rows_pages.write(run, [row for row in rows if row["method"] == "vanilla-kd"], {})
    assert list((run / "rows").glob("*/*")) == made == [rows_pages.place(run, TASK, "vanilla-kd")]


def test_hostile_texts_stay_data(tmp_path):
    texts = [text for text in hostile.TEXTS if text != hostile.LONG]
    for number, text in enumerate(texts):
        escaped = text.replace("{", "{{").replace("}", "}}")
        run = write_run(tmp_path / str(number), {"vanilla-kd": [2]}, n=3, text=escaped)
        run_report.write(run)
        page = (run / "rows" / TASK / "vanilla-kd.html").read_text()
        assert page.count("<script") == 2 and "<img" not in page and "<svg" not in page
        assert embedded(page)["rows"][0]["text"] == visible(text)


def test_a_page_allows_no_request_and_no_script_but_its_own():
    page = pages.page("<t>", pages.render("{{ x }}", x="<b>"), "let x = 1;")
    assert "default-src 'none'" in page and "script-src 'sha256-" in page
    assert "<title>&lt;t&gt;</title>" in page and "&lt;b&gt;" in page and "<script>let x = 1;</script>" in page
    assert "script-src" not in pages.page("t", pages.render("x"))


def test_links_are_never_addresses_of_another_kind(tmp_path):
    assert pages.link(tmp_path / "javascript:alert(1)", tmp_path) == "./javascript%3Aalert%281%29"
    assert pages.link(tmp_path / "a b" / "c#d?.html", tmp_path) == "./a%20b/c%23d%3F.html"
