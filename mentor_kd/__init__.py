"""A workbench for reasoning distillation: Mentor-KD (Lee et al., EMNLP 2024) and its relatives."""

__version__ = "0.1.0"
