"""Checks of a run's values before anything starts, so that nothing fails after hours that could be seen at once."""

from . import fast, models
from .address import EndpointSettings
from .asking import AskSettings
from .augmenters import MENTOR, Augmenter
from .collecting import CollectSettings, task_for
from .files import InputError
from .filters import FilterSettings, from_parameters
from .filters import parameters as filter_parameters
from .generation import Sampling
from .lora import LoraSettings
from .losses import LossSettings
from .methods import get_method
from .on_policy import OnPolicySettings
from .shares import ShareSettings
from .training import TrainSettings


def _given(parameters: dict, **names: str) -> dict:
    """The settings among these parameters, by the names that the settings' class has for them."""
    return {setting: parameters[name] for setting, name in names.items() if name in parameters}


def check_values(subsets: dict[str, dict], tasks: list[str]) -> None:
    """Build every settings object of a run from its notebooks' parameters; InputError for the first that is wrong."""
    parameters = {name: value for subset in subsets.values() for name, value in subset.items()}
    names = ("data", "answer_type", "answer_pattern", "answer_choices", "teacher", "train_questions", "dev_questions")
    names += ("test_questions", "test_seed", "coverage", "rationales", "protocol")
    asked = ("rationales", "prompt", "until_correct", "most_asked", "budget_money", "prices")
    served = ("base_url", "route", "key_env", "in_flight", "requests_per_minute", "tokens_per_minute")
    ask = AskSettings(
        **_given(parameters, **{name: name for name in asked}, model="teacher_model"),
        **_given(parameters, temperature="teacher_temperature", max_tokens="teacher_max_tokens"),
    )
    collect = CollectSettings(
        **_given(parameters, **{name: name for name in names}, seed="data_seed"),
        ask=ask,
        share=ShareSettings(**_given(parameters, share="teacher_share", unit="share_of", seed="share_seed")),
        endpoint=EndpointSettings(**_given(parameters, **{name: name for name in served})),
    )
    for task in tasks:
        task_for(task, collect)
    TrainSettings(
        **_given(
            parameters,
            epochs="mentor_epochs",
            batch_size="mentor_batch_size",
            learning_rate="mentor_learning_rate",
            seed="mentor_seed",
        )
    )
    names = ("soft_label_weight", "soft_label_temperature", "consistency_weight")
    LossSettings(**_given(parameters, **{n: n for n in names}, beta="soft_label_beta"))
    OnPolicySettings(**_given(parameters, **{n: f"on_policy_{n}" for n in ("share", "temperature", "beta")}))
    LoraSettings(**_given(parameters, rank="lora_rank", merge="lora_merge"))
    LoraSettings(**_given(parameters, rank="mentor_lora_rank"))
    names = ("epochs", "batch_size", "learning_rate", "accumulation", "precision", "soft_label_k")
    TrainSettings(**_given(parameters, **{n: n for n in names}))
    cap = {"max_new_tokens": parameters.get("max_new_tokens") or 1}  # 0: as long as the mentor's own answers
    Sampling(
        **{"n": 3, "temperature": 0.7}
        | _given(parameters, n="samples", temperature="temperature", top_k="top_k", top_p="top_p")
        | cap
    )
    again = AskSettings(
        **_given(parameters, model="augmenter_model", prompt="augmenter_prompt", max_tokens="augmenter_max_tokens")
    )
    where = EndpointSettings(**_given(parameters, base_url="augmenter_url", key_env="augmenter_key_env"))
    Augmenter(parameters.get("augmenter", MENTOR), parameters.get("only_missed", False), again, where)
    fast.check_backend(parameters.get("backend", fast.REFERENCE))
    off = filter_parameters(FilterSettings())
    from_parameters(**off | {name: parameters[name] for name in off if name in parameters})
    for name in ("methods", "seeds"):
        if parameters.get(name) == []:
            raise InputError(f"{name} is an empty list; give at least one")
    for method in parameters.get("methods", []):
        get_method(method)
    for seed in parameters.get("seeds", []):
        TrainSettings(seed=seed)
    for name in ("mentor", "student"):
        if name in parameters:
            models.identity(parameters[name])
