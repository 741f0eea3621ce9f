"""Models: loading and saving, batches, generation, LoRA, and CTranslate2 for fast sampling."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
