"""Pre-training of the sandbox models: a small tokenizer that spells unknown words, generated text, tiny decoders.

The text teaches the components of reasoning (copying, spelling, lookup, swaps, small sums, the calendar) and the
vocabulary of the sandbox, in the format `{question}\\n###\\n{answer}`. It never contains a question of the sandbox's
tasks: combining the components is left to distillation. `notebooks/30_pretrain_sandbox_models.ipynb` runs this module.
"""

import itertools
import platform
import random
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
)

from ..checks import require_bool, require_choice, require_integer, require_number, require_text
from ..data import sandbox
from ..data.answers import MARKER
from ..data.folder import task_folder
from ..files import ROOT, InputError, append_jsonl, read_json, read_jsonl, write_jsonl
from ..models.loading import CARD, IGNORED, Loaded, load, model_path, save
from ..models.prompts import SEPARATOR, encode_prompt, encode_target
from ..pipeline.parameters import build
from ..progress import Progress
from ..training.checkpoints import ResumableTrainer, last_whole, require_finite, step_of
from ..training.train import whole_rows
from .skills import calendar_skill, lookup_skill, partner_skill, skill_text, story_skill, sum_skill, swap_skill
from .swaps import story_text, swap_text
from .tellings import told_text

# name: (width, layers, heads, head width); 0.17, 0.46 and 1.7 million parameters with the tokenizer's 1,024 tokens.
# Head widths are 16 or 32 because CPU attention is slow at widths in between.
# sandbox-swaps is sandbox-base with further pre-training on swaps.
SIZES = {"sandbox-small": (56, 3, 4, 16), "sandbox-base": (80, 5, 5, 16), "sandbox-large": (160, 5, 5, 32)}
SIZES["sandbox-swaps"] = SIZES["sandbox-base"]
TEXTS = {"skills": skill_text, "swaps": swap_text, "stories": story_text, "tellings": told_text}
CONTEXT = 1024
PAD, EOS = "<pad>", "</s>"

# Words besides the sandbox's own, so that texts from elsewhere are not spelled letter by letter.
COMMON_WORDS = """
a about after again all also always am an and another any are around as ask at away back bad ball be because been
before began begin behind being best better between big both box boy bring brother but buy by call came can car care
cat chair child children choice choices city class clean cold color come concatenate correct cost could count cut dad
day days did different do does dog dollar dollars done door down draw drink drive each earn eat eight end enough even
every example exchange exchanges face family far farm father few find finish first fish five flower follow food for
four found friend friends from fruit full game games garden gave get girl give given gives go goes going gone good got
great group grow had half hand happy hard has have he head hear help her here high him his hold holding home hot hour
hours house how however hundred if in inches into is it its join just keep kind kitchen know known large last late
later learn leave left less let letter letters life light like line list little live long look lost lot made make man
many march market may me mean means meet mile miles milk minute minutes money month months more morning most mother
move much must my name names near need never new next night nine no none not nothing now number numbers of off often
old on once one only open or order other our out over own page pages paid paper part parts party pay people person
piece pieces place plant play played player players point position present problem put question read ready really
remain remaining remains rest result right room round run said same sat saw say school second see sell sells sentence
set seven she shop short should show side since sister six size sleep small so sold some something song soon spend
spent stand start started starts state step still stop store story street string student students such sun swap
swapped swaps sweet table take taken takes talk tall teacher tell ten than that the their them then there therefore
these they thing things think third this those thousand three through thus time times to today together told tomorrow
too took top total town toy toys trade trades train tree trees true try turn twelve twice two under until up us use
used using very visit wait walk want was wash watch water way we week weeks well went were what when where which while
white who why wife will wind window winter with without woman word words work world would write year years yes
yesterday yet you young your zero Alice Bob Claire Dave Eve Fred Answer Choices First Finally Then After Before
Initially At In On If So Now Since The There Therefore This Which What How Who When Where Why Is Are Does Did Do Can
Could Would Has Have He She It They His Her Its Their Let Next Step Also And But For From Each All As An To We You Yes
No Not False True Total Start End balls gift gifts presents event semester match soccer positions partner partners dance
dancers dancing dancer playing swapping switch switched occasionally readers avid elephant currently concatenating
combining ends
""".split()
RARE = 30  # words with fewer occurrences in the generated text are spelled
_WORD = r"[A-Za-z]+"


