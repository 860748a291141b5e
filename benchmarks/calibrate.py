"""From the network's doubt to the Dice to expect, fitted on patients held out.

Models of a protocol (``protocols.py DATASET WORK p1`` or ``p3``) segment patients they have not
seen: P1 the official validation patients, P3 each fold. A patient is a stack of the slices that the
experts contoured at both phases, ED and ES, at nominal spacing (1.33 mm, 8 mm): the study that
their pictures allow. On these the calibration and the profile of usual input are fitted and the
limits of review chosen; for the twin ``lv-sax-30`` without the online patients. With ``--test``
the twin segments the online patients, and the result says how expected and true Dice agree there
and which failures are flagged. ``--int8`` does the same for the int8 forms (``int8.py`` comes
first) and the card of ``lv-sax-int8``.
Usage: ``python benchmarks/calibrate.py DATASET WORK p1|p3 [--test] [--card] [--int8]``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from header import DATA, save
from numpy.typing import NDArray
from protocols import Part, parts
from scipy import optimize
from studies import STUDIES, order_to_experts

from lvseg import model_store, postprocess, quality
from lvseg.atomic import write_text
from lvseg.cine import Cine, Mask, Source
from lvseg.datasets import reference_volumes
from lvseg.geometry import Grid, Plane
from lvseg.inference import infer
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.manifest import Sample, image_path, mask_path, patients, read_manifest, select
from lvseg.measurement import measure
from lvseg.metrics import dice
from lvseg.modelcard import CARD, Calibration, FeatureStatistics, ModelCard
from lvseg.pipeline import run
from lvseg.predict import Predictor, load_model
from lvseg.quality.confidence import expected_dice, self_dice
from lvseg.quality.ood import FEATURES, distance, features
from lvseg.read import read_mask, read_picture

#: A study below this mean Dice per slice, and a slice below its own limit, count as failures.
STUDY_FAILURE, SLICE_FAILURE = 0.85, 0.70
#: Share of studies that are no failures and may be flagged all the same.
FALSE_ALARMS = 0.10
#: The limit of likeness, as a multiple of the largest distance of a patient held out.
ROOM = 1.25

#: The model that has not seen the online patients.
TWIN = "lv-sax-30"
INT8 = f"{model_store.DEFAULT}-int8"

PHASES = ("ED", "ES")
#: Nominal distances: the pictures of most patients state none.
PIXEL_MM, SLICE_MM = 1.33, 8.0
#: Findings about the ends of a stack mean nothing where only labelled slices are at hand.
ENDS = (
    "few-slices",
    "apex-cut-off",
    "base-cut-off",
    "stack-does-not-cover-ventricle",
    "missing-slice",
)

#: What the checks say of a reference that lies beside the cavity: it can judge no network, and is
#: left out of fit and figures, by name.
MISPLACED = "cavity-not-brighter"

Row = dict[str, Any]


def stack_of(dataset: Path, samples: tuple[Sample, ...]) -> tuple[Cine, NDArray[np.bool_]]:
    """The contoured slices of one patient: a cine of ED and ES, and the experts' mask."""
    frames: dict[tuple[int, int], NDArray[np.float32]] = {}
    truths: dict[tuple[int, int], NDArray[np.bool_]] = {}
    for sample in samples:
        truth = read_mask(mask_path(dataset, sample)).labels[0, 0] > 0
        if truth.any() and sample.slice_index is not None and sample.phase in PHASES:
            place = (PHASES.index(sample.phase), sample.slice_index)
            frames[place] = read_picture(image_path(dataset, sample))
            truths[place] = truth
    slices = sorted(index for phase, index in frames if phase == 0 and (1, index) in frames)
    planes = tuple(
        Plane((0.0, 0.0, SLICE_MM * index), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (PIXEL_MM, PIXEL_MM))
        for index in slices
    )
    stack = lambda of: np.array([[of[phase, index] for index in slices] for phase in (0, 1)])
    images = stack(frames)
    return Cine(images, Source("array", "stack"), Grid.of(images, planes=planes)), stack(truths)


def checked(cine: Cine, mask: Mask) -> tuple[Issue, ...]:
    """What the checks of a mask report, without what measuring it did."""
    return quality.check(quality.Evidence(cine, mask, replace(measure(mask), issues=())))


def judge(dataset: Path, samples: tuple[Sample, ...], predictor: Predictor) -> Row:
    """Segment one patient as ``lvseg segment`` does, and keep what tells doubt and truth."""
    cine, truth = stack_of(dataset, samples)
    prediction = infer(cine, predictor, predictor.card.input)
    inputs, scores = prediction.inputs, prediction.scores
    probabilities = prediction.on_grid(Label.LV_CAVITY, cine.grid)
    options = postprocess.PostprocessSettings(threshold=predictor.card.output.threshold)
    mask = postprocess.to_mask(prediction, cine, options)
    inside = mask.labels > 0
    flat = (-1, *inside.shape[2:])
    found = checked(cine, mask)
    expert = Mask(truth.astype(np.uint8), (0, 1), cine.grid)
    doubts = {issue.code for issue in checked(cine, expert)}
    return {
        "patient": samples[0].patient_id,
        "misplaced_reference": MISPLACED in doubts,
        "dice": [
            float(dice(one, other))
            for one, other in zip(truth.reshape(flat), inside.reshape(flat), strict=True)
        ],
        "area_px": inside.sum(axis=(2, 3)).reshape(-1).tolist(),
        "truth_px": truth.sum(axis=(2, 3)).reshape(-1).tolist(),
        "own": self_dice(probabilities.reshape(flat), inside.reshape(flat)).tolist(),
        "features": features(inputs, scores[:, 0]).tolist(),
        "warnings": [
            issue.code for issue in found if issue.severity != "info" and issue.code not in ENDS
        ],
    }


