"""Checks of a mask on its cine: the stack, the outlines, the intensities, the curve, the numbers.

Each takes the evidence and yields issues; the worst or the first place is named.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from lvseg.cine import base_first
from lvseg.geometry import POSITION_TOLERANCE_MM, Box, are_parallel, gaps, slice_positions_mm
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.quality.evidence import BoolArray, Evidence, FloatArray, IntArray
from lvseg.runs import smooth_cycle
from lvseg.wall import open_shares

#: Side neighbours within a frame; frames do not touch each other.
_IN_PLANE = np.array([np.zeros((3, 3)), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3))])


def missing_slices(evidence: Evidence) -> Iterator[Issue]:
    """A distance between slices far above the usual one, unless the reader has reported it."""
    planes = evidence.mask.planes
    reported = any(issue.code == "missing-slice" for issue in evidence.cine.issues)
    if reported or planes is None or not are_parallel(planes):
        return
    at_px = evidence.mask.grid.centre_px
    wide = gaps(planes, evidence.limits.missing_slice_ratio, at_px)
    distances = np.abs(np.diff(slice_positions_mm(planes, at_px)))
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
        heights = slice_positions_mm(planes, evidence.mask.grid.centre_px)
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


def odd_outlines(evidence: Evidence) -> Iterator[Issue]:
    """Several pieces, holes, an outline that is no ventricle's, cavity at the border."""
    features = evidence.features
    held = features.areas_px.ravel() > 0
    frames = features.inside.reshape(-1, *features.inside.shape[2:])
    pieces = _count_pieces(frames)
    several = np.flatnonzero(held & (pieces > 1))
    if several.size:
        text = f"In {several.size} frame(s) the cavity falls into several pieces."
        yield _issue("several-pieces", text, evidence, int(several[0]))
    around = np.pad(~frames, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    holes = np.flatnonzero(_count_pieces(around) > 1)
    if holes.size:
        text = f"In {holes.size} frame(s) the cavity has a hole."
        yield _issue("hole-in-mask", text, evidence, int(holes[0]))
    yield from _dented_or_long(evidence, frames, pieces)
    edge = np.flatnonzero(features.touches.ravel())
    if edge.size:
        text = f"In {edge.size} frame(s) the cavity touches the border of the image."
        yield _issue("touches-border", text, evidence, int(edge[0]))


def _issue(code: str, text: str, evidence: Evidence, frame: int) -> Issue:
    row, index = divmod(frame, evidence.features.areas_px.shape[1])
    return Issue(code, "warning", text, index, evidence.mask.phases[row])


def _count_pieces(frames: BoolArray) -> IntArray:
    """Pieces of each frame, [N, y, x] -> [N]; side neighbours belong together."""
    labels, _ = ndimage.label(frames, structure=_IN_PLANE)
    highest = labels.max(axis=(1, 2))
    # Pieces are numbered in order of frames, so a frame's count is the step of the highest number.
    pieces: IntArray = np.diff(np.maximum.accumulate(np.concatenate([[0], highest])))
    return pieces


def _dented_or_long(evidence: Evidence, frames: BoolArray, pieces: IntArray) -> Iterator[Issue]:
    """Outlines with a deep dent, or much longer than wide; the worst is named.

    Judged where the cavity is one piece.
    """
    features, limits = evidence.features, evidence.limits
    large = features.areas_px.ravel() >= limits.outline_from_px
    judged = np.flatnonzero(large & (pieces == 1))
    if judged.size == 0:
        return
    solid = np.round(solidity(frames[judged], enough=limits.solidity_share + 0.001), 3)
    long = np.round(features.elongation.ravel()[judged], 3)
    odd = (solid < limits.solidity_share) | (long > limits.elongation_ratio)
    if not odd.any():
        return
    if solid.min() < limits.solidity_share:
        worst = int(solid.argmin())
        what = f"the worst fills {100 * solid[worst]:.0f} % of its convex hull"
        limit = f"{100 * limits.solidity_share:.0f} % or more is usual"
    else:
        worst = int(long.argmax())
        what = f"the worst is {long[worst]:.1f} times as long as wide"
        limit = f"up to {limits.elongation_ratio:.1f} is usual"
    text = f"In {int(odd.sum())} frame(s) the outline is not a ventricle's: {what} ({limit})."
    yield _issue("odd-outline", text, evidence, int(judged[worst]))


def solidity(frames: BoolArray, enough: float = 1.0) -> FloatArray:
    """Area over the area of the convex hull of the pixel squares, [N, y, x] -> [N]; none empty.

    :param enough: a frame that fills at least this share of the octagon around it, which holds the
        hull, is given that share: a lower bound, in a tenth of the time.
    """
    result = np.empty(len(frames))
    for index, inside in enumerate(frames):
        y = np.flatnonzero(inside.any(axis=1))
        left = inside[y].argmax(axis=1)
        right = inside.shape[1] - inside[y, ::-1].argmax(axis=1)
        area = np.count_nonzero(inside)
        result[index] = area / _octagon_area(y, left, right)
        if result[index] < enough:
            result[index] = area / _hull_area(y, left, right)
    return result


def _octagon_area(y: IntArray, left: IntArray, right: IntArray) -> float:
    """Area of the smallest upright octagon around rows of pixels from left to right."""
    top, bottom, first, last = y[0], y[-1] + 1, left.min(), right.max()
    corners = np.array(
        [
            (y + left).min() - top - first,
            bottom + last - (y + 1 + right).max(),
            (y - right).min() - top + last,
            bottom - first - (y + 1 - left).max(),
        ]
    )
    return float((bottom - top) * (last - first) - (corners**2).sum() / 2)


def _hull_area(y: IntArray, left: IntArray, right: IntArray) -> float:
    """Area of the convex hull of rows of pixels from left to right."""
    from scipy.spatial import ConvexHull  # here, for its import takes a while

    rows = np.tile(np.concatenate([y, y + 1]), 2)
    corners = np.column_stack([rows, np.concatenate([left, left, right, right])])
    return float(ConvexHull(corners).volume)  # in the plane: its area


def open_wall(evidence: Evidence) -> Iterator[Issue]:
    """A cavity that the myocardium does not surround; the worst slice is named.

    Judged at end-diastole, where the mass is measured, and only if that is closed in the other
    phases. A mask of a cavity alone has nothing to judge, unless its model knows the myocardium.
    """
    mask, card, features = evidence.mask, evidence.card, evidence.features
    if Label.LV_MYOCARDIUM not in mask.labels_present:
        if card is not None and Label.LV_MYOCARDIUM in card.labels:
            text = "The model knows the myocardium and found none: there is no mass."
            yield Issue("wall-not-found", "warning", text)
        return
    held = Box.around(mask.labels > 0) or Box(0, 0, 1, 1)
    cavity, wall = (held.crop(mask.of(each)) for each in (Label.LV_CAVITY, Label.LV_MYOCARDIUM))
    bare = np.nan_to_num(open_shares(cavity, wall))
    frames = bare > evidence.limits.open_wall_share
    at_ed = bool(frames[features.ed].any())
    if not frames.any():
        return
    if at_ed:
        frames[np.arange(len(frames)) != features.ed] = False
    row, index = divmod(int(np.where(frames, bare, 0).argmax()), bare.shape[1])
    text = (
        f"In {int(frames.sum())} frame(s) the myocardium does not surround the cavity: in the "
        f"worst {100 * bare[row, index]:.0f} % of the border have none beside it."
    )
    if at_ed:
        yield Issue("open-wall", "warning", text, index, mask.phases[row])
    else:
        yield Issue("open-wall-not-at-ed", "info", text, index, mask.phases[row])


def blood_pool_contrast(evidence: Evidence) -> Iterator[Issue]:
    """Whether the cavity is brighter than its surroundings at end-diastole and end-systole.

    Says nothing for images without contrast, or a mask that does not fit the cine.
    """
    darker, limits = darker_shares(evidence), evidence.limits
    if len(darker) < limits.ring_from_frames:
        return
    middle = float(np.median(darker))
    if middle >= limits.darker_ring_share:
        return
    text = (
        f"The cavity is brighter than only {100 * middle:.0f} % of its surroundings "
        f"({100 * limits.darker_ring_share:.0f} % or more is usual): the mask may not lie on the "
        "ventricle."
    )
    phase = evidence.mask.phases[evidence.features.ed]
    yield Issue("cavity-not-brighter", "warning", text, phase=phase)


def darker_shares(evidence: Evidence) -> list[float]:
    """Share of the ring that is darker than the cavity, for each slice at both ends of the beat.

    Nothing for images without contrast, small cavities, or a mask that does not fit the cine.
    """
    features, mask, shape = evidence.features, evidence.mask, evidence.cine.shape
    if mask.grid.shape != shape[1:] or max(mask.phases) >= shape[0]:
        return []
    rows = sorted({features.ed, features.ed if features.es is None else features.es})
    large = features.areas_px >= max(1, evidence.limits.ring_from_px)
    places = [(row, int(z)) for row in rows for z in np.flatnonzero(large[row])]
    return [share for row, z in places if (share := _darker(evidence, row, z)) is not None]


def _darker(evidence: Evidence, row: int, index: int) -> float | None:
    """Share of the ring that is darker than the middle value of the cavity; None: no contrast."""
    features, limits = evidence.features, evidence.limits
    spacing = None if features.spacing_mm is None else features.spacing_mm[index]
    low, high = limits.ring_px if spacing is None else limits.ring_mm
    step = np.ones(2) if spacing is None else spacing
    down, across = (int(margin) for margin in np.ceil(high / step))
    image, box = evidence.cine.frames[evidence.mask.phases[row], index], features.box
    around = box.grow(down, across).clip(*image.shape)
    inside = around.relative_to(box).crop(features.inside[row, index])
    values = around.crop(image)
    away = ndimage.distance_transform_edt(~inside, sampling=step)
    ring = values[(away > low) & (away <= high)]
    blood = values[inside]
    if ring.size == 0 or float(np.ptp(np.concatenate([ring, blood]))) == 0:
        return None
    middle = np.median(blood)
    return float((ring < middle).mean() + (ring == middle).mean() / 2)


def empty_phases(evidence: Evidence) -> Iterator[Issue]:
    """Phases without any cavity, while others hold some: no ventricle empties completely."""
    empty = np.flatnonzero(~evidence.features.areas_px.any(axis=1))
    if empty.size:
        text = (
            f"In {empty.size} phase(s) no cavity was found at all: end-systolic volume and "
            "ejection fraction must not be used."
        )
        yield Issue("empty-phase", "error", text, phase=evidence.mask.phases[empty[0]])


def volume_jump(evidence: Evidence) -> Iterator[Issue]:
    """Jumps of the volume between neighbouring phases, and phases that stick out; one issue."""
    curve, limits, phases = _curve_ml(evidence), evidence.limits, evidence.mask.phases
    stroke = 0.0 if curve is None else float(np.ptp(curve))
    if curve is None or stroke == 0:
        return
    cyclic = evidence.features.whole_cycle
    steps = np.abs(np.roll(curve, -1) - curve)[: None if cyclic else -1]
    worst = int(steps.argmax())
    if steps[worst] > max(limits.jump_factor / len(curve), limits.jump_share) * stroke:
        text = (
            f"The volume jumps by {steps[worst]:.0f} ml ({100 * steps[worst] / stroke:.0f} % of "
            "the largest change) between two neighbouring phases."
        )
        yield Issue("volume-jump", "warning", text, phase=phases[(worst + 1) % len(curve)])
        return
    off = spikes(curve)
    limit = np.full(len(curve), limits.spike_share)
    limit[[0, -1]] = limits.spike_across_end_share if cyclic else np.inf
    limit = np.maximum(limit * stroke, limits.spike_of_largest_share * curve.max())
    worst = int((off / limit).argmax())
    if off[worst] > limit[worst]:
        text = (
            f"The volume of one phase lies {off[worst]:.0f} ml ({100 * off[worst] / stroke:.0f} % "
            "of the largest change) off the mean of the phases before and after it."
        )
        yield Issue("volume-jump", "warning", text, phase=phases[worst])


def spikes(curve: FloatArray) -> FloatArray:
    """Distance of each value from the mean of those before and after it on the circle, [T]."""
    result: FloatArray = np.abs(curve - (np.roll(curve, 1) + np.roll(curve, -1)) / 2)
    return result


def flicker(evidence: Evidence) -> Iterator[Issue]:
    """A slice whose area jumps up or down for one phase; the worst is named.

    A base that leaves a slice for some phases is a step, not flicker. Needs neighbouring phases.
    """
    features, limits = evidence.features, evidence.limits
    if not features.consecutive or len(features.areas_px) < limits.flicker_from_phases:
        return
    share = flicker_shares(evidence)
    frames = int((share > limits.flicker_share).sum())
    if frames == 0:
        return
    row, index = divmod(int(share.argmax()), share.shape[1])
    text = (
        f"In {frames} frame(s) the cavity changes for one phase only, by up to "
        f"{100 * share.max():.0f} % of the slice's largest area."
    )
    yield Issue("flicker", "warning", text, index, evidence.mask.phases[row])


def flicker_shares(evidence: Evidence) -> FloatArray:
    """How far each frame sticks out from both neighbours in time, [F, Z], as a share.

    Of the slice's largest area; 0 below ``flicker_px``, and at the ends of part of a cycle.
    """
    areas = evidence.features.areas_px.astype(np.float64)
    before, after = areas - np.roll(areas, 1, axis=0), areas - np.roll(areas, -1, axis=0)
    out = np.where(before * after > 0, np.minimum(np.abs(before), np.abs(after)), 0.0)
    if not evidence.features.whole_cycle:
        out[[0, -1]] = 0
    share: FloatArray = out / np.maximum(areas.max(axis=0), 1)
    share[out < evidence.limits.flicker_px] = 0
    return share


def two_beats(evidence: Evidence) -> Iterator[Issue]:
    """A second peak as a second end-diastole would make; needs the whole cycle.

    Judged on the curve averaged over neighbouring phases (1/4, 1/2, 1/4). A second peak is as high
    above the deeper way to the largest volume as the issue says (its prominence).
    """
    curve, phases = _curve_ml(evidence), evidence.mask.phases
    if curve is None or not evidence.features.whole_cycle or not np.ptp(curve) > 0:
        return
    smooth = smooth_cycle(curve)
    top = int(smooth.argmax())
    turned = np.roll(smooth, -top)
    ahead = np.minimum.accumulate(turned)
    behind = np.minimum.accumulate(turned[::-1])[::-1]
    fall = turned - np.maximum(ahead, behind)
    second = int(fall.argmax())
    stroke = float(np.ptp(curve))
    if fall[second] > evidence.limits.second_beat_share * stroke:
        other = (top + second) % len(curve)
        text = (
            f"The volume has two peaks, at phases {phases[top]} and {phases[other]}, "
            f"with a fall by {100 * fall[second] / stroke:.0f} % of the largest change between "
            "them: two beats, or phases out of order."
        )
        yield Issue("two-beats", "warning", text, phase=phases[other])


def _curve_ml(evidence: Evidence) -> FloatArray | None:
    """Volumes of neighbouring phases, enough of them to judge changes; otherwise None."""
    volumes, features = evidence.measurements.volume_ml, evidence.features
    if volumes is None or not features.consecutive or len(volumes) != len(features.areas_px):
        return None
    return np.array(volumes) if len(volumes) >= evidence.limits.curve_from_phases else None


def plausible_values(evidence: Evidence) -> Iterator[Issue]:
    """Volumes and ejection fractions that no patient has, or few."""
    measurements = evidence.measurements
    ef, edv, stroke = measurements.ef_percent, measurements.edv_ml, measurements.sv_ml
    if stroke is not None and stroke < 0:
        text = (
            f"The stroke volume is {stroke:.0f} ml, below zero: end-diastole and end-systole are "
            "exchanged, and stroke volume and ejection fraction must not be used."
        )
        yield Issue("negative-stroke", "error", text)
    low, high = evidence.limits.ef_percent
    if ef is not None and not low <= ef <= high:
        text = f"An ejection fraction of {ef:.0f} % is outside the usual {low:.0f} to {high:.0f} %."
        yield Issue("implausible-ef", "warning", text)
    low, high = evidence.limits.edv_ml
    if edv is not None and not low <= edv <= high:
        text = f"An end-diastolic volume of {edv:.0f} ml is outside {low:.0f} to {high:.0f} ml."
        yield Issue("implausible-edv", "warning", text)


def end_systole_timing(evidence: Evidence) -> Iterator[Issue]:
    """Whether end-systole follows end-diastole as in a beating heart; needs a whole cycle."""
    chosen, limits = evidence.measurements.phases, evidence.limits
    ed, es, phases = chosen.end_diastole, chosen.end_systole, evidence.cine.shape[0]
    whole = len(evidence.mask.phases) == phases >= limits.end_systole_from_phases
    if ed is None or es is None or not whole:
        return
    share = (es - ed) % phases / phases
    low, high = limits.end_systole_share
    if not low <= share <= high:
        text = (
            f"End-systole (phase {es}) comes {100 * share:.0f} % of the cycle after end-diastole "
            f"(phase {ed}); {100 * low:.0f} to {100 * high:.0f} % is usual."
        )
        yield Issue("odd-phase", "warning", text, phase=es)


def exchanged_phases(evidence: Evidence) -> Iterator[Issue]:
    """The source calls a phase end-diastole that is not the one with the largest volume."""
    names, found = evidence.cine.source.phase_names, evidence.measurements.phases.end_diastole
    if "ED" in names and found is not None and names[found] != "ED":
        text = (
            f"The largest volume is in the phase that the source calls {names[found]}, not in ED: "
            "the two may be exchanged."
        )
        yield Issue("phases-exchanged", "warning", text, phase=found)
