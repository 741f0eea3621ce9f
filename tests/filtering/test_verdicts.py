"""Verdicts: appended and never rewritten, withdrawn by a row, merged, and disagreements listed."""

import mutations
import pytest

from mentor_kd.files import InputError
from mentor_kd.filtering.verdicts import (
    Verdict,
    add_verdict,
    add_verdicts,
    by_person,
    disagreements,
    merge,
    read_rows,
    read_verdicts,
)


def test_the_last_verdict_counts(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    assert read_verdicts(path) == {}
    add_verdict(path, "a", "keep", "clear")
    add_verdict(path, "b", "unsure")
    last = add_verdict(path, "a", "drop", "on second thoughts: é\u2028")
    assert read_verdicts(path) == {"a": last, "b": read_verdicts(path)["b"]}
    assert last.time.endswith("+00:00") and len(path.read_text(encoding="utf-8").split("\n")) == 4


def test_an_incomplete_line_is_skipped_with_a_warning_even_before_later_rows(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    add_verdict(path, "a", "keep")
    whole = path.read_bytes()
    path.write_bytes(whole + '{"id": "b", "verdict": "drop", "note": "é'.encode()[:-1])  # cut inside a character
    with pytest.warns(UserWarning, match="verdicts.jsonl, line 2"):
        assert set(read_verdicts(path)) == {"a"}
    add_verdict(path, "c", "drop")
    with pytest.warns(UserWarning, match="line 2"):
        assert set(read_verdicts(path)) == {"a", "c"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_verdict_is_read_whatever_ends_its_line(tmp_path, end):
    path = tmp_path / "verdicts.jsonl"
    rows(path, *((f"id{i}", "drop", i, "ann") for i in range(6)))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", end.encode()))
    assert [row.id for row in read_rows(path)] == [f"id{i}" for i in range(6)]


@pytest.mark.parametrize("place", [place for place in mutations.PLACES if place != "missing"])
def test_a_file_that_cannot_be_read_is_no_empty_list(tmp_path, place):
    path = tmp_path / "verdicts.jsonl"
    path.write_text("")
    assert read_rows(path) == []
    mutations.put(path, place)
    with pytest.raises(InputError, match="verdicts.jsonl"):
        read_rows(path)


def test_a_file_without_permission_is_no_empty_list(tmp_path, monkeypatch):
    def denied(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.lstat", denied)
    monkeypatch.setattr("pathlib.Path.stat", denied)
    with pytest.raises(InputError, match=r"verdicts.jsonl'?: cannot be read \(Permission denied\)"):
        read_rows(tmp_path / "verdicts.jsonl")


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "b", "verdict": "drop", "note": "", "note": "x", "time": ""}',
        '{"id": "b", "verdict": "drop", "note": "\\ud83d", "time": ""}',
        '{"id": "b", "verdict": "drop", "note": "", "time": NaN}',
        "keep it",
    ],
)
def test_a_wrong_last_line_is_an_error_even_without_a_line_end(tmp_path, line):
    """Only the beginning of a row, as a killed writer leaves it, may be skipped."""
    path = tmp_path / "verdicts.jsonl"
    add_verdict(path, "a", "keep")
    with path.open("a") as file:
        file.write(line)
    with pytest.raises(InputError, match="line 2.*fix or remove the line"):
        read_rows(path)


@pytest.mark.parametrize("note", ["see {x}", "a \\", 'so "he" said}', "é}"])
def test_the_beginning_of_a_row_is_skipped_wherever_it_was_cut(tmp_path, note):
    path = tmp_path / "verdicts.jsonl"
    add_verdict(path, "a", "keep")
    before = path.read_bytes()
    add_verdict(path, "b", "drop", note)
    line = path.read_bytes()[len(before) :]
    for cut in range(1, len(line) - 1):
        path.write_bytes(before + line[:cut])
        with pytest.warns(UserWarning, match="line 2: skipped"):
            assert [row.id for row in read_rows(path)] == ["a"]


def test_half_a_surrogate_pair_in_a_note_is_kept_as_text(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    add_verdict(path, "a", "keep", "\ud83d half")
    add_verdicts(path, {("drop", "\udc00"): ["b", "c"]})
    assert [row.note for row in read_rows(path)] == ["\\ud83d half", "\\udc00", "\\udc00"]
    for wrong in ({"id": "\ud83d"}, {"id": "a", "who": "\ud83d"}):
        with pytest.raises(InputError, match="an unpaired surrogate"):
            add_verdict(path, **wrong, verdict="keep")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("keep it\n", "line 2: not valid JSON"),
        ('["a"]\n', "line 2: a row must have id, verdict, note, time"),
        ('{"id": "a", "verdict": "keep"}\n', "line 2: a row must have id"),
        ('{"id": "a", "verdict": "yes", "note": "", "time": ""}\n', "line 2: verdict must be one of keep, .*got 'yes'"),
        ('{"id": ["a"], "verdict": "keep", "note": "", "time": ""}\n', "line 2"),
        ('{"id": "a", "verdict": "keep", "note": null, "time": ""}\n', "line 2: note must be a string, got None"),
    ],
)
def test_an_error_names_file_and_line_of_an_invalid_row(tmp_path, line, message):
    path = tmp_path / "verdicts.jsonl"
    add_verdict(path, "a", "keep")
    with path.open("a") as file:
        file.write(line)
    with pytest.raises(InputError, match=f"verdicts.jsonl, {message}"):
        read_verdicts(path)


