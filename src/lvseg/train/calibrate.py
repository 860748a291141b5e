"""Calibration of a trained model: the Dice to expect of its masks, and what its images look like.

Both are fitted on patients held out from training and stand on the model's card. The pure functions
take one :class:`CalibrationSample` a patient, so that those of several models of one recipe, as a
cross-validation has them, can be pooled.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import optimize

from lvseg import postprocess, quality
from lvseg.atomic import write_text
from lvseg.bounds import MOST_JSON_BYTES, read_bytes
from lvseg.cine import Cine, Mask
from lvseg.errors import DatasetError, ModelError, UsageError
from lvseg.evaluate.dataset import leaked_patients
from lvseg.inference import infer
from lvseg.intervals import QUANTITIES, fit_intervals
from lvseg.labels import Label
from lvseg.manifest import (
    Sample,
    labelled,
    patients,
    read_dataset_facts,
    read_manifest,
    select,
    unaugmented,
)
from lvseg.measurement import ejection_fraction_percent, measure
from lvseg.metrics import dice
from lvseg.modelcard import (
    Calibration,
    FeatureStatistics,
    InputSpec,
    Intervals,
    StrictModel,
    TrainingData,
)
from lvseg.names import PHASES
from lvseg.postprocess import PostprocessSettings
from lvseg.predict import Network
from lvseg.prediction import Prediction
from lvseg.quality.confidence import curve_terms, expected_dice, self_dice
from lvseg.quality.ood import FEATURES, distance, features
from lvseg.samples import Places, phases_as_cine, read_sample
from lvseg.train import checkpoint
from lvseg.train.validation import as_network
from lvseg.version import __version__

FloatArray = NDArray[np.float64]

#: The calibration's file in a run folder.
CALIBRATION = "calibration.json"
#: A study below this mean Dice of its slices is a failure: held-out patients reach 0.92 on average
#: (docs/accuracy.md).
STUDY_FAILURE = 0.85
#: A slice below this Dice is a failure; single slices, small ones most of all, vary more.
SLICE_FAILURE = 0.70
#: Share of the studies, and of the slices, that are no failures and may be flagged all the same:
#: it bounds what a reader looks at in vain.
FALSE_ALARMS = 0.10
#: The limit of the distance, in largest distances of a patient: those of the fit lie nearer than
#: new ones, because the statistics are theirs.
ROOM = 1.25
#: Shrinkage of the features' covariance towards independence, so that it can be inverted.
SHRINKAGE = 0.05
#: Fewer patients say nothing about the next one.
FEWEST_PATIENTS = 3
#: The issue of a reference that lies beside the cavity: it can judge no network.
MISPLACED = "cavity-not-brighter"


@dataclass(frozen=True, slots=True)
class CalibrationSample:
    """What a network that has not seen a patient made of the slices that the expert contoured.

    :param dice: of mask and reference, one value a slice and phase, 0..1.
    :param self_dice: of each mask with its own probabilities; 0 for an empty mask.
    :param area_px: of each mask, pixels on the model's grid.
    :param features: of frames with a cavity, ``[N, len(FEATURES)]``, as :mod:`lvseg.quality.ood`.
    :param issues: codes of what the checks of the mask ask a person to look at.
    :param reference_misplaced: the same checks say that the reference lies beside the cavity.
    :param true, measured: the values of :data:`lvseg.intervals.QUANTITIES` over the slices that the
        expert drew in, volumes and mass in one unit that differs between patients; one that is
        unknown is left out of both.
    """

    patient_id: str
    dice: tuple[float, ...]
    self_dice: tuple[float, ...]
    area_px: tuple[float, ...]
    features: tuple[tuple[float, ...], ...]
    issues: tuple[str, ...] = ()
    reference_misplaced: bool = False
    true: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)


class DicePair(NamedTuple):
    """Expected and true Dice; a slice without a mask has no expected one."""

    expected: float | None
    true: float


class Agreement(StrictModel):
    """Expected and true Dice over slices or studies that have a mask.

    :param without_mask: so many have none. :param bias: mean of expected less true.
    """

    n: int
    without_mask: int
    expected_mean: float
    true_mean: float
    bias: float
    mae: float


class RunCalibration(StrictModel):
    """``calibration.json`` of a run: what the fit found, on whom, and every value it was fitted to.

    :param weights_sha256: SHA-256 of the weights that predicted, as ``model.safetensors`` of the
        exported model has them.
    :param dataset: facts of the data set. :param patients: whom the fit is of.
    :param misplaced_references: patients left out -> mean Dice.
    :param seed: of the training; the fit draws no random numbers.
    """

    schema_version: Literal[1] = 1
    lvseg: str = __version__
    weights_sha256: str
    seed: int
    dataset: dict[str, Any]
    split: str
    patients: tuple[str, ...]
    misplaced_references: dict[str, float]
    calibration: Calibration
    feature_statistics: FeatureStatistics
    slices: Agreement
    studies: Agreement
    samples: tuple[CalibrationSample, ...]


def calibrate(
    run: Path,
    dataset: Path,
    split: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RunCalibration:
    """Fit on held-out patients of a data set and write :data:`CALIBRATION` into the run folder.

    The weights are those that :func:`lvseg.train.export.export` writes.

    :param split: split names joined by '+'; None = the validation split of the run.
    :param progress: called with (patients done, patients).
    :raises UsageError: no split, a patient of it trained the run, or a network without cavity.
    :raises ModelError: no finished run. DatasetError: a broken folder, or too few patients in it.
    """
    network, options, _, data = checkpoint.exported_network(run)
    chosen = split or options.validation_split
    if chosen is None:
        raise UsageError(
            f"expected held-out patients, found a run without validation split in {run}: name a "
            "split that did not train it with --split"
        )
    if Label.LV_CAVITY.name not in options.labels:
        raise UsageError(f"expected a network that draws LV_CAVITY, found {options.labels}")
    samples = unaugmented(select(read_manifest(dataset), chosen))
    trained = TrainingData(
        patients=tuple(data["patients"]),
        split=options.train_split,
        image_sha256=tuple(data["image_sha256"]),
    )
    leaked = leaked_patients(dataset, samples, trained)
    if leaked:
        raise UsageError(
            f"expected patients that did not train the run, found in '{chosen}' of {dataset} "
            f"{len(leaked)} that did: {', '.join(leaked)}; on them the network is too sure"
        )
    rows = calibration_samples(
        dataset,
        samples,
        as_network(network),
        options.input,
        [Label[name] for name in options.labels],
        PostprocessSettings(threshold=options.threshold),
        progress,
        options.values_of_masks,
    )
    misplaced, kept = without_misplaced(rows)
    calibration, statistics = fit_calibration(kept), fit_feature_statistics(kept)
    found = RunCalibration(
        weights_sha256=checkpoint.weights_sha256(network),
        seed=options.seed,
        dataset=read_dataset_facts(dataset).to_dict(),
        split=chosen,
        patients=tuple(sample.patient_id for sample in kept),
        misplaced_references=misplaced,
        calibration=calibration,
        feature_statistics=statistics,
        slices=agreement(slice_pairs(kept, calibration)),
        studies=agreement([study_pair(sample, calibration) for sample in kept]),
        samples=rows,
    )
    write_text(run / CALIBRATION, json.dumps(found.model_dump(mode="json")) + "\n")
    return found


def read_calibration(run: Path, weights_sha256: str) -> RunCalibration | None:
    """The calibration of a run; None where it was not calibrated.

    :param weights_sha256: of the weights that it must be of.
    :raises ModelError: it is of other weights, or no calibration.
    """
    path = run / CALIBRATION
    if not path.is_file():
        return None
    try:
        found = RunCalibration.model_validate_json(read_bytes(path, MOST_JSON_BYTES))
    except (OSError, ValidationError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise ModelError(
            f"expected a calibration in {path}, found {told}: run  lvseg calibrate  again"
        ) from error
    if found.weights_sha256 != weights_sha256:
        raise ModelError(
            f"expected in {path} the calibration of the weights of this run, found one of others: "
            "run  lvseg calibrate  again"
        )
    return found


def calibration_samples(
    dataset: Path,
    samples: Sequence[Sample],
    network: Network,
    spec: InputSpec,
    labels: Sequence[Label],
    settings: PostprocessSettings,
    progress: Callable[[int, int], None] | None = None,
    label_values: Mapping[int, Label] | None = None,
) -> tuple[CalibrationSample, ...]:
    """Predict held-out patients as studies, as ``lvseg segment`` does; one value a patient, sorted.

    A study is what the manifest states of phase and slice: the slices that the expert contoured in
    each of the patient's phases. Patients without a contour of the cavity are left out.

    :param network, spec, labels: as for :func:`lvseg.inference.infer`.
    :param label_values: what the values of the masks mean; None = our own.
    :raises DatasetError: image and mask differ in size.
    """
    names, found = patients(samples), list[CalibrationSample]()
    for done, name in enumerate(names, start=1):
        own = [sample for sample in samples if sample.patient_id == name]
        drawn = _drawn(dataset, own, label_values)

        def masks(group: Mapping[int, Drawn]) -> list[Segmented]:
            return _segmented(group, network, spec, labels, settings)

        parts = [_judge(each) for each in masks(_in_every_phase(drawn))]
        if parts:
            joined = {
                key: sum((part[key] for part in parts), ())
                for key in ("dice", "self_dice", "area_px", "features", "issues")
            }
            misplaced = any(part["reference_misplaced"] for part in parts)
            true, measured = _volumes(masks(drawn), drawn)
            found.append(
                CalibrationSample(
                    name, **joined, reference_misplaced=misplaced, true=true, measured=measured
                )
            )
        if progress is not None:
            progress(done, len(names))
    return tuple(found)


class Drawn(NamedTuple):
    """A sample that the expert drew a cavity in, its image and the labels of its mask [Y, X]."""

    sample: Sample
    cine: Cine
    labels: NDArray[np.uint8]


class Segmented(NamedTuple):
    """A study made of samples, the masks of the network and of the expert, and where they are."""

    cine: Cine
    prediction: Prediction
    mask: Mask
    truth: Mask
    places: Places


def _drawn(
    dataset: Path, samples: Sequence[Sample], label_values: Mapping[int, Label] | None
) -> dict[int, Drawn]:
    """The samples of one patient that show a cavity, by their number."""
    read = (Drawn(each, *read_sample(dataset, each, label_values)) for each in samples)
    return {
        number: drawn
        for number, drawn in enumerate(read)
        if (drawn.labels == Label.LV_CAVITY).any()
    }


def _in_every_phase(drawn: Mapping[int, Drawn]) -> dict[int, Drawn]:
    """Those whose slice was drawn in each of the patient's phases, and those of no phase."""
    placed = [each.sample for each in drawn.values() if each.sample.phase in PHASES]
    phases = {sample.phase for sample in placed}
    there = {(sample.phase, sample.slice_index) for sample in placed}
    return {
        number: each
        for number, each in drawn.items()
        if each.sample.phase not in PHASES
        or all((phase, each.sample.slice_index) in there for phase in phases)
    }


