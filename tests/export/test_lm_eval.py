"""The task for lm-evaluation-harness: the same prompts, the same texts and the same verdicts, question by question."""

import importlib.util
import shutil

import pytest
import tiny
import yaml

from mentor_kd.__main__ import main
from mentor_kd.data.tasks import judge
from mentor_kd.evaluation.predict import predictions
from mentor_kd.export import lm_eval
from mentor_kd.files import InputError, read_json, read_jsonl, write_json
from mentor_kd.models import loading
from mentor_kd.models.generation import Sampling
from mentor_kd.models.prompts import SEPARATOR
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.pipeline.mentor import train_mentor
from mentor_kd.training.settings import TrainSettings

QUESTIONS = 150


def harness(place, task, model):
    """Each question's text and verdict by lm-evaluation-harness, by id."""
    reason = "lm-evaluation-harness is not installed: pip install 'mentor-kd[check]'"
    evaluator = pytest.importorskip("lm_eval", reason=reason)
    from lm_eval.tasks import TaskManager

    found = evaluator.simple_evaluate(
        model="hf",
        model_args=f"pretrained={model},dtype=float32",
        tasks=[task],
        device="cpu",
        batch_size=16,
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(place), include_defaults=False),
    )
    samples = found["samples"][task]
    return {one["doc"]["id"]: (one["resps"][0][0], one["acc"]) for one in samples}, found["results"][task]["acc,none"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A task folder with a mentor that answers some of 150 test questions correctly."""
    folder = tmp_path_factory.mktemp("run") / "sandbox-shuffled"
    collect(folder, folder.name, CollectSettings(train_questions=60, dev_questions=5, test_questions=QUESTIONS))
    train_mentor(folder, "sandbox-swaps", TrainSettings(epochs=2, batch_size=8, learning_rate=3e-3))
    return folder


def test_the_harness_and_we_agree_on_150_questions(trained, tmp_path):
    facts = lm_eval.export(trained, tmp_path / "task")
    assert facts["questions"] == QUESTIONS
    shutil.move(tmp_path / "task", tmp_path / "moved")  # nothing depends on where the folder is
    theirs, accuracy = harness(tmp_path / "moved", "mentor-kd-sandbox-shuffled", trained / "mentor")
    ours = {
        row["id"]: (row["text"], float(row["correct"])) for _, row in read_jsonl(trained / "mentor/predictions.jsonl")
    }
    assert len(ours) == QUESTIONS and theirs == ours
    manifest = read_json(trained / "mentor" / "manifest.json")
    assert round(100 * accuracy, 6) == round(manifest["test"]["value"], 6) and 0 < accuracy < 1


@pytest.mark.parametrize("shape", ["gpt2", "t5", "llama"])
def test_other_kinds_of_model_write_the_same_texts(trained, tmp_path, shape):
    """Random models that never end their texts: both must stop at the same length, of the model, not of the task."""
    folder = shutil.copytree(trained / "collected", tmp_path / "run" / "collected").parent
    loaded = loading.load(tiny.SHAPES[shape](tmp_path / "model"))
    task = read_json(folder / "collected" / "task.json")
    loading.save(folder / "mentor", loaded, {"task": task, "max_new_tokens": 9})
    if shape == "llama":
        loading.save(folder / "students" / "vanilla-kd-seed0", loaded, {"task": task, "max_new_tokens": 30})
    facts = lm_eval.export(folder, tmp_path / "task")
    assert facts["max_gen_toks"] == (30 if shape == "llama" else 9)
    theirs, _ = harness(tmp_path / "task", facts["tasks"][0], folder / "mentor")
    asked = lm_eval.questions(folder, "test")
    greedy = Sampling(max_new_tokens=9)
    ours = predictions(loading.load(folder / "mentor"), asked, lm_eval.task_of(folder), greedy)
    texts = {row["id"]: (row["text"], float(row["correct"])) for row in ours}
    assert theirs == texts and len({text for text, _ in texts.values()}) > 20 and not all(r["finished"] for r in ours)


def described(path):
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: f"!function {node.value}")
    return yaml.load(path.read_text(), Loader)


def test_the_yaml_asks_as_students_are_asked(trained, tmp_path):
    assert main(["export", str(trained), "--to", str(tmp_path / "task"), "--lm-eval"]) == 0
    found = described(tmp_path / "task" / "mentor-kd-sandbox-shuffled.yaml")
    assert found["output_type"] == "generate_until" and found["process_results"] == "!function utils.process_results"
    assert found["doc_to_text"] == "{{question}}" + SEPARATOR and found["doc_to_target"] == "answer"
    assert found["generation_kwargs"]["do_sample"] is False and found["generation_kwargs"]["until"] == []
    assert found["metric_list"][0]["metric"] == "acc"


def test_a_run_with_both_kinds_of_model_gets_a_task_for_each(trained, tmp_path):
    folder = shutil.copytree(trained / "collected", tmp_path / "run" / "collected").parent
    for name, kind in (("mentor", True), ("students/vanilla-kd-seed0", False)):
        write_json(folder / name / "model_card.json", {"max_new_tokens": 7})
        write_json(folder / name / "config.json", {"is_encoder_decoder": kind})
    facts = lm_eval.export(folder, tmp_path / "task")
    assert facts["tasks"] == ["mentor-kd-sandbox-shuffled", "mentor-kd-sandbox-shuffled-encoder-decoder"]
    texts = [described(tmp_path / "task" / f"{name}.yaml")["doc_to_text"] for name in facts["tasks"]]
    assert texts == ["{{question}}\n###\n", "{{question}}"]


@pytest.mark.parametrize("protocol", ["sound", "paper"])
def test_the_verdict_is_the_one_of_the_runs_protocol(trained, tmp_path, protocol):
    lm_eval.export(trained, tmp_path / "task")
    known = read_json(tmp_path / "task" / "task.json")
    write_json(tmp_path / "task" / "task.json", {**known, "protocol": protocol})
    spec = importlib.util.spec_from_file_location("exported_utils", tmp_path / "task" / "utils.py")
    utils = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(utils)
    doc, text = utils.dataset()["test"][0], "It is not (A) --> A or B"
    right = judge(lm_eval.task_of(trained), text, doc["answer"], doc["question"], mode=protocol).correct
    assert utils.process_results(doc, [text]) == {"acc": float(right)}
    assert utils.process_results(doc, [f"so --> {doc['answer']}"]) == {"acc": 1.0}


def test_a_set_is_not_replaced_by_a_task(trained, tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not an earlier export"):
        lm_eval.export(trained, tmp_path / "task")