def test_an_unknown_verdict_is_not_written(tmp_path):
    with pytest.raises(InputError, match="verdict must be one of .*got 'maybe'"):
        add_verdict(tmp_path / "verdicts.jsonl", "a", "maybe")
    assert not (tmp_path / "verdicts.jsonl").exists()


def test_a_withdrawn_verdict_no_longer_counts_and_its_row_stays(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    add_verdict(path, "a", "keep", who="anna")
    add_verdict(path, "a", "drop", who="ben")
    add_verdict(path, "a", "withdrawn", who="ben")
    assert read_verdicts(path)["a"].who == "anna"
    add_verdict(path, "a", "withdrawn", who="anna")
    assert read_verdicts(path) == {}
    assert [row.verdict for row in read_rows(path)] == ["keep", "drop", "withdrawn", "withdrawn"]


def test_many_verdicts_in_one_write_equal_single_writes(tmp_path):
    given = {("keep", ""): ['a"\\\u2028'], ("drop", "no\n"): ["b", "c"]}
    add_verdicts(tmp_path / "many.jsonl", given, "anna")
    for (verdict, note), ids in given.items():
        for one in ids:
            add_verdict(tmp_path / "single.jsonl", one, verdict, note, who="anna")
    many, single = (read_rows(tmp_path / f"{name}.jsonl") for name in ("many", "single"))
    assert [(r.id, r.verdict, r.note, r.who) for r in many] == [(r.id, r.verdict, r.note, r.who) for r in single]
    for wrong in ({("keep", ""): ["a"], ("maybe", ""): ["b"]}, {("keep", ""): ["a", ""]}, {("keep", ""): [""]}):
        with pytest.raises(InputError, match="verdict must be one of|id must be"):
            add_verdicts(tmp_path / "none.jsonl", wrong)
    assert not (tmp_path / "none.jsonl").exists()


def rows(path, *given: tuple) -> None:
    """Rows of (id, verdict, hour, who)."""
    text = "".join(
        f'{{"id": "{i}", "verdict": "{v}", "note": "", "time": "2026-01-01T{hour:02}:00:00+00:00", "who": "{who}"}}\n'
        for i, v, hour, who in given
    )
    path.write_text(text)


def test_the_latest_of_several_people_counts_and_disagreements_are_listed(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    rows(path, ("a", "drop", 9, "ben"), ("a", "keep", 8, "anna"), ("b", "keep", 8, "anna"), ("b", "keep", 9, "ben"))
    assert {key: row.verdict for key, row in read_verdicts(path).items()} == {"a": "drop", "b": "keep"}
    listed = disagreements(read_rows(path))
    assert listed[["id", "who", "verdict", "counts"]].values.tolist() == [
        ["a", "anna", "keep", False],
        ["a", "ben", "drop", True],
    ]
    rows(path, ("a", "keep", 8, "anna"), ("a", "drop", 8, "ben"))  # at the same time: the last row
    assert read_verdicts(path)["a"].who == "ben"


def test_files_of_two_people_merge_and_merging_again_adds_nothing(tmp_path):
    mine, bens = tmp_path / "verdicts.jsonl", tmp_path / "ben.jsonl"
    rows(mine, ("a", "keep", 8, ""), ("b", "keep", 8, ""))
    rows(bens, ("a", "keep", 7, ""), ("a", "drop", 9, ""), ("c", "unsure", 9, ""), ("d", "withdrawn", 9, ""))
    before = bens.read_bytes()
    assert merge(mine, {"ben": bens}) == 3
    assert merge(mine, {"ben": bens}) == 0
    assert bens.read_bytes() == before
    people = by_person(read_rows(mine))
    assert {key: sorted((r.who, r.verdict) for r in value.values()) for key, value in people.items()} == {
        "a": [("", "keep"), ("ben", "drop")],
        "b": [("", "keep")],
        "c": [("ben", "unsure")],
    }
    assert set(disagreements(read_rows(mine))["id"]) == {"a"}
    add_verdict(mine, "a", "drop")  # settled
    assert disagreements(read_rows(mine)).empty


def test_merging_skips_older_rows_and_names_a_missing_file(tmp_path):
    mine, older = tmp_path / "verdicts.jsonl", tmp_path / "older.jsonl"
    rows(mine, ("a", "keep", 8, "anna"))
    rows(older, ("a", "drop", 7, "anna"))
    assert merge(mine, {"anna": older}) == 0
    with pytest.raises(InputError, match="verdicts of 'ben': no file"):
        merge(mine, {"ben": tmp_path / "none.jsonl"})
    assert by_person([Verdict("a", "keep"), Verdict("a", "withdrawn")]) == {}
