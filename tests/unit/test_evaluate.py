"""A fake model on tiny data sets, and folders of masks against folders of masks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_maker import ORDERS, SHORT_AXIS, reoriented
from nifti_maker import save as save_nifti
from PIL import Image

from lvseg import evaluate as subject
from lvseg import pipeline
from lvseg.cine import Mask
from lvseg.errors import DatasetError, GeometryMismatchError, LvsegError, PatientLeakError
from lvseg.evaluate.compare import _patient_and_phase
from lvseg.geometry import Grid
from lvseg.labels import Label
from lvseg.manifest import Sample, image_sha256, read_manifest, write_manifest
from lvseg.modelcard import InputSpec, ModelCard, OutputSpec, TrainingData

SIZE = 48


def card(patients=(), hashes=()):
    return ModelCard(
        name="threshold",
        version="1",
        sha256="0" * 64,
        input=InputSpec(spacing_mm=1.4, crop_px=32),
        output=OutputSpec(),
        training=TrainingData(
            name="none", citation="", licence="", patients=patients, split="", image_sha256=hashes
        ),
        parameters=0,
        intended_use="tests",
    )


class Threshold:
    """Bright is cavity."""

    runtime = "numpy"

    def __init__(self, **training):
        self.card = card(**training)

    def __call__(self, batch):
        return ((batch - 0.5) * 40).astype(np.float32)


def square(side, size=SIZE):
    mask = np.zeros((size, size), np.uint8)
    start = size // 2 - side // 2
    mask[start : start + side, start : start + side] = 1
    return mask


def picture(mask):
    ramp = np.linspace(0, 20, mask.size).reshape(mask.shape)
    return (ramp + mask * 200).astype(np.uint8)


def save(array, path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def data_set(folder: Path, samples, reference_of, seen_of):
    """Pictures show ``seen``; the mask says ``reference``."""
    for sample in samples:
        save(picture(seen_of(sample)), folder / "images" / sample.file)
        save(reference_of(sample) * 255, folder / "masks" / sample.file)
    write_manifest(samples, folder)
    return folder


@pytest.fixture
def exact(monkeypatch):
    """A pipeline that finds exactly what is bright."""

    def segment(cine, predictor, settings):
        found = (predictor(cine.frames / 255) > 0).astype(np.uint8)
        return Mask(found, (0,), grid=Grid.of(found, pixel_spacing_mm=cine.pixel_spacing_mm))

    monkeypatch.setattr(pipeline, "segment_mask", segment)


def heart(patient, split="online", spacing=None, pathology="Normal", slices=6):
    return [
        Sample(f"{patient}-{phase}-{z}.png", patient, split, phase, z, pathology,
             pixel_spacing_mm=spacing)
        for phase in ("ED", "ES")
        for z in range(slices)
    ]  # fmt: skip


def side_of(sample):
    """20, 18, ... at ED, half of it at ES: base at slice 0."""
    side = 20 - 2 * sample.slice_index
    return side if sample.phase == "ED" else side // 2


def test_a_perfect_model_scores_one_everywhere(tmp_path, exact):
    samples = heart("A", spacing=1.37) + heart("B", spacing=1.29)
    truth = lambda sample: square(side_of(sample))  # noqa: E731
    folder = data_set(tmp_path, samples, truth, truth)
    found = subject.document(subject.evaluate(folder, "online", Threshold()))
    assert (found["n_images"], found["n_patients"]) == (24, 2)
    assert found["dice"]["mean"] == found["jaccard"]["mean"] == 1
    assert found["dice"]["ci95"] == [1, 1]
    assert found["apd_mm"]["mean"] == pytest.approx(0)
    assert found["hd95_mm"]["mean"] == 0
    assert found["good_contours_percent"] == 100
    assert found["leaked_patients"] == []
    # areas 20^2 + ... + 10^2 = 1420 and 10^2 + ... + 5^2 = 355: EF 75 %
    for row in found["per_patient"]:
        assert row["ef_reference_percent"] == pytest.approx(75)
        assert row["ef_prediction_percent"] == pytest.approx(75)
        assert [p["dice"] for p in row["dice_3d"]] == [1, 1]
    assert found["ef"]["bias"] == pytest.approx(0)
    assert found["ef"]["mae"] == pytest.approx(0)
    assert found["ef"]["r"] is None  # two equal hearts: no correlation


def test_scores_of_a_model_that_sees_too_much_by_hand(tmp_path, exact):
    samples = [Sample("a.png", "A", "online"), Sample("b.png", "B", "online", pixel_spacing_mm=1.5)]
    sides = {"a.png": 10, "b.png": 20}
    folder = data_set(tmp_path, samples, lambda c: square(10), lambda c: square(sides[c.file]))
    progress = []
    found = subject.document(
        subject.evaluate(
            folder, "online", Threshold(), progress=lambda done, n: progress.append((done, n))
        )
    )
    assert progress == [(1, 2), (2, 2)]
    # a: 1. b: 2 * 100 / (100 + 400) = 0.4, Jaccard 100 / 400
    assert found["dice"]["mean"] == pytest.approx(0.7)
    assert found["dice"]["median"] == pytest.approx(0.7)
    assert found["dice"]["sd"] == pytest.approx(math.sqrt(2 * 0.3**2))
    assert found["jaccard"]["mean"] == pytest.approx(0.625)
    # a has no spacing, b is about 5 pixels of 1.5 mm off: over 5 mm, not good
    assert (found["apd_mm"]["n"], found["apd_mm"]["n_unknown"]) == (1, 1)
    assert found["good_contours_percent"] == 0
    assert found["apd_mm"]["mean"] == pytest.approx(1.5 * found["per_image"][1]["apd_px"])
    assert found["per_image"][0]["apd_mm"] is None
    assert found["per_image"][0]["good"] is None
    # all edge pixels of the large square are 5 or more away; the corners sqrt(50)
    assert found["per_image"][1]["hd95_mm"] == pytest.approx(1.5 * found["per_image"][1]["hd95_px"])
    assert found["ef"] == dict.fromkeys(("bias", "sd", "lower", "upper", "mae", "r")) | {"n": 0}


def test_masks_are_drawn_with_their_line_where_the_reference_was(tmp_path, exact):
    def with_line(_):
        # the line of a square lies half a pixel outside; coordinates + 0.25 cut to whole pixels
        # put it on the row above and the column to the left, but for the corner, and on the
        # square's own last row and column
        mask = square(10)
        row, column = np.argwhere(mask).min(axis=0)
        mask[row - 1, column : column + 10] = 1
        mask[row : row + 10, column - 1] = 1
        return mask

    samples = [Sample("a.png", "A", "online", "ED", 0)]
    folder = data_set(tmp_path, samples, with_line, lambda _: square(10))
    (drawn,) = subject.evaluate(folder, "online", Threshold(), with_line=True).of().images
    (alone,) = subject.evaluate(folder, "online", Threshold()).of().images
    assert (drawn.reference_px, drawn.prediction_px, drawn.dice) == (120, 120, 1)
    assert alone.dice == pytest.approx(2 * 100 / 220)


def test_without_spacing_millimetres_are_null_and_pixels_are_given(tmp_path, exact):
    truth = lambda sample: square(10)  # noqa: E731
    folder = data_set(tmp_path, [Sample("a.png", "A", "online")], truth, truth)
    found = subject.document(subject.evaluate(folder, "all", Threshold()))
    assert found["apd_mm"] is None
    assert found["hd95_mm"] is None
    assert found["good_contours_percent"] is None
    assert found["apd_px"]["mean"] == pytest.approx(0)
    assert found["dice"]["ci95"] is None  # one patient
    line = subject.table(found)[1]
    assert line == ("slices", "1", "1.000", "-", "1.000", "0.00 px", "0.00 px", "-")


def test_missed_and_invented_cavities_are_counted_and_the_json_is_valid(tmp_path, exact):
    reference = {"hit": square(10), "miss": square(10), "ghost": square(0), "empty": square(0)}
    seen = {"hit": square(10), "miss": square(0), "ghost": square(10), "empty": square(0)}
    samples = [Sample(f"{name}.png", name, "online", pixel_spacing_mm=1.4) for name in seen]
    folder = data_set(
        tmp_path, samples, lambda c: reference[c.patient_id], lambda c: seen[c.patient_id]
    )
    found = subject.document(subject.evaluate(folder, "online", Threshold()))
    assert {r["file"]: r["dice"] for r in found["per_image"]} == {
        "hit.png": 1, "miss.png": 0, "ghost.png": 0, "empty.png": 1,
    }  # fmt: skip
    assert found["dice"]["mean"] == 0.5
    counts = [found["apd_mm"][key] for key in ("n", "n_infinite", "n_unknown")]
    assert counts == [1, 2, 1]
    assert found["good_contours_percent"] == 50  # of the two contours that the expert drew
    assert found["good_only"]["n_images"] == 1
    assert found["labelled_only"]["dice"]["mean"] == 0.5
    assert found["without_cavity"] == {"n_images": 2, "n_false_positive": 1}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("base_first", [True, False])
def test_regions_are_thirds_and_the_larger_end_is_the_base(tmp_path, exact, base_first):
    samples = heart("A", slices=7)

    def truth(sample):
        z = sample.slice_index if base_first else 6 - sample.slice_index
        return square((20 - 2 * z) // (1 if sample.phase == "ED" else 2))

    folder = data_set(tmp_path, samples, truth, truth)
    found = subject.document(subject.evaluate(folder, "online", Threshold()))
    region = {r["slice_index"]: r["region"] for r in found["per_image"] if r["phase"] == "ED"}
    # place * 3 // 7 of 0..6: 0 0 0 1 1 2 2
    expected = ["base"] * 3 + ["mid"] * 2 + ["apex"] * 2
    mirrored = ["apex"] * 3 + ["mid"] * 2 + ["base"] * 2
    assert [region[z] for z in range(7)] == (expected if base_first else mirrored)
    assert found["by_region"]["mid"]["n_images"] == 4


def test_two_slices_have_no_thirds(tmp_path, exact):
    truth = lambda sample: square(10)  # noqa: E731
    folder = data_set(tmp_path, heart("A", slices=2), truth, truth)
    found = subject.document(subject.evaluate(folder, "online", Threshold()))
    assert {r["region"] for r in found["per_image"]} == {None}
    assert found["by_region"]["base"]["n_images"] == 0
    assert found["by_region"]["base"]["dice"] is None


def test_patients_count_once_in_the_mean_over_patients(tmp_path, exact):
    samples = [Sample(f"a{i}.png", "A", "online", pathology="HCM") for i in range(3)]
    samples.append(Sample("b.png", "B", "online", pathology="Normal"))
    folder = data_set(
        tmp_path, samples, lambda c: square(10), lambda c: square(10 if c.patient_id == "A" else 20)
    )
    found = subject.document(subject.evaluate(folder, "online", Threshold()))
    assert found["dice"]["mean"] == pytest.approx((3 + 0.4) / 4)
    assert found["per_patient_mean"]["dice"]["mean"] == pytest.approx((1 + 0.4) / 2)
    assert {k: v["dice"]["mean"] for k, v in found["by_pathology"].items()} == {
        "HCM": 1,
        "Normal": pytest.approx(0.4),
    }
    names = [row[0] for row in subject.table(found)]
    assert names == ["over", "slices", "patients", "HCM", "Normal"]


def test_training_patients_are_named_by_number_and_by_picture(tmp_path, exact):
    truth = lambda sample: square(6 + int(sample.file[1]))  # noqa: E731
    samples = [Sample(f"a{i}.png", name, "online") for i, name in enumerate("ABC")]
    folder = data_set(tmp_path, samples, truth, truth)
    known = image_sha256(folder / "images" / "a2.png")
    model = Threshold(patients=("A", "Z"), hashes=(known,))
    found = subject.document(subject.evaluate(folder, "online", model))
    assert found["leaked_patients"] == ["A", "C"]
    assert [f["code"] for f in found["findings"]] == ["training-patient"] * 2


def test_a_leaky_manifest_a_missing_mask_and_a_wrong_size_are_refused(tmp_path, exact):
    truth = lambda sample: square(10)  # noqa: E731
    folder = data_set(tmp_path, [Sample("a.png", "A", "online")], truth, truth)
    save(square(8, 40) * 255, folder / "masks" / "a.png")
    with pytest.raises(GeometryMismatchError, match=r"48 x 48.*40 x 40.*a\.png"):
        subject.evaluate(folder, "online", Threshold())
    (folder / "masks" / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"masks.a\.png"):
        subject.evaluate(folder, "online", Threshold())
    (folder / "manifest.csv").write_text("file,patient_id,split\na.png,A,x\nb.png,A,y\n")
    with pytest.raises(PatientLeakError):
        subject.evaluate(folder, "all", Threshold())


def test_the_true_pipeline_finds_a_bright_cavity(tmp_path):
    disc = (np.hypot(*(np.mgrid[:96, :96] - 48)) < 14).astype(np.uint8)
    samples = [Sample(f"{p}.png", p, "online", pixel_spacing_mm=1.4) for p in "AB"]
    folder = data_set(tmp_path, samples, lambda c: disc, lambda c: disc)
    found = subject.document(subject.evaluate(folder, "online", Threshold()))
    assert found["dice"]["mean"] > 0.95
    assert found["apd_mm"]["mean"] < 1
    assert len(read_manifest(folder)) == found["n_images"] == 2


# ---------------------------------------------------------------- compare


def nifti(array, path: Path, spacing=(1.3, 1.1, 8.0)):
    """``array`` is [Z, Y, X] or [T, Z, Y, X]; stored with x first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    nib.save(nib.Nifti1Image(np.transpose(array).astype(np.uint8), affine), path)
    return path


