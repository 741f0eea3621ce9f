"""Estimates: model shapes, formulas checked by hand, and sizes of the data."""

import pytest
import tiny

from mentor_kd.data.tasks import TASKS
from mentor_kd.models import loading
from mentor_kd.models.shapes import GPUS, T5_SHAPES, Gpu
from mentor_kd.runs import estimates, grids, run
from mentor_kd.runs.estimates import Shape, Size

# numbers of parameters of the published checkpoints, counted by transformers
PARAMETERS = {
    "T5-small": 60_506_624,
    "T5-base": 222_903_552,
    "T5-large": 737_668_096,
    "FlanT5-small": 76_961_152,
    "FlanT5-base": 247_577_856,
    "FlanT5-large": 783_150_080,
    "FlanT5-XL": 2_849_757_184,
    "FlanT5-XXL": 11_135_332_352,
}


def test_shapes_of_the_papers_models_match_their_checkpoints():
    assert {name: estimates.t5_shape(name).parameters for name in T5_SHAPES} == PARAMETERS
    assert estimates.shape("google/flan-t5-small") == estimates.shape("FlanT5-small")


@pytest.mark.parametrize("make", [tiny.t5, tiny.gpt2, tiny.llama])
def test_shape_of_any_model_is_read_from_its_config(make, tmp_path):
    found = estimates.shape(str(make(tmp_path / "model")))
    loaded = loading.load(tmp_path / "model")
    embeddings = {id(p): p.numel() for p in [loaded.model.get_input_embeddings().weight]}
    embeddings |= {id(p): p.numel() for p in [loaded.model.get_output_embeddings().weight]}
    assert found.parameters == loaded.parameters
    assert found.encoder + found.decoder + sum(embeddings.values()) == loaded.parameters
    assert bool(found.encoder) == loaded.encoder_decoder
    assert found.width == loaded.model.get_input_embeddings().weight.shape[1] and found.layers >= 1


ONE = Shape(parameters=1_000, encoder=300, decoder=500, head=200, layers=2, width=10)
SIZE = Size(train=100, dev=20, test=50, teacher=60, mentor=40, samples=300, source=10, target=30)
FAST = Gpu(tflops=1e-9 / estimates.MFU, memory=1, bandwidth=1e9)  # 1,000 FLOP/s, so that FLOPs dominate


def test_flops_time_and_memory_by_hand():
    assert estimates.forward(ONE, 1, SIZE) == 2 * (300 * 10 + (500 + 200) * 30) == 48_000
    steps, seconds = estimates.training(ONE, 60, 2, 8, SIZE, FAST, lora=False)
    assert steps == 2 * 8 and seconds == pytest.approx(3 * 48_000 * 120 * 1.1 / 1000)
    assert estimates.training(ONE, 60, 2, 8, SIZE, FAST, lora=True)[1] == pytest.approx(seconds * 2 / 3)
    quick = Gpu(tflops=1e6, memory=1, bandwidth=1e9)  # launches dominate: 16 steps, 2 + 2 layers, 2 ms each
    assert estimates.training(ONE, 60, 2, 8, SIZE, quick, lora=False)[1] == pytest.approx(16 * 4 * 2e-3)
    # 300 texts in batches of 100: three batches of 1.6 x 30 tokens, 1 ms for each of two layers
    assert estimates.writing(ONE, 300, 100, SIZE, quick) == pytest.approx(3 * 48 * 2e-3)
    full = estimates.memory(ONE, 1, SIZE, 0)
    tokens = 1.6 * (10 + 1.3 * 30)
    assert full == pytest.approx(1 + (16 * 1000 + 34 * tokens * 2 * 10) / 1e9)


def test_lora_needs_less_memory_and_only_the_largest_models_need_it():
    shape = estimates.shape("FlanT5-XXL")
    assert estimates.memory(shape, 2, SIZE, 128) < GPUS["h100"].memory < estimates.memory(shape, 2, SIZE, 0)
    assert estimates.memory(estimates.shape("FlanT5-large"), 8, SIZE, 0) < GPUS["a6000"].memory


BASE = {"data": "official", "dev_file": "", "train_questions": 0, "dev_questions": 0, "test_questions": 0}
BASE |= {"rationales": 3, "samples": 3}


def test_sizes_of_the_published_data():
    found = estimates.size({**BASE, "task": "tracking-shuffled-objects"})
    assert (found.train, found.dev, found.test) == (420, 105, 225)
    assert found.teacher == round(420 * 512 / 525 * 3) and found.samples == 1260
    assert found.mentor == round(1260 * 0.884)
    assert estimates.size({**BASE, "task": "svamp", "dev_file": "dev.json"}).train == 700
    assert estimates.size({**BASE, "task": "svamp", "protocol": "paper"}).train == 700
    assert estimates.size({**BASE, "task": "svamp", "test_questions": 10}).test == 10
    every = [task.name for task in TASKS.values() if task.official]
    assert all(estimates.size({**BASE, "task": task}).train > 100 for task in every)


def test_sizes_of_the_sandbox_and_of_your_own_data():
    found = estimates.size({**BASE, "data": "sandbox", "coverage": 0.5, "train_questions": 40, "task": "sandbox-sums"})
    assert (found.train, found.dev, found.test) == (40, 100, 500) and 10 < found.target < 200
    assert estimates.size({**BASE, "data": "mine.csv", "task": "mine"}) is None


def test_a_student_with_soft_labels_needs_memory_for_its_mentor(tmp_path):
    path = tmp_path / "grid.yaml"
    text = "mentor: google/flan-t5-xl\nstudent: google/flan-t5-small\ndata: official\ntask: svamp\n"
    path.write_text(text + "grid: {method: [vanilla-kd, mentor-kd]}\n")
    grid = grids.read(path)
    vanilla, soft = (estimates.estimate(grid.stage(cell.parameters), GPUS["h100"]) for cell in grid.cells)
    assert vanilla.memory < 5 and vanilla.soft_label_seconds == 0
    assert soft.memory == pytest.approx(1 + 4 * (2.849757184 + 0.076961152)) and soft.soft_label_seconds > 0
    assert soft.steps > vanilla.steps > 0 and soft.seconds > vanilla.seconds


def test_every_notebook_of_a_run_has_an_estimate_and_students_are_counted():
    given = {"run": "x", "task": "sandbox-sums", "train_questions": 60, "methods": ["mentor-kd"]}
    one = dict(zip((job.notebook for job in run.plan(given)), estimates.of_run(run.plan(given)), strict=True))
    assert min(one.values()) >= estimates.NOTEBOOK_SECONDS and len(one) == 7
    three = run.plan(given | {"seeds": [0, 1, 2]})
    more = dict(zip((job.notebook for job in three), estimates.of_run(three), strict=True))
    training = one["06_distill_student"] - estimates.NOTEBOOK_SECONDS
    assert more["06_distill_student"] == pytest.approx(3 * training + estimates.NOTEBOOK_SECONDS, rel=0.05)
    assert {name: seconds for name, seconds in more.items() if name[:2] != "06"} == {
        name: seconds for name, seconds in one.items() if name[:2] != "06"
    }


def test_your_own_data_has_no_estimate(tmp_path):
    path = tmp_path / "apples.csv"
    path.write_text("question,answer\n" + "".join(f"{i} and {i}?,{2 * i}\n" for i in range(20)))
    jobs = run.plan({"run": "x", "task": "apples", "data": str(path), "answer_type": "number"})
    assert set(estimates.of_run(jobs)) == {0.0}
