"""Estimates of a stage before it runs: rationales, optimiser steps, memory and time on a given GPU.

FLOPs: 2 per weight and token in a forward pass. The encoder's weights count for the question's tokens, those of the
decoder and the output layer for the rationale's tokens; embeddings are left out. Training costs three forward passes
(two with LoRA: the frozen weights get no gradients).
Training time: FLOPs / (peak x MFU), but at least LAYER_SECONDS per layer and step, because small models are limited by
kernel launches, not arithmetic.
Generation time: for each token of the longest text in a batch, the time to read the decoder's weights or TOKEN_SECONDS
per decoder layer, whichever is longer.
Memory: weights, gradients and AdamW's two moments in float32 (16 bytes per weight, 4 per weight that LoRA freezes),
plus the activations of one micro-batch.

Use the estimates for planning: they can be wrong by a factor of two or three.
"""

import csv
import functools
import math
from dataclasses import dataclass, replace

from ..data import sandbox
from ..evaluation.published import MODELS
from ..files import DATA, InputError, read_text
from ..models import loading
from ..models.shapes import GPUS, T5_SHAPES, Gpu, own_gpu
from ..training.methods import METHODS
from . import notebooks
from .grids import MENTOR, Stage
from .jobs import Job

MFU = 0.30  # model FLOPs utilisation: share of the peak reached when training a large model
LAYER_SECONDS = 2e-3  # minimum per layer of a training step: forward, backward and update
TOKEN_SECONDS = 1e-3  # minimum per generated token and decoder layer
LONGEST = 1.6  # length of a batch's longest text relative to the mean
PADDING = 1.1  # token slots per real token
ACTIVATION_BYTES = 34  # per token, layer and unit of width (Korthikanti et al., 2022)
NOTEBOOK_SECONDS = 20  # to start a notebook
LOCAL_TEACHER_GB = 40.0  # an 8B model in float32; its time is not estimated
CONTEXT_GB = 1.0  # memory of a process before it loads a model


@dataclass(frozen=True)
class Shape:
    """A model's numbers of weights (total, encoder layers, decoder layers, output layer), decoder layers and width."""

    parameters: int
    encoder: int
    decoder: int
    head: int
    layers: int  # decoder layers
    width: int


@dataclass(frozen=True)
class Size:
    """A task's data: questions per split, rationales kept (teacher, mentor), mentor samples, mean lengths in tokens."""

    train: int
    dev: int
    test: int
    teacher: int
    mentor: int
    samples: int
    source: float
    target: float
    note: str = ""


@dataclass(frozen=True)
class Estimate:
    """Cost of a stage: rationales, optimiser steps, memory in GB, seconds. Soft labels are shared, so counted apart."""

    model: str
    parameters: int
    rationales: int
    steps: int
    memory: float
    seconds: float
    soft_label_seconds: float = 0.0
    note: str = ""


def t5_shape(name: str) -> Shape:
    """Shape of one of the paper's models, computed from its configuration without access to the hub."""
    one = T5_SHAPES[name]
    attention, feed = 4 * one.width * one.head_width * one.heads, (3 if one.gated else 2) * one.width * one.inner
    encoder = one.encoder_layers * (attention + feed + 2 * one.width) + one.width + 32 * one.heads
    decoder = one.decoder_layers * (2 * attention + feed + 3 * one.width) + one.width + 32 * one.heads
    head = 32128 * one.width
    total = encoder + decoder + head * (2 if one.gated else 1)
    return Shape(total, encoder, decoder, head, one.decoder_layers, one.width)


@functools.cache
def shape(name: str) -> Shape:
    """Shape of a model given by its name in the paper, hub id or local folder. Raises InputError if it is not found."""
    known = {hub: label for label, hub in MODELS.items()}
    if (label := known.get(name, name)) in T5_SHAPES:
        return t5_shape(label)
    loaded = loading.outline(name)
    config, head = loaded.model.config, loaded.model.get_output_embeddings().weight.numel()
    total = loaded.parameters
    body = total - loaded.model.get_input_embeddings().weight.numel()
    body -= 0 if getattr(config, "tie_word_embeddings", True) else head
    encoder = sum(p.numel() for p in loaded.model.get_encoder().parameters()) if config.is_encoder_decoder else 0
    encoder = max(0, encoder - (total - body)) if encoder else 0
    layers = getattr(config, "num_decoder_layers", None) or config.num_hidden_layers
    return Shape(total, encoder, body - encoder, head, layers, config.hidden_size)


@functools.cache
def _published() -> dict[str, dict]:
    rows = csv.DictReader(read_text(DATA / "paper" / "datasets.csv").splitlines())
    return {row["task"]: row for row in rows}