def ventricle(scale=1.0, slices=6):
    return np.stack([square(round((20 - 2 * z) * scale)) for z in range(slices)])


def test_two_equal_pictures_compare_without_millimetres(tmp_path):
    save(square(10) * 255, tmp_path / "a.png")
    found = subject.document(subject.compare(tmp_path / "a.png", tmp_path / "a.png"))
    assert (found["n_images"], found["dice"]["mean"], found["apd_mm"]) == (1, 1, None)


def test_two_pictures_by_hand(tmp_path):
    save(square(10) * 255, tmp_path / "a.png")
    save(square(20) * 255, tmp_path / "b.png")
    found = subject.document(subject.compare(tmp_path / "a.png", tmp_path / "b.png"))
    assert found["dice"]["mean"] == pytest.approx(2 * 100 / 500)


def test_two_empty_pictures_agree(tmp_path):
    save(square(0), tmp_path / "a.png")
    found = subject.document(subject.compare(tmp_path / "a.png", tmp_path / "a.png"))
    assert (found["n_images"], found["dice"]["mean"]) == (1, 1)


def test_volumes_have_a_row_for_each_slice_with_a_cavity_in_either(tmp_path):
    reference, prediction = np.zeros((2, 5, SIZE, SIZE)), np.zeros((2, 5, SIZE, SIZE))
    reference[0, 1:4] = square(20)
    prediction[0, 0:4] = square(20)  # one slice too many: Dice 0 there
    reference[1, 1:3] = square(10)
    prediction[1, 1:3] = square(20)  # 0.4 each
    first = nifti(reference, tmp_path / "r.nii.gz")
    second = nifti(prediction, tmp_path / "p.nii.gz")
    found = subject.document(subject.compare(first, second))
    rows = {(r["phase"], r["slice_index"]): r["dice"] for r in found["per_image"]}
    assert rows == pytest.approx(
        {(0, 0): 0, (0, 1): 1, (0, 2): 1, (0, 3): 1, (1, 1): 0.4, (1, 2): 0.4}
    )
    (patient,) = found["per_patient"]
    # whole phases: 2 * 3 / (3 + 4) and 0.4; EF: 1 - 200 / 1200 and 1 - 800 / 1600
    assert [p["dice"] for p in patient["dice_3d"]] == pytest.approx([6 / 7, 0.4])
    assert patient["ef_reference_percent"] == pytest.approx(100 * (1 - 2 * 100 / (3 * 400)))
    assert patient["ef_prediction_percent"] == pytest.approx(50)
    assert found["hd95_mm"]["n_infinite"] == 1


