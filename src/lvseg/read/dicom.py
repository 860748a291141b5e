"""DICOM to :class:`Study`: headers first, then the pixels of the chosen stack only.

Data sets name single images: these are read one by one (:func:`read_dicom_frame`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import SMALLEST_SIDE_PX, Cine, InstanceRef, SeriesSummary, Source, Study
from lvseg.errors import InconsistentStackError, NotACineError, ReadError
from lvseg.geometry import Grid, Plane, tilt_degrees
from lvseg.issues import Issue
from lvseg.read.frames import FrameInfo, canonical, heart_rate
from lvseg.read.headers import ENHANCED_CLASSES, read_headers
from lvseg.read.judge import REANGLED_DEGREES, Ranked, beside, ranked
from lvseg.read.lengths import distance_mm, implausible_planes, unit_voxel, why_not_believed
from lvseg.read.parsing import BrokenHeaderError
from lvseg.read.phases import slices_in_turn
from lvseg.read.pixels import stored_frames
from lvseg.read.regrid import Placement
from lvseg.read.sources import Blob, Files, Progress
from lvseg.read.stack import Moment, Stack


def cine_rank(frames: Sequence[FrameInfo], files: Files) -> int:
    """2 where a study holds a short-axis cine, 1 where it is of many heartbeats, 0 for none."""
    _, order = _ranked(frames, files)
    if not order or not order[0].score:
        return 0
    return 1 if order[0].stack.why_not_one_beat else 2


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

    Of slices whose lengths no image of a heart has, the cine holds pixels and no millimetres.

    :param name: label for results, safe as a file name; :param location: path for messages.
    :param issues: what the caller noticed, to be passed on.
    :raises NotACineError: none of the series is a short-axis cine.
    :raises InconsistentStackError: slices of one series differ in pixel spacing.
    :raises UnsupportedEncodingError: no decoder for its pixels. ReadError: broken pixels.
    """
    frames, order = _ranked(frames, files)
    rows = _summaries(frames, order)
    if not order or not order[0].score:
        raise NotACineError(_refusal(rows, location))
    best = order[0].stack
    _check_size(best, order, location)
    source = Source(
        format="dicom",
        name=name,
        location=location,
        study_uid=best.frames[0][0].study_uid,
        series_uid=best.candidate.series_uids[0],
        instances=tuple(
            tuple(
                InstanceRef(m.frame.sop_class_uid, m.frame.sop_uid, m.frame.frame, _exact(m, put))
                for m, put in zip(phase, best.placements, strict=True)
            )
            for phase in best.moments
        ),
        order_rule=best.order_rule,
    )
    extra, complete = beside(order, frames)
    rate_bpm, uneven = heart_rate(best.frames)
    pixels, doubted = _pixels(best, files, progress), _doubted(best)
    hidden = _hidden_slices(best, pixels)
    whole = best.complete and complete and not hidden
    planes = None if doubted else best.planes
    grid = Grid.of(pixels, planes=planes, complete=whole)
    lengths = doubted or unit_voxel(grid.pixel_spacing_mm, grid.slice_spacing_mm)
    cine = Cine(
        frames=pixels,
        source=source,
        grid=grid,
        times_ms=best.times_ms,
        view="short-axis",
        issues=(*issues, *lengths, *_joined(best), *best.issues, *extra, *uneven, *hidden),
        heart_rate_bpm=rate_bpm,
        subject=best.frames[0][0].subject,
    )
    return Study((cine,), rows)


def _exact(moment: Moment, placement: Placement) -> bool:
    """Whether the pixels of a slice are those of its image, one by one."""
    return moment.other is None and placement == Placement()


def _believed(frame: FrameInfo) -> FrameInfo:
    """The frame, without a place if no image of a heart has its pixel spacing."""
    if frame.plane is None:
        return frame
    why = why_not_believed((frame.rows, frame.columns), frame.plane.pixel_spacing_mm)
    return replace(frame, plane=None, rejected_because=why) if why else frame


def _doubted(stack: Stack) -> tuple[Issue, ...]:
    return implausible_planes(stack.planes, stack.size, stated="in the DICOM headers")


def _joined(stack: Stack) -> tuple[Issue, ...]:
    series = {m.frame.series_uid for phase in stack.moments for m in phase}
    if len(series) < 2:
        return ()
    text = f"the stack is put together from {len(series)} series, by place and time"
    return (Issue("joined-series", "info", text),)


def _ranked(frames: Sequence[FrameInfo], files: Files) -> tuple[Sequence[FrameInfo], list[Ranked]]:
    """The frames as they are believed, and the candidates among them, best first.

    A pixel spacing that no image of a heart has leaves a frame without a place, but where nothing
    else is a short-axis cine: then such slices are put in order, and nothing of them is measured.
    """

    def same_pixels(one: FrameInfo, other: FrameInfo) -> bool:
        try:
            return bool(np.array_equal(_values(one, files), _values(other, files)))
        except ReadError:
            return False

    believed = [_believed(frame) for frame in frames]
    order = ranked(believed, same_pixels)
    if believed == list(frames) or (order and order[0].score):
        return believed, order
    doubted = ranked(frames, same_pixels)
    return (frames, doubted) if doubted and doubted[0].score else (believed, order)


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
    rows, columns = stack.size
    count = stack.phases * len(stack.planes)
    where = stack.candidate.frames[0].instance.blob.label
    files.limits.hold("frames", count, where)
    files.limits.hold("pixels", count * rows * columns, where)
    result = np.zeros((stack.phases, len(stack.planes), rows, columns), np.float32)
    wanted: dict[int, list[tuple[FrameInfo, int, int, float]]] = {}
    for phase, slices in enumerate(stack.moments):
        for index, each in enumerate(slices):
            for frame, share in ((each.frame, 1 - each.share), (each.other, each.share)):
                if frame is not None:
                    key = id(frame.instance)
                    wanted.setdefault(key, []).append((frame, phase, index, share))
    done, total = 0, sum(map(len, wanted.values()))
    for places in wanted.values():
        numbers = [(frame.frame or 1) - 1 for frame, *_ in places]
        stored = stored_frames(places[0][0].instance, files, numbers)
        for (frame, phase, index, share), values in zip(places, stored, strict=True):
            placement, grey = stack.placements[index], _rescaled(frame, values)
            if placement != Placement():
                grey = placement.on_frame(grey, rows, columns)
            if share == 1.0:
                result[phase, index] = grey
            else:
                result[phase, index] += np.float32(share) * grey
            done += 1
            if progress is not None:
                progress(done, total)
    return result


