"""The explorer without a browser: clicking buttons, moving sliders, sending messages."""

import json
from pathlib import Path

import pytest
import yaml
from explorers import make, press
from rows import QUESTION, rationale

from mentor_kd.data.rationales import new_question
from mentor_kd.data.tasks import TASKS
from mentor_kd.files import InputError
from mentor_kd.filtering import confidence, filters
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.filtering.verdicts import add_verdict, read_rows, read_verdicts
from mentor_kd.widgets.explorer.explorer import PAGE, Explorer
from mentor_kd.widgets.explorer.judging import Judging
from mentor_kd.widgets.explorer.table import REASONS, Columns


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / "run" / "sandbox-sums"
    place.mkdir(parents=True)
    return place


@pytest.fixture
def explorer(folder) -> Explorer:
    return make(folder)


def given(folder: Path) -> list[tuple[str, str]]:
    """Verdict and note of each row of the file."""
    return [(row.verdict, row.note) for row in read_rows(folder / "verdicts.jsonl")]


def statuses(explorer: Explorer) -> list[str]:
    return [line["status"] for line in explorer.reading.rows.rows]


def test_a_click_is_on_disk_at_once_and_selects_the_next_row(explorer, folder):
    explorer.reading.note.value = "clear"
    explorer.reading.buttons["drop"].click()
    assert given(folder) == [("drop", "clear")]
    assert explorer.row == 1 and explorer.reading.note.value == ""
    assert statuses(explorer)[0] == "○ verdict: drop"
    press(explorer, "unsure")
    press(explorer, "keep")
    assert [one for one, _ in given(folder)] == ["drop", "unsure", "keep"]
    assert read_verdicts(folder / "verdicts.jsonl")[explorer.columns.rows[2].id].verdict == "keep"


def test_undo_appends_a_row_and_restores_the_previous_verdict(explorer, folder):
    press(explorer, "keep")
    press(explorer, "go", row=0)
    press(explorer, "drop")
    press(explorer, "undo")
    assert explorer.row == 0 and statuses(explorer)[0] == "● verdict: keep"
    explorer.reading.undo.click()
    assert [one for one, _ in given(folder)] == ["keep", "drop", "keep", "withdrawn"]
    assert read_verdicts(folder / "verdicts.jsonl") == {} and statuses(explorer)[0] == "● kept"
    press(explorer, "undo")  # nothing left
    assert len(given(folder)) == 4


def test_withdrawing_and_notes(explorer, folder):
    press(explorer, "note", text="look again")
    assert given(folder) == [("withdrawn", "look again")]  # a note alone is not a verdict
    assert read_verdicts(folder / "verdicts.jsonl") == {} and "<b>0</b> judged" in explorer.headline.value
    press(explorer, "go", row=0)
    assert explorer.reading.note.value == "look again" and statuses(explorer)[0] == "● kept"
    press(explorer, "keep")
    press(explorer, "go", row=0)
    press(explorer, "note", text="good")
    press(explorer, "go", row=0)
    explorer.reading.withdraw.click()
    assert given(folder)[1:] == [("keep", "look again"), ("keep", "good"), ("withdrawn", "")]


def test_one_verdict_for_all_shown_rows_after_confirmation(explorer, folder):
    explorer.reading.facets.chosen = {"source": ["mentor"]}
    explorer.reading.all["drop"].click()
    assert explorer.reading.asking.layout.display == "" and "3" in explorer.reading.confirm.description
    assert given(folder) == []
    explorer.reading.cancel.click()
    explorer.reading.confirm.click()  # nothing left to confirm
    assert given(folder) == [] and explorer.reading.asking.layout.display == "none"
    explorer.reading.all["drop"].click()
    explorer.reading.facets.chosen = {}  # the question was about other rows: it is closed
    explorer.reading.confirm.click()
    assert given(folder) == []
    explorer.reading.facets.chosen = {"source": ["mentor"]}
    explorer.reading.all["drop"].click()
    explorer.reading.confirm.click()
    assert [one for one, _ in given(folder)] == ["drop"] * 3
    explorer.reading.undo.click()
    assert read_verdicts(folder / "verdicts.jsonl") == {}


