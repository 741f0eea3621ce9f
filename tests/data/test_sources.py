"""Sources of rows: every kind of file, folders saved by datasets, hub ids, and what cannot be read."""

import json

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mentor_kd.data import sources
from mentor_kd.files import InputError

ROWS = [{"question": "What is 1+1?", "answer": "2"}, {"question": "What is 2+1?", "answer": "3"}]


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def values(path):
    return [row.values for row in sources.read(path)]


def lines(separator=",", end="\n"):
    return "".join(separator.join(one) + end for one in (ROWS[0].keys(), *(row.values() for row in ROWS)))


@pytest.fixture
def saved():
    datasets.disable_progress_bars()
    return datasets.Dataset.from_list(ROWS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("t.jsonl", "\ufeff" + "\r".join(json.dumps(row) for row in ROWS)),
        ("t.ndjson", "\r\n".join(json.dumps(row) for row in ROWS)),
        ("t.json", json.dumps(ROWS)),
        ("t.json", "\ufeff" + json.dumps({"version": 1, "data": ROWS}, indent=1)),
        ("t.json", "".join(json.dumps(row) + "\n" for row in ROWS)),  # JSONL under another name
        ("t.jsonl", json.dumps(ROWS, indent=1)),  # and the other way round
        ("t.csv", lines()),
        ("t.CSV", "\ufeff" + lines(end="\r\n")),
        ("t.csv", lines(end="\r")),
        ("t.csv", lines(";")),
        ("t.tsv", lines("\t")),
    ],
)
def test_text_files(tmp_path, name, text):
    assert values(write(tmp_path / name, text)) == ROWS


def test_parquet_arrow_and_saved_folders(tmp_path, saved):
    saved.to_parquet(tmp_path / "t.parquet")
    saved.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": saved, "validation": saved}).save_to_disk(tmp_path / "two")
    arrow = next((tmp_path / "one").glob("*.arrow"))
    (tmp_path / "files" / "data").mkdir(parents=True)
    saved.to_parquet(tmp_path / "files" / "data" / "train.parquet")
    saved.to_parquet(tmp_path / "files" / "data" / "test.parquet")
    for place in (tmp_path / "t.parquet", arrow, tmp_path / "one"):
        assert values(place) == ROWS
    assert [row.part for row in sources.read(tmp_path / "two")] == ["train", "train", "validation", "validation"]
    assert [(row.part, row.place) for row in sources.read(tmp_path / "files")][1:3] == [
        ("train", "train row 2"),
        ("test", "test row 1"),
    ]


def test_json_with_an_array_per_split(tmp_path):
    path = write(tmp_path / "t.json", json.dumps({"about": ["x"], "train": ROWS, "test": ROWS[:1]}))
    assert [(row.part, row.place) for row in sources.read(path)] == [
        ("train", "train item 1"),
        ("train", "train item 2"),
        ("test", "test item 1"),
    ]


def test_the_number_of_a_class_becomes_its_name(tmp_path):
    features = datasets.Features({"q": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"q": ["a", "b", "c"], "label": [1, 0, None]}, features).to_parquet(
        tmp_path / "t.parquet"
    )
    assert [row["label"] for row in values(tmp_path / "t.parquet")] == ["yes", "no", None]


def test_a_hub_id_is_loaded_with_its_configuration_and_split(monkeypatch, saved):
    asked = []

    def load(*given, **named):
        asked.append((given, named))
        return saved if named["split"] else datasets.DatasetDict({"train": saved, "test": saved})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [row.part for row in sources.read("hub:openai/gsm8k:main")] == ["train", "train", "test", "test"]
    assert [row.part for row in sources.read("hub:o/n@abc123::train[:2]")] == ["", ""]
    assert asked == [
        (("openai/gsm8k", "main"), {"split": None, "revision": None}),
        (("o/n", None), {"split": "train[:2]", "revision": "abc123"}),
    ]
    assert sources.model_name("hub:openai/gsm8k:main") == "openai/gsm8k:main"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.xlsx", b"x", r"must end in \.json, \.jsonl, .*got '\.xlsx'"),
        ("t.parquet", b"nonsense", r"t\.parquet: cannot be read"),
        ("t.arrow", b"nonsense", r"t\.arrow: cannot be read"),
        ("t.json", b'{"a": 1}', r"expected a JSON array of rows, .*keys \['a'\]"),
        ("t.json", b'{"a": [], "b": []}', r"expected a JSON array of rows"),
        ("t.json", b"7", r"expected a JSON array of rows, .*got 7"),
        ("t.json", b'[{"a": 1}, 2]', r"t\.json, item 2: expected a JSON object, got 2"),
        ("t.json", b'[{"a": 1,\n"a": 2}]', r"t\.json, line 2.*the key 'a' is repeated"),
        ("t.json", b"", r"t\.json, line 1: not valid JSON"),
        ("t.csv", "question,answer\n\xe9,1\n".encode("latin-1"), r"t\.csv, line 2: not UTF-8"),
        ("t.jsonl", "{}".encode("utf-16"), r"t\.jsonl.*UTF-16"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, capfd, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        sources.read(tmp_path / name)
    assert capfd.readouterr().err == ""  # the reader's own log stays quiet


def test_what_does_not_exist_is_named(tmp_path):
    for name in ("gone.csv", "gone.parquet"):
        with pytest.raises(InputError, match=f"{name}: no such file"):
            sources.read(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: cannot be read"):
        sources.read(tmp_path / "empty")
    with pytest.raises(InputError, match="data_test must be a .*such file or folder"):
        sources.require_source("data_test", str(tmp_path / "gone"))


@pytest.mark.parametrize("source", ["hub:", "hub:a/b/c", "hub:a b", "hub:a/b:c:d:e", "hub:../x", "hub:a/b?x=1"])
def test_a_malformed_hub_id_is_refused(source):
    with pytest.raises(InputError, match=r"data must be hub:owner/name"):
        sources.require_source("data", source)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=40), st.sampled_from([".json", ".jsonl", ".csv", ".tsv"]))
def test_any_bytes_are_rows_or_an_input_error(tmp_path_factory, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    try:
        assert all(isinstance(row.values, dict) for row in sources.read(path))
    except InputError as error:
        assert str(path) in str(error)


def test_the_identity_of_a_folder_follows_its_files(tmp_path, saved):
    saved.save_to_disk(tmp_path / "one")
    before = sources.identity(str(tmp_path / "one"))
    (tmp_path / "one" / "more.txt").write_text("x")
    assert sources.identity(str(tmp_path / "one")) != before
    assert sources.identity("hub:a/b@c") == "hub:a/b@c"
