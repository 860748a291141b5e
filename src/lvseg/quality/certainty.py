"""How well the mask probably agrees with an expert's, judged from the network's own doubt.

A network that is sure gives probabilities near 0 and 1; where it doubts, they lie between. If the
probabilities were right, the Dice to expect of a slice would follow from them alone; how far they
are right is fitted on patients the network has not seen and stands on the model's card.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Mask
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.modelcard import Calibration
from lvseg.prediction import Prediction
from lvseg.results import Confidence

__all__ = ["expect_dice", "expected_dice", "self_dice", "unsure"]

FloatArray = NDArray[np.float64]

#: Keeps the logit of a self-Dice finite; beyond, one network is as sure as another.
_LEAST, _MOST = 0.02, 0.998


def self_dice(probabilities: NDArray[np.float32], inside: NDArray[np.bool_]) -> FloatArray:
    """The Dice of each mask with its own probabilities, 0..1, [N]; 0 for an empty mask.

    2 sum(p m) / (sum(p) + sum(m)): about the expected Dice if every pixel is cavity with its
    probability, independent of the others (first-order approximation of the mean of a ratio).

    :param probabilities: ``[N, Y, X]`` 0..1; :param inside: the same shape.
    """
    result = np.zeros(len(inside))
    for index, (values, mask) in enumerate(zip(probabilities, inside, strict=True)):
        total = values.sum(dtype=np.float64) + np.count_nonzero(mask)
        if total > 0:
            result[index] = 2 * values[mask].sum(dtype=np.float64) / total
    return result


def expected_dice(own: FloatArray, area_px: FloatArray, calibration: Calibration) -> FloatArray:
    """The Dice with an expert to expect of slices, 0..1, the shape of ``own``.

    A logistic curve: intercept + slope * logit(self-Dice) + area_slope * ln(area / 400).

    :param own: of :func:`self_dice`; :param area_px: cavity pixels on the model's grid, above 0.
    """
    kept = np.clip(own, _LEAST, _MOST)
    score = (
        calibration.intercept
        + calibration.slope * np.log(kept / (1 - kept))
        + calibration.area_slope * np.log(np.maximum(area_px, 1) / 400)
    )
    result: FloatArray = 1 / (1 + np.exp(-score))
    return result


def expect_dice(
    prediction: Prediction, mask: Mask, calibration: Calibration | None
) -> Confidence | None:
    """What Dice to expect of a study and of each of its slices.

    :param prediction: of the phases of the mask, before clean-up.
    :returns: None without calibration or for an empty mask. The study's value is the mean over
        its slices with cavity, as Dice per slice is reported.
    """
    inside = prediction.box.crop(mask.of(Label.LV_CAVITY))
    probabilities = prediction.of(Label.LV_CAVITY)
    areas = inside.sum(axis=(2, 3)).reshape(-1).astype(np.float64)
    if calibration is None or not areas.any():
        return None
    flat = (-1, *inside.shape[2:])
    held = np.flatnonzero(areas)
    own = self_dice(probabilities.reshape(flat), inside.reshape(flat))[held]
    values = np.full(areas.shape, np.nan)
    values[held] = expected_dice(own, areas[held] * prediction.pixel_ratio, calibration)
    table = values.reshape(inside.shape[:2]).tolist()
    rows = tuple(tuple(None if v != v else float(v) for v in row) for row in table)
    return Confidence(float(np.nanmean(values)), rows)


def unsure(
    certainty: Confidence | None, calibration: Calibration | None, phases: tuple[int, ...]
) -> tuple[Issue, ...]:
    """Issues where the network is unsure: of the study, and of single slices.

    :param phases: the phase of the cine each row of the certainty stands for.
    """
    if certainty is None or calibration is None:
        return ()
    issues = []
    if certainty.expected_dice < calibration.review_below:
        text = (
            f"The network is unsure of this study: a Dice of {certainty.expected_dice:.2f} with an "
            f"expert is expected, {calibration.review_below:.2f} or more is usual."
        )
        issues.append(Issue("unsure", "warning", text))
    table = np.array(certainty.by_slice, np.float64)
    if not (table < calibration.slice_review_below).any():
        return tuple(issues)
    row, worst = np.unravel_index(int(np.nanargmin(table)), table.shape)
    count = int((np.nanmin(table, axis=0, initial=1.0) < calibration.slice_review_below).sum())
    text = (
        f"The network is unsure of {count} slice(s) in at least one phase, most of this one, where "
        f"a Dice of {table[row, worst]:.2f} is expected."
    )
    issues.append(Issue("unsure-slice", "info", text, int(worst), phases[int(row)]))
    return tuple(issues)
