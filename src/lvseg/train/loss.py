"""The loss, written out: soft Dice and binary cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["dice_cross_entropy", "soft_dice"]

#: Pixels added to both sides of the ratio: an empty target then scores 1 for an empty prediction
#: and still passes a gradient, and a cavity of ten pixels is not drowned.
SMOOTH_PX = 1.0


def dice_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over samples of (1 - soft Dice) + mean binary cross-entropy.

    Dice is taken per sample (Milletari 2016, eq. 3, without the squares), so that a small apical
    cavity weighs as much as a large basal one. A sample without cavity has Dice
    ``s / (sum p + s)``: it punishes every pixel predicted and is 0 for none.

    :param logits: ``[N, 1, Y, X]``; :param target: the same shape, 0..1 (edges may be soft).
    """
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target)
    return (1 - soft_dice(logits, target, SMOOTH_PX)).mean() + cross_entropy


def soft_dice(logits: Tensor, target: Tensor, smooth_px: float) -> Tensor:
    """Soft Dice of each sample, ``(2 sum(p t) + s) / (sum p + sum t + s)``, [N].

    :param logits, target: ``[N, 1, Y, X]``; :param smooth_px: s.
    """
    probability = torch.sigmoid(logits).flatten(1)
    truth = target.flatten(1)
    overlap = (probability * truth).sum(1)
    total = probability.sum(1) + truth.sum(1)
    return (2 * overlap + smooth_px) / (total + smooth_px)
