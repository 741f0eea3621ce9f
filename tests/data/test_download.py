"""The paper's data are installed as pinned, from a local copy or a server, or not at all."""

import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import official_files
import pytest

from mentor_kd.data import download as fetching
from mentor_kd.data.download import fetch
from mentor_kd.files import InputError

SVAMP = "data/main/svamp_test.json"
LETTERS = "data/main/last_letter_concatenation_test.json"


def quiet(line: str) -> None:
    pass


def relative_files(root) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


# pinned hashes


def test_blob_hash_matches_git():
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
def test_a_source_without_data_is_rejected(tmp_path, monkeypatch, source):
    official_files.pin(monkeypatch)
    official_files.write_tree(tmp_path / "copy")
    with pytest.raises(
        InputError, match="contains none of the official files; give the folder that contains data/main/"
    ):
        fetch(tmp_path / "here", tmp_path / source, say=quiet)


def test_a_destination_that_cannot_be_written(tmp_path, monkeypatch):
    official_files.pin(monkeypatch)
    official_files.write_tree(tmp_path / "copy")
    (tmp_path / "here").write_text("a file, no folder")
    with pytest.raises(InputError, match="here/data/.*cannot be written"):
        fetch(tmp_path / "here", tmp_path / "copy", say=quiet)


# from a server


class Server:
    """A local server of the synthetic files; `faults[path]` are used once each, or always if it is a string."""

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


def test_a_dropped_connection_and_a_busy_server_are_retried(server, tmp_path):
    server.faults = {SVAMP: ["drop", "503", "drop"]}
    assert download(server, tmp_path).complete
    assert Counter(server.asked)[SVAMP] == 4


def test_an_interrupted_download_resumes(server, tmp_path):
    server.faults = {SVAMP: "drop", LETTERS: "500"}
    report = download(server, tmp_path)
    assert set(report.failed) == {SVAMP, LETTERS} and "HTTP status 500" in report.failed[LETTERS]
    assert Counter(server.asked)[SVAMP] == 4  # then it stopped
    assert relative_files(tmp_path) == set(official_files.contents()) - {SVAMP, LETTERS}  # nothing half-installed
    server.faults, server.asked = {}, []
    again = download(server, tmp_path)
    assert set(again.installed) == set(server.asked) == {SVAMP, LETTERS} and again.complete


def test_a_file_that_the_server_lacks_is_missing_and_not_retried(server, tmp_path):
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


def test_a_hanging_server_times_out(server, tmp_path):
    server.faults = {SVAMP: "hang"}
    report = download(server, tmp_path, timeout=0.2, attempts=1)
    assert list(report.failed) == [SVAMP] and "Timeout" in report.failed[SVAMP]


def test_without_a_network_it_stops_immediately(server, tmp_path):
    server.close()
    report = download(server, tmp_path, attempts=2)
    reasons = list(report.failed.values())
    assert len(reasons) == len(fetching.upstream())
    assert "cannot be reached" in reasons[0] and all(why.startswith("not tried: ") for why in reasons[1:])
    assert not relative_files(tmp_path)


def test_an_invalid_address_is_rejected():
    with pytest.raises(InputError, match="base_url must start with .*, got 'example.org'"):
        fetch("unused", base_url="example.org", say=quiet)
