import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd import files
from mentor_kd.files import (
    InputError,
    append_jsonl,
    digest,
    finish,
    is_done,
    read_json,
    read_jsonl,
    read_text,
    sha256,
    write_json,
    write_jsonl,
    write_text,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# writing


def test_writing_creates_the_folder_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "deep" / "er" / "note.txt"
    write_text(path, "été\n")
    assert path.read_bytes() == b"\xc3\xa9t\xc3\xa9\n"
    assert names(path.parent) == ["note.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failed_write_keeps_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "note.txt"
    write_text(path, "old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


def test_rows_survive_line_separators_inside_texts(tmp_path):
    rows = [{"text": "a\u2028b\u0085c\nd\r\ne"}, {"text": "漢字", "n": 1.5, "none": None}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert list(read_jsonl(tmp_path / "rows.jsonl")) == [(1, rows[0]), (2, rows[1])]


@given(st.lists(st.dictionaries(TEXTS, TEXTS | st.integers() | st.booleans() | st.none(), max_size=3), max_size=4))
def test_any_rows_come_back_as_written(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    write_jsonl(path, rows)
    assert [row for _, row in read_jsonl(path)] == rows


def test_appending_adds_a_line(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    append_jsonl(path, {"a": 1})
    append_jsonl(path, {"a": "é"})
    assert path.read_text(encoding="utf-8") == '{"a": 1}\n{"a": "é"}\n'


def test_appending_after_a_killed_writer_keeps_its_half_line_apart(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": ')
    append_jsonl(path, {"a": 3})
    assert path.read_bytes().split(b"\n") == [b'{"a": 1}', b'{"a": ', b'{"a": 3}', b""]


# reading


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n\n{"a": \n', r"rows\.jsonl, line 3: not valid JSON"),
        (b'{"a": 1}\n[1, 2]\n', r"rows\.jsonl, line 2: expected a JSON object, got list"),
        (b'{"a": 1}\n{"a": "\xff"}\n', r"rows\.jsonl, line 2: not UTF-8 \(byte 0xff\)"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, content, message):
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_jsonl(tmp_path / "rows.jsonl"))


def test_missing_empty_and_broken_json_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: no such file"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path)
    (tmp_path / "empty.json").write_text(" \n")
    with pytest.raises(InputError, match=r"empty\.json: the file is empty"):
        read_json(tmp_path / "empty.json")
    (tmp_path / "cut.json").write_text('{"a": 1,\n "b": ')
    with pytest.raises(InputError, match=r"cut\.json, line 2: not valid JSON"):
        read_json(tmp_path / "cut.json")


# hashes


def test_known_hash_of_a_file(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_hash_sees_contents_and_names(tmp_path):
    def folder(name, contents):
        for file, text in contents.items():
            write_text(tmp_path / name / file, text)
        return sha256(tmp_path / name)

    one = folder("one", {"a": "1", "b/c": "2"})
    assert one == folder("same", {"b/c": "2", "a": "1"})
    assert one != folder("renamed", {"a": "1", "b/d": "2"})
    assert one != folder("changed", {"a": "1", "b/c": "3"})


def test_a_digest_depends_on_the_value_and_not_on_the_order_of_keys():
    assert digest({"a": 1, "b": [1, "é"]}) == digest({"b": [1, "é"], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
    assert digest([1, 2]) != digest([2, 1])


# manifests


@pytest.fixture
def step(tmp_path):
    write_text(tmp_path / "out.txt", "result")
    inputs = {"settings": {"epochs": 2, "rates": (0.1, 0.2)}, "mentor": None}
    finish(tmp_path, inputs, ["out.txt"], rows=3)
    return tmp_path, inputs


def test_a_finished_step_is_done(step):
    folder, inputs = step
    assert is_done(folder, inputs)
    assert read_json(folder / "manifest.json")["rows"] == 3


def test_a_step_is_not_done_without_manifest_or_with_other_inputs(step, tmp_path_factory):
    folder, inputs = step
    assert not is_done(tmp_path_factory.mktemp("other"), inputs)
    assert not is_done(folder, {**inputs, "mentor": "x"})
    assert not is_done(folder, {})


@pytest.mark.parametrize("harm", ["change", "remove"])
def test_a_step_is_not_done_when_its_output_is_not_what_it_wrote(step, harm):
    folder, inputs = step
    if harm == "change":
        (folder / "out.txt").write_text("other")
    else:
        os.remove(folder / "out.txt")
    assert not is_done(folder, inputs)


def test_a_manifest_needs_its_outputs(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.txt: no such file"):
        finish(tmp_path, {}, ["nothing.txt"])
    assert names(tmp_path) == []


def test_folders_follow_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MENTOR_KD_REPORTS", str(tmp_path / "r"))
    monkeypatch.setenv("MENTOR_KD_OFFICIAL_DATA", str(tmp_path / "o"))
    assert (files.reports_root(), files.official_root()) == (tmp_path / "r", tmp_path / "o")
    monkeypatch.delenv("MENTOR_KD_REPORTS")
    monkeypatch.delenv("MENTOR_KD_OFFICIAL_DATA")
    assert files.reports_root() == files.ROOT / "reports"
    assert files.official_root() == files.ROOT / "data" / "official"


def test_json_is_indented(tmp_path):
    write_json(tmp_path / "a.json", {"b": "é", "a": 1})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n "b": "é",\n "a": 1\n}\n'
    assert json.loads((tmp_path / "a.json").read_text()) == read_json(tmp_path / "a.json")
