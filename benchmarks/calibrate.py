"""From the network's doubt to the Dice to expect, fitted on cross-validation predictions.

Each fold's model (``benchmarks/folds.py``) predicts the pictures of the patients it has not seen.
On these the calibration and the profile of usual input are fitted and the limits of review chosen;
then the shipped model predicts the test patients once, and the result says how expected and true
Dice agree there and which failures are flagged.
Usage: ``python benchmarks/calibrate.py DATASET WORK [--card] [--test]``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from header import DATA, save
from scipy import optimize
from studies import STUDIES, order_to_experts

from lvseg import postprocess, preprocess, weights
from lvseg.cases import Case, image_path, mask_path, read_manifest, select
from lvseg.cine import Cine, Source
from lvseg.datasets import expert_volumes
from lvseg.metrics import dice
from lvseg.modelcard import CARD, Calibration, InputProfile, ModelCard
from lvseg.pipeline import run
from lvseg.predict import Predictor, load_model, predict
from lvseg.quality.certainty import expected_dice, self_dice
from lvseg.quality.likeness import FEATURES, distance, features
from lvseg.read import read_mask, read_picture
from lvseg.write import write_text

#: A study below this mean Dice per slice, and a slice below its own limit, count as failures.
STUDY_FAILURE, SLICE_FAILURE = 0.85, 0.70
#: Share of studies that are no failures and may be flagged all the same.
FALSE_ALARMS = 0.10
#: The limit of likeness, as a multiple of the largest distance of a patient held out.
ROOM = 1.25

Row = dict[str, Any]


def judge(dataset: Path, case: Case, predictor: Predictor) -> Row:
    """Segment one picture as ``lvseg evaluate`` does, and keep what tells doubt and truth."""
    truth = read_mask(mask_path(dataset, case)).labels[0, 0] > 0
    spacing = case.pixel_spacing_mm
    cine = Cine(
        read_picture(image_path(dataset, case))[None, None],
        Source("picture", "case"),
        pixel_spacing_mm=None if spacing is None else (spacing, spacing),
    )
    prepared = preprocess.prepare(cine, predictor.card.input)
    scouts = predict(preprocess.scouts(prepared), predictor, flips=True)
    window = preprocess.find_window(prepared, scouts)
    inputs = preprocess.cut(prepared, window)
    scores = predict(inputs, predictor, flips=True)
    probabilities = preprocess.restore(scores, prepared, window)
    options = postprocess.Options(threshold=predictor.card.output.threshold)
    mask = postprocess.to_mask(probabilities, cine, options).labels[0] > 0
    described = features(inputs, scores)
    return {
        "file": case.file,
        "patient": case.patient_id,
        "truth_px": int(truth.sum()),
        "area_px": float(mask.sum() * prepared.factors[0] * prepared.factors[1]),
        "own": float(self_dice(probabilities[0], mask)[0]),
        "dice": float(dice(truth, mask[0])) if truth.any() else None,
        "features": described[0].tolist() if len(described) else None,
    }


def judged(dataset: Path, cases: tuple[Case, ...], model: Path, kept: Path) -> list[Row]:
    """The rows of some cases; a file of them from an earlier run is used again."""
    if not kept.is_file():
        predictor = load_model(model)
        write_text(kept, json.dumps([judge(dataset, case, predictor) for case in cases]))
    rows: list[Row] = json.loads(kept.read_text())
    return rows


def fit(rows: list[Row]) -> Calibration:
    """Fit the logistic curve to the true Dice (cross entropy with soft targets), choose limits."""
    seen = [row for row in rows if row["dice"] is not None and row["area_px"] > 0]
    own = np.array([row["own"] for row in seen])
    area = np.array([row["area_px"] for row in seen])
    true = np.array([row["dice"] for row in seen])

    def curve(values: np.ndarray) -> Calibration:
        names = ("intercept", "slope", "area_slope")
        counts = {"patients": len({row["patient"] for row in seen}), "slices": len(seen)}
        fitted = {name: round(float(v), 4) for name, v in zip(names, values, strict=True)}
        return Calibration(**fitted, **counts, review_below=0, slice_review_below=0)

    def loss(values: np.ndarray) -> float:
        x = np.clip(own, 0.02, 0.998)
        score = values[0] + values[1] * np.log(x / (1 - x)) + values[2] * np.log(area / 400)
        return float(np.mean(np.logaddexp(0, score) - true * score))

    found = curve(optimize.minimize(loss, [0.0, 1.0, 0.0], method="BFGS").x)
    return found.model_copy(update=limits(seen, found))


def limits(rows: list[Row], calibration: Calibration) -> dict[str, float]:
    """The limits that flag at most the stated share of what is no failure."""
    studies = by_patient(rows, calibration)
    good = [each["expected"] for each in studies if each["true"] >= STUDY_FAILURE]
    slices = [each for each in expected(rows, calibration) if each["true"] >= SLICE_FAILURE]
    return {
        "review_below": round(float(np.quantile(good, FALSE_ALARMS)), 3),
        "slice_review_below": round(
            float(np.quantile([each["expected"] for each in slices], FALSE_ALARMS)), 3
        ),
    }


def expected(rows: list[Row], calibration: Calibration) -> list[Row]:
    """Expected and true Dice of each slice with a cavity by the expert; a missed one has 0."""
    result = []
    for row in rows:
        if row["dice"] is None:
            continue
        value = None
        if row["area_px"] > 0:
            own, area = np.array([row["own"]]), np.array([row["area_px"]])
            value = float(expected_dice(own, area, calibration)[0])
        result.append({"patient": row["patient"], "expected": value, "true": row["dice"]})
    return result


def by_patient(rows: list[Row], calibration: Calibration) -> list[Row]:
    """Mean expected (over slices found) and mean true Dice (over all slices) of each patient."""
    slices = expected(rows, calibration)
    result = []
    for name in sorted({each["patient"] for each in slices}):
        own = [each for each in slices if each["patient"] == name]
        found = [each["expected"] for each in own if each["expected"] is not None]
        true = float(np.mean([each["true"] for each in own]))
        result.append({"patient": name, "expected": float(np.mean(found)), "true": true})
    return result


def agreement(pairs: list[Row], limit: float, failure: float) -> Row:
    """Bias, mean absolute error and correlation, and what the limit flags."""
    pairs = [each for each in pairs if each["expected"] is not None]
    guess = np.array([each["expected"] for each in pairs])
    true = np.array([each["true"] for each in pairs])
    failed, flagged = true < failure, guess < limit
    share = lambda part, whole: None if not whole.any() else round(float(part[whole].mean()), 3)
    return {
        "n": len(pairs),
        "true_mean": round(float(true.mean()), 4),
        "expected_mean": round(float(guess.mean()), 4),
        "mae": round(float(np.abs(guess - true).mean()), 4),
        "r": round(float(np.corrcoef(guess, true)[0, 1]), 3),
        "failures": int(failed.sum()),
        "sensitivity": share(flagged, failed),
        "false_alarm_rate": share(flagged, ~failed),
        "limit": limit,
        "failure_below": failure,
    }


def profile_of(rows: list[Row]) -> InputProfile:
    """Mean and precision of the features over pictures; the limit from patients' means."""
    table = np.array([row["features"] for row in rows if row["features"] is not None])
    names = [row["patient"] for row in rows if row["features"] is not None]
    covariance = np.cov(table.T)
    covariance += np.diag(np.diag(covariance)) * 0.05  # a little shrinkage towards independence
    precision = np.linalg.inv(covariance)
    found = InputProfile(
        mean=tuple(round(float(value), 5) for value in table.mean(axis=0)),
        precision=tuple(tuple(round(float(v), 5) for v in row) for row in precision),
        limit=0.0,
    )
    far = [distance(table[[each == name for each in names]], found) for name in sorted(set(names))]
    return found.model_copy(update={"limit": round(ROOM * max(far), 2)})


