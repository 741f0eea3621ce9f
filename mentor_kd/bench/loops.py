"""Speed of distillation: the paper's loop, ours, and cross-entropy alone as the floor, compared in one run.

The paper's loop is reimplemented from the description of the official code (data/paper/defects.md, defects 3, 18 and
19): every row is padded to the longest of the whole set, the mentor runs a forward pass at every step, and the
divergence is dense over all positions, padding included. Ours is `training.train` itself, timed step by step, so the
measured code is the code that users run.
"""

import concurrent.futures
import contextlib
import ctypes
import gc
import io
import itertools
import math
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas
import torch
import torch.nn.functional as F
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

from ..checks import require_choice, require_integer
from ..data.folder import task_of, teacher_rows
from ..data.official import mentor_rationales
from ..data.rationales import Rationale, read_rationales
from ..files import InputError
from ..models import loading
from ..models.batches import Example, longest_rows, model_inputs, padded_to, padding_waste
from ..models.loading import IGNORED, Loaded
from ..models.shapes import GPUS, T5_SHAPES, T5Shape, own_gpu
from ..training.losses import LossSettings
from ..training.settings import TrainSettings
from ..training.soft_label_cache import SoftLabels, SoftLabelSettings, with_temperature
from ..training.soft_labels import cached
from ..training.train import plan_batches, train

SHAPES = {  # FlanT5's published sizes, plus a tiny one for CPUs
    "t5-shape-tiny": T5Shape(256, 512, 4, 4, 4),
    **{f"t5-shape-{size}": T5_SHAPES[f"FlanT5-{size}"] for size in ("small", "base", "large")},
}
LOOPS = ("paper", "ours", "floor")


@dataclass(frozen=True)
class BenchSettings:
    """Settings of the timing: batch size, steps, paired rounds, and the official limit of 512 tokens."""

    batch_size: int = 8
    steps: int = 12
    paper_steps: int = 2  # few are enough: all batches have the same shape, so the same cost
    rounds: int = 3
    max_length: int = 512
    loss: LossSettings = LossSettings()
    precision: str = "auto"  # for ours and the floor, as in TrainSettings; the paper's loop uses float32
    soft_label_k: int = 0  # soft labels of our loop: top-k, or 0 for the exact form

    def __post_init__(self) -> None:
        for name in ("batch_size", "steps", "paper_steps", "rounds", "max_length"):
            require_integer(name, getattr(self, name), 1)
        TrainSettings(precision=self.precision, soft_label_k=self.soft_label_k)  # checks both


