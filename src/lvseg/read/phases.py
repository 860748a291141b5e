"""Order of the phases of each slice, and repeats told from phases.

Pure logic on :class:`FrameInfo`; pixels are asked for through a callback, and only where two
images claim the same place and time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lvseg.read.frames import TIME_RULES, FrameInfo, canonical, recency, time_values

SamePixels = Callable[[FrameInfo, FrameInfo], bool]

#: What orders phases, best first.
RULES = tuple(dict.fromkeys(rule.name for rule in TIME_RULES))


@dataclass(frozen=True, slots=True, eq=False)
class Ordered:
    """The phases of every slice position under one rule.

    :param slices: per position, its frames in order of time.
    :param repeated: positions that were acquired more than once (the last one was kept).
    :param usual: the usual number of phases.
    """

    rule: str
    slices: tuple[tuple[FrameInfo, ...], ...]
    repeated: tuple[int, ...]
    usual: int


def usual_count(counts: Sequence[int]) -> int:
    """The most frequent count; of equally frequent ones the largest.

    >>> usual_count([30, 30, 30, 10])
    30
    """
    tally = Counter(counts)
    return max(tally, key=lambda count: (tally[count], count))


def drop_duplicates(
    frames: Sequence[FrameInfo], same_pixels: SamePixels
) -> tuple[list[FrameInfo], int]:
    """The frames of one position without exact duplicates, and how many were dropped.

    A duplicate has the same SOP instance UID and frame number, or another UID but the same time
    and the same pixels.
    """
    kept: list[FrameInfo] = []
    seen: set[tuple[object, ...]] = set()
    for frame in sorted(frames, key=canonical):
        key = (*canonical(frame)[:4], frame.times.get("TemporalPositionIdentifier"))
        if frame.sop_uid and key in seen:
            continue
        seen.add(key)
        kept.append(frame)
    by_time: dict[tuple[float, ...], list[FrameInfo]] = {}
    for frame, time in zip(kept, _times(kept), strict=True):
        rivals = by_time.setdefault(time, [])
        if not any(same_pixels(rival, frame) for rival in rivals):
            rivals.append(frame)
    unique = [frame for rivals in by_time.values() for frame in rivals]
    return unique, len(frames) - len(unique)


def _times(frames: Sequence[FrameInfo]) -> list[tuple[float, ...]]:
    """What tells times apart: the first rule that is more than a constant, or nothing at all."""
    for rule in RULES:
        values = time_values(frames, rule)
        if values is not None and len(set(values)) > 1:
            return [(value,) for value in values]
    return [(float(index),) for index in range(len(frames))]


def order_phases(positions: Sequence[Sequence[FrameInfo]]) -> Ordered | None:
    """Order the phases of every position by the first of :data:`RULES` that works everywhere.

    A rule works if each frame has a value and the values within one acquisition differ. Where a
    position was acquired repeatedly the last acquisition with the usual number of phases is
    kept. None: no rule works.
    """
    for rule in RULES:
        parted = [_acquisitions(frames, rule, None) for frames in positions]
        if any(parts is None for parts in parted):
            continue
        usual = usual_count([max(map(len, parts)) for parts in parted if parts])
        slices, repeated = [], []
        for index, frames in enumerate(positions):
            parts = _acquisitions(frames, rule, usual) or parted[index] or []
            if len(parts) > 1:
                repeated.append(index)
            whole = [part for part in parts if len(part) == usual]
            chosen = whole[-1] if whole else max(parts, key=len)
            slices.append(tuple(_sorted(chosen, rule)))
        return Ordered(rule, tuple(slices), tuple(repeated), usual)
    return None


def _sorted(frames: Sequence[FrameInfo], rule: str) -> list[FrameInfo]:
    values = time_values(frames, rule) or []
    order = sorted(range(len(frames)), key=lambda i: (values[i], canonical(frames[i])))
    return [frames[i] for i in order]


def _distinct(frames: Sequence[FrameInfo], rule: str) -> bool:
    values = time_values(frames, rule)
    return values is not None and len(set(values)) == len(values)


def _acquisitions(
    frames: Sequence[FrameInfo], rule: str, usual: int | None
) -> list[list[FrameInfo]] | None:
    """The acquisitions of one position, the latest last; None if the rule cannot order them."""
    if time_values(frames, rule) is None:
        return None
    distinct = _distinct(frames, rule)
    if distinct and usual is not None and len(frames) <= usual:
        return [list(frames)]
    for parts in _splits(frames, rule):
        if len(parts) < 2 or not all(len(part) > 1 and _distinct(part, rule) for part in parts):
            continue
        if usual is not None:
            fits = any(len(part) == usual for part in parts)
        else:
            fits = not distinct or (_overlap(parts, rule) and len(set(map(len, parts))) == 1)
        if fits:
            return sorted(parts, key=recency)
    return [list(frames)] if distinct else None


def _splits(frames: Sequence[FrameInfo], rule: str) -> list[list[list[FrameInfo]]]:
    """Ways to tell acquisitions apart, the surest first."""
    keys: list[Callable[[FrameInfo], object]] = [
        lambda frame: frame.series_uid,
        lambda frame: (frame.series_uid, frame.acquisition_number),
        lambda frame: (frame.series_uid, frame.acquisition_number, frame.acquired),
    ]
    splits = []
    for key in keys:
        groups: dict[object, list[FrameInfo]] = {}
        for frame in frames:
            groups.setdefault(key(frame), []).append(frame)
        splits.append(list(groups.values()))
    splits.append(_runs(frames, rule))
    return splits


def _runs(frames: Sequence[FrameInfo], rule: str) -> list[list[FrameInfo]]:
    """Runs of rising time in the order of instance numbers."""
    if rule == "InstanceNumber" or time_values(frames, "InstanceNumber") is None:
        return [list(frames)]
    runs: list[list[FrameInfo]] = []
    last = float("inf")
    for frame in _sorted(frames, "InstanceNumber"):
        value = (time_values([frame], rule) or [0.0])[0]
        if value <= last and (not runs or value <= min(time_values(runs[-1], rule) or [0.0])):
            runs.append([])
        runs[-1].append(frame)
        last = value
    return runs


def _overlap(parts: Sequence[Sequence[FrameInfo]], rule: str) -> bool:
    """Whether all parts cover about the same span of time, as repeats do."""
    if rule != "TriggerTime":
        return False
    spans = [(min(values), max(values)) for part in parts if (values := time_values(part, rule))]
    latest_start, first_end = max(low for low, _ in spans), min(high for _, high in spans)
    shortest = min(high - low for low, high in spans)
    return first_end - latest_start > shortest / 2