def _segmented(
    drawn: Mapping[int, Drawn],
    network: Network,
    spec: InputSpec,
    labels: Sequence[Label],
    settings: PostprocessSettings,
) -> list[Segmented]:
    """The studies that some samples of a patient make."""
    found = []
    for spacing in {each.sample.pixel_spacing_mm: None for each in drawn.values()}:
        group = {
            key: each for key, each in drawn.items() if each.sample.pixel_spacing_mm == spacing
        }
        samples = {key: each.sample for key, each in group.items()}
        for cine, places in phases_as_cine(samples, {k: each.cine for k, each in group.items()}):
            truth = np.zeros(cine.shape, np.uint8)
            for number, at in places.items():
                truth[at] = group[number].labels
            prediction = infer(cine, network, spec, labels)
            mask = postprocess.to_mask(prediction, cine, settings)
            reference = Mask(truth, tuple(range(len(truth))), cine.grid)
            found.append(Segmented(cine, prediction, mask, reference, places))
    return found


def _volumes(
    studies: Sequence[Segmented], drawn: Mapping[int, Drawn]
) -> tuple[dict[str, float], dict[str, float]]:
    """True and measured values from the areas of one patient's slices, in pixels of its images.

    A spacing that all slices share cancels in the relative errors that are made of them.
    """
    spacings = {each.sample.pixel_spacing_mm for each in drawn.values()}
    if len(spacings) > 1:
        return {}, {}
    sums = defaultdict[str, list[float]](lambda: [0.0, 0.0])
    for study in studies:
        for number, at in study.places.items():
            sample = drawn[number].sample
            if sample.phase not in PHASES:
                continue
            areas = {"esv_ml" if sample.phase == "ES" else "edv_ml": Label.LV_CAVITY}
            known = labelled(sample, Label.LV_MYOCARDIUM)
            if sample.phase == "ED" and known and Label.LV_MYOCARDIUM in study.prediction.labels:
                areas["mass_g"] = Label.LV_MYOCARDIUM
            for name, label in areas.items():
                for place, mask in enumerate((study.truth, study.mask)):
                    sums[name][place] += float((mask.labels[at] == label).sum())
    pairs = {name: pair for name, pair in sums.items() if pair[0] > 0}
    if pairs.keys() >= {"edv_ml", "esv_ml"}:
        ends = zip(pairs["edv_ml"], pairs["esv_ml"], strict=True)
        fractions = [ejection_fraction_percent(edv, esv) for edv, esv in ends]
        if None not in fractions:
            pairs["ef_percent"] = [value for value in fractions if value is not None]
    true, measured = ({name: pair[k] for name, pair in pairs.items()} for k in range(2))
    return true, measured


