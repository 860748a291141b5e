"""Do the volumes behave as those of a beating heart, and are the numbers possible?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lvseg.cine import Cine
from lvseg.issues import Issue
from lvseg.quality.seen import FloatArray, Seen
from lvseg.results import LVMeasurements

__all__ = ["empty_phases", "jumps", "numbers", "spikes", "timing", "two_beats"]

#: Ejection fractions outside this range are rare in patients and common in failed masks.
PLAUSIBLE_EF_PERCENT = (5.0, 85.0)
#: Adults from small to severely dilated; a child's heart may lie below and asks for a look.
PLAUSIBLE_EDV_ML = (30.0, 500.0)
#: The ventricle empties within about a third of the beat: 3 / T of the stroke a phase. More than
#: three times that between neighbours is a jump of the mask.
JUMP_FACTOR = 10.0
#: However many phases there are, a smaller share of the stroke is noise of the outlines.
LEAST_JUMP = 0.2
#: Below this many phases neighbouring volumes differ too much to call it a jump.
JUMP_FROM_PHASES = 12
#: A phase this share of the stroke off the mean of its two neighbours. At 12 phases the turn at
#: end-systole has 0.12 (phantom); masks of the model in three training patients, all with a small
#: stroke, reach 0.12.
SPIKE_SHARE = 0.2
#: Likewise across the end of the cycle, where a prospectively triggered cine leaves out part of
#: the filling: the atria bring about a quarter of the stroke.
CLOSING_SPIKE_SHARE = 0.3
#: A spike smaller than this share of the largest volume is noise of the outlines, which in a heart
#: with a small stroke is a large part of it (0.033 in the three training patients).
SPIKE_OF_LARGEST = 0.05
#: A beat falls once and rises once. Between rapid filling and the atrial part the curve rests or
#: dips by a few percent of the stroke; a fall of a third is a second ejection.
SECOND_BEAT_SHARE = 1 / 3
#: End-systole as a share of the cycle after end-diastole: about 0.3 at rest, more in fast hearts.
ES_SHARE = (0.2, 0.6)
#: Below this many phases a share of the cycle means little.
CYCLE_FROM_PHASES = 8


def empty_phases(seen: Seen) -> Iterator[Issue]:
    """Phases without any cavity, while others hold some: no ventricle empties completely."""
    empty = np.flatnonzero(~seen.areas.any(axis=1))
    if empty.size:
        text = (
            f"In {empty.size} phase(s) no cavity was found at all: end-systolic volume and "
            "ejection fraction must not be used."
        )
        yield Issue("empty-phase", "error", text, phase=seen.phases[empty[0]])


def jumps(seen: Seen, measurements: LVMeasurements) -> tuple[Issue, ...]:
    """Jumps of the volume between neighbouring phases, and phases that stick out; one issue."""
    curve = _curve_ml(seen, measurements)
    stroke = 0.0 if curve is None else float(np.ptp(curve))
    if curve is None or stroke == 0:
        return ()
    steps = np.abs(np.roll(curve, -1) - curve)[: None if seen.circle else -1]
    worst = int(steps.argmax())
    if steps[worst] > max(JUMP_FACTOR / len(curve), LEAST_JUMP) * stroke:
        text = (
            f"The volume jumps by {steps[worst]:.0f} ml ({100 * steps[worst] / stroke:.0f} % of "
            "the largest change) between two neighbouring phases."
        )
        phase = seen.phases[(worst + 1) % len(curve)]
        return (Issue("volume-jump", "warning", text, phase=phase),)
    off = spikes(curve)
    limit = np.full(len(curve), SPIKE_SHARE)
    limit[[0, -1]] = CLOSING_SPIKE_SHARE if seen.circle else np.inf
    limit = np.maximum(limit * stroke, SPIKE_OF_LARGEST * curve.max())
    worst = int((off / limit).argmax())
    if off[worst] > limit[worst]:
        text = (
            f"The volume of one phase lies {off[worst]:.0f} ml ({100 * off[worst] / stroke:.0f} % "
            "of the largest change) off the mean of the phases before and after it."
        )
        return (Issue("volume-jump", "warning", text, phase=seen.phases[worst]),)
    return ()


def spikes(curve: FloatArray) -> FloatArray:
    """Distance of each value from the mean of those before and after it on the circle, [T]."""
    result: FloatArray = np.abs(curve - (np.roll(curve, 1) + np.roll(curve, -1)) / 2)
    return result


def two_beats(seen: Seen, measurements: LVMeasurements) -> Iterator[Issue]:
    """A second peak as a second end-diastole would make; needs the whole cycle.

    Judged on the curve averaged over neighbouring phases (1/4, 1/2, 1/4). A second peak is as high
    above the deeper way to the largest volume as the issue says (its prominence).
    """
    curve = _curve_ml(seen, measurements)
    if curve is None or not seen.circle or not np.ptp(curve) > 0:
        return
    smooth = (np.roll(curve, 1) + 2 * curve + np.roll(curve, -1)) / 4
    top = int(smooth.argmax())
    turned = np.roll(smooth, -top)
    ahead = np.minimum.accumulate(turned)
    behind = np.minimum.accumulate(turned[::-1])[::-1]
    fall = turned - np.maximum(ahead, behind)
    second = int(fall.argmax())
    stroke = float(np.ptp(curve))
    if fall[second] > SECOND_BEAT_SHARE * stroke:
        other = (top + second) % len(curve)
        text = (
            f"The volume has two peaks, at phases {seen.phases[top]} and {seen.phases[other]}, "
            f"with a fall by {100 * fall[second] / stroke:.0f} % of the largest change between "
            "them: two beats, or phases out of order."
        )
        yield Issue("two-beats", "warning", text, phase=seen.phases[other])


def _curve_ml(seen: Seen, measurements: LVMeasurements) -> FloatArray | None:
    """Volumes of neighbouring phases, enough of them to judge changes; otherwise None."""
    volumes = measurements.volume_ml
    if volumes is None or not seen.ordered or len(volumes) != len(seen.areas):
        return None
    return np.array(volumes) if len(volumes) >= JUMP_FROM_PHASES else None


def numbers(measurements: LVMeasurements) -> Iterator[Issue]:
    """Volumes and ejection fractions that no patient has, or few."""
    ef, edv, stroke = measurements.ef_percent, measurements.edv_ml, measurements.sv_ml
    if stroke is not None and stroke < 0:
        text = (
            f"The stroke volume is {stroke:.0f} ml, below zero: end-diastole and end-systole are "
            "exchanged, and stroke volume and ejection fraction must not be used."
        )
        yield Issue("negative-stroke", "error", text)
    low, high = PLAUSIBLE_EF_PERCENT
    if ef is not None and not low <= ef <= high:
        text = f"An ejection fraction of {ef:.0f} % is outside the usual {low:.0f} to {high:.0f} %."
        yield Issue("implausible-ef", "warning", text)
    low, high = PLAUSIBLE_EDV_ML
    if edv is not None and not low <= edv <= high:
        text = f"An end-diastolic volume of {edv:.0f} ml is outside {low:.0f} to {high:.0f} ml."
        yield Issue("implausible-edv", "warning", text)


def timing(cine: Cine, seen: Seen, measurements: LVMeasurements) -> Iterator[Issue]:
    """Whether end-systole follows end-diastole as in a beating heart; needs a whole cycle."""
    ed, es = measurements.phases.end_diastole, measurements.phases.end_systole
    phases = cine.shape[0]
    whole = len(seen.phases) == phases >= CYCLE_FROM_PHASES
    if ed is None or es is None or not whole:
        return
    share = (es - ed) % phases / phases
    low, high = ES_SHARE
    if not low <= share <= high:
        text = (
            f"End-systole (phase {es}) comes {100 * share:.0f} % of the cycle after end-diastole "
            f"(phase {ed}); {100 * low:.0f} to {100 * high:.0f} % is usual."
        )
        yield Issue("odd-phase", "warning", text, phase=es)
