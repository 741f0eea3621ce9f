import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import official_files
import pytest

from mentor_kd import fetching, official
from mentor_kd.fetching import fetch
from mentor_kd.files import InputError, official_root
from mentor_kd.official import load_task, mentor_rationales, prompt_rationales, read_dev, teacher_rationales
from mentor_kd.rationales import (
    new_question,
    normalise,
    question_id,
    read_official_prompt,
    read_official_questions,
    read_official_rationales,
    write_official,
)
from mentor_kd.tasks import TASKS

SVAMP = "data/main/svamp_test.json"
LETTERS = "data/main/last_letter_concatenation_test.json"


def quiet(line: str) -> None:
    pass


def relative_files(root) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


# pinned hashes


def test_blob_hash_is_gits():
    assert fetching.blob_hash(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # git's well-known empty blob
    assert fetching.blob_hash(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_every_upstream_file_is_pinned():
    pinned = fetching.upstream()
    assert len(pinned) == 50
    assert all(re.fullmatch("[0-9a-f]{40}", value) for value in pinned.values())
    assert all(re.fullmatch(r"data/(main|skeleton|prompt|aug/(flan-)?t5_large)/\w+\.json", path) for path in pinned)


# from a local copy


def test_fetch_from_a_local_copy(tmp_path, monkeypatch):
    files = official_files.pin(monkeypatch)
    official_files.write_tree(tmp_path / "copy")
    lines = []
    report = fetch(tmp_path / "here", tmp_path / "copy", say=lines.append)
    assert set(report.installed) == set(files) and report.complete
    assert relative_files(tmp_path / "here") == set(files)
    assert all((tmp_path / "here" / path).read_bytes() == content for path, content in files.items())
    assert len(lines) == len(files) and lines[-1].startswith(f"[{len(files)}/{len(files)}] ")
    again = fetch(tmp_path / "here", tmp_path / "copy", say=quiet)
    assert again.installed == () and set(again.present) == set(files)


def test_fetch_from_a_part_lists_what_is_missing(tmp_path, monkeypatch):
    files = official_files.pin(monkeypatch)
    official_files.write_tree(tmp_path / "copy")
    (tmp_path / "copy" / SVAMP).unlink()
    report = fetch(tmp_path / "here", tmp_path / "copy", say=quiet)
    assert report.missing == (SVAMP,) and not report.complete
    assert len(report.installed) == len(files) - 1
    assert f"1 missing, 0 failed\n  missing: {SVAMP}" in str(report)


def test_a_wrong_file_in_the_source_installs_nothing(tmp_path, monkeypatch):
    files = official_files.pin(monkeypatch)
    official_files.write_tree(tmp_path / "copy")
    (tmp_path / "copy" / SVAMP).write_bytes(b"[]")
    with pytest.raises(InputError) as caught:
        fetch(tmp_path / "here", tmp_path / "copy", say=quiet)
    text = str(caught.value)
    assert f"copy/{SVAMP}" in text and "nothing was installed" in text
    assert fetching.blob_hash(b"[]") in text and fetching.blob_hash(files[SVAMP]) in text
    assert not (tmp_path / "here").exists()


def test_a_wrong_file_in_place_is_replaced(tmp_path, monkeypatch):
    files = official_files.pin(monkeypatch)
    official_files.write_tree(tmp_path / "copy")
    official_files.write_tree(tmp_path / "here")
    (tmp_path / "here" / SVAMP).write_bytes(b"edited")
    with pytest.raises(InputError, match=f"here/{SVAMP}: not the published file.*\n.*fetch"):
        fetching.verify(tmp_path / "here")
    assert fetch(tmp_path / "here", tmp_path / "copy", say=quiet).installed == (SVAMP,)
    assert (tmp_path / "here" / SVAMP).read_bytes() == files[SVAMP]
    fetching.verify(tmp_path / "here")


def test_a_wrong_file_in_place_that_the_source_lacks_is_reported(tmp_path, monkeypatch):
    official_files.pin(monkeypatch)
    official_files.write_tree(tmp_path / "copy")
    official_files.write_tree(tmp_path / "here")
    (tmp_path / "here" / SVAMP).write_bytes(b"edited")
    (tmp_path / "copy" / SVAMP).unlink()
    report = fetch(tmp_path / "here", tmp_path / "copy", say=quiet)
    assert list(report.failed) == [SVAMP] and "wrong hash" in report.failed[SVAMP]


@pytest.mark.parametrize("source", ["nowhere", "copy/data"])
def test_a_source_without_data_is_refused(tmp_path, monkeypatch, source):
    official_files.pin(monkeypatch)
    official_files.write_tree(tmp_path / "copy")
    with pytest.raises(InputError, match="holds none of the official files; give the folder that holds data/main/"):
        fetch(tmp_path / "here", tmp_path / source, say=quiet)


def test_a_destination_that_cannot_be_written(tmp_path, monkeypatch):
    official_files.pin(monkeypatch)
    official_files.write_tree(tmp_path / "copy")
    (tmp_path / "here").write_text("a file, no folder")
    with pytest.raises(InputError, match="here/data/.*cannot be written"):
        fetch(tmp_path / "here", tmp_path / "copy", say=quiet)


# from a server


class Server:
    """A local server of the synthetic files; `faults[path]` are played once each, or for ever where it is a text."""

    def __init__(self, files: dict[str, bytes]):
        self.faults, self.asked = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.removeprefix("/base/")
                outer.asked.append(path)
                fault = outer.faults.get(path, "")
                if isinstance(fault, list):
                    fault = fault.pop(0) if fault else ""
                content = files[path]
                if fault == "hang":
                    time.sleep(1)
                status = int(fault) if fault.isdigit() else 200
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if fault == "drop":
                    content = content[: len(content) // 2]
                elif fault == "wrong":
                    content = content.replace(b"a", b"b")
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/base/"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    one = Server(official_files.pin(monkeypatch))
    yield one
    one.close()


def download(server: Server, destination, **settings):
    return fetch(destination, base_url=server.url, say=quiet, wait=0.001, **settings)


def test_download(server, tmp_path):
    report = download(server, tmp_path)
    files = official_files.contents()
    assert set(report.installed) == set(files) == relative_files(tmp_path) and report.complete
    assert all((tmp_path / path).read_bytes() == content for path, content in files.items())


def test_a_dropped_connection_and_a_busy_server_are_tried_again(server, tmp_path):
    server.faults = {SVAMP: ["drop", "503", "drop"]}
    assert download(server, tmp_path).complete
    assert Counter(server.asked)[SVAMP] == 4


def test_a_download_goes_on_where_it_broke_off(server, tmp_path):
    server.faults = {SVAMP: "drop", LETTERS: "500"}
    report = download(server, tmp_path)
    assert set(report.failed) == {SVAMP, LETTERS} and "HTTP status 500" in report.failed[LETTERS]
    assert Counter(server.asked)[SVAMP] == 4  # and then it gave up
    assert relative_files(tmp_path) == set(official_files.contents()) - {SVAMP, LETTERS}  # nothing half-installed
    server.faults, server.asked = {}, []
    again = download(server, tmp_path)
    assert set(again.installed) == set(server.asked) == {SVAMP, LETTERS} and again.complete


def test_a_file_that_the_server_lacks_is_missing_and_not_tried_again(server, tmp_path):
    server.faults = {SVAMP: "404"}
    report = download(server, tmp_path)
    assert report.missing == (SVAMP,) and not report.failed
    assert Counter(server.asked)[SVAMP] == 1


def test_a_wrong_download_is_not_installed(server, tmp_path):
    server.faults = {SVAMP: "wrong"}
    report = download(server, tmp_path)
    wrong = fetching.blob_hash(official_files.contents()[SVAMP].replace(b"a", b"b"))
    assert f"git blob hash {wrong}, expected {fetching.upstream()[SVAMP]}" in report.failed[SVAMP]
    assert not (tmp_path / SVAMP).exists()


def test_a_server_that_hangs_is_given_up(server, tmp_path):
    server.faults = {SVAMP: "hang"}
    report = download(server, tmp_path, timeout=0.2, attempts=1)
    assert list(report.failed) == [SVAMP] and "Timeout" in report.failed[SVAMP]


def test_without_a_network_it_gives_up_at_once(server, tmp_path):
    server.close()
    report = download(server, tmp_path, attempts=2)
    reasons = list(report.failed.values())
    assert len(reasons) == len(fetching.upstream())
    assert "cannot be reached" in reasons[0] and all(why.startswith("not tried: ") for why in reasons[1:])
    assert not relative_files(tmp_path)


def test_an_address_that_is_none():
    with pytest.raises(InputError, match="base_url: 'example.org'"):
        fetch("unused", base_url="example.org", say=quiet)


# questions and rationales of synthetic files


@pytest.fixture
def tree(tmp_path, monkeypatch):
    official_files.pin(monkeypatch)
    official_files.write_tree(tmp_path)
    monkeypatch.setenv("MENTOR_KD_OFFICIAL_DATA", str(tmp_path))
    return tmp_path


def adds_up(task: official.OfficialTask) -> bool:
    return sum(task.rows.values()) == len(task.train) + len(task.test) + len(task.dropped)


def test_load_task(tree):
    task = load_task("svamp")
    assert (len(task.train), len(task.test), task.rows, task.dropped) == (4, 2, {"train": 4, "test": 2}, ())
    assert task.train[0] == new_question(
        "svamp", "Ann has 1 pens and gets 2 more. How many pens does she have?", "3", "train"
    )
    assert {row.split for row in task.test} == {"test"}
    assert load_task(TASKS["svamp"], root=tree) == task


def test_without_the_skeleton_the_questions_come_from_the_rationales(tree):
    (tree / "data/skeleton/svamp_train.json").unlink()
    task = load_task("svamp")
    assert len(task.train) == 3 and task.rows["train"] == 3 and adds_up(task)


def test_a_train_question_in_the_test_file_is_held_out(tree):
    key = question_id("strategy-qa", official_files.TESTED)
    sound, paper = load_task("strategy-qa"), load_task("strategy-qa", "paper")
    assert len(sound.train) == 3 and key not in {row.id for row in sound.train}
    assert sound.dropped == (f"{tree}/data/skeleton/strategy_qa_train.json, row 1: {official.HELD_OUT}",)
    assert len(paper.train) == 4 and key in {row.id for row in paper.train} and paper.dropped == ()
    assert adds_up(sound) and adds_up(paper)


def test_a_held_out_questions_rationales_are_held_out_too(tree):
    key = question_id("strategy-qa", official_files.TESTED)
    for read, total in ((teacher_rationales, 9), (mentor_rationales, 12)):
        sound, paper = read("strategy-qa"), read("strategy-qa", protocol="paper")
        assert len(paper) == total and sum(row.question_id == key for row in paper) == 3 and not paper.dropped
        assert len(sound) == total - 3 == total - len(sound.dropped)
        assert key not in {row.question_id for row in sound}
        assert all(official.HELD_OUT in why for why in sound.dropped)


def test_a_question_that_comes_twice_is_taken_once(tree):
    for protocol in official.PROTOCOLS:
        task = load_task("asdiv", protocol)
        assert len(task.train) == 3 and adds_up(task)
        assert task.dropped == (f"{tree}/data/skeleton/asdiv_train.json, row 3: repeats the question of row 1",)
    rows = mentor_rationales("asdiv").rows
    assert len(rows) == 12 and len({row.id for row in rows}) == 12
    assert [row.sampler["index"] for row in rows if row.question_id == rows[0].question_id] == [0, 1, 2, 3, 4, 5]


def test_a_repeated_question_with_another_answer_is_named(tree):
    path = tree / "data/skeleton/asdiv_train.json"
    rows = json.loads(path.read_text())
    rows[2]["answer"] = "5"
    path.write_text(json.dumps(rows))
    assert "repeats the question of row 1, with the answer '5' instead of '4'" in load_task("asdiv").dropped[0]


def test_rationales_of_no_training_question_or_of_another_label_are_dropped_by_name(tree):
    path = tree / "data/skeleton/svamp_train.json"
    rows = json.loads(path.read_text())
    rows[0]["answer"] = "4"
    path.write_text(json.dumps([rows[0], *rows[2:]]))
    got = teacher_rationales("svamp")
    assert len(got) == 3 and len(got.dropped) == 6
    assert Counter(why.split(": ")[1] for why in got.dropped) == {
        "its gold answer is '3', the training question's is '4'": 3,
        "its question is not among the training questions": 3,
    }


def test_last_letter_labels(tree):
    key = question_id("last-letter-concatenation", official_files.TWO_WORDS)
    fixed, published = (load_task("last-letter-concatenation", last_letter_labels=kind) for kind in official.LABELS)
    assert {row.id: row.answer for row in fixed.test}[key] == "aab" and fixed.corrected == (key,)
    assert {row.id: row.answer for row in published.test}[key] == "ab" and published.corrected == ()
    assert [row.id for row in fixed.test] == [row.id for row in published.test]


def test_only_the_published_wrong_label_is_corrected(tree):
    (tree / LETTERS).write_bytes((tree / "data/skeleton/last_letter_concatenation_test.json").read_bytes())
    task = load_task("last-letter-concatenation")
    assert task.corrected == () and task.test[1].answer == "aab"
    (tree / LETTERS).write_text((tree / LETTERS).read_text().replace('"aab"', '"other"'))
    task = load_task("last-letter-concatenation")  # nor is one that is not the published one
    assert task.corrected == () and task.test[1].answer == "other"


def test_teacher_rationales(tree):
    path = tree / "data/main/svamp_3_train.json"
    rows = json.loads(path.read_text())
    rows[1]["chain"] = "I forgot what to conclude."
    path.write_text(json.dumps(rows))
    got = teacher_rationales("svamp").rows
    assert [row.prediction for row in got[:3]] == ["3", None, "3"]
    assert all(row.correct and row.source == "teacher" for row in got)  # upstream's verdict
    assert "no completion published" in got[1].miss and got[0].miss == ""
    assert got[2].sampler == {"model": "gpt-3.5-turbo", "temperature": 0.7, "top_k": None, "seed": None, "index": 2}
    assert got[0].original == "She has 1 pens.\nThen 1 + 2 = 3 pens."


@pytest.mark.parametrize(
    "task", ["svamp", "asdiv", "strategy-qa", "last-letter-concatenation", "tracking-shuffled-objects"]
)
def test_mentor_rationales_right_and_wrong(tree, task):
    got = mentor_rationales(task, protocol="paper" if task == "strategy-qa" else "sound")
    assert not got.disagreements and not got.dropped
    assert all(row.correct == (row.sampler["index"] % 3 < 2) for row in got)
    assert all(row.prediction is not None for row in got)
    assert got.rows[0].sampler["model"] == "flan-t5-large" and got.rows[0].sampler["top_k"] == 50


def test_disagreements_with_upstream_are_listed(tree):
    path = tree / "data/aug/flan-t5_large/svamp_rand3_aug3.json"
    rows = json.loads(path.read_text())
    rows[0] |= {"completion": "3.00", "initial_correct": False}
    rows[4]["completion"] = "no idea"
    path.write_text(json.dumps(rows))
    got = mentor_rationales("svamp")
    assert [(ours.correct, theirs.correct) for ours, theirs in got.disagreements] == [(True, False), (False, True)]
    assert [theirs.prediction for _, theirs in got.disagreements] == ["3.00", "no idea"]
    assert got.rows[4].prediction is None and got.rows[4].miss
    assert len(got) == 12


def test_prompt_rationales(tree):
    got = prompt_rationales("tracking-shuffled-objects")
    assert len(got) == 18 and all(row.correct for row in got)
    assert got.dropped == (f"{tree}/data/prompt/tracking_shuffled_objects_6.json, row 4: no stored output",)
    main = teacher_rationales("tracking-shuffled-objects")
    assert not {row.id for row in got} & {row.id for row in main}  # both files can be used together


def test_read_dev(tmp_path):
    path = tmp_path / "dev.json"
    rows = [{"instruction": "How many?\n", "output": "", "label": "14"}, {"instruction": "And now?", "label": "2"}]
    path.write_text(json.dumps(rows))
    assert read_dev(path, "svamp") == [
        new_question("svamp", "How many?", "14", "dev"),
        new_question("svamp", "And now?", "2", "dev"),
    ]
    path.write_text(json.dumps([*rows, {"instruction": "How  many?", "label": "14"}]))
    with pytest.raises(InputError, match="dev.json, row 3: repeats the question of row 1; remove one"):
        read_dev(path, "svamp")
    path.write_text(json.dumps([{"instruction": "How many?", "label": 14}]))
    with pytest.raises(InputError, match="dev.json, row 1: label: wrong type a number"):
        read_dev(path, "svamp")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"[]", "holds no row"),
        (b'[\n {"input": "q",\n', "line 3: not valid JSON"),
        (b'[{"input": "\xff"}]', "line 1: not UTF-8"),
        (b'[{"input": "q"}]', "row 1: the key 'answer' is missing"),
        (b'[{"input": "q", "answer": "a"}, {"input": ["q"], "answer": "a"}]', "row 2: input: wrong type an array"),
        (b'[{"input": "q", "answer": "a", "label": "a"}]', "row 1: unknown key 'label'"),
    ],
)
def test_a_damaged_file_is_named(tree, content, message):
    (tree / SVAMP).write_bytes(content)
    with pytest.raises(InputError, match=f"{SVAMP}.*{message}"):
        load_task("svamp")


