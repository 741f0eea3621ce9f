"""Tiny models of three architectures with tokenizers, saved to a folder in the format of a hub model.

Their weights are random: tests check how models are fed, trained and read, never what they know.
"""

import functools
import json
import os
import shutil
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from mentor_kd.data.sandbox import FAMILIES, explain, make_questions, read_question
from mentor_kd.models.batches import Example
from mentor_kd.models.loading import Loaded
from mentor_kd.models.prompts import encode_prompt, encode_target
from mentor_kd.pretraining.pretrain import build_tokenizer

sandbox_tokenizer = functools.cache(build_tokenizer)


@functools.cache
def texts() -> tuple[str, ...]:
    """Sandbox questions and rationales, used to train the tokenizers."""
    rows = []
    for family in FAMILIES:
        for question in make_questions(family, 20, seed=7):
            rows += [question.question, explain(read_question(family, question.question))]
    return tuple(rows)


def llama(folder: Path, seed: int = 0, width: int = 32, layers: int = 1, **config) -> Path:
    """A Llama-style decoder with the sandbox's tokenizer."""
    tokenizer = sandbox_tokenizer()
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "initializer_range": 0.2,  # large, so that greedy texts differ
    }
    torch.manual_seed(seed)
    return save(folder, LlamaForCausalLM(LlamaConfig(**settings | config)), tokenizer)


@functools.cache
def bpe_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer like GPT-2's: an end-of-text token, no pad token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts(), trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>"
    )


def gpt2(folder: Path, seed: int = 0, **config) -> Path:
    """A GPT-2-style decoder: learned positions, dropout, no pad token."""
    tokenizer = bpe_tokenizer()
    settings = {
        "vocab_size": len(tokenizer),
        "n_embd": 32,
        "n_layer": 1,
        "n_head": 2,
        "n_positions": 512,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "initializer_range": 0.2,
    }
    torch.manual_seed(seed)
    return save(folder, GPT2LMHeadModel(GPT2Config(**settings | config)), tokenizer)


@functools.cache
def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """A small Unigram tokenizer with T5's special tokens; like T5's, it appends EOS to its inputs."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", padding_side="right"
    )


def t5(folder: Path, seed: int = 0, beyond: int = 4, **config) -> Path:
    """A FlanT5-style encoder-decoder; its config's vocabulary has `beyond` more entries than its tokenizer.

    Uses T5's real SentencePiece model if MENTOR_KD_T5_SPIECE is set, otherwise a small Unigram tokenizer.
    """
    folder = Path(folder)
    spiece = os.environ.get("MENTOR_KD_T5_SPIECE")
    tokenizer = None if spiece else unigram_tokenizer()
    settings = {
        "vocab_size": (32_100 if spiece else len(tokenizer)) + beyond,
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 2,
        "feed_forward_proj": "gated-gelu",
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(T5Config(**settings | config))
    with torch.no_grad():
        model.shared.weight[0] = 0  # with tied embeddings, a random model would repeat its start token forever
    save(folder, model, tokenizer)
    if spiece:
        shutil.copyfile(spiece, folder / "spiece.model")
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", "extra_ids": 100}))
    return folder


SHAPES = {"llama": llama, "gpt2": gpt2, "t5": t5}


def save(folder: Path, model: torch.nn.Module, tokenizer: PreTrainedTokenizerFast | None) -> Path:
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return Path(folder)


def examples(loaded: Loaded, n: int = 8, family: str = "sandbox-letters") -> list[Example]:
    """Sandbox questions with correct teacher rationales, as token ids."""
    made = []
    for question in make_questions(family, n, seed=3):
        text = explain(read_question(family, question.question))
        made.append(
            Example(
                question.id,
                encode_prompt(loaded.tokenizer, loaded.encoder_decoder, question.question),
                encode_target(loaded.tokenizer, text),
            )
        )
    return made


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor created inside it."""

    most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **kwargs or {})
        for one in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(one, torch.Tensor):
                self.most = max(self.most, one.numel())
        return found