def cines(dataset: Path, work: Path, calibration: Calibration) -> list[Row]:
    """Whole DICOM studies by the model of the fold that holds their patient out.

    The true Dice is the mean over the frames with an expert's contour, the expected one of the
    same frames and of the whole study.
    """
    cases = {case.file: case for case in read_manifest(dataset)}
    fold_of = {case.patient_id: case.split for case in cases.values()}
    models, rows = dict(folds_of(work)), []
    for name, patient in STUDIES.items():
        predictor = load_model(models[fold_of[patient]])
        card = predictor.card.model_copy(update={"calibration": calibration})
        predictor.card = card
        dicom = DATA / "sunnybrook-dicom" / name / "dicom"
        result = run(dicom, predictor)
        experts = expert_volumes(DATA / "sunnybrook" / "contours" / patient, dicom)
        order = order_to_experts(result.cine, dicom)
        true, guess = [], []
        for frame in experts.frames:
            case = cases[f"{patient}-IM-0001-{frame.image_number:04d}.png"]
            row, index = frame.phase, order[frame.slice]
            truth = read_mask(mask_path(dataset, case)).labels[0, 0] > 0
            true.append(float(dice(truth, result.mask.labels[row, index] > 0)))
            guess.append(result.certainty.by_slice[row][index])
        held = [value for value in guess if value is not None]
        rows.append(
            {
                "study": name,
                "patient": patient,
                "model": predictor.card.name,
                "frames": len(true),
                "true": float(np.mean(true)),
                "expected_of_these_frames": float(np.mean(held)),
                "expected_of_the_study": result.certainty.expected_dice,
            }
        )
    return rows


