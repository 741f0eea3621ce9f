"""Models with some of their layers left out: `smollm2-135m[0-19,28,29]` keeps layers 0 to 19, 28 and 29.

Layers are numbered from 0 and keep their order. For an encoder-decoder such as T5 the numbers apply to the encoder and
to the decoder; `[0-7;0,3,7]` chooses them separately, the encoder's first. The encoder must keep at least as many
layers as the decoder. The result is an ordinary model with fewer layers: it is trained, saved and loaded like any
other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import Module, ModuleList
from transformers import PreTrainedModel

from ..files import InputError

LISTS = ("layers", "h", "block")  # of Llama-like models, GPT-2 and T5
PER_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers")  # fields of a config with one entry per layer
PART = re.compile(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?")
Kept = tuple[tuple[int, ...], ...]  # numbers of layers: of the decoder alone, or of encoder and decoder


def counts(config: Any) -> tuple[int, ...]:
    """The number of layers, or the numbers of the encoder's and of the decoder's layers."""
    if config.is_encoder_decoder:
        return config.num_hidden_layers, getattr(config, "num_decoder_layers", None) or config.decoder_layers
    return (config.get_text_config().num_hidden_layers,)


def parse(name: str, text: str, present: Sequence[int]) -> Kept:
    """The layers to keep, read from the text in a model's name; `present` has the number of layers of each part.

    Raises InputError with the name, the layer and the range if the text is not a list of layers in ascending order, or
    names a layer that the model does not have.
    """
    parts = text.split(";")
    if len(parts) not in (1, len(present)):
        most = "one list of layers" if len(present) == 1 else "two lists of layers at most, the encoder's first"
        raise InputError(f"model {name!r}: it takes {most}, got {len(parts)}")
    if len(parts) < len(present):
        parts *= 2
    sides = ("",) if len(present) == 1 else ("encoder ", "decoder ")
    rows = zip(sides, parts, present, strict=True)
    return tuple(_numbers(f"model {name!r}: {side}", part, count) for side, part, count in rows)


def _numbers(where: str, text: str, count: int) -> tuple[int, ...]:
    found: list[int] = []
    for part in text.split(","):
        match = PART.fullmatch(part)
        if not match:
            raise InputError(f"{where}layers must be numbers and ranges, such as 0-19,28,29, got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(f"{where}layers {first}-{last}: the range must ascend; write {last}-{first}")
        if last >= count:
            raise InputError(f"{where}layer {last} does not exist: its layers are 0 to {count - 1}")
        if found and first <= found[-1]:
            raise InputError(
                f"{where}layer {first} follows layer {found[-1]}; name each layer once, in ascending order"
            )
        found += range(first, last + 1)
    return tuple(found)


def text_of(kept: Kept) -> str:
    """The shortest text that keeps these layers, as it is written in a model's name."""
    return ";".join(dict.fromkeys(map(_ranges, kept)))


def _ranges(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = ([f"{run[0]}-{run[-1]}"] if len(run) > 2 else map(str, run) for run in runs)
    return ",".join(one for part in parts for one in part)


def _stacks(model: PreTrainedModel) -> list[tuple[Module, str]]:
    """The modules that hold the layers (encoder first), and the name of their list. InputError if there are none."""
    parts = [model.get_encoder(), model.get_decoder()] if model.config.is_encoder_decoder else [model.get_decoder()]
    found = [(part, name) for part in parts for name in LISTS if isinstance(getattr(part, name, None), ModuleList)]
    if len(found) != len(parts):
        raise InputError(
            f"layers of {type(model).__name__} cannot be left out; Llama-like, GPT-2 and T5 models are supported"
        )
    return found


@dataclass(frozen=True)
class Whole:
    """A model with all its layers, from which any selection can be made, again and again."""

    model: PreTrainedModel
    layers: tuple[tuple[Module, ...], ...]
    per_layer: dict[str, list]  # fields of its config

    @property
    def everything(self) -> Kept:
        return tuple(tuple(range(len(one))) for one in self.layers)

    def keep(self, kept: Kept) -> None:
        """Make these the layers of the model, in place, and of its config."""
        for (part, name), layers, numbers in zip(_stacks(self.model), self.layers, kept, strict=True):
            _arrange(part, name, [layers[i] for i in numbers])
        config = self.model.config.get_text_config() if len(kept) == 1 else self.model.config
        for name, entries in self.per_layer.items():
            setattr(config, name, [entries[i] for i in kept[0]])
        if len(kept) == 1:
            config.num_hidden_layers = len(kept[0])
            return
        config.num_layers, config.num_decoder_layers = map(len, kept)
        for (part, _), numbers in zip(_stacks(self.model), kept, strict=True):  # both have copies of the config
            part.config.num_layers = len(numbers)


def whole(model: PreTrainedModel) -> Whole:
    """The whole model. Raises InputError for one whose layers cannot be left out."""
    if getattr(model.config, "scale_attn_by_inverse_layer_idx", False):
        raise InputError("layers cannot be left out of a GPT-2 with scale_attn_by_inverse_layer_idx")
    layers = tuple(tuple(getattr(part, name)) for part, name in _stacks(model))
    found = {name: getattr(model.config.get_text_config(), name, None) for name in PER_LAYER}
    count = counts(model.config)[0]
    return Whole(model, layers, {n: list(v) for n, v in found.items() if isinstance(v, list) and len(v) == count})


def _arrange(part: Module, name: str, chosen: list[Module]) -> None:
    """Make these the layers of an encoder or a decoder.

    Only the first layer of a T5's encoder or decoder computes the bias of relative positions, for all of them: the
    first one of the new layers takes over its weights.
    """
    owner, taker = (_with_bias_field(layer) for layer in (getattr(part, name)[0], chosen[0]))
    if owner and taker and not taker.has_relative_attention_bias:
        taker.relative_attention_bias, taker.has_relative_attention_bias = owner.relative_attention_bias, True
        del owner.relative_attention_bias
        owner.has_relative_attention_bias = False
    for number, layer in enumerate(chosen):
        for module in layer.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = number  # its place in the cache
    setattr(part, name, ModuleList(chosen))


def _with_bias_field(layer: Module) -> Any:
    return next((one for one in layer.modules() if hasattr(one, "has_relative_attention_bias")), None)


def cut(model: PreTrainedModel, kept: Kept) -> PreTrainedModel:
    """Leave out all other layers of a model, in place, and say so in its config; returns the model.

    Raises InputError for a model whose layers cannot be left out.
    """
    if len(kept) == 2 and len(kept[1]) > len(kept[0]):
        raise InputError(
            f"the decoder may not keep more layers than the encoder ({len(kept[1])} and {len(kept[0])}): the cache of "
            f"transformers has as many layers as the encoder"
        )
    whole(model).keep(kept)
    with torch.device("meta"):
        expected = type(model)(model.config).state_dict()
    found = {name: weight.shape for name, weight in model.state_dict().items()}
    if found != {name: weight.shape for name, weight in expected.items()}:
        raise InputError(f"layers of {type(model).__name__} cannot be left out: its config describes another model")
    return model
