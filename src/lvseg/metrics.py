"""Agreement of two masks, and of two series of numbers.

Masks come as ``reference, prediction``, in that order, as boolean or 0/1 arrays of equal shape.
Definitions, sources and the table of empty masks are in ``docs/metrics.md``; the table itself is
:data:`EMPTY_MASKS`.

Distances between the boundaries of two masks are two families, each as its source defines it.
Hausdorff distances run between *edge pixels* (2D) or edge voxels (3D). The average perpendicular
distance runs between *contours*, polygons halfway between the pixels inside and those outside.
Intervals of a mean respect which patient a number is from.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lvseg.contours import contour_segments
from lvseg.errors import GeometryError, GeometryMismatchError

FloatArray = NDArray[np.float64]
Mask = NDArray[Any]
Values = Sequence[float | None] | FloatArray

#: A contour with a smaller average perpendicular distance is "good" (Radau et al. 2009).
GOOD_CONTOUR_MM = 5.0
#: 97.5th percentile of the normal distribution: 95 % of the differences lie within this many sd.
LIMITS_SD = 1.96


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


def _as_pair(reference: Mask, prediction: Mask) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
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


def _empty_case(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> EmptyCase | None:
    """Row of :data:`EMPTY_MASKS` that applies, None when both masks hold something."""
    key = (not reference.any(), not prediction.any())
    for case in EMPTY_MASKS:
        if (case.reference_empty, case.prediction_empty) == key:
            return case
    return None


def dice(reference: Mask, prediction: Mask) -> float:
    """Dice coefficient 2 |A and B| / (|A| + |B|), 0 to 1 (Dice, Ecology 1945;26:297).

    :param reference: bool or 0/1, [Y, X] or [Z, Y, X]; ``prediction`` the same shape.
    :raises GeometryMismatchError: shapes differ.

    Both empty: 1; one empty: 0.

    >>> dice(np.array([[1, 1, 0]]), np.array([[0, 1, 1]]))
    0.5
    """
    first, second = _as_pair(reference, prediction)
    case = _empty_case(first, second)
    if case is not None:
        return case.overlap
    shared = int(np.count_nonzero(first & second))
    return 2 * shared / (int(np.count_nonzero(first)) + int(np.count_nonzero(second)))


def jaccard(reference: Mask, prediction: Mask) -> float:
    """Jaccard index |A and B| / |A or B|, 0 to 1 (Jaccard, New Phytologist 1912;11:37).

    :param reference: bool or 0/1, [Y, X] or [Z, Y, X]; ``prediction`` the same shape.
    :raises GeometryMismatchError: shapes differ.

    Both empty: 1; one empty: 0.

    >>> jaccard(np.array([[1, 1, 0, 0]]), np.array([[0, 1, 1, 1]]))
    0.25
    """
    first, second = _as_pair(reference, prediction)
    case = _empty_case(first, second)
    if case is not None:
        return case.overlap
    return int(np.count_nonzero(first & second)) / int(np.count_nonzero(first | second))


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceDistances:
    """Every distance between two surfaces: the costly geometry once, cheap statistics after.

    :param reference_to_prediction: from each edge pixel of the reference to the nearest edge pixel
        of the prediction; empty where the reference is.
    :param prediction_to_reference: the same the other way.

    They are in mm when the spacing was given, otherwise in pixels.
    """

    reference_to_prediction: FloatArray
    prediction_to_reference: FloatArray

    def hausdorff(self, percent: float = 100.0) -> float:
        """Larger of the two directed percentiles; 100 = the Hausdorff distance.

        Both masks empty: NaN; one empty: infinite.
        """
        if not 0 <= percent <= 100:
            raise GeometryError(f"expected a percentile from 0 to 100, found {percent}")
        sides = [
            side
            for side in (self.reference_to_prediction, self.prediction_to_reference)
            if side.size
        ]
        if not sides:
            return math.nan
        if any(np.isinf(side).any() for side in sides):
            return math.inf
        return max(float(np.percentile(side, percent)) for side in sides)

    def mean(self) -> float:
        """Average symmetric surface distance: the mean over the edge pixels of both masks.

        Both masks empty: NaN; one empty: infinite.
        """
        both = np.concatenate([self.reference_to_prediction, self.prediction_to_reference])
        return float(both.mean()) if both.size else math.nan


def _steps(spacing_mm: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    if spacing_mm is None:
        return (1.0,) * ndim
    steps = tuple(float(value) for value in spacing_mm)
    if len(steps) != ndim:
        raise GeometryError(f"expected {ndim} spacings for a {ndim}D mask, found {len(steps)}")
    if not all(np.isfinite(value) and value > 0 for value in steps):
        raise GeometryError(f"expected positive spacings in mm, found {steps}")
    return steps


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of the mask with a side neighbour outside it; beyond the array is outside."""
    result: NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask)
    return result


