"""Public data sets, shaped as published, go from their file to collected/; what a dry run shows of them first."""

import json
from dataclasses import replace

import pytest

from mentor_kd.__main__ import main
from mentor_kd.data.folder import questions, task_of, teacher_rows
from mentor_kd.data.rationales import read_rationales, write_rationales
from mentor_kd.data.table import read_table
from mentor_kd.export.dataset import export
from mentor_kd.export.settings import SetSettings
from mentor_kd.files import InputError, read_json, read_jsonl, sha256
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.pipeline.collect import CollectSettings, collect, look_text
from mentor_kd.pipeline.filter import filter_rationales
from mentor_kd.runs import notebooks, run

N = 20


def write(path, rows):
    text = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return str(path)


def gsm8k(first, n=N):
    return [
        {"question": f"Lea has {i} pens and gets 3.", "answer": f"{i}+3=<<{i}+3={i + 3}>>{i + 3}\n#### {i + 3:,}"}
        for i in range(first, first + n)
    ]


def multiarith():
    return [{"question": f" Ann had {i} apples and ate 1. ", "final_ans": str(i - 1)} for i in range(1, N + 1)]


def aqua():
    return [
        {
            "question": f"What is {i} + 1?",
            "options": [f"A){i}", f"B){i + 1}", "C)none"],
            "rationale": f"{i} + 1 = {i + 1}\nAnswer is B.",
            "correct": "B",
        }
        for i in range(N)
    ]


def chat():
    return [
        {
            "messages": [
                {"role": "user", "content": f"What is {i} + 1?"},
                {"role": "assistant", "content": f"{i} + 1 = {i + 1}. The answer is {i + 1}."},
            ],
            "level": "easy" if i % 2 else "hard",
        }
        for i in range(N)
    ]


@pytest.mark.parametrize(
    ("name", "rows", "answer_type", "first", "rationales"),
    [
        ("gsm8k.jsonl", gsm8k(998), "number", ("Lea has 998 pens and gets 3.", "1001", "998+3=1001"), True),
        ("multiarith.json", multiarith(), "number", ("Ann had 1 apples and ate 1.", "0", None), False),
        ("aqua.json", aqua(), "choice", ("What is 0 + 1? Answer choices: (A) 0 (B) 1 (C) none", "B", None), True),
        ("chat.jsonl", chat(), "number", ("What is 0 + 1?", "1", "0 + 1 = 1. The answer is 1."), True),
    ],
)
def test_from_the_file_as_published_to_collected(tmp_path, name, rows, answer_type, first, rationales):
    settings = CollectSettings(data=write(tmp_path / name, rows), answer_type=answer_type)
    look = look_text("mine", settings)
    assert f"rows: {N} read, {N} used, 0 left out" in look and "questions: 13 train, 3 dev, 4 test" in look
    guessed = look_text("mine", CollectSettings(data=settings.data))
    assert f"answer type: {answer_type}" in guessed and "(guessed:" in guessed
    folder = tmp_path / "run" / "mine"
    if not rationales:  # a teacher has to write them
        with pytest.raises(InputError, match="no training question has a teacher rationale"):
            collect(folder, "mine", settings)
        teacher = [
            {"question": row["question"], "answer": row["final_ans"], "rationale": f"So it is {row['final_ans']}."}
            for row in rows
        ]
        settings = CollectSettings(data=write(tmp_path / "told.jsonl", teacher), answer_type=answer_type)
    collect(folder, "mine", settings)
    found = [q for split in ("train", "dev", "test") for q in questions(folder, split)]
    assert len(found) == N and task_of(folder).answer_type == answer_type
    text, gold, rationale = first
    assert [(q.question, q.answer) for q in found if q.question == text] == [(text, gold)]
    told = teacher_rows(folder)
    assert told and all(row.correct and row.answer for row in told)
    assert {row.question_id for row in told} == {q.id for q in questions(folder, "train")}
    if rationale:
        assert rationale in {row.rationale for row in told} or any(
            q.question == text for q in found if q.split != "train"
        )
    assert read_json(folder / "collected" / "manifest.json")["rows_read"] == N


def test_the_two_files_of_gsm8k_make_a_run_and_meta_is_kept_in_its_rows(tmp_path):
    data, test = write(tmp_path / "train.jsonl", gsm8k(1)), write(tmp_path / "test.jsonl", gsm8k(100, 5))
    settings = CollectSettings(data=data, data_test=test, answer_type="number")
    collect(tmp_path / "g", "g", settings)
    made = read_json(tmp_path / "g" / "collected" / "manifest.json")
    assert made["questions"] == {"train": 16, "dev": 4, "test": 5} and "test_questions_drawn" not in made
    assert made["inputs"]["test_file"] == sha256(tmp_path / "test.jsonl")
    assert "meta" not in next(read_jsonl(tmp_path / "g" / "collected" / "teacher.jsonl"))[1]
    collect(tmp_path / "c", "c", CollectSettings(data=write(tmp_path / "c.jsonl", chat()), answer_type="number"))
    assert {row.meta["level"] for row in teacher_rows(tmp_path / "c")} == {"easy", "hard"}
    assert questions(tmp_path / "c", "test")[0].meta["level"] in ("easy", "hard")


