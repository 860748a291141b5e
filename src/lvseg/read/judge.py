"""Judge of the stacks of a study: which is the short axis to measure, and what the others mean.

Words in a description play no part. Orientation against the heart counts first, then how much of a
heart a stack holds; among equals the time of acquisition decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvseg.geometry import SMALL_TILT_DEGREES, tilt_degrees
from lvseg.issues import Issue
from lvseg.read.assemble import candidates, middle
from lvseg.read.frames import FrameInfo, moment, recency
from lvseg.read.phases import SamePixels, acquired_ms, are_dynamics
from lvseg.read.repeats import (
    GRID_TOLERANCE,
    LEAST_OF_THICKNESS,
    OTHER_STATE_MS,
    REPEAT_SHARE,
    STACK_SHARE,
)
from lvseg.read.stack import REACH_DEGREES, Stack, assess

#: A cine has rarely fewer phases; stacks with fewer count for less.
USUAL_PHASES = 10
#: So many slices hold a whole ventricle; more of them say nothing for a stack.
USUAL_SLICES = 12
#: What is no single heartbeat counts for this much: any cine in the study is better.
NOT_ONE_BEAT_SHARE = 0.02
#: What the clock proves to be many heartbeats (perfusion) counts for less than what only lacks a
#: sign of one: a cine may have lost its trigger times.
DYNAMICS_SHARE = 0.002
#: Another stack with at least this share of the best score makes the choice doubtful.
RIVAL_SHARE = 0.8
#: A slice tilted by less than this next to a stack is a re-angled one, not another view.
REANGLED_DEGREES = 15.0
#: Stacks whose places differ by less show the same ones: the later repeats the earlier.
SAME_PLACES_MM = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """A stack and how good a short-axis cine it is (0 = none)."""

    stack: Stack
    score: float


def score(slices: int, phases: int, tilt_degrees: float) -> float:
    """How good a candidate is: slices x (phases / 10, at most 1) x cosine of twice the tilt.

    The last factor falls to nothing at 45 degrees, where no short axis lies; slices beyond 12 do
    not count, so that a long stack of another view never outweighs a short axis.

    >>> score(10, 20, 0.0), score(18, 5, 30.0)
    (10.0, 3.0)
    """
    lean = float(np.cos(np.radians(min(2 * tilt_degrees, 90.0))))
    return round(min(slices, USUAL_SLICES) * min(1.0, phases / USUAL_PHASES) * lean, 6)


def ranked(frames: Sequence[FrameInfo], same_pixels: SamePixels) -> list[Ranked]:
    """Every candidate of a study assessed, the one to measure first."""
    found = [_scored(assess(each)) for each in candidates(frames, same_pixels)]
    found.sort(key=lambda each: (each.score, recency(each.stack.candidate.frames)), reverse=True)
    if not found or not found[0].score:
        return found
    best = found[0]
    for other in found[1:]:
        if _is_rival(other, best) and _rather(other.stack, best.stack):
            best = other
    return [best, *(each for each in found if each is not best)]


def _scored(stack: Stack) -> Ranked:
    if not stack.moments:
        return Ranked(stack, 0.0)
    share = NOT_ONE_BEAT_SHARE if stack.why_not_one_beat else 1.0
    if any(are_dynamics(each.frames) for each in stack.candidate.slices):
        share = DYNAMICS_SHARE
    plain = score(len(stack.planes), stack.phases, stack.tilt_degrees)
    return Ranked(stack, max(round(plain * share, 6), 1e-6))


def _is_rival(other: Ranked, best: Ranked) -> bool:
    return bool(other.stack.moments) and other.score >= RIVAL_SHARE * best.score


def _rather(other: Stack, best: Stack) -> bool:
    """Whether a rival is to be preferred: a whole one, of one place the later, of two the rest."""
    if abs(len(other.planes) - len(best.planes)) > 1:
        return False
    if other.complete != best.complete:
        return other.complete
    later = moment(other.candidate.frames) > moment(best.candidate.frames)
    if _same_places(other, best):
        return later
    pause = _pause_ms(other, best)
    return pause is not None and pause < -OTHER_STATE_MS


def _same_places(one: Stack, other: Stack) -> bool:
    if len(one.planes) != len(other.planes):
        return False
    return all(
        np.linalg.norm(np.subtract(a.origin_mm, b.origin_mm)) < SAME_PLACES_MM
        for a, b in zip(one.planes, other.planes, strict=True)
    )


def _pause_ms(other: Stack, best: Stack) -> float | None:
    """From the start of one stack to that of the other; None where a clock is missing."""
    times = [acquired_ms(stack.frames[0]) for stack in (other, best)]
    known = [min(values) for values in times if values]
    return known[0] - known[1] if len(known) == 2 else None


# What the other images of the study mean for the stack


def beside(order: Sequence[Ranked], frames: Sequence[FrameInfo]) -> tuple[tuple[Issue, ...], bool]:
    """Issues about images beside the first stack, and whether it still is all there is of it."""
    best, issues, complete = order[0], [], True
    for other in order[1:]:
        issue = _about(other, best)
        if issue is not None:
            issues.append(issue)
            complete = complete and issue.severity != "error"
    lost, unused = _unplaced(order, frames)
    if lost:
        text = (
            f"{lost} image(s) of the series have no place that can be believed: volumes may miss "
            "them"
        )
        issues.append(Issue("images-without-place", "error", text))
    if unused:
        text = f"{unused} image(s) of the series are phase images, in colour or without a place"
        issues.append(Issue("unused-images", "info", text))
    return tuple(issues), complete and not lost


def _about(other: Ranked, best: Ranked) -> Issue | None:
    there, here = other.stack, best.stack
    shared = set(there.candidate.series_uids) & set(here.candidate.series_uids)
    angle = tilt_degrees(here.planes[0], there.candidate.slices[0].plane)
    new, inside = _new_places(here, there, shared) if there.phases > 1 else (0, False)
    limit = REACH_DEGREES if shared or inside else REANGLED_DEGREES
    if new and SMALL_TILT_DEGREES < angle < limit:
        text = (
            f"{there.slices} slice(s) lie at an angle of {angle:.1f} degrees to the stack and were "
            "left out: volumes would miss them"
        )
        return Issue("reangled-slice", "error", text)
    if new and angle <= SMALL_TILT_DEGREES and _one_beat(there):
        first = there.candidate.slices[0].frames[0]
        rows_mm, columns_mm = first.placed().pixel_spacing_mm
        text = (
            f"{new} slice(s) of {first.rows} x {first.columns} pixels of {rows_mm:.4g} x "
            f"{columns_mm:.4g} mm continue this stack and were left out: volumes would miss them"
        )
        return Issue("slices-elsewhere", "error", text)
    stack = there.slices > 1 and there.phases > 1 and angle <= SMALL_TILT_DEGREES
    if (stack and (_one_beat(there) or here.why_not_one_beat)) or _is_rival(other, best):
        return Issue("several-stacks", "warning", _rival_text(there, here))
    if shared:
        count = len(there.candidate.frames)
        text = f"{count} image(s) of the series are no part of the stack ({there.reason})"
        return Issue("unused-images", "info", text)
    return None


def _one_beat(stack: Stack) -> bool:
    return all(not each.why_not for each in stack.candidate.slices)


def _rival_text(there: Stack, here: Stack) -> str:
    if not there.moments:
        return f"another stack was left out ({there.reason})"
    pause = _pause_ms(there, here)
    if _same_places(there, here):
        rule = "of two acquisitions of the same places the later"
    elif pause is not None and pause > OTHER_STATE_MS:
        rule = f"the other was acquired {pause / 60000:.0f} minutes later (stress?), the earlier"
    else:
        rule = "the one with the higher score, or the later one,"
    return f"another stack qualifies ({there.reason}); {rule} was taken"


def _new_places(here: Stack, there: Stack, shared: set[str]) -> tuple[int, bool]:
    """How many slices of another candidate lie in gaps of a stack or next to its ends.

    None where the other lies on another grid of places, beside the stack or away from it, and where
    it is tilted and not all of its slices are new; of one that is no stack of its own those count
    that are.

    :param shared: series that both have images of.
    :returns: their number, and whether all lie in gaps.
    """
    axis = np.cross(here.planes[0].column_step, here.planes[0].row_step)
    rows, columns = here.size
    own = np.array([middle(p, rows, columns) for p in here.planes])
    found = [place[0] for place in there.candidate.places()]
    parallel = tilt_degrees(here.planes[0], found[0].plane) <= SMALL_TILT_DEGREES
    if shared and not parallel:
        found = [s for s in there.candidate.slices if s.frames[0].series_uid in shared]
    others = np.array([middle(s.plane, s.frames[0].rows, s.frames[0].columns) for s in found])
    at, offsets = own @ axis, others @ axis
    step = _grid_step(at)
    at, offsets = (at - at[0]) / step, (offsets - at[0]) / step
    off_grid = np.abs(offsets - np.rint(offsets)) > GRID_TOLERANCE
    least = REPEAT_SHARE
    if len(at) == 2 and (len(offsets) == 1 or not parallel):
        # of two slices nobody knows whether others lay between them: the thickness tells
        thickness = here.planes[0].thickness_mm or step
        least = min(least - GRID_TOLERANCE, LEAST_OF_THICKNESS * thickness / step)
    elif parallel and off_grid.any():
        return 0, False
    new = [place for place in offsets if np.abs(at - place).min() > least]
    is_stack = len(offsets) >= STACK_SHARE * len(at)
    if not new or (not parallel and is_stack and len(new) < len(offsets)):
        return 0, False
    touches = min(new) < at[-1] + 1.5 and max(new) > -1.5
    near = np.abs((others - own.mean(axis=0)) @ np.array(here.planes[0].row_step)).max()
    if not touches or near >= rows * here.planes[0].pixel_spacing_mm[0] / 2:
        return 0, False
    return len(new), min(new) > 0 and max(new) < at[-1]


def _grid_step(at: NDArray[np.float64]) -> float:
    """The distance of slices: the least if all others are multiples of it, else the usual one."""
    steps = np.diff(at)
    multiples = steps / steps.min()
    if (np.abs(multiples - np.rint(multiples)) <= GRID_TOLERANCE).all():
        return float(steps.min())
    return float(np.median(steps))


def _unplaced(order: Sequence[Ranked], frames: Sequence[FrameInfo]) -> tuple[int, int]:
    """Images of the chosen series that never were candidates: (lost slices, other images).

    Lost are grey magnitude images of the size of the stack that have no place: two or more, as
    phases of a slice would be.
    """
    grouped = {id(frame) for each in order for frame in each.stack.candidate.frames}
    best = order[0].stack
    chosen = set(best.candidate.series_uids)
    kept_out = [f for f in frames if f.series_uid in chosen and f.plane is None]
    lost = [
        f
        for f in kept_out
        if f.component == "magnitude"
        and f.modality == "MR"
        and f.instance.samples == 1
        and f.instance.frames == 1
        and (f.rows, f.columns) == best.size
    ]
    count = sum(1 for f in frames if f.series_uid in chosen and id(f) not in grouped)
    copies = sum(1 for f in frames if f.series_uid in chosen and f.may_be_in_a_stack)
    held = sum(1 for each in order for f in each.stack.candidate.frames if f.series_uid in chosen)
    lost_count = len(lost) if len(lost) > 1 else 0
    return lost_count, max(count - lost_count - max(copies - held, 0), 0)
