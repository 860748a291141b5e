"""Examinations: the studies of a source that are parts of one, whatever their study UIDs say.

An export or an anonymiser may give every series a study UID of its own. Slices of one examination
still share a frame of reference, or the day and an oblique orientation that nobody sets twice. Such
studies are taken as one where one of them is a part of another: it goes on where the other ends,
fills its gaps, repeats some of its slices or holds one of its phases. Studies that are whole, rest
and stress or two copies, stay two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lvseg.geometry import POSITION_TOLERANCE_MM, SMALL_TILT_DEGREES, normal
from lvseg.read.assemble import middle
from lvseg.read.frames import FrameInfo
from lvseg.read.phases import acquired_ms
from lvseg.read.repeats import OTHER_STATE_MS, STACK_SHARE

#: Direction of a normal to three decimals.
Direction: TypeAlias = tuple[float, ...]
#: A normal nearer to an axis of the patient is what tools write that know no orientation.
_LARGEST_COSINE = 0.99
#: Of the angle of two normals that are parallel.
_LEAST_COSINE = float(np.cos(np.radians(SMALL_TILT_DEGREES)))


@dataclass(frozen=True, slots=True, eq=False)
class _Parallel:
    """Parallel images of one study.

    :param axis: their normal, [3]; :param middles_mm: of each place, ascending along it, [N, 3].
    :param images: most at one place; :param clock_ms: when the first and the last were acquired.
    """

    axis: NDArray[np.float64]
    middles_mm: NDArray[np.float64]
    images: int
    clock_ms: tuple[float, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class _Links:
    """What a study shares with others of its examination.

    :param days: on which it was acquired, "" not among them; :param spaces: frames of reference.
    :param directions: of all its images; :param parallel: those that lie parallel, together.
    """

    days: frozenset[str]
    spaces: frozenset[str]
    directions: frozenset[Direction]
    parallel: tuple[_Parallel, ...]


def exams(studies: Mapping[str, Sequence[FrameInfo]]) -> list[tuple[str, ...]]:
    """Study UIDs in groups, one an examination, in order; most have one.

    :param studies: the frames of each study by its UID.
    """
    uids = sorted(studies)
    if len(uids) < 2:
        return [tuple(uids)] if uids else []
    links = {uid: _links(studies[uid]) for uid in uids}
    pairs = [pair for pair in _pairs(links) if _linked(links[pair[0]], links[pair[1]])]
    group_of = {uid: {uid} for uid in uids}
    for one, other in pairs:
        if _torn(links[one], links[other]):
            _join(group_of, one, other)
    for one, other in pairs:  # a slice that was tilted is parallel to none
        for lone, group in ((one, group_of[other]), (other, group_of[one])):
            if len(group) > 1 == len(group_of[lone]) and _is_one_slice(links[lone]):
                _join(group_of, one, other)
    return [tuple(sorted(group_of[uid])) for uid in uids if uid == min(group_of[uid])]


def _join(group_of: dict[str, set[str]], one: str, other: str) -> None:
    merged = group_of[one] | group_of[other]
    group_of.update(dict.fromkeys(merged, merged))


def _is_one_slice(link: _Links) -> bool:
    return sum(len(each.middles_mm) for each in link.parallel) == 1


def _links(frames: Sequence[FrameInfo]) -> _Links:
    axes: list[NDArray[np.float64]] = []
    members: list[list[tuple[FrameInfo, NDArray[np.float64]]]] = []
    known: dict[object, tuple[Direction, NDArray[np.float64], int]] = {}
    directions = set()
    for frame in frames:
        if not frame.may_be_in_a_stack:
            continue
        key = (frame.placed(), frame.rows, frame.columns)
        if key not in known:
            axis = normal(frame.placed())
            axis = axis * np.sign(axis[np.abs(axis).argmax()])
            fit = [i for i, other in enumerate(axes) if abs(float(axis @ other)) >= _LEAST_COSINE]
            if not fit:
                axes.append(axis)
                members.append([])
            rounded = tuple(round(float(value), 3) for value in axis)
            known[key] = (rounded, middle(*key), fit[0] if fit else len(axes) - 1)
        direction, point, group = known[key]
        directions.add(direction)
        members[group].append((frame, point))
    return _Links(
        frozenset(f.acquired[:8] for f in frames if len(f.acquired.partition(".")[0]) == 14),
        frozenset(f.frame_of_reference_uid for f in frames) - {""},
        frozenset(directions),
        tuple(_parallel(axis, found) for axis, found in zip(axes, members, strict=True)),
    )


def _parallel(
    axis: NDArray[np.float64], found: Sequence[tuple[FrameInfo, NDArray[np.float64]]]
) -> _Parallel:
    points = sorted((point for _, point in found), key=lambda point: float(point @ axis))
    at = np.array(points) @ axis
    first = np.flatnonzero(np.diff(at, prepend=-np.inf) > POSITION_TOLERANCE_MM)
    counts = np.diff(first, append=len(at))
    clock = acquired_ms([frame for frame, _ in found])
    return _Parallel(
        axis,
        np.array(points)[first],
        int(counts.max()),
        (min(clock), max(clock)) if clock else None,
    )


def _pairs(links: Mapping[str, _Links]) -> list[tuple[str, str]]:
    """Pairs of studies that share a frame of reference, or a day and a direction."""
    shared: dict[object, list[str]] = {}
    for uid, link in links.items():
        for space in link.spaces:
            shared.setdefault(space, []).append(uid)
        for key in product(link.days, link.directions):
            shared.setdefault(key, []).append(uid)
    return sorted({pair for uids in shared.values() for pair in combinations(uids, 2)})


def _linked(one: _Links, other: _Links) -> bool:
    """Whether two studies may be of one examination: never where they name different days."""
    if one.days and other.days and not one.days & other.days:
        return False
    if one.spaces & other.spaces:
        return True
    alike = one.directions & other.directions
    return bool(one.days & other.days) and any(max(map(abs, d)) < _LARGEST_COSINE for d in alike)


def _torn(one: _Links, other: _Links) -> bool:
    """Whether one study is a part of another."""
    return any(
        _is_part(here, there)
        for here, there in product(one.parallel, other.parallel)
        if abs(float(here.axis @ there.axis)) >= _LEAST_COSINE
    )


def _is_part(one: _Parallel, other: _Parallel) -> bool:
    less, more = sorted((one, other), key=lambda each: len(each.middles_mm))
    fewer, places = (np.sort(each.middles_mm @ more.axis) for each in (less, more))
    if fewer[0] > places[-1] + POSITION_TOLERANCE_MM:
        return True
    if fewer[-1] < places[0] - POSITION_TOLERANCE_MM:
        return True
    if len(fewer) < STACK_SHARE * len(places) or one.images == other.images == 1:
        return True
    exact = [np.abs(places - place).min() <= POSITION_TOLERANCE_MM for place in fewer]
    if all(exact):
        return len(fewer) < len(places)
    return not any(exact) and not _apart(one.clock_ms, other.clock_ms)


def _apart(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    """Whether there was a long pause between two studies."""
    if one is None or other is None:
        return False
    return max(one[0], other[0]) - min(one[1], other[1]) > OTHER_STATE_MS