def _judge(study: Segmented) -> dict[str, Any]:
    """What tells the network's doubt and the truth: see the sample."""
    held = sorted(study.places.values())
    inside, reference = (mask.of(Label.LV_CAVITY) for mask in (study.mask, study.truth))
    prediction = study.prediction
    probabilities = prediction.on_grid(Label.LV_CAVITY, study.cine.grid)
    own = self_dice((probabilities[at] for at in held), (inside[at] for at in held))
    scores = prediction.scores[:, prediction.labels.index(Label.LV_CAVITY)]
    return {
        "dice": tuple(float(dice(reference[at], inside[at])) for at in held),
        "self_dice": tuple(own.tolist()),
        "area_px": tuple(float(inside[at].sum() * prediction.pixel_ratio) for at in held),
        "features": tuple(map(tuple, features(prediction.inputs, scores).tolist())),
        "issues": _warnings(study.cine, study.mask),
        "reference_misplaced": MISPLACED in _warnings(study.cine, study.truth),
    }


def _warnings(cine: Cine, mask: Mask) -> tuple[str, ...]:
    """Codes of what the checks of a mask report, without what measuring it did."""
    found = quality.check(quality.Evidence(cine, mask, replace(measure(mask), issues=())))
    return tuple(issue.code for issue in found if issue.severity != "info")


