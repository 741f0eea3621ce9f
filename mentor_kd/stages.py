"""Stages: what the notebooks 01 to 04 and 06 do, as functions of their parameters, run in this process.

`perform` leaves in the task's folder what the notebook leaves there, but for its figures. It knows the notebook's
parameters by name and takes all of them, so that nothing has a second default here.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from . import filters, runs, steps
from .address import EndpointSettings
from .asking import AskSettings
from .augmenters import Augmenter, augment
from .collecting import CollectSettings, collect
from .files import read_json
from .generation import Sampling
from .lora import LoraSettings
from .losses import LossSettings
from .on_policy import OnPolicySettings
from .shares import ShareSettings
from .train_settings import TrainSettings

COLLECT, MENTOR, AUGMENT, FILTER = runs.PER_TASK
AS_NAMED = ("data", "answer_type", "answer_pattern", "answer_choices", "teacher", "train_questions", "dev_questions")
AS_NAMED += ("test_questions", "test_seed", "coverage", "error_rate", "rationales", "dev_file", "last_letter_labels")
AS_NAMED += ("protocol",)


def perform(notebook: str, given: Mapping, folder: Path) -> None:
    """Do in a task's folder what a notebook does with these parameters. Raises what its step raises."""
    done = {COLLECT: _collect, MENTOR: _mentor, AUGMENT: _augment, FILTER: _filter, runs.STUDENTS: _students}
    done[notebook](given, Path(folder))


def collect_settings(given: Mapping) -> CollectSettings:
    """The settings of notebook 01's parameters."""
    ask = AskSettings(
        model=given["teacher_model"],
        temperature=given["teacher_temperature"],
        max_tokens=given["teacher_max_tokens"],
        **_same(given, "prompt", "rationales", "until_correct", "most_asked", "budget_money", "prices"),
    )
    served = ("base_url", "key_env", "in_flight", "requests_per_minute", "tokens_per_minute")
    return CollectSettings(
        **_same(given, *AS_NAMED),
        seed=given["data_seed"],
        ask=ask,
        endpoint=EndpointSettings(**_same(given, *served)),
        share=ShareSettings(given["teacher_share"], given["share_of"], given["share_seed"]),
    )


def augmenter(given: Mapping) -> Augmenter:
    """The augmenter of notebook 03's parameters."""
    ask = AskSettings(
        model=given["augmenter_model"], prompt=given["augmenter_prompt"], max_tokens=given["augmenter_max_tokens"]
    )
    endpoint = EndpointSettings(base_url=given["augmenter_url"], key_env=given["augmenter_key_env"])
    return Augmenter(given["augmenter"], given["only_missed"], ask, endpoint)


def student_settings(given: Mapping) -> TrainSettings:
    """The settings of notebook 06's parameters, for its first seed."""
    soft = _same(given, "soft_label_weight", "soft_label_temperature", "consistency_weight")
    own = {name: given[f"on_policy_{name}"] for name in ("share", "temperature", "beta")}
    return TrainSettings(
        **_same(given, "epochs", "batch_size", "accumulation", "learning_rate", "precision", "soft_label_k"),
        seed=given["seeds"][0],
        loss=LossSettings(**soft, beta=given["soft_label_beta"]),
        lora=LoraSettings(given["lora_rank"], merge=given["lora_merge"]),
        on_policy=OnPolicySettings(**own),
    )


def _same(given: Mapping, *names: str) -> dict:
    return {name: given[name] for name in names}


def _collect(given: Mapping, folder: Path) -> None:
    collect(folder, given["task"], collect_settings(given))


def _mentor(given: Mapping, folder: Path) -> None:
    settings = TrainSettings(
        **{name: given[f"mentor_{name}"] for name in ("epochs", "batch_size", "learning_rate", "seed")},
        **_same(given, "accumulation", "precision"),
        lora=LoraSettings(given["mentor_lora_rank"]),
    )
    steps.train_mentor(folder, given["mentor"], settings, given["max_length"])


def _augment(given: Mapping, folder: Path) -> None:
    sampling = Sampling(
        n=given["samples"],
        **_same(given, "temperature", "top_k", "top_p"),
        max_new_tokens=given["max_new_tokens"] or read_json(folder / "mentor" / "manifest.json")["max_new_tokens"],
        batch_size=given["generation_batch"],
        seed=given["sampling_seed"],
    )
    augment(folder, augmenter(given), sampling, given["backend"])


def _filter(given: Mapping, folder: Path) -> None:
    names = filters.parameters(filters.FilterSettings())
    steps.filter_rationales(folder, filters.from_parameters(**_same(given, *names)))


def _students(given: Mapping, folder: Path) -> None:
    settings = student_settings(given)
    for method in given["methods"]:
        for seed in given["seeds"]:
            steps.distil(folder, method, given["student"], replace(settings, seed=seed), given["max_length"])