def test_facet_counts_apply_the_other_facets(explorer):
    counts = explorer.view.counts
    assert counts["status"]["kept"] == 3 and counts["status"]["no answer"] == 1 == counts["status"]["wrong answer"]
    explorer.reading.facets.chosen = {"source": ["mentor"], "answer": ["correct"]}
    assert [explorer.columns.rows[i].rationale for i in explorer.view.rows] == ["4 + 1 = 5"]
    counts = explorer.view.counts
    assert counts["source"] == {"teacher": 2, "mentor": 1}  # under answer, not under source itself
    assert counts["answer"] == {"wrong": 2, "correct": 1}
    explorer.reading.clear.click()
    assert len(explorer.view.rows) == 5 and explorer.reading.facets.chosen == {}


def test_search_ranges_and_order(explorer):
    explorer.reading.search.value = "bob"
    assert len(explorer.view.rows) == 1
    explorer.reading.search.value = "nowhere"
    assert len(explorer.view.rows) == 0 and explorer.row is None and explorer.reading.detail.value == ""
    explorer.reading.buttons["drop"].click()  # no row is selected
    explorer.reading.search.value = ""
    explorer.reading.ranges["words"].value = (4, 5)
    assert sorted(explorer.columns.words[explorer.view.rows]) == [4, 5]
    explorer.reading.clear.click()
    press(explorer, "sort", order="words")
    assert list(explorer.columns.words[explorer.view.rows]) == sorted(explorer.columns.words)
    press(explorer, "sort", order="words")
    assert list(explorer.columns.words[explorer.view.rows]) == sorted(explorer.columns.words, reverse=True)
    for order in ("status", "source", "answer", "similarity", "verdict", "question"):
        press(explorer, "sort", order=order)
        assert len(explorer.view.rows) == 5


def test_only_one_page_is_sent_to_the_browser(folder):
    explorer = make(folder, [rationale(f"text {k}", k) for k in range(3 * PAGE + 1)])
    assert len(explorer.reading.rows.rows) == PAGE
    press(explorer, "last")
    assert len(explorer.reading.rows.rows) == 1 and explorer.row == 3 * PAGE
    press(explorer, "page up")
    assert explorer.row == 2 * PAGE
    press(explorer, "first")
    press(explorer, "previous")
    assert explorer.row == 0


def test_filters_show_what_they_drop_and_the_list_follows(folder):
    explorer = make(folder, confidence={rationale("", k).id: -k / 10 for k in range(2)})
    controls = explorer.panel.controls
    controls["near duplicates"].value = 0.4  # 4 of 10 word triples are shared
    assert (
        "near duplicate" in explorer.panel.effect.value
        and "drops <b>1</b>" in explorer.panel.drops["near duplicates"].value
    )
    assert "○ near duplicate" in statuses(explorer)
    assert "The last change drops 1 more" in explorer.panel.effect.value
    controls["words"].value = (5, controls["words"].max)
    assert explorer.settings == FilterSettings(near_duplicates=0.4, min_words=5)
    controls["words"].value = (0, controls["words"].max)
    controls["near duplicates"].value = 0
    controls["arithmetic"].value = controls["conclusion"].value = True
    controls["confidence"].value = -0.05
    expected = FilterSettings(arithmetic=True, conclusion=True, min_confidence=-0.05)
    assert explorer.settings == expected
    assert "○ low confidence" in statuses(explorer)


def test_an_error_in_a_callback_shows_in_the_widget(explorer, folder):
    (folder / "verdicts.jsonl").mkdir()  # nothing can be written there
    explorer.reading.buttons["keep"].click()
    assert "IsADirectoryError" in explorer.problem.value and "role='alert'" in explorer.problem.value
    explorer.reading.rows._handle_custom_msg({"action": "keep"}, [])  # by keyboard
    assert "IsADirectoryError" in explorer.problem.value
    assert explorer.columns.said.sum() == 0  # nothing is shown as given
    (folder / "verdicts.jsonl").rmdir()
    explorer.reading.buttons["keep"].click()
    assert explorer.problem.value == "" and len(given(folder)) == 1


