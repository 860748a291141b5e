"""Interval of a measured value: where the true one lies, from the errors on patients held out.

The errors of a model on patients whom it had not seen are sorted; the next error lies between two
of them with the stated coverage, whatever the errors look like, as long as the next patient is one
like those (split conformal prediction: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random
World, Springer 2005; Angelopoulos and Bates, arXiv:2107.07511, 2021). Errors are signed, so an
interval also corrects a model that draws all cavities too large: it need not hold the value itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from types import MappingProxyType

import numpy as np

from lvseg.errors import MeasureError
from lvseg.issues import Issue, verdict_of
from lvseg.modelcard import Intervals, ModelCard
from lvseg.results import Interval, LVMeasurements

#: Finding of a study whose images are unlike the training data (:mod:`lvseg.quality.ood`).
UNLIKE = "unlike-training-data"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A measured value that gets an interval.

    :param key: of its errors in :class:`lvseg.modelcard.Intervals`.
    :param relative: errors are percent of the true value; else a difference in its unit.
    :param most: the largest value there can be; the smallest is 0.
    """

    key: str
    relative: bool = True
    most: float = float("inf")


#: Field of :class:`lvseg.results.LVMeasurements` -> its errors; the interval stands beside it under
#: the name of the field and ``_interval``.
QUANTITIES: Mapping[str, Quantity] = MappingProxyType(
    {
        "edv_ml": Quantity("edv_percent"),
        "esv_ml": Quantity("esv_percent"),
        "ef_percent": Quantity("ef_points", relative=False, most=100.0),
        "mass_g": Quantity("mass_percent"),
    }
)


def fit_intervals(
    true: Mapping[str, Sequence[float | None]],
    measured: Mapping[str, Sequence[float | None]],
    *,
    coverage: float = 0.9,
    widening_unlike: float | None = 2.0,
) -> Intervals:
    """Learn how far a model's values lie from the true ones; the section of its card.

    Every study must have been measured by a network that had not seen its patient, and patients
    must not come twice, or the coverage is not the stated one.

    :param true, measured: field of :data:`QUANTITIES` -> one value a study, None where unknown; a
        field may be left out. ``studies`` counts those of which any pair is known.
    :param widening_unlike: factor for a study unlike the training data; None: no interval then.
    :returns: None in place of the errors of a quantity with too few pairs: 19 for 90 %.
    :raises MeasureError: sequences of different length, or a true volume or mass that is not
        above 0.
    """
    found: dict[str, Interval | None] = {}
    known: set[int] = set()
    for name, quantity in QUANTITIES.items():
        pairs = _pairs(name, true.get(name, ()), measured.get(name, ()))
        known |= pairs.keys()
        errors = [_error(name, quantity, *pair) for pair in pairs.values()]
        bounds = conformal_bounds(errors, coverage)
        if bounds is not None and quantity.relative and bounds[0] <= -100:
            bounds = None  # values of 0 where there was something: any size may be behind them
        found[quantity.key] = bounds
    return Intervals(
        coverage=coverage, widening_unlike=widening_unlike, studies=len(known), **found
    )


def conformal_bounds(errors: Sequence[float], coverage: float) -> Interval | None:
    """The two of n errors between which the next one lies with at least this coverage.

    With a = 1 - coverage: the floor((n + 1) a / 2)-th smallest and the ceil((n + 1) (1 - a / 2))-th
    smallest (Angelopoulos and Bates 2021, equation 1, at both ends). None where n is too small for
    both to be there.

    >>> conformal_bounds([3.0, 1.0, 2.0], 0.5)
    (1.0, 3.0)
    """
    ordered, rest = sorted(errors), (1 - coverage) / 2
    # ranks of 1 as 1.0000000000000002 are ranks of 1
    low = floor(round((len(ordered) + 1) * rest, 9))
    high = ceil(round((len(ordered) + 1) * (1 - rest), 9))
    if low < 1 or high > len(ordered):
        return None
    return float(ordered[low - 1]), float(ordered[high - 1])


