"""The volume-time curve of a study: where its lines, marks and words stand."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

from lvseg.results import LVMeasurements, StudyResult

#: Size of the chart and of its margins, in its own units; the page scales it.
WIDTH, HEIGHT = 460, 284
RIGHT, TOP, BOTTOM = 14, 30, 38
#: Left margin: this much, and this much for each character of the longest number there.
LEFT, LEFT_EACH = 14, 8.5
#: Space above the largest value for its label.
HEADROOM = 1.02
#: Distance of a label's baseline above and below its point.
ABOVE, BELOW = 10, 21


@dataclass(frozen=True, slots=True)
class Point:
    """One phase: its index in the cine, place in the chart and value."""

    phase: int
    x: float
    y: float
    value: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A label at end-diastole or end-systole; ``anchor`` as in SVG."""

    name: str
    words: str
    point: Point
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Curve:
    """A chart of ``width`` x ``height``; axes from ``left`` to ``right``, ``top`` to ``bottom``.

    :param what: ``"Volume"`` or ``"Summed area"``; :param x_words: name and unit of the x axis.
    :param lines: paths; neighbouring phases are joined, phases without a mask leave a gap.
    :param x_ticks, y_ticks: (place, words).
    """

    what: str
    unit: str
    x_words: str
    points: tuple[Point, ...]
    lines: tuple[str, ...]
    marks: tuple[Mark, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    left: float
    width: float = WIDTH
    height: float = HEIGHT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def number(value: float, digits: int = 1) -> str:
    r"""Write a number with thin spaces between thousands; -0 is 0.

    >>> number(1234.56), number(-0.04)
    ('1\u202f234.6', '0.0')
    """
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def areas(values: LVMeasurements) -> tuple[str, tuple[tuple[float, ...], ...]]:
    """Unit and area of each phase and slice, [F][Z]; pixels where the spacing is unknown."""
    return ("px", values.area_px) if values.area_mm2 is None else ("mm²", values.area_mm2)


def summed(values: LVMeasurements) -> tuple[str, str, tuple[float, ...]]:
    """Name, unit and value of each phase: volume, or summed area where no volume is known."""
    if values.volume_ml is not None:
        return "Volume", "ml", values.volume_ml
    unit, rows = areas(values)
    return "Summed area", unit, tuple(float(sum(row)) for row in rows)


def curve(result: StudyResult) -> Curve | None:
    """Lay out the curve of a study; None with fewer than two phases or without any cavity."""
    what, unit, values = summed(result.measurements)
    phases = result.mask.phases
    if len(phases) < 2 or max(values) <= 0:
        return None
    times = result.cine.times_ms
    across = [float(phase) if times is None else times[phase] for phase in phases]
    x_most, y_most = max(across), max(values) * HEADROOM
    x_ticks, y_ticks = ticks(x_most, 6, whole=True), ticks(y_most, 5)
    digits = 0 if y_ticks[1] >= 1 else ceil(-log10(y_ticks[1]))
    y_words = [number(y, digits) for y in y_ticks]
    left = LEFT + LEFT_EACH * max(map(len, y_words))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            round(left + x / x_most * (WIDTH - left - RIGHT), 1),
            round(HEIGHT - BOTTOM - y / y_most * (HEIGHT - TOP - BOTTOM), 1),
        )

    points = tuple(
        Point(phase, *place(x, y), y)
        for phase, x, y in sorted(zip(phases, across, values, strict=True))
    )
    return Curve(
        what,
        unit,
        "Phase" if times is None else "Time in ms",
        points,
        _lines(points),
        _marks(result.measurements, points, unit),
        tuple((place(x, 0)[0], number(x, 0)) for x in x_ticks),
        tuple((place(0, y)[1], words) for y, words in zip(y_ticks, y_words, strict=True)),
        left,
    )


def ticks(most: float, count: int, *, whole: bool = False) -> tuple[float, ...]:
    """Round numbers from 0 to ``most``, a step of 1, 2 or 5 times a power of ten apart.

    :param count: of steps at most; :param whole: no step below 1.

    >>> ticks(213.0, 4), ticks(19.0, 6, whole=True)
    ((0.0, 100.0, 200.0), (0.0, 5.0, 10.0, 15.0))
    """
    rough = most / count
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    if whole:
        step = max(step, 1.0)
    return tuple(round(index * step, 9) for index in range(floor(most / step + 1e-9) + 1))


def _lines(points: tuple[Point, ...]) -> tuple[str, ...]:
    paths: list[list[Point]] = [[points[0]]]
    for before, after in pairwise(points):
        if after.phase == before.phase + 1:
            paths[-1].append(after)
        else:
            paths.append([after])
    return tuple(
        "M" + "L".join(f"{point.x:g} {point.y:g}" for point in path)
        for path in paths
        if len(path) > 1
    )


def _marks(values: LVMeasurements, points: tuple[Point, ...], unit: str) -> tuple[Mark, ...]:
    """Labels beside end-diastole (above, the curve lies below) and end-systole (below)."""
    found = {"ED": values.phases.end_diastole, "ES": values.phases.end_systole}
    marks = []
    for name, phase in found.items():
        for point in points:
            if point.phase != phase:
                continue
            share = point.x / WIDTH
            anchor = "start" if share < 0.25 else "end" if share > 0.8 else "middle"
            shift = {"start": -4, "end": 4, "middle": 0}[anchor]
            below = name == "ES" and point.y + BELOW + 4 < HEIGHT - BOTTOM
            label_y = point.y + (BELOW if below else -ABOVE)
            digits = 1 if unit == "ml" else 0
            words = f"{number(point.value, digits)} {unit}"
            marks.append(Mark(name, words, point, point.x + shift, label_y, anchor))
    return tuple(marks)