def without_misplaced(
    samples: Sequence[CalibrationSample],
) -> tuple[dict[str, float], tuple[CalibrationSample, ...]]:
    """Patients whose reference lies beside the cavity with their mean Dice, and the other ones."""
    misplaced = {
        sample.patient_id: round(float(np.mean(sample.dice)), 3)
        for sample in samples
        if sample.reference_misplaced
    }
    return misplaced, tuple(sample for sample in samples if not sample.reference_misplaced)


def fit_calibration(samples: Sequence[CalibrationSample]) -> Calibration:
    """Fit the curve of :func:`lvseg.quality.confidence.expected_dice`, and choose the limits.

    The errors of volumes, EF and mass stand beside it (:func:`lvseg.intervals.fit_intervals`).

    Logistic regression on all slices with a mask, by cross entropy with the true Dice as soft
    target; its intercept makes the mean expected Dice that of the true ones. A limit is the
    :data:`FALSE_ALARMS` quantile of the expected Dice of what is no failure; 1 where all failed.

    :raises DatasetError: fewer than :data:`FEWEST_PATIENTS` patients, or no slice with a mask.
    """
    own, area, true = (
        np.array([value for sample in samples for value in getattr(sample, name)], np.float64)
        for name in ("self_dice", "area_px", "dice")
    )
    if len(samples) < FEWEST_PATIENTS or not (area > 0).any():
        raise DatasetError(
            f"expected at least {FEWEST_PATIENTS} patients with contours, and slices in which the "
            f"network finds a cavity, found {len(samples)} patients and {int((area > 0).sum())} "
            "such slices: name a larger split"
        )
    doubt, size = curve_terms(own[area > 0], area[area > 0])
    true = true[area > 0]

    def loss(values: FloatArray) -> float:
        score = values[0] + values[1] * doubt + values[2] * size
        return float(np.mean(np.logaddexp(0, score) - true * score))

    fitted = optimize.minimize(loss, [0.0, 1.0, 0.0], method="BFGS").x
    intercept, slope, area_slope = (round(float(value), 4) for value in fitted)
    curve = Calibration(
        intercept=intercept,
        slope=slope,
        area_slope=area_slope,
        patients=len(samples),
        slices=len(true),
        review_below=0,
        slice_review_below=0,
    )
    studies = [study_pair(sample, curve) for sample in samples]
    limits = {
        "review_below": _limit(studies, STUDY_FAILURE),
        "slice_review_below": _limit(slice_pairs(samples, curve), SLICE_FAILURE),
    }
    return curve.model_copy(update={**limits, "intervals": _intervals(samples)})


