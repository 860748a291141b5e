"""Stack: what became of a candidate, slice by slice, and what a reader of the result must know.

Of each place one acquisition is taken, the later one unless it is worse. Slices with fewer or more
phases are brought to the common number if they show a whole heartbeat, and are left out otherwise;
a stack with slices left out is not whole and gives no volume.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lvseg.geometry import GAP_FACTOR, Plane, normal, tilt_degrees
from lvseg.issues import Issue
from lvseg.read.assemble import Candidate, space_of
from lvseg.read.frames import FrameInfo, moment
from lvseg.read.headers import NOTES
from lvseg.read.phases import covers_one_beat, usual_count, why_not_one_cycle
from lvseg.read.regrid import Placement, placement_of
from lvseg.read.repeats import Slice
from lvseg.read.rules import TIMED_RULES

#: From base to apex the left ventricle points left, forward and down: the mean direction of the
#: slice normals of ordinary short-axis stacks, LPS, a unit vector.
LEFT_VENTRICLE_AXIS = (0.64, -0.67, -0.38)
#: Up to this angle between the slice normal and that axis a stack is a short axis. Real short axes
#: at hand: GE 1.7, 2.2 and 3.7 degrees, Philips 0.4, Siemens 17.0; the limit is twice the largest.
SHORT_AXIS_DEGREES = 35.0
#: Beyond this angle a stack is no short axis: body planes lie at 48 (coronal), 50 (sagittal) and
#: 68 degrees (axial); the real long axes at hand at 57 (outflow tract), 66, 73 (four chambers), 81
#: and 86 (two chambers). Between both limits nothing but the angle speaks against a short axis.
REACH_DEGREES = 45.0


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """Where the pixels of one phase of one slice come from.

    :param frame: the image, or the nearer of two; :param other: the one to blend it with;
        :param share: how much of ``other``.
    """

    frame: FrameInfo
    other: FrameInfo | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """What became of a candidate.

    :param moments: ``[T][Z]``, empty if this is no cine stack.
    :param placements, planes: of each slice, on the common frame of ``size`` (rows, columns).
    :param slices: distinct positions found; :param phases: the usual number per position.
    :param tilt_degrees: angle between the slice normal and the usual axis of the left ventricle.
    :param why_not_one_beat: why the phases are not of one heartbeat, "" if they are.
    :param reason: why it is a short-axis cine, or why not.
    """

    candidate: Candidate
    slices: int
    phases: int
    reason: str
    tilt_degrees: float
    moments: tuple[tuple[Moment, ...], ...] = ()
    placements: tuple[Placement, ...] = ()
    planes: tuple[Plane, ...] = ()
    size: tuple[int, int] = (0, 0)
    order_rule: str = ""
    times_ms: tuple[float, ...] | None = None
    why_not_one_beat: str = ""
    issues: tuple[Issue, ...] = ()
    complete: bool = True

    @property
    def frames(self) -> tuple[tuple[FrameInfo, ...], ...]:
        """The images ``[T][Z]``; of a blended one the nearer."""
        return tuple(tuple(moment.frame for moment in phase) for phase in self.moments)


def tilt_of(plane: Plane) -> float:
    """Angle between a slice normal and the usual axis of the left ventricle, 0 to 90 degrees."""
    axis = np.array(LEFT_VENTRICLE_AXIS) / np.linalg.norm(LEFT_VENTRICLE_AXIS)
    return float(np.degrees(np.arccos(min(abs(float(normal(plane) @ axis)), 1.0))))


def assess(candidate: Candidate) -> Stack:
    """Say whether a candidate is a cine stack, and of which images it then consists."""
    places, ordered = candidate.places(), candidate.ordered
    phases = usual_count([max(len(each.frames) for each in place) for place in places])
    tilt = tilt_of(candidate.slices[0].plane)
    why = _why_none(candidate, len(places), phases, tilt)
    if why or ordered is None:
        return Stack(candidate, len(places), phases, why, tilt)
    chosen, repeat_issues, sure = _choose(places, phases, ordered.rule)
    usable = [_usable(each, phases, ordered.rule) for each in chosen]
    rows = _on_one_frame([e for e, fit in zip(chosen, usable, strict=True) if fit])
    kept = [each for each, _ in rows]
    if len(kept) < 2:
        why = f"only {len(kept)} of {len(places)} slices have all phases"
        return Stack(candidate, len(places), phases, why, tilt)
    moments = [_resampled(each.frames, phases) for each in kept]
    times, noted = _times(ordered.rule, [e.frames for e in kept if len(e.frames) == phases])
    beats = why_not_one_cycle([each.frames for each in kept], times)
    issues = (
        *noted,
        *_order_issues(candidate),
        *_beat_issues(beats),
        *_copy_issues(candidate.dropped),
        *_numbered(repeat_issues, kept),
        *_phase_issues(chosen, kept, usable, phases),
        *_frame_issues(chosen, usable, rows),
        *_tilt_issues(tilt, kept),
        *_note_issues(kept),
        *_gap_issues(places, chosen, kept),
    )
    told = str(len(kept)) if len(kept) == len(places) else f"{len(kept)} of {len(places)}"
    return Stack(
        candidate=candidate,
        slices=len(places),
        phases=phases,
        reason=f"{told} parallel slices x {phases} phases, ordered by {ordered.rule}, normal "
        f"{tilt:.0f} degrees from the usual axis of the left ventricle"
        + ("" if tilt <= SHORT_AXIS_DEGREES else ", which is unusual for a short axis")
        + (f"; not one heartbeat: {beats}" if beats else ""),
        tilt_degrees=tilt,
        moments=tuple(zip(*moments, strict=True)),
        placements=tuple(put for _, (put, _) in rows),
        planes=tuple(plane for _, (_, plane) in rows),
        size=_usual_frame(kept),
        order_rule=ordered.rule,
        times_ms=times,
        why_not_one_beat=beats,
        issues=issues,
        complete=len(kept) == len(places) and sure and not ordered.doubt,
    )


def _why_none(candidate: Candidate, places: int, phases: int, tilt: float) -> str:
    """Why a candidate is no short-axis cine, "" if nothing speaks against it."""
    if candidate.ordered is None:
        return "nothing in the headers orders the phases in time"
    if places < 2:
        why = "looks like a long-axis or single-slice cine" if phases > 1 else "a single image"
        return f"one position only ({phases} phases): {why}"
    if phases < 2:
        return f"no phases: {places} slices, one time"
    firsts = {
        tuple(round(value, 2) for value in place[0].plane.origin_mm) for place in candidate.places()
    }
    if len(firsts) < places:
        return f"{places} slices at {len(firsts)} position(s): where they lie is not known"
    whys = Counter(w for each in candidate.slices if (w := each.why_not).endswith("not phases"))
    if whys:
        return whys.most_common(1)[0][0]
    if tilt > REACH_DEGREES:
        return (
            f"planes {tilt:.0f} degrees from a usual short axis (limit {REACH_DEGREES:.0f}): "
            f"{places} parallel slices x {phases} phases of another view"
        )
    return ""


# Repeats


def _choose(
    places: Sequence[Sequence[Slice]], phases: int, rule: str
) -> tuple[list[Slice], list[tuple[Slice, Issue]], bool]:
    """One acquisition of each place, issues about the others, and whether all choices are sure."""
    chosen, issues, sure = [], [], True
    for place in places:
        if len(place) == 1:
            chosen.append(place[0])
            continue
        ranked = sorted(place, key=lambda each: _preference(each, phases, rule))
        best, rest = ranked[-1], ranked[:-1]
        chosen.append(best)
        latest = max(moment(each.frames) for each in place)
        if moment(best.frames) == latest and any(moment(e.frames) == latest for e in rest):
            sure = False
            text = "two acquisitions of {slice} bear the same time: which is the later is not known"
            issues.append((best, Issue("repeat-order-unknown", "error", text)))
            continue
        issues.append((best, Issue("reacquired-slice", "warning", _repeat_text(best, rest))))
    return chosen, issues, sure


def _preference(each: Slice, phases: int, rule: str) -> tuple[object, ...]:
    """A sort key that puts the acquisition to use last: whole, not coarser, later."""
    pixel_mm2 = float(np.prod(each.plane.pixel_spacing_mm))
    whole = _usable(each, phases, rule)
    return (whole, len(each.frames) if not whole else 0, -round(pixel_mm2, 2), moment(each.frames))


def _repeat_text(best: Slice, rest: Sequence[Slice]) -> str:
    other = max(rest, key=lambda each: moment(each.frames))
    apart = abs(best.at_mm - other.at_mm)
    later = moment(best.frames) > moment(other.frames)
    why = "the last one was kept" if later else "the earlier was kept: the later one is worse"
    return (
        f"{{slice}} was acquired more than once ({_named(best)} and {_named(other)}, "
        f"{apart:.1f} mm apart); {why}"
    )


def _named(each: Slice) -> str:
    first = each.frames[0]
    number = "?" if first.series_number is None else str(first.series_number)
    clock = first.acquired.partition(".")[0][-6:]
    return (
        f"series {number} at {clock[:2]}:{clock[2:4]}:{clock[4:]}" if clock else f"series {number}"
    )


def _numbered(found: Sequence[tuple[Slice, Issue]], kept: Sequence[Slice]) -> list[Issue]:
    """Issues about slices with the numbers of those that are kept."""
    return [
        Issue(
            issue.code,
            issue.severity,
            issue.text.format(slice=f"slice {kept.index(each)}"),
            slice=kept.index(each),
        )
        for each, issue in found
        if each in kept
    ]


# Phases


def _usable(each: Slice, phases: int, rule: str) -> bool:
    """Whether a slice has the usual number of phases, or can be brought to it."""
    count = len(each.frames)
    return count == phases or (count > 1 and covers_one_beat(each.frames, rule))


def _resampled(frames: Sequence[FrameInfo], phases: int) -> tuple[Moment, ...]:
    """The moments of a slice in a cycle of ``phases``: between two images a blend of both."""
    if len(frames) == phases:
        return tuple(map(Moment, frames))
    moments = []
    for index in range(phases):
        at = index * len(frames) / phases
        before, share = int(at), at - int(at)
        pair = frames[before], frames[(before + 1) % len(frames)]
        if share > 0.5:
            pair, share = pair[::-1], 1 - share
        moments.append(Moment(pair[0], pair[1], share) if share > 1e-9 else Moment(pair[0]))
    return tuple(moments)


def _times(
    rule: str, kept: Sequence[tuple[FrameInfo, ...]]
) -> tuple[tuple[float, ...] | None, tuple[Issue, ...]]:
    """Per phase the median over slices: trigger times differ from slice to slice."""
    note = Issue("phase-order", "info", f"phases are ordered by {rule}")
    if rule not in TIMED_RULES:
        unknown = Issue("no-phase-times", "info", "the headers give no usable phase times")
        return None, (note, unknown)
    table = np.array([[frame.trigger_ms for frame in frames] for frames in kept], np.float64)
    return tuple(float(value) for value in np.median(table, axis=0)), (note,)


def _order_issues(candidate: Candidate) -> list[Issue]:
    ordered = candidate.ordered
    if ordered is None:
        return []
    if ordered.doubt:
        text = (
            f"the order of the phases is not known: {ordered.doubt}; volumes and the ejection "
            "fraction would mean nothing"
        )
        return [Issue("phase-order-unknown", "error", text)]
    if ordered.contradicted:
        text = (
            f"{ordered.contradicted} contradicts the order of {ordered.rule}, which is evenly "
            "spaced in every slice and was believed"
        )
        return [Issue("phase-order-contradicted", "warning", text)]
    return []


def _beat_issues(beats: str) -> list[Issue]:
    if not beats:
        return []
    text = (
        f"{beats}: these are not phases of one heartbeat (perfusion, or many beats in real "
        "time?); end-diastole, end-systole and ejection fraction may mean nothing"
    )
    return [Issue("not-one-heartbeat", "warning", text)]


def _copy_issues(dropped: int) -> list[Issue]:
    if not dropped:
        return []
    text = f"{dropped} image(s) were there twice; one copy of each was kept"
    return [Issue("duplicate-images", "info", text)]


def _phase_issues(
    chosen: Sequence[Slice], kept: Sequence[Slice], usable: Sequence[bool], phases: int
) -> list[Issue]:
    """What became of slices without the usual number of phases."""
    issues = []
    for index, (each, fit) in enumerate(zip(chosen, usable, strict=True), start=1):
        if not fit:
            text = (
                f"slice position {index} of {len(chosen)} has {len(each.frames)} phases where "
                f"{phases} are usual and was left out: the stack is incomplete, "
                "fetch the missing images"
            )
            issues.append(Issue("incomplete-slice", "error", text))
    for index, each in enumerate(kept):
        if len(each.frames) != phases:
            text = (
                f"slice {index} has {len(each.frames)} phases where {phases} are usual; both are "
                "a whole heartbeat, so it was interpolated in time"
            )
            issues.append(Issue("phases-resampled", "warning", text, slice=index))
    return issues


# The common frame


def _usual_frame(slices: Sequence[Slice]) -> tuple[int, int]:
    counts = Counter((each.frames[0].rows, each.frames[0].columns) for each in slices)
    return max(counts, key=lambda size: (counts[size], size))


def _usual_directions(slices: Sequence[Slice]) -> Plane:
    """The plane of the slice whose in-plane axes most others share."""
    size = _usual_frame(slices)
    fit = [e.plane for e in slices if (e.frames[0].rows, e.frames[0].columns) == size]
    counts = Counter((plane.row_step, plane.column_step) for plane in fit)
    usual = max(counts, key=lambda each: (counts[each], each))
    return next(plane for plane in fit if (plane.row_step, plane.column_step) == usual)


def _on_one_frame(slices: Sequence[Slice]) -> list[tuple[Slice, tuple[Placement, Plane]]]:
    """The slices that fit on the usual frame, each with its placement and its plane there."""
    if not slices:
        return []
    size, like = _usual_frame(slices), _usual_directions(slices)
    whole = [e for e in slices if (e.frames[0].rows, e.frames[0].columns) == size]
    whole = [e for e in whole if float(np.dot(e.plane.row_step, like.row_step)) > 0.9]
    rows = []
    for each in slices:
        near = min(whole, key=lambda other: abs(other.at_mm - each.at_mm))
        own = (each.frames[0].rows, each.frames[0].columns)
        placed = placement_of(each.plane, own, near.plane, size)
        if placed is not None:
            rows.append((each, placed))
    return rows


def _frame_issues(
    chosen: Sequence[Slice],
    usable: Sequence[bool],
    rows: Sequence[tuple[Slice, tuple[Placement, Plane]]],
) -> list[Issue]:
    """What was done to slices of another size or turn, and which were left out for it."""
    issues, kept = [], [each for each, _ in rows]
    for index, (each, fit) in enumerate(zip(chosen, usable, strict=True), start=1):
        if fit and each not in kept:
            text = (
                f"slice position {index} of {len(chosen)} shows another field of view and was "
                "left out: the stack is incomplete"
            )
            issues.append(Issue("other-field-of-view", "error", text))
    for index, (each, (placement, _)) in enumerate(rows):
        if placement != Placement():
            first = each.frames[0]
            how = "turned" if placement.swap or any(placement.flip) else "cropped or padded"
            text = (
                f"slice {index} ({first.rows} x {first.columns} pixels) was {how} to the frame of "
                "the others; no pixel was resampled"
            )
            issues.append(Issue("frame-adapted", "info", text, slice=index))
    return issues


def _tilt_issues(tilt: float, kept: Sequence[Slice]) -> list[Issue]:
    issues = []
    if tilt > SHORT_AXIS_DEGREES:
        text = (
            f"the planes are {tilt:.0f} degrees from a usual short axis (limit "
            f"{SHORT_AXIS_DEGREES:.0f}): this may be another view, and its volumes no volumes"
        )
        issues.append(Issue("not-short-axis", "error", text))
    first = kept[0].plane
    angles = [tilt_degrees(first, each.plane) for each in kept]
    worst = int(np.argmax(angles))
    if angles[worst] > 0.1:
        text = (
            f"slices lie at up to {angles[worst]:.1f} degrees to each other; each is measured in "
            "its own plane"
        )
        issues.append(Issue("tilted-slices", "warning", text, slice=worst))
    return issues


def _note_issues(kept: Sequence[Slice]) -> list[Issue]:
    """What the headers of the stack say that cannot be true, once each."""
    notes = Counter(note for each in kept for frame in each.frames for note in frame.notes)
    issues = []
    for note, count in sorted(notes.items()):
        code, text = NOTES[note]
        issues.append(Issue(code, "warning", f"{count} image(s) have {text}"))
    spaces = {space_of(each.frames) for each in kept} - {""}
    if len(spaces) > 1:
        text = (
            f"the slices name {len(spaces)} frames of reference but lie on one grid; they were "
            "taken as one stack"
        )
        issues.append(Issue("frames-of-reference", "warning", text))
    return issues


def _gap_issues(
    places: Sequence[Sequence[Slice]], chosen: Sequence[Slice], kept: Sequence[Slice]
) -> list[Issue]:
    """Gaps between neighbours, slices that were left out counted as present.

    Of each place the first acquisition counts: a repeat may lie nearer to one neighbour.
    """
    if len(chosen) < 3:
        return []
    firsts = [min(place, key=lambda each: moment(each.frames)) for place in places]
    distances = np.diff([each.at_mm for each in firsts])
    usual = float(np.median(distances))
    found = []
    for index in np.flatnonzero(distances > GAP_FACTOR * usual).tolist():
        before = sum(1 for each in chosen[: index + 1] if each in kept) - 1
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
    return found
