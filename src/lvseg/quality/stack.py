"""Stack checks: missing slices, a stack that ends too early, slices that do not fit neighbours."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lvseg.cine import base_first
from lvseg.geometry import POSITION_TOLERANCE_MM, are_parallel, gaps, slice_positions_mm
from lvseg.issues import Issue
from lvseg.quality.evidence import Evidence
from lvseg.quality.mask_features import FloatArray, IntArray


def missing_slices(evidence: Evidence) -> Iterator[Issue]:
    """A distance between slices far above the usual one, unless the reader has reported it."""
    planes = evidence.mask.planes
    reported = any(issue.code == "missing-slice" for issue in evidence.cine.issues)
    if reported or planes is None or not are_parallel(planes):
        return
    wide = gaps(planes)
    distances = np.abs(np.diff(slice_positions_mm(planes)))
    if not wide or float(np.median(distances)) < POSITION_TOLERANCE_MM:
        return
    usual = float(np.median(distances))
    worst = max(wide, key=lambda index: (round(float(distances[index]), 2), -index))
    missing = max(1, round(float(distances[worst]) / usual) - 1)
    text = (
        f"Two slices lie {distances[worst]:.1f} mm apart where {usual:.1f} mm is usual: about "
        f"{missing} slice(s) are missing, and the volume spans the gap."
    )
    yield Issue("missing-slice", "warning", text, worst)


def extent(evidence: Evidence) -> Iterator[Issue]:
    """Whether the stack reaches past apex and base at end-diastole."""
    features, limits = evidence.features, evidence.limits
    areas, phase = features.areas_px[features.ed], evidence.mask.phases[features.ed]
    if len(areas) == 1:
        return
    held = np.flatnonzero(areas)
    if held.size < limits.few_slices:
        text = f"Only {held.size} slice(s) hold cavity at end-diastole, too few for a good volume."
        yield Issue("few-slices", "warning", text, phase=phase)
    apex, base = _ends(areas)
    apical, basal = areas[apex] / areas.max(), areas[base] / areas.max()
    middle_only = apical > limits.middle_only_share and basal > limits.apex_cut_share
    if middle_only:
        text = (
            "The cavity is large at both ends of the stack: it does not cover the ventricle, and "
            "volumes and ejection fraction must not be used."
        )
        yield Issue("stack-does-not-cover-ventricle", "error", text, phase=phase)
    elif apical > limits.apex_cut_share:
        text = (
            f"The cavity at the apical end is still {100 * apical:.0f} % of the largest slice: the "
            "apex seems to be cut off."
        )
        yield Issue("apex-cut-off", "warning", text, apex, phase)
    if not middle_only and _base_cut(evidence, base):
        text = (
            "The outermost slice at the base is as large as any, at end-diastole and at "
            "end-systole: the base of the ventricle seems to be cut off."
        )
        yield Issue("base-cut-off", "warning", text, base, phase)
    elif basal > 0:
        text = "The last slice at the base holds cavity: the stack may begin below the valve."
        yield Issue("base-not-passed", "info", text, base, phase)


def _ends(areas: IntArray) -> tuple[int, int]:
    """Slices at the apical and at the basal end of the stack; the smaller is apical in doubt."""
    last = len(areas) - 1
    at_first = base_first(areas)
    if at_first is None:
        at_first = bool(areas[0] >= areas[last])
    return (last, 0) if at_first else (0, last)


def _base_cut(evidence: Evidence, base: int) -> bool:
    features, share = evidence.features, evidence.limits.base_cut_share
    if features.es is None:
        return False
    full, small = features.areas_px[features.ed], features.areas_px[features.es]
    return bool(
        small.any() and full[base] >= share * full.max() and small[base] >= share * small.max()
    )


def gaps_in_mask(evidence: Evidence) -> Iterator[Issue]:
    """An empty slice between slices with cavity, in any phase; the first phase is named."""
    there = evidence.features.areas_px > 0
    below = np.logical_or.accumulate(there, axis=1)
    above = np.logical_or.accumulate(there[:, ::-1], axis=1)[:, ::-1]
    rows, slices = np.nonzero(~there & below & above)
    if rows.size:
        text = (
            f"In {len(set(rows.tolist()))} phase(s) a slice without cavity lies between slices "
            "with cavity."
        )
        yield Issue("gap-in-mask", "warning", text, int(slices[0]), evidence.mask.phases[rows[0]])


def uneven_stack(evidence: Evidence) -> Iterator[Issue]:
    """A slice much larger or smaller than its neighbours at end-diastole; the worst is named."""
    ratio = neighbour_ratios(evidence)
    low, high = evidence.limits.neighbour_area_ratio
    if not ((ratio < low) | (ratio > high)).any():
        return
    worst = int(np.abs(np.log(ratio)).argmax())
    text = (
        f"At end-diastole the cavity of this slice is {ratio[worst]:.1f} times as large as the "
        f"mean of its neighbours ({low:.1f} to {high:.1f} is usual)."
    )
    phase = evidence.mask.phases[evidence.features.ed]
    yield Issue("uneven-stack", "warning", text, worst + 1, phase)


def neighbour_ratios(evidence: Evidence) -> FloatArray:
    """Area of each inner slice over the mean of both neighbours at end-diastole, [Z - 2].

    1 where the slice is empty, or a neighbour is too small to compare with.
    """
    areas = evidence.features.areas_px[evidence.features.ed].astype(np.float64)
    middle, sides = areas[1:-1], np.stack([areas[:-2], areas[2:]])
    least = evidence.limits.neighbour_from_share * areas.max()
    body = (sides.min(axis=0, initial=np.inf) >= least) & (middle > 0)
    ratio: FloatArray = np.divide(middle, sides.mean(axis=0), out=np.ones_like(middle), where=body)
    return ratio


def breathing_shift(evidence: Evidence) -> Iterator[Issue]:
    """A slice beside the straight line through both neighbours; the worst is named."""
    off, limit_mm = off_line_mm(evidence), evidence.limits.breathing_shift_mm
    if off is None or not (off > limit_mm).any():
        return
    worst = int(off.argmax())
    text = (
        f"The cavity of this slice lies {off[worst]:.1f} mm beside the line through its "
        f"neighbours (limit {limit_mm:.0f} mm): breath was held differently, or the mask "
        "is in the wrong place."
    )
    phase = evidence.mask.phases[evidence.features.ed]
    yield Issue("breathing-shift", "warning", text, worst + 1, phase)


def off_line_mm(evidence: Evidence) -> FloatArray | None:
    """In-plane distance of each inner slice from the line through its neighbours, [Z - 2], mm.

    The median over the phases in which all three hold cavity, so that one bad phase decides
    nothing; 0 for slices too small to judge. None without spacing, or for slices out of order.
    """
    features, planes = evidence.features, evidence.mask.planes
    slices = features.areas_px.shape[1]
    if slices < 3 or features.spacing_mm is None:
        return None
    places = features.centroids_px * features.spacing_mm
    heights = np.arange(slices, dtype=np.float64)
    if planes is not None:
        if not are_parallel(planes):
            return None
        heights = slice_positions_mm(planes)
        axes = np.array([planes[0].row_step, planes[0].column_step])
        places = places + np.array([plane.origin_mm for plane in planes]) @ axes.T
    steps = np.diff(heights)
    if not ((steps > 0).all() or (steps < 0).all()):
        return None
    share = (steps[:-1] / (steps[:-1] + steps[1:]))[:, None]
    line = (1 - share) * places[:, :-2] + share * places[:, 2:]
    areas = features.areas_px[features.ed]
    large = areas >= evidence.limits.breathing_from_share * areas.max()
    off = np.zeros(slices - 2)
    for index in np.flatnonzero(large[:-2] & large[1:-1] & large[2:]):
        apart = places[:, index + 1] - line[:, index]
        apart = apart[~np.isnan(apart).any(axis=1)]
        off[index] = float(np.hypot(*np.median(apart, axis=0)))
    return off
