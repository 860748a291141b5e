"""Repeats of a place, and stacks that follow each other in time, told apart among parallel slices.

Where two slices lie nearer than half the distance of the slices, one repeats the other, or both are
of two stacks (rest and stress): then the slices fall apart in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lvseg.geometry import POSITION_TOLERANCE_MM, Plane
from lvseg.read.frames import FrameInfo, moment, recency
from lvseg.read.phases import acquired_ms

#: Two slices nearer than this share of the usual distance show the same place.
REPEAT_SHARE = 0.5
#: Slices of one stack overlap by no more than a quarter of their thickness.
LEAST_OF_THICKNESS = 0.75
#: The usual distance of fewer places may be that of a slice and its repeat.
_FEW_PLACES = 4
#: What covers this share of the places is a stack of its own, not a repeat of some slices.
STACK_SHARE = 0.6
#: Slices of one grid are off it by less than this share of their distance.
GRID_TOLERANCE = 0.15
#: A stack acquired so long after another, elsewhere, shows another state of the heart (stress,
#: contrast): the one at rest is what reference values are of. Sooner, the first was planned badly.
OTHER_STATE_MS = 10 * 60 * 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One acquisition of one place: its phases in order of time.

    :param at_mm: its middle along the axis of the pool.
    :param why_not: why its images are no phases of one heartbeat, "" if they are.
    """

    frames: tuple[FrameInfo, ...]
    at_mm: float
    why_not: str

    @property
    def plane(self) -> Plane:
        """Its plane."""
        return self.frames[0].placed()


def ascending(slices: Iterable[Slice]) -> tuple[Slice, ...]:
    """Slices by place; of one place by time."""
    return tuple(sorted(slices, key=lambda each: (each.at_mm, recency(each.frames))))


def usual_thickness_mm(frames: Iterable[FrameInfo]) -> float | None:
    """The median thickness that frames state; None where none does."""
    known = [t for frame in frames if (t := frame.placed().thickness_mm) is not None]
    return float(np.median(known)) if known else None


def usual_step(places: NDArray[np.float64], thickness: float | None) -> tuple[float | None, bool]:
    """The usual distance of slices at sorted places, and whether two stacks interleave there.

    Slices of one stack do not overlap by more than a part of their thickness: where the usual
    distance is smaller, every other slice is of another stack.
    """
    distinct = _distinct(places)
    if len(distinct) < 2:
        return None, False
    step = float(np.median(np.diff(distinct)))
    few = len(distinct) < _FEW_PLACES
    if thickness is None or step >= LEAST_OF_THICKNESS * thickness or few:
        return step, False
    return float(np.median(distinct[2:] - distinct[:-2])), True