def build_tokenizer(size: int = 1024) -> PreTrainedTokenizerFast:
    """A tokenizer with whole known words, single digits, and bytes for everything else.

    It has no merges: a word is either in the vocabulary or spelled byte by byte. The model therefore sees the letters
    of a new name, and any UTF-8 text survives encoding and decoding.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    seen: Counter[str] = Counter()
    rng = random.Random(0)
    for family in sandbox.FAMILIES:
        for question in sandbox.make_questions(family, 300, seed=-1):
            facts = sandbox.read_question(family, question.question)
            asked = re.sub(r'"[^"]*"', "", question.question)
            told = " ".join(sandbox.explain(facts, style).split(MARKER)[0] for style in sandbox.STYLES)
            for word in facts.values.get("words", []):  # made-up words are meant to be spelled
                told = told.replace(word, "")
            seen.update(re.findall(rf" ?{_WORD}", f"{asked} {told}"))
    for _ in range(3000):
        for skill in (lookup_skill, partner_skill, swap_skill, sum_skill, calendar_skill, story_skill):
            seen.update(re.findall(rf" ?{_WORD}", SEPARATOR.join(skill(rng))))
    ranked = [word for word, count in seen.most_common() if count >= RARE]  # excludes made-up words
    ranked += [" " + word for word in COMMON_WORDS]
    ranked += [word.capitalize() for word in COMMON_WORDS]
    words = dict.fromkeys(word.replace(" ", "Ġ") for word in ranked if len(word.strip()) > 1)
    special = [PAD, EOS]
    marks = [SEPARATOR.replace("\n", "Ċ"), MARKER]  # byte-level symbols: newline is Ċ, space is Ġ
    vocabulary = {token: i for i, token in enumerate([*special, *marks, *alphabet, *words][:size])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # digits and signs are separate tokens; a word includes the space before it
            pre_tokenizers.Split(
                Regex(rf"{SEPARATOR}|{MARKER}| ?[A-Za-z]+|[0-9]|\s|[^A-Za-z0-9\s]"), behavior="isolated"
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def build_model(size: str, tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> LlamaForCausalLM:
    """A randomly initialised Llama decoder with tied embeddings. Raises InputError for an unknown size."""
    if size not in SIZES:
        raise InputError(f"unknown sandbox model {size!r}; use one of {', '.join(SIZES)}")
    width, layers, heads, head_width = SIZES[size]
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=8 * ((width * 8 // 3) // 8),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        head_dim=head_width,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.04,
    )
    return LlamaForCausalLM(config)


@dataclass(frozen=True)
class PretrainSettings:
    """Settings of a pre-training run: texts, initial model, steps, tokens per step and learning rate.

    With `start`, the name or folder of a sandbox model, training continues from that model with a new optimiser.
    `texts` is one of "skills" (all skills), "swaps" (mostly swaps, which a model learns late and only if they dominate
    its texts), "stories" (mostly stories of swaps, for a model that knows swaps) and "tellings" (mostly retellings of
    such stories in many wordings).
    """

    texts: str = "skills"
    start: str = ""
    steps: int = 3000
    rows: int = 8  # packed rows per step
    length: int = 320  # tokens per row
    learning_rate: float = 3e-3
    bfloat16: bool = False  # faster for sandbox-large if the CPU supports it, slower for smaller models
    seed: int = 0

    def __post_init__(self) -> None:
        require_choice("texts", self.texts, TEXTS)
        require_text("start", self.start)
        for name in ("steps", "rows", "length"):
            require_integer(name, getattr(self, name), 1)
        require_integer("seed", self.seed)
        require_bool("bfloat16", self.bfloat16)
        if self.length > CONTEXT:
            raise InputError(f"length must be <= {CONTEXT} (the models' context), got {self.length}")
        require_number("learning_rate", self.learning_rate, above=0, below=1)


def from_parameters(given: Mapping[str, Any]) -> PretrainSettings:
    """Settings from the parameters of notebook 30. Raises InputError for the first invalid one."""
    require_choice("size", given["size"], SIZES)
    require_text("target", given["target"])
    task_folder(given["run"], given["size"])
    return build(PretrainSettings, given, {field.name: field.name for field in fields(PretrainSettings)})


class PackedSkills(torch.utils.data.Dataset):
    """Row i is `length` tokens of generated texts that depend only on (seed, i), so a resumed run sees the same rows.

    Only replies are scored: random questions cannot be predicted, and their noise would dominate the loss. Positions
    restart at 0 with each text, which limits attention to that text if the model runs without a cache.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, settings: PretrainSettings):
        self.tokenizer, self.settings = tokenizer, settings

    def __len__(self) -> int:
        return self.settings.steps * self.settings.rows

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = random.Random(f"{self.settings.seed} {index}")
        ids: list[int] = []
        labels: list[int] = []
        positions: list[int] = []
        text = TEXTS[self.settings.texts]
        while len(ids) < self.settings.length:
            question, reply = text(rng, index / len(self))
            prompt, target = encode_prompt(self.tokenizer, False, question), encode_target(self.tokenizer, reply)
            ids += prompt + target
            labels += [IGNORED] * len(prompt) + target
            positions += range(len(prompt) + len(target))
        end = self.settings.length
        return {
            "input_ids": torch.tensor(ids[:end]),
            "labels": torch.tensor(labels[:end]),
            "position_ids": torch.tensor(positions[:end]),
        }


