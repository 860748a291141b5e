"""Physiology of a mask: areas, volumes, end-diastole, end-systole, ejection fraction.

What is counted and which rules are applied is explained in docs/conventions.md; every result
carries the same rules in its ``methods``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Mask, base_first
from lvseg.errors import IrregularStackError, PhaseError, UnknownSpacingError
from lvseg.geometry import disc_thickness_mm
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.measurement.rates import cardiac_output_l_min, peak_rates_ml_s, times_of, with_rates
from lvseg.results import LVMeasurements, Phases
from lvseg.runs import smooth_cycle

__all__ = [
    "MeasurementSettings",
    "areas_px",
    "cardiac_output_l_min",
    "ejection_fraction_percent",
    "find_phases",
    "measure",
    "peak_rates_ml_s",
    "volume_curve_ml",
]

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


def areas_px(mask: Mask, label: Label = Label.LV_CAVITY) -> IntArray:
    """Count the pixels of a label in each phase and slice, [F, Z]."""
    result: IntArray = mask.of(label).sum(axis=(2, 3), dtype=np.intp)
    return result


def volume_curve_ml(mask: Mask, label: Label = Label.LV_CAVITY) -> tuple[float, ...]:
    """Sum area times slab height over the slices of each phase, ml, [F] (Simpson's rule, stacked).

    The height is centre to centre of neighbouring slices, gaps included; slice thickness is not
    used. An empty mask gives zeros. Source: the summation of discs of Schulz-Menger et al.,
    J Cardiovasc Magn Reson 2013;15:35.

    :raises UnknownSpacingError: no pixel spacing, no distance between slices, or one slice.
    :raises IrregularStackError: slices missing, at an angle or at the same place.
    """
    heights = _heights_mm(mask)
    areas = _areas_mm2(mask, areas_px(mask, label))
    if areas is None:
        raise UnknownSpacingError(
            "expected a pixel spacing to measure volumes, found none: give it in the input"
        )
    return _floats((areas * heights / 1000).sum(axis=1))


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
    mask: Mask,
    options: MeasurementSettings | None = None,
    *,
    times_ms: tuple[float, ...] | None = None,
    heart_rate_bpm: float | None = None,
) -> LVMeasurements:
    """Measure a mask; what cannot be known is None and an issue says why.

    Phases are numbers of the cine (``mask.phases``); curves have one entry per phase of the
    mask. An empty mask has areas of 0 and no other value.

    :param times_ms: of every phase of the cine (``cine.times_ms``), for the peak rates.
    :param heart_rate_bpm: of the cine, for the cardiac output and the length of the cycle.
    :raises GeometryMismatchError: fewer times than phases. MeasureError: times that do not ascend,
        a heart rate that is not above 0.
    """
    times = None if times_ms is None else times_of(mask.phases, times_ms)
    chosen = options or MeasurementSettings()
    values = _measure(mask, chosen)
    return with_rates(values, times, heart_rate_bpm, from_phases=chosen.rates_from_phases)


def _measure(mask: Mask, chosen: MeasurementSettings) -> LVMeasurements:
    """Everything that the mask alone tells."""
    pixels = areas_px(mask)
    areas = _areas_mm2(mask, pixels)
    issues: list[Issue] = []
    methods = _methods(chosen)
    if not pixels.any():
        issues.append(
            Issue("no-cavity", "error", "No left ventricle cavity was found in any frame.")
        )
        return _unmeasured(pixels, areas, issues, methods)
    heights = _known_heights(mask, issues)
    if not mask.complete:
        return _unmeasured(pixels, areas, issues, methods)
    volumes = None if heights is None or areas is None else areas * heights / 1000  # [F, Z]
    counted, what = (pixels, "summed area in pixels") if areas is None else (areas, "summed area")
    if volumes is not None:
        counted, what = volumes, "volume"
    phases = _phases(counted.sum(axis=1), what, chosen, issues)
    if phases.end_diastole is None or phases.end_systole is None:
        curve = None if volumes is None else _floats(volumes.sum(axis=1))
        return _unmeasured(pixels, areas, issues, methods, volume_ml=curve)
    if chosen.base_rule == "slices-of-ed":
        counted = counted * (pixels[phases.end_diastole] > 0)
        phases = _phases(counted.sum(axis=1), what, chosen, issues)
        volumes = counted if volumes is not None else None
    return _measured(mask, pixels, areas, volumes, phases, issues, methods)


def _measured(
    mask: Mask,
    pixels: IntArray,
    areas: FloatArray | None,
    volumes: FloatArray | None,
    phases: Phases,
    issues: list[Issue],
    methods: dict[str, str],
) -> LVMeasurements:
    """Put the values together; ``phases`` are rows of the arrays and become numbers of the cine."""
    ed, es = phases.end_diastole, phases.end_systole
    if ed is None or es is None:
        return _unmeasured(pixels, areas, issues, methods)
    curve = None if volumes is None else _floats(volumes.sum(axis=1))
    edv, esv = (None, None) if curve is None else (curve[ed], curve[es])
    methods["base_end"] = _base_end(pixels[ed])
    return LVMeasurements(
        phases=Phases(mask.phases[ed], mask.phases[es], phases.how),
        volume_ml=curve,
        area_mm2=_rows(areas),
        area_px=_counts(pixels),
        edv_ml=edv,
        esv_ml=esv,
        sv_ml=None if edv is None or esv is None else edv - esv,
        ef_percent=None if edv is None or esv is None else ejection_fraction_percent(edv, esv),
        slices_ed=_extent(pixels[ed]),
        slices_es=_extent(pixels[es]),
        methods=methods,
        issues=tuple(issues),
    )


def _unmeasured(
    pixels: IntArray,
    areas: FloatArray | None,
    issues: list[Issue],
    methods: dict[str, str],
    *,
    volume_ml: tuple[float, ...] | None = None,
) -> LVMeasurements:
    """Areas (and perhaps volumes of single phases), without phases."""
    return LVMeasurements(
        phases=Phases(None, None, "not found"),
        volume_ml=volume_ml,
        area_mm2=_rows(areas),
        area_px=_counts(pixels),
        edv_ml=None,
        esv_ml=None,
        sv_ml=None,
        ef_percent=None,
        methods=methods,
        issues=tuple(issues),
    )


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
        issues.append(
            Issue(
                "incomplete-stack",
                "error",
                "Slices are missing or lack phases, so volumes and the ejection fraction would be "
                "wrong and are not given.",
            )
        )
        return None
    if mask.pixel_spacing_mm is None:
        text = "The pixel spacing is unknown, so there are no areas in mm2 and no volumes in ml."
        issues.append(Issue("unknown-spacing", "warning", text))
    if mask.labels.shape[1] == 1:
        text = "There is one slice only, so there are no volumes and no ejection fraction."
        issues.append(Issue("one-slice", "info", text))
        return None
    try:
        return _heights_mm(mask)
    except UnknownSpacingError:
        if mask.pixel_spacing_mm is not None:
            text = "The distance between slices is unknown, so there are no volumes in ml."
            issues.append(Issue("unknown-spacing", "warning", text))
    except IrregularStackError:
        text = (
            "The slices are not parallel or not in order, so volumes and the ejection fraction are "
            "not given."
        )
        issues.append(Issue("irregular-stack", "error", text))
    return None


def _heights_mm(mask: Mask) -> FloatArray:
    slices = mask.labels.shape[1]
    if not mask.complete:
        raise IrregularStackError(
            "expected a complete stack to measure volumes, found one with slices missing or "
            "lacking phases"
        )
    if mask.planes is not None:
        return disc_thickness_mm(mask.planes)
    if mask.slice_spacing_mm is None or slices < 2:
        raise UnknownSpacingError(
            f"expected several slices a known distance apart, found {slices} slice(s) and the "
            f"distance {mask.slice_spacing_mm}: give it in the input"
        )
    return np.full(slices, float(mask.slice_spacing_mm))


def _areas_mm2(mask: Mask, pixels: IntArray) -> FloatArray | None:
    if mask.planes is not None:
        sizes = [plane.pixel_spacing_mm for plane in mask.planes]
    elif mask.pixel_spacing_mm is not None:
        sizes = [mask.pixel_spacing_mm] * mask.labels.shape[1]
    else:
        return None
    result: FloatArray = pixels * np.array([rows * columns for rows, columns in sizes])
    return result


def _methods(options: MeasurementSettings) -> dict[str, str]:
    counted = {
        "every-slice": "every slice with cavity counts, phase by phase",
        "slices-of-ed": "only slices with cavity at end-diastole count, in every phase",
    }
    return {
        "volume": "area times slab height summed over slices; heights are centre to centre",
        "papillary_muscles": "counted as cavity",
        "base": counted[options.base_rule],
        "apex": "the last slice with visible cavity counts with its whole slab; no cap is added",
        "phases": "end-diastole is the largest and end-systole the smallest volume",
        "cardiac_output": "stroke volume times the median heart rate of the images",
        "peak_rates": "steepest chords between the two neighbours of a phase, around the cycle",
    }


def _base_end(row: IntArray) -> str:
    """The outermost slice with cavity at the base, as a word."""
    first, last = _extent(row) or (0, 0)
    at_first = base_first(row)
    return "unknown" if at_first is None else f"slice {first if at_first else last}"


def _extent(row: IntArray) -> tuple[int, int] | None:
    held = np.flatnonzero(row)
    return None if held.size == 0 else (int(held[0]), int(held[-1]))


def _rows(areas: FloatArray | None) -> tuple[tuple[float, ...], ...] | None:
    return None if areas is None else tuple(_floats(row) for row in areas)


def _counts(pixels: IntArray) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(value) for value in row) for row in pixels)


def _floats(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
