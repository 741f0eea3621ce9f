"""Evaluation: predictions, accuracies with intervals, paired tests, and the paper's published numbers."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
