"""Candidate stacks: the images of a study put together by place and time, whatever the series says.

A slice is what was acquired at one place: its phases in order. Slices that lie parallel belong to
one stack if they do not stand in each other's way. Where two lie nearer than half the distance of
the slices, one repeats the other, or both are of two stacks (rest and stress): then the study falls
apart in time. Which of the stacks is measured is for :mod:`lvseg.read.judge` to say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lvseg.geometry import POSITION_TOLERANCE_MM, SMALL_TILT_DEGREES, Plane, index_to_mm, normal
from lvseg.read.frames import FrameInfo, canonical, moment, recency, time_values
from lvseg.read.phases import (
    Ordered,
    SamePixels,
    best_rule,
    drop_duplicates,
    order_phases,
    why_no_phases,
    why_not_one_cycle,
)
from lvseg.read.rules import TIMED_RULES

#: Two slices nearer than this share of the usual distance show the same place.
REPEAT_SHARE = 0.5
#: Slices of one stack overlap by no more than a quarter of their thickness.
LEAST_OF_THICKNESS = 0.75
#: What covers this share of the places is a stack of its own, not a repeat of some slices.
STACK_SHARE = 0.6
#: Slices of one grid are off it by less than this share of their distance.
GRID_TOLERANCE = 0.15
#: Pixel spacings of one stack differ by less than this share: exports round them.
SPACING_SHARE = 0.01
#: A stack acquired so long after another, elsewhere, shows another state of the heart (stress,
#: contrast): the one at rest is what reference values are of. Sooner, the first was planned badly.
OTHER_STATE_MS = 10 * 60 * 1000.0
#: Names of pulse sequences that measure velocity, e.g. fl2d1_v150in.
_VELOCITY_NAME = re.compile(r"_v\d+", re.IGNORECASE)
#: Images of one plane shift by less than this in it; a larger shift is another acquisition.
_SAME_PLANE_MM = 1.0


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


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Parallel slices that may form a stack, or may not.

    :param slices: every acquisition, ascending along the axis, repeats included.
    :param ordered: what put the phases in order; None where nothing does.
    :param dropped: how many exact copies of images were left out.
    """

    slices: tuple[Slice, ...]
    ordered: Ordered | None
    dropped: int

    @property
    def frames(self) -> tuple[FrameInfo, ...]:
        """All its images."""
        return tuple(frame for each in self.slices for frame in each.frames)

    @property
    def series_uids(self) -> tuple[str, ...]:
        """The series the images come from."""
        return tuple(sorted({frame.series_uid for each in self.slices for frame in each.frames}))

    def places(self) -> list[list[Slice]]:
        """Its slices by place, ascending; those of one place are repeats."""
        return by_place(self.slices)


def candidates(frames: Sequence[FrameInfo], same_pixels: SamePixels) -> list[Candidate]:
    """Every candidate of a study, from magnitude MR images that have a place."""
    flow = _velocity_places([f for f in frames if f.plane is not None and f.modality == "MR"])
    found: list[Candidate] = []
    for parallel in _by_orientation([f for f in frames if f.may_be_in_a_stack]):
        found.extend(_of_parallel(parallel, flow, same_pixels))
    return sorted(found, key=lambda each: canonical(min(each.frames, key=canonical)))


def _of_parallel(
    frames: Sequence[FrameInfo], flow: set[tuple[object, ...]], same_pixels: SamePixels
) -> list[Candidate]:
    middles = _middles(frames, _axis(frames))
    parts = _parts(frames, middles)
    result = []
    for pool in _pools(parts, middles, flow):
        cleaned = [drop_duplicates(part, same_pixels) for part in pool]
        kept = [unique for unique, _ in cleaned]
        dropped = sum(count for _, count in cleaned)
        ordered = order_phases(kept)
        if ordered is None:
            slices = [Slice(tuple(p), middles[id(p[0])], "no order") for p in kept]
            result.append(Candidate(_ascending(slices), None, dropped))
            continue
        slices = [
            Slice(acquired, middles[id(acquired[0])], _why_not(acquired, ordered.rule))
            for found in ordered.acquisitions
            for acquired in found
        ]
        for kind in sorted({_kind(each) for each in slices}):
            for stack in split([each for each in slices if _kind(each) == kind]):
                result.append(Candidate(_ascending(stack), ordered, dropped))
                dropped = 0
    return result


def _kind(each: Slice) -> str:
    return "other" if each.why_not else ""