def folds_of(work: Path) -> Iterator[tuple[str, Path]]:
    """Fold names and their models."""
    for number in range(1, len(list(work.glob("model-*"))) + 1):
        yield f"fold{number}", work / f"model-{number}"


def main() -> None:
    """Fit on the folds; with ``--test`` look at the test patients; with ``--card`` ship it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--card", action="store_true")
    parser.add_argument("--test", action="store_true")
    options = parser.parse_args()
    dataset = options.work / "dataset"
    cases = read_manifest(dataset)
    rows: list[Row] = []
    for name, model in folds_of(options.work):
        kept = options.work / f"judged-{name}.json"
        rows += judged(dataset, select(cases, name), model, kept)
    calibration, profile = fit(rows), profile_of(rows)
    result: Row = {
        "calibration": calibration.model_dump(),
        "profile": {"features": FEATURES, **profile.model_dump()},
        "cross_validation": {
            "slices": agreement(
                expected(rows, calibration), calibration.slice_review_below, SLICE_FAILURE
            ),
            "studies": agreement(
                by_patient(rows, calibration), calibration.review_below, STUDY_FAILURE
            ),
            "per_patient": by_patient(rows, calibration),
            "missed_slices": sum(row["dice"] is not None and row["area_px"] == 0 for row in rows),
        },
        "cines": cines(dataset, options.work, calibration),
    }
    if options.test:
        held = select(read_manifest(options.dataset), "online")
        kept = options.work / "judged-online.json"
        tests = judged(options.dataset, held, weights.locate(weights.DEFAULT), kept)
        result["test"] = {
            "slices": agreement(
                expected(tests, calibration), calibration.slice_review_below, SLICE_FAILURE
            ),
            "studies": agreement(
                by_patient(tests, calibration), calibration.review_below, STUDY_FAILURE
            ),
            "per_patient": by_patient(tests, calibration),
            "missed_slices": sum(row["dice"] is not None and row["area_px"] == 0 for row in tests),
        }
    if options.card:
        path = weights.locate(weights.DEFAULT) / CARD
        card = ModelCard.from_json(path.read_text("utf-8"))
        card = card.model_copy(update={"calibration": calibration, "profile": profile})
        write_text(path, card.to_json())
    protocol = (
        "expected Dice fitted on patients held out in cross-validation over the training and "
        "validation patients; test patients by the shipped model, looked at once"
    )
    save("calibration", protocol, result)


if __name__ == "__main__":
    main()
