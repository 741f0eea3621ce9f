"""T5's published model sizes, and the peak speed and memory of GPUs."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class T5Shape:
    """A T5's sizes: model width, feed-forward width, layers per side, attention heads, gated feed-forward or not."""

    width: int
    inner: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    gated: bool = True
    head_width: int = 64


T5_SHAPES = {  # from their configs on the hub
    "T5-small": T5Shape(512, 2048, 6, 6, 8, gated=False),
    "T5-base": T5Shape(768, 3072, 12, 12, 12, gated=False),
    "T5-large": T5Shape(1024, 4096, 24, 24, 16, gated=False),
    "FlanT5-small": T5Shape(512, 1024, 8, 8, 6),
    "FlanT5-base": T5Shape(768, 2048, 12, 12, 12),
    "FlanT5-large": T5Shape(1024, 2816, 24, 24, 16),
    "FlanT5-XL": T5Shape(2048, 5120, 24, 24, 32),
    "FlanT5-XXL": T5Shape(4096, 10240, 24, 24, 64),
}


@dataclass(frozen=True)
class Gpu:
    """Dense bfloat16 peak in TFLOP/s, memory in GB, bandwidth in GB/s, from the manufacturers' data sheets."""

    tflops: float
    memory: float
    bandwidth: float


GPUS = {
    "h200": Gpu(989, 141, 4800),
    "h100": Gpu(989, 80, 3350),
    "a100-80": Gpu(312, 80, 2039),
    "a100-40": Gpu(312, 40, 1555),
    "a6000": Gpu(155, 48, 768),  # the paper uses two
    "l40s": Gpu(362, 48, 864),
    "rtx4090": Gpu(165, 24, 1008),
    "l4": Gpu(121, 24, 300),
    "cpu": Gpu(0.1, 16, 20),  # two typical cores, float32
}


def own_gpu() -> str:
    """This machine's GPU, by its name in GPUS; "cpu" if there is none or it is unknown."""
    if torch.cuda.is_available():
        found = torch.cuda.get_device_name(0).lower().replace(" ", "").replace("-", "")
        for name in GPUS:
            if name.split("-")[0] in found:
                return name
    return "cpu"
