"""Slice and phase of each frame of a DICOM Segmentation, told from the file alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lvseg.geometry import Plane, normal, same_plane
from lvseg.read.seg_frames import TIMES, SegFrame

#: Tools round the positions of frames; neighbouring pixels are never mistaken for each other.
ROUNDING_PX = 0.5
#: Frames of one slice and segment: only their phases differ.
_Group = list[SegFrame]


def slices_of(frames: Sequence[SegFrame]) -> tuple[tuple[Plane, ...], dict[int, int]]:
    """The planes in order along the normal, and frame number -> the index of its plane.

    Where a frame has no plane there are none, and every frame counts as slice 0.
    """
    planes: list[Plane] = []
    near: dict[int, int] = {}
    for frame in frames:
        if frame.plane is None:
            return (), {each.number: 0 for each in frames}
        fits = [
            i
            for i, plane in enumerate(planes)
            if same_plane(frame.plane, plane, within_px=ROUNDING_PX)
        ]
        if not fits:
            planes.append(frame.plane)
        near[frame.number] = fits[0] if fits else len(planes) - 1
    axis = normal(planes[0])
    order = sorted(range(len(planes)), key=lambda i: float(np.dot(planes[i].origin_mm, axis)))
    rank = {old: new for new, old in enumerate(order)}
    return tuple(planes[i] for i in order), {number: rank[i] for number, i in near.items()}


def phases_of(frames: Sequence[SegFrame], at: dict[int, int]) -> dict[int, int] | None:
    """Frame number -> phase, an index from 0; None where nothing tells frames of a slice apart.

    A Temporal Position Index counts phases from 1 (PS3.3 C.7.6.16.2.2). Times, and the order of
    the dimension index, give the ranks of the phases.

    :param at: frame number -> slice.
    """
    groups: dict[tuple[int | None, int], _Group] = {}
    for frame in frames:
        groups.setdefault((frame.segment, at[frame.number]), []).append(frame)
    parted = list(groups.values())
    counted = {frame.number: frame.times[0] for frame in frames}
    if _distinct(parted, counted) and min(_known(counted)) >= 1:
        return {number: int(value) - 1 for number, value in counted.items() if value is not None}
    if max(map(len, parted)) == 1:
        return {frame.number: 0 for frame in frames}
    for way in range(1, len(TIMES)):
        times = {frame.number: frame.times[way] for frame in frames}
        if _distinct(parted, times):
            ranks = _ranks(parted, times) or _nearest(parted, times)
            if ranks is not None:
                return ranks
    order = _order(parted)
    return _ranks(parted, order) if _distinct(parted, order) else None


def _known(values: dict[int, float | None]) -> list[float]:
    return [value for value in values.values() if value is not None]


def _distinct(groups: Sequence[_Group], values: dict[int, Any]) -> bool:
    """Whether every frame has a value, and no two of one slice the same."""
    if any(value is None for value in values.values()):
        return False
    return all(len({values[frame.number] for frame in group}) == len(group) for group in groups)


def _ranks(groups: Sequence[_Group], values: dict[int, Any]) -> dict[int, int] | None:
    """Ranks among all values if a slice has them all, else in each slice if all have as many."""
    most = max(map(len, groups))
    every = sorted(set(values.values()))
    if len(every) == most:
        return {number: every.index(value) for number, value in values.items()}
    if any(len(group) != most for group in groups):
        return None
    return {
        frame.number: rank
        for group in groups
        for rank, frame in enumerate(sorted(group, key=lambda each: values[each.number]))
    }


def _nearest(groups: Sequence[_Group], times: dict[int, Any]) -> dict[int, int] | None:
    """Of slices that lack frames: the phase of the nearest time in a slice that lacks none."""
    whole = max(groups, key=len)
    known = np.sort([times[frame.number] for frame in whole])
    phases = {number: int(np.abs(known - time).argmin()) for number, time in times.items()}
    return phases if _distinct(groups, phases) else None


def _order(groups: Sequence[_Group]) -> dict[int, Any]:
    """The dimension index values that differ within a slice; where none does, all are alike."""
    frames = [frame for group in groups for frame in group]
    width = min(len(frame.order) for frame in frames)
    varying = [
        column
        for column in range(width)
        if any(len({frame.order[column] for frame in group}) > 1 for group in groups)
    ]
    return {frame.number: tuple(frame.order[column] for column in varying) for frame in frames}
