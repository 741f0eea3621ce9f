"""Fast generation: CTranslate2 as a backend for sampling, on CPU and GPU, in float32, bfloat16 or int8.

An optional extra: `pip install "mentor-kd[fast]"`. A saved model is converted once, into a folder next to it. Texts
follow the same distribution as those of the reference backend (int8 rounds the weights), with different random numbers.
Accuracies are always measured with the reference backend, which is transformers' generation.
"""

import functools
import importlib
import itertools
import random
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ..checks import require_choice
from ..files import InputError
from ..manifests import finish, is_done
from . import generation, loading
from . import names as model_names
from .generation import Draw, Sampling, Text, as_text, by_length, end_tokens
from .loading import Loaded

REFERENCE = "hf"
PRECISIONS = {"ct2-float32": "float32", "ct2-bfloat16": "bfloat16", "ct2-int8": "int8"}
BACKENDS = (REFERENCE, *PRECISIONS)
COPIES = 2**31  # maximum bytes of all copies of a model's weights, one per engine
INSTALL = 'install it with `pip install "mentor-kd[fast]"`, or choose backend hf'


def check_backend(backend: str) -> None:
    """Raise InputError if the backend is unknown or cannot run on this machine."""
    require_choice("backend", backend, BACKENDS)
    if backend != REFERENCE:
        precision, device = PRECISIONS[backend], loading.best_device().type
        known = _ctranslate2().get_supported_compute_types(device)
        if precision not in known:  # CTranslate2 would silently use another
            raise InputError(
                f"backend {backend!r}: this machine's {device} does not support {precision}; choose hf, or one of "
                f"{', '.join(name for name, one in PRECISIONS.items() if one in known)}"
            )


def get_backend(backend: str, loaded: Loaded, cache: Path) -> Draw:
    """The function that samples texts from a saved model with this backend; a converted model is kept in `cache`.

    CTranslate2 reads the model saved under the name of `loaded`; of `loaded` itself an outline (`loading.outline`) is
    enough. Raises InputError as `check_backend` and `convert` do.
    """
    check_backend(backend)
    if backend == REFERENCE:
        return functools.partial(generation.draw, loaded)
    convert(loaded.name, cache, PRECISIONS[backend])
    return functools.partial(_draw, loaded, cache, PRECISIONS[backend])


def _ctranslate2(part: str = ""):
    try:
        return importlib.import_module(f"ctranslate2{part}")
    except ImportError as error:
        raise InputError(f"CTranslate2 is not installed ({error}); {INSTALL}") from error


@dataclass(frozen=True)
class _Numbers:
    """A tokenizer whose token strings are the ids: nothing to escape, no duplicates, no gaps."""

    size: int
    end: int
    start: int

    bos_token = property(lambda self: str(self.end))
    eos_token = property(lambda self: str(self.end))
    unk_token = property(lambda self: str(self.end))
    pad_token = property(lambda self: str(self.start))

    def get_vocab(self) -> dict[str, int]:
        return {str(i): i for i in range(self.size)}

    def convert_ids_to_tokens(self, number: int) -> str:
        return str(number)


def mend_scale(model: PreTrainedModel) -> None:
    """Correct the config field from which CTranslate2 infers whether a T5 scales its decoder outputs.

    T5 scales them by d_model ** -0.5, FlanT5 does not. The converter checks whether the embeddings are tied, which
    every T5 reports under transformers 5; a wrong scale does not change greedy texts, but it ruins sampling.
    """
    if hasattr(model.config, "scale_decoder_outputs"):
        model.config.tie_word_embeddings = model.config.scale_decoder_outputs


