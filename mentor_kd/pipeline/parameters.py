"""Parameters: the one place where a notebook's parameters become the settings of its step.

Notebooks, checks and estimates call the same builders with a mapping of parameter names to values (a notebook passes
`globals()`). A builder raises InputError with the parameter's name for the first invalid value, so that a mistake shows
before anything is computed. Defaults are the notebooks'; if a notebook lacks a parameter, the setting has its class's
default.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..checks import as_number, require_bool, require_choice, require_integer, require_list, require_text
from ..data.folder import task_folder
from ..data.splits import ShareSettings
from ..evaluation.metrics import STUDENT
from ..files import InputError, read_record
from ..filtering import filters
from ..filtering.filters import FilterSettings
from ..models import ct2, loading
from ..models.generation import Sampling
from ..models.lora import LoraSettings
from ..models.prompts import AUTO
from ..teacher.ask import AskSettings
from ..teacher.connection import EndpointSettings
from ..training import tracking
from ..training.losses import LossSettings
from ..training.methods import MENTOR, METHODS, USUAL, get_method
from ..training.on_policy import OnPolicySettings
from ..training.settings import TrainSettings
from . import own_task
from .augment import Augmenter
from .collect import CollectSettings, task_for

Given = Mapping[str, Any]

COLLECTED = tuple(
    "data columns data_test answer_type answer_pattern answer_choices teacher train_questions dev_questions "
    "test_questions test_seed coverage error_rate rationales dev_file last_letter_labels protocol".split()
)
ASKED = ("prompt", "rationales", "until_correct", "most_asked", "rationale_from", "budget_money", "prices")
OWN = "20_bring_your_own_task"  # the notebook whose task may be empty: it is recognised from the data
SERVED = ("base_url", "key_env", "in_flight", "requests_per_minute", "tokens_per_minute")


# The settings of each step


def collect_settings(given: Given) -> CollectSettings:
    """The collection of notebooks 01 and 20."""
    asked = {name: f"teacher_{name}" for name in ("model", "temperature", "max_tokens", "conclude_tokens")}
    share = {"share": "teacher_share", "unit": "share_of", "seed": "share_seed"}
    return build(
        CollectSettings,
        given,
        _same(COLLECTED) | {"seed": "data_seed"},
        ask=build(AskSettings, given, _same(ASKED) | asked),
        endpoint=build(EndpointSettings, given, _same(SERVED)),
        share=build(ShareSettings, given, share),
    )


def mentor_settings(given: Given) -> TrainSettings:
    """The mentor's training in notebooks 02 and 20."""
    names = {name: f"mentor_{name}" for name in ("epochs", "batch_size", "learning_rate", "seed")}
    lora = build(LoraSettings, given, {"rank": "mentor_lora_rank"})
    return build(
        TrainSettings, given, names | _same(("accumulation", "precision", "prompt_format", "report_to")), lora=lora
    )


def augmenter(given: Given) -> Augmenter:
    """The augmenter of notebook 03."""
    names = {"model": "augmenter_model", "prompt": "augmenter_prompt", "max_tokens": "augmenter_max_tokens"}
    ask = build(AskSettings, given, names)
    endpoint = build(EndpointSettings, given, {"base_url": "augmenter_url", "key_env": "augmenter_key_env"})
    names = {"who": "augmenter", "only_missed": "only_missed"}
    return build(Augmenter, given, names, ask=ask, endpoint=endpoint)


def sampling(given: Given, mentor_length: int) -> Sampling:
    """The sampling of notebook 03; max_new_tokens 0 means `mentor_length`, which the mentor's training suggests."""
    _each(given, ("max_new_tokens",), require_integer, 0, "0 for the length suggested by the mentor's training")
    names = {"n": "samples", "batch_size": "generation_batch", "seed": "sampling_seed"}
    length = given.get("max_new_tokens", 0) or mentor_length
    return build(Sampling, given, names | _same(("temperature", "top_k", "top_p")), max_new_tokens=length)


def mentor_length(folder: Path) -> int:
    """The token limit of the answers of a folder's mentor, as its training suggests."""
    return read_record(Path(folder) / "mentor" / "manifest.json", max_new_tokens=int)["max_new_tokens"]


def filter_settings(given: Given) -> FilterSettings:
    """The filters of notebook 04; 0 turns a filter off."""
    _each(given, ("min_words", "max_words"), require_integer, 0, "0 for no limit")
    off = filters.parameters(FilterSettings())
    return filters.from_parameters(**{name: as_number(given.get(name, value)) for name, value in off.items()})


def student_settings(given: Given) -> TrainSettings:
    """A student's training in notebooks 06 and 20, with the first seed."""
    seeds = given.get("seeds", [0])
    check_seeds(seeds)
    loss = _same(("soft_label_weight", "soft_label_temperature", "consistency_weight")) | {"beta": "soft_label_beta"}
    own = {name: f"on_policy_{name}" for name in ("share", "temperature", "beta")}
    names = "epochs batch_size accumulation learning_rate precision prompt_format soft_label_k report_to".split()
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
    """The students of notebook 06, in order: every method with every seed."""
    methods = given.get("methods", list(USUAL))
    check_methods(methods)
    settings, seeds = student_settings(given), given.get("seeds", [0])
    return [(method, dataclasses.replace(settings, seed=seed)) for method in methods for seed in seeds]


def check_methods(methods: Any) -> None:
    """Raise InputError unless `methods` is a non-empty list of distinct names of methods."""
    require_list("methods", methods, str, empty=False)
    for method in methods:
        require_choice("methods", method, METHODS)


def check_seeds(seeds: Any) -> None:
    """Raise InputError unless `seeds` is a non-empty list of distinct integers >= 0."""
    require_list("seeds", seeds, int, empty=False)
    for seed in seeds:
        require_integer("seeds", seed)


