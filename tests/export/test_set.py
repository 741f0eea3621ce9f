"""The exported set: what `datasets` reads, what trainers train on, and what the card says."""

import json

import datasets
import pytest
import torch
from huggingface_hub import DatasetCard, metadata_load
from markdown_it import MarkdownIt
from small_run import keep_some_of_the_mentors

from mentor_kd import cli_export
from mentor_kd.__main__ import main
from mentor_kd.data.folder import questions
from mentor_kd.data.rationales import target
from mentor_kd.export import dataset
from mentor_kd.export.settings import FORMATS, SetSettings
from mentor_kd.files import InputError, read_json, write_text
from mentor_kd.models import loading
from mentor_kd.models.prompts import SEPARATOR, encode_prompt, encode_target
from mentor_kd.pipeline.filter import rationales

TEMPLATE = "{% for turn in messages %}{{ turn.role }}: {{ turn.content }}\n{% endfor %}"


@pytest.fixture
def kept(folder):
    keep_some_of_the_mentors(folder, 4)
    return [row for row in rationales(folder) if row.kept]


@pytest.fixture
def read(tmp_path):
    return lambda place, *more, **named: datasets.load_dataset(
        str(place), *more, cache_dir=str(tmp_path / "cache"), **named
    )


@pytest.mark.parametrize("form", FORMATS)
def test_datasets_reads_every_kept_rationale_and_all_questions(folder, kept, read, tmp_path, form):
    facts = dataset.export(folder, tmp_path / "set", SetSettings(form))
    found = read(tmp_path / "set")
    assert [row["id"] for row in found["train"]] == [row.id for row in kept]
    assert {row["source"] for row in found["train"]} == {"teacher", "mentor"}
    for split in ("dev", "test"):
        asked = questions(folder, split)
        assert [(row["id"], row["answer"]) for row in found[split]] == [(q.id, q.answer) for q in asked]
        assert set(found[split]["split"]) == {split} and set(found[split]["source"]) == {None}
    assert facts["exported"] == len(kept) and facts["rationales"] == len(rationales(folder))
    explained = {row.question_id for row in kept}
    assert facts["train_questions_without_rationale"] == len({q.id for q in questions(folder, "train")} - explained)


def texts(row: dict) -> tuple[str, str]:
    if "messages" in row:
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
        return tuple(turn["content"] for turn in row["messages"])
    return row["prompt"].removesuffix(SEPARATOR), row["completion"]


@pytest.mark.parametrize("form", FORMATS)
def test_the_training_text_is_the_one_students_learn(folder, kept, read, tmp_path, form):
    dataset.export(folder, tmp_path / "set", SetSettings(form))
    found = read(tmp_path / "set")
    assert [texts(row) for row in found["train"]] == [(row.question, target(row)) for row in kept]
    (first, *_) = questions(folder, "test")
    assert texts(found["test"][0]) == (first.question, f"--> {first.answer}")


def test_parquet_has_the_columns_of_a_table_of_questions(folder, kept, read, tmp_path):
    dataset.export(folder, tmp_path / "set", SetSettings("parquet", source="mentor"))
    row, one = read(tmp_path / "set")["train"][0], [row for row in kept if row.source == "mentor"][0]
    assert {name: row[name] for name in ("question", "rationale", "answer", "split")} == {
        "question": one.question,
        "rationale": one.rationale,
        "answer": one.answer,
        "split": "train",
    }
    assert (row["prediction"], row["correct"], row["seed"]) == (one.prediction, False, one.sampler["seed"])
    assert "/" not in row["model"] and one.sampler["model"].endswith(row["model"].removeprefix("mentor "))


def test_the_card_has_the_hubs_metadata_and_counts_that_add_up(folder, kept, tmp_path):
    dataset.export(folder, tmp_path / "set", SetSettings(licence="cc-by-4.0"))
    top = metadata_load(tmp_path / "set" / "README.md")
    assert top["license"] == "cc-by-4.0" and top["task_categories"] == ["text-generation", "question-answering"]
    assert [one["split"] for one in top["configs"][0]["data_files"]] == ["train", "dev", "test"]
    card = DatasetCard.load(tmp_path / "set" / "README.md")
    [header, *lines] = [line.strip("| ").split(" | ") for line in card.text.splitlines() if line.startswith("| ")]
    for line in [one for one in lines if one[0] in ("teacher", "mentor")]:
        total, *parts = map(int, line[1:])
        assert sum(parts) == total
        assert parts[header.index("kept") - 2] == sum(row.source == line[0] for row in kept)


def test_the_code_in_the_card_reads_the_set(folder, kept, tmp_path, monkeypatch, capsys):
    dataset.export(folder, tmp_path / "set", SetSettings(soft_labels=3))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    code = DatasetCard.load("set/README.md").text.split("```python\n")[1].split("```")[0]
    exec(compile(code, "card", "exec"), {})
    assert kept[0].id in capsys.readouterr().out


HOSTILE = '`</s>` ```\n---\n# <script>alert(1)</script> "a: b" \'# {x} | [y](javascript:z)\x1b[31m'


def test_no_text_breaks_out_of_the_card(folder, kept, tmp_path):
    task = read_json(folder / "collected" / "task.json")
    write_text(folder / "collected" / "task.json", json.dumps({**task, "title": HOSTILE}))
    rows = (
        (folder / "rationales.jsonl").read_text().replace('"model": "sandbox', f'"model": {json.dumps(HOSTILE)[:-1]}')
    )
    write_text(folder / "rationales.jsonl", rows)
    dataset.export(folder, tmp_path / "set", SetSettings(licence=HOSTILE))
    text = (tmp_path / "set" / "README.md").read_text()
    top = metadata_load(tmp_path / "set" / "README.md")
    assert "<script>" in top["pretty_name"] and "<script>" in top["license"] and len(top["configs"]) == 1
    body = DatasetCard(text).text
    assert "\x1b" not in text and sum(line.startswith("# ") for line in body.splitlines()) == 1
    assert "<script>" not in MarkdownIt("commonmark").render(body)


