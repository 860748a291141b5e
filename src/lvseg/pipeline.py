"""The main path, on one page: read -> prepare -> predict -> postprocess -> measure -> check.

Writing the results is the caller's: ``lvseg.write`` and ``lvseg.report``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from lvseg import postprocess, preprocess, quality
from lvseg.cine import Cine, Mask, Study
from lvseg.issues import Issue
from lvseg.measurement import Options as MeasureOptions
from lvseg.measurement import measure
from lvseg.predict import Predictor, predict
from lvseg.read import StudyRef, read_study
from lvseg.results import Certainty, StudyResult

__all__ = ["Progress", "Settings", "run", "segment"]

#: Called with (stage, done, all).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """Choices of the main path; the threshold of the clean-up is the model card's.

    :param batch_size: windows predicted at once; full frames are fewer, of as many pixels.
    :param flips: average four mirrored predictions of each frame (docs/decisions/0005).
    :param keep_probabilities: the result holds them too, for a fractional DICOM SEG.
    """

    postprocess: postprocess.Options = field(default_factory=postprocess.Options)
    measure: MeasureOptions = field(default_factory=MeasureOptions)
    batch_size: int = 4
    flips: bool = False
    keep_probabilities: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Segmented:
    """A mask and what was noticed while it was made."""

    mask: Mask
    issues: tuple[Issue, ...]
    certainty: Certainty | None
    probabilities: NDArray[np.float32] | None


class _Clock:
    """Wall seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now


def segment(cine: Cine, predictor: Predictor, settings: Settings | None = None) -> Mask:
    """The cavity on every phase and slice of a cine, on the cine's own grid."""
    return _segment(cine, predictor, settings or Settings(), _Clock(), None).mask


def run(
    source: Path | StudyRef | Study,
    predictor: Predictor,
    settings: Settings | None = None,
    *,
    spacing_mm: float | None = None,
    progress: Progress | None = None,
) -> StudyResult:
    """A study in, everything known about its left ventricle out.

    :param spacing_mm: in-plane spacing of pictures, which do not state one.
    :raises ReadError: the source is unreadable or holds no short-axis cine.
    """
    settings, clock = settings or Settings(), _Clock()
    report = progress or (lambda stage, done, total: None)
    if isinstance(source, Study):
        study = source
    else:
        study = read_study(
            source, spacing_mm=spacing_mm, progress=lambda d, n: report("read", d, n)
        )
    cine = study.short_axis()
    clock.lap("read")
    segmented = _segment(cine, predictor, settings, clock, progress)
    mask = segmented.mask
    measurements = measure(
        mask, settings.measure, times_ms=cine.times_ms, heart_rate_bpm=cine.heart_rate_bpm
    )
    issues = (
        *cine.issues,
        *segmented.issues,
        *measurements.issues,
        *quality.check(cine, mask, measurements),
    )
    clock.lap("measure")
    return StudyResult(
        cine,
        mask,
        measurements,
        issues,
        predictor.card,
        clock.seconds,
        segmented.certainty,
        segmented.probabilities,
    )


def _locate(
    prepared: preprocess.Prepared, predictor: Predictor, settings: Settings
) -> preprocess.Window:
    frames = preprocess.scouts(prepared)
    pixels = prepared.spec.window_px**2  # a full frame is as much work, and memory, as many windows
    size = max(1, settings.batch_size * pixels // (frames.shape[2] * frames.shape[3]))
    found = predict(frames, predictor, batch_size=size, flips=settings.flips)
    return preprocess.find_window(prepared, found)


def _segment(
    cine: Cine,
    predictor: Predictor,
    settings: Settings,
    clock: _Clock,
    progress: Progress | None,
) -> _Segmented:
    """Find the heart on a few full frames, then segment one window of every frame."""
    prepared = preprocess.prepare(cine, predictor.card.input)
    clock.lap("prepare")
    window = _locate(prepared, predictor, settings)
    clock.lap("locate")
    inputs = preprocess.cut(prepared, window)
    scores = predict(
        inputs,
        predictor,
        batch_size=settings.batch_size,
        flips=settings.flips,
        progress=(lambda done, total: progress("predict", done, total)) if progress else None,
    )
    clock.lap("predict")
    card = predictor.card
    options = replace(settings.postprocess, threshold=card.output.threshold)
    probabilities = preprocess.restore_region(scores, prepared, window)
    region = preprocess.region(prepared, window)
    mask = postprocess.to_mask(probabilities, cine, options, region)
    clock.lap("postprocess")
    ratio = prepared.factors[0] * prepared.factors[1]
    certainty = quality.expect_dice(
        probabilities, mask, card.calibration, pixel_ratio=ratio, region=region
    )
    issues = (
        *prepared.issues,
        *postprocess.left_out(probabilities, mask, options),
        *quality.unsure(certainty, card.calibration, mask.phases),
        *quality.unlike(inputs, scores, card.profile),
    )
    kept = None
    if settings.keep_probabilities:
        kept = np.zeros(cine.shape, np.float32)
        kept[:, :, region[0], region[1]] = probabilities
    return _Segmented(mask, issues, certainty, kept)