# Checks before a run


def check_collect(given: Given) -> None:
    """Raise InputError for the first invalid parameter of notebook 01."""
    task_for(given["task"], collect_settings(given))


def check_mentor(given: Given) -> None:
    """Raise InputError for the first invalid parameter of notebook 02."""
    mentor_settings(given)
    tracking.require_packages(given.get("report_to", []))
    _each(given, ("max_length",), require_integer, 1)
    _each(given, ("mentor",), require_text, False)


def check_augment(given: Given) -> None:
    """Raise InputError for the first invalid parameter of notebook 03."""
    _each(given, ("backend",), require_text)
    ct2.check_backend(given.get("backend", ct2.REFERENCE))
    augmenter(given)
    sampling(given, mentor_length=1)


def check_filter(given: Given) -> None:
    """Raise InputError for the first invalid parameter of notebook 04."""
    filter_settings(given)
    _each(given, ("who",), require_text)


def check_lens(given: Given) -> None:
    """Raise InputError for the first invalid parameter of notebook 05."""
    _each(given, ("lens_student",), require_text)
    _each(given, ("lens_rationales",), require_integer, 1)
    name = given.get("lens_student")
    if name and not STUDENT.fullmatch(name):
        raise InputError(f"lens_student must be <method>-seed<k>, a folder in students/, got {name!r}")


def check_students(given: Given) -> None:
    """Raise InputError for the first invalid parameter of notebook 06."""
    students(given)
    tracking.require_packages(given.get("report_to", []))
    _each(given, ("max_length",), require_integer, 1)
    _each(given, ("student",), require_text, False)


def check_chart(given: Given) -> None:
    """Raise InputError for the first invalid parameter of notebook 07."""
    _each(given, ("tasks",), require_list, str)
    for task in given.get("tasks", []):
        task_folder(given["run"], task)


def check_own(given: Given) -> None:
    """Raise InputError for the first invalid parameter of notebook 20; "" means its example's data or server."""
    given = {**given, **own_task.recognised(given)}
    settings = collect_settings({**given, "base_url": given["base_url"] or "http://127.0.0.1"})
    task_for(given["task"], dataclasses.replace(settings, data=settings.data or "sandbox"))
    mentor_settings(given)
    build(Sampling, given, {"n": "samples"}, temperature=0.7)
    student_settings(given)
    require_choice("method", given["method"], METHODS)
    _each(given, ("mentor", "student"), require_text, False)


CHECKS = {
    "00_tour": lambda given: None,  # it only has the parameters run and task
    "01_collect_rationales": check_collect,
    "02_train_mentor": check_mentor,
    "03_augment_rationales": check_augment,
    "04_inspect_and_filter": check_filter,
    "05_look_inside_soft_labels": check_lens,
    "06_distill_student": check_students,
    "07_chart_accuracy": check_chart,
    OWN: check_own,
}


def check(notebook: str, given: Given) -> None:
    """Raise InputError for the first invalid parameter of one of the notebooks 00 to 07 and 20.

    A run calls it before anything starts, and each notebook in its first cell, with `globals()`. Does not check whether
    its models exist: `check_models` does, possibly with a request to the hub.
    """
    recognised = notebook == OWN and given["task"] == ""
    _each(given, ("run",) if recognised else ("run", "task"), require_text)
    task_folder(given["run"], "task" if recognised else given.get("task", "task"))
    _each(given, ("replace",), require_bool)
    CHECKS[notebook](given)


def check_models(given: Given) -> None:
    """Raise InputError if a run's mentor or student is found neither on this machine nor on the hub.

    Also if a method needs soft labels of the mentor that the student, with another tokenizer, could not use.
    """
    for name in ("mentor", "student"):
        if name in given:
            loading.identity(given[name])
    if given.keys() >= {"mentor", "student", "methods"} and needs_mentors_soft_labels(given["methods"]):
        check_tokenizers(given["mentor"], given["student"], given.get("prompt_format", AUTO))


def needs_mentors_soft_labels(methods: Iterable[str]) -> bool:
    """Whether one of the methods learns from soft labels of the run's mentor."""
    return any(get_method(name).soft_labels and get_method(name).mentor == MENTOR for name in methods)


def check_tokenizers(mentor: str, student: str, prompt_format: str = AUTO) -> None:
    """Raise InputError, naming both models, if the student cannot use the mentor's soft labels."""
    without = [name for name, one in METHODS.items() if not one.soft_labels]
    teaching, learning = (loading.in_format(loading.outline(name), prompt_format) for name in (mentor, student))
    loading.require_same_tokenizer(teaching, learning, without)


def _each(given: Given, names: Iterable[str], require: Callable, *more: Any) -> None:
    """Check the named parameters, as far as a notebook has them."""
    for name in names:
        if name in given:
            require(name, given[name], *more)


def _same(names: Iterable[str]) -> dict[str, str]:
    """Settings with the same name as their parameter."""
    return {name: name for name in names}


def build(kind: type, given: Given, names: Mapping[str, str], **more: Any) -> Any:
    """A settings object from parameters; `names` maps its fields to the parameters, which errors then name.

    Text such as 2e-5 is accepted where a field is a float: so papermill reads it from YAML.
    """
    floats = {field.name for field in dataclasses.fields(kind) if field.type is float}
    found = {field: given[name] for field, name in names.items() if name in given}
    found |= {field: as_number(value) for field, value in found.items() if field in floats}
    try:
        return kind(**found, **more)
    except InputError as error:
        field, _, rest = str(error).partition(" ")
        if field not in names:
            raise
        raise InputError(f"{names[field]} {rest}") from None
