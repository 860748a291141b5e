"""Physiology of a mask: volumes, end-diastole, end-systole, ejection fraction, mass, rates.

What is counted and which rules are applied is explained in docs/conventions.md; every result
carries the same rules in its ``methods``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Mask, base_first
from lvseg.errors import (
    GeometryMismatchError,
    IrregularStackError,
    MeasureError,
    PhaseError,
    UsageError,
)
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.results import LVMeasurements, Phases
from lvseg.runs import smooth_cycle
from lvseg.wall import DENSITY_G_ML, HALF_OPEN_SHARE, OPEN_SHARE, open_shares, thickness_mm

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class MeasurementSettings:
    """Choices of the measurement."""

    smooth_phases: bool = False
    """Choose the phases on the curve averaged over neighbouring phases (1/4, 1/2, 1/4); the volumes
    reported stay as measured. Off: the largest volume is the end-diastolic one by definition."""
    smooth_from_phases: int = 8
    """Phases from which the curve may be smoothed: below it neighbours differ too much."""
    rates_from_phases: int = 8
    """Phases from which peak rates are given: a curve of fewer is too coarse for a slope."""
    base_rule: Literal["every-slice", "slices-of-ed"] = "every-slice"
    """Which slices count. ``every-slice``: each one that holds cavity, phase by phase, so the base
    may leave a slice while the heart contracts. ``slices-of-ed``: only those that hold cavity at
    end-diastole, which keeps the atrium out at end-systole."""
    open_wall_share: float = OPEN_SHARE
    """Share of the border of the cavity without myocardium beside it above which a slice has no
    wall thickness; below it lies the coarseness of pixels."""
    bare_cavity_share: float = HALF_OPEN_SHARE
    """Likewise, above which a slice has no wall: the mass would be too small and is not given."""


def areas_px(mask: Mask, label: Label = Label.LV_CAVITY) -> IntArray:
    """Count the pixels of a label in each phase and slice, [F, Z]."""
    result: IntArray = mask.of(label).sum(axis=(2, 3), dtype=np.intp)
    return result


def find_phases(
    volumes: Sequence[float] | FloatArray,
    settings: MeasurementSettings | None = None,
    *,
    what: str = "volume",
) -> Phases:
    """Choose end-diastole (largest volume) and end-systole (smallest), the first of equals.

    :param volumes: one value a phase, any unit.
    :param settings: say whether to choose on the curve averaged over neighbouring phases.
    :param what: name of the values, for ``Phases.how``.
    :raises PhaseError: fewer than two phases, or all values equal.
    """
    curve = np.asarray(volumes, np.float64)
    if curve.size < 2:
        raise PhaseError(
            "expected at least two phases to tell end-diastole from end-systole, "
            f"found {curve.size}"
        )
    if float(np.ptp(curve)) == 0:
        raise PhaseError(f"expected a {what} that changes over the phases, found a constant one")
    chosen = settings or MeasurementSettings()
    smoothed = chosen.smooth_phases and curve.size >= chosen.smooth_from_phases
    if smoothed:
        curve = smooth_cycle(curve)
    how = f"largest and smallest {what}{' of the smoothed curve' if smoothed else ''}"
    return Phases(int(curve.argmax()), int(curve.argmin()), how)


def ejection_fraction_percent(edv_ml: float, esv_ml: float) -> float | None:
    """Compute (EDV - ESV) / EDV in percent; None when there is no end-diastolic volume.

    Source: Schulz-Menger et al., J Cardiovasc Magn Reson 2013;15:35.

    >>> ejection_fraction_percent(120.0, 48.0)
    60.0
    """
    return None if edv_ml <= 0 else (edv_ml - esv_ml) / edv_ml * 100


def measure(
    mask: Mask | NDArray[Any],
    options: MeasurementSettings | None = None,
    *,
    times_ms: tuple[float, ...] | None = None,
    heart_rate_bpm: float | None = None,
    pixel_spacing_mm: tuple[float, float] | None = None,
    slice_spacing_mm: float | None = None,
) -> LVMeasurements:
    """Measure a mask; what cannot be known is None and an issue says why.

    An array is labels ``[phase, slice, row, column]``, of one phase ``[slice, row, column]``: 1 or
    True for the cavity, 2 for the myocardium. Other numbers of axes are refused.

    Phases are numbers of the cine (``mask.phases``); curves have one entry per phase of the
    mask. An empty mask has areas of 0 and no other value. The volume of a phase is the sum of area
    times slab height over its slices (Simpson's rule, stacked); the height is centre to centre of
    neighbouring slices, gaps included, and slice thickness is not used. The mass is the volume of
    the myocardium at end-diastole, summed in the same way, times 1.05 g/ml; papillary muscles and
    trabeculae are no part of it, because they count as cavity. Source: the summation of discs and
    the density of Schulz-Menger et al., J Cardiovasc Magn Reson 2013;15:35.

    :param times_ms: of every phase of the cine (``cine.times_ms``), for the peak rates.
    :param heart_rate_bpm: of the cine, for the cardiac output and the length of the cycle.
    :param pixel_spacing_mm: of an array, (between rows, between columns).
    :param slice_spacing_mm: of an array, from centre to centre of neighbouring slices.
    :raises GeometryMismatchError: fewer times than phases, or an array of other axes.
    :raises GeometryError: other labels, or spacings that no image of a heart has.
    :raises MeasureError: times that do not ascend, a heart rate that is not above 0.
    :raises UsageError: spacings beside a :class:`Mask`.
    """
    if not isinstance(mask, Mask):
        mask = Mask.of_array(
            np.asarray(mask), pixel_spacing_mm=pixel_spacing_mm, slice_spacing_mm=slice_spacing_mm
        )
    elif pixel_spacing_mm is not None or slice_spacing_mm is not None:
        raise UsageError(
            "expected spacings beside an array only, found them beside a mask that has its own"
        )
    if times_ms is not None:
        if len(times_ms) <= max(mask.phases):
            raise GeometryMismatchError(
                f"expected a time for each phase of the cine, found {len(times_ms)} times and "
                f"phase {max(mask.phases)} in the mask: give the times of its cine"
            )
        times_ms = tuple(times_ms[phase] for phase in mask.phases)
    if heart_rate_bpm is not None and not (math.isfinite(heart_rate_bpm) and heart_rate_bpm > 0):
        raise MeasureError(
            f"expected a heart rate above 0, found {heart_rate_bpm}: give None where it is unknown"
        )
    chosen = options or MeasurementSettings()
    values = replace(_measure(mask, chosen), heart_rate_bpm=heart_rate_bpm)
    return _with_rates(values, times_ms, chosen.rates_from_phases)


def _measure(mask: Mask, chosen: MeasurementSettings) -> LVMeasurements:
    """Everything that the mask alone tells; within, phases are rows of the arrays."""
    pixels = areas_px(mask)
    spacings = mask.grid.pixel_spacings_mm
    areas: FloatArray | None = None if spacings is None else pixels * spacings.prod(axis=1)
    issues = list(mask.issues)
    known = LVMeasurements(
        phases=Phases(None, None, "not found"),
        volume_ml=None,
        area_mm2=None if areas is None else _rows(areas),
        area_px=_rows(pixels),
        edv_ml=None,
        esv_ml=None,
        sv_ml=None,
        ef_percent=None,
        methods=_methods(chosen, Label.LV_MYOCARDIUM in mask.labels_present),
        phase_index=mask.phases,
    )
    if not pixels.any():
        text = "No left ventricle cavity was found in any frame."
        return replace(known, issues=(*issues, Issue("no-cavity", "error", text)))
    heights = _known_heights(mask, issues)
    if not mask.complete:
        return replace(known, issues=tuple(issues))
    volumes = None if heights is None or areas is None else areas * heights / 1000  # [F, Z]
    counted, what = (pixels, "summed area in pixels") if areas is None else (areas, "summed area")
    if volumes is not None:
        counted, what = volumes, "volume"
    phases = _phases(counted.sum(axis=1), what, chosen, issues)
    if phases.end_diastole is not None and chosen.base_rule == "slices-of-ed":
        counted = counted * (pixels[phases.end_diastole] > 0)
        volumes = None if volumes is None else counted
        phases = _phases(counted.sum(axis=1), what, chosen, issues)
    known = replace(
        known,
        volume_ml=None if volumes is None else tuple(volumes.sum(axis=1).tolist()),
        issues=tuple(issues),
    )
    known = _with_wall(known, mask, phases.end_diastole, heights, chosen)
    return _at_phases(known, mask, pixels, phases)


def _with_wall(
    known: LVMeasurements,
    mask: Mask,
    ed: int | None,
    heights: FloatArray | None,
    chosen: MeasurementSettings,
) -> LVMeasurements:
    """Add the mass and the thickness of the wall at end-diastole.

    :param ed: row of end-diastole; :param heights: of the slabs, mm; both None where unknown.
    """
    spacings = mask.grid.pixel_spacings_mm
    if ed is None or spacings is None:
        return known
    if Label.LV_MYOCARDIUM not in mask.labels_present:
        text = "No myocardium is outlined, so there is no mass and no wall thickness."
        return replace(known, issues=(*known.issues, Issue("no-myocardium", "info", text)))
    cavity, wall = (mask.of(label)[ed] for label in (Label.LV_CAVITY, Label.LV_MYOCARDIUM))
    bare = open_shares(cavity, wall)
    thickness = tuple(
        thickness_mm(cavity[z], cavity[z] | wall[z], (spacing[0], spacing[1]))
        if bare[z] <= chosen.open_wall_share
        else None
        for z, spacing in enumerate(spacings.tolist())
    )
    known = replace(known, wall_thickness_mm=thickness)
    without = np.flatnonzero(bare > chosen.bare_cavity_share)
    if without.size:
        text = (
            "At end-diastole most of the cavity of this slice has no myocardium around it: the "
            "mass would be too small and is not given."
        )
        issue = Issue("incomplete-wall", "warning", text, int(without[0]), mask.phases[ed])
        return replace(known, issues=(*known.issues, issue))
    if heights is None:
        return known
    volume_ml = (wall.sum(axis=(1, 2)) * spacings.prod(axis=1) * heights).sum() / 1000
    return replace(known, mass_g=float(volume_ml) * DENSITY_G_ML)


def _at_phases(
    known: LVMeasurements, mask: Mask, pixels: IntArray, phases: Phases
) -> LVMeasurements:
    """Add what end-diastole and end-systole tell; they become numbers of the cine."""
    ed, es, curve = phases.end_diastole, phases.end_systole, known.volume_ml
    if ed is None or es is None:
        return known
    known = replace(
        known,
        phases=Phases(mask.phases[ed], mask.phases[es], phases.how),
        slices_ed=_extent(pixels[ed]),
        slices_es=_extent(pixels[es]),
        methods={**known.methods, "base_end": _base_end(pixels[ed])},
    )
    if curve is None:
        return known
    edv, esv = curve[ed], curve[es]
    ef = ejection_fraction_percent(edv, esv)
    return replace(known, edv_ml=edv, esv_ml=esv, sv_ml=edv - esv, ef_percent=ef)


def _phases(
    curve: FloatArray, what: str, options: MeasurementSettings, issues: list[Issue]
) -> Phases:
    try:
        return find_phases(curve, options, what=what)
    except PhaseError:
        if curve.size < 2:
            text = "There is one phase only, so phases and the ejection fraction are unknown."
            issues.append(Issue("one-phase", "info", text))
        else:
            text = (
                f"The {what} is the same in all phases: end-diastole and end-systole are unknown."
            )
            issues.append(Issue("flat-curve", "error", text))
        return Phases(None, None, "not found")


def _known_heights(mask: Mask, issues: list[Issue]) -> FloatArray | None:
    """Slab heights, or None with an issue that says why volumes are unknown."""
    if not mask.complete:
        text = (
            "Slices are missing or lack phases, or their order is not known, so volumes and the "
            "ejection fraction would be wrong and are not given."
        )
        issues.append(Issue("incomplete-stack", "error", text))
        return None
    if mask.pixel_spacing_mm is None:
        text = "The pixel spacing is unknown, so there are no areas in mm2 and no volumes in ml."
        issues.append(Issue("unknown-spacing", "warning", text))
    if mask.labels.shape[1] == 1:
        text = "There is one slice only, so there are no volumes and no ejection fraction."
        issues.append(Issue("one-slice", "info", text))
        return None
    if mask.planes is None:
        if mask.slice_spacing_mm is not None:
            return np.full(mask.labels.shape[1], float(mask.slice_spacing_mm))
        if mask.pixel_spacing_mm is not None:
            text = "The distance between slices is unknown, so there are no volumes in ml."
            issues.append(Issue("unknown-spacing", "warning", text))
        return None
    try:
        return mask.grid.disc_thickness_mm()
    except IrregularStackError:
        text = (
            "The slices are not parallel or not in order, so volumes and the ejection fraction are "
            "not given."
        )
        issues.append(Issue("irregular-stack", "error", text))
    return None


def _methods(options: MeasurementSettings, has_wall: bool) -> dict[str, str]:
    counted = {
        "every-slice": "every slice with cavity counts, phase by phase",
        "slices-of-ed": "only slices with cavity at end-diastole count, in every phase",
    }
    wall = {
        "mass": f"volume of the myocardium at end-diastole times {DENSITY_G_ML} g/ml",
        "wall_thickness": "area of the wall over the length of its centreline, at end-diastole",
    }
    methods = {
        "volume": "area times slab height summed over slices; heights are centre to centre",
        "papillary_muscles": "counted as cavity",
        "base": counted[options.base_rule],
        "apex": "the last slice with visible cavity counts with its whole slab; no cap is added",
        "phases": "end-diastole is the largest and end-systole the smallest volume",
        "cardiac_output": "stroke volume times the median heart rate of the images",
        "peak_rates": "steepest chords between the two neighbours of a phase, around the cycle",
    }
    return methods | (wall if has_wall else {})


def _base_end(row: IntArray) -> str:
    """The outermost slice with cavity at the base, as a word."""
    first, last = _extent(row) or (0, 0)
    at_first = base_first(row)
    return "unknown" if at_first is None else f"slice {first if at_first else last}"


def _extent(row: IntArray) -> tuple[int, int] | None:
    held = np.flatnonzero(row)
    return None if held.size == 0 else (int(held[0]), int(held[-1]))


def _rows(values: NDArray[Any]) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(row) for row in values.tolist())


def cardiac_output_l_min(sv_ml: float, heart_rate_bpm: float) -> float:
    """Stroke volume times heart rate, litres a minute.

    >>> cardiac_output_l_min(80.0, 65.0)
    5.2
    """
    return sv_ml * heart_rate_bpm / 1000


def peak_rates_ml_s(
    volume_ml: Sequence[float], times_ms: Sequence[float], cycle_ms: float | None = None
) -> tuple[float, float]:
    """The fastest ejection and the fastest filling, ml/s, both as positive numbers.

    The slope at a phase is that of the chord between its two neighbours, (next - previous volume) /
    (time between them): the central difference, which takes half as much of the noise of the
    volumes as the difference to one neighbour. Nothing else is smoothed, because a wider window
    cuts the peaks; phases more than 40 ms apart cut them too (Bacharach et al., J Nucl Med
    1979;20:189). The first phase follows the last one after what is left of the cycle: phases
    that were triggered by the R wave often end before the next one.

    :param volume_ml: one value a phase; :param times_ms: of the same phases, ascending.
    :param cycle_ms: length of the cycle; what it leaves after the last phase counts as the mean
        step at least. None: nobody knows how far the first phase is from the last, so the chords
        between them do not count.
    :raises PhaseError: fewer than three phases, or times that do not ascend or do not fit.
    """
    volumes, times = np.asarray(volume_ml, np.float64), np.asarray(times_ms, np.float64)
    if volumes.size < 3 or times.size != volumes.size or not (np.diff(times) > 0).all():
        raise PhaseError(
            "expected three or more phases with ascending times, found "
            f"{volumes.size} volumes and {times.size} times: give the times of the cine"
        )
    if cycle_ms is None:
        slopes = 1000 * (volumes[2:] - volumes[:-2]) / (times[2:] - times[:-2])
    else:
        steps = np.diff(times)
        left = cycle_ms - float(times[-1] - times[0])
        steps = np.append(steps, max(left, float(steps.mean())))  # from each phase to the next
        rise = np.roll(volumes, -1) - np.roll(volumes, 1)
        slopes = 1000 * rise / (steps + np.roll(steps, 1))
    return float(max(-slopes.min(), 0.0)), float(max(slopes.max(), 0.0))


def _with_rates(
    values: LVMeasurements, times_ms: tuple[float, ...] | None, from_phases: int
) -> LVMeasurements:
    """Add what heart rate and times tell to a stroke volume.

    :param times_ms: of each phase of the mask, [F].
    :param from_phases: fewer phases give no peak rates.
    :raises MeasureError: times that do not ascend.
    """
    if values.sv_ml is None or values.volume_ml is None:
        return values
    issues, phases = list(values.issues), len(values.volume_ml)
    heart_rate_bpm = values.heart_rate_bpm
    output = ejection = filling = None
    if heart_rate_bpm is None:
        text = "The heart rate is unknown, so there is no cardiac output."
        issues.append(Issue("unknown-heart-rate", "info", text))
    else:
        output = cardiac_output_l_min(values.sv_ml, heart_rate_bpm)
    if phases < from_phases:
        text = f"{phases} phases are too few for peak ejection and filling rates."
        issues.append(Issue("few-phases", "info", text))
    elif times_ms is None:
        text = "The times of the phases are unknown, so there are no ejection and filling rates."
        issues.append(Issue("unknown-times", "info", text))
    else:
        cycle_ms = None if heart_rate_bpm is None else 60000 / heart_rate_bpm
        pairs = sorted(zip(times_ms, values.volume_ml, strict=True))  # a mask in any order
        times, volumes = zip(*pairs, strict=True)
        ejection, filling = peak_rates_ml_s(volumes, times, cycle_ms)
    return replace(
        values,
        cardiac_output_l_min=output,
        peak_ejection_rate_ml_s=ejection,
        peak_filling_rate_ml_s=filling,
        issues=tuple(issues),
    )
