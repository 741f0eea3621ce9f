"""Training: methods, losses, soft labels, and the trainer of mentors and students."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