def _distinct(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sorted places without those that are one with the place before."""
    return places[np.diff(places, prepend=-np.inf) > POSITION_TOLERANCE_MM]


def place_limit_mm(step: float, overlapping: bool) -> float:
    """Slices at most this far apart show one place."""
    edge = POSITION_TOLERANCE_MM if overlapping else -POSITION_TOLERANCE_MM
    return max(REPEAT_SHARE * step + edge, POSITION_TOLERANCE_MM)


def _repeat_limit_mm(slices: Sequence[Slice]) -> float:
    places = np.array(sorted(each.at_mm for each in slices))
    one_series = len(_series(slices)) == 1
    thickness = usual_thickness_mm(frame for each in slices for frame in each.frames[:1])
    step, overlapping = usual_step(places, None if one_series else thickness)
    if step is None:
        return POSITION_TOLERANCE_MM
    limit = place_limit_mm(step, overlapping)
    if one_series or thickness is None:
        return limit
    least = LEAST_OF_THICKNESS * thickness
    if len(_distinct(places)) <= _FEW_PLACES and np.diff(places).max() >= least:
        limit = max(limit, least)
    return max(limit, _limit_of_a_whole_series(slices, thickness))


def _limit_of_a_whole_series(slices: Sequence[Slice], thickness: float) -> float:
    """The limit by the distance of one series whose slices all others repeat; 0 if there is none.

    Repeats beside their places make the usual distance of all places too small. Where the slices of
    a series lie twice their thickness apart, others belong between them.
    """
    places = {
        uid: _distinct(np.array(sorted(s.at_mm for s in slices if _series([s]) == {uid})))
        for uid in _series(slices)
    }
    most = max(places.values(), key=len)
    if len(places) < 2 or len(most) < 2:
        return 0.0
    steps, step = np.diff(most), float(np.median(np.diff(most)))
    if np.ptp(steps) > GRID_TOLERANCE * step or step >= 2 * thickness:
        return 0.0
    limit = place_limit_mm(step, overlapping=False)
    return limit if all(np.abs(most - s.at_mm).min() <= limit for s in slices) else 0.0


def _places(slices: Sequence[Slice], limit_mm: float) -> list[list[Slice]]:
    """Slices by place, ascending: the nearest are joined first, none over more than the limit."""
    groups = [[each] for each in ascending(slices)]
    while len(groups) > 1:
        spans = [b[-1].at_mm - a[0].at_mm for a, b in pairwise(groups)]
        least = int(np.argmin(spans))
        if spans[least] > limit_mm:
            break
        groups[least : least + 2] = [groups[least] + groups[least + 1]]
    return groups


def by_place(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices by place, ascending; those of one place are repeats."""
    return _places(slices, _repeat_limit_mm(slices))


def split(slices: list[Slice]) -> list[list[Slice]]:
    """Slices as one stack, or as the stacks that were acquired one after the other.

    A long pause parts two stacks of the same region, even where their slices interleave as those
    of one would. A series that covers most places beside others that do is a stack. Otherwise they
    fall apart at a moment before and after which most places were acquired, in different series; of
    several such moments at the one that leaves the fewest repeats on its sides.
    """
    sides = _by_pause(slices)
    if sides is not None:
        return [*split(sides[0]), *split(sides[1])]
    limit = _repeat_limit_mm(slices)
    groups = _places(slices, limit)
    if len(groups) == len(slices) or len(groups) < 2:
        return [slices]
    ordered = sorted(slices, key=lambda each: recency(each.frames))
    least = max(2, int(np.ceil(STACK_SHARE * len(groups))))
    for uid in sorted(_series(slices)):
        inside = [each for each in ordered if _series([each]) == {uid}]
        outside = [each for each in ordered if each not in inside]
        if _are_stacks(inside, outside, least, limit):
            return [*split(inside), *split(outside)]
    best: tuple[int, int] | None = None
    for at in range(least, len(ordered) - least + 1):
        before, after = ordered[:at], ordered[at:]
        if moment(before[-1].frames) == moment(after[0].frames) or _series(before) & _series(after):
            continue
        if not _are_stacks(before, after, least, limit):
            continue
        repeats = len(slices) - sum(len(_places(side, limit)) for side in (before, after))
        if best is None or repeats < best[0]:
            best = (repeats, at)
    if best is None:
        return [slices]
    return [*split(ordered[: best[1]]), *split(ordered[best[1] :])]


def _by_pause(slices: Sequence[Slice]) -> tuple[list[Slice], list[Slice]] | None:
    """Slices before and after a pause so long that they show two states of the heart."""
    clocks = [acquired_ms(each.frames) for each in slices]
    spans = [(min(clock), max(clock)) for clock in clocks if clock]
    if len(spans) < len(slices):
        return None
    order = sorted(range(len(slices)), key=lambda index: spans[index])
    last = spans[order[0]][1]
    for at, index in enumerate(order[1:], start=1):
        if spans[index][0] - last > OTHER_STATE_MS:
            before, after = ([slices[i] for i in part] for part in (order[:at], order[at:]))
            if not _series(before) & _series(after) and _of_one_region(before, after):
                return before, after
        last = max(last, spans[index][1])
    return None


def _of_one_region(one: Sequence[Slice], other: Sequence[Slice]) -> bool:
    """Whether both are stacks, most slices of each lie among those of the other, and none repeats
    only some of the other. Two slices by themselves are, if they overlap.
    """
    fewer, more = sorted(
        (_distinct(np.array(sorted(s.at_mm for s in side))) for side in (one, other)), key=len
    )
    if len(more) == 1:
        thickness = usual_thickness_mm(frame for each in one for frame in each.frames[:1])
        return bool(POSITION_TOLERANCE_MM < abs(fewer[0] - more[0]) < (thickness or 0.0))
    if len(fewer) < max(2, STACK_SHARE * len(more)):
        return False
    for here, there in ((fewer, more), (more, fewer)):
        edge = float(np.median(np.diff(there))) / 2 + POSITION_TOLERANCE_MM
        inside = (here >= there[0] - edge) & (here <= there[-1] + edge)
        if inside.mean() < STACK_SHARE:
            return False
    exact = [np.abs(more - place).min() <= POSITION_TOLERANCE_MM for place in fewer]
    return len(fewer) == len(more) or not all(exact)


def _are_stacks(one: Sequence[Slice], other: Sequence[Slice], least: int, limit_mm: float) -> bool:
    """Whether both cover at least so many places, mostly the same ones, and neither only some
    places of the other.
    """
    counts = [len(_places(side, limit_mm)) for side in (one, other)]
    if min(counts) < least:
        return False
    fewer, more = (one, other) if counts[0] < counts[1] else (other, one)
    apart = np.array([min(abs(each.at_mm - there.at_mm) for there in more) for each in fewer])
    if (apart <= limit_mm).mean() < STACK_SHARE:
        return False
    return counts[0] == counts[1] or bool((apart > POSITION_TOLERANCE_MM).any())


def _series(slices: Sequence[Slice]) -> set[str]:
    return {frame.series_uid for each in slices for frame in each.frames}