def _hidden_slices(stack: Stack, pixels: NDArray[np.float32]) -> tuple[Issue, ...]:
    """An issue where a classic multi-frame object, which has one place, shows several slices."""
    for index, frame in enumerate(stack.frames[0]):
        if frame.frame is None or frame.sop_class_uid in ENHANCED_CLASSES:
            continue
        count = slices_in_turn(pixels[:, index])
        if count > 1:
            text = (
                f"the {stack.phases} frames of one object look like {count} slices in turn, and it "
                "states one place: which phase of which slice a frame is, is not known"
            )
            return (Issue("several-places", "error", text, slice=index),)
    return ()


def _check_size(best: Stack, order: Sequence[Ranked], location: str) -> None:
    rows, columns = best.size
    if min(rows, columns) < SMALLEST_SIDE_PX:
        raise ReadError(
            f"expected images of at least {SMALLEST_SIDE_PX} pixels a side, found {rows} x "
            f"{columns} in {location}: use the full-size series"
        )
    for each in order:
        other = each.stack
        if (
            other is not best
            and other.phases > 1
            and set(other.candidate.series_uids) & set(best.candidate.series_uids)
            and tilt_degrees(best.planes[0], other.candidate.slices[0].plane) < REANGLED_DEGREES
            and _spacing_differs(other, best)
        ):
            raise InconsistentStackError(
                f"expected one frame size and pixel spacing in the short-axis series, found "
                f"{_format(best)} and {_format(other)} in {location}: separate the series"
            )


def _spacing_differs(one: Stack, other: Stack) -> bool:
    a, b = (sorted(s.candidate.slices[0].plane.pixel_spacing_mm) for s in (one, other))
    return not np.allclose(a, b, rtol=0.01)


def _format(stack: Stack) -> str:
    frame = stack.candidate.slices[0].frames[0]
    rows, columns = frame.placed().pixel_spacing_mm
    return f"{frame.rows} x {frame.columns} pixels of {rows:.4g} x {columns:.4g} mm"


def summaries(frames: Sequence[FrameInfo], files: Files) -> tuple[SeriesSummary, ...]:
    """One row for each series of one study, the chosen one marked."""
    return _summaries(*_ranked(frames, files))


def _summaries(frames: Sequence[FrameInfo], order: Sequence[Ranked]) -> tuple[SeriesSummary, ...]:
    series: dict[str, list[FrameInfo]] = {}
    for frame in sorted(frames, key=canonical):
        series.setdefault(frame.series_uid, []).append(frame)
    chosen: set[str] = set()
    notes: tuple[Issue, ...] = ()
    if order and order[0].score:
        best = order[0].stack
        chosen = {m.frame.series_uid for phase in best.moments for m in phase}
        extra, _ = beside(order, frames)
        found = (*_doubted(best), *best.issues, *extra)
        notes = tuple(issue for issue in found if issue.severity != "info")
    of_series: dict[str, Ranked] = {}
    for each in order:
        for uid in each.stack.candidate.series_uids:
            of_series.setdefault(uid, each)
    return tuple(
        _summary(series[uid], of_series.get(uid), notes if uid in chosen else None)
        for uid in sorted(series)
    )


def _summary(
    frames: Sequence[FrameInfo], found: Ranked | None, notes: tuple[Issue, ...] | None
) -> SeriesSummary:
    """A row of the list; ``notes`` are findings about the chosen stack, None for other series."""
    stack = None if found is None else found.stack
    first = frames[0] if stack is None else min(stack.candidate.frames, key=canonical)
    plane = _believed(first).plane
    spacing = None if plane is None else plane.pixel_spacing_mm
    if stack is None:
        slices = len({frame.plane.origin_mm for frame in frames if frame.plane is not None})
        phases, reason = 0, _why_no_stack(first)
    else:
        slices, phases, reason = stack.slices, stack.phases, stack.reason
        if len(stack.candidate.series_uids) > 1:
            reason += f"; joined from {len(stack.candidate.series_uids)} series"
    if notes:
        reason += "; " + "; ".join(dict.fromkeys(note.code for note in notes))
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
        view="short-axis" if stack is not None and stack.moments else "unknown",
        score=0.0 if found is None else found.score,
        reason=reason,
        chosen=notes is not None,
    )


def _spacing(stack: Stack | None) -> float | None:
    if stack is None:
        return None
    firsts = [place[0].frames[0] for place in stack.candidate.places()]
    return distance_mm([frame.placed() for frame in firsts], (firsts[0].rows, firsts[0].columns))


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
    return _believed(frames[0])


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