def judged(dataset: Path, samples: tuple[Sample, ...], model: Path, kept: Path) -> list[Row]:
    """The patients of some cases; a file of them from an earlier run is used again."""
    if not kept.is_file():
        predictor = load_model(model)
        each = [tuple(c for c in samples if c.patient_id == name) for name in patients(samples)]
        write_text(kept, json.dumps([judge(dataset, own, predictor) for own in each]))
    rows: list[Row] = json.loads(kept.read_text())
    return rows


def without_misplaced(rows: list[Row]) -> tuple[Row, list[Row]]:
    """The patients whose reference lies beside the cavity with their mean Dice, and the others."""
    misplaced = {
        row["patient"]: round(float(np.mean(row["dice"])), 3)
        for row in rows
        if row["misplaced_reference"]
    }
    return misplaced, [row for row in rows if not row["misplaced_reference"]]


def fit(rows: list[Row]) -> Calibration:
    """Fit the logistic curve to the true Dice (cross entropy with soft targets), choose limits."""
    own, area, true = (
        np.array([value for row in rows for value in row[name]])
        for name in ("own", "area_px", "dice")
    )
    own, area, true = own[area > 0], area[area > 0], true[area > 0]

    def loss(values: NDArray[np.float64]) -> float:
        x = np.clip(own, 0.02, 0.998)
        score = values[0] + values[1] * np.log(x / (1 - x)) + values[2] * np.log(area / 400)
        return float(np.mean(np.logaddexp(0, score) - true * score))

    fitted = optimize.minimize(loss, [0.0, 1.0, 0.0], method="BFGS").x
    names = ("intercept", "slope", "area_slope")
    curve = Calibration(
        **{name: round(float(value), 4) for name, value in zip(names, fitted, strict=True)},
        patients=len(rows),
        slices=len(true),
        review_below=0,
        slice_review_below=0,
    )
    usual = {
        "review_below": [s["expected"] for s in studies(rows, curve) if s["true"] >= STUDY_FAILURE],
        "slice_review_below": [
            s["expected"] for s in slices(rows, curve) if s["true"] >= SLICE_FAILURE
        ],
    }
    limits = {
        name: round(float(np.quantile(values, FALSE_ALARMS)), 3) for name, values in usual.items()
    }
    return curve.model_copy(update=limits)


def slices(rows: list[Row], calibration: Calibration) -> list[Row]:
    """Expected and true Dice of each slice; a slice without a mask has no expected one."""
    result = []
    for row in rows:
        own, area = np.array(row["own"]), np.array(row["area_px"])
        guess = expected_dice(own, area.astype(float), calibration)
        for value, held, true in zip(guess, area > 0, row["dice"], strict=True):
            result.append({"expected": float(value) if held else None, "true": true})
    return result


def studies(rows: list[Row], calibration: Calibration) -> list[Row]:
    """Mean expected (over slices with a mask) and mean true Dice (over all slices) of each."""
    result = []
    for row in rows:
        own = slices([row], calibration)
        found = [each["expected"] for each in own if each["expected"] is not None]
        result.append(
            {
                "patient": row["patient"],
                "slices": len(own),
                "missed": sum(each["expected"] is None for each in own),
                "expected": float(np.mean(found)) if found else 0.0,
                "true": float(np.mean([each["true"] for each in own])),
                "warnings": row["warnings"],
            }
        )
    return result


def agreement(pairs: list[Row], limit: float, failure: float) -> Row:
    """Bias, mean absolute error and correlation, and what the limit flags."""
    missed = sum(each["expected"] is None for each in pairs)
    pairs = [each for each in pairs if each["expected"] is not None]
    guess = np.array([each["expected"] for each in pairs])
    true = np.array([each["true"] for each in pairs])
    failed, flagged = true < failure, guess < limit
    result = {
        "n": len(pairs),
        "without_mask": missed,
        "true_mean": round(float(true.mean()), 4),
        "expected_mean": round(float(guess.mean()), 4),
        "mae": round(float(np.abs(guess - true).mean()), 4),
        "r": round(float(np.corrcoef(guess, true)[0, 1]), 3),
        "failure_below": failure,
        "failures": int(failed.sum()),
        "limit": limit,
        **flags(flagged, failed),
    }
    if "warnings" in pairs[0]:
        warned = flagged | np.array([bool(each["warnings"]) for each in pairs])
        result["with_every_check"] = flags(warned, failed)
    return result