@functools.cache
def _sandbox(task: str, model: str) -> tuple[int, int, int, float, float]:
    """Questions per split, and the mean tokens of question and rationale over the first 100 training questions."""
    loaded, questions = loading.outline(model), sandbox.load_questions(task)
    train = [q for q in questions if q.split == "train"]
    texts = [text for *_, text in sandbox.annotate(train[:100], sandbox.TeacherSettings(coverage=1.0, n=1))]
    source = [len(loaded.prompt(q.question)) for q in train[:100]]
    target = [len(loaded.target(text)) for text in texts]
    counts = [sum(q.split == split for q in questions) for split in ("train", "dev", "test")]
    return (*counts, sum(source) / len(source), sum(target) / len(target))


def size(parameters: dict) -> Size | None:
    """Size of a task's data, given the parameters of all notebooks; None for your own data."""
    task, given = parameters["task"], lambda name, every: min(parameters[name] or every, every)
    if parameters["data"] == "official" and task in _published():
        row = _published()[task]
        every = given("train_questions", int(row["train"]))
        own_dev = parameters["dev_file"] or parameters.get("protocol") == "paper"
        dev = 0 if own_dev else parameters["dev_questions"] or every // 5
        train, share, kept = every - dev, int(row["explained"]) / int(row["train"]), float(row["kept"])
        test, source, target = given("test_questions", int(row["test"])), row["source_tokens"], row["target_tokens"]
        note = row["note"]
    elif parameters["data"] == "sandbox":
        counts = _sandbox(task, loading.SANDBOX_MODELS[0])
        splits = zip(("train_questions", "dev_questions", "test_questions"), counts, strict=False)
        train, dev, test = (given(name, count) for name, count in splits)
        share, kept, source, target = parameters["coverage"] * 0.8, 0.5, counts[3], counts[4]
        note = "assumes that half of the mentor's samples are correct"
    else:
        return None
    used = parameters.get("teacher_share", 1.0)
    teacher = max(1, round(train * share * parameters["rationales"] * used))
    asked = max(1, round(train * (1 - share * used))) if parameters.get("only_missed") else train
    samples = asked * parameters["samples"]
    return Size(train, dev, test, teacher, round(samples * kept), samples, float(source), float(target), note)


def forward(one: Shape, rows: float, size: Size) -> float:
    """FLOPs of one forward pass over `rows` rationales."""
    source = one.encoder or one.decoder  # a decoder-only model reads the question with its decoder layers
    return 2 * rows * (source * size.source + (one.decoder + one.head) * size.target)


def writing(one: Shape, texts: int, batch: int, size: Size, gpu: Gpu) -> float:
    """Seconds to generate `texts` texts."""
    token = max(TOKEN_SECONDS * one.layers * _slow(gpu), 4 * (one.decoder + one.head) / (gpu.bandwidth * 1e9))
    steps = math.ceil(texts / batch) * LONGEST * size.target
    return max(steps * token, forward(one, texts, size) / (gpu.tflops * 1e12 * MFU))


def training(one: Shape, rows: int, epochs: int, batch: int, size: Size, gpu: Gpu, lora: bool) -> tuple[int, float]:
    """Optimiser steps and seconds of training, evaluations not included."""
    steps = epochs * math.ceil(rows / batch)
    flops = (2 if lora else 3) * forward(one, rows * epochs, size) * PADDING
    layers = one.layers * (2 if one.encoder else 1)
    return steps, max(flops / (gpu.tflops * 1e12 * MFU), steps * layers * LAYER_SECONDS * _slow(gpu))


def _slow(gpu: Gpu) -> float:
    """Factor for launch times: a CPU starts an operation faster than a GPU."""
    return 0.2 if gpu.tflops < 1 else 1.0


def memory(one: Shape, rows: int, size: Size, rank: int) -> float:
    """GB to train with micro-batches of `rows` rows; `rank` is LoRA's, 0 for full fine-tuning."""
    adapters = 2 * rank * one.width * 2 * 3 * one.layers
    weights = 4 * one.parameters + 16 * adapters if rank else 16 * one.parameters
    tokens = rows * LONGEST * ((size.source if one.encoder else 0) + size.target * (1.3 if one.encoder else 1))
    return CONTEXT_GB + (weights + ACTIVATION_BYTES * tokens * one.layers * one.width) / 1e9