class MuonAdamW(torch.optim.Optimizer):
    """Muon for the layers' weight matrices and AdamW for embeddings and norms, as one optimiser.

    These decoders learn to copy in well under half the steps that AdamW alone needs. Muon's updates are scaled to
    AdamW's size, so both use the same learning rate.
    """

    def __init__(self, model: torch.nn.Module, learning_rate: float):
        tied = {id(weight) for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight)}
        matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in tied]
        chosen = {id(p) for p in matrices}
        others = [p for p in model.parameters() if id(p) not in chosen]
        super().__init__([*matrices, *others], {"lr": learning_rate})
        self.parts = (
            torch.optim.Muon(
                matrices, lr=learning_rate, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
        )
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure=None):
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict) -> None:
        for part, its_state in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(its_state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


class _ScoredOnly(ResumableTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Cross-entropy of the reply tokens; logits of the other half of the tokens are not computed."""
        labels = inputs.pop("labels")[:, 1:]
        hidden = model.get_decoder()(**inputs).last_hidden_state[:, :-1]
        scored = labels != IGNORED
        logits = model.get_output_embeddings()(hidden[scored]).float()
        return torch.nn.functional.cross_entropy(logits, labels[scored])


class _LogLoss(TrainerCallback):
    def __init__(self, path: Path, progress: Progress):
        self.path, self.progress = path, progress

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step:
            self.progress.skip(state.global_step)

    def on_step_end(self, args, state, control, **kwargs):
        self.progress.advance()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            self.progress.note = f"loss {float(logs['loss']):.3f}"
            append_jsonl(self.path, {"step": state.global_step, "loss": logs["loss"], "time": round(time.time(), 1)})


def _go_on_from(start: str, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> dict:
    """Load the weights of the model `start` into `model`; returns its card. Raises InputError if they do not match."""
    folder = Path(model_path(start))
    folder = ROOT / folder if (ROOT / folder).is_dir() else folder
    begun = load(folder, "cpu")
    if begun.tokenizer.get_vocab() != tokenizer.get_vocab():
        raise InputError(f"start {start!r} has a different tokenizer; use a sandbox model")
    try:
        model.load_state_dict(begun.model.state_dict())
    except RuntimeError as error:
        raise InputError(
            f"start {start!r} has a different shape from the model to train; use a model of the same size"
        ) from error
    return read_json(folder / CARD) if (folder / CARD).exists() else {}


def pretrain(size: str, folder: Path, work: Path, settings: PretrainSettings) -> Loaded:
    """Pre-train a sandbox model and save it to `folder`. A killed run resumes from its checkpoints in `work`."""
    folder, work = Path(folder), Path(work)
    tokenizer = build_tokenizer()
    log = work / "metrics.jsonl"
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.rows,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, settings.steps // 20),
        max_grad_norm=1.0,
        bf16=settings.bfloat16,
        use_cpu=not torch.cuda.is_available(),  # required for bfloat16 on a CPU
        logging_steps=10,
        logging_first_step=True,
        save_steps=100,
        seed=settings.seed,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    model, before = build_model(size, tokenizer, settings.seed), {}
    if settings.start:
        before = _go_on_from(settings.start, model, tokenizer)
    model.config.use_cache = False  # with a cache, restarting positions would not separate the texts of a row
    last = last_whole(work)
    done = step_of(last) if last else 0
    if log.exists():  # drop what a killed run logged after its last checkpoint
        write_jsonl(log, [row for row in whole_rows(log) if row["step"] <= done])
    with Progress(f"pre-training {size}", settings.steps) as progress:
        trainer = _ScoredOnly(
            model=model,
            args=arguments,
            train_dataset=PackedSkills(tokenizer, settings),
            callbacks=[_LogLoss(log, progress)],
            optimizers=(MuonAdamW(model, settings.learning_rate), None),
        )
        trainer.remove_callback(PrinterCallback)  # replaced by our progress line
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    require_finite(model, f"pre-training {size}")
    model.config.use_cache = True
    losses = [row for _, row in read_jsonl(log)]
    loaded = Loaded(size, model.eval(), tokenizer)
    tokens = settings.steps * settings.rows * settings.length
    width, layers, heads, _ = SIZES[size]
    hours = sum(
        later["time"] - earlier["time"]
        for earlier, later in itertools.pairwise(losses)
        if later["step"] > earlier["step"]
    )
    save(
        folder,
        loaded,
        {
            "name": size,
            "summary": "A tiny Llama-style decoder, pre-trained on generated text for this project's sandbox.",
            "width": width,
            "layers": layers,
            "heads": heads,
            "data": "generated by mentor_kd: copying, spelling, lookups, swaps, sums, calendar, stories, tellings",
            "settings": asdict(settings),
            **({"parts": [*before.get("parts", []), asdict(settings)]} if settings.start else {}),
            "tokens": before.get("tokens", 0) + tokens,
            "hours": round(before.get("hours", 0) + hours / 3600, 2),
            "hardware": f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)"
            if not torch.cuda.is_available()
            else torch.cuda.get_device_name(0),
            "loss_curve": [[row["step"], round(row["loss"], 4)] for row in losses[:: max(1, len(losses) // 40)]],
            "final_loss": round(losses[-1]["loss"], 4),
            "licence": "Apache-2.0",
        },
    )
    return loaded