def surface_distances(
    reference: Mask, prediction: Mask, spacing_mm: Sequence[float] | None = None
) -> SurfaceDistances:
    """Distances from each edge pixel of one mask to the nearest edge pixel of the other.

    :param reference: bool or 0/1, [Y, X] or [Z, Y, X]; ``prediction`` the same shape.
    :param spacing_mm: one per axis, in axis order (slice, row, column); None = unknown: the
        distances are in pixels.
    :raises GeometryMismatchError: shapes differ. GeometryError: spacings that do not fit.

    An empty mask has no edge: its own array is empty and the other one's distances are infinite.
    """
    first, second = _as_pair(reference, prediction)
    steps = _steps(spacing_mm, first.ndim)
    if _empty_case(first, second) is not None:
        return SurfaceDistances(
            np.full(np.count_nonzero(_edge(first)), np.inf),
            np.full(np.count_nonzero(_edge(second)), np.inf),
        )
    (box,) = ndimage.find_objects((first | second).astype(np.uint8))
    edges = _edge(first[box]), _edge(second[box])
    to_first, to_second = (
        np.asarray(ndimage.distance_transform_edt(~edge, sampling=steps), np.float64)
        for edge in edges
    )
    return SurfaceDistances(to_second[edges[0]], to_first[edges[1]])


def hausdorff_mm(
    reference: Mask, prediction: Mask, spacing_mm: Sequence[float] | None, *, percent: float = 100.0
) -> float:
    """Hausdorff distance between the edge pixels of two masks, mm; NaN without spacing.

    The larger of the two directed ``percent`` percentiles (linear interpolation), 100 = maximum
    (Huttenlocher et al., IEEE TPAMI 1993;15:850). Same definition as MONAI.

    :param reference: bool or 0/1, [Y, X] or [Z, Y, X]; ``prediction`` the same shape.
    :param spacing_mm: one per axis, in axis order; None = unknown.
    :raises GeometryMismatchError: shapes differ.

    Both empty: NaN; one empty: infinite.
    """
    if spacing_mm is None:
        _as_pair(reference, prediction)
        return math.nan
    return surface_distances(reference, prediction, spacing_mm).hausdorff(percent)


def hd95_mm(reference: Mask, prediction: Mask, spacing_mm: Sequence[float] | None) -> float:
    """:func:`hausdorff_mm` at the 95th percentile."""
    return hausdorff_mm(reference, prediction, spacing_mm, percent=95.0)


def _distances_to_segments(points: FloatArray, segments: FloatArray) -> FloatArray:
    """Exact distance from each point [N, 2] to the nearest of the segments [M, 2, 2], [N].

    Only segments whose midpoint lies within (distance to the nearest midpoint) + half the longest
    segment can be nearest; a k-d tree finds them.
    """
    starts, directions = segments[:, 0], segments[:, 1] - segments[:, 0]
    squared = np.einsum("ij,ij->i", directions, directions)
    tree = cKDTree(starts + directions / 2)
    reach = float(np.sqrt(squared.max())) / 2
    radius = tree.query(points)[0] + reach + 1e-9
    candidates = tree.query_ball_point(points, radius)
    counts = np.array([len(near) for near in candidates])
    chosen = np.concatenate([np.asarray(near, np.intp) for near in candidates])
    repeated = np.repeat(points, counts, axis=0)
    offset = repeated - starts[chosen]
    along = np.einsum("ij,ij->i", offset, directions[chosen]) / squared[chosen]
    foot = starts[chosen] + along.clip(0, 1)[:, None] * directions[chosen]
    distances = np.linalg.norm(repeated - foot, axis=1)
    result: FloatArray = np.minimum.reduceat(distances, np.concatenate([[0], counts.cumsum()[:-1]]))
    return result


def average_perpendicular_distance_mm(
    reference: Mask, prediction: Mask, spacing_mm: Sequence[float] | None
) -> float:
    """Mean distance from the automatic contour to the manual one, mm; NaN without spacing.

    Radau et al., The MIDAS Journal 2009: the distance from the automatically drawn contour to the
    corresponding manual contour, averaged over all contour points. Here the points are the
    vertices of the prediction's contour (:func:`lvseg.contours.contour_segments`), and each is
    measured to the nearest place on the reference's. One direction only, as published;
    :meth:`SurfaceDistances.mean` is the symmetric counterpart.

    :param reference: bool or 0/1, one slice [Y, X]; ``prediction`` the same shape.
    :param spacing_mm: (between rows, between columns); None = unknown.
    :raises GeometryMismatchError: shapes differ. GeometryError: not one slice.

    Both empty: NaN; one empty: infinite.
    """
    first, second = _as_pair(reference, prediction)
    if spacing_mm is None:
        return math.nan
    scale = np.asarray(_steps(spacing_mm, 2))
    if first.ndim != 2:
        raise GeometryError(f"expected one slice [row, column], found shape {first.shape}")
    case = _empty_case(first, second)
    if case is not None:
        return case.distance
    points, segments = contour_segments(second)[:, 0] * scale, contour_segments(first) * scale
    return float(_distances_to_segments(points, segments).mean())


def average_perpendicular_distance_px(reference: Mask, prediction: Mask) -> float:
    """:func:`average_perpendicular_distance_mm` in pixels, for pictures without a spacing."""
    return average_perpendicular_distance_mm(reference, prediction, (1.0, 1.0))


