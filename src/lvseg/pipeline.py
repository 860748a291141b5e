"""The main path, on one page: read -> infer -> postprocess -> assess; ``lvseg.output`` writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

from lvseg import postprocess, quality
from lvseg.body import BodySettings, indexed, subject_of
from lvseg.cine import Cine, Mask, Study
from lvseg.inference import infer
from lvseg.intervals import with_intervals
from lvseg.issues import Issue
from lvseg.measurement import measure
from lvseg.modelcard import ModelCard
from lvseg.predict import Predictor
from lvseg.prediction import Prediction
from lvseg.preprocess import resampled_size, scale_factors
from lvseg.read import StudyRef, read_study
from lvseg.reference_ranges import CONVENTION, compare, load_table
from lvseg.results import Authorship, LVMeasurements, Reference, StudyResult
from lvseg.settings import Settings
from lvseg.subject import Subject

#: Called with (stage, done, all).
Progress = Callable[[str, int, int], None]


def run(
    source: Path | StudyRef | Study,
    predictor: Predictor,
    settings: Settings | None = None,
    *,
    spacing_mm: float | None = None,
    name: str = "",
    progress: Progress | None = None,
) -> StudyResult:
    """A study in, everything known about its left ventricle out.

    :param spacing_mm: in-plane spacing of images that do not state one.
    :param name: of the study in a sheet, where it goes by another than its source has.
    :raises ReadError: the source is unreadable or holds no short-axis cine.
    :raises LimitError: it is larger than ``settings.reading`` allows.
    """
    started, report = perf_counter(), progress or (lambda stage, done, total: None)
    study, chosen = source, (settings or Settings()).for_model(predictor.card)
    if not isinstance(study, Study):
        limits, telling = chosen.reading, partial(report, "read")
        study = read_study(study, spacing_mm=spacing_mm, progress=telling, limits=limits)
    cine = study.short_axis()
    read = perf_counter()
    prediction = _predict(cine, predictor, chosen, partial(report, "predict"))
    inferred = perf_counter()
    mask = postprocess.to_mask(prediction, cine, chosen.postprocess)
    cleaned = perf_counter()
    result = assess(cine, mask, prediction, predictor.card, chosen, name=name)
    seconds = {"read": read - started, **prediction.seconds, "postprocess": cleaned - inferred}
    return replace(result, seconds={**seconds, "measure": perf_counter() - cleaned})


def _predict(
    cine: Cine,
    predictor: Predictor,
    settings: Settings,
    progress: Callable[[int, int], None] | None = None,
) -> Prediction:
    card, size, flips = predictor.card, settings.batch_size, settings.flips
    rows, columns = resampled_size(cine.shape[2:], scale_factors(cine.pixel_spacing_mm, card.input))
    settings.reading.hold("network_pixels", rows * columns, cine.source.location or "the cine")
    return infer(
        cine, predictor, card.input, card.labels, batch_size=size, flips=flips, progress=progress
    )


def segment_mask(cine: Cine, predictor: Predictor, settings: Settings | None = None) -> Mask:
    """The clean mask of every phase and slice of a cine, on the cine's own grid."""
    chosen = (settings or Settings()).for_model(predictor.card)
    return postprocess.to_mask(_predict(cine, predictor, chosen), cine, chosen.postprocess)


def assess(
    cine: Cine,
    mask: Mask,
    prediction: Prediction | None = None,
    card: ModelCard | None = None,
    settings: Settings | None = None,
    *,
    authorship: Authorship | None = None,
    name: str = "",
) -> StudyResult:
    """Measure and check a mask on its cine, whoever drew it.

    :param prediction: what the mask was made of; None for a mask from elsewhere, which no check
        of the network's doubt can judge.
    :param authorship: of a mask that is not a model's own.
    :param name: of the study in a sheet, where it goes by another than its source has.
    :raises GeometryMismatchError: the mask is not on that cine. UsageError: a table of reference
        ranges or a sheet that cannot be read.
    """
    mask.on(cine)
    chosen = settings or Settings()
    values = measure(
        mask, chosen.measurement, times_ms=cine.times_ms, heart_rate_bpm=cine.heart_rate_bpm
    )
    subject, doubted = subject_of(cine.subject, chosen.body, name or cine.source.name)
    values = indexed(values, subject, chosen.body.bsa_formula)
    left_out: tuple[Issue, ...] = ()
    if prediction is not None:
        left_out = postprocess.left_out(prediction, mask, chosen.postprocess)
    evidence = quality.Evidence(cine, mask, values, prediction, card, chosen.limits, left_out)
    issues = quality.check(evidence)
    drawn_by = None if prediction is None else card
    values, told = with_intervals(values, drawn_by, issues)
    reference, lacking = _reference(values, subject, chosen.body, prediction, authorship)
    probabilities = None
    if prediction is not None and chosen.keep_probabilities:
        probabilities = {each: prediction.on_grid(each, cine.grid) for each in prediction.labels}
    return StudyResult(
        cine,
        mask,
        values,
        (*issues, *told, *doubted, *lacking),
        card,
        confidence=quality.predict_dice(evidence),
        probabilities=probabilities,
        settings=chosen.to_dict(),
        authorship=authorship,
        reference=reference,
    )


def _reference(
    values: LVMeasurements,
    subject: Subject,
    body: BodySettings,
    prediction: Prediction | None,
    authorship: Authorship | None,
) -> tuple[Reference | None, tuple[Issue, ...]]:
    """The ranges that were asked for; masks that did not begin with a model of ours fit none."""
    if body.reference_ranges is None:
        return None, ()
    ours = prediction is not None or (authorship is not None and authorship.parent is not None)
    return compare(
        values,
        subject,
        load_table(body.reference_ranges),
        convention=CONVENTION if ours else None,
        bsa_formula=body.bsa_formula,
    )