def _intervals(samples: Sequence[CalibrationSample]) -> Intervals | None:
    """The errors of measured values over patients; None where no true one is known."""
    true, measured = (
        {name: [getattr(sample, side).get(name) for sample in samples] for name in QUANTITIES}
        for side in ("true", "measured")
    )
    found = fit_intervals(true, measured)
    return found if found.studies else None


def _limit(pairs: Sequence[DicePair], failure: float) -> float:
    usual = [pair.expected for pair in pairs if pair.expected is not None and pair.true >= failure]
    return round(float(np.quantile(usual, FALSE_ALARMS)), 3) if usual else 1.0


def fit_feature_statistics(samples: Sequence[CalibrationSample]) -> FeatureStatistics:
    """Mean and precision of the features over frames; the limit from the patients' distances.

    :raises DatasetError: too few frames with a cavity, or all of them alike in a feature.
    """
    rows = [row for sample in samples for row in sample.features]
    table = np.array(rows, np.float64).reshape(-1, len(FEATURES))
    if len(table) <= len(FEATURES) or not (table.std(axis=0) > 0).all():
        raise DatasetError(
            f"expected more than {len(FEATURES)} different images in which the network finds a "
            f"cavity, found {len(np.unique(table, axis=0))}: name a larger split"
        )
    covariance = np.cov(table.T)
    covariance += np.diag(np.diag(covariance)) * SHRINKAGE
    found = FeatureStatistics(
        mean=tuple(round(float(value), 5) for value in table.mean(axis=0)),
        precision=tuple(
            tuple(round(float(value), 5) for value in row) for row in np.linalg.inv(covariance)
        ),
        limit=0.0,
    )
    far = [distance(np.array(sample.features), found) for sample in samples if sample.features]
    return found.model_copy(update={"limit": round(ROOM * max(far), 2)})


def slice_pairs(
    samples: Sequence[CalibrationSample], calibration: Calibration
) -> tuple[DicePair, ...]:
    """Expected and true Dice of each slice and phase."""
    pairs = list[DicePair]()
    for sample in samples:
        area = np.array(sample.area_px)
        values = expected_dice(np.array(sample.self_dice), area, calibration).tolist()
        for value, held, true in zip(values, area > 0, sample.dice, strict=True):
            pairs.append(DicePair(value if held else None, true))
    return tuple(pairs)


def study_pair(sample: CalibrationSample, calibration: Calibration) -> DicePair:
    """Mean expected Dice over the slices with a mask, 0 if none, and mean true one over all."""
    pairs = slice_pairs([sample], calibration)
    found = [pair.expected for pair in pairs if pair.expected is not None]
    expected = float(np.mean(found)) if found else 0.0
    return DicePair(expected, float(np.mean([pair.true for pair in pairs])))


def agreement(pairs: Sequence[DicePair]) -> Agreement:
    """How well expected and true Dice agree where there is a mask; at least one must have one."""
    known = [(pair.expected, pair.true) for pair in pairs if pair.expected is not None]
    expected, true = np.array(known, np.float64).T
    return Agreement(
        n=len(known),
        without_mask=len(pairs) - len(known),
        expected_mean=round(float(expected.mean()), 4),
        true_mean=round(float(true.mean()), 4),
        bias=round(float((expected - true).mean()), 4),
        mae=round(float(np.abs(expected - true).mean()), 4),
    )
