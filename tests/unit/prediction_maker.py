"""Predictions made by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvseg.geometry import Box
from lvseg.labels import Label
from lvseg.prediction import Prediction


def prediction_of(
    probabilities: NDArray[np.float32], box: Box | None = None, pixel_ratio: float = 1.0
) -> Prediction:
    """Probabilities of the cavity ``[T, Z, Y, X]``, inside a box or everywhere."""
    found = np.asarray(probabilities, np.float32)
    inputs = found.reshape(-1, 1, *found.shape[2:])
    return Prediction(
        found[None],
        box or Box(0, 0, *found.shape[2:]),
        (Label.LV_CAVITY,),
        inputs,
        inputs,
        pixel_ratio,
    )
