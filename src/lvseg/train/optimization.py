"""Optimization of a network: the loss, the learning-rate schedule and the averaged weights.

All three are functions of what a checkpoint holds, so that a resumed run needs no more state.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Pixels added to both sides of the ratio: an empty target then scores 1 for an empty prediction
#: and still passes a gradient, and a structure of ten pixels is not drowned.
SMOOTH_PX = 1.0


def dice_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over samples and labels of (1 - soft Dice) + mean binary cross-entropy.

    Dice is taken per sample and label (Milletari 2016, eq. 3, without the squares), so that a small
    apical cavity weighs as much as a large basal one, and a thin wall as much as a full cavity.
    Where a target is empty, Dice is ``s / (sum p + s)``: it punishes every pixel predicted and is 1
    for none.

    :param logits: ``[N, labels, Y, X]``; :param target: the same shape, 0..1 (edges may be soft).
    """
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target)
    return (1 - soft_dice(logits, target, SMOOTH_PX)).mean() + cross_entropy


def soft_dice(logits: Tensor, target: Tensor, smooth_px: float) -> Tensor:
    """Soft Dice of each sample and label, ``(2 sum(p t) + s) / (sum p + sum t + s)``, [N, labels].

    :param logits, target: ``[N, labels, Y, X]``; :param smooth_px: s.
    """
    probability = torch.sigmoid(logits).flatten(2)
    truth = target.flatten(2)
    overlap = (probability * truth).sum(2)
    total = probability.sum(2) + truth.sum(2)
    return (2 * overlap + smooth_px) / (total + smooth_px)


Schedule = Literal["cosine", "constant"]


def learning_rate(
    step: int, peak: float, *, schedule: Schedule, warmup_steps: int, total_steps: int
) -> float:
    """Learning rate of a step, counted from 0.

    ``cosine``: linear warm-up, then a half cosine to 0 (Loshchilov 2017, eq. 5, one cycle).
    ``constant``: linear warm-up, then the peak.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * (1 + math.cos(math.pi * min(1.0, done))) / 2


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the exponential average towards the weights and statistics of a step, counted from 1.

    Not ``torch.optim.swa_utils.AveragedModel``: that copies the weights at its first step, has one
    decay for the whole run and leaves buffers alone.

    The decay is at most ``step / (step + 9)``, so that the first steps do not linger; counters
    (whole numbers) are copied.
    """
    decay = min(decay, step / (step + 9))
    for target, value in zip(ema.state_dict().values(), network.state_dict().values(), strict=True):
        if target.is_floating_point():
            target.lerp_(value, 1 - decay)
        else:
            target.copy_(value)
