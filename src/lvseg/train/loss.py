"""The loss, written out: soft Dice and binary cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor
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
