"""Parameters: the one place where a notebook's parameters become the settings of its step.

Notebooks, stages, checks and estimates call the same builders, each with a mapping of parameter names to values (a
notebook passes `globals()`). A builder raises InputError with the parameter's name for the first value that is wrong,
so that a mistake shows before anything is computed. The defaults are the notebooks'; a notebook that lacks a parameter
leaves the setting at the default of its class.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..checks import require_choice, require_integer, require_list, require_text
from ..data.folder import task_folder
from ..data.splits import ShareSettings
from ..evaluation.metrics import STUDENT
from ..files import InputError, read_json
from ..filtering import filters
from ..filtering.filters import FilterSettings
from ..models import ct2, loading
from ..models.generation import Sampling
from ..models.lora import LoraSettings
from ..teacher.ask import AskSettings
from ..teacher.connection import EndpointSettings
from ..training.losses import LossSettings
from ..training.methods import METHODS, USUAL
from ..training.on_policy import OnPolicySettings
from ..training.settings import TrainSettings
from .augment import Augmenter
from .collect import CollectSettings, task_for

Given = Mapping[str, Any]

COLLECTED = ("data", "answer_type", "answer_pattern", "answer_choices", "teacher", "train_questions", "dev_questions")
COLLECTED += ("test_questions", "test_seed", "coverage", "error_rate", "rationales", "dev_file", "last_letter_labels")
COLLECTED += ("protocol",)
ASKED = ("prompt", "rationales", "until_correct", "most_asked", "budget_money", "prices")
SERVED = ("base_url", "key_env", "in_flight", "requests_per_minute", "tokens_per_minute")


# The settings of each step


def collect_settings(given: Given) -> CollectSettings:
    """What notebook 01 collects, and notebook 20."""
    names = {"model": "teacher_model", "temperature": "teacher_temperature", "max_tokens": "teacher_max_tokens"}
    share = {"share": "teacher_share", "unit": "share_of", "seed": "share_seed"}
    return build(
        CollectSettings,
        given,
        _same(COLLECTED) | {"seed": "data_seed"},
        ask=build(AskSettings, given, _same(ASKED) | names),
        endpoint=build(EndpointSettings, given, _same(SERVED)),
        share=build(ShareSettings, given, share),
    )


def mentor_settings(given: Given) -> TrainSettings:
    """How notebooks 02 and 20 train the mentor."""
    names = {name: f"mentor_{name}" for name in ("epochs", "batch_size", "learning_rate", "seed")}
    lora = build(LoraSettings, given, {"rank": "mentor_lora_rank"})
    return build(TrainSettings, given, names | _same(("accumulation", "precision")), lora=lora)


def augmenter(given: Given) -> Augmenter:
    """Who writes in notebook 03."""
    names = {"model": "augmenter_model", "prompt": "augmenter_prompt", "max_tokens": "augmenter_max_tokens"}
    ask = build(AskSettings, given, names)
    endpoint = build(EndpointSettings, given, {"base_url": "augmenter_url", "key_env": "augmenter_key_env"})
    names = {"who": "augmenter", "only_missed": "only_missed"}
    return build(Augmenter, given, names, ask=ask, endpoint=endpoint)


def sampling(given: Given, mentor_length: int) -> Sampling:
    """How notebook 03 samples; max_new_tokens 0 stands for `mentor_length`, the length that its training suggests."""
    _each(given, ("max_new_tokens",), require_integer, 0, "0 for the length that the training suggests")
    names = {"n": "samples", "batch_size": "generation_batch", "seed": "sampling_seed"}
    length = given.get("max_new_tokens", 0) or mentor_length
    return build(Sampling, given, names | _same(("temperature", "top_k", "top_p")), max_new_tokens=length)


def mentor_length(folder: Path) -> int:
    """The longest answer of a folder's mentor in tokens, as its training suggests."""
    return read_json(Path(folder) / "mentor" / "manifest.json")["max_new_tokens"]


def filter_settings(given: Given) -> FilterSettings:
    """What notebook 04 drops, where 0 stands for a filter that is off."""
    _each(given, ("min_words", "max_words"), require_integer, 0, "0 for no limit")
    off = filters.parameters(FilterSettings())
    return filters.from_parameters(**{name: given.get(name, value) for name, value in off.items()})


def student_settings(given: Given) -> TrainSettings:
    """How notebooks 06 and 20 train a student, with the first seed."""
    seeds = given.get("seeds", [0])
    check_seeds(seeds)
    loss = _same(("soft_label_weight", "soft_label_temperature", "consistency_weight")) | {"beta": "soft_label_beta"}
    own = {name: f"on_policy_{name}" for name in ("share", "temperature", "beta")}
    names = ("epochs", "batch_size", "accumulation", "learning_rate", "precision", "soft_label_k")
    return build(
        TrainSettings,
        given,
        _same(names),
        seed=seeds[0],
        loss=build(LossSettings, given, loss),
        lora=build(LoraSettings, given, {"rank": "lora_rank", "merge": "lora_merge"}),
        on_policy=build(OnPolicySettings, given, own),
    )