def test_distances_use_the_spacing_of_the_header_axis_by_axis(tmp_path):
    a = np.zeros((1, SIZE, SIZE), np.uint8)
    a[0, 20, 20] = 1
    down, right = np.roll(a, 3, axis=1), np.roll(a, 3, axis=2)
    first = nifti(a, tmp_path / "a.nii.gz")
    for moved, expected in ((down, 3 * 1.1), (right, 3 * 1.3)):
        second = nifti(moved, tmp_path / "b.nii.gz")
        (row,) = subject.document(subject.compare(first, second))["per_image"]
        assert row["hd95_mm"] == pytest.approx(expected)
        assert row["hd95_px"] == pytest.approx(3)


def test_phases_without_any_reference_are_reported_not_counted(tmp_path):
    reference = np.stack([ventricle(), np.zeros((6, SIZE, SIZE)), ventricle(0.5)])
    prediction = np.stack([ventricle()] * 3)
    found = subject.document(
        subject.compare(
            nifti(reference, tmp_path / "r.nii"), nifti(prediction, tmp_path / "p.nii.gz")
        )
    )
    assert {r["phase"] for r in found["per_image"]} == {0, 2}
    assert [f["code"] for f in found["findings"]] == ["phases-not-annotated"]


def test_folders_match_by_place_then_name_and_name_what_stays_alone(tmp_path):
    reference, prediction = tmp_path / "r", tmp_path / "p"
    for name in ("one.png", "deep/two_mask.PNG", "p1/ED_lv.png", "p2/ED_lv.png", "lost.png"):
        save(square(10) * 255, reference / name)
    for name in (
        "one/one_mask.png",
        "one/one_overlay.png",
        "two/overlays/phase0.png",
        "TWO.txt",
        "two.png",
        "p1/ED_lv.png",
        "p2/ED_lv.png",
        "extra_mask.png",
    ):
        save(square(10) * 255, (prediction / name).with_suffix(".png"))
    found = subject.document(subject.compare(reference, prediction))
    assert {r["file"] for r in found["per_image"]} == {"one", "deep/two", "p1/ED_lv", "p2/ED_lv"}
    alone = {(f["code"], f["text"].split(": ")[0].rsplit("/", 1)[-1]) for f in found["findings"]}
    assert alone >= {("reference-only", "lost.png"), ("prediction-only", "extra_mask.png")}
    assert {p["patient_id"] for p in found["per_patient"]} == {"one", "deep/two", "p1", "p2"}


