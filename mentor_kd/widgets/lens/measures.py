"""Numbers of the soft-label lens: mentor and students on one rationale, token by token, for figures and the widget.

`look` runs the models once; everything else is a function of their logits [T, V], one row per target token, EOS
included. Entropies, divergences and losses are in nats, as in training.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ...files import InputError, read_record
from ...models import loading
from ...models.batches import Example, inputs_on_device, target_logits
from ...models.loading import Loaded, same_tokenizer
from ...training.losses import LossSettings, soft_label_factor
from ...training.methods import SELF_MENTOR, get_method

REST = "all others"
MEASURES = {
    "entropy": "Mentor's entropy",
    "divergence": "Divergence of the student from the mentor",
    "loss": "Student's cross-entropy",
}


@dataclass(frozen=True)
class Look:
    """One rationale under the lens: its tokens as readable text, and each model's logits at their positions."""

    id: str
    targets: Tensor  # [T], the hard labels
    texts: tuple[str, ...]  # length T
    mentor: Tensor  # logits [T, V]
    students: dict[str, Tensor]  # logits [T, V] by the student's name
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True)
class Subjects:
    """The models to compare: a mentor, its student before and after distillation, and the settings of distillation."""

    method: str
    mentor: Loaded
    students: dict[str, Loaded]
    settings: LossSettings
    max_length: int


def subjects(folder: Path, student: str = "") -> Subjects:
    """A task's mentor and one of its students; `student` names a folder in students/, "" the first with soft labels.

    Raises InputError that lists the trained students if there is no such student.
    """
    folder = Path(folder)
    manifests = {path.parent.name: read_record(path) for path in sorted(folder.glob("students/*-seed*/manifest.json"))}
    taught = [name for name, facts in manifests.items() if get_method(facts["method"]).soft_labels]
    name = student or next(iter(taught), "")
    if name not in manifests:
        missing = f"no student {student!r}" if student else "no student with soft labels"
        raise InputError(f"{folder}: there is {missing}; trained: {', '.join(manifests) or 'none'} (notebook 06)")
    facts = manifests[name]
    begun = folder / "students" / facts["starts_from"] if "starts_from" in facts else facts["base"]
    pair = {"before": loading.load(begun), "after": loading.load(folder / "students" / name)}
    home = folder / SELF_MENTOR if get_method(facts["method"]).mentor == SELF_MENTOR else folder
    settings = LossSettings(**facts["inputs"]["settings"]["loss"])
    return Subjects(facts["method"], loading.load(home / "mentor"), pair, settings, facts["max_length"])


def entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy of each position's distribution at a temperature, [T], in nats, from 0 (certain) to ln V (uniform)."""
    log_p = F.log_softmax(logits.float() / temperature, dim=-1)
    return -(log_p.exp() * log_p).nan_to_num(0.0).sum(-1)  # a logit of -inf contributes nothing


