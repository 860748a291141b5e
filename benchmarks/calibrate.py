"""Calibration of the shipped models, fitted on patients that models of P3 had not seen.

The models of P3 (``protocols.py DATASET WORK p3``) segment the patients of the fold they have not
seen. What ``lvseg calibrate`` makes of the held-out patients of one run is pooled over them, and
the same functions fit the calibration, the intervals and the feature statistics; for the twin
``lv-sax-30`` without the online patients. With ``--test`` the twin
segments the online patients, and the result says how expected and true Dice agree there and which
failures are flagged.
Usage: ``python benchmarks/calibrate.py DATASET WORK [--test] [--card]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocols import Part, parts
from provenance import DATA, save
from pydantic import TypeAdapter
from reference_volumes import reference_volumes
from studies import STUDIES, order_to_experts

from lvseg import model_store
from lvseg.atomic import write_text
from lvseg.labels import Label
from lvseg.manifest import Sample, mask_path, patients, read_manifest, select
from lvseg.metrics import dice
from lvseg.modelcard import CARD, Calibration, FeatureStatistics, ModelCard
from lvseg.pipeline import run
from lvseg.postprocess import PostprocessSettings
from lvseg.predict import load_model
from lvseg.quality.ood import FEATURES
from lvseg.read import read_mask
from lvseg.train.calibrate import (
    SLICE_FAILURE,
    STUDY_FAILURE,
    CalibrationSample,
    DicePair,
    agreement,
    calibration_samples,
    fit_calibration,
    fit_feature_statistics,
    slice_pairs,
    study_pair,
    without_misplaced,
)

#: The model that has not seen the online patients.
TWIN = "lv-sax-30"

#: Findings about the ends of a stack mean nothing where only labelled slices are at hand.
ENDS = (
    "few-slices",
    "apex-cut-off",
    "base-cut-off",
    "stack-does-not-cover-ventricle",
    "missing-slice",
)

Row = dict[str, Any]
Held = Sequence[CalibrationSample]
HELD = TypeAdapter(tuple[CalibrationSample, ...])


def judged(dataset: Path, samples: tuple[Sample, ...], model: Path, kept: Path) -> Held:
    """The patients of some samples; a file of them from an earlier run is used again."""
    if not kept.is_file():
        predictor = load_model(model)
        card = predictor.card
        settings = PostprocessSettings(threshold=card.output.threshold)
        found = calibration_samples(dataset, samples, predictor, card.input, card.labels, settings)
        write_text(kept, HELD.dump_json(found).decode())
    return HELD.validate_json(kept.read_text())


def warnings(sample: CalibrationSample) -> list[str]:
    """What the checks say of a patient, but for the ends of the stack."""
    return [code for code in sample.issues if code not in ENDS]


def flagged(pairs: Sequence[DicePair], limit: float, failure: float) -> Row:
    """Agreement and correlation, and what the limit flags."""
    known = [pair for pair in pairs if pair.expected is not None]
    guess, true = np.array(known, np.float64).T
    failed = true < failure
    found = agreement(pairs)
    return {
        **{name: getattr(found, name) for name in ("n", "without_mask", "true_mean")},
        **{name: getattr(found, name) for name in ("expected_mean", "mae")},
        "r": round(float(np.corrcoef(guess, true)[0, 1]), 3),
        "failure_below": failure,
        "failures": int(failed.sum()),
        "limit": limit,
        **flags(guess < limit, failed),
    }


def flags(low: NDArray[np.bool_], failed: NDArray[np.bool_]) -> Row:
    """Share of the failures and of the others that are flagged; None where there are none."""
    share = lambda whole: round(float(low[whole].mean()), 3) if whole.any() else None
    return {"sensitivity": share(failed), "false_alarm_rate": share(~failed)}


def mean_dice(rows: Held) -> float:
    """Over all slices, those without a mask included."""
    return round(float(np.mean([value for row in rows for value in row.dice])), 4)


def summary(rows: Held, calibration: Calibration) -> Row:
    """What one group of patients shows."""
    slices = slice_pairs(rows, calibration)
    studies = [study_pair(row, calibration) for row in rows]
    low = np.array([pair.expected < calibration.review_below for pair in studies])
    warned = low | np.array([bool(warnings(row)) for row in rows])
    failed = np.array([pair.true < STUDY_FAILURE for pair in studies])
    return {
        "dice_mean_of_all_slices": mean_dice(rows),
        "slices": flagged(slices, calibration.slice_review_below, SLICE_FAILURE),
        "studies": flagged(studies, calibration.review_below, STUDY_FAILURE)
        | {"with_every_check": flags(warned, failed)},
        "per_patient": [
            {
                "patient": row.patient_id,
                "slices": len(row.dice),
                "missed": sum(not area for area in row.area_px),
                **pair._asdict(),
                "warnings": warnings(row),
            }
            for row, pair in zip(rows, studies, strict=True)
        ],
        "slice_pairs": [
            [None if pair.expected is None else round(pair.expected, 3), round(pair.true, 3)]
            for pair in slices
        ],
    }


def cines(held_out: Sequence[Part], work: Path, calibration: Calibration) -> list[Row]:
    """Whole DICOM studies by the model of the fold that holds their patient out.

    The true Dice is the mean over the frames with an expert's contour, the expected one of the
    same frames and of the whole study.
    """
    dataset = held_out[0].dataset
    samples = {sample.file: sample for sample in read_manifest(dataset)}
    fold_of = {sample.patient_id: sample.split for sample in samples.values()}
    models = {part.judged: work / f"{part.name}-model" for part in held_out}
    rows = []
    for name, patient in STUDIES.items():
        predictor = load_model(models[fold_of[patient]])
        card = predictor.card.model_copy(update={"calibration": calibration})
        predictor.card = card
        dicom = DATA / "sunnybrook-dicom" / name / "dicom"
        result = run(dicom, predictor)
        experts = reference_volumes(DATA / "sunnybrook" / "contours" / patient, dicom)
        order = order_to_experts(result.cine, dicom)
        true, guess = [], []
        for frame in experts.frames:
            sample = samples[f"{patient}-IM-0001-{frame.image_number:04d}.png"]
            row, index = frame.phase, order[frame.slice]
            truth = read_mask(mask_path(dataset, sample)).of(Label.LV_CAVITY)[0, 0]
            true.append(float(dice(truth, result.mask.of(Label.LV_CAVITY)[row, index])))
            guess.append(result.confidence.by_slice[row][index])
        held = [value for value in guess if value is not None]
        rows.append(
            {
                "study": name,
                "patient": patient,
                "model": predictor.card.name,
                "frames": len(true),
                "true": float(np.mean(true)),
                "expected_of_these_frames": float(np.mean(held)),
                "frames_without_mask": guess.count(None),
                "expected_of_the_study": result.confidence.expected_dice,
                "findings": sorted({f.code for f in result.issues if f.severity != "info"}),
            }
        )
    return rows


def put_on_card(name: str, calibration: Calibration, statistics: FeatureStatistics) -> None:
    """Write both on the card of a shipped model."""
    path = model_store.locate(name) / CARD
    card = ModelCard.from_json(path.read_text("utf-8"))
    changes = {"calibration": calibration, "feature_statistics": statistics}
    write_text(path, card.model_copy(update=changes).to_json())


def main() -> None:
    """Fit on patients held out; ``--test`` looks at the test patients, ``--card`` ships it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--card", action="store_true")
    parser.add_argument("--test", action="store_true")
    options = parser.parse_args()
    held_out = parts("p3", options.dataset, options.work)
    rows: list[CalibrationSample] = []
    for part in held_out:
        samples = select(read_manifest(part.dataset), part.judged)
        kept = options.work / f"held-out-{part.name}.json"
        rows += judged(part.dataset, samples, options.work / f"{part.name}-model", kept)
    everyone = mean_dice(rows)
    left_out, kept_rows = without_misplaced(rows)
    calibration, statistics = fit_calibration(kept_rows), fit_feature_statistics(kept_rows)
    result: Row = {
        "calibration": calibration.model_dump(),
        "feature_statistics": {"features": FEATURES, **statistics.model_dump()},
        "held_out": summary(kept_rows, calibration)
        | {"misplaced_references": left_out, "dice_mean_with_misplaced": everyone},
    }
    result["cines"] = cines(held_out, options.work, calibration)
    held = select(read_manifest(options.dataset), "online")
    known = [row for row in kept_rows if row.patient_id not in patients(held)]
    twin, twin_statistics = fit_calibration(known), fit_feature_statistics(known)
    if options.test:
        kept = options.work / "held-out-online.json"
        tests = judged(options.dataset, held, model_store.locate(TWIN), kept)
        left_out, tests = without_misplaced(tests)
        result["test"] = summary(tests, twin) | {"misplaced_references": left_out}
    if options.card:
        put_on_card(model_store.DEFAULT, calibration, statistics)
        put_on_card(TWIN, twin, twin_statistics)
    protocol = (
        "expected Dice and intervals fitted on patients held out in P3; online patients by the "
        "twin lv-sax-30, in whose calibration they had no part"
    )
    save("calibration", protocol, result)


if __name__ == "__main__":
    main()