def test_what_segment_writes_is_matched_by_the_folder_of_the_study(tmp_path):
    reference, prediction = tmp_path / "r", tmp_path / "p"
    nifti(ventricle(), reference / "case7.nii.gz")
    nifti(ventricle(), prediction / "case7" / "segmentation.nii.gz")
    save(square(4), prediction / "case7" / "overlays" / "case7.png")
    found = subject.document(subject.compare(reference, prediction))
    assert found["dice"]["mean"] == 1
    assert found["findings"] == []


def test_a_picture_beside_its_mask_is_left_out_and_said_so(tmp_path):
    reference, prediction = tmp_path / "r", tmp_path / "p"
    save(picture(square(10)), reference / "a.png")
    save(square(10) * 255, reference / "a_mask.png")
    save(square(10) * 255, prediction / "a.png")
    found = subject.document(subject.compare(reference, prediction))
    assert found["dice"]["mean"] == 1
    assert [f["code"] for f in found["findings"]] == ["not-a-mask"]


def test_ed_and_es_files_of_a_folder_make_one_patient_with_an_ef(tmp_path):
    for side, scale in (("r", 0.5), ("p", 0.6)):
        for name in ("p05", "p12"):
            nifti(ventricle(), tmp_path / side / name / "ED_lv.nii.gz")
            nifti(ventricle(scale), tmp_path / side / name / "ES_lv.nii.gz")
    found = subject.document(subject.compare(tmp_path / "r", tmp_path / "p"))
    assert found["n_patients"] == 2
    areas = [sum(round((20 - 2 * z) * s) ** 2 for z in range(6)) for s in (1, 0.5, 0.6)]
    assert found["per_patient"][0]["ef_reference_percent"] == pytest.approx(
        100 * (1 - areas[1] / areas[0])
    )
    assert found["ef"]["bias"] == pytest.approx(100 * (areas[1] - areas[2]) / areas[0])


