"""Short-axis stack: found among the images of a study by geometry and time alone.

A short-axis cine is a stack of parallel slices at two or more places, each with the same number
of phases (two or more). Words in a description play no part. Where several stacks qualify, the
highest :func:`score` is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lvseg.geometry import GAP_FACTOR, POSITION_TOLERANCE_MM, gaps, normal, slice_positions_mm
from lvseg.issues import Issue
from lvseg.read.frames import FrameInfo, by_orientation, by_position, canonical, recency
from lvseg.read.phases import (
    Ordered,
    SamePixels,
    drop_duplicates,
    order_phases,
    usual_count,
    why_no_phases,
    why_not_one_cycle,
)

#: From base to apex the left ventricle points left, forward and down: the mean direction of the
#: slice normals of ordinary short-axis stacks, LPS, a unit vector.
LEFT_VENTRICLE_AXIS = (0.64, -0.67, -0.38)
#: A cine has rarely fewer phases; stacks with fewer count for less.
USUAL_PHASES = 10
#: What is no single heartbeat counts for this much: any cine in the study is better.
NOT_ONE_BEAT_SHARE = 0.02
#: A slice of the same series tilted by less than this is a re-angled one, not another view.
REANGLED_DEGREES = 15.0


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Parallel images of one size that may form a stack, or may not."""

    frames: tuple[FrameInfo, ...]

    @property
    def series_uids(self) -> tuple[str, ...]:
        """The series the images come from."""
        return tuple(sorted({frame.series_uid for frame in self.frames}))


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """What became of a group.

    :param frames: ``[T][Z]``, empty if this is no cine stack.
    :param slices: distinct positions found; :param phases: the usual number per position.
    :param reason: why it is one, or why not.
    """

    group: Group
    frames: tuple[tuple[FrameInfo, ...], ...]
    slices: int
    phases: int
    score: float
    reason: str
    order_rule: str = ""
    times_ms: tuple[float, ...] | None = None
    issues: tuple[Issue, ...] = ()
    complete: bool = True


def _tilt_degrees(frame: FrameInfo) -> float:
    """Angle between the slice normal and the usual axis of the left ventricle, 0 to 90."""
    axis = np.array(LEFT_VENTRICLE_AXIS) / np.linalg.norm(LEFT_VENTRICLE_AXIS)
    cosine = abs(float(normal(frame.placed()) @ axis))
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


def score(slices: int, phases: int, tilt_degrees: float) -> float:
    """How good a candidate is: slices x (phases / 10, at most 1) x cosine of the tilt.

    The cosine is not taken below 0.1: an odd orientation alone excludes nothing.

    >>> score(10, 20, 0.0), score(10, 5, 60.0)
    (10.0, 2.5)
    """
    lean = max(float(np.cos(np.radians(tilt_degrees))), 0.1)
    return round(slices * min(1.0, phases / USUAL_PHASES) * lean, 6)


def groups_of(frames: Sequence[FrameInfo]) -> list[Group]:
    """Candidates: magnitude MR images by series, kind, frame size, pixel spacing and orientation.

    Series of one position each are joined where all else agrees (one series per slice), and a
    series of one position is joined to a stack on whose grid it lies (a repeated slice).
    """
    usable = [frame for frame in frames if frame.plane is not None and frame.modality == "MR"]
    groups: list[Group] = []
    for parallel in by_orientation([f for f in usable if f.component == "magnitude"]):
        pools: dict[tuple[object, ...], dict[str, list[FrameInfo]]] = {}
        for frame in parallel:
            spacing = tuple(round(value, 4) for value in frame.placed().pixel_spacing_mm)
            kind = (frame.rows, frame.columns, spacing, frame.sop_class_uid)
            pools.setdefault(kind, {}).setdefault(frame.series_uid, []).append(frame)
        for pool in pools.values():
            groups.extend(_joined([_group(members) for members in pool.values()]))
    return sorted(groups, key=lambda group: canonical(group.frames[0]))


def _group(frames: Sequence[FrameInfo]) -> Group:
    return Group(tuple(sorted(frames, key=canonical)))


def _joined(series: list[Group]) -> list[Group]:
    by_sequence: dict[tuple[str, ...], list[Group]] = {}
    for group in series:
        by_sequence.setdefault(group.frames[0].pulse_sequence, []).append(group)
    result: list[Group] = []
    for alike in by_sequence.values():
        counts = [[len(frames) for frames in by_position(group.frames)] for group in alike]
        stacks = [g for g, c in zip(alike, counts, strict=True) if len(c) > 1]
        singles = [g for g, c in zip(alike, counts, strict=True) if len(c) == 1 and c[0] > 1]
        result.extend(g for g, c in zip(alike, counts, strict=True) if c == [1])
        if not stacks:
            if singles:
                result.append(_group([frame for group in singles for frame in group.frames]))
            continue
        stacks.sort(key=lambda group: (-len(by_position(group.frames)), recency(group.frames)))
        for single in singles:
            host = next((i for i, stack in enumerate(stacks) if _fits(single, stack)), None)
            if host is None:
                result.append(single)
            else:
                stacks[host] = _group([*stacks[host].frames, *single.frames])
        result.extend(stacks)
    return result


def _fits(single: Group, stack: Group) -> bool:
    """Whether a lone slice has the phases of a stack and lies on its grid."""
    positions = by_position(stack.frames)
    if len(single.frames) != usual_count([len(frames) for frames in positions]):
        return False
    planes = [frames[0].placed() for frames in positions]
    at = slice_positions_mm([*planes, single.frames[0].placed()])
    step = float(np.median(np.diff(at[:-1])))
    offset = (float(at[-1]) - float(at[0])) / step
    near = -1.5 < offset < len(planes) + 0.5
    return near and abs(offset - round(offset)) * step <= max(POSITION_TOLERANCE_MM, 0.1 * step)


