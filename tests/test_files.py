import json
import os
from pathlib import Path

import mutations
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd import files
from mentor_kd.files import (
    InputError,
    append_jsonl,
    build,
    digest,
    read_csv_rows,
    read_json,
    read_jsonl,
    read_lines,
    read_record,
    read_records,
    read_settings,
    read_text,
    read_yaml,
    sha256,
    write_json,
    write_jsonl,
    write_text,
)
from mentor_kd.manifests import finish, is_done

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
    with pytest.raises(InputError, match="cannot be read, it is a folder"):
        read_text(tmp_path)
    (tmp_path / "empty.json").write_text(" \n")
    with pytest.raises(InputError, match=r"empty\.json: the file is empty"):
        read_json(tmp_path / "empty.json")
    (tmp_path / "cut.json").write_text('{"a": 1,\n "b": ')
    with pytest.raises(InputError, match=r"cut\.json, line 2: not valid JSON"):
        read_json(tmp_path / "cut.json")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("missing", "no such file"),
        ("folder", "it is a folder"),
        ("pipe", "it is a pipe"),
        ("device", "it is a device"),
        ("null device", "it is a device"),
        ("broken link", "a broken link"),
        ("loop", "cannot be read .*symbolic links"),
    ],
)
def test_what_is_no_regular_file_is_refused_and_not_waited_on(tmp_path, place, message):
    path = tmp_path / "a.json"
    path.write_text("{}")
    mutations.put(path, place)
    for read in (read_json, read_text, read_yaml, sha256, lambda path: list(read_jsonl(path)), read_csv_rows):
        if not (read is sha256 and place == "folder"):
            with pytest.raises(InputError, match=message):
                read(path)


def test_a_name_that_no_file_can_have_and_a_huge_file_are_refused(tmp_path):
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(InputError, match="cannot be read"):
            read_text(tmp_path / name)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(InputError, match="2147483648 bytes; at most 1073741824 are read"):
        read_text(tmp_path / "huge")


def test_a_byte_order_mark_is_no_part_of_any_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    assert read_json(path) == read_yaml(path) == {"a": 1} and list(read_jsonl(path)) == [(1, {"a": 1})]
    path.write_bytes(b"\xef\xbb\xbfa,b\r1,2\r")
    assert read_csv_rows(path) == [(2, {"a": "1", "b": "2"})] and read_lines(path) == ["a,b", "1,2", ""]
    path.write_text("a,b\n", encoding="utf-16")
    with pytest.raises(InputError, match="not UTF-8 .*looks like UTF-16"):
        read_csv_rows(path)


def test_lines_end_in_lf_crlf_or_cr_alone(tmp_path):
    (tmp_path / "cr.jsonl").write_bytes(b'{"a": 1}\r{"a": 2}\r\n\n{"a": "x\xe2\x80\xa8y"}')
    assert list(read_jsonl(tmp_path / "cr.jsonl")) == [(1, {"a": 1}), (2, {"a": 2}), (4, {"a": "x\u2028y"})]


def test_what_json_cannot_hold_is_not_written(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": float("nan"), "b": [1.5, (float("inf"),)]})
    append_jsonl(tmp_path / "b.jsonl", {"a": float("nan")})
    assert read_json(path) == {"a": None, "b": [1.5, [None]]} and read_json(tmp_path / "b.jsonl") == {"a": None}
    for write in (write_json, append_jsonl, lambda path, value: write_jsonl(path, [value])):
        with pytest.raises(InputError, match="an unpaired surrogate in .*Nothing was written"):
            write(tmp_path / "c.json", {"a": "x \ud83d"})
    assert not (tmp_path / "c.json").exists()


def test_a_record_names_its_file_when_a_key_is_missing(tmp_path):
    path = tmp_path / "manifest.json"
    write_json(path, {"inputs": {"a": 1}, "rows": 3})
    found = read_record(path, inputs=dict, rows=int)
    assert found["inputs"]["a"] == 1 and found.get("none") is None
    for wrong in (lambda: found["none"], lambda: found["inputs"]["b"], lambda: read_record(path, outputs=dict)):
        with pytest.raises(InputError, match=r"manifest.json: the key '\w+' is missing"):
            wrong()
    with pytest.raises(InputError, match="'rows' must be of type str, got 3"):
        read_record(path, rows=str)
    with pytest.raises(InputError, match="'rows' must be an object, got 3"):
        read_records(path)
    write_text(path, "[1]")
    with pytest.raises(InputError, match="expected a JSON object, got list"):
        read_record(path)


def test_settings_are_a_mapping_and_build_what_they_describe(tmp_path):
    path = tmp_path / "a.yaml"
    for text, found in (("", {}), ("a: 1", {"a": 1})):
        write_text(path, text)
        assert read_settings(path) == found
    write_text(path, "- a")
    with pytest.raises(InputError, match="a.yaml: expected `name: value` on each line"):
        read_settings(path)
    assert build(Path, {}, path) == Path()
    with pytest.raises(InputError, match="a.yaml: .*unexpected keyword argument 'b'"):
        build(lambda a: a, {"b": 1}, path)


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