def test_a_data_set_folder_as_reference_brings_its_patients(tmp_path):
    truth = lambda sample: square(side_of(sample))  # noqa: E731
    folder = data_set(tmp_path / "data", heart("A", spacing=1.37) + heart("B"), truth, truth)
    for sample in read_manifest(folder):
        save(truth(sample) * 255, tmp_path / "p" / sample.file)
    found = subject.document(subject.compare(folder, tmp_path / "p"))
    assert (found["n_images"], found["n_patients"]) == (24, 2)
    assert found["per_patient"][0]["ef_reference_percent"] == pytest.approx(75)
    assert found["by_region"]["apex"]["n_images"] == 8
    assert (found["apd_mm"]["n"], found["apd_mm"]["n_unknown"]) == (12, 12)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("p05/ED_lv", ("p05", "ED")),
        ("p05_ES", ("p05", "ES")),
        ("p05-es-x", ("p05_x", "ES")),
        ("MERGED", ("MERGED", None)),
        ("ed", ("ed", "ED")),
        ("a/b", ("a/b", None)),
    ],
)
def test_patient_and_phase_told_by_a_name(key, expected):
    assert _patient_and_phase(key) == expected


def test_grids_turned_or_spaced_otherwise_are_reported(tmp_path):
    first = nifti(ventricle(), tmp_path / "a.nii.gz")
    second = nifti(ventricle(), tmp_path / "b.nii.gz", spacing=(1.5, 1.1, 8.0))
    third = nifti(ventricle(), tmp_path / "c.nii.gz", spacing=(-1.3, 1.1, 8.0))
    codes = lambda p: {f.code for f in subject.compare(first, p).issues}  # noqa: E731
    assert codes(first) == set()
    assert codes(second) == {"resampled"}
    with pytest.raises(GeometryMismatchError, match="'a': expected two grids at one place"):
        subject.compare(first, third)  # the same array in a mirrored place: not the same mask