def test_wrong_settings_are_named(tree):
    with pytest.raises(InputError, match="protocol: 'best' is none of sound, paper"):
        load_task("svamp", "best")
    with pytest.raises(InputError, match="last_letter_labels: 'fixed' is none of corrected, as published"):
        load_task("svamp", last_letter_labels="fixed")
    with pytest.raises(InputError, match="family: 'gpt2' is none of flan-t5_large, t5_large"):
        mentor_rationales("svamp", "gpt2")
    with pytest.raises(InputError, match="sandbox-sums has no official data; these have: gsm8k"):
        teacher_rationales("sandbox-sums")
    with pytest.raises(InputError, match=r"gsm8k_test.json: no such file; run `python -m mentor_kd data fetch`"):
        load_task("gsm8k")


# the real files, where they are

REAL = fetching.hashes()
real = pytest.mark.skipif(
    not REAL, reason=f"no official data in {official_root()}: `python -m mentor_kd data fetch` gets it"
)
SIZES = {  # train and test questions (paper, table 6)
    "gsm8k": (7473, 659),
    "asdiv": (1462, 314),
    "svamp": (700, 150),
    "strategy-qa": (1603, 687),
    "commonsense-qa": (8520, 1221),
    "tracking-shuffled-objects": (525, 225),
    "date-understanding": (258, 111),
    "last-letter-concatenation": (350, 150),
}
TEACHER_QUESTIONS = {  # those of data/main/*_3_train.json, each with three rationales
    "svamp": 651,
    "strategy-qa": 1496,
    "tracking-shuffled-objects": 512,
    "date-understanding": 256,
    "last-letter-concatenation": 350,
}
RIGHT_OF_MENTOR = {  # FlanT5-large (paper, table 7)
    "strategy-qa": 4396,
    "commonsense-qa": 25413,
    "asdiv": 2667,
    "svamp": 1558,
    "tracking-shuffled-objects": 1392,
    "date-understanding": 763,
    "last-letter-concatenation": 1029,
}
NAMES = {task.official: name for name, task in TASKS.items() if task.official}
DRAW = {"model": "any", "temperature": None, "top_k": None, "seed": None}