def test_only_an_earlier_export_is_replaced(folder, kept, tmp_path):
    dataset.export(folder, tmp_path / "set", SetSettings("chat-jsonl"))
    dataset.export(folder, tmp_path / "set", SetSettings("parquet"))
    assert sorted(path.name for path in (tmp_path / "set" / "data").iterdir()) == [
        f"{split}.parquet" for split in ("dev", "test", "train")
    ]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not an earlier export"):
        dataset.export(folder, tmp_path / "mine", SetSettings())
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_nothing_to_export_is_an_error(folder, tmp_path):
    with pytest.raises(InputError, match="none of .* rationales is kept .source: mentor"):
        dataset.export(folder, tmp_path / "set", SetSettings(source="mentor"))  # a random mentor is always wrong
    (folder / "rationales.jsonl").unlink()
    with pytest.raises(InputError, match="notebook 04"):
        dataset.export(folder, tmp_path / "set", SetSettings())


# soft labels


@torch.inference_mode()
def test_soft_labels_are_the_mentors_likeliest_tokens(folder, kept, read, tmp_path):
    dataset.export(folder, tmp_path / "set", SetSettings(soft_labels=5))
    rows = read(tmp_path / "set", "soft_labels", split="train")
    assert [row["id"] for row in rows] == [row.id for row in kept]
    row, mentor = rows[1], loading.load(folder / "mentor")
    assert row["prompt_ids"] == encode_prompt(mentor.tokenizer, False, kept[1].question)
    assert row["target_ids"] == encode_target(mentor.tokenizer, target(kept[1]))
    ids = torch.tensor([row["prompt_ids"] + row["target_ids"][:-1]])
    expected = mentor.model(ids).logits[0, len(row["prompt_ids"]) - 1 :].log_softmax(-1)
    best, places = expected.topk(5)
    assert torch.allclose(torch.tensor(row["top_log_probs"]), best, atol=2e-2)  # the cache is in half precision
    assert (torch.tensor(row["top_ids"]) == places).float().mean() > 0.9
    masses = torch.cat([torch.tensor(row["top_log_probs"]), torch.tensor(row["log_rest"])[:, None]], dim=-1)
    assert torch.allclose(masses.logsumexp(-1), torch.zeros(len(masses)), atol=1e-5)


def test_soft_labels_need_parquet_and_a_mentor(folder, tmp_path):
    with pytest.raises(InputError, match="use the format parquet"):
        SetSettings("chat-jsonl", soft_labels=5)
    (folder / "mentor" / "manifest.json").unlink()
    with pytest.raises(InputError, match="notebook 02"):
        dataset.export(folder, tmp_path / "set", SetSettings(soft_labels=5))


# other programs


@pytest.mark.parametrize("form", FORMATS)
def test_trl_trains_on_the_set_as_it_is(folder, kept, read, tmp_path, model, form):
    trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'mentor-kd[check]'")
    dataset.export(folder, tmp_path / "set", SetSettings(form))
    loaded = loading.load(model)
    loaded.tokenizer.chat_template = TEMPLATE
    before = loaded.model.get_input_embeddings().weight.detach().clone()
    settings = trl.SFTConfig(
        output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4, report_to="none", use_cpu=True,
        learning_rate=1e-2, bf16=False, save_strategy="no", max_length=512,
    )  # fmt: skip
    found = read(tmp_path / "set")
    trainer = trl.SFTTrainer(
        loaded.model,
        settings,
        train_dataset=found["train"],
        eval_dataset=found["dev"],
        processing_class=loaded.tokenizer,
    )
    assert trainer.train().metrics["train_loss"] > 0
    assert not torch.equal(before, loaded.model.get_input_embeddings().weight)
    if form != "chat-jsonl":  # the same token ids as in our own training, whatever the trainer calls them
        row = trainer.train_dataset[0]
        ours = encode_prompt(loaded.tokenizer, False, kept[0].question)
        ours += encode_target(loaded.tokenizer, target(kept[0]))
        assert row["input_ids"] == ours


def test_llama_factory_finds_the_training_split(folder, kept, tmp_path):
    for form, columns in (("chat-jsonl", {"messages"}), ("prompt-completion", {"prompt", "completion"})):
        dataset.export(folder, tmp_path / form, SetSettings(form))
        entry = read_json(tmp_path / form / "dataset_info.json")["mentor_kd"]
        first = json.loads((tmp_path / form / entry["file_name"]).read_text().splitlines()[0])
        assert set(entry["columns"].values()) == columns <= set(first)


# the command


def test_the_command_says_what_was_written(folder, kept, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MENTOR_KD_REPORTS", str(folder.parent.parent))
    named = f"{folder.parent.name}/{folder.name}"
    assert main(["export", named, "--to", str(tmp_path / "set"), "--soft-labels"]) == 0
    printed = capsys.readouterr().out
    assert f"{len(kept)} of {len(rationales(folder))} rationales, 3 dev and 5 test questions" in printed
    assert f"top {cli_export.TOP} of" in printed and "exact form" in printed
    assert main(["export", str(folder), "--to", str(tmp_path / "other"), "--format", "chat-jsonl"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "--to", "x"], "must be RUN/TASK"),
        (["no-run/no-task", "--to", "x"], "no such task folder"),
        (["../x/y", "--to", "x"], "run must be a folder name"),
    ],
)
def test_a_wrong_task_is_named(arguments, message, capsys):
    assert main(["export", *arguments]) == 2
    assert message in capsys.readouterr().err