def random_t5(folder: Path, shape: str, tokenizer: str, vocabulary: int = 32_128, dropout: float = 0.0) -> Path:
    """Save a FlanT5-shaped model with random weights (speed does not depend on them) and a tokenizer to `folder`."""
    require_choice("shape", shape, SHAPES)
    one = SHAPES[shape]
    config = T5Config(
        vocab_size=vocabulary,
        d_model=one.width,
        d_kv=one.head_width,
        d_ff=one.inner,
        num_layers=one.encoder_layers,
        num_decoder_layers=one.decoder_layers,
        num_heads=one.heads,
        feed_forward_proj="gated-gelu",
        dropout_rate=dropout,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    T5Tokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return Path(folder)


def spread(examples: list[Example], rows: int, seed: int = 0) -> list[Example]:
    """A sample of rows spread evenly over the lengths of the whole set, in random order."""
    if len(examples) < rows:
        raise InputError(f"this measurement needs {rows} rationales, got {len(examples)}; increase train_questions")
    ordered = sorted(examples, key=lambda e: len(e.prompt) + len(e.target))
    chosen = [ordered[round((i + 0.5) * len(ordered) / rows - 0.5)] for i in range(rows)]
    random.Random(seed).shuffle(chosen)
    return chosen


class PaperLoop:
    """The training loop of the official code; `longest` are the lengths to which every row is padded."""

    def __init__(self, student: Loaded, mentor: Loaded, examples: list[Example], settings: BenchSettings):
        self.student, self.mentor, self.settings = student, mentor, settings
        self.longest = longest_rows(examples, student.encoder_decoder, settings.max_length)
        self.optimizer = torch.optim.AdamW(student.model.parameters(), lr=1e-4)

    def inputs(self, rows: list[Example]) -> dict[str, torch.Tensor]:
        """A batch padded (or truncated) to the longest row of the whole set."""
        found = padded_to(model_inputs(rows, self.student), self.student, self.longest)
        return {name: value.to(self.student.model.device) for name, value in found.items()}

    def step(self, rows: list[Example]) -> None:
        inputs, loss_settings = self.inputs(rows), self.settings.loss
        labels = inputs.pop("labels")
        self.student.model.train()
        with torch.no_grad():
            taught = self.mentor.model(**inputs).logits
        logits = self.student.model(**inputs).logits
        ce = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        tau, vocabulary = loss_settings.soft_label_temperature, min(logits.shape[-1], taught.shape[-1])
        selected = labels != 0  # padding is -100, not 0: this selects all positions, padding included
        kl = F.kl_div(
            F.log_softmax(logits[..., :vocabulary][selected] / tau, -1),
            F.softmax(taught[..., :vocabulary][selected] / tau, -1),
            reduction="batchmean",
        )
        weight = loss_settings.soft_label_weight
        ((1 - weight) * ce + weight * kl).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def paper_seconds(student: str, mentor: str, examples: list[Example], settings: BenchSettings) -> float:
    """Seconds per rationale of the paper's loop, after one warm-up step."""
    loop = PaperLoop(loading.load(student), loading.load(mentor), examples, settings)
    size = settings.batch_size
    batches = itertools.cycle([examples[i : i + size] for i in range(0, len(examples) - size + 1, size)])
    loop.step(next(batches))
    started = time.perf_counter()
    for _ in range(settings.paper_steps):
        loop.step(next(batches))
    _wait(loop.student.model.device)
    return (time.perf_counter() - started) / (settings.paper_steps * settings.batch_size)


def our_seconds(student: str, labels: SoftLabels | None, examples: list[Example], settings: BenchSettings) -> float:
    """Seconds per rationale of `training.train` on one epoch of the examples, without the first step."""
    loaded, times = loading.load(student), []

    def stamp() -> bool:
        _wait(loaded.model.device)
        times.append(time.perf_counter())
        return False

    train_settings = TrainSettings(
        epochs=1,
        batch_size=settings.batch_size,
        loss=settings.loss,
        save_minutes=1e9,
        learning_rate=1e-4,
        precision=settings.precision,
    )
    plan = plan_batches(examples, loaded.encoder_decoder, train_settings)
    with tempfile.TemporaryDirectory() as work:
        train(loaded, examples, None, train_settings, Path(work), labels, label="bench", stop=stamp)
    rows = sum(map(len, plan.epoch(0)[1:]))
    return (times[-1] - times[0]) / rows


def labels_of(mentor: str, student: str, examples: list[Example], settings: BenchSettings, folder: Path) -> SoftLabels:
    """The mentor's soft labels for these examples, cached in `folder`."""
    vocabulary = min(loading.outline(student).vocabulary, loading.outline(mentor).vocabulary)
    kept = with_temperature(SoftLabelSettings(settings.soft_label_k), settings.loss.soft_label_temperature)
    return cached(folder, loading.identity(mentor), lambda: loading.load(mentor), vocabulary, examples, kept)


def seconds_of(
    loop: str, student: str, mentor: str, examples: list[Example], settings: BenchSettings, labels: SoftLabels
) -> float:
    """Seconds per rationale of one loop: "paper", "ours" or "floor"."""
    if loop == "paper":
        return paper_seconds(student, mentor, examples, settings)
    return our_seconds(student, labels if loop == "ours" else None, examples, settings)


def flops(loaded: Loaded, examples: list[Example]) -> float:
    """Useful FLOPs of training on these examples once: 6 per weight and real token."""
    head = loaded.model.get_output_embeddings().weight
    targets, prompts = sum(len(e.target) for e in examples), sum(len(e.prompt) for e in examples)

    def body(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters() if p.shape != head.shape)  # embeddings are only looked up

    if loaded.encoder_decoder:
        work = body(loaded.model.get_encoder()) * prompts + body(loaded.model.get_decoder()) * targets
    else:
        work = body(loaded.model) * (prompts + targets)
    return 6.0 * (work + head.numel() * targets)


def peak_flops() -> float:
    """Peak bf16 FLOP/s of the device; NaN if unknown, as for a CPU, which has no single figure."""
    return 1e12 * GPUS[own_gpu()].tflops if own_gpu() != "cpu" else math.nan


def compare(student: str, mentor: str, examples: list[Example], settings: BenchSettings) -> pandas.DataFrame:
    """Time the three loops in turn, round after round, on the same rows: one line per loop and round.

    Columns: loop, round, seconds (per rationale), rationales (per second), tokens (real prompt and target tokens per
    second), slots (token slots per real token), mfu (model FLOPs utilisation, NaN if the device's peak is unknown).
    """
    chosen = spread(examples, settings.batch_size * settings.steps)
    loaded = loading.outline(student)
    tokens = sum(len(e.prompt) + len(e.target) for e in chosen) / len(chosen)
    work = flops(loaded, chosen) / len(chosen)
    train_settings = TrainSettings(epochs=1, batch_size=settings.batch_size)
    kind = loaded.encoder_decoder
    ours = padding_waste(chosen, plan_batches(chosen, kind, train_settings).epoch(0), kind)
    paper = sum(PaperLoop(loaded, loaded, examples, settings).longest) / tokens
    lines = []
    with tempfile.TemporaryDirectory() as place:
        labels = labels_of(mentor, student, chosen, settings, Path(place))
        for number, loop in itertools.product(range(settings.rounds), LOOPS):
            rows = examples if loop == "paper" else chosen
            seconds = seconds_of(loop, student, mentor, rows, settings, labels)
            slots = paper if loop == "paper" else ours
            lines.append([loop, number, seconds, 1 / seconds, tokens / seconds, slots, work / seconds / peak_flops()])
    columns = ["loop", "round", "seconds", "rationales", "tokens", "slots", "mfu"]
    return pandas.DataFrame(lines, columns=columns)


def ratios(table: pandas.DataFrame) -> pandas.DataFrame:
    """Ratios of seconds, paired by round of `compare`: paper over ours, ours over floor; median, min and max."""
    seconds = table.pivot(index="round", columns="loop", values="seconds")
    pairs = pandas.DataFrame(
        {"paper / ours": seconds["paper"] / seconds["ours"], "ours / floor": seconds["ours"] / seconds["floor"]}
    )
    return pairs.agg(["median", "min", "max"]).T


def cost_of_distillation(table: pandas.DataFrame, labels_seconds: float, rows: int, epochs: int) -> pandas.DataFrame:
    """Seconds (and total hours) to train one student with each loop: its epochs, and for ours the mentor's pass."""
    each = table.groupby("loop", sort=False)["seconds"].median()
    total = pandas.DataFrame({"epochs": each * rows * epochs, "mentor's pass": 0.0})
    total.loc["ours", "mentor's pass"] = labels_seconds * rows
    total["hours"] = total.sum(axis=1) / 3600
    return total


def high_water(reset: bool = False) -> float:
    """Peak memory of this process in MB; on Linux, `reset` restarts the peak from the memory in use."""
    if reset and sys.platform == "linux":
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # else reuse of freed memory would not be counted
        Path("/proc/self/clear_refs").write_text("5")
    if sys.platform == "linux":
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def _quietly(function: Callable, *arguments):
    """Call without progress lines, which a subprocess would print outside the notebook's own."""
    with contextlib.redirect_stderr(io.StringIO()):
        return function(*arguments)


def apart(function: Callable, jobs: list[tuple]) -> list:
    """Results of a function of this package for each job, run one after another in a separate process.

    Where the system supports it, the process is forked from a server that has only imported this module, so the slow
    import happens once.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload([__name__])
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return [pool.submit(_quietly, function, *job, torch.get_num_threads()).result() for job in jobs]


def _peak(
    loop: str, student: str, mentor: str, examples: list[Example], settings: BenchSettings, threads: int
) -> float:
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as place:
        labels = labels_of(mentor, student, examples, settings, Path(place)) if loop == "ours" else None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        before = high_water(reset=True)
        seconds_of(loop, student, mentor, examples, settings, labels)
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**20
        return high_water() - before


def peak_memory(student: str, mentor: str, examples: list[Example], settings: BenchSettings) -> pandas.Series:
    """Peak memory in MB of training by each loop: the increase of the process, or on a GPU all that torch allocated."""
    found = apart(_peak, [(loop, student, mentor, examples, settings) for loop in LOOPS])
    return pandas.Series(found, index=pandas.Index(LOOPS, name="loop"), name="MB")


def distillation_set(folder: Path, data: str) -> list[Rationale]:
    """The correct rationales of teacher and mentor; for data "official" the mentor's are the published ones.

    Only the teacher's if the mentor has not written any yet.
    """
    task, rows = task_of(folder), [row for row in teacher_rows(folder) if row.correct]
    if data == "official":
        asked = {row.question_id for row in rows}
        return rows + [row for row in mentor_rationales(task) if row.correct and row.question_id in asked]
    written = folder / "augmented" / "mentor.jsonl"
    return rows + [row for row in read_rationales(written) if row.correct] if written.exists() else rows


def model_for(name: str, place: Path, tokenizer: str) -> str:
    """Return a model's name or path unchanged; one of SHAPES is first created in `place` with random weights."""
    if name not in SHAPES:
        return name
    folder = Path(place) / name
    if not (folder / "model.safetensors").exists():
        random_t5(folder, name, tokenizer)
    return str(folder)


def warmed(model: str, examples: list[Example], steps: int, place: Path, settings: BenchSettings) -> str:
    """Train a copy of the model for some steps, so that its distributions are not flat. Returns the copy's folder."""
    if not steps:
        return model
    loaded = loading.load(model)
    train_settings = TrainSettings(
        epochs=1, batch_size=settings.batch_size, steps=steps, learning_rate=1e-3, save_minutes=1e9
    )
    with tempfile.TemporaryDirectory() as work:
        train(loaded, examples, None, train_settings, Path(work), label=f"{Path(model).name} before")
    loading.save(place, loaded, {"name": Path(model).name, "summary": "Trained for some steps to be measured."})
    return str(place)