@real
def test_the_real_files_are_the_published_ones():
    fetching.verify()


@pytest.mark.parametrize("path", sorted(REAL) or [pytest.param("", marks=real)])
def test_every_real_file_is_read(path, tmp_path):
    file = official.official_file(path)
    name = next(name for base, name in NAMES.items() if file.name.startswith(base))
    count = len(json.loads(file.read_text(encoding="utf-8")))
    if "prompt" in path:
        assert len(read_official_prompt(file, name)) == count == SIZES[name][0]
        return
    questions = read_official_questions(file, name)
    assert len(questions) == count
    if "skeleton" in path or path.endswith("_test.json"):
        assert count == SIZES[name]["test" in path]
        return
    rows = read_official_rationales(file, name, "teacher", DRAW)
    assert len(rows) == count == len({row.id for row in rows})
    if path.endswith("_3_train.json"):
        assert all(row.correct and row.prediction is None for row in rows)
        if name in TEACHER_QUESTIONS:
            assert count == 3 * TEACHER_QUESTIONS[name] == 3 * len({row.question_id for row in rows})
    else:
        assert count == 3 * SIZES[name][0]
        assert "flan" not in path or sum(row.correct for row in rows) == RIGHT_OF_MENTOR[name]
    write_official(tmp_path / "again.json", rows)
    published = json.loads(file.read_text(encoding="utf-8"))
    again = json.loads((tmp_path / "again.json").read_text())
    assert again == [row | {"input": normalise(row["input"])} for row in published]