def test_one_mask_with_its_axes_in_any_order_agrees_with_itself(tmp_path):
    mask = np.transpose(ventricle()).astype(np.uint8)
    mask[:, :20] = 0  # symmetric no more
    first = save_nifti(tmp_path / "a.nii.gz", mask)
    for number, axes in enumerate(ORDERS):
        second = save_nifti(tmp_path / f"{number}.nii.gz", *reoriented(mask, SHORT_AXIS, axes))
        found = subject.compare(first, second)
        assert subject.document(found)["dice"]["mean"] == 1
        assert found.issues == (), axes


def test_a_crop_of_a_mask_agrees_with_it_and_a_cut_is_told(tmp_path):
    mask = np.transpose(ventricle()).astype(np.uint8)
    first = save_nifti(tmp_path / "a.nii.gz", mask)
    moved = SHORT_AXIS.copy()
    moved[:3, 3] = (SHORT_AXIS @ [10, 10, 0, 1])[:3]
    crop = save_nifti(tmp_path / "b.nii.gz", mask[10:40, 10:40], moved)
    found = subject.compare(first, crop)
    assert (subject.document(found)["dice"]["mean"], found.issues) == (1, ())
    back = subject.compare(crop, first)
    assert (subject.document(back)["dice"]["mean"], back.issues) == (1, ())
    small = save_nifti(tmp_path / "c.nii.gz", mask[10:24, 10:40], moved)
    assert [f.code for f in subject.compare(small, first).issues] == ["mask-outside"]


def test_what_is_doubtful_about_either_mask_is_said(tmp_path):
    labels = np.zeros((20, 24, 4), np.uint8)
    labels[5:9, 6:12, 1:3] = 1
    for name, affine in (("usual", [2, 2.5, 9, 1]), ("metres", [2000, 2500, 9, 1])):
        nib.save(nib.Nifti1Image(labels, np.diag(affine)), tmp_path / f"{name}.nii")
    document = subject.document(subject.compare(tmp_path / "usual.nii", tmp_path / "metres.nii"))
    assert document["dice"]["mean"] == 1
    found = {each["code"]: each["text"] for each in document["findings"]}
    assert found["implausible-spacing"].startswith("'usual', the prediction: expected a pixel")