def test_a_change_of_columns_or_of_the_test_file_collects_again(tmp_path):
    rows = [{"q": f"{i}?", "one": str(i), "two": str(i + 1), "cot": "So."} for i in range(N)]
    data, folder = write(tmp_path / "d.jsonl", rows), tmp_path / "d"
    gold = []
    for answer in ("one", "two"):
        columns = {"question": "q", "answer": answer}
        settings = CollectSettings(data=data, answer_type="number", columns=columns)
        collect(folder, "d", settings, replace=answer == "two")
        gold.append({q.answer for q in questions(folder, "train")})
    assert gold[0] != gold[1]


def test_the_sandboxs_manifest_says_nothing_about_your_own_data(tmp_path):
    settings = CollectSettings(train_questions=6, dev_questions=2, test_questions=2)
    collect(tmp_path / "s", "sandbox-sums", settings)
    inputs = read_json(tmp_path / "s" / "collected" / "manifest.json")["inputs"]
    assert not {"columns", "data_test"} & set(inputs["settings"]) and "file" not in inputs
    assert look_text("sandbox-sums", settings) == ""
    for own in ({"columns": {"question": "q"}}, {"data_test": "x.csv"}):
        with pytest.raises(InputError, match=f"{next(iter(own))} is for your own data"):
            CollectSettings(**own)


def test_data_look_on_the_command_line(tmp_path, capsys):
    rows = [*chat(), {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "\x1b[mHo"}]}]
    path = write(tmp_path / "my chat.jsonl", rows)
    before = sorted(tmp_path.iterdir())
    assert main(["data", "look", path]) == 0
    said = capsys.readouterr().out
    assert "recognised: chat (messages)" in said and "1 x no number is stated: line 21" in said
    assert said.count("  target:      ") == 3 and " --> " in said and "\x1b" not in said
    assert sorted(tmp_path.iterdir()) == before
    assert main(["data", "look", path, "--answer-type", "choice"]) == 2
    assert "of 21 rows cannot be read as answer_type 'choice'" in capsys.readouterr().err
    wrong = write(tmp_path / "w.jsonl", [{"ask": "a?", "final": "1"}])
    assert main(["data", "look", wrong]) == 2
    error = capsys.readouterr().err
    assert "the columns are ask, final" in error and "columns: {question: ask, answer: final}" in error
    assert main(["data", "look", wrong, "--columns", "{question: ask, answer: final}"]) == 0
    assert "gold answer: 1" in capsys.readouterr().out


def test_a_run_knows_a_folder_as_data(tmp_path, monkeypatch):
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_list(chat()).save_to_disk(tmp_path / "chats")
    monkeypatch.chdir(tmp_path)
    given = notebooks.whole_paths({"data": "chats", "data_test": "chats"})
    assert given == {"data": str(tmp_path / "chats"), "data_test": str(tmp_path / "chats")}
    jobs = run.plan({"run": "x", "task": "chats", "data": "chats", "answer_type": "number"})
    before = run._fingerprint(jobs[0], "")
    (tmp_path / "chats" / "more.txt").write_text("changed")
    assert jobs[0].parameters["data"] == str(tmp_path / "chats") and run._fingerprint(jobs[0], "") != before


@pytest.mark.parametrize("form", ["parquet", "chat-jsonl", "prompt-completion"])
def test_an_exported_set_is_read_back_with_the_same_rows(tmp_path, form):
    folder = tmp_path / "run" / "sandbox-shuffled"
    collect(folder, "sandbox-shuffled", CollectSettings(train_questions=12, dev_questions=3, test_questions=3))
    mentors = [replace(row, id=row.id[::-1], source="mentor") for row in teacher_rows(folder)[:1]]
    write_rationales(folder / "augmented" / "mentor.jsonl", mentors)
    filter_rationales(folder, FilterSettings())
    export(folder, tmp_path / "set", SetSettings(format=form))
    found = read_table(tmp_path / "set", task_of(folder))
    kept = [row for row in read_rationales(folder / "rationales.jsonl") if row.kept]
    assert kept and [(r.question, r.rationale, r.answer) for r in found.rationales] == [
        (r.question, r.rationale, r.answer) for r in kept
    ]
    for split in ("dev", "test"):
        there = {(q.question, q.answer) for q in found.questions if q.split == split}
        assert there == {(q.question, q.answer) for q in questions(folder, split)}
    assert found.left_out == {}