def _why_not(frames: Sequence[FrameInfo], rule: str) -> str:
    if len(frames) == 1:
        return ""
    if why := why_no_phases([frames], rule):
        return why
    times = time_values(frames, rule) if rule in TIMED_RULES else None
    return why_not_one_cycle([frames], None if times is None else tuple(times))


def _ascending(slices: Iterable[Slice]) -> tuple[Slice, ...]:
    return tuple(sorted(slices, key=lambda each: (each.at_mm, recency(each.frames))))


# Orientation and place


def _by_orientation(frames: Sequence[FrameInfo]) -> list[list[FrameInfo]]:
    """Frames in groups whose normals are within a small angle of that of the most common plane."""
    directions = [(*f.placed().row_step, *f.placed().column_step) for f in frames]
    counts = Counter(directions)
    seeds: list[NDArray[np.float64]] = []
    members: list[list[FrameInfo]] = []
    group_of: dict[tuple[float, ...], int] = {}
    least = float(np.cos(np.radians(SMALL_TILT_DEGREES)))
    for key in sorted(counts, key=lambda each: (-counts[each], each)):
        axis = np.cross(key[3:], key[:3])
        axis = axis / np.linalg.norm(axis)
        fit = [i for i, seed in enumerate(seeds) if abs(float(seed @ axis)) >= least]
        if not fit:
            seeds.append(axis)
            members.append([])
        group_of[key] = fit[0] if fit else len(seeds) - 1
    for frame, key in zip(frames, directions, strict=True):
        members[group_of[key]].append(frame)
    return members


def _axis(frames: Sequence[FrameInfo]) -> NDArray[np.float64]:
    """The normal of the most common orientation; its side is that of the slices themselves."""
    counts = Counter((f.placed().row_step, f.placed().column_step) for f in frames)
    usual = min(counts, key=lambda each: (-counts[each], each))
    same = [f for f in frames if (f.placed().row_step, f.placed().column_step) == usual]
    return normal(min(same, key=canonical).placed())


def _middles(frames: Sequence[FrameInfo], axis: NDArray[np.float64]) -> dict[int, float]:
    """The place of the middle of each frame along the axis, by the identity of the frame.

    The position is the part of ImagePositionPatient along the normal (PS3.3 C.7.6.2.1.1);
    SliceLocation is not used: it has no defined axis.
    """
    known: dict[tuple[Plane, int, int], float] = {}
    result = {}
    for frame in frames:
        key = (frame.placed(), frame.rows, frame.columns)
        if key not in known:
            known[key] = float(middle(*key) @ axis)
        result[id(frame)] = known[key]
    return result


def middle(plane: Plane, rows: int, columns: int) -> NDArray[np.float64]:
    """The middle of an image of that size, LPS mm, [3]."""
    point: NDArray[np.float64] = index_to_mm(
        plane, np.array([[(rows - 1) / 2, (columns - 1) / 2]])
    )[0]
    return point


def _parts(frames: Sequence[FrameInfo], middles: dict[int, float]) -> list[list[FrameInfo]]:
    """Images of one plane and one series; series of a single image there are taken together."""
    parts: list[list[FrameInfo]] = []
    for plane in _by_plane(frames, middles):
        series: dict[tuple[str, str], list[FrameInfo]] = {}
        for frame in plane:
            series.setdefault((frame.series_uid, frame.sop_class_uid), []).append(frame)
        several = [members for members in series.values() if len(members) > 1]
        single = [frame for members in series.values() if len(members) == 1 for frame in members]
        if several and single:  # a still image where there is a cine
            parts.extend([frame] for frame in single)
        elif single:
            parts.append(single)
        parts.extend(_rejoined(several))
    return parts


def _by_plane(frames: Sequence[FrameInfo], middles: dict[int, float]) -> list[list[FrameInfo]]:
    """Frames in groups of one plane, ascending along the axis."""
    groups: list[list[list[FrameInfo]]] = []
    last = -np.inf
    for frame in sorted(frames, key=lambda each: (middles[id(each)], canonical(each))):
        if middles[id(frame)] - last > POSITION_TOLERANCE_MM:
            groups.append([])
        last = middles[id(frame)]
        for group in groups[-1]:
            if _same_plane(group[0], frame):
                group.append(frame)
                break
        else:
            groups[-1].append([frame])
    return [group for place in groups for group in place]


