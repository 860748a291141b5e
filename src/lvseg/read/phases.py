"""Phases of each slice: their order, told from repeats and from images of other heartbeats.

Pure logic on :class:`FrameInfo`; pixels are asked for through a callback, and only where two
images claim the same place and time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lvseg.read.frames import FrameInfo, canonical, recency, time_values
from lvseg.read.rules import CLOCK_RULES, TIME_RULES, TIMED_RULES, clock_ms

SamePixels = Callable[[FrameInfo, FrameInfo], bool]

#: What orders phases, best first.
RULES = tuple(dict.fromkeys(rule.name for rule in TIME_RULES))
#: A slow heart (24 beats a minute) takes this long; dynamics go on for longer.
LONGEST_CYCLE_MS = 2500.0
#: Phases of a cine are 20 to 60 ms apart, coarse ones 100 ms; dynamics a heartbeat.
LONGEST_STEP_MS = 250.0
#: The step is judged from this many phases on: of fewer, end-diastole and end-systole may be meant.
STEP_FROM_PHASES = 6
#: Two or three images of a place in nothing but the order of their numbers are repeats.
FEWEST_UNTIMED = 4
#: Times (echo, inversion) of one protocol may be rounded; those of a map differ by more.
CONTRAST_TOLERANCE_MS = (0.5, 20.0)
#: Clock times of one beat are evenly spaced: no step is longer than so many usual ones.
_EVEN_STEP = 3.0
#: Instance numbers mean something if at least this share of their steps is the usual one. Of
#: numbers drawn at random fewer than a fifth are.
_REGULAR_SHARE = 0.5
#: Between two slices an image changes so many times more than between any two phases.
_JUMP = 1.5
#: Phases times their distance is one R-R interval within this share, if a slice shows it whole.
_WHOLE_BEAT = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Ordered:
    """The phases of every part under one rule.

    :param acquisitions: per part, its acquisitions, the latest last; of each its frames in order
        of time.
    :param usual: the usual number of phases.
    :param contradicted: what the order goes against, for a reason; "" where nothing is.
    :param doubt: why the order may be wrong, "" where it is sure.
    """

    rule: str
    acquisitions: tuple[tuple[tuple[FrameInfo, ...], ...], ...]
    usual: int
    contradicted: str = ""
    doubt: str = ""


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


def order_phases(parts: Sequence[Sequence[FrameInfo]]) -> Ordered | None:
    """Order the phases of every part (images of one place) by the first rule that works everywhere.

    A rule works if each frame has a value and the values within one acquisition differ. Instance
    numbers are only labels: they are held against the clock and against chance, and say nothing
    against times after the R wave, which the scanner measured. None: no rule works.
    """
    for rule in RULES:
        ordered = _under(rule, parts)
        if ordered is not None:
            if rule == "InstanceNumber":
                return _held_to_clock(ordered, parts)
            return _beside_clock(ordered, parts) if rule == "TriggerTime" else ordered
    return None


def best_rule(parts: Sequence[Sequence[FrameInfo]]) -> str:
    """The rule that would order some parts, "" if none does."""
    return next((rule for rule in RULES if _under(rule, parts) is not None), "")


def _under(rule: str, parts: Sequence[Sequence[FrameInfo]]) -> Ordered | None:
    parted = [_acquisitions(frames, rule, None) for frames in parts]
    if any(found is None for found in parted):
        return None
    usual = usual_count([max(map(len, found)) for found in parted if found])
    again = [
        _acquisitions(frames, rule, usual) or found or []
        for frames, found in zip(parts, parted, strict=True)
    ]
    return Ordered(
        rule,
        tuple(tuple(tuple(_sorted(frames, rule)) for frames in found) for found in again),
        usual,
    )


def _held_to_clock(ordered: Ordered, parts: Sequence[Sequence[FrameInfo]]) -> Ordered:
    """An order by instance numbers, or by the clock where that contradicts it and is plausible.

    Times of acquisition that are evenly spaced within one heartbeat in every slice do not come
    about by chance; numbers that contradict them were given by whoever exported the images.
    """
    surer = _surer_against(ordered)
    if surer:
        doubt = f"instance numbers contradict the {surer} of slices that have it, others have none"
        return replace(ordered, doubt=doubt)
    for clock in CLOCK_RULES:
        timed = _under(clock, parts)
        if timed is None:
            continue
        if _same_order(ordered, timed):
            return ordered
        if all(_even(frames, clock) for found in timed.acquisitions for frames in found):
            return replace(timed, contradicted="InstanceNumber")
        if clock == CLOCK_RULES[0]:
            return replace(ordered, doubt="instance numbers and acquisition times contradict")
    if not _regular(ordered):
        return replace(ordered, doubt="nothing but instance numbers orders them, which are random")
    return ordered


def _beside_clock(ordered: Ordered, parts: Sequence[Sequence[FrameInfo]]) -> Ordered:
    """An order by the time after the R wave, and which clock goes against it.

    The clock may begin anywhere in the beat: an order turned round in a circle is the same.
    """
    clock = CLOCK_RULES[0]
    timed = _under(clock, parts)
    if timed is None or not all(_even(f, clock) for found in timed.acquisitions for f in found):
        return ordered
    pairs = zip(ordered.acquisitions, timed.acquisitions, strict=True)
    agree = all(
        len(one) == len(other) and all(map(_same_circle, one, other)) for one, other in pairs
    )
    return ordered if agree else replace(ordered, contradicted=clock)


def _same_circle(one: Sequence[FrameInfo], other: Sequence[FrameInfo]) -> bool:
    first, second = [id(frame) for frame in one], [id(frame) for frame in other]
    if set(first) != set(second):
        return False
    start = second.index(first[0])
    return first == second[start:] + second[:start]


def _surer_against(ordered: Ordered) -> str:
    """A surer rule under which some acquisition runs otherwise; "" where none does."""
    for rule in RULES[: RULES.index(ordered.rule)]:
        for frames in (frames for found in ordered.acquisitions for frames in found):
            values = time_values(frames, rule)
            if values and len(set(values)) == len(values) and values != sorted(values):
                return rule
    return ""


def _same_order(one: Ordered, other: Ordered) -> bool:
    def identities(ordered: Ordered) -> list[list[int]]:
        return [[id(f) for frames in found for f in frames] for found in ordered.acquisitions]

    return identities(one) == identities(other)


def _even(frames: Sequence[FrameInfo], clock: str) -> bool:
    values = time_values(frames, clock) or []
    steps = np.diff(values)
    if len(steps) == 0:
        return True
    return bool(
        values[-1] - values[0] <= LONGEST_CYCLE_MS and steps.max() <= _EVEN_STEP * np.median(steps)
    )


def _regular(ordered: Ordered) -> bool:
    """Whether instance numbers go up in steps, as those of every scanner do."""
    steps: Counter[float] = Counter()
    for found in ordered.acquisitions:
        for frames in found:
            steps.update(np.diff(time_values(frames, "InstanceNumber") or []).tolist())
    return not steps or max(steps.values()) >= _REGULAR_SHARE * steps.total()


def covers_one_beat(frames: Sequence[FrameInfo], rule: str) -> bool:
    """Whether the phases of a slice, in order, show one whole heartbeat, as far as is known.

    Their number times their usual distance is then one R-R interval.
    """
    times, rates = time_values(frames, rule), [frame.heart_rate_bpm for frame in frames]
    known = [rate for rate in rates if rate is not None]
    if rule not in TIMED_RULES or times is None or len(times) < 2 or not known:
        return False
    whole_ms = len(times) * (times[-1] - times[0]) / (len(times) - 1)
    return abs(whole_ms * float(np.median(known)) / 60000 - 1) <= _WHOLE_BEAT


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
    splits = [_grouped(frames, key) for key in keys]
    splits.append(_runs(frames, rule))
    for key in (lambda frame: frame.acquired, lambda frame: frame.series_number):
        splits.append(_grouped(frames, key))  # a series of its own for each image
    return splits


def _grouped(
    frames: Sequence[FrameInfo], key: Callable[[FrameInfo], object]
) -> list[list[FrameInfo]]:
    groups: dict[object, list[FrameInfo]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return list(groups.values())


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


# Whether the images of one place are phases of one heartbeat. Perfusion, maps of T1 and T2, and
# repeats of late enhancement also hold several images of each place. Headers tell them apart by
# echo and inversion time and by when each image was acquired.


def why_no_phases(slices: Sequence[Sequence[FrameInfo]], rule: str) -> str:
    """Say why the images of each place cannot be phases of a heartbeat; "" if they can.

    :param slices: per position its frames in order; :param rule: what ordered them.
    """
    for index, name in enumerate(("echo", "inversion")):
        for frames in slices:
            times = [frame.echo_inversion_ms[index] for frame in frames]
            if max(times) - min(times) > CONTRAST_TOLERANCE_MS[index]:
                return f"the images of a place differ in {name} time: a map, not phases"
    most = max(map(len, slices))
    if rule == "InstanceNumber" and 1 < most < FEWEST_UNTIMED:
        return f"{most} images of each place and no times: repeats, not phases"
    return ""


def why_not_one_cycle(
    slices: Sequence[Sequence[FrameInfo]], times_ms: tuple[float, ...] | None
) -> str:
    """Say which times show that the phases are not of one heartbeat; "" if none does.

    :param slices: ``[Z][T]`` frames in order; :param times_ms: trigger time of each phase.
    """
    if times_ms is not None and _too_long(times_ms):
        return f"trigger times span {_seconds(times_ms)}"
    for frames in slices:
        moments = {frame.trigger_ms for frame in frames}
        if len(moments) == 1 and any(moments):  # 0 is what scanners write that do not know it
            return f"all images of a slice have the trigger time {moments.pop():g} ms"
        if are_dynamics(frames):
            return f"the images of a slice were acquired over {_seconds(acquired_ms(frames) or [])}"
    return ""


def are_dynamics(frames: Sequence[FrameInfo]) -> bool:
    """Whether the clock says that the images of a slice are of many heartbeats."""
    acquired = acquired_ms(frames)
    return acquired is not None and _too_long(acquired)


def _too_long(times_ms: Sequence[float]) -> bool:
    if max(times_ms) - min(times_ms) > LONGEST_CYCLE_MS:
        return True
    steps = np.diff(sorted(times_ms))
    return len(times_ms) >= STEP_FROM_PHASES and float(np.median(steps)) > LONGEST_STEP_MS


def _seconds(times_ms: Sequence[float]) -> str:
    return f"{(max(times_ms) - min(times_ms)) / 1000:.1f} s"


def acquired_ms(frames: Sequence[FrameInfo]) -> list[float] | None:
    """When each frame was acquired, in ms of a common clock; None if one does not say."""
    values = [_moment_ms(frame.acquired) for frame in frames]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def _moment_ms(text: str) -> float | None:
    try:
        return clock_ms(text)
    except ValueError:
        return None


def slices_in_turn(frames: NDArray[np.float32]) -> int:
    """How many slices, one after the other, the frames of one object look like.

    The phases of a heartbeat change little by little, from the last to the first as well; with the
    next slice all of the image changes.

    :param frames: ``[T, Y, X]`` in order. :returns: 1 where they look like phases of one slice.
    """
    change = np.abs(np.roll(frames, -1, axis=0) - frames).mean(axis=(1, 2))
    for phases in range(2, len(frames) // 2 + 1):
        if len(frames) % phases == 0:
            last = np.arange(len(frames)) % phases == phases - 1
            if change[last].min() > _JUMP * change[~last].max():
                return len(frames) // phases
    return 1
