"""Training: methods, losses, soft labels, and the trainer for mentors and students."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
