"""Does each slice fit its neighbours, in the stack and in time?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lvseg.geometry import are_parallel, slice_positions_mm
from lvseg.issues import Issue
from lvseg.quality.seen import FloatArray, Seen

__all__ = [
    "breathing_shift",
    "flicker",
    "flicker_shares",
    "gaps_in_mask",
    "neighbour_ratios",
    "off_line_mm",
    "uneven_stack",
]

#: A slice is compared where both neighbours hold at least this share of the largest slice: towards
#: apex and base the area falls steeply.
BODY_SHARE = 0.25
#: Area over the mean of both neighbours. A ventricle tapers: an ellipsoid has 1.0 to 1.1; expert
#: contours of 30 training and validation patients at end-diastole 0.73 to 1.50 (190 slices).
NEIGHBOUR_RATIO = (0.6, 1.7)
#: The distance between slices is 8 to 10 mm: a breath that moves the heart this far in the plane
#: moves it along the stack too, so that a level is counted twice or not at all. In expert contours
#: of 30 training and validation patients (at 1.33 mm a pixel) 26 have less than 9 mm everywhere,
#: the other four 10.2 to 13.6 mm; masks of the model in three training patients stay below 4.5 mm.
BREATHING_LIMIT_MM = 10.0
#: Slices smaller than this share of the largest one bend away from the axis at apex and outflow
#: tract.
SHIFT_SHARE = 0.2
#: Below this many phases neighbours differ too much to call a change flicker.
FLICKER_FROM_PHASES = 12
#: A phase whose area lies this share of the slice's largest area above, or below, both neighbours
#: in time. The turn at end-systole reaches 0.1 (0.18 where the base leaves two slices at once, in
#: phantoms); masks of the model in three training patients stay below 0.05.
FLICKER_SHARE = 0.3
#: Smaller changes are the coarseness of pixels.
FLICKER_PX = 40


def gaps_in_mask(seen: Seen) -> Iterator[Issue]:
    """An empty slice between slices with cavity, in any phase; the first phase is named."""
    there = seen.areas > 0
    below = np.logical_or.accumulate(there, axis=1)
    above = np.logical_or.accumulate(there[:, ::-1], axis=1)[:, ::-1]
    rows, slices = np.nonzero(~there & below & above)
    if rows.size:
        text = (
            f"In {len(set(rows.tolist()))} phase(s) a slice without cavity lies between slices "
            "with cavity."
        )
        yield Issue("gap-in-mask", "warning", text, int(slices[0]), seen.phases[rows[0]])


def uneven_stack(seen: Seen) -> Iterator[Issue]:
    """A slice much larger or smaller than its neighbours at end-diastole; the worst is named."""
    ratio = neighbour_ratios(seen)
    low, high = NEIGHBOUR_RATIO
    if not ((ratio < low) | (ratio > high)).any():
        return
    worst = int(np.abs(np.log(ratio)).argmax())
    text = (
        f"At end-diastole the cavity of this slice is {ratio[worst]:.1f} times as large as the "
        f"mean of its neighbours ({low:.1f} to {high:.1f} is usual)."
    )
    yield Issue("uneven-stack", "warning", text, worst + 1, seen.phases[seen.ed])


def neighbour_ratios(seen: Seen) -> FloatArray:
    """Area of each inner slice over the mean of both neighbours at end-diastole, [Z - 2].

    1 where the slice is empty, or a neighbour is too small to compare with.
    """
    areas = seen.areas[seen.ed].astype(np.float64)
    middle, sides = areas[1:-1], np.stack([areas[:-2], areas[2:]])
    body = (sides.min(axis=0, initial=np.inf) >= BODY_SHARE * areas.max()) & (middle > 0)
    ratio: FloatArray = np.divide(middle, sides.mean(axis=0), out=np.ones_like(middle), where=body)
    return ratio


def breathing_shift(seen: Seen) -> Iterator[Issue]:
    """A slice beside the straight line through both neighbours; the worst is named."""
    off = off_line_mm(seen)
    if off is None or not (off > BREATHING_LIMIT_MM).any():
        return
    worst = int(off.argmax())
    text = (
        f"The cavity of this slice lies {off[worst]:.1f} mm beside the line through its "
        f"neighbours (limit {BREATHING_LIMIT_MM:.0f} mm): breath was held differently, or the mask "
        "is in the wrong place."
    )
    yield Issue("breathing-shift", "warning", text, worst + 1, seen.phases[seen.ed])


def off_line_mm(seen: Seen) -> FloatArray | None:
    """In-plane distance of each inner slice from the line through its neighbours, [Z - 2], mm.

    The median over the phases in which all three hold cavity, so that one bad phase decides
    nothing; 0 for slices too small to judge. None without spacing, or for slices out of order.
    """
    slices = seen.areas.shape[1]
    if slices < 3 or seen.spacing_mm is None:
        return None
    places = seen.centres * seen.spacing_mm
    heights = np.arange(slices, dtype=np.float64)
    if seen.planes is not None:
        if not are_parallel(seen.planes):
            return None
        heights = slice_positions_mm(seen.planes)
        axes = np.array([seen.planes[0].row_step, seen.planes[0].column_step])
        places = places + np.array([plane.origin_mm for plane in seen.planes]) @ axes.T
    steps = np.diff(heights)
    if not ((steps > 0).all() or (steps < 0).all()):
        return None
    share = (steps[:-1] / (steps[:-1] + steps[1:]))[:, None]
    line = (1 - share) * places[:, :-2] + share * places[:, 2:]
    areas = seen.areas[seen.ed]
    large = areas >= SHIFT_SHARE * areas.max()
    judged = large[:-2] & large[1:-1] & large[2:]
    off = np.zeros(slices - 2)
    for index in np.flatnonzero(judged):
        apart = places[:, index + 1] - line[:, index]
        apart = apart[~np.isnan(apart).any(axis=1)]
        off[index] = float(np.hypot(*np.median(apart, axis=0)))
    return off


def flicker(seen: Seen) -> Iterator[Issue]:
    """A slice whose area jumps up or down for one phase; the worst is named.

    A base that leaves a slice for some phases is a step, not flicker. Needs neighbouring phases.
    """
    if not seen.ordered or len(seen.areas) < FLICKER_FROM_PHASES:
        return
    share = flicker_shares(seen)
    frames = int((share > FLICKER_SHARE).sum())
    if frames == 0:
        return
    row, index = divmod(int(share.argmax()), share.shape[1])
    text = (
        f"In {frames} frame(s) the cavity changes for one phase only, by up to "
        f"{100 * share.max():.0f} % of the slice's largest area."
    )
    yield Issue("flicker", "warning", text, index, seen.phases[row])


def flicker_shares(seen: Seen) -> FloatArray:
    """How far each frame sticks out from both neighbours in time, [F, Z], as a share.

    Of the slice's largest area; 0 below :data:`FLICKER_PX`, and at the ends of part of a cycle.
    """
    areas = seen.areas.astype(np.float64)
    before, after = areas - np.roll(areas, 1, axis=0), areas - np.roll(areas, -1, axis=0)
    out = np.where(before * after > 0, np.minimum(np.abs(before), np.abs(after)), 0.0)
    if not seen.circle:
        out[[0, -1]] = 0
    share: FloatArray = out / np.maximum(areas.max(axis=0), 1)
    share[out < FLICKER_PX] = 0
    return share
