"""The whole story through papermill, on files of the official format: a decoder and an encoder-decoder, a few steps."""

import os

import pandas
import pytest
from official_files import write_tree
from tiny import llama, t5

from mentor_kd import files
from mentor_kd.__main__ import main
from mentor_kd.evaluation.predict import predict
from mentor_kd.files import official_root, read_json, read_jsonl
from mentor_kd.runs import run

FEW = {
    "data": "official",
    "dev_questions": 1,
    "mentor_epochs": 1,
    "mentor_batch_size": 4,
    "samples": 2,
    "max_new_tokens": 12,
    "epochs": 1,
    "batch_size": 4,
    "methods": ["vanilla-kd", "mentor-kd"],
}


def check(folder, task, protocol="sound"):
    """What any finished run holds: accuracies that follow from the predictions, counts that add up."""
    table = pandas.read_csv(folder / "accuracy.csv")
    assert set(table["method"]) == {"mentor", "vanilla-kd", "mentor-kd"} and set(table["protocol"]) == {protocol}
    for row in table[table["method"] != "mentor"].itertuples():
        place = folder / task / "students" / f"{row.method}-seed{row.seed}"
        rows = [one for _, one in read_jsonl(place / "predictions.jsonl")]
        verdict = "paper_correct" if protocol == "paper" else "correct"
        assert row.correct == sum(one[verdict] for one in rows) and row.n == len(rows)
        assert all(one["question"] for one in rows)
        assert (place / "model.safetensors").exists() and read_json(place / "model_card.json")["accuracy"]
    counts = pandas.read_csv(folder / task / "filter_counts.csv", index_col=0)
    assert (counts["total"] == counts.drop(columns="total").sum(axis=1)).all()
    page = (folder / "index.html").read_text()
    assert 'src="data:image/png' in page and "http://" not in page and "https://" not in page


@pytest.mark.parametrize(
    ("shape", "task", "protocol"),
    [(llama, "svamp", "sound"), (t5, "tracking-shuffled-objects", "paper")],  # GPT-2 has the chain in test_sweep_chain
)
def test_the_notebooks_run_on_official_files(shape, task, protocol, tmp_path, monkeypatch, capsys):
    write_tree(tmp_path / "official")
    monkeypatch.setenv("MENTOR_KD_OFFICIAL_DATA", str(tmp_path / "official"))
    monkeypatch.setenv("MENTOR_KD_OFFICIAL_CHANGED", "accept")
    model = str(shape(tmp_path / "model"))
    parameters = tmp_path / "few.yaml"
    parameters.write_text(
        "".join(f"{k}: {v}\n" for k, v in {"run": "few", "task": task, "protocol": protocol, **FEW}.items())
    )
    assert main(["run", "--params", str(parameters), "-p", f"mentor={model}", "-p", f"student={model}"]) == 0
    printed = capsys.readouterr().out
    assert "mentor-kd" in printed and "index.html" in printed
    folder = files.reports_root() / "few"
    check(folder, task, protocol)
    assert {one["state"] for one in read_json(folder / "status.json").values()} == {"ok"}
    if shape is llama:  # once is enough: run again, nothing is executed; and the saved student answers
        assert main(["run", "--params", str(parameters), "-p", f"mentor={model}", "-p", f"student={model}"]) == 0
        assert capsys.readouterr().out.count("already done") == 7
        rows = predict(folder / task / "students" / "mentor-kd-seed0", ["How many?", "And now?"])
        assert [row["question"] for row in rows] == ["How many?", "And now?"]


REAL = os.environ.get("MENTOR_KD_OFFICIAL_DATA") or official_root().is_dir()


@pytest.mark.skipif(not REAL, reason="no official data: `python -m mentor_kd data fetch` gets it")
@pytest.mark.parametrize("task", ["tracking-shuffled-objects", "last-letter-concatenation", "svamp", "strategy-qa"])
def test_the_notebooks_run_on_the_real_official_files(task, tmp_path):
    model = str(llama(tmp_path / "model", max_position_embeddings=2048))
    few = {**FEW, "train_questions": 20, "dev_questions": 5, "test_questions": 6, "max_length": 2048}
    index = run.run({"run": "real", "task": task, "mentor": model, "student": model, **few}, lambda line: None)
    check(index.parent, task)