def divergence(mentor: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(mentor || student) at each position at a temperature, [T], in nats, without the factor tau squared."""
    log_m = F.log_softmax(mentor.float() / temperature, dim=-1)
    log_s = F.log_softmax(student.float() / temperature, dim=-1)
    return F.kl_div(log_s, log_m, reduction="none", log_target=True).sum(-1)


def loss(student: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the hard label at each position, [T], in nats."""
    return F.cross_entropy(student.float(), targets, reduction="none")


def softened(logits: Tensor, temperature: float) -> Tensor:
    """Probabilities at a temperature, in the shape of the logits."""
    return torch.softmax(logits.float() / temperature, dim=-1)


def mixture(mentor: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """The training target at each position, [T, V]: (1-lambda) one-hot of the hard label + lambda softened mentor."""
    weight, temperature = settings.soft_label_weight, settings.soft_label_temperature
    hard = F.one_hot(targets, mentor.shape[-1]).float()
    return (1 - weight) * hard + weight * softened(mentor, temperature)


def push(student: Tensor, mentor: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Minus the gradient of each position's loss with respect to the student's logits, [T, V]; > 0 raises a logit.

    (1-lambda) (one-hot - s_1) + lambda tau (m_tau - s_tau): the divergence's gradient has the factor 1/tau, the loss
    has tau squared (unless the settings leave it out). At tau = 1 this is the mixture minus the student. Each row sums
    to 0.
    """
    weight, temperature = settings.soft_label_weight, settings.soft_label_temperature
    hard = F.one_hot(targets, student.shape[-1]).float() - softened(student, 1.0)
    soft = softened(mentor, temperature) - softened(student, temperature)
    return (1 - weight) * hard + soft_label_factor(settings) / temperature * soft


@torch.no_grad()
def look(example: Example, mentor: Loaded, students: dict[str, Loaded]) -> Look:
    """Run mentor and students on one rationale.

    Models of one family may pad the vocabulary of their shared tokenizer to different sizes; only the entries that all
    have are compared. Raises InputError for a student of another type or with another tokenizer than the mentor.
    """
    for name, student in students.items():
        if student.encoder_decoder != mentor.encoder_decoder or not same_tokenizer(student.tokenizer, mentor.tokenizer):
            raise InputError(
                f"the lens requires models of the same type with the same tokenizer, but student {name!r} "
                f"({student.name}) and mentor {mentor.name} differ; choose both from one model family"
            )

    def run(loaded: Loaded) -> Tensor:
        inputs = inputs_on_device([example], loaded)
        return target_logits(loaded, inputs).float().cpu()

    found = {name: run(loaded) for name, loaded in {"": mentor, **students}.items()}
    shared = min(logits.shape[-1] for logits in found.values())
    found = {name: logits[:, :shared] for name, logits in found.items()}
    texts = tuple(readable(mentor.tokenizer, example.target))
    return Look(example.id, torch.tensor(example.target), texts, found.pop(""), found, mentor.tokenizer)


def tokens(seen: Look, temperature: float = 1.0) -> pandas.DataFrame:
    """One row per token: position, token, the mentor's entropy, and each student's divergence and loss.

    Entropy and divergence are at the temperature. The students' columns are "divergence of <student>" and "loss of
    <student>".
    """
    table = {"position": range(len(seen.texts)), "token": seen.texts, "entropy": entropy(seen.mentor, temperature)}
    for name, logits in seen.students.items():
        table[f"divergence of {name}"] = divergence(seen.mentor, logits, temperature)
        table[f"loss of {name}"] = loss(logits, seen.targets)
    return pandas.DataFrame(table)


def candidates(seen: Look, position: int, settings: LossSettings, count: int = 8) -> pandas.DataFrame:
    """The likeliest tokens at a position, with their probabilities under hard label, mentor, target and students.

    Rows: the hard label's token, then the likeliest under mentor or students in the mentor's order, then all others as
    one row; they do not depend on tau or lambda. Columns: token, hard label, mentor, target, then for each student its
    name (probability at tau) and "push on <name>" (of the loss on the logit). Probabilities of a column sum to 1,
    pushes to 0.
    """
    here = slice(position, position + 1)
    mentor, target = seen.mentor[here], seen.targets[here]
    temperature = settings.soft_label_temperature
    columns = {
        "hard label": F.one_hot(target, mentor.shape[-1]).float(),
        "mentor": softened(mentor, temperature),
        "target": mixture(mentor, target, settings),
    }
    says = [columns["hard label"], softened(mentor, 1.0)]
    for name, logits in seen.students.items():
        columns[name] = softened(logits[here], temperature)
        columns[f"push on {name}"] = push(logits[here], mentor, target, settings)
        says.append(softened(logits[here], 1.0))
    likeliest = torch.stack(says).amax(0)[0].topk(min(count, mentor.shape[-1])).indices
    ids = sorted(likeliest.tolist(), key=lambda token: (token != int(target), -float(mentor[0, token])))
    table = pandas.DataFrame({name: values[0, ids].tolist() for name, values in columns.items()})
    table.insert(0, "token", readable(seen.tokenizer, ids))
    rest = {name: float(values[0].sum()) - table[name].sum() for name, values in columns.items()}
    return pandas.concat([table, pandas.DataFrame([{"token": REST, **rest}])], ignore_index=True)


# Readable tokens


def readable(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """Each token as visible text: a space is an open box, a line break an arrow, a lone byte its hexadecimal value.

    Each token is decoded after another one, because many tokenizers drop the space at the start of a text.
    """
    return [_readable(tokenizer, one) for one in ids]


def _readable(tokenizer: PreTrainedTokenizerBase, one: int) -> str:
    piece = tokenizer.convert_ids_to_tokens(one)
    if one in tokenizer.all_special_ids or piece is None:  # None: an entry that only pads the vocabulary
        return visible(piece or f"<{one}>")
    before = tokenizer("a", add_special_tokens=False)["input_ids"]
    options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    text = tokenizer.decode([*before, one], **options)[len(tokenizer.decode(before, **options)) :]
    if "\ufffd" in text or not text:  # part of a multi-byte character
        text = " ".join(f"<{byte:02X}>" for byte in _bytes(piece)) or piece
    return visible(text)


def _bytes(piece: str) -> list[int]:
    """The bytes of a byte-level piece, whose characters encode bytes as in GPT-2; empty for other pieces."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printed]
    letters = {chr(byte): byte for byte in printed} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
    return [letters.get(letter, ord(letter)) for letter in piece] if all(ord(x) < 324 for x in piece) else []


SHOWN = {" ": "\u2423", "\u00a0": "\u237d", "\n": "\u21b5", "\t": "\u21e5", "\r": "\u240d", "\x7f": "\u2421"}


def visible(text: str) -> str:
    """The text with visible signs for spaces, breaks, control and direction characters."""

    def show(letter: str) -> str:
        if letter in SHOWN:
            return SHOWN[letter]
        if ord(letter) < 32:
            return chr(0x2400 + ord(letter))
        return letter if letter.isprintable() else f"<{ord(letter):04X}>"

    return "".join(map(show, text))
