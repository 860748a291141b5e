"""The wall thickness of each slice at end-diastole: where its bars and words stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lvseg.cine import base_first
from lvseg.report.curve import BOTTOM, HEADROOM, LEFT, LEFT_EACH, RIGHT, TOP, WIDTH, number, ticks
from lvseg.results import StudyResult

HEIGHT = 210
#: A bar takes this share of the room of its slice, and is never wider than so many units.
SHARE, WIDEST = 0.62, 34


@dataclass(frozen=True, slots=True)
class Bar:
    """One slice; without a thickness there are no words and no height.

    :param middle: of the bar, along the x axis; :param words: its thickness.
    """

    slice: int
    x: float
    y: float
    width: float
    height: float
    middle: float
    words: str


@dataclass(frozen=True, slots=True)
class ThicknessChart:
    """Bars of a chart of ``width`` x ``height``; axes as in :class:`lvseg.report.curve.Curve`.

    :param ends: words at the first and at the last slice: base and apex, empty where unknown.
    :param y_ticks: (place, words).
    """

    bars: tuple[Bar, ...]
    ends: tuple[str, str]
    y_ticks: tuple[tuple[float, str], ...]
    left: float
    mean: str
    width: float = WIDTH
    height: float = HEIGHT
    right: float = WIDTH - RIGHT
    bottom: float = HEIGHT - BOTTOM


def thickness_chart(result: StudyResult) -> ThicknessChart | None:
    """Lay out the wall thickness of a study; None where no slice has one."""
    found = result.measurements.wall_thickness_mm or ()
    known = [each for each in found if each is not None]
    if not known:
        return None
    most = max(known) * HEADROOM
    y_ticks = ticks(most, 6, whole=True)
    left = LEFT + LEFT_EACH * max(len(number(y, 0)) for y in y_ticks)
    room = (WIDTH - left - RIGHT) / len(found)
    width = min(SHARE * room, WIDEST)

    def height(thickness_mm: float) -> float:
        return thickness_mm / most * (HEIGHT - TOP - BOTTOM)

    bars = []
    for index, each in enumerate(found):
        middle, tall = left + (index + 0.5) * room, height(each or 0.0)
        bars.append(
            Bar(
                index,
                round(middle - width / 2, 1),
                round(HEIGHT - BOTTOM - tall, 1),
                round(width, 1),
                round(tall, 1),
                round(middle, 1),
                "" if each is None else number(each),
            )
        )
    row = result.mask.phases.index(result.measurements.phases.end_diastole or 0)
    at_first = base_first(np.array(result.measurements.area_px[row]))
    ends = {None: ("", ""), True: ("base", "apex"), False: ("apex", "base")}[at_first]
    return ThicknessChart(
        tuple(bars),
        ends,
        tuple((round(HEIGHT - BOTTOM - height(y), 1), number(y, 0)) for y in y_ticks),
        left,
        number(float(np.mean(known))),
    )
