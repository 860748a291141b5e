"""DICOM to :class:`Study`: headers first, then the pixels of the chosen stack only.

Data sets name single images: these are read one by one (:func:`read_dicom_frame`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import SMALLEST_SIDE_PX, Cine, InstanceRef, SeriesSummary, Source, Study
from lvseg.errors import (
    InconsistentStackError,
    IrregularStackError,
    NotACineError,
    ReadError,
    UnknownSpacingError,
)
from lvseg.geometry import Grid, Plane, normal, slice_positions_mm, slice_spacing_mm
from lvseg.issues import Issue
from lvseg.read.frames import FrameInfo, by_position, canonical, heart_rate, recency
from lvseg.read.headers import BrokenHeaderError, read_headers
from lvseg.read.pixels import stored_frames
from lvseg.read.sources import Blob, Files, Progress
from lvseg.read.stack import REANGLED_DEGREES, Group, Stack, assess, groups_of

#: Slices of one grid are off it by less than this share of their distance.
GRID_TOLERANCE = 0.15
#: Another stack with at least this share of the best score makes the choice doubtful.
RIVAL_SHARE = 0.8


def has_cine(frames: Sequence[FrameInfo], files: Files) -> bool:
    """Whether a study holds a short-axis cine."""
    return any(stack.frames for stack in _ranked(frames, files))


def read_frames(
    frames: Sequence[FrameInfo],
    files: Files,
    *,
    name: str,
    location: str,
    progress: Progress | None = None,
    issues: tuple[Issue, ...] = (),
) -> Study:
    """Read the short-axis cine among the frames of one study.

    :param name: label for results, safe as a file name; :param location: path for messages.
    :param issues: what the caller noticed, to be passed on.
    :raises NotACineError: none of the series is a short-axis cine.
    :raises InconsistentStackError: slices of one stack differ in size or pixel spacing.
    :raises UnsupportedEncodingError: no decoder for its pixels. ReadError: broken pixels.
    """
    ranked = _ranked(frames, files)
    rows = _summaries(frames, ranked)
    if not ranked or not ranked[0].frames:
        raise NotACineError(_refusal(rows, location))
    best = ranked[0]
    _check_size(best, ranked, location)
    reference = best.frames[0][0]
    source = Source(
        format="dicom",
        name=name,
        location=location,
        study_uid=reference.study_uid,
        series_uid=best.group.series_uids[0],
        instances=tuple(
            tuple(InstanceRef(f.sop_class_uid, f.sop_uid, f.frame) for f in phase)
            for phase in best.frames
        ),
        order_rule=best.order_rule,
    )
    extra, complete = _others(best, ranked)
    extra += _unplaced(best, ranked, frames)
    rate_bpm, uneven = heart_rate(best.frames)
    pixels = _pixels(best, files, progress)
    cine = Cine(
        frames=pixels,
        source=source,
        grid=Grid.of(
            pixels,
            planes=tuple(frame.placed() for frame in best.frames[0]),
            complete=best.complete and complete,
        ),
        times_ms=best.times_ms,
        view="short-axis",
        issues=(*issues, *best.issues, *extra, *uneven),
        heart_rate_bpm=rate_bpm,
    )
    return Study((cine,), rows)


def _ranked(frames: Sequence[FrameInfo], files: Files) -> list[Stack]:
    """All groups assessed, the best first."""

    def same_pixels(one: FrameInfo, other: FrameInfo) -> bool:
        try:
            return bool(np.array_equal(_values(one, files), _values(other, files)))
        except ReadError:
            return False

    stacks = [assess(group, same_pixels) for group in groups_of(frames)]
    stacks.sort(key=lambda stack: (stack.score, recency(stack.group.frames)), reverse=True)
    return stacks


def _values(frame: FrameInfo, files: Files) -> NDArray[np.float32]:
    (stored,) = stored_frames(frame.instance, files, [(frame.frame or 1) - 1])
    return _rescaled(frame, stored)


def _rescaled(frame: FrameInfo, stored: NDArray[np.generic]) -> NDArray[np.float32]:
    """Modality LUT (PS3.3 C.11.1): stored value x slope + intercept."""
    values: NDArray[np.float32] = stored.astype(np.float32)
    if frame.slope != 1.0:
        values *= np.float32(frame.slope)
    if frame.intercept != 0.0:
        values += np.float32(frame.intercept)
    return values


def _pixels(stack: Stack, files: Files, progress: Progress | None) -> NDArray[np.float32]:
    """The frames ``[T, Z, Y, X]``, each instance opened once."""
    first = stack.frames[0][0]
    result = np.empty((stack.phases, len(stack.frames[0]), first.rows, first.columns), np.float32)
    wanted: dict[int, list[tuple[FrameInfo, int, int]]] = {}
    for phase, slices in enumerate(stack.frames):
        for index, frame in enumerate(slices):
            wanted.setdefault(id(frame.instance), []).append((frame, phase, index))
    done, total = 0, result.shape[0] * result.shape[1]
    for places in wanted.values():
        numbers = [(frame.frame or 1) - 1 for frame, _, _ in places]
        stored = stored_frames(places[0][0].instance, files, numbers)
        for (frame, phase, index), values in zip(places, stored, strict=True):
            result[phase, index] = _rescaled(frame, values)
            done += 1
            if progress is not None:
                progress(done, total)
    return result


def _check_size(best: Stack, ranked: Sequence[Stack], location: str) -> None:
    first = best.frames[0][0]
    if min(first.rows, first.columns) < SMALLEST_SIDE_PX:
        raise ReadError(
            f"expected images of at least {SMALLEST_SIDE_PX} pixels a side, found {first.rows} x "
            f"{first.columns} in {location}: use the full-size series"
        )
    for other in ranked:
        if (
            other is not best
            and other.phases > 1
            and set(other.group.series_uids) & set(best.group.series_uids)
            and _angle_degrees(best, other) < REANGLED_DEGREES
            and _format(other.group) != _format(best.group)
        ):
            raise InconsistentStackError(
                f"expected one frame size and pixel spacing in the short-axis series, found "
                f"{_format(best.group)} and {_format(other.group)} in {location}: "
                "separate the series"
            )


def _format(group: Group) -> str:
    frame = group.frames[0]
    rows, columns = frame.placed().pixel_spacing_mm
    return f"{frame.rows} x {frame.columns} pixels of {rows:.4g} x {columns:.4g} mm"


def _angle_degrees(one: Stack, other: Stack) -> float:
    a, b = (normal(stack.group.frames[0].placed()) for stack in (one, other))
    return float(np.degrees(np.arccos(min(abs(float(a @ b)), 1.0))))


def _others(best: Stack, ranked: Sequence[Stack]) -> tuple[tuple[Issue, ...], bool]:
    """Issues about images beside the stack, and whether the stack is still complete."""
    issues, complete = [], True
    for other in ranked:
        if other is best:
            continue
        shared = set(other.group.series_uids) & set(best.group.series_uids)
        tilted = _angle_degrees(best, other) < REANGLED_DEGREES
        rival = other.frames and other.score >= RIVAL_SHARE * best.score
        new = _new_places(best, other)
        if shared and other.phases > 1 and tilted and (new or _angle_degrees(best, other) > 1):
            complete = False
            text = (
                f"{other.slices} slice(s) of the series lie at an angle of "
                f"{_angle_degrees(best, other):.1f} degrees to the stack and were left out: "
                "volumes would miss them"
            )
            issues.append(Issue("reangled-slice", "error", text))
        elif new and other.phases == best.phases:
            text = (
                f"another series ({other.group.frames[0].rows} x {other.group.frames[0].columns} "
                f"pixels) holds {new} slice(s) that continue this stack and were left out: "
                "volumes may miss them"
            )
            issues.append(Issue("slices-elsewhere", "warning", text))
        elif shared and not (rival and not tilted):
            text = (
                f"{len(other.group.frames)} image(s) of the series are no part of the stack "
                f"({other.reason})"
            )
            issues.append(Issue("unused-images", "info", text))
        elif rival:
            text = (
                f"another stack qualifies ({other.reason}); the one with the higher score, "
                "or the later one, was taken"
            )
            issues.append(Issue("several-stacks", "warning", text))
    return tuple(issues), complete


def _new_places(best: Stack, other: Stack) -> int:
    """How many slices of another stack lie on the grid of this one, where it has none.

    Only next to it or in its gaps, parallel, and none where the other has a slice off the grid.
    """
    if _angle_degrees(best, other) > 1 or other.phases < 2:
        return 0
    here = [frame.placed() for frame in best.frames[0]]
    there = [frames[0].placed() for frames in by_position(other.group.frames)]
    at = slice_positions_mm([*here, *there])
    step = float(np.median(np.diff(at[: len(here)])))
    own, offsets = (at[: len(here)] - at[0]) / step, (at[len(here) :] - at[0]) / step
    if (np.abs(offsets - np.rint(offsets)) > GRID_TOLERANCE).any():
        return 0
    new = [place for place in offsets if np.abs(own - place).min() > 0.5]
    low, high = min(new, default=0.0), max(new, default=0.0)
    touches = low < own[-1] + 1.5 and high > -1.5
    return len(new) if touches else 0


def _unplaced(
    best: Stack, ranked: Sequence[Stack], frames: Sequence[FrameInfo]
) -> tuple[Issue, ...]:
    """Images of the chosen series that never were candidates: phase images, no place, colour."""
    grouped = {id(frame) for stack in ranked for frame in stack.group.frames}
    chosen = set(best.group.series_uids)
    count = sum(1 for f in frames if f.series_uid in chosen and id(f) not in grouped)
    if not count:
        return ()
    text = f"{count} image(s) of the series are phase images, in colour or without a place"
    return (Issue("unused-images", "info", text),)


def summaries(frames: Sequence[FrameInfo], files: Files) -> tuple[SeriesSummary, ...]:
    """One row for each series of one study, the chosen one marked."""
    return _summaries(frames, _ranked(frames, files))


def _summaries(frames: Sequence[FrameInfo], ranked: Sequence[Stack]) -> tuple[SeriesSummary, ...]:
    series: dict[str, list[FrameInfo]] = {}
    for frame in sorted(frames, key=canonical):
        series.setdefault(frame.series_uid, []).append(frame)
    chosen = set(ranked[0].group.series_uids) if ranked and ranked[0].frames else set()
    rows = []
    for uid in sorted(series):
        stack = next((stack for stack in ranked if uid in stack.group.series_uids), None)
        rows.append(_summary(series[uid], stack, chosen=uid in chosen))
    return tuple(rows)


def _summary(frames: Sequence[FrameInfo], stack: Stack | None, *, chosen: bool) -> SeriesSummary:
    first = frames[0] if stack is None else stack.group.frames[0]
    spacing = None if first.plane is None else first.plane.pixel_spacing_mm
    if stack is None:
        slices = len({frame.plane.origin_mm for frame in frames if frame.plane is not None})
        phases, score, reason = 0, 0.0, _why_no_stack(first)
    else:
        slices, phases, score, reason = stack.slices, stack.phases, stack.score, stack.reason
        if len(stack.group.series_uids) > 1:
            reason += f"; joined from {len(stack.group.series_uids)} series"
    return SeriesSummary(
        study_uid=first.study_uid,
        series_uid=frames[0].series_uid,
        description=frames[0].description,
        modality=frames[0].modality,
        files=len({(id(frame.instance)) for frame in frames}),
        rows=first.rows,
        columns=first.columns,
        slices=slices,
        phases=phases,
        pixel_spacing_mm=spacing,
        slice_spacing_mm=_spacing(stack),
        view="short-axis" if stack is not None and stack.frames else "unknown",
        score=score,
        reason=reason,
        chosen=chosen,
    )


def _spacing(stack: Stack | None) -> float | None:
    if stack is None:
        return None
    try:
        planes = [positions[0].placed() for positions in by_position(stack.group.frames)]
        return round(slice_spacing_mm(planes), 6)
    except (UnknownSpacingError, IrregularStackError):
        return None


def _why_no_stack(frame: FrameInfo) -> str:
    if frame.modality != "MR":
        return f"{frame.modality}: not MR"
    if frame.rejected_because:
        return frame.rejected_because
    if frame.rows == 0:
        return "no images"
    if frame.component == "phase":
        return "phase images, not magnitude"
    return "no place, orientation or pixel spacing in the headers"


def _refusal(rows: Sequence[SeriesSummary], location: str) -> str:
    reasons: dict[str, int] = {}
    for row in rows:
        reasons[row.reason] = reasons.get(row.reason, 0) + 1
    told = [f"{count} series: {reason}" for reason, count in list(reasons.items())[:3]]
    more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return (
        "expected a short-axis cine (parallel slices with phases), found "
        f"{'; '.join(told)}{more} in {location}: give the folder that holds the cine"
    )


def read_frame_header(path: Path) -> FrameInfo:
    """What one single-frame image says about itself; the pixels are not read.

    :raises ReadError: no DICOM image, more than one frame, colour.
    """
    blob = Blob(path)
    try:
        with Files() as files, files.open(blob) as stream:
            frames = read_headers(stream, blob)
    except BrokenHeaderError as error:
        raise ReadError(
            f"expected a DICOM image, found something else in {path.name}: check the file"
        ) from error
    if len(frames) != 1 or frames[0].rejected_because:
        found = frames[0].rejected_because if frames else "a list of files"
        raise ReadError(
            f"expected one grey frame [row, column], found {found or len(frames)} in {path.name}: "
            "use the single-frame series"
        )
    return frames[0]


def read_dicom_frame(path: Path) -> tuple[NDArray[np.float32], Plane | None]:
    """Stored values of a grey single-frame image ``[Y, X]``, larger is brighter, and its plane.

    Rescale slope and intercept are not applied: they carry no unit in MR images and the experts'
    images of the public sets were made from the stored values.

    :raises ReadError: no DICOM image, no pixels that can be decoded, more than one frame, colour.
    """
    frame = read_frame_header(path)
    with Files() as files:
        (pixels,) = stored_frames(frame.instance, files, [0])
    return pixels.astype(np.float32), frame.plane
