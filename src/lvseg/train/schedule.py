"""Learning rate and momentum of a step: functions of its number, so a resumed run needs no more."""

from __future__ import annotations

import math

from torch.optim import Optimizer

from lvseg.train.options import TrainOptions

__all__ = ["learning_rate", "momentum", "set_step"]

#: One cycle: shares of the run that go up and down again; the rest dies away.
CYCLE_SIDE = 0.45
#: One cycle: the first rate is the peak divided by this, the last one the first divided by 100.
CYCLE_RATIO = 10.0
CYCLE_END = 100.0
#: One cycle: how far momentum goes down while the rate is up (0.95 -> 0.85 in the paper).
CYCLE_MOMENTUM = 0.1


def learning_rate(step: int, options: TrainOptions) -> float:
    """Learning rate of a step, counted from 0.

    ``cosine``: linear warm-up, then a half cosine to 0 (Loshchilov 2017, eq. 5, one cycle).
    ``constant``: linear warm-up, then the peak. ``one-cycle`` (Smith 2018, section 4): linear
    from a tenth of the peak to the peak and back, 45 % of the run each, then linear to a thousandth
    of the peak; it is its own warm-up, ``warmup_steps`` is not used.
    """
    peak = options.peak_rate
    if options.schedule == "one-cycle":
        low, rise = peak / CYCLE_RATIO, _rise(step, options)
        if rise is not None:
            return low + (peak - low) * rise
        left = (1 - _done(step, options)) / (1 - 2 * CYCLE_SIDE)
        return low * (1 / CYCLE_END + (1 - 1 / CYCLE_END) * max(0.0, left))
    if step < options.warmup_steps:
        return peak * (step + 1) / options.warmup_steps
    if options.schedule == "constant":
        return peak
    total = options.epochs * options.steps_per_epoch - options.warmup_steps
    done = (step - options.warmup_steps) / max(1, total)
    return peak * (1 + math.cos(math.pi * min(1.0, done))) / 2


def momentum(step: int, options: TrainOptions) -> float:
    """Momentum of a step; with ``one-cycle`` it falls by 0.1 while the rate rises (Smith 2018)."""
    rise = _rise(step, options) if options.schedule == "one-cycle" else None
    return max(0.0, options.momentum - CYCLE_MOMENTUM * (rise or 0.0))


def _done(step: int, options: TrainOptions) -> float:
    return step / max(1, options.epochs * options.steps_per_epoch - 1)


def _rise(step: int, options: TrainOptions) -> float | None:
    """Height on the triangle of the cycle, 0 to 1; None behind it."""
    side = _done(step, options) / CYCLE_SIDE
    return None if side > 2 else 1 - abs(1 - side)


def set_step(optimiser: Optimizer, step: int, options: TrainOptions) -> None:
    """Give the optimiser the rate, and with ``one-cycle`` the momentum, of a step.

    AdamW's momentum is its first beta; it takes part in the cycle with ``options.momentum`` too.
    """
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(step, options)
        if options.schedule == "one-cycle" and "betas" in group:
            group["betas"] = (momentum(step, options), group["betas"][1])
        elif options.schedule == "one-cycle":
            group["momentum"] = momentum(step, options)
