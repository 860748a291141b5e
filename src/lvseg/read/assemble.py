"""Candidate stacks: the images of a study put together by place and time, whatever the series says.

A slice is what was acquired at one place: its phases in order. Slices that lie parallel belong to
one stack if they do not stand in each other's way. Where two lie nearer than half the distance of
the slices, one repeats the other, or both are of two stacks (rest and stress): then the study falls
apart in time. Which of the stacks is measured is for :mod:`lvseg.read.judge` to say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lvseg.geometry import POSITION_TOLERANCE_MM, SMALL_TILT_DEGREES, Plane, index_to_mm, normal
from lvseg.read.frames import FrameInfo, canonical, time_values
from lvseg.read.phases import (
    CONTRAST_TOLERANCE_MS,
    RULES,
    Ordered,
    SamePixels,
    best_rule,
    drop_duplicates,
    order_phases,
    why_no_phases,
    why_not_one_cycle,
)
from lvseg.read.repeats import (
    GRID_TOLERANCE,
    Slice,
    ascending,
    by_place,
    place_limit_mm,
    split,
    usual_step,
    usual_thickness_mm,
)
from lvseg.read.rules import TIMED_RULES

#: Pixel spacings of one stack differ by less than this share: exports round them.
SPACING_SHARE = 0.01
#: Names of pulse sequences that measure velocity, e.g. fl2d1_v150in.
_VELOCITY_NAME = re.compile(r"_v\d+", re.IGNORECASE)
#: Images of one plane shift by less than this in it; a larger shift is another acquisition.
_SAME_PLANE_MM = 1.0


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
    placed = [f for f in frames if f.plane is not None and f.modality == "MR"]
    flow, told = _velocity_places(placed), _spaces_tell(placed)
    found: list[Candidate] = []
    for parallel in _by_orientation([f for f in frames if f.may_be_in_a_stack]):
        found.extend(_of_parallel(parallel, flow, told, same_pixels))
    return sorted(found, key=lambda each: canonical(min(each.frames, key=canonical)))


def _of_parallel(
    frames: Sequence[FrameInfo],
    flow: set[tuple[object, ...]],
    spaces_tell: bool,
    same_pixels: SamePixels,
) -> list[Candidate]:
    middles = _middles(frames, _axis(frames))
    parts = _parts(frames, middles)
    result = []
    for pool in _pools(_looks(parts, flow, spaces_tell), middles):
        cleaned = [drop_duplicates(part, same_pixels) for part in pool]
        kept = [unique for unique, _ in cleaned]
        dropped = sum(count for _, count in cleaned)
        ordered = order_phases(kept)
        if ordered is None:
            slices = [Slice(tuple(p), middles[id(p[0])], "no order") for p in kept]
            result.append(Candidate(ascending(slices), None, dropped))
            continue
        slices = [
            Slice(acquired, middles[id(acquired[0])], _why_not(acquired, ordered.rule))
            for found in ordered.acquisitions
            for acquired in found
        ]
        for kind in sorted({_kind(each) for each in slices}):
            for stack in split([each for each in slices if _kind(each) == kind]):
                result.append(Candidate(ascending(stack), ordered, dropped))
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
    """Images of one plane and one series; series of a single image there are taken together.

    They are phases if they look alike; a lone one where there is a cine is a still image.
    """
    parts: list[list[FrameInfo]] = []
    for plane in _by_plane(frames, middles):
        series: dict[tuple[str, str], list[FrameInfo]] = {}
        for frame in plane:
            series.setdefault((frame.series_uid, frame.sop_class_uid), []).append(frame)
        several: list[list[FrameInfo]] = []
        alike: dict[tuple[object, ...], list[FrameInfo]] = {}
        for members in series.values():
            first = members[0]
            if all(frame.times == first.times for frame in members):  # one image, or copies of it
                alike.setdefault((first.sop_class_uid, _family(first)), []).extend(members)
            else:
                several.append(members)
        for single in alike.values():
            for echo in _of_one_contrast(single, 0):
                parts.extend(_of_one_contrast(echo, 1))
        parts.extend(_rejoined(several))
    return parts


def _of_one_contrast(frames: Sequence[FrameInfo], which: int) -> list[list[FrameInfo]]:
    """Frames in groups of one echo time (``which`` 0) or inversion time (1), but for rounding."""
    groups: list[list[FrameInfo]] = []
    last = -np.inf
    for frame in sorted(frames, key=lambda each: (each.echo_inversion_ms[which], canonical(each))):
        if frame.echo_inversion_ms[which] - last > CONTRAST_TOLERANCE_MS[which]:
            groups.append([])
        last = frame.echo_inversion_ms[which]
        groups[-1].append(frame)
    return groups


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


class Look(NamedTuple):
    """What images of one acquisition have in common, and others mostly not."""

    sop_class_uid: str
    family: tuple[str, ...]
    space: str
    rule: str


#: Images of one plane by what is never mixed (their kind) and by their look.
Looks: TypeAlias = dict[tuple[tuple[object, ...], Look], list[list[FrameInfo]]]


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
    scanning, variant, *names = frame.pulse_sequence
    stems = (re.split(r"[\d_]", name.lstrip("*"))[0] for name in names)
    return (scanning, "/".join(sorted(variant.split("/"))), *stems)


def space_of(frames: Sequence[FrameInfo]) -> str:
    """The frame of reference of the images of one place; "" where it says nothing.

    Anonymised studies have a new one in every image.
    """
    uids = {frame.frame_of_reference_uid for frame in frames}
    return uids.pop() if len(uids) == 1 and len(frames) > 1 else ""


def _spaces_tell(frames: Sequence[FrameInfo]) -> bool:
    """Whether frames of reference tell anything: not if each series has one of its own."""
    series_of: dict[str, set[str]] = {}
    for frame in frames:
        if frame.frame_of_reference_uid:
            series_of.setdefault(frame.frame_of_reference_uid, set()).add(frame.series_uid)
    series = set().union(*series_of.values())
    return (
        len(series) < 2
        or sum(map(len, series_of.values())) != len(series)
        or len(series_of) != len(series)
    )


def _pools(looks: Looks, middles: dict[int, float]) -> list[list[list[FrameInfo]]]:
    """Parts in groups that may be one stack.

    Images of another sequence, object class or frame of reference are joined where they complete
    the places of the others, and stay apart where they cover the same.
    """
    pools: list[tuple[tuple[object, ...], set[str], list[list[list[FrameInfo]]]]] = []
    for (kind, look), members in sorted(
        looks.items(), key=lambda item: (-len(item[1]), canonical(item[1][0][0]))
    ):
        for other, spaces, pool in pools:
            if other == kind and _complete(pool, members, middles, look.space in spaces):
                pool.append(members)
                spaces.add(look.space)
                break
        else:
            pools.append((kind, {look.space}, [members]))
    return [[part for members in pool for part in members] for _, _, pool in pools]


def _looks(parts: list[list[FrameInfo]], flow: set[tuple[object, ...]], spaces_tell: bool) -> Looks:
    """Parts by kind (what is never mixed) and look (what is mixed only where it completes)."""
    by_series: dict[str, list[list[FrameInfo]]] = {}
    for part in parts:
        uids = {frame.series_uid for frame in part}
        by_series.setdefault(uids.pop() if len(uids) == 1 else "", []).append(part)
    looks: Looks = {}
    for members in by_series.values():
        rule = _surest_rule([part for part in members if len(part) > 1] or members)
        still = all(len(part) == 1 for part in members)
        for part in members:
            first = part[0]
            velocity = _velocity_key(first) in flow or any(
                _VELOCITY_NAME.search(name) for name in first.pulse_sequence
            )
            kind = (_spacing_key(first), still, velocity)
            space = space_of(part) if spaces_tell else ""
            look = Look(first.sop_class_uid, _family(first), space, rule)
            looks.setdefault((kind, look), []).append(part)
    return looks


def _surest_rule(parts: list[list[FrameInfo]]) -> str:
    """The rule that orders the parts of a series, or the surest that orders some of them.

    A series of which one slice has lost its times is still of the kind that has them.
    """
    rule = best_rule(parts)
    if rule == RULES[0]:
        return rule
    found = {rule, *(best_rule([part]) for part in parts)} - {""}
    return min(found, key=RULES.index, default="")


def _complete(
    pool: list[list[list[FrameInfo]]],
    members: list[list[FrameInfo]],
    middles: dict[int, float],
    one_space: bool,
) -> bool:
    """Whether the places of some images complete those of others: on their grid, none twice."""
    here = sorted({middles[id(part[0])] for other in pool for part in other})
    there = sorted({middles[id(part[0])] for part in members})
    together = np.array(sorted([*here, *there]))
    thickness = usual_thickness_mm(frame for part in members for frame in part)
    step, overlapping = usual_step(together, thickness)
    if step is None:
        return False
    limit = place_limit_mm(step, overlapping)
    apart = min(abs(a - b) for a in here for b in there)
    if apart <= limit:
        return False
    if one_space:
        return True
    off = np.diff(together) / step
    return bool((np.abs(off - np.rint(off)) <= GRID_TOLERANCE).all())
