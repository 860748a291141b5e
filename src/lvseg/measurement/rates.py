"""How much the heart pumps a minute, and how fast the ventricle empties and fills."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lvseg.errors import GeometryMismatchError, MeasureError, PhaseError
from lvseg.issues import Issue
from lvseg.results import LVMeasurements


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


def times_of(phases: tuple[int, ...], times_ms: tuple[float, ...]) -> tuple[float, ...]:
    """Pick the times of some phases from those of all.

    :raises GeometryMismatchError: a phase without a time.
    """
    if len(times_ms) <= max(phases):
        raise GeometryMismatchError(
            f"expected a time for each phase of the cine, found {len(times_ms)} times and phase "
            f"{max(phases)} in the mask: give the times of its cine"
        )
    return tuple(times_ms[phase] for phase in phases)


def with_rates(
    values: LVMeasurements,
    times_ms: tuple[float, ...] | None,
    heart_rate_bpm: float | None,
    *,
    from_phases: int = 8,
) -> LVMeasurements:
    """Add what heart rate and times tell; without a stroke volume that is the heart rate alone.

    :param times_ms: of each phase of the mask, [F].
    :param from_phases: fewer phases give no peak rates.
    :raises MeasureError: times that do not ascend, a heart rate that is not above 0.
    """
    if heart_rate_bpm is not None and not (math.isfinite(heart_rate_bpm) and heart_rate_bpm > 0):
        raise MeasureError(
            f"expected a heart rate above 0, found {heart_rate_bpm}: give None where it is unknown"
        )
    values = replace(values, heart_rate_bpm=heart_rate_bpm)
    if values.sv_ml is None or values.volume_ml is None:
        return values
    issues, phases = list(values.issues), len(values.volume_ml)
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
