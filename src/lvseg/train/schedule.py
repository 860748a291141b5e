"""Learning-rate schedule: a function of the step, so that a resumed run needs no more state."""

from __future__ import annotations

import math
from typing import Literal

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
