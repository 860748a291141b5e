"""Results of a study: phases, measurements, confidence, issues and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine, Mask
from lvseg.issues import Issue, Verdict, verdict_of
from lvseg.labels import Label
from lvseg.modelcard import ModelCard

#: (low, high), in the unit of the value.
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Phases:
    """Indices of end-diastole and end-systole, None where unknown, and the rule that chose them."""

    end_diastole: int | None
    end_systole: int | None
    how: str


@dataclass(frozen=True, slots=True)
class LVMeasurements:
    """Physiology of one mask; a value that cannot be known is None and an issue says why.

    :param volume_ml: cavity volume of each phase, [F].
    :param area_mm2: cavity area of each phase and slice, [F][Z]; None without pixel spacing.
    :param area_px: the same in pixels, always known, [F][Z].
    :param heart_rate_bpm: of the cine, None where its header does not tell.
    :param cardiac_output_l_min: stroke volume times heart rate.
    :param peak_ejection_rate_ml_s: fastest fall of the volume curve, as a positive number.
    :param peak_filling_rate_ml_s: fastest rise of the volume curve.
    :param mass_g: of the myocardium at end-diastole.
    :param wall_thickness_mm: mean over each slice at end-diastole, [Z]; None for a slice without a
        closed wall around a cavity.
    :param edv_ml_interval: lowest and highest true value to expect with the coverage that the card
        states (90 %); likewise for ``esv_ml``, ``ef_percent`` and ``mass_g``.
    :param slices_ed: (first, last) slice index that holds cavity at end-diastole, likewise ``es``.
    :param methods: name -> the rule applied (volume, papillary muscles, base, apex, phases).
    """

    phases: Phases
    volume_ml: tuple[float, ...] | None
    area_mm2: tuple[tuple[float, ...], ...] | None
    area_px: tuple[tuple[int, ...], ...]
    edv_ml: float | None
    esv_ml: float | None
    sv_ml: float | None
    ef_percent: float | None
    heart_rate_bpm: float | None = None
    cardiac_output_l_min: float | None = None
    peak_ejection_rate_ml_s: float | None = None
    peak_filling_rate_ml_s: float | None = None
    mass_g: float | None = None
    wall_thickness_mm: tuple[float | None, ...] | None = None
    edv_ml_interval: Interval | None = None
    esv_ml_interval: Interval | None = None
    ef_percent_interval: Interval | None = None
    mass_g_interval: Interval | None = None
    slices_ed: tuple[int, int] | None = None
    slices_es: tuple[int, int] | None = None
    methods: Mapping[str, str] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()


@dataclass(frozen=True, slots=True)
class Confidence:
    """How well the mask probably agrees with an expert's, without having one.

    :param expected_dice: of the whole study, 0..1, from the model's calibration.
    :param by_slice: the same for each phase and slice, [F][Z]; None where the slice is empty.
    """

    expected_dice: float
    by_slice: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class StudyResult:
    """A cine, its mask, the measurements and everything noticed on the way.

    :param confidence: None where the model's card has no calibration, or nothing was found.
    :param probabilities: before clean-up, by label, [T, Z, Y, X] 0..1; None unless asked for.
    :param settings: those the result was made with, as JSON has them.
    :param seconds: stage -> wall seconds (read, prepare, locate, predict, postprocess, measure...).
    """

    cine: Cine
    mask: Mask
    measurements: LVMeasurements
    issues: tuple[Issue, ...]
    card: ModelCard | None
    seconds: Mapping[str, float] = field(default_factory=dict)
    confidence: Confidence | None = None
    probabilities: Mapping[Label, NDArray[np.float32]] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """pass, review or fail: the worst severity among the issues."""
        return verdict_of(self.issues)
