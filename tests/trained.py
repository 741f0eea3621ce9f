"""Pytest plugin: tiny students of three architectures with mentors, a reference loss and training helpers."""

import pytest
import tiny
import torch

from mentor_kd.files import read_jsonl
from mentor_kd.training.losses import LossSettings
from mentor_kd.training.settings import TrainSettings
from mentor_kd.training.train import train

SETTINGS = TrainSettings(epochs=3, batch_size=4, learning_rate=3e-3)
SOFT = LossSettings(soft_label_weight=0.3, soft_label_temperature=2.0)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "llama": tiny.llama(root / "llama"),
        "llama mentor": tiny.llama(root / "llama-mentor", seed=1, width=48),
        "t5": tiny.t5(root / "t5", dropout_rate=0.0),
        "t5 mentor": tiny.t5(root / "t5-mentor", seed=1, beyond=12, d_model=48),
        "gpt2": tiny.gpt2(root / "gpt2"),
        "gpt2 mentor": tiny.gpt2(root / "gpt2-mentor", seed=1, n_layer=2),
    }


def weights(loaded):
    return {name: value.clone() for name, value in loaded.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rows_of(work):
    return [row for _, row in read_jsonl(work / "metrics.jsonl")]


def formula(loaded, examples, settings, mentor=None):
    """Reference loss of one optimiser step and its parts: text by text, token by token, without padding."""

    def logits(one, example):
        if one.encoder_decoder:
            start = one.model.config.decoder_start_token_id
            fed = {"input_ids": [example.prompt], "decoder_input_ids": [[start, *example.target[:-1]]]}
            first = 0
        else:
            fed = {"input_ids": [example.prompt + example.target]}
            first = len(example.prompt) - 1
        found = one.model(**{key: torch.tensor(value) for key, value in fed.items()}).logits[0]
        return found[first : first + len(example.target)]

    tau, lam = settings.soft_label_temperature, settings.soft_label_weight
    ce = kl = torch.tensor(0.0)
    tokens = sum(len(example.target) for example in examples)
    for example in examples:
        student = logits(loaded, example)
        for position, token in zip(student, example.target, strict=True):
            ce = ce - position.log_softmax(-1)[token]
        if mentor is not None:
            with torch.no_grad():
                taught = logits(mentor, example)
            shared = len(loaded.tokenizer)  # output entries beyond the tokenizer have no meaning
            for s, m in zip(student[:, :shared] / tau, taught[:, :shared] / tau, strict=True):
                m = m.softmax(-1)
                kl = kl + (m * (m.log() - s.log_softmax(-1))).sum()
    loss = ce / tokens if mentor is None else ((1 - lam) * ce + lam * tau**2 * kl) / tokens
    return loss, float(ce.detach()) / tokens, float(kl.detach()) / tokens


def one_step(loaded, examples, settings, work, mentor=None, **more):
    """Gradients (before clipping) and the metrics row of a one-step training over all examples."""
    gradients = {}

    def keep(name):
        def hook(parameter):
            gradients[name] = parameter.grad.clone()

        return hook

    handles = [p.register_post_accumulate_grad_hook(keep(name)) for name, p in loaded.model.named_parameters()]
    train(loaded, examples, None, settings, work, mentor, **more)
    for handle in handles:
        handle.remove()
    [row] = [row for row in rows_of(work) if "loss" in row]
    return gradients, row
