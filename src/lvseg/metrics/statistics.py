"""Agreement of two series of numbers, and intervals that respect which patient a number is from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvseg.errors import GeometryMismatchError

FloatArray = NDArray[np.float64]
Values = Sequence[float | None] | FloatArray

#: 97.5th percentile of the normal distribution: 95 % of the differences lie within this many sd.
LIMITS_SD = 1.96


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Differences prediction - reference: mean, sample sd, and 95 % limits of agreement."""

    n: int
    bias: float
    sd: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Bland-Altman figures, the mean absolute difference and Pearson's r of paired values."""

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


def _pairs(reference: Values, prediction: Values) -> tuple[FloatArray, FloatArray]:
    first, second = _as_floats(reference), _as_floats(prediction)
    if first.shape != second.shape:
        raise GeometryMismatchError(
            f"expected as many predictions as references, found {len(second)} and {len(first)}"
        )
    known = np.isfinite(first) & np.isfinite(second)
    return first[known], second[known]


def _sd(values: FloatArray) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else float("nan")


def bland_altman(reference: Values, prediction: Values) -> BlandAltman:
    """Bias, sd and 95 % limits of agreement, bias -+ 1.96 sd (Bland and Altman, Lancet 1986).

    :param reference: numbers, any unit; ``prediction`` as many; pairs with a None, NaN or infinite
        member are left out, ``n`` counts those used.
    :raises GeometryMismatchError: different lengths.

    No pair: all NaN; one pair: sd and limits NaN.

    >>> bland_altman([50.0, 60.0], [51.0, 63.0]).bias
    2.0
    """
    first, second = _pairs(reference, prediction)
    difference = second - first
    bias = float(difference.mean()) if difference.size else float("nan")
    sd = _sd(difference)
    spread = LIMITS_SD * sd
    return BlandAltman(int(difference.size), bias, sd, bias - spread, bias + spread)


def ef_agreement(reference: Values, prediction: Values) -> Agreement:
    """Agreement of ejection fractions, percentage points; ``r`` is Pearson's correlation.

    :param reference: ejection fractions, percent; ``prediction`` as many; unknown pairs left out.
    :raises GeometryMismatchError: different lengths.

    No pair: all NaN. ``r`` is NaN with fewer than two pairs or when one series is constant.
    """
    first, second = _pairs(reference, prediction)
    limits = bland_altman(first, second)
    mae = float(np.abs(second - first).mean()) if first.size else float("nan")
    r = float("nan")
    if first.size > 1 and np.ptp(first) > 0 and np.ptp(second) > 0:
        r = float(np.corrcoef(first, second)[0, 1])
    return Agreement(limits.n, limits.bias, limits.sd, limits.lower, limits.upper, mae, r)


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
        return (float("nan"), float("nan"))
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
        nan = float("nan")
        return Summary(nan, nan, nan, interval, 0, infinite, unknown)
    mean, median = float(finite.mean()), float(np.median(finite))
    return Summary(mean, _sd(finite), median, interval, int(finite.size), infinite, unknown)