def flags(flagged: NDArray[np.bool_], failed: NDArray[np.bool_]) -> Row:
    """Share of the failures and of the others that are flagged; None where there are none."""
    share = lambda whole: round(float(flagged[whole].mean()), 3) if whole.any() else None
    return {"sensitivity": share(failed), "false_alarm_rate": share(~failed)}


def mean_dice(rows: list[Row]) -> float:
    """Over all slices, those without a mask included."""
    return round(float(np.mean([value for row in rows for value in row["dice"]])), 4)


def summary(rows: list[Row], calibration: Calibration) -> Row:
    """What one group of patients shows."""
    each = studies(rows, calibration)
    return {
        "dice_mean_of_all_slices": mean_dice(rows),
        "slices": agreement(
            slices(rows, calibration), calibration.slice_review_below, SLICE_FAILURE
        ),
        "studies": agreement(each, calibration.review_below, STUDY_FAILURE),
        "per_patient": each,
        "slice_pairs": [
            [None if s["expected"] is None else round(s["expected"], 3), round(s["true"], 3)]
            for s in slices(rows, calibration)
        ],
    }


def profile_of(rows: list[Row]) -> FeatureStatistics:
    """Mean and precision of the features over pictures; the limit from patients' means."""
    table = np.concatenate([np.array(row["features"]) for row in rows])
    covariance = np.cov(table.T)
    covariance += np.diag(np.diag(covariance)) * 0.05  # a little shrinkage towards independence
    found = FeatureStatistics(
        mean=tuple(round(float(value), 5) for value in table.mean(axis=0)),
        precision=tuple(
            tuple(round(float(v), 5) for v in row) for row in np.linalg.inv(covariance)
        ),
        limit=0.0,
    )
    far = [distance(np.array(row["features"]), found) for row in rows]
    return found.model_copy(update={"limit": round(ROOM * max(far), 2)})


def cines(held_out: Sequence[Part], work: Path, calibration: Calibration, form: str) -> list[Row]:
    """Whole DICOM studies by the model of the fold that holds their patient out.

    The true Dice is the mean over the frames with an expert's contour, the expected one of the
    same frames and of the whole study.
    """
    dataset = held_out[0].dataset
    samples = {sample.file: sample for sample in read_manifest(dataset)}
    fold_of = {sample.patient_id: sample.split for sample in samples.values()}
    models = {part.judged: work / f"{part.name}-model{form}" for part in held_out}
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
            truth = read_mask(mask_path(dataset, sample)).labels[0, 0] > 0
            true.append(float(dice(truth, result.mask.labels[row, index] > 0)))
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


def put_on_card(name: str, calibration: Calibration, profile: FeatureStatistics) -> None:
    """Write both on the card of a shipped model."""
    path = model_store.locate(name) / CARD
    card = ModelCard.from_json(path.read_text("utf-8"))
    write_text(
        path, card.model_copy(update={"calibration": calibration, "profile": profile}).to_json()
    )


def main() -> None:
    """Fit on the folds; with ``--test`` look at the test patients; with ``--card`` ship it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("protocol", choices=["p1", "p3"])
    parser.add_argument("--card", action="store_true")
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--int8", action="store_true")
    options = parser.parse_args()
    form = "-int8" if options.int8 else ""
    if form and options.test:
        parser.error("expected --test or --int8: there is no int8 form of the twin")
    held_out = parts(options.protocol, options.dataset, options.work)
    rows: list[Row] = []
    for part in held_out:
        split = "validation" if options.protocol == "p1" else part.judged
        samples = select(read_manifest(part.dataset), split)
        kept = options.work / f"judged-{part.name}{form}.json"
        rows += judged(part.dataset, samples, options.work / f"{part.name}-model{form}", kept)
    everyone = mean_dice(rows)
    left_out, rows = without_misplaced(rows)
    calibration, profile = fit(rows), profile_of(rows)
    result: Row = {
        "calibration": calibration.model_dump(),
        "profile": {"features": FEATURES, **profile.model_dump()},
        "held_out": summary(rows, calibration)
        | {"misplaced_references": left_out, "dice_mean_with_misplaced": everyone},
    }
    if options.protocol == "p3":
        result["cines"] = cines(held_out, options.work, calibration, form)
    held = select(read_manifest(options.dataset), "online")
    known = [row for row in rows if row["patient"] not in patients(held)]
    twin, twin_profile = fit(known), profile_of(known)
    if options.test:
        kept = options.work / "judged-online.json"
        tests = judged(options.dataset, held, model_store.locate(TWIN), kept)
        left_out, tests = without_misplaced(tests)
        result["test"] = summary(tests, twin) | {"misplaced_references": left_out}
    if options.card and form:
        put_on_card(INT8, calibration, profile)
    elif options.card:
        put_on_card(model_store.DEFAULT, calibration, profile)
        put_on_card(TWIN, twin, twin_profile)
    protocol = (
        f"expected Dice fitted on patients held out in {options.protocol}; online patients by the "
        "twin lv-sax-30, in whose calibration they had no part"
    )
    save(f"calibration{form}", protocol, result)


if __name__ == "__main__":
    main()