def is_good_contour(distance_mm: float) -> bool | None:
    """Whether an average perpendicular distance makes a good contour: below 5 mm (Radau 2009).

    None where the distance is NaN (unknown spacing, or no contour on either side).
    """
    return None if np.isnan(distance_mm) else bool(distance_mm < GOOD_CONTOUR_MM)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Bland-Altman figures, the mean absolute difference and Pearson's r of paired values.

    Of the differences prediction - reference: ``bias`` is the mean, ``sd`` the sample sd, ``lower``
    and ``upper`` the 95 % limits of agreement.
    """

    n: int
    bias: float
    sd: float
    lower: float
    upper: float
    mae: float
    r: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean, sample sd, median and 95 % interval of the mean, over the finite values.

    :param n: how many were finite; the rest are counted, never replaced.
    :param n_infinite: distances where exactly one mask was empty.
    :param n_unknown: NaN or None: no spacing, or no contour on either side.
    """

    mean: float
    sd: float
    median: float
    ci95: tuple[float, float]
    n: int
    n_infinite: int
    n_unknown: int


def _as_floats(values: Values) -> FloatArray:
    return np.array([np.nan if value is None else float(value) for value in values], np.float64)


def _sd(values: FloatArray) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else math.nan


def ef_agreement(reference: Values, prediction: Values) -> Agreement:
    """Agreement of ejection fractions, percentage points; ``r`` is Pearson's correlation.

    Limits of agreement are bias -+ 1.96 sd (Bland and Altman, Lancet 1986).

    :param reference: ejection fractions, percent; ``prediction`` as many; pairs with a None, NaN or
        infinite member are left out, ``n`` counts those used.
    :raises GeometryMismatchError: different lengths.

    No pair: all NaN; one pair: sd and limits NaN. ``r`` is NaN with fewer than two pairs or when
    one series is constant.

    >>> ef_agreement([50.0, 60.0], [51.0, 63.0]).bias
    2.0
    """
    first, second = _as_floats(reference), _as_floats(prediction)
    if first.shape != second.shape:
        raise GeometryMismatchError(
            f"expected as many predictions as references, found {len(second)} and {len(first)}"
        )
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    difference = second - first
    if not difference.size:
        return Agreement(0, *[math.nan] * 6)
    bias, sd = float(difference.mean()), _sd(difference)
    spread, mae = LIMITS_SD * sd, float(np.abs(difference).mean())
    r = math.nan
    if first.size > 1 and np.ptp(first) > 0 and np.ptp(second) > 0:
        r = float(np.corrcoef(first, second)[0, 1])
    return Agreement(int(difference.size), bias, sd, bias - spread, bias + spread, mae, r)


def bootstrap(
    values: Values, by_patient: Sequence[Hashable], *, seed: int = 0, n: int = 2000
) -> tuple[float, float]:
    """95 % interval of the mean by resampling patients, not slices (percentile method).

    Slices of one patient resemble each other, so patients are drawn with replacement and bring all
    their values (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13). The
    statistic is the mean over all values drawn.

    :param values: numbers; None, NaN and infinite ones are left out.
    :param by_patient: the patient of each value.
    :raises GeometryMismatchError: different lengths.

    Fewer than two patients: (NaN, NaN), for one patient says nothing about others.
    """
    numbers = _as_floats(values)
    if len(by_patient) != numbers.size:
        raise GeometryMismatchError(
            f"expected a patient for each of {numbers.size} values, found {len(by_patient)}"
        )
    place: dict[Hashable, int] = {}
    known = np.isfinite(numbers)
    patient = np.array(
        [
            place.setdefault(who, len(place))
            for who, ok in zip(by_patient, known, strict=True)
            if ok
        ],
        np.intp,
    )
    if len(place) < 2:
        return (math.nan, math.nan)
    sums = np.bincount(patient, weights=numbers[known], minlength=len(place))
    counts = np.bincount(patient, minlength=len(place))
    drawn = np.random.default_rng(seed).integers(len(place), size=(n, len(place)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return (float(low), float(high))


def summarise(
    values: Values, by_patient: Sequence[Hashable] | None = None, *, seed: int = 0, n: int = 2000
) -> Summary:
    """Mean, sample sd, median and bootstrapped 95 % interval of the mean.

    :param values: numbers; None and NaN are unknown; infinite ones are counted apart.
    :param by_patient: the patient of each value; None = each value is a patient of its own.
    :raises GeometryMismatchError: different lengths.

    No finite value: every figure is NaN.
    """
    numbers = _as_floats(values)
    patients: Sequence[Hashable] = range(numbers.size) if by_patient is None else by_patient
    interval = bootstrap(numbers, patients, seed=seed, n=n)
    finite = numbers[np.isfinite(numbers)]
    infinite = int(np.isinf(numbers).sum())
    unknown = int(np.isnan(numbers).sum())
    if not finite.size:
        return Summary(math.nan, math.nan, math.nan, interval, 0, infinite, unknown)
    mean, median = float(finite.mean()), float(np.median(finite))
    return Summary(mean, _sd(finite), median, interval, int(finite.size), infinite, unknown)