def _pairs(
    name: str, true: Sequence[float | None], measured: Sequence[float | None]
) -> dict[int, Interval]:
    """Number of a study -> (true, measured), where both are known."""
    if len(true) != len(measured):
        raise MeasureError(
            f"expected a true and a measured {name} of each study, found {len(true)} and "
            f"{len(measured)}: give None where one is unknown"
        )
    both = enumerate(zip(true, measured, strict=True))
    return {study: (a, b) for study, (a, b) in both if a is not None and b is not None}


def _error(name: str, quantity: Quantity, true: float, measured: float) -> float:
    if not quantity.relative:
        return measured - true
    if true <= 0:
        raise MeasureError(f"expected a true {name} above 0, found {true}: leave that study out")
    return 100 * (measured - true) / true


def interval(
    value: float, errors: Interval, quantity: Quantity, *, widening: float = 1.0
) -> Interval:
    """The interval of one value.

    A relative error of q percent belongs to a true value of value / (1 + q / 100), a difference of
    q to value - q. It is widened about its middle, and cut at 0 and at the largest possible value.

    :param errors: (lowest, highest) of the card.
    """
    low, high = (
        value / (1 + error / 100) if quantity.relative else value - error for error in errors[::-1]
    )
    middle, half = (low + high) / 2, widening * (high - low) / 2
    bounds = np.clip([middle - half, middle + half], 0.0, quantity.most)
    return float(bounds[0]), float(bounds[1])


def with_intervals(
    values: LVMeasurements, card: ModelCard | None, issues: Iterable[Issue]
) -> tuple[LVMeasurements, tuple[Issue, ...]]:
    """Add the intervals of all values, and the findings that say what is special about them.

    :param card: of the model that drew the mask; None for a mask from elsewhere.
    :param issues: everything noticed about the study: one that failed a check has no interval, one
        unlike the training data a wider one, or none where the card says so.
    :returns: the values, those findings included, and the findings alone. A value that is unknown
        has no interval, and the finding that says why it is unknown stands for both.
    """
    noticed = (*issues,)
    known = {name: value for name in QUANTITIES if (value := getattr(values, name)) is not None}
    if not known:
        return values, ()
    section = None if card is None or card.calibration is None else card.calibration.intervals
    why, widening = "", 1.0
    if card is None:
        why = "No model is known that drew this mask, so nobody knows its error"
    elif section is None:
        why = f"The card of the model {card.name} states no error of its values"
    elif verdict_of(noticed) == "fail":
        why = "A check has failed"
    elif any(issue.code == UNLIKE for issue in noticed):
        widening = section.widening_unlike or 0.0
        why = "" if widening else "The images are unlike those that trained the network"
    if why or section is None:
        return _told(values, (Issue("no-intervals", "info", f"{why}: there are no intervals."),))
    found, without = dict[str, Interval](), list[str]()
    for name, value in known.items():
        errors = getattr(section, QUANTITIES[name].key)
        if errors is None:
            without.append(name)
        else:
            found[f"{name}_interval"] = interval(value, errors, QUANTITIES[name], widening=widening)
    told: list[Issue] = []
    if without:
        text = f"The card of the model states no error of {', '.join(without)}: no interval there."
        told.append(Issue("no-intervals", "info", text))
    if widening != 1:
        text = (
            "The images are unlike those that trained the network: the intervals are "
            f"{widening:g} times as wide as usual."
        )
        told.append(Issue("wide-intervals", "info", text))
    return _told(replace(values, **found), tuple(told))  # type: ignore[arg-type]


def _told(
    values: LVMeasurements, issues: tuple[Issue, ...]
) -> tuple[LVMeasurements, tuple[Issue, ...]]:
    return replace(values, issues=(*values.issues, *issues)), issues
