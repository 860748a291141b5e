"""Exponential moving average (EMA) of a network's weights.

Not ``torch.optim.swa_utils.AveragedModel``: that copies the weights at its first step, has one
decay for the whole run and leaves buffers alone, so runs of earlier versions could not go on.
"""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the weights and statistics of step ``step``, counted from 1.

    The decay is at most ``step / (step + 9)``, so that the first steps do not linger; counters
    (whole numbers) are copied.
    """
    decay = min(decay, step / (step + 9))
    for target, value in zip(ema.state_dict().values(), network.state_dict().values(), strict=True):
        if target.is_floating_point():
            target.lerp_(value, 1 - decay)
        else:
            target.copy_(value)