def test_a_mask_without_a_place_is_compared_as_it_is_counted_and_says_so(tmp_path):
    mask = np.transpose(ventricle()).astype(np.uint8)
    first = save_nifti(tmp_path / "a.nii.gz", mask)
    second = save_nifti(tmp_path / "b.nii.gz", mask, np.eye(4))
    found = subject.compare(first, second)
    assert subject.document(found)["dice"]["mean"] == 1
    assert [f.code for f in found.issues] == ["place-unknown"]


def test_nothing_matched_nothing_there_and_other_shapes_are_errors(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    save(square(10) * 255, a / "x.png")
    save(square(10) * 255, b / "y.png")
    with pytest.raises(DatasetError, match=r"found none among 1 in .* and 1 in"):
        subject.compare(a, b)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="found none"):
        subject.compare(a, tmp_path / "empty")
    with pytest.raises(DatasetError, match="nothing at"):
        subject.compare(a, tmp_path / "absent")
    with pytest.raises(DatasetError, match="one of each"):
        subject.compare(a, b / "y.png")
    save(square(10, 40) * 255, b / "x.png")
    with pytest.raises(GeometryMismatchError, match="'x'"):
        subject.compare(a, b)
    (b / "x.png").write_text("no picture")
    with pytest.raises(LvsegError):
        subject.compare(a, b)
    save(square(10) * 255, a / "x.tif")
    with pytest.raises(DatasetError, match="one mask for each name"):
        subject.compare(a, b)


@pytest.mark.data
def test_ef_of_real_ed_and_es_masks_is_the_published_one(data_dir, tmp_path):
    names = sorted(path.name for path in (data_dir / "acdc-external").glob("patient*"))[:3]
    for name in names:
        (tmp_path / name).mkdir()
        for phase in ("ED", "ES"):
            file = f"{phase}_lv.nii.gz"
            content = (data_dir / "acdc-external" / name / file).read_bytes()
            (tmp_path / name / file).write_bytes(content)
    evaluation = subject.compare(tmp_path, tmp_path)
    assert [row.patient_id for row in evaluation.patients] == names
    for row in evaluation.patients:
        meta = json.loads((data_dir / "acdc-external" / row.patient_id / "meta.json").read_text())
        assert row.ef_reference_percent == pytest.approx(meta["ef_percent"], abs=0.5)
        assert row.dice == 1


def test_the_heart_is_found_on_all_pictures_of_a_patient_together(tmp_path):
    """One picture has something larger and as bright far away: its neighbours outvote it."""

    def scene(sample):
        mask = np.zeros((96, 96), np.uint8)
        mask[10:22, 10:22] = 1
        return mask

    def seen(sample):
        mask = scene(sample)
        if sample.slice_index == 1:
            mask[70:90, 70:90] = 1
        return mask

    folder = data_set(tmp_path, heart("a", slices=4), scene, seen)
    alone, together = (
        subject.evaluate(folder, "online", Threshold(), by_patient=how) for how in (False, True)
    )
    by_slice = lambda found, index: [r.dice for r in found.images if r.slice_index == index]  # noqa: E731
    assert by_slice(alone, 1) == [0, 0]
    assert min(by_slice(together, 1)) > 0.95
    assert by_slice(alone, 2) == by_slice(together, 2)
    assert [row.file for row in together.images] == [row.file for row in alone.images]
    assert [subject.document(found)["by_patient"] for found in (alone, together)] == [False, True]