def estimate(stage: Stage, gpu: Gpu) -> Estimate:
    """Cost of a stage on a GPU. Raises InputError if a local model is not found."""
    every = stage.every
    found, notebook = size({"samples": 0} | every), stage.notebook
    asked = notebook.startswith("01") and every.get("teacher") == "local"  # by a model of several billion weights
    nothing = Estimate("", 0, 0, 0, LOCAL_TEACHER_GB if asked else 0.5, NOTEBOOK_SECONDS)
    if found is None:
        return Estimate("", 0, 0, 0, 4.0, 0.0, note="not estimated for your own data")
    if notebook.startswith("02"):
        return _model(every["mentor"], found.teacher, "mentor_", every, found, gpu)
    if notebook.startswith("03") and every.get("augmenter") not in (None, MENTOR):
        return replace(nothing, memory=LOCAL_TEACHER_GB if every["augmenter"] == "local" else 0.5)
    if notebook.startswith("03"):
        one, batch = shape(every["mentor"]), every["generation_batch"]
        seconds = NOTEBOOK_SECONDS + writing(one, found.samples, batch, found, gpu)
        gb = CONTEXT_GB + 4 * one.parameters / 1e9
        return Estimate(every["mentor"], one.parameters, found.samples, 0, gb, seconds, note=found.note)
    if notebook == notebooks.STUDENTS:
        method = METHODS[every["methods"][0]]
        written = {"teacher": found.teacher, "mentor": found.mentor}
        rows = sum(written[one] for one in method.sources) or found.train  # without sources: bare answers
        epochs = every["epochs"] if method.tuned else 0
        made = _model(every["student"], rows, "", every | {"epochs": epochs}, found, gpu, method.steps_of)
        if not method.soft_labels:
            return made
        mentor = shape(every["mentor"])  # the first student to need the soft labels also loads the mentor
        both = CONTEXT_GB + 4 * (mentor.parameters + made.parameters) / 1e9
        seconds = forward(mentor, rows, found) / (gpu.tflops * 1e12 * MFU)
        return replace(made, memory=max(made.memory, both), soft_label_seconds=seconds)
    return nothing


def _model(name: str, rows: int, prefix: str, every: dict, size: Size, gpu: Gpu, steps_of: str = "") -> Estimate:
    """Cost of training a mentor or student, with an evaluation on dev after each epoch and one on test."""
    one, epochs, batch = shape(name), every[f"{prefix}epochs"], every[f"{prefix}batch_size"]
    rank = every.get(f"{prefix}lora_rank", 0)
    trained = size.teacher + size.mentor if steps_of in METHODS and "mentor" in METHODS[steps_of].sources else rows
    steps, seconds = training(one, trained, epochs, batch, size, gpu, bool(rank))
    seconds += epochs * writing(one, size.dev, 64, size, gpu) + writing(one, size.test, 64, size, gpu)
    gb = memory(one, math.ceil(batch / every.get("accumulation", 1)), size, rank)
    return Estimate(name, one.parameters, rows, steps, gb, NOTEBOOK_SECONDS + seconds, note=size.note)


def kind(stage: Stage) -> str:
    """Short name of what a stage produces."""
    names = {"01": "questions", "02": MENTOR, "03": "mentor's samples", "04": "filtered"}
    return names.get(stage.notebook[:2]) or stage.parameters["methods"][0]


def title(stage: Stage) -> str:
    """A stage in words: its task, what it produces, and the seed of a student."""
    own = stage.parameters
    seed = f", seed {own['seeds'][0]}" if stage.notebook == notebooks.STUDENTS else ""
    return f"{own['task']}, {kind(stage)}{seed}"


def of_run(jobs: list[Job]) -> list[float]:
    """Seconds of each notebook of a run on this machine, 0 where they cannot be estimated."""
    known = {job.notebook: notebooks.known_parameters(job.notebook) for job in jobs}
    every = {name: facts["default"] for facts_of in known.values() for name, facts in facts_of.items()}
    every |= {name: value for job in jobs for name, value in job.parameters.items()}
    return [_of_job(job.notebook, every | job.parameters) for job in jobs]


def _of_job(notebook: str, given: dict) -> float:
    """Seconds of a notebook with the parameters of a whole run; 06 trains a student for each method and seed."""
    each = [{"methods": [m], "seeds": [s]} for m in given.get("methods", []) for s in given.get("seeds", [])]
    stages = [Stage(notebook, given | one, "") for one in (each if notebook == notebooks.STUDENTS else [{}])]
    try:
        found = [estimate(stage, GPUS[own_gpu()]) for stage in stages]
    except (InputError, KeyError):  # a model that is only on the hub, or a notebook with fewer parameters
        return 0.0
    if not found or not all(one.seconds for one in found):
        return 0.0
    once = max(one.soft_label_seconds for one in found) - NOTEBOOK_SECONDS * (len(found) - 1)
    return sum(one.seconds for one in found) + once
