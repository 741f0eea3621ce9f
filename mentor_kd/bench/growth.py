"""Cost of soft labels and of the loss by number of rows, vocabulary size and length, and the error of top-k labels."""

import random
import tempfile
import time
from pathlib import Path

import pandas
import torch

from ..files import InputError
from ..models import loading
from ..models.batches import Example, inputs_on_device, target_logits
from ..models.loading import IGNORED, Loaded
from ..training.chunked_loss import chunked_loss
from ..training.losses import (
    LossSettings,
    Shaped,
    States,
    TopK,
    cached_divergence,
    cross_entropy,
    distillation_loss,
    soft_label_divergence,
)
from ..training.settings import rounds_soft_labels
from ..training.soft_label_cache import HEAD, TAIL, SoftLabelSettings, with_temperature
from ..training.soft_labels import cached
from .loops import BenchSettings, apart, high_water, labels_of

LOSSES = ("plain", "chunked")


def cache_growth(
    mentor: str, student: str, examples: list[Example], rows: list[int], settings: BenchSettings, seed: int = 0
) -> pandas.DataFrame:
    """Creation time, size and random-read speed of the soft-label cache, for growing numbers of rows.

    Columns: rows, tokens (target tokens), make_seconds, bytes_per_token, layer_bytes (the mentor's output layer, or the
    smaller tail layer of the top-k form, stored once for all rows), read_tokens (per second, one thread).
    """
    lines, threads = [], torch.get_num_threads()
    for count in rows:
        chosen = [Example(f"{i}", e.prompt, e.target) for i, e in enumerate(examples * (count // len(examples) + 1))]
        chosen = chosen[:count]
        tokens = sum(len(e.target) for e in chosen)
        with tempfile.TemporaryDirectory() as place:
            started = time.perf_counter()
            labels = labels_of(mentor, student, chosen, settings, Path(place))
            made = time.perf_counter() - started
            size = sum(path.stat().st_size for path in Path(place).rglob("shard-*"))
            layer = sum(path.stat().st_size for name in (HEAD, TAIL) for path in Path(place).rglob(name))
            order = random.Random(seed).choices(chosen, k=max(200, min(count, 2000)))
            torch.set_num_threads(1)
            started = time.perf_counter()
            for i in range(0, len(order), settings.batch_size):
                labels.rows(order[i : i + settings.batch_size], settings.loss.soft_label_temperature)
            read = sum(len(e.target) for e in order) / (time.perf_counter() - started)
            torch.set_num_threads(threads)
        lines.append([count, tokens, made, size / tokens, layer, read])
    columns = ["rows", "tokens", "make_seconds", "bytes_per_token", "layer_bytes", "read_tokens"]
    return pandas.DataFrame(lines, columns=columns)


def _step(kind: str, vocabulary: int, positions: int, width: int, threads: int) -> tuple[float, float]:
    """Seconds and peak MB of the loss and its gradients, with all logits at once ("plain") or in chunks ("chunked")."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = loading.best_device()
    head = torch.nn.Linear(width, vocabulary, bias=False, device=device)
    hidden = torch.randn(positions, width, requires_grad=True, device=device)
    targets = torch.randint(0, vocabulary, (positions,), device=device)
    layer = torch.nn.Linear(width, vocabulary, bias=False, device=device).requires_grad_(False)
    mentor, settings = States(torch.randn(positions, width, device=device).half(), layer), LossSettings()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    else:
        before = high_water(reset=True)
    started = time.perf_counter()
    if kind == "plain":
        logits = head(hidden)
        ce, kl = cross_entropy(logits, targets), cached_divergence(logits, mentor, settings.soft_label_temperature)
        distillation_loss(ce, kl, positions, settings).backward()
    else:
        chunked_loss(hidden, head, targets, mentor, settings, positions)[0].backward()
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter() - started, torch.cuda.max_memory_allocated() / 2**20 - before
    return time.perf_counter() - started, high_water() - before


def loss_growth(vocabularies: list[int], positions: list[int], width: int = 64) -> pandas.DataFrame:
    """Time and memory of one loss with its gradients, each measured in a separate process.

    Columns: loss ("plain", "chunked"), vocabulary, positions, seconds, mb (increase in peak memory).
    """
    jobs = [(kind, size, count, width) for size in vocabularies for count in positions for kind in LOSSES]
    lines = [[*job[:3], *found] for job, found in zip(jobs, apart(_step, jobs), strict=True)]
    return pandas.DataFrame(lines, columns=["loss", "vocabulary", "positions", "seconds", "mb"])


def _loss(student: Loaded, examples: list[Example], mentor: Loaded | TopK | Shaped | States, settings: LossSettings):
    """The loss of a batch without dropout, its divergence per token, and its gradient as one vector."""
    inputs = inputs_on_device(examples, student)
    targets = inputs["labels"][inputs["labels"] != IGNORED]
    student.model.eval()
    student.model.zero_grad()
    logits = target_logits(student, inputs)
    if not isinstance(mentor, Loaded):
        kl = cached_divergence(logits, mentor.to(logits.device), settings.soft_label_temperature)
    else:
        shared = min(student.vocabulary, mentor.vocabulary)
        with torch.no_grad():
            taught = target_logits(mentor, inputs)
        kl = soft_label_divergence(logits[:, :shared], taught[:, :shared], settings.soft_label_temperature)
    loss = distillation_loss(cross_entropy(logits, targets), kl, len(targets), settings)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in student.model.parameters() if p.grad is not None])
    return float(loss.detach()), float(kl.detach()) / len(targets), gradient.clone()


def fidelity(
    mentor: str, student: str, examples: list[Example], others: list[Example], ks: list[int], settings: BenchSettings
) -> pandas.DataFrame:
    """Compare the loss from cached soft labels with the dense loss of the live mentor, on one batch.

    Computed in float32, except that cached labels are rounded as in training on this machine. The top-k form estimates
    the tail directions of the mentor's logits from `others`. Columns: form ("exact" for k 0, else "top-<k>"), k,
    loss_error and divergence_error (relative), cosine (of the gradients). Raises InputError if `others` is needed and
    empty.
    """
    if any(ks) and not others:
        raise InputError("top-k labels need more rationales than are compared; increase train_questions")
    taught, learns, lines, loss_settings = loading.load(mentor), loading.load(student), [], settings.loss
    device, tau = learns.model.device, loss_settings.soft_label_temperature
    vocabulary = min(taught.vocabulary, learns.vocabulary)
    dense, dense_kl, gradient = _loss(learns, examples, taught, loss_settings)
    for k in ks:
        with tempfile.TemporaryDirectory() as place:
            kept = with_temperature(SoftLabelSettings(k), tau)
            labels = cached(Path(place), "mentor", lambda: taught, vocabulary, examples, kept, basis=lambda: others)
            labels.ready(device, torch.float32, rounds_soft_labels(settings.precision, device))
            loss, kl, found = _loss(learns, examples, labels.rows(examples, tau), loss_settings)
        cosine = torch.nn.functional.cosine_similarity(found.double(), gradient.double(), dim=0)
        lines.append([f"top-{k}" if k else "exact", k, loss / dense - 1, kl / dense_kl - 1, float(cosine)])
    return pandas.DataFrame(lines, columns=["form", "k", "loss_error", "divergence_error", "cosine"])