def test_one_label_stands_at_the_top_and_under_its_name(tmp_path):
    first, second = ventricle(), ventricle(0.8)
    nifti(first, tmp_path / "a.nii.gz")
    nifti(second, tmp_path / "b.nii.gz")
    found = subject.document(subject.compare(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"))
    (name,) = found["by_label"]
    assert name == "LV_CAVITY"
    assert found["by_label"][name] == {key: found[key] for key in found["by_label"][name]}
    assert "label" not in found["per_image"][0]
    assert "label" not in found["per_patient"][0]
    assert not any(row[0] == name for row in subject.table(found))


def test_another_label_has_its_own_figures_and_changes_none_of_the_cavity(tmp_path, scar):
    before = np.zeros((1, 2, SIZE, SIZE), np.uint8)
    before[0, 0, 10:20, 10:22] = Label.LV_CAVITY
    after = before.copy()
    after[0, 0, 10:20, 20:22] = 0
    for name, volume in (("a", before), ("b", after)):
        nifti(volume, tmp_path / f"{name}.nii.gz")
    alone = subject.document(subject.compare(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"))
    # Scar: 4 x 6 pixels against 4 x 3 of them, on slice 1 where there is no cavity.
    before[0, 1, 30:34, 10:16] = scar
    after[0, 1, 30:34, 10:13] = scar
    for name, volume in (("a", before), ("b", after)):
        nifti(volume, tmp_path / f"{name}.nii.gz")
    evaluation = subject.compare(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    found = subject.document(evaluation)
    assert evaluation.labels == (Label.LV_CAVITY, scar)
    assert [row.slice_index for row in evaluation.of(scar).images] == [1]
    assert found["by_label"]["LV_SCAR"]["dice"]["mean"] == pytest.approx(2 * 12 / (24 + 12))
    assert found["by_label"]["LV_CAVITY"]["dice"]["mean"] == pytest.approx(2 * 100 / 220)
    del found["by_label"], alone["by_label"]
    assert found == alone
    lines = subject.table(subject.document(evaluation))
    assert [row[0] for row in lines[-2:]] == ["LV_CAVITY", "LV_SCAR"]


def test_a_data_set_of_label_masks_is_judged_label_by_label(tmp_path, exact, scar):
    samples = heart("A", slices=1)
    folder = data_set(tmp_path, samples, lambda _: square(10), lambda _: square(10))
    labels = square(10)
    labels[2:4, 2:5] = scar
    save(labels, folder / "masks" / samples[0].file)  # 0, 1 and 2 instead of 0 and 255
    evaluation = subject.evaluate(folder, "online", Threshold())
    assert [row.dice for row in evaluation.of().images] == [1.0, 1.0]
    missed, absent = evaluation.of(scar).images
    assert (missed.dice, missed.reference_px, missed.prediction_px) == (0.0, 6, 0)
    assert (absent.dice, absent.reference_px) == (1.0, 0)  # both empty: they agree
    assert [row.label for row in evaluation.patients] == [Label.LV_CAVITY, scar]
    assert evaluation.issues == ()


def test_a_label_without_any_reference_is_said(tmp_path, scar):
    labels = square(10)
    save(labels, tmp_path / "a.png")
    labels[2:4, 2:5] = scar
    save(labels, tmp_path / "b.png")
    (issue,) = subject.compare(tmp_path / "a.png", tmp_path / "b.png").issues
    assert (issue.code, issue.severity) == ("label-without-reference", "info")
    assert "LV_SCAR" in issue.text


def foreign(inside):
    """A heart as other tools label it: 1 beside it, 2 around it, 3 inside."""
    result = np.where(inside, 3, 0)
    result[..., :4, :4] = 1
    result[..., 4:6, :4] = 2
    return result.astype(np.uint8)


def test_the_values_of_another_tool_are_compared_with_ours(tmp_path):
    inside = ventricle()
    ours = nifti(inside, tmp_path / "a.nii.gz")
    theirs = nifti(foreign(inside), tmp_path / "b.nii.gz")
    cavity = {3: Label.LV_CAVITY}
    for pair in ((ours, theirs), (theirs, ours), (theirs, theirs)):
        found = subject.compare(*pair, label_values=cavity)
        assert {image.dice for image in found.images} == {1.0}
        told = [issue.text.split()[0] for issue in found.issues]
        assert told == [str(path) for path in pair if path == ours]
    with pytest.raises(LvsegError, match="--label cavity=VALUE"):
        subject.compare(ours, theirs)


def test_a_slice_without_the_value_is_empty_where_its_folder_has_it(tmp_path):
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
        for name, other in (("one", 3), ("two", 0)):
            labels = np.zeros((24, 24), np.uint8)
            labels[2:6, 2:6], labels[10:18, 10:18] = 1, other
            save(labels, tmp_path / side / f"{name}.png")
    found = subject.compare(tmp_path / "a", tmp_path / "b", label_values={3: Label.LV_CAVITY})
    assert [image.reference_px for image in found.images] == [64, 0]
    assert [issue.code for issue in found.issues] == []
