"""Overlap of two masks, and what every metric answers when a mask is empty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import GeometryMismatchError


@dataclass(frozen=True, slots=True)
class EmptyCase:
    """One row of the table of empty masks: what overlaps and distances are then, and why."""

    reference_empty: bool
    prediction_empty: bool
    overlap: float
    distance: float
    reason: str


#: Every metric of this package follows this table.
EMPTY_MASKS: tuple[EmptyCase, ...] = (
    EmptyCase(
        True,
        True,
        1.0,
        math.nan,
        "the masks agree in every pixel, and leaving a slice without cavity empty is a success; "
        "there is no contour to measure a distance from",
    ),
    EmptyCase(
        True, False, 0.0, math.inf, "nothing is shared; the contour found has no counterpart"
    ),
    EmptyCase(
        False, True, 0.0, math.inf, "nothing is shared; the contour missed has no counterpart"
    ),
)


def as_pair(
    reference: NDArray[Any], prediction: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both masks as booleans (nonzero = inside).

    :raises GeometryMismatchError: shapes differ (they are never broadcast) or are not 2D or 3D.
    """
    first, second = np.asarray(reference), np.asarray(prediction)
    if first.shape != second.shape:
        raise GeometryMismatchError(
            f"expected two masks of one shape, found reference {first.shape} and prediction "
            f"{second.shape}: put both on the same grid"
        )
    if first.ndim not in (2, 3):
        raise GeometryMismatchError(
            f"expected masks [row, column] or [slice, row, column], found shape {first.shape}"
        )
    return first.astype(bool), second.astype(bool)


def empty_case(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> EmptyCase | None:
    """Row of :data:`EMPTY_MASKS` that applies, None when both masks hold something."""
    key = (not reference.any(), not prediction.any())
    for case in EMPTY_MASKS:
        if (case.reference_empty, case.prediction_empty) == key:
            return case
    return None


def dice(reference: NDArray[Any], prediction: NDArray[Any]) -> float:
    """Dice coefficient 2 |A and B| / (|A| + |B|), 0 to 1 (Dice, Ecology 1945;26:297).

    :param reference: bool or 0/1, [Y, X] or [Z, Y, X]; ``prediction`` the same shape.
    :raises GeometryMismatchError: shapes differ.

    Both empty: 1; one empty: 0.

    >>> dice(np.array([[1, 1, 0]]), np.array([[0, 1, 1]]))
    0.5
    """
    first, second = as_pair(reference, prediction)
    case = empty_case(first, second)
    if case is not None:
        return case.overlap
    shared = int(np.count_nonzero(first & second))
    return 2 * shared / (int(np.count_nonzero(first)) + int(np.count_nonzero(second)))


def jaccard(reference: NDArray[Any], prediction: NDArray[Any]) -> float:
    """Jaccard index |A and B| / |A or B|, 0 to 1 (Jaccard, New Phytologist 1912;11:37).

    :param reference: bool or 0/1, [Y, X] or [Z, Y, X]; ``prediction`` the same shape.
    :raises GeometryMismatchError: shapes differ.

    Both empty: 1; one empty: 0.

    >>> jaccard(np.array([[1, 1, 0, 0]]), np.array([[0, 1, 1, 1]]))
    0.25
    """
    first, second = as_pair(reference, prediction)
    case = empty_case(first, second)
    if case is not None:
        return case.overlap
    return int(np.count_nonzero(first & second)) / int(np.count_nonzero(first | second))