def convert(name: str | Path, folder: Path, precision: str) -> None:
    """Convert a saved model for CTranslate2 into `folder`; does nothing if its manifest is up to date.

    Raises InputError for a model that cannot be loaded or whose architecture CTranslate2 does not support.
    """
    folder = Path(folder)
    version = _ctranslate2().__version__
    inputs = {"model": loading.identity(name), "precision": precision, "ctranslate2": version}
    if is_done(folder, inputs):
        return
    if model_names.split(name)[1]:
        raise InputError(f"model {str(name)!r}: CTranslate2 reads whole models; `mentor-kd models cut` saves one")
    tokenizer = loading.load(name, "cpu").tokenizer  # raises a readable error for an unusable model

    base: Any = _ctranslate2(".converters").TransformersConverter

    class Converter(base):
        def load_model(self, *args, **kwargs):
            model = super().load_model(*args, **kwargs)
            mend_scale(model)
            self.size = model.get_input_embeddings().weight.shape[0]
            self.start = getattr(model.config, "decoder_start_token_id", None) or 0
            return model

        def load_tokenizer(self, *args, **kwargs):
            return _Numbers(self.size, tokenizer.eos_token_id, self.start)

    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        Converter(loading.model_path(str(name))).convert(str(made), quantization=precision, force=True)
        finish(made, inputs, sorted(path.name for path in made.iterdir()))
        made.chmod(0o755)  # mkdtemp creates folders that only their owner can read
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    except (ValueError, NotImplementedError, KeyError, AttributeError) as error:
        raise InputError(f"model {str(name)!r}: CTranslate2 cannot convert it ({error}); choose backend hf") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def engine(loaded: Loaded, folder: Path, precision: str, seed: int, threads: int = 1):
    """A Translator (encoder-decoder) or Generator (decoder) of a converted model, seeded with `seed`.

    A CTranslate2 worker takes over the global seed at its first draw and never again: each seed needs a new worker,
    and the worker draws one token here, before the next engine sets another seed.
    """
    ctranslate2, before = _ctranslate2(), torch.get_num_threads()
    ctranslate2.set_random_seed(seed)
    kind = ctranslate2.Translator if loaded.encoder_decoder else ctranslate2.Generator
    try:
        worker = kind(str(folder), loading.best_device().type, compute_type=precision, intra_threads=threads)
        sequences(loaded, worker, [[min(end_tokens(loaded))]], Sampling(temperature=1.0, max_new_tokens=1))
    finally:
        torch.set_num_threads(before)  # creating an engine changes the number for the whole process
    return worker


def engines(loaded: Loaded, folder: Path, precision: str, seed: int, most: int) -> list:
    """The engines that share the work: on a CPU one per thread, as long as the copies of the weights fit into COPIES.

    There are at most `most` of them (the number of prompts). Two engines with one thread each are up to 1.6 times as
    fast as one engine with two threads: much of a step is memory traffic and small products, which CTranslate2 does
    not split over threads.
    """
    threads, count = torch.get_num_threads(), 1
    if loading.best_device().type == "cpu":
        count = max(1, min(threads, most, COPIES // (Path(folder) / "model.bin").stat().st_size))
    return [engine(loaded, folder, precision, seed + number, threads // count) for number in range(count)]


def options(loaded: Loaded, sampling: Sampling) -> dict:
    """The sampling settings as CTranslate2 options, with no default used (top_k and minimum length default to 1)."""
    lengths = (sampling.min_new_tokens, sampling.max_new_tokens)
    names = ("min_decoding_length", "max_decoding_length") if loaded.encoder_decoder else ("min_length", "max_length")
    one = sampling.greedy or sampling.top_k == 1
    return {
        "beam_size": 1,
        "num_hypotheses": 1 if one else sampling.n,
        "sampling_topk": 1 if one else min(sampling.top_k, loaded.model.get_input_embeddings().weight.shape[0]),
        "sampling_topp": 1 if one else sampling.top_p,
        "sampling_temperature": 1 if one else sampling.temperature,
        "end_token": [str(end) for end in sorted(end_tokens(loaded))],
        "return_end_token": True,
        **dict(zip(names, lengths, strict=True)),
        **({"max_input_length": 0} if loaded.encoder_decoder else {"include_prompt_in_result": False}),
    }


def sequences(loaded: Loaded, worker, prompts: list[list[int]], sampling: Sampling) -> list[list[list[int]]]:
    """The token ids that an engine generates for a batch of prompts, the likeliest text of a prompt first."""
    tokens, how = [[str(token) for token in prompt] for prompt in prompts], options(loaded, sampling)
    if loaded.encoder_decoder:
        found = [result.hypotheses for result in worker.translate_batch(tokens, **how)]
    else:
        found = [result.sequences for result in worker.generate_batch(tokens, **how)]
    return [[[int(token) for token in row] for row in rows] for rows in found]


def _draw(
    loaded: Loaded, folder: Path, precision: str, prompts: list[list[int]], sampling: Sampling, seed: int
) -> list[list[Text]]:
    """A backend (generation.Draw); the texts depend on the number of threads, their distribution does not."""
    workers = engines(loaded, folder, precision, seed, len(prompts))
    batches = by_length(prompts, max(1, sampling.prompts_at_once // len(workers)))

    def work(number: int) -> list[tuple[int, list[list[int]]]]:
        done: list[tuple[int, list[list[int]]]] = []
        for batch in batches[number :: len(workers)]:  # assigned in advance, so that each engine's work is fixed
            done += zip(batch, sequences(loaded, workers[number], [prompts[i] for i in batch], sampling), strict=True)
        return done

    with ThreadPoolExecutor(len(workers)) as pool:
        found = dict(itertools.chain.from_iterable(pool.map(work, range(len(workers)))))
    shuffled, results = random.Random(seed), []
    for number in range(len(prompts)):
        texts = [as_text(loaded, row) for row in found[number]]
        # n texts come likeliest first, but the first text of a question must be a random one
        shuffled.shuffle(texts)
        results.append(texts * (sampling.n // len(texts)))
    return results
