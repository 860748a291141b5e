"""Rules for time and place: which element of a header says when and where an image was taken.

They are data: the quirk of a vendor is one more row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any


@dataclass(frozen=True, slots=True)
class TimeRule:
    """One element that may say which phase of the cardiac cycle a frame shows.

    :param name: what phases ordered by it are ordered by (``Source.order_rule``).
    :param tag: keyword of the element, or the number of a private one.
    :param value: from its value (text or number) to ms or a count; ValueError or TypeError = none.
    """

    name: str
    tag: str | int
    value: Callable[[Any], float]


def milliseconds(value: Any) -> float:
    """A number of ms as it stands."""
    return float(value)


def count(value: Any) -> float:
    """A whole number."""
    return float(int(float(value)))


def clock_ms(value: Any) -> float:
    """YYYYMMDDHHMMSS[.F][+ZZZZ], or HHMMSS[.F] alone, in ms (PS3.5 section 6.2, DT and TM).

    Only differences mean anything. An anonymised date that is none (month 0) is counted all the
    same: two images of it still differ by their time of day.

    >>> clock_ms("100002.5") - clock_ms("100000")
    2500.0
    """
    whole, _, fraction = str(value).strip().partition("+")[0].partition("-")[0].partition(".")
    if len(whole) not in (6, 14) or not whole.isdigit():
        raise ValueError("no time")
    day = 0
    if len(whole) == 14:
        year, month, number = int(whole[:4]), int(whole[4:6]), int(whole[6:8])
        try:
            day = date(year, month, number).toordinal()
        except ValueError:
            day = 372 * year + 31 * month + number
    hours, minutes, seconds = int(whole[-6:-4]), int(whole[-4:-2]), int(whole[-2:])
    part = float(f"0.{fraction}") if fraction.isdigit() else 0.0
    return 1000.0 * (((24 * day + hours) * 60 + minutes) * 60 + seconds + part)


#: What orders phases, best first; of rows of one name the first that a header has. ``FrameTime``
#: stands here for its rank: the frames of a classic multi-frame image count it from the first one
#: (PS3.3 C.7.6.5), which no single element says.
TIME_RULES = (
    TimeRule("TriggerTime", "TriggerTime", milliseconds),
    TimeRule("TriggerTime", "NominalCardiacTriggerDelayTime", milliseconds),
    TimeRule("FrameTime", "FrameTime", milliseconds),
    TimeRule("TemporalPositionIdentifier", "TemporalPositionIndex", count),
    TimeRule("TemporalPositionIdentifier", "TemporalPositionIdentifier", count),
    TimeRule("InstanceNumber", "InstanceNumber", count),
    TimeRule("AcquisitionTime", "FrameAcquisitionDateTime", clock_ms),
    TimeRule("AcquisitionTime", "AcquisitionDateTime", clock_ms),
    TimeRule("AcquisitionTime", "AcquisitionTime", clock_ms),
    TimeRule("ContentTime", "ContentTime", clock_ms),
)
#: The rules that give times of phases in ms after the R wave or after the first frame.
TIMED_RULES = ("TriggerTime", "FrameTime")
#: Clocks that can contradict the order of instance numbers, the surer first.
CLOCK_RULES = ("AcquisitionTime", "ContentTime")


@dataclass(frozen=True, slots=True)
class PlaceRule:
    """One element that says where a frame lies.

    :param part: which part of a plane; of rows of one part the first that a header has counts.
    :param numbers: how many there must be.
    """

    part: str
    tag: str | int
    numbers: int


#: Where a frame lies (PS3.3 C.7.6.2.1.1).
PLACE_RULES = (
    PlaceRule("position", "ImagePositionPatient", 3),
    PlaceRule("orientation", "ImageOrientationPatient", 6),
    PlaceRule("spacing", "PixelSpacing", 2),
    PlaceRule("thickness", "SliceThickness", 1),
)
