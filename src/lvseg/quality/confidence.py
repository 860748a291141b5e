"""Confidence: the Dice with an expert to expect of a mask, from the network's own probabilities.

A network that is sure gives probabilities near 0 and 1; where it doubts, they lie between. If the
probabilities were right, the Dice to expect of a slice would follow from them alone; how far they
are right is fitted on patients the network has not seen and stands on the model's card.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.modelcard import Calibration
from lvseg.quality.evidence import Evidence
from lvseg.results import Confidence

FloatArray = NDArray[np.float64]

#: Keeps the logit of a self-Dice finite; beyond, one network is as sure as another. No limit of a
#: check: calibrations are fitted with it.
_LEAST, _MOST = 0.02, 0.998
#: An area for the curve to count from, about that of a small cavity at 1.3 mm; it moves nothing but
#: the intercept.
_AREA_PX = 400


def self_dice(
    probabilities: Iterable[NDArray[np.float32]], inside: Iterable[NDArray[np.bool_]]
) -> FloatArray:
    """The Dice of each mask with its own probabilities, 0..1, [N]; 0 for an empty mask.

    2 sum(p m) / (sum(p) + sum(m)): about the expected Dice if every pixel is cavity with its
    probability, independent of the others (first-order approximation of the mean of a ratio).

    :param probabilities: N frames ``[Y, X]`` 0..1; :param inside: as many masks.
    """
    found = []
    for values, mask in zip(probabilities, inside, strict=True):
        total = values.sum(dtype=np.float64) + np.count_nonzero(mask)
        found.append(2 * values[mask].sum(dtype=np.float64) / total if total > 0 else 0.0)
    return np.array(found, np.float64)


def expected_dice(
    own: FloatArray, area_px: NDArray[np.floating], calibration: Calibration
) -> FloatArray:
    """The Dice with an expert to expect of slices, 0..1, the shape of ``own``.

    A logistic curve: intercept + slope * logit(self-Dice) + area_slope * ln(area / 400).

    :param own: of :func:`self_dice`; :param area_px: cavity pixels on the model's grid, above 0.
    """
    doubt, size = curve_terms(own, area_px)
    score = calibration.intercept + calibration.slope * doubt + calibration.area_slope * size
    result: FloatArray = 1 / (1 + np.exp(-score))
    return result


def curve_terms(own: FloatArray, area_px: NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
    """What the curve weighs: logit of the self-Dice and ln(area / 400), the shape of ``own``."""
    kept = np.clip(own, _LEAST, _MOST)
    doubt: FloatArray = np.log(kept / (1 - kept))
    size: FloatArray = np.log(np.maximum(area_px, 1) / _AREA_PX)
    return doubt, size


def predict_dice(evidence: Evidence) -> Confidence | None:
    """What Dice with an expert to expect of a study and of each of its slices.

    :returns: None without a prediction, without calibration or for an empty mask. The study's value
        is the mean over its slices with cavity, as Dice per slice is reported.
    """
    prediction, card, mask = evidence.prediction, evidence.card, evidence.mask
    areas = evidence.features.areas_px
    if prediction is None or card is None or card.calibration is None or not areas.any():
        return None
    inside = prediction.box.crop(mask.of(Label.LV_CAVITY))
    probabilities = prediction.of(Label.LV_CAVITY)
    held = np.argwhere(areas).tolist()
    own = self_dice(
        (probabilities[mask.phases[row], index] for row, index in held),
        (inside[row, index] for row, index in held),
    )
    values = np.full(areas.shape, np.nan)
    on_model_grid = areas[areas > 0] * prediction.pixel_ratio
    values[areas > 0] = expected_dice(own, on_model_grid, card.calibration)
    rows = tuple(tuple(None if v != v else float(v) for v in row) for row in values.tolist())
    return Confidence(float(np.nanmean(values)), rows)


def low_confidence(evidence: Evidence) -> Iterator[Issue]:
    """A low expected Dice of the study, and of single slices; the worst slice is named."""
    confidence, card = predict_dice(evidence), evidence.card
    if confidence is None or card is None or card.calibration is None:
        return
    usual, usual_of_slice = card.calibration.review_below, card.calibration.slice_review_below
    if confidence.expected_dice < usual:
        text = (
            f"The network is unsure of this study: a Dice of {confidence.expected_dice:.2f} with "
            f"an expert is expected, {usual:.2f} or more is usual."
        )
        yield Issue("unsure", "warning", text)
    table = np.array(confidence.by_slice, np.float64)
    if not (table < usual_of_slice).any():
        return
    row, worst = np.unravel_index(int(np.nanargmin(table)), table.shape)
    count = int((np.nanmin(table, axis=0, initial=1.0) < usual_of_slice).sum())
    text = (
        f"The network is unsure of {count} slice(s) in at least one phase, most of this one, where "
        f"a Dice of {table[row, worst]:.2f} is expected."
    )
    yield Issue("unsure-slice", "info", text, int(worst), evidence.mask.phases[int(row)])