@real
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("protocol", official.PROTOCOLS)
def test_real_tasks(name, protocol):
    base = TASKS[name].official
    if not {f"data/main/{base}_test.json", f"data/skeleton/{base}_train.json"} <= set(REAL):
        pytest.skip(f"the official data here lacks {name}'s questions")
    task = load_task(name, protocol)
    train, test = SIZES[name]
    assert task.rows == {"train": train, "test": test} and adds_up(task)
    assert len(task.test) == test
    overlap = {row.id for row in task.train} & {row.id for row in task.test}
    if protocol == "sound":
        assert not overlap
    if name == "strategy-qa":
        assert len(task.train) == 1603 - (protocol == "sound") and len(overlap) == (protocol == "paper")


@real
def test_real_last_letter_labels():
    base = "data/{}/last_letter_concatenation_test.json"
    if not {base.format("main"), base.format("skeleton")} <= set(REAL):
        pytest.skip("the official data here lacks the last-letter test files")
    name = "last-letter-concatenation"
    fixed, published = load_task(name), load_task(name, last_letter_labels="as published")
    clean = read_official_questions(official.official_file(base.format("skeleton")), name, "test")
    assert fixed.test == clean
    spelt = ["".join(word[-1].lower() for word in re.search('"(.*)"', row.question)[1].split()) for row in clean]
    assert [row.answer for row in fixed.test] == spelt
    assert sum(old.answer != new.answer for old, new in zip(published.test, fixed.test, strict=True)) == 6
    assert set(fixed.corrected) == set(official.LAST_LETTER_LABELS) and published.corrected == ()


@real
@pytest.mark.parametrize("name", RIGHT_OF_MENTOR)
def test_real_mentor_verdicts_are_upstreams(name):
    base = TASKS[name].official
    needed = {f"data/main/{base}_test.json", f"data/aug/flan-t5_large/{base}_rand3_aug3.json"}
    if not needed <= set(REAL):
        pytest.skip(f"the official data here lacks {name}'s mentor rationales")
    got = mentor_rationales(name, protocol="paper")
    assert sum(row.correct for row in got) == RIGHT_OF_MENTOR[name] and not got.disagreements