def students(given: Given) -> list[tuple[str, TrainSettings]]:
    """The students of notebook 06 in order: every method with every seed."""
    methods = given.get("methods", list(USUAL))
    require_list("methods", methods, str, empty=False)
    for method in methods:
        require_choice("methods", method, METHODS)
    settings, seeds = student_settings(given), given.get("seeds", [0])
    return [(method, dataclasses.replace(settings, seed=seed)) for method in methods for seed in seeds]


def check_seeds(seeds: object) -> None:
    """InputError where these are not seeds: a list of integers from 0."""
    require_list("seeds", seeds, int, empty=False)
    for seed in seeds:
        require_integer("seeds", seed)


# Checks before a run


def check_collect(given: Given) -> None:
    """InputError for the first parameter of notebook 01 that is wrong."""
    task_for(given["task"], collect_settings(given))


def check_mentor(given: Given) -> None:
    """InputError for the first parameter of notebook 02 that is wrong."""
    mentor_settings(given)
    _each(given, ("max_length",), require_integer, 1)
    _each(given, ("mentor",), require_text, False)


def check_augment(given: Given) -> None:
    """InputError for the first parameter of notebook 03 that is wrong."""
    _each(given, ("backend",), require_text)
    ct2.check_backend(given.get("backend", ct2.REFERENCE))
    augmenter(given)
    sampling(given, mentor_length=1)


def check_filter(given: Given) -> None:
    """InputError for the first parameter of notebook 04 that is wrong."""
    filter_settings(given)
    _each(given, ("who",), require_text)


def check_lens(given: Given) -> None:
    """InputError for the first parameter of notebook 05 that is wrong."""
    _each(given, ("lens_student",), require_text)
    _each(given, ("lens_rationales",), require_integer, 1)
    name = given.get("lens_student")
    if name and not STUDENT.fullmatch(name):
        raise InputError(f"lens_student must be <method>-seed<k>, a folder in students/, got {name!r}")


def check_students(given: Given) -> None:
    """InputError for the first parameter of notebook 06 that is wrong."""
    students(given)
    _each(given, ("max_length",), require_integer, 1)
    _each(given, ("student",), require_text, False)


def check_chart(given: Given) -> None:
    """InputError for the first parameter of notebook 07 that is wrong."""
    _each(given, ("tasks",), require_list, str)
    for task in given.get("tasks", []):
        task_folder(given["run"], task)


def check_own(given: Given) -> None:
    """InputError for the first parameter of notebook 20 that is wrong; "" stands for its own example or server."""
    settings = collect_settings({**given, "base_url": given["base_url"] or "http://127.0.0.1"})
    task_for(given["task"], dataclasses.replace(settings, data=settings.data or "sandbox"))
    mentor_settings(given)
    build(Sampling, given, {"n": "samples"}, temperature=0.7)
    student_settings(given)
    require_choice("method", given["method"], METHODS)
    _each(given, ("mentor", "student"), require_text, False)


CHECKS = {
    "00_tour": lambda given: None,  # it has no parameters but run and task
    "01_collect_rationales": check_collect,
    "02_train_mentor": check_mentor,
    "03_augment_rationales": check_augment,
    "04_inspect_and_filter": check_filter,
    "05_look_inside_soft_labels": check_lens,
    "06_distill_student": check_students,
    "07_chart_accuracy": check_chart,
    "20_bring_your_own_task": check_own,
}


def check(notebook: str, given: Given) -> None:
    """InputError for the first wrong value among all parameters of one of the notebooks 00 to 07 and 20.

    Whether its models are found is another question, which `check_models` answers: a hub may be asked for it.
    """
    task_folder(given["run"], given.get("task", "task"))
    CHECKS[notebook](given)


def check_models(given: Given) -> None:
    """InputError where a run's mentor or student is not found, neither here nor on the hub."""
    for name in ("mentor", "student"):
        if name in given:
            loading.identity(given[name])


def _each(given: Given, names: Iterable[str], require: Callable, *more: Any) -> None:
    """Check those of these parameters that a notebook has."""
    for name in names:
        if name in given:
            require(name, given[name], *more)


def _same(names: Iterable[str]) -> dict[str, str]:
    """Settings that have the name of their parameter."""
    return {name: name for name in names}


def build(kind: type, given: Given, names: Mapping[str, str], **more: Any) -> Any:
    """An object of a settings class from parameters; `names` maps its fields to theirs, which an error then names."""
    try:
        return kind(**{field: given[name] for field, name in names.items() if name in given}, **more)
    except InputError as error:
        field, _, rest = str(error).partition(" ")
        if field not in names:
            raise
        raise InputError(f"{names[field]} {rest}") from None