def test_two_people(folder, tmp_path):
    rows = [rationale(f"text {k}", k) for k in range(3)]
    anna = make(folder, rows, who="anna")
    press(anna, "keep")
    press(anna, "keep")
    bens = tmp_path / "bens.jsonl"
    add_verdict(bens, rows[0].id, "drop", "it guesses")
    add_verdict(bens, rows[1].id, "keep")
    panel = anna.people
    panel.name.value, panel.file.value = "ben", str(bens)
    panel.merge.click()
    assert "2 verdict(s)" in panel.said.value and "it guesses" in panel.table.value
    assert statuses(anna)[0] == "○ verdict: drop"  # the later verdict
    panel.read.click()
    assert list(anna.view.rows) == [0]
    anna.reading.buttons["drop"].click()
    assert "No disagreements" in anna.people.table.value
    panel.file.value = str(tmp_path / "none.jsonl")
    panel.merge.click()
    assert "no file" in panel.said.value
    add_verdict(folder / "verdicts.jsonl", rows[2].id, "drop", who="ben")
    panel.again.click()
    assert statuses(anna)[2] == "○ verdict: drop"


def test_the_written_yaml_has_the_parameters_of_notebook_04(explorer, folder):
    explorer.panel.controls["near duplicates"].value = 0.8
    explorer.write.click()
    chosen = yaml.safe_load((folder / "chosen_filters.yaml").read_text())
    assert (chosen.pop("run"), chosen.pop("task")) == ("run", "sandbox-sums")
    assert filters.from_parameters(**chosen) == explorer.settings == FilterSettings(near_duplicates=0.8)


@pytest.mark.parametrize(
    "settings",
    [
        FilterSettings(),
        FilterSettings(near_duplicates=0.123, min_words=2, max_words=900, min_confidence=-0.125),
        FilterSettings(duplicates=False, conclusion=True, arithmetic=True, max_words=3),
    ],
)
def test_the_controls_show_the_given_settings(folder, settings):
    explorer = make(folder, settings=settings, confidence={rationale("", 0).id: -0.5})
    assert explorer.settings == settings and explorer.panel.read() == settings
    assert filters.from_parameters(**filters.parameters(settings)) == settings


def test_each_task_has_a_separate_verdict_file(folder, tmp_path):
    letters = new_question("sandbox-letters", "Take the last letters.", "trl", "train")
    rows = [rationale("so 5", 0), rationale("so trl", 1, question=letters, prediction="trl")]
    columns = Columns(rows)
    files = {name: tmp_path / f"{name}.jsonl" for name in ("sandbox-sums", "sandbox-letters")}
    explorer = Explorer(columns, Judging(columns, files), FilterSettings(), [folder])
    assert explorer.view.counts["task"] == {"sandbox-letters": 1, "sandbox-sums": 1}
    explorer.reading.all["drop"].click()
    explorer.reading.confirm.click()
    assert [[row.id for row in read_rows(files[one.task])] for one in rows] == [[rows[0].id], [rows[1].id]]
    explorer.reading.facets.chosen = {"task": ["sandbox-letters"]}
    press(explorer, "keep")
    assert [row.verdict for row in read_rows(files["sandbox-letters"])] == ["drop", "keep"]
    assert len(read_rows(files["sandbox-sums"])) == 1


def test_the_static_tables_show_the_content_of_the_widget(explorer):
    twin = explorer.twin().data
    for text in ("Ann has 2 pens and gets 3", "It has no end", "no answer", "3 sibling(s)", "gold answer"):
        assert text in twin


def test_the_text_representation_is_one_line(explorer):
    assert repr(explorer) == "The rationale explorer over 5 rationales: run this cell in JupyterLab to use it."