def _same_plane(one: FrameInfo, other: FrameInfo) -> bool:
    a, b = one.placed(), other.placed()
    if (one.rows, one.columns) != (other.rows, other.columns):
        return False
    if a == b:
        return True
    shift = max(abs(x - y) for x, y in zip(a.origin_mm, b.origin_mm, strict=True))
    directions = ((*a.row_step, *a.column_step), (*b.row_step, *b.column_step))
    turn = max(abs(x - y) for x, y in zip(*directions, strict=True))
    return shift <= _SAME_PLANE_MM and turn <= 1e-4 and _spacing_key(one) == _spacing_key(other)


def _rejoined(series: list[list[FrameInfo]]) -> list[list[FrameInfo]]:
    """Series that hold one after the other the early and the late phases of one cycle, joined."""
    spans = [_span(members) for members in series]
    if len(series) < 2 or any(span is None for span in spans):
        return series
    known = [(span, members) for span, members in zip(spans, series, strict=True) if span]
    known.sort(key=lambda pair: pair[0])
    result: list[tuple[tuple[float, float, float], list[FrameInfo]]] = []
    for span, members in known:
        if result:
            (first, last, step), before = result[-1]
            alike = abs(span[2] - step) <= 0.2 * step
            if alike and 0.5 * step <= span[0] - last <= 1.5 * step:
                result[-1] = ((first, span[1], step), [*before, *members])
                continue
        result.append((span, members))
    return [members for _, members in result]


def _span(frames: Sequence[FrameInfo]) -> tuple[float, float, float] | None:
    """(first trigger time, last one, mean step) in ms; None if a frame has no time of its own."""
    times = time_values(frames, "TriggerTime")
    if times is None or len(set(times)) != len(times):
        return None
    return min(times), max(times), (max(times) - min(times)) / (len(times) - 1)


# Pools: parallel slices of one kind of image that complete each other


def _spacing_key(frame: FrameInfo) -> tuple[float, ...]:
    """Pixel spacing, the smaller first, in steps in which exports round it."""
    ordered = sorted(frame.placed().pixel_spacing_mm)
    return tuple(round(float(np.log(value)) / SPACING_SHARE) for value in ordered)


def _velocity_places(frames: Sequence[FrameInfo]) -> set[tuple[object, ...]]:
    """Where velocity was measured: the places of phase images."""
    return {_velocity_key(frame) for frame in frames if frame.component == "phase"}


def _velocity_key(frame: FrameInfo) -> tuple[object, ...]:
    plane = frame.placed()
    return (
        frame.acquired,
        tuple(round(value, 1) for value in plane.origin_mm),
        tuple(round(value, 3) for value in (*plane.row_step, *plane.column_step)),
    )


def _family(frame: FrameInfo) -> tuple[str, ...]:
    """How an image was acquired, without what changes with the heart rate, e.g. tfi2d1_15."""
    scanning, variant, name, other = frame.pulse_sequence
    stem = re.split(r"[\d_]", name.lstrip("*"))[0]
    return (scanning, "/".join(sorted(variant.split("/"))), stem, other)


def space_of(frames: Sequence[FrameInfo]) -> str:
    """The frame of reference of the images of one place; "" where it says nothing.

    Anonymised studies have a new one in every image.
    """
    uids = {frame.frame_of_reference_uid for frame in frames}
    return uids.pop() if len(uids) == 1 and len(frames) > 1 else ""


def _pools(
    parts: list[list[FrameInfo]], middles: dict[int, float], flow: set[tuple[object, ...]]
) -> list[list[list[FrameInfo]]]:
    """Parts in groups that may be one stack.

    Images of another sequence, object class or frame of reference are joined where they complete
    the places of the others, and stay apart where they cover the same.
    """
    looks = _looks(parts, flow)
    pools: list[tuple[tuple[object, ...], list[list[list[FrameInfo]]]]] = []
    for (kind, _), members in sorted(
        looks.items(), key=lambda item: (-len(item[1]), canonical(item[1][0][0]))
    ):
        for other, pool in pools:
            if other == kind and _complete(pool, members, middles):
                pool.append(members)
                break
        else:
            pools.append((kind, [members]))
    return [[part for members in pool for part in members] for _, pool in pools]


