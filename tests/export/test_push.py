"""Uploads: what is sent, with a stand-in for the Hub's API that keeps what it is given."""

import json
import os
from pathlib import Path

import pytest
import tiny
from huggingface_hub import metadata_load
from huggingface_hub.errors import OfflineModeIsEnabled

from mentor_kd.__main__ import main
from mentor_kd.export import dataset, push
from mentor_kd.export.settings import SetSettings
from mentor_kd.files import InputError, RunFailed, read_json, write_json, write_text
from mentor_kd.models import loading

SECRET = "hf_abcdefghijklmnopqrstuvwxyz"


class Hub:
    """Keeps the calls, and the files that it was sent with their contents."""

    def __init__(self):
        self.calls, self.files = [], {}

    def create_repo(self, repo_id, **how):
        self.calls.append((repo_id, how))
        return f"https://hub/{repo_id}"

    def upload_folder(self, *, folder_path, **how):
        self.calls.append((how.pop("repo_id"), how))
        place = Path(folder_path)
        self.files = {f.relative_to(place).as_posix(): f.read_bytes() for f in place.rglob("*") if f.is_file()}


@pytest.fixture
def hub(monkeypatch):
    one = Hub()
    monkeypatch.setattr(push, "HfApi", lambda: one)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    return one


@pytest.fixture
def mentor(folder):
    """A trained mentor with files that a killed or careless run may leave next to it."""
    place = folder / "mentor"
    for name in (
        "work/checkpoint-3/optimizer.pt",
        "work/checkpoint-3/model.safetensors",
        "log.txt",
        ".stamps",
        "rng.pth",
    ):
        write_text(place / name, "x")
    return place


def test_a_model_is_sent_without_logs_checkpoints_and_predictions(mentor, hub, capsys):
    assert main(["push", str(mentor), "hub:me/mentor", "--private"]) == 0
    names = {"README.md", "config.json", "generation_config.json", "model.safetensors", "model_card.json"}
    assert set(hub.files) == names | {"tokenizer.json", "tokenizer_config.json"}
    (_, created), (repo, sent) = hub.calls
    assert created == {"repo_type": "model", "private": True, "exist_ok": True}
    assert repo == "me/mentor" and sent["repo_type"] == "model"
    assert hub.files["model.safetensors"] == (mentor / "model.safetensors").read_bytes()
    printed = capsys.readouterr().out
    assert "https://hub/me/mentor" in printed and "predictions.jsonl" in printed and SECRET not in printed


def test_nothing_that_is_sent_names_a_folder_of_this_machine(folder, mentor, hub, tmp_path):
    for name in ("config.json", "tokenizer_config.json"):
        write_json(mentor / name, {**read_json(mentor / name), "_name_or_path": str(tmp_path)})
    assert os.path.isabs(read_json(mentor / "model_card.json")["base"])
    push.send(push.plan(mentor, "hub:me/mentor"))
    roots = [str(tmp_path), str(folder), str(Path.home()) + "/", read_json(mentor / "model_card.json")["base"]]
    for name, content in hub.files.items():
        if not name.endswith(".safetensors"):
            assert not [root for root in roots if root in content.decode()], name


def test_the_card_names_the_repository_and_the_licence(mentor, hub):
    push.send(push.plan(mentor, "hub:me/mentor", "mit"))
    text = hub.files["README.md"].decode()
    assert 'model_id = "me/mentor"\n' in text and "# this folder" not in text and "\nlicense: mit\n" in text
    assert 'model_id = "."' in (mentor / "README.md").read_text()  # the local one is as it was


def test_a_sent_model_can_be_loaded(mentor, hub, tmp_path):
    push.send(push.plan(mentor, "hub:me/mentor"))
    for name, content in hub.files.items():
        (tmp_path / "again").mkdir(exist_ok=True)
        (tmp_path / "again" / name).write_bytes(content)
    assert loading.load(tmp_path / "again").parameters == loading.load(mentor).parameters


def test_a_set_is_sent_with_its_data_and_card_only(folder, hub, tmp_path):
    dataset.export(folder, tmp_path / "set", SetSettings(soft_labels=2))
    write_text(tmp_path / "set" / "notes.txt", "mine")
    assert main(["push", str(tmp_path / "set"), "hub:me/set"]) == 0
    data = {f"data/{split}.parquet" for split in ("train", "dev", "test")}
    assert set(hub.files) == data | {"soft_labels/train.parquet", "README.md", "dataset_info.json"}
    assert hub.calls[0][1]["repo_type"] == "dataset" and hub.calls[0][1]["private"] is None
    assert b'data_id = "me/set"\n' in hub.files["README.md"]


def test_export_sends_to_the_hub(folder, hub, tmp_path):
    to = ["--to", "hub:me/set", "--format", "chat-jsonl", "--license", "cc0-1.0", "--private"]
    assert main(["export", str(folder), *to]) == 0
    assert json.loads(hub.files["data/train.jsonl"].splitlines()[0])["messages"]
    (tmp_path / "README.md").write_bytes(hub.files["README.md"])
    assert metadata_load(tmp_path / "README.md")["license"] == "cc0-1.0"
    assert hub.calls[0][1]["private"] is True


def test_a_dry_run_sends_nothing(mentor, hub, capsys):
    assert main(["push", str(mentor), "hub:me/mentor", "--dry-run"]) == 0
    assert not hub.calls and "model.safetensors" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["me/name", "hub:name", "hub:me/na me", "hub:a/b/c", "hub:", "hub:../x"])
def test_a_destination_that_is_no_repository_is_refused(mentor, hub, to):
    with pytest.raises(InputError, match="hub:owner/name"):
        push.plan(mentor, to)


def test_what_is_no_finished_model_or_set_is_refused(folder, mentor, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        push.plan(tmp_path / "nothing", "hub:me/x")
    with pytest.raises(InputError, match="neither model_card.json nor"):
        push.plan(folder, "hub:me/x")
    (mentor / "manifest.json").unlink()
    with pytest.raises(InputError, match="not finished"):
        push.plan(mentor, "hub:me/x")


def test_adapters_of_a_model_of_this_machine_are_refused(tmp_path):
    write_json(tmp_path / "model_card.json", {"name": "x"})
    write_text(tmp_path / "adapter_model.safetensors", "x")
    write_json(tmp_path / "adapter_config.json", {"base_model_name_or_path": str(tiny.llama(tmp_path / "base"))})
    with pytest.raises(InputError, match="lora_merge true"):
        push.plan(tmp_path, "hub:me/x")


@pytest.mark.parametrize("error", [OfflineModeIsEnabled("offline"), OSError(f"refused {SECRET}")])
def test_a_hub_that_refuses_is_a_failed_run_without_the_token(mentor, hub, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(hub, "create_repo", refuse)
    with pytest.raises(RunFailed, match="not uploaded .*HF_TOKEN") as found:
        push.send(push.plan(mentor, "hub:me/mentor"))
    assert SECRET not in str(found.value)