def test_a_task_without_a_verdict_file_is_rejected():
    with pytest.raises(InputError, match="no verdict file"):
        Judging(Columns([rationale("a", 0)]), {})


def test_shown_statuses_equal_those_of_the_filters(folder):
    rows = [rationale("a b c d", 0), rationale("a b c e", 1), rationale("x", 2, question=QUESTION)]
    explorer = make(folder, rows, FilterSettings(near_duplicates=0.3))
    press(explorer, "drop")
    expected = filters.apply(rows, explorer.settings, read_verdicts(folder / "verdicts.jsonl"))
    assert [REASONS[code] for code in explorer.view.reasons] == [row.reason or "kept" for row in expected]
    assert json.dumps(explorer.reading.rows.rows)


def test_a_note_without_a_verdict_stays_a_note_for_everyone(folder):
    first = make(folder, who="Ann")
    press(first, "note", text="odd wording")
    again, other = make(folder, who="Ann"), make(folder, who="Ben")
    assert again.reading.note.value == "odd wording" and again.judging.people(0) == {}
    assert other.reading.note.value == "" and other.judging.remarks(0) == {"Ann": "odd wording"}
    assert "odd wording" in other.reading.detail.value and "<b>note</b>" in other.reading.detail.value
    press(other, "drop")  # Ben's note field is empty, and Ann's note is not a verdict
    assert other.judging.disputed() == [] and make(folder, who="Ann").reading.note.value == "odd wording"
    press(again, "go", row=0)
    press(again, "note", text="")
    press(again, "undo")
    assert make(folder, who="Ann").reading.note.value == "odd wording"


def test_the_confidence_is_computed_only_when_it_is_asked_for(folder, monkeypatch):
    asked = []

    def computed(place, rows):
        asked.append(len(rows))
        return {row.id: -0.1 * (1 + i) for i, row in enumerate(rows)}

    monkeypatch.setattr(confidence, "confidences", computed)
    monkeypatch.setattr(confidence, "stored", lambda place, rows: {})
    monkeypatch.setattr(confidence, "task_of", lambda place: TASKS["sandbox-sums"])
    (folder / "mentor").mkdir()
    (folder / "mentor" / "manifest.json").write_text("{}")
    rows = make(folder).columns.rows
    assert confidence.scores([folder], rows, compute=False) is None
    explorer = make(folder)
    shown = [key for key, _, _ in explorer.reading.rows.heads]
    assert "confidence" not in shown and explorer.reading.score.layout.display == "" and asked == []
    assert explorer.panel.controls["confidence"].disabled
    explorer.reading.score.click()
    assert asked == [5] and explorer.problem.value == "" and explorer.reading.score.layout.display == "none"
    assert explorer.reading.rows.rows[0]["confidence"] == "-0.100" and explorer.reading.scoring.value == ""
    explorer.reading.ranges["confidence"].value = (-0.35, 0)
    assert explorer.headline.value.startswith("<div class='mkd-headline'><span><b>3</b> of 5")
    slider = explorer.panel.controls["confidence"]
    assert not slider.disabled and slider.value == slider.min == -0.5
    slider.value = -0.15
    assert explorer.settings.min_confidence == -0.15 and "○ low confidence" in statuses(explorer)


def test_stored_confidence_is_shown_without_computing(folder, monkeypatch):
    monkeypatch.setattr(confidence, "confidences", None)  # calling it would fail
    monkeypatch.setattr(confidence, "task_of", lambda place: TASKS["sandbox-sums"])
    (folder / "mentor").mkdir()
    rows = make(folder).columns.rows
    monkeypatch.setattr(confidence, "stored", lambda place, rows: {row.id: None for row in rows[:1]})
    assert confidence.scores([folder], rows, compute=False) is None  # some are missing
    some = {row.id: None if i == 0 else -1.0 for i, row in enumerate(rows)}
    monkeypatch.setattr(confidence, "stored", lambda place, rows: some)
    found = confidence.scores([folder], rows, compute=False)
    assert rows[0].id not in found and set(found.values()) == {-1.0}  # too long for the mentor: known, and without one
