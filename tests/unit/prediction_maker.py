"""Predictions made by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvseg.geometry import Box
from lvseg.labels import Label
from lvseg.prediction import Prediction


def prediction_of(
    probabilities: NDArray[np.float32],
    box: Box | None = None,
    pixel_ratio: float = 1.0,
    *,
    epicardium: NDArray[np.float32] | None = None,
) -> Prediction:
    """Probabilities of the cavity ``[T, Z, Y, X]``, inside a box or everywhere.

    :param epicardium: probabilities of lying inside it, for a network of two structures.
    """
    both = [probabilities] if epicardium is None else [probabilities, epicardium]
    found = np.stack([np.asarray(each, np.float32) for each in both])
    inputs = found[0].reshape(-1, 1, *found.shape[3:])
    scores = found.transpose(1, 2, 0, 3, 4).reshape(-1, *found.shape[:1], *found.shape[3:])
    labels = (Label.LV_CAVITY, Label.LV_MYOCARDIUM)[: len(both)]
    box = box or Box(0, 0, *found.shape[3:])
    return Prediction(found, box, labels, inputs, scores, pixel_ratio)
