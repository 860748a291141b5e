"""Distribution of one value over a cohort: where its bars, ticks and words stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from lvseg.report.curve import BOTTOM, HEADROOM, LEFT, LEFT_EACH, RIGHT, TOP, WIDTH, number, ticks

HEIGHT = 190
#: Bars at most; fewer values than this many a bar would show gaps, not a shape.
MOST_BARS = 24
VALUES_A_BAR = 3
#: Numbers below the bars, at most so many.
MOST_LABELS = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """Studies with a value from ``low`` up to, not including, ``high``."""

    low: float
    high: float
    count: int
    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars of a chart of ``width`` x ``height``; axes as in :class:`lvseg.report.curve.Curve`.

    :param median: its place on the x axis. :param words: median and quartiles.
    :param x_ticks, y_ticks: (place, words).
    """

    name: str
    unit: str
    bars: tuple[Bar, ...]
    median: float
    words: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    left: float
    width: float = WIDTH
    height: float = HEIGHT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def histogram(values: Sequence[float], name: str, unit: str) -> Histogram | None:
    """Lay out the distribution of a value; None with fewer than two values."""
    if len(values) < 2:
        return None
    step = _step(values)
    first, last = floor(min(values) / step), floor(max(values) / step) + 1
    counts, _ = np.histogram(values, bins=np.arange(first, last + 1) * step)
    most = int(counts.max()) * HEADROOM
    y_ticks = ticks(most, 4, whole=True)
    left = LEFT + LEFT_EACH * max(len(number(y, 0)) for y in y_ticks)
    room = (WIDTH - left - RIGHT) / (last - first)

    def across(value: float) -> float:
        return round(left + (value / step - first) * room, 1)

    def tall(count: float) -> float:
        return round(count / most * (HEIGHT - TOP - BOTTOM), 1)

    digits = 0 if step >= 1 else 1
    bars = tuple(
        Bar(
            low := round((first + place) * step, 9),
            high := round(low + step, 9),
            int(count),
            round(left + place * room + 0.5, 1),
            round(HEIGHT - BOTTOM - tall(count), 1),
            round(room - 1, 1),
            tall(count),
            f"{number(low, digits)} to {number(high, digits)} {unit}: {count}",
        )
        for place, count in enumerate(counts)
        if count
    )
    lower, median, upper = (float(each) for each in np.percentile(values, (25, 50, 75)))
    every = next(each for each in (1, 2, 5, 10) if (last - first) / each <= MOST_LABELS)
    labelled = range(ceil(first / every) * every, last + 1, every)
    return Histogram(
        name,
        unit,
        bars,
        across(median),
        f"median {number(median)}, middle half {number(lower)} to {number(upper)}, "
        f"{len(values)} studies",
        tuple((across(at * step), number(at * step, digits)) for at in labelled),
        tuple((round(HEIGHT - BOTTOM - tall(y), 1), number(y, 0)) for y in y_ticks),
        left,
    )


def _step(values: Sequence[float]) -> float:
    """Width of a bar: round, and as many bars as the number of values bears."""
    spread = max(values) - min(values)
    if spread == 0:
        return 1.0
    bars = min(MOST_BARS, max(4, len(values) // VALUES_A_BAR))
    return ticks(spread, bars)[1]