def _looks(
    parts: list[list[FrameInfo]], flow: set[tuple[object, ...]]
) -> dict[tuple[tuple[object, ...], tuple[object, ...]], list[list[FrameInfo]]]:
    """Parts by kind (what is never mixed) and look (what is mixed only where it completes)."""
    by_series: dict[str, list[list[FrameInfo]]] = {}
    for part in parts:
        uids = {frame.series_uid for frame in part}
        by_series.setdefault(uids.pop() if len(uids) == 1 else "", []).append(part)
    looks: dict[tuple[tuple[object, ...], tuple[object, ...]], list[list[FrameInfo]]] = {}
    for members in by_series.values():
        rule = best_rule([part for part in members if len(part) > 1] or members)
        still = all(len(part) == 1 for part in members)
        for part in members:
            first = part[0]
            velocity = _velocity_key(first) in flow or any(
                _VELOCITY_NAME.search(name) for name in first.pulse_sequence
            )
            kind = (_spacing_key(first), still, velocity)
            look = (first.sop_class_uid, _family(first), space_of(part), rule)
            looks.setdefault((kind, look), []).append(part)
    return looks


def _complete(
    pool: list[list[list[FrameInfo]]], members: list[list[FrameInfo]], middles: dict[int, float]
) -> bool:
    """Whether the places of some images complete those of others: on their grid, none twice."""
    here = sorted({middles[id(part[0])] for other in pool for part in other})
    there = sorted({middles[id(part[0])] for part in members})
    together = np.array(sorted([*here, *there]))
    thickness = _thickness(frame for part in members for frame in part)
    step, overlapping = _step(together, thickness)
    if step is None:
        return False
    limit = _limit(step, overlapping)
    apart = min(abs(a - b) for a in here for b in there)
    if apart <= limit:
        return False
    spaces = {space_of(part) for other in pool for part in other}
    if {space_of(part) for part in members} <= spaces:
        return True
    off = np.diff(together) / step
    return bool((np.abs(off - np.rint(off)) <= GRID_TOLERANCE).all())


# Repeats, and stacks that follow each other in time


def _thickness(frames: Iterable[FrameInfo]) -> float | None:
    known = [t for frame in frames if (t := frame.placed().thickness_mm) is not None]
    return float(np.median(known)) if known else None


def _step(places: NDArray[np.float64], thickness: float | None) -> tuple[float | None, bool]:
    """The usual distance of slices at sorted places, and whether two stacks interleave there.

    Slices of one stack do not overlap by more than a part of their thickness: where the usual
    distance is smaller, every other slice is of another stack.
    """
    distinct = places[np.insert(np.diff(places) > POSITION_TOLERANCE_MM, 0, True)]
    if len(distinct) < 2:
        return None, False
    step = float(np.median(np.diff(distinct)))
    if thickness is None or step >= LEAST_OF_THICKNESS * thickness or len(distinct) < 4:
        return step, False
    return float(np.median(distinct[2:] - distinct[:-2])), True


def _limit(step: float, overlapping: bool) -> float:
    """Slices at most this far apart show one place."""
    edge = POSITION_TOLERANCE_MM if overlapping else -POSITION_TOLERANCE_MM
    return max(REPEAT_SHARE * step + edge, POSITION_TOLERANCE_MM)


def _repeat_limit_mm(slices: Sequence[Slice]) -> float:
    places = np.array(sorted(each.at_mm for each in slices))
    one_series = len({frame.series_uid for each in slices for frame in each.frames}) == 1
    thickness = _thickness(frame for each in slices for frame in each.frames[:1])
    step, overlapping = _step(places, None if one_series else thickness)
    return POSITION_TOLERANCE_MM if step is None else _limit(step, overlapping)


def _places(slices: Sequence[Slice], limit_mm: float) -> list[list[Slice]]:
    """Slices by place, ascending: the nearest are joined first, none over more than the limit."""
    groups = [[each] for each in _ascending(slices)]
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

    A series that covers most places beside others that do is a stack. Otherwise they fall apart at
    a moment before and after which most places were acquired, in different series; of several such
    moments at the one that leaves the fewest repeats on its sides.
    """
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


def _are_stacks(one: Sequence[Slice], other: Sequence[Slice], least: int, limit_mm: float) -> bool:
    """Whether both cover at least so many places, and neither only some places of the other."""
    counts = [len(_places(side, limit_mm)) for side in (one, other)]
    if min(counts) < least:
        return False
    fewer, more = (one, other) if counts[0] < counts[1] else (other, one)
    exact = [
        min(abs(each.at_mm - there.at_mm) for there in more) <= POSITION_TOLERANCE_MM
        for each in fewer
    ]
    return counts[0] == counts[1] or not all(exact)


def _series(slices: Sequence[Slice]) -> set[str]:
    return {frame.series_uid for each in slices for frame in each.frames}
