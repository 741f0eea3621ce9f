"""Devices of a sweep: this machine's GPUs or its CPU, their memory, and which of them has room for a stage."""

import os
from collections.abc import Iterable

import torch


def devices(memory: float = 0.0) -> list[tuple[dict, float]]:
    """Devices for stages: the environment variables that select each GPU (or none: the CPU), and its memory in GB."""
    if not torch.cuda.is_available():
        every = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
        return [({}, memory or 0.8 * every)]
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = names if names != [""] else [str(i) for i in range(torch.cuda.device_count())]
    sizes = [torch.cuda.get_device_properties(i).total_memory / 1e9 for i in range(len(names))]
    return [({"CUDA_VISIBLE_DEVICES": n}, memory or 0.95 * gb) for n, gb in zip(names, sizes, strict=True)]


def with_room(memory: float, used: Iterable[tuple[int, float]], places: list[tuple[dict, float]]) -> int | None:
    """The device with the most free memory if `memory` GB fit, else None. An idle device takes any stage.

    `used` has the device and the GB of each running stage.
    """
    room, busy = [gb for _, gb in places], set()
    for device, gb in used:
        room[device] -= gb
        busy.add(device)
    best = max(range(len(places)), key=room.__getitem__)
    return best if best not in busy or memory <= room[best] else None
