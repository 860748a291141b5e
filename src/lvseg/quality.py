"""Is this result believable? Plain checks of the mask and the numbers; each limit has a reason.

A finding asks a person to look (``warning``), says that a number must not be used (``error``) or
records a fact (``info``). The mask and the measurements stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lvseg.cine import Cine, Mask, base_first
from lvseg.findings import Finding
from lvseg.labels import Label
from lvseg.results import LVMeasurements

__all__ = ["check"]

IntArray = NDArray[np.intp]

#: The apical slice of a stack that reaches the apex is small; above this share of the largest
#: slice at least one more slice would hold cavity.
APEX_CUT_SHARE = 0.3
#: Above this share on the apical and :data:`APEX_CUT_SHARE` on the basal side, the stack shows the
#: middle of the ventricle only: what lies outside is a large part of the volume.
MIDDLE_ONLY_SHARE = 0.6
#: Fewer slices describe a ventricle of 7 to 10 cm too coarsely for Simpson's rule.
FEWEST_SLICES = 5
#: Ejection fractions outside this range are rare in patients and common in failed masks.
PLAUSIBLE_EF_PERCENT = (5.0, 85.0)
#: Adults from small to severely dilated; a child's heart may lie below and asks for a look.
PLAUSIBLE_EDV_ML = (30.0, 500.0)
#: The ventricle empties within about a third of the beat: 3 / T of the stroke a phase. More than
#: three times that between neighbours is a jump of the mask.
JUMP_FACTOR = 10.0
#: Below this many phases neighbouring volumes differ too much to call it a jump.
JUMP_FROM_PHASES = 12
#: End-systole as a share of the cycle after end-diastole: about 0.3 at rest, more in fast hearts.
ES_SHARE = (0.2, 0.6)
#: Below this many phases a share of the cycle means little.
CYCLE_FROM_PHASES = 8


def check(cine: Cine, mask: Mask, measurements: LVMeasurements) -> tuple[Finding, ...]:
    """Look for signs that the mask or the numbers are wrong.

    :param mask: labels ``[F, Z, Y, X]`` that ``measurements`` come from.
    :returns: findings in a fixed order; none for an empty mask, which measuring has reported.
    """
    areas = np.array(measurements.area_px, np.intp)
    if not areas.any():
        return ()
    ed = _row(mask, measurements.phases.end_diastole)
    fullest = int(areas.sum(axis=1).argmax()) if ed is None else ed
    return (
        *_coverage(areas[fullest], mask.frame_index[fullest]),
        *_gaps(areas, mask),
        *_shapes(mask),
        *_curve(measurements, mask),
        *_numbers(measurements),
        *_timing(cine, mask, measurements),
    )


def _row(mask: Mask, phase: int | None) -> int | None:
    return None if phase is None else mask.frame_index.index(phase)


def _coverage(areas: IntArray, phase: int) -> Iterator[Finding]:
    """Whether the stack reaches past apex and base at end-diastole, areas [Z]."""
    slices = len(areas)
    if slices == 1:
        return
    held = np.flatnonzero(areas)
    if held.size < FEWEST_SLICES:
        text = f"Only {held.size} slices hold cavity at end-diastole, too few for a good volume."
        yield Finding("few-slices", "warning", text, phase=phase)
    apex, base = (0, slices - 1) if base_first(areas) is False else (slices - 1, 0)
    apical, basal = areas[apex] / areas.max(), areas[base] / areas.max()
    if apical > MIDDLE_ONLY_SHARE and basal > APEX_CUT_SHARE:
        text = (
            "The cavity is large at both ends of the stack: it does not cover the ventricle, and "
            "volumes and ejection fraction must not be used."
        )
        yield Finding("stack-does-not-cover-ventricle", "error", text, phase=phase)
    elif apical > APEX_CUT_SHARE:
        text = (
            f"The cavity at the apical end is still {100 * apical:.0f} % of the largest slice: the "
            "apex seems to be cut off."
        )
        yield Finding("apex-cut-off", "warning", text, apex, phase)
    if basal > 0:
        text = "The last slice at the base holds cavity: the stack may begin below the valve."
        yield Finding("base-not-passed", "info", text, base, phase)


def _gaps(areas: IntArray, mask: Mask) -> Iterator[Finding]:
    """An empty slice between slices with cavity, in any phase; the first is named."""
    there = areas > 0
    below = np.logical_or.accumulate(there, axis=1)
    above = np.logical_or.accumulate(there[:, ::-1], axis=1)[:, ::-1]
    rows, slices = np.nonzero(~there & below & above)
    if rows.size:
        text = (
            f"In {len(set(rows.tolist()))} phase(s) a slice without cavity lies between slices "
            "with cavity."
        )
        yield Finding("gap-in-mask", "warning", text, int(slices[0]), mask.frame_index[rows[0]])


def _shapes(mask: Mask) -> Iterator[Finding]:
    """Several pieces in a slice, and cavity at the border of the image."""
    inside = mask.labels == Label.LV_CAVITY
    frames = inside.reshape(-1, *inside.shape[2:])
    slices = inside.shape[1]
    structure = np.zeros((3, 3, 3))
    structure[1] = 1
    seen = frames.any(axis=0)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    crop = frames[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, _ = ndimage.label(crop, structure=structure)
    highest, held = labels.max(axis=(1, 2)), crop.any(axis=(1, 2))
    # Pieces are numbered in order of frames, so a frame's count is the step of the highest number.
    pieces = np.diff(np.maximum.accumulate(np.concatenate([[0], highest])))
    several = np.flatnonzero(held & (pieces > 1))
    if several.size:
        phase, index = divmod(int(several[0]), slices)
        text = f"In {several.size} frame(s) the cavity falls into several pieces."
        yield Finding("several-pieces", "warning", text, index, mask.frame_index[phase])
    edge = frames[:, [0, -1], :].any(axis=(1, 2)) | frames[:, :, [0, -1]].any(axis=(1, 2))
    if edge.any():
        phase, index = divmod(int(np.flatnonzero(edge)[0]), slices)
        text = f"In {int(edge.sum())} frame(s) the cavity touches the border of the image."
        yield Finding("touches-border", "warning", text, index, mask.frame_index[phase])


def _curve(measurements: LVMeasurements, mask: Mask) -> Iterator[Finding]:
    """Jumps of the volume between neighbouring phases of a full cycle."""
    if measurements.volume_ml is None or len(measurements.volume_ml) < JUMP_FROM_PHASES:
        return
    curve = np.array(measurements.volume_ml)
    steps = np.abs(np.diff(curve))
    worst = int(steps.argmax())
    if steps[worst] > JUMP_FACTOR / len(curve) * np.ptp(curve):
        text = f"The volume jumps by {steps[worst]:.0f} ml between two neighbouring phases."
        yield Finding("volume-jump", "warning", text, phase=mask.frame_index[worst + 1])


def _numbers(measurements: LVMeasurements) -> Iterator[Finding]:
    ef, edv = measurements.ef_percent, measurements.edv_ml
    low, high = PLAUSIBLE_EF_PERCENT
    if ef is not None and not low <= ef <= high:
        text = f"An ejection fraction of {ef:.0f} % is outside the usual {low:.0f} to {high:.0f} %."
        yield Finding("implausible-ef", "warning", text)
    low, high = PLAUSIBLE_EDV_ML
    if edv is not None and not low <= edv <= high:
        text = f"An end-diastolic volume of {edv:.0f} ml is outside {low:.0f} to {high:.0f} ml."
        yield Finding("implausible-edv", "warning", text)


def _timing(cine: Cine, mask: Mask, measurements: LVMeasurements) -> Iterator[Finding]:
    """Whether end-systole follows end-diastole as in a beating heart; needs a whole cycle."""
    ed, es = measurements.phases.end_diastole, measurements.phases.end_systole
    phases = cine.shape[0]
    whole = len(mask.frame_index) == phases >= CYCLE_FROM_PHASES
    if ed is None or es is None or not whole:
        return
    share = (es - ed) % phases / phases
    low, high = ES_SHARE
    if not low <= share <= high:
        text = (
            f"End-systole (phase {es}) comes {100 * share:.0f} % of the cycle after end-diastole "
            f"(phase {ed}); {100 * low:.0f} to {100 * high:.0f} % is usual."
        )
        yield Finding("odd-phase", "warning", text, phase=es)
