"""Notebook 90's parameters as settings for timing the loops and sampling."""

from collections.abc import Mapping
from typing import Any

from ..checks import require_choice, require_integer, require_list, require_text
from ..data.folder import task_folder
from ..data.tasks import TASKS
from ..pipeline.parameters import build
from .loops import BenchSettings
from .sampling import SamplingBench


def bench_settings(given: Mapping[str, Any]) -> BenchSettings:
    """Settings for timing the loops."""
    names = {name: name for name in ("batch_size", "paper_steps", "rounds", "precision", "soft_label_k")}
    return build(BenchSettings, given, names | {"steps": "bench_steps"})


def sampling_settings(given: Mapping[str, Any]) -> SamplingBench:
    """Settings for timing sampling."""
    require_list("backends", given["backends"], str, empty=False)
    names = {"n": "samples", "batch_size": "sample_batch", "length": "text_length", "rounds": "rounds"}
    return build(SamplingBench, given, names, ways=tuple(given["backends"]))


def check(given: Mapping[str, Any]) -> None:
    """Raise InputError for the first invalid parameter of notebook 90."""
    task_folder(given["run"], given["task"])
    require_choice("task", given["task"], TASKS)
    require_choice("data", given["data"], ("sandbox", "official"))
    bench_settings(given)
    sampling_settings(given)
    for name in ("mentor", "student", "tokenizer"):
        require_text(name, given[name], empty=False)
    for name, least in (("train_questions", 0), ("warm_steps", 0), ("threads", 0)):
        require_integer(name, given[name], least)
    for name in ("sample_questions", "natural_questions"):
        require_integer(name, given[name], 1)
    for name in ("vocabularies", "positions", "cache_rows"):
        require_list(name, given[name], int, empty=False)
        for value in given[name]:
            require_integer(name, value, 1)