def assess(group: Group, same_pixels: SamePixels) -> Stack:
    """Order a group in space and time and say whether it is a cine stack.

    Slices lie in ascending order along the normal. Slices without the usual number of phases are
    left out with an issue of severity error, and the stack is no longer complete.
    """
    cleaned = [drop_duplicates(frames, same_pixels) for frames in by_position(group.frames)]
    positions = [frames for frames, _ in cleaned]
    dropped = sum(count for _, count in cleaned)
    ordered = order_phases(positions)
    if ordered is None:
        count = usual_count([len(frames) for frames in positions])
        return _refused(group, positions, count, "nothing in the headers orders the phases in time")
    phases = ordered.usual
    if len(positions) < 2:
        why = "looks like a long-axis or single-slice cine" if phases > 1 else "a single image"
        return _refused(group, positions, phases, f"one position only ({phases} phases): {why}")
    if phases < 2:
        return _refused(group, positions, phases, f"no phases: {len(positions)} slices, one time")
    kept = [frames for frames in ordered.slices if len(frames) == phases]
    if len(kept) < 2:
        return _refused(
            group, positions, phases, f"only {len(kept)} of {len(positions)} slices have all phases"
        )
    why = why_no_phases(kept, ordered.rule)
    if why:
        return _refused(group, positions, phases, why)
    tilt = _tilt_degrees(kept[0][0])
    times, noted = _times(ordered, kept)
    beats = why_not_one_cycle(kept, times)
    places = str(len(kept)) if len(kept) == len(positions) else f"{len(kept)} of {len(positions)}"
    return Stack(
        group=group,
        frames=tuple(zip(*kept, strict=True)),
        slices=len(positions),
        phases=phases,
        score=score(len(kept), phases, tilt) * (NOT_ONE_BEAT_SHARE if beats else 1.0),
        reason=f"{places} parallel slices x {phases} phases, "
        f"ordered by {ordered.rule}, "
        f"normal {tilt:.0f} degrees from the usual axis of the left ventricle"
        + (f"; not one heartbeat: {beats}" if beats else ""),
        order_rule=ordered.rule,
        times_ms=times,
        issues=noted + _issues(ordered, kept, dropped, beats) + _gaps(ordered, kept),
        complete=len(kept) == len(ordered.slices),
    )


def _refused(
    group: Group, positions: Sequence[Sequence[FrameInfo]], phases: int, reason: str
) -> Stack:
    return Stack(group, (), len(positions), phases, 0.0, reason)


def _times(
    ordered: Ordered, kept: Sequence[tuple[FrameInfo, ...]]
) -> tuple[tuple[float, ...] | None, tuple[Issue, ...]]:
    """Per phase the median over slices: trigger times differ from slice to slice."""
    note = Issue("phase-order", "info", f"phases are ordered by {ordered.rule}")
    if ordered.rule != "TriggerTime":
        unknown = Issue("no-phase-times", "info", "the headers give no usable phase times")
        return None, (note, unknown)
    table = np.array([[frame.trigger_ms for frame in frames] for frames in kept], np.float64)
    return tuple(float(value) for value in np.median(table, axis=0)), (note,)


def _issues(
    ordered: Ordered, kept: Sequence[tuple[FrameInfo, ...]], dropped: int, beats: str
) -> tuple[Issue, ...]:
    """What a reader of the result must know about the slices and their phases."""
    issues: list[Issue] = []
    if beats:
        text = (
            f"{beats}: these are not phases of one heartbeat (perfusion, or many beats in real "
            "time?); end-diastole, end-systole and ejection fraction may mean nothing"
        )
        issues.append(Issue("not-one-heartbeat", "warning", text))
    if dropped:
        text = f"{dropped} image(s) were there twice; one copy of each was kept"
        issues.append(Issue("duplicate-images", "info", text))
    for frames in (ordered.slices[index] for index in ordered.repeated):
        if frames in kept:
            at = kept.index(frames)
            text = f"slice {at} was acquired more than once; the last one was kept"
            issues.append(Issue("reacquired-slice", "warning", text, slice=at))
    for index, frames in enumerate(ordered.slices, start=1):
        if len(frames) != ordered.usual:
            text = (
                f"slice position {index} of {len(ordered.slices)} has {len(frames)} phases where "
                f"{ordered.usual} are usual and was left out: the stack is incomplete, "
                "fetch the missing images"
            )
            issues.append(Issue("incomplete-slice", "error", text))
    return tuple(issues)


def _gaps(ordered: Ordered, kept: Sequence[tuple[FrameInfo, ...]]) -> tuple[Issue, ...]:
    """Gaps between neighbours, slices that were left out counted as present."""
    planes = [frames[0].placed() for frames in ordered.slices]
    if len(planes) < 3:
        return ()
    distances = np.diff(slice_positions_mm(planes))
    usual = float(np.median(distances))
    found = []
    for index in gaps(planes):
        before = sum(1 for frames in ordered.slices[: index + 1] if frames in kept) - 1
        missing = max(1, round(float(distances[index]) / usual) - 1)
        found.append(
            Issue(
                "missing-slice",
                "warning",
                f"about {missing} slice(s) missing after slice {max(before, 0)}: the distance is "
                f"{distances[index]:.1f} mm where {usual:.1f} mm is usual "
                f"(limit {GAP_FACTOR} times); volumes span the gap",
                slice=max(before, 0),
            )
        )
    return tuple(found)
