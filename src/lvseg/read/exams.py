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

import numpy as np

from lvseg.geometry import POSITION_TOLERANCE_MM, normal
from lvseg.read.assemble import middle
from lvseg.read.frames import FrameInfo
from lvseg.read.phases import acquired_ms
from lvseg.read.repeats import OTHER_STATE_MS, STACK_SHARE

#: Direction of the normal to three decimals.
Direction = tuple[float, ...]
#: A normal nearer to an axis of the patient is what tools write that know no orientation.
_LARGEST_COSINE = 0.99


@dataclass(frozen=True, slots=True)
class _Places:
    """Parallel images of one study.

    :param at_mm: where its slices lie along the normal, ascending.
    :param images: at each place; :param clock_ms: when the first and the last were acquired.
    """

    at_mm: tuple[float, ...]
    images: int
    clock_ms: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class _Links:
    """What a study shares with others of its examination.

    :param days: on which it was acquired, "" not among them; :param spaces: frames of reference.
    """

    days: frozenset[str]
    spaces: frozenset[str]
    places: Mapping[Direction, _Places]


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
    return sum(len(places.at_mm) for places in link.places.values()) == 1


def _links(frames: Sequence[FrameInfo]) -> _Links:
    by_direction: dict[Direction, dict[float, list[FrameInfo]]] = {}
    known: dict[object, tuple[Direction, float]] = {}
    for frame in frames:
        if not frame.may_be_in_a_stack:
            continue
        key = (frame.placed(), frame.rows, frame.columns)
        if key not in known:
            axis = normal(frame.placed())
            axis = axis * np.sign(axis[np.abs(axis).argmax()])
            known[key] = (
                tuple(round(float(value), 3) for value in axis),
                float(middle(*key) @ axis),
            )
        direction, at_mm = known[key]
        by_direction.setdefault(direction, {}).setdefault(at_mm, []).append(frame)
    return _Links(
        frozenset(f.acquired[:8] for f in frames if len(f.acquired.partition(".")[0]) == 14),
        frozenset(f.frame_of_reference_uid for f in frames) - {""},
        {direction: _placed(found) for direction, found in by_direction.items()},
    )


def _placed(found: Mapping[float, Sequence[FrameInfo]]) -> _Places:
    at: list[float] = []
    counts: list[int] = []
    for place in sorted(found):
        if not at or place - at[-1] > POSITION_TOLERANCE_MM:
            at.append(place)
            counts.append(0)
        counts[-1] += len(found[place])
    clock = acquired_ms([frame for frames in found.values() for frame in frames])
    return _Places(tuple(at), max(counts), (min(clock), max(clock)) if clock else None)


def _pairs(links: Mapping[str, _Links]) -> list[tuple[str, str]]:
    """Pairs of studies that share a frame of reference, or a day and a direction."""
    shared: dict[object, list[str]] = {}
    for uid, link in links.items():
        for space in link.spaces:
            shared.setdefault(space, []).append(uid)
        for key in product(link.days, link.places):
            shared.setdefault(key, []).append(uid)
    return sorted({pair for uids in shared.values() for pair in combinations(uids, 2)})


def _linked(one: _Links, other: _Links) -> bool:
    """Whether two studies may be of one examination: never where they name different days."""
    if one.days and other.days and not one.days & other.days:
        return False
    if one.spaces & other.spaces:
        return True
    oblique = [d for d in one.places if max(map(abs, d)) < _LARGEST_COSINE]
    return bool(one.days & other.days) and any(d in other.places for d in oblique)


def _torn(one: _Links, other: _Links) -> bool:
    """Whether one study is a part of another."""
    return any(
        _is_part(one.places[direction], other.places[direction])
        for direction in one.places
        if direction in other.places
    )


def _is_part(one: _Places, other: _Places) -> bool:
    fewer, more = sorted((one, other), key=lambda each: len(each.at_mm))
    if fewer.at_mm[0] > more.at_mm[-1] + POSITION_TOLERANCE_MM:
        return True
    if fewer.at_mm[-1] < more.at_mm[0] - POSITION_TOLERANCE_MM:
        return True
    if len(fewer.at_mm) < STACK_SHARE * len(more.at_mm) or one.images == other.images == 1:
        return True
    exact = [
        min(abs(place - there) for there in more.at_mm) <= POSITION_TOLERANCE_MM
        for place in fewer.at_mm
    ]
    if all(exact):
        return len(fewer.at_mm) < len(more.at_mm)
    return not any(exact) and not _apart(one.clock_ms, other.clock_ms)


def _apart(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    """Whether there was a long pause between two studies."""
    if one is None or other is None:
        return False
    return max(one[0], other[0]) - min(one[1], other[1]) > OTHER_STATE_MS
