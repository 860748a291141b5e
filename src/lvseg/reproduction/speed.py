"""Inference speed: images a second of the compared networks, measured side by side."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from lvseg.atomic import write_text
from lvseg.reproduction.ladder import Step
from lvseg.train.network import build
from lvseg.train.run_folder import read_kept

#: Rounds in which every network predicts one batch; the median counts.
ROUNDS = 15
BATCH = 8


def images_per_second(steps: Sequence[Step], device: torch.device, kept: Path) -> dict[str, float]:
    """Windows a second of each step's network, by key; measured once and then read from ``kept``.

    All take turns, so that what slows this computer slows them alike. On a processor the working
    time of one thread is measured, not the clock, so that other programs do not count.
    """
    if kept.is_file():
        found = read_kept(kept, dict[str, float])
        if set(found) == {step.key for step in steps}:
            return found
    networks = {step.key: build(step.options.network).to(device).eval() for step in steps}
    sides = {step.key: step.side_px for step in steps}
    times: dict[str, list[float]] = {key: [] for key in networks}
    for _ in range(ROUNDS + 1):
        for key, network in networks.items():
            times[key].append(_seconds(network, sides[key], device))
    found = {key: BATCH / statistics.median(each[1:]) for key, each in times.items()}
    write_text(kept, json.dumps(found, indent=1) + "\n")
    return found


@torch.no_grad()
def _seconds(network: nn.Module, side: int, device: torch.device) -> float:
    images = torch.zeros(BATCH, 1, side, side, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    begun = clock(device)
    network(images)
    return clock(device) - begun


def clock(device: torch.device) -> float:
    """Seconds: the clock once a GPU is done, or the working time of a processor's threads."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()
