"""Model cards that state the errors of their values."""

from __future__ import annotations

from typing import Any

from seg_maker import card

from lvseg.modelcard import Calibration, Intervals, ModelCard

KNOWN = Intervals(
    edv_percent=(-5.0, 25.0), esv_percent=(-20.0, 60.0), ef_points=(-9.0, 3.0), studies=44
)


def calibration(**changes: Any) -> Calibration:
    """With slope 1 and nothing else, so that the expected Dice is the self-Dice."""
    plain = {"intercept": 0.0, "slope": 1.0, "area_slope": 0.0, "patients": 44, "slices": 700}
    return Calibration(**(plain | {"review_below": 0.8, "slice_review_below": 0.7} | changes))


def card_with(intervals: Intervals | None) -> ModelCard:
    return card().model_copy(update={"calibration": calibration(intervals=intervals)})
