"""Optimization of a network: the loss, the learning-rate schedule and the averaged weights.

All three are functions of what a checkpoint holds, so that a resumed run needs no more state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lvseg.errors import DivergedError

#: Pixels added to both sides of the ratio: an empty target then scores 1 for an empty prediction
#: and still passes a gradient, and a structure of ten pixels is not drowned.
SMOOTH_PX = 1.0


def dice_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    known: Tensor | None = None,
    over_batch: bool = False,
    label_weights: Sequence[float] = (),
) -> Tensor:
    """Mean over samples and labels of (1 - soft Dice) + mean binary cross-entropy.

    Dice is taken per sample and label (Milletari 2016, eq. 3, without the squares), so that a small
    apical cavity weighs as much as a large basal one, and a thin wall as much as a full cavity.
    Where a target is empty, Dice is ``s / (sum p + s)``: it punishes every pixel predicted and is 1
    for none. A network that is unsure of an edge then does best to draw the structure too large or
    too small; over the batch, with every pixel of a label in one ratio, it does so less (Bertels
    2019, Optimization with soft Dice can lead to a volumetric bias).

    :param logits: ``[N, labels, Y, X]``; :param target: the same shape, 0..1 (edges may be soft).
    :param known: which samples say where a label is, ``[N, labels]`` bool; the others are left out
        of that label. None = all.
    :param over_batch: one Dice a label over the batch.
    :param label_weights: of the labels in the mean; none = equal.
    """
    if known is None and not over_batch and not label_weights:
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, target)
        return (1 - soft_dice(logits, target, SMOOTH_PX)).mean() + cross_entropy
    each = torch.ones(logits.shape[:2]) if known is None else known.float()
    weights = each * torch.tensor(label_weights or [1.0] * logits.shape[1])
    weights = weights.to(logits.device)
    counted = weights.sum().clamp(min=1e-6)
    pixels = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    cross_entropy = (pixels.mean((2, 3)) * weights).sum() / counted
    if not over_batch:
        dice = soft_dice(logits, target, SMOOTH_PX)
        return ((1 - dice) * weights).sum() / counted + cross_entropy
    there = (weights > 0)[:, :, None, None]
    probability, truth = torch.sigmoid(logits) * there, target * there
    overlap, total = (probability * truth).sum((0, 2, 3)), (probability + truth).sum((0, 2, 3))
    dice = (2 * overlap + SMOOTH_PX) / (total + SMOOTH_PX)
    return ((1 - dice) * weights.sum(0)).sum() / counted + cross_entropy


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


def require_finite(loss: float, step: int) -> None:
    """Stop a training that can only get worse.

    :param loss: of the epoch so far; :param step: steps done.
    :raises DivergedError: it is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise DivergedError(
            f"expected a loss that is a number, found {loss:g} after step {step}: lower "
            "learning_rate, or raise warmup_steps, and start a new run; the checkpoints are those "
            "of the epoch before"
        )


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
