"""Calibration of a run: what it fits, whom it refuses, and that the card and results have it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

from card_maker import calibration
from train_maker import Disc, draw, larger_options

from lvseg.cli import main
from lvseg.errors import DatasetError, ModelError, UsageError
from lvseg.labels import Label
from lvseg.manifest import DatasetFacts, read_manifest, select, write_dataset_facts
from lvseg.postprocess import PostprocessSettings
from lvseg.predict import load_model
from lvseg.quality.confidence import curve_terms
from lvseg.quality.ood import FEATURES, distance
from lvseg.train import trainer
from lvseg.train.calibrate import (
    ROOM,
    CalibrationSample,
    DicePair,
    agreement,
    calibrate,
    calibration_samples,
    fit_calibration,
    fit_feature_statistics,
    read_calibration,
    slice_pairs,
    study_pair,
    without_misplaced,
)
from lvseg.train.export import export

pytestmark = [
    pytest.mark.torch,
    # torch's own exporter and its dependencies announce changes of theirs
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

OPTIONS = larger_options(
    validation_split="validation", epochs=2, validate_every=1, ema_decay=0.8, learning_rate=0.01
)


def made_up(patients: int = 20, slices: int = 50) -> list[CalibrationSample]:
    """Patients whose true Dice is exactly that of a known curve: 0.5, 1.5, 0.25."""
    random = np.random.default_rng(5)
    found = []
    for number in range(patients):
        own = random.uniform(0.5 + 0.4 * number / patients, 0.99, slices)
        area = random.uniform(50, 1500, slices)
        doubt, size = curve_terms(own, area)
        true = 1 / (1 + np.exp(-(0.5 + 1.5 * doubt + 0.25 * size)))
        looks = random.normal(0, 1, (slices, len(FEATURES)))
        rows = (tuple(values.tolist()) for values in (true, own, area))
        found.append(CalibrationSample(f"p{number}", *rows, tuple(map(tuple, looks.tolist()))))
    return found


def test_the_fit_recovers_the_curve_that_made_the_rows() -> None:
    found = fit_calibration(made_up())
    assert found.intercept == pytest.approx(0.5, abs=2e-3)
    assert found.slope == pytest.approx(1.5, abs=2e-3)
    assert found.area_slope == pytest.approx(0.25, abs=2e-3)
    assert (found.patients, found.slices) == (20, 1000)


def test_limits_flag_one_in_ten_of_what_is_no_failure() -> None:
    samples = made_up()
    found = fit_calibration(samples)
    usual = [pair for pair in slice_pairs(samples, found) if pair.true >= 0.70]
    below = [pair for pair in usual if (pair.expected or 0) < found.slice_review_below]
    assert len(below) / len(usual) == pytest.approx(0.10, abs=0.01)
    studies = [study_pair(sample, found) for sample in samples]
    assert all(pair.true >= 0.85 for pair in studies)
    assert sum(pair.expected < found.review_below for pair in studies) == 2  # of 20


def test_mean_expected_dice_is_the_mean_true_one() -> None:
    """Law of a logistic regression with intercept: residuals of the fit sum to 0."""
    random = np.random.default_rng(11)
    samples = [
        CalibrationSample(
            f"p{number}",
            tuple(random.uniform(0, 1, 30).tolist()),  # true Dice that no curve explains
            tuple(random.uniform(0.1, 0.99, 30).tolist()),
            tuple(random.uniform(5, 900, 30).tolist()),
            (),
        )
        for number in range(4)
    ]
    found = agreement(slice_pairs(samples, fit_calibration(samples)))
    assert found.bias == pytest.approx(0, abs=2e-4)
    assert found.expected_mean == pytest.approx(found.true_mean, abs=2e-4)


def test_a_model_that_always_fails_has_every_study_flagged() -> None:
    samples = [
        CalibrationSample(f"p{number}", (0.2, 0.4), (0.7, 0.8), (90.0, 80.0), ())
        for number in range(3)
    ]
    found = fit_calibration(samples)
    assert (found.review_below, found.slice_review_below) == (1.0, 1.0)


CURVE = calibration(review_below=0.9)


def test_a_slice_without_mask_has_no_expected_dice_and_lowers_the_true_one() -> None:
    missed = CalibrationSample("p", (0.8, 0.0), (0.9, 0.0), (100.0, 0.0), ())
    pairs = slice_pairs([missed], CURVE)
    assert pairs == (DicePair(pytest.approx(0.9), 0.8), DicePair(None, 0.0))  # type: ignore[arg-type]
    assert study_pair(missed, CURVE) == (pytest.approx(0.9), 0.4)
    found = agreement(pairs)
    assert (found.n, found.without_mask) == (1, 1)
    assert (found.bias, found.mae) == (0.1, 0.1)  # 0.9 - 0.8
    nothing = CalibrationSample("p", (0.0,), (0.0,), (0.0,), ())
    assert study_pair(nothing, CURVE) == (0.0, 0.0)


def test_feature_statistics_by_hand() -> None:
    samples = made_up(patients=30)
    found = fit_feature_statistics(samples)
    table = np.concatenate([sample.features for sample in samples])
    assert found.mean == pytest.approx(table.mean(axis=0), abs=1e-5)
    # independent features of variance 1, shrunk: the covariance is 1.05 on its diagonal
    assert np.diag(found.precision) == pytest.approx(np.full(8, 1 / 1.05), rel=0.1)
    far = max(distance(np.array(sample.features), found) for sample in samples)
    assert found.limit == pytest.approx(ROOM * far, abs=0.01)


def test_too_little_is_refused_by_name() -> None:
    with pytest.raises(DatasetError, match=r"at least 3 patients.*found 2 patients"):
        fit_calibration(made_up(2))
    empty = [CalibrationSample(f"p{number}", (0.0,), (0.0,), (0.0,), ()) for number in range(3)]
    with pytest.raises(DatasetError, match="found 3 patients and 0 such slices"):
        fit_calibration(empty)
    with pytest.raises(DatasetError, match=r"more than 8 different images.*found 0"):
        fit_feature_statistics(empty)


def test_misplaced_references_are_left_out_with_their_dice() -> None:
    good = CalibrationSample("good", (0.9,), (0.9,), (9.0,), ())
    bad = CalibrationSample("bad", (0.5, 0.52), (0.9,), (9.0,), (), reference_misplaced=True)
    assert without_misplaced([good, bad]) == ({"bad": 0.51}, (good,))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight patients with three discs each, three of them for training and two left for a test."""
    splits = ("training", "validation", "training", "validation", "online", "validation")
    discs = [
        Disc(
            f"p{index // 3}",
            (*splits, "training", "online")[index // 3],
            6 + index % 4,
            (20 + index // 3, 22),
        )
        for index in range(24)
    ]
    folder = draw(tmp_path_factory.mktemp("data") / "dataset", (48, 40), discs)
    write_dataset_facts(DatasetFacts(name="Discs", licence="CC0-1.0"), folder)
    return folder


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trainer.fit(OPTIONS, dataset, tmp_path_factory.mktemp("tiny") / "run", device="cpu")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, not calibrated."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_train_calibrate_export_segment(
    run: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(run), "--data", str(dataset), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["patients"] == ["p1", "p3", "p5"]
    assert document["split"] == "validation"
    assert document["dataset"]["name"] == "Discs"
    assert document["seed"] == 7
    assert document["slices"]["n"] + document["slices"]["without_mask"] == 9
    model = export(run, tmp_path / "model")
    card = load_model(model).card
    assert card.calibration is not None
    assert card.feature_statistics is not None
    assert card.calibration.model_dump() == document["calibration"]
    stored = read_calibration(run, document["weights_sha256"])
    assert stored is not None
    assert fit_calibration(stored.samples) == card.calibration
    assert fit_feature_statistics(stored.samples) == card.feature_statistics
    image = dataset / "images" / "12.png"
    assert main(["segment", str(image), "-o", str(tmp_path / "out"), "--model", str(model)]) == 0
    (measured,) = (tmp_path / "out").rglob("measurements.json")
    assert 0.5 < json.loads(measured.read_text())["quality"]["expected_dice"] < 1


def bright(batch: NDArray[np.float32], /) -> NDArray[np.float32]:
    """A network that calls the brighter half of the intensities cavity."""
    return 20 * (batch - np.float32(0.5))


def judged(dataset: Path) -> tuple[CalibrationSample, ...]:
    samples = select(read_manifest(dataset), "validation")
    settings = PostprocessSettings()
    return calibration_samples(dataset, samples, bright, OPTIONS.input, [Label.LV_CAVITY], settings)


def test_a_study_is_what_the_expert_contoured_in_every_phase(dataset: Path, tmp_path: Path) -> None:
    alone = judged(dataset)
    assert [sample.patient_id for sample in alone] == ["p1", "p3", "p5"]
    assert [len(sample.dice) for sample in alone] == [3, 3, 3]
    assert min(min(sample.dice) for sample in alone) > 0.9
    assert alone[0].area_px == pytest.approx((254, 113, 154), rel=0.1)  # pi r^2 of 9, 6, 7
    folder = Path(shutil.copytree(dataset, tmp_path / "phases"))
    lines = (folder / "manifest.csv").read_text().splitlines()
    places = ("ED,0", "ES,0", "ED,1")  # the third has no partner at end-systole
    rows = [f"{line},{places[index % 3]}" for index, line in enumerate(lines[1:])]
    text = "\n".join([f"{lines[0]},phase,slice_index", *rows])
    (folder / "manifest.csv").write_text(text + "\n")
    placed = judged(folder)
    assert [len(sample.dice) for sample in placed] == [2, 2, 2]
    # the volume at end-diastole has both its slices all the same: discs of radius 9 and 7, and 6
    first = placed[0]
    assert first.true["edv_ml"] == pytest.approx(np.pi * (81 + 49), rel=0.05)
    assert first.true["esv_ml"] == pytest.approx(np.pi * 36, rel=0.05)
    edv, esv = first.true["edv_ml"], first.true["esv_ml"]
    assert first.true["ef_percent"] == pytest.approx(100 * (edv - esv) / edv)
    assert first.measured == pytest.approx(first.true, rel=0.1)
    assert "mass_g" not in first.true
    intervals = fit_calibration(placed).intervals
    assert intervals is not None
    assert intervals.studies == 3
    assert intervals.edv_percent is None  # three errors bound nothing
    many = [replace(first, measured={"edv_ml": edv * (1 + k / 100)}) for k in range(19)]
    bounds = fit_calibration(many).intervals
    assert bounds is not None
    assert bounds.edv_percent == pytest.approx((0, 18))


def test_patients_that_trained_the_run_are_refused(
    run: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = "validation+training"
    assert main(["calibrate", str(run), "--data", str(dataset), "--split", split]) == 2
    message = capsys.readouterr().err
    assert "p0, p2, p6" in message
    assert message.count("\n") == 1
    assert not (run / "calibration.json").exists()


def test_the_same_images_under_other_names_are_refused(
    run: Path, dataset: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(dataset, tmp_path / "other"))
    text = (other / "manifest.csv").read_text()
    (other / "manifest.csv").write_text(text.replace("p2,training", "q,validation"))
    with pytest.raises(UsageError, match="1 that did: q"):
        calibrate(run, other)


def test_a_run_without_validation_split_asks_for_one(run: Path, dataset: Path) -> None:
    document = json.loads((run / "best.json").read_text())
    document["options"]["validation_split"] = None
    (run / "best.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match="--split"):
        calibrate(run, dataset)
    with pytest.raises(DatasetError, match=r"at least 3 patients.*found 2 patients"):
        calibrate(run, dataset, "online")


def test_a_calibration_of_other_weights_is_not_exported(
    run: Path, dataset: Path, tmp_path: Path
) -> None:
    calibrate(run, dataset)
    document = json.loads((run / "calibration.json").read_text())
    (run / "calibration.json").write_text(json.dumps(document | {"weights_sha256": "0" * 64}))
    with pytest.raises(ModelError, match="calibrate  again"):
        export(run, tmp_path / "model")
    (run / "calibration.json").write_text("{}")
    with pytest.raises(ModelError, match="calibrate  again"):
        export(run, tmp_path / "model")
    assert not (tmp_path / "model").exists()
