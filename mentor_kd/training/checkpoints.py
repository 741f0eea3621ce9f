"""Checkpoints of a training run: complete ones are marked by a manifest, damaged ones are skipped.

A checkpoint holds the weights, the optimiser's and the scheduler's state, the random states and the trainer's state.
They are ordered by step number, never by file time, which is wrong if the clock was set back.
"""

import re
import shutil
from pathlib import Path

import torch
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME

from .. import manifests
from ..files import RunFailed, read_json

REMEDY = "Try a lower learning_rate, precision float32, or a smaller max_grad_norm, and check the model it starts from."
NAME = re.compile(r"checkpoint-(\d+)")


def in_order(work: Path) -> list[Path]:
    """The checkpoints in a folder, complete or not, by step."""
    found = {path: NAME.fullmatch(path.name) for path in Path(work).glob("checkpoint-*")}
    return sorted((path for path, match in found.items() if match), key=step_of)


def step_of(checkpoint: Path | str) -> int:
    """The optimiser step after which a checkpoint was written."""
    return int(Path(checkpoint).name.split("-")[1])


def complete(checkpoint: Path, best: Path | None) -> None:
    """Mark a checkpoint as complete; then remove all others but the best so far, or the one before if it is the best.

    With the best and the last, a stopped run resumes, and a damaged last checkpoint loses little.
    """
    files = sorted(path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*") if path.is_file())
    manifests.finish(checkpoint, {}, files)
    others = [path for path in in_order(checkpoint.parent) if path != checkpoint]
    kept = best if best in others else others[-1] if others else None
    for path in others:
        if path != kept:
            shutil.rmtree(path)


def last_whole(work: Path) -> Path | None:
    """The last checkpoint from which training can resume; those after it are removed, with a printed line for each."""
    for path in reversed(in_order(work)):
        why = _damage(path)
        if not why:
            return path
        print(f"{path}: {why}; it is skipped")
        shutil.rmtree(path)
    return None


def _damage(checkpoint: Path) -> str:
    """Why training cannot resume from a checkpoint: its own files, or those of the best one so far; "" if it can."""
    if why := _damaged_files(checkpoint):
        return why
    best = read_json(checkpoint / TRAINER_STATE_NAME, finite=False).get("best_global_step")
    other = checkpoint.with_name(f"checkpoint-{best}")
    if best and other != checkpoint and (why := _damaged_files(other)):
        return f"the best checkpoint so far, {other.name}, cannot be used: {why}"
    return ""


def _damaged_files(checkpoint: Path) -> str:
    found = manifests.read(checkpoint)
    if found is None:
        return "it was not written completely"
    return ", ".join(f"{name} is {what}" for name, what in manifests.changed(checkpoint, found["outputs"]).items())


def require_whole(checkpoint: Path) -> None:
    """Raise RunFailed if a checkpoint that is to be loaded is missing or damaged."""
    if why := _damaged_files(checkpoint):
        raise RunFailed(f"{checkpoint}: {why}, so the best epoch cannot be loaded; run the same command again")


def require_finite(model: torch.nn.Module, label: str) -> None:
    """Raise RunFailed, with the name of a weight, if any weight of a model is not a finite number."""
    weights = dict(model.named_parameters())
    local: list[torch.Tensor] = [getattr(one, "_local_tensor", one.detach()) for one in weights.values()]
    flags = torch.stack([one.isfinite().all() for one in local])
    if not flags.all():  # the only time that a GPU has to wait
        name = list(weights)[flags.logical_not().nonzero()[0].item()]
        raise RunFailed(f"{label}: the weights are not numbers (first {name}), so nothing is saved. {REMEDY}")


class ResumableTrainer(Trainer):
    """Trainer whose checkpoints are complete, of finite weights, and at most two. `label` names the run in errors."""

    def __init__(self, *, label: str = "training", **kwargs):
        super().__init__(**kwargs)
        self.label = label

    def _save_checkpoint(self, model, trial):
        require_finite(model, self.label)
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            place = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            complete(place, Path(best) if best else None)

    def _load_best_model(self):
        require_whole(Path(self.state.best_model_checkpoint))
        super()._load_best_model()
