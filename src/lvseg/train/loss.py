"""The losses, written out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LOSSES", "dice_cross_entropy", "soft_dice"]

#: Pixels added to both sides of the ratio: an empty target then scores 1 for an empty prediction
#: and still passes a gradient, and a cavity of ten pixels is not drowned.
SMOOTH_PX = 1.0
#: The study's: only so that nothing over nothing is 1.
TINY_PX = 1e-6


def dice_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over samples of (1 - soft Dice) + mean binary cross-entropy.

    Dice is taken per sample (Milletari 2016, eq. 3, without the squares), so that a small apical
    cavity weighs as much as a large basal one. A sample without cavity has Dice
    ``s / (sum p + s)``: it punishes every pixel predicted and is 0 for none.

    :param logits: ``[N, 1, Y, X]``; :param target: the same shape, 0..1 (edges may be soft).
    """
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target)
    return (1 - _dice(logits, target, SMOOTH_PX)).mean() + cross_entropy


def soft_dice(logits: Tensor, target: Tensor) -> Tensor:
    """The study's loss: mean over samples of 1 - soft Dice, with a tiny smoothing constant.

    Dice = 2 sum(p t) / (sum p + sum t) per sample (Milletari 2016, eq. 3, without the squares).
    A sample without cavity costs 1 unless nothing at all is predicted, and teaches next to nothing.

    :param logits: ``[N, 1, Y, X]``; :param target: the same shape, 0..1.
    """
    return (1 - _dice(logits, target, TINY_PX)).mean()


def _dice(logits: Tensor, target: Tensor, smooth: float) -> Tensor:
    """Soft Dice of each sample, [N]."""
    probability = torch.sigmoid(logits).flatten(1)
    truth = target.flatten(1)
    overlap = (probability * truth).sum(1)
    total = probability.sum(1) + truth.sum(1)
    return (2 * overlap + smooth) / (total + smooth)


#: By the name the options have.
LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"dice-cross-entropy": dice_cross_entropy, "dice": soft_dice}
)
