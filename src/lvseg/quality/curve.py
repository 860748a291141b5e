"""Curve checks: volumes and areas that do not change as in a beating heart, implausible values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lvseg.issues import Issue
from lvseg.quality.evidence import Evidence
from lvseg.quality.mask_features import FloatArray
from lvseg.runs import smooth_cycle


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
