"""The Sunnybrook set from both layouts."""

from __future__ import annotations

import csv
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from lvseg.datasets import prepare_sunnybrook
from lvseg.datasets.sunnybrook import PAIRS, PATIENTS, canonical_id, to_8_bit
from lvseg.errors import DatasetError, UsageError
from lvseg.labels import Label
from lvseg.manifest import read_dataset_facts, read_manifest
from lvseg.outlines import outlines_path, read_outlines
from lvseg.read.dicom import read_dicom_frame, read_frame_header

PHASES, ROWS, COLUMNS = 4, 20, 24
STUDIES = {"SC-HF-I-01": "SCD0000101", "SC-HF-I-02": "SCD0000201", "SC-HF-I-04": "SCD0000301"}


def pixels_of(number: int) -> np.ndarray:
    grid = np.add.outer(np.arange(ROWS) * 7, np.arange(COLUMNS) * 3)
    return (grid + number).astype(np.uint16)


def dicom_image(path: Path, number: int, series: str = "1.2.3.4") -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = f"{series}.{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SeriesInstanceUID, dataset.InstanceNumber = series, number
    dataset.ImagePositionPatient = [0, 0, 6.5 * ((number - 1) // PHASES)]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [1.25, 1.25], 5
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = ROWS, COLUMNS, 1
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = pixels_of(number).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def contour(folder: Path, number: int, edge: float) -> None:
    """A square with its lower corner at (5.25, 6.25) in the file: (5, 6) in pixel centres."""
    x, y = 5.25, 6.25
    points = [(x, y), (x + edge, y), (x + edge, y + edge), (x, y + edge)]
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{a:.2f} {b:.2f}\n" for a, b in points)
    (folder / f"IM-0001-{number:04d}-icontour-manual.txt").write_text(text)


@pytest.fixture
def official(tmp_path):
    """Three slices of four phases; contours at phase 3 (ED) and 1 (ES) of slices 1 and 2."""
    source = tmp_path / "official"
    for number in range(1, 3 * PHASES + 1):
        dicom_image(source / "TrainingDataDICOM" / "SCD0003701" / "CINE" / f"{number}.dcm", number)
    folder = source / "TrainingDataContours" / "SC-N-2" / "contours-manual" / "IRCCI-expert"
    for number, edge in ((8, 8.0), (12, 7.0), (6, 4.0), (10, 3.0)):
        contour(folder, number, edge)
    return source


def test_the_table_has_three_official_sets_of_fifteen():
    sets = [patient.official_set for patient in PATIENTS.values()]
    assert {name: sets.count(name) for name in sets} == dict.fromkeys(
        ("training", "validation", "online"), 15
    )
    assert len({patient.scd_id for patient in PATIENTS.values()}) == 45
    assert all(canonical_id(patient) == patient for patient in PATIENTS)


def test_patient_names_are_brought_to_one_spelling():
    assert canonical_id("sc-hf-ni-3") == "SC-HF-NI-03"
    assert canonical_id("SC-N-40") == "SC-N-40"
    assert canonical_id("contours-manual") is None


def test_scaling_to_8_bit_rounds_halves_down():
    # 0..10 -> 0..255: 1 -> 25.5 -> 25, 3 -> 76.5 -> 76, 9 -> 229.5 -> 229.
    pixels = np.array([[0, 1, 3, 9, 10]], np.float32)
    assert to_8_bit(pixels).tolist() == [[0, 25, 76, 229, 255]]
    assert to_8_bit(np.full((2, 3), 7, np.float32)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_official_layout_becomes_a_data_set(official, tmp_path):
    report = prepare_sunnybrook(official, tmp_path / "set")
    assert report.layout == "official"
    # 4 contours; the two frames of slice 0 are empty
    assert (report.images, report.patients, report.empty, report.with_spacing) == (6, 1, 2, 1)
    samples = {
        int(dict(sample.extra)["image_number"]): sample for sample in read_manifest(report.dataset)
    }
    assert {n: (sample.phase, sample.slice_index) for n, sample in samples.items()} == {
        2: ("ES", 0),
        4: ("ED", 0),
        6: ("ES", 1),
        8: ("ED", 1),
        10: ("ES", 2),
        12: ("ED", 2),
    }
    assert {sample.patient_id for sample in samples.values()} == {"SC-N-02"}
    assert {sample.split for sample in samples.values()} == {"training"}
    assert {(sample.pixel_spacing_mm, sample.slice_spacing_mm) for sample in samples.values()} == {
        (1.25, 6.5)
    }
    image = np.asarray(Image.open(report.dataset / "images" / samples[8].file))
    assert (image == to_8_bit(pixels_of(8).astype(np.float32))).all()
    mask = np.asarray(Image.open(report.dataset / "masks" / samples[8].file))
    # Pixel centres 5..13 and 6..14; border pixels are half inside, corners a quarter.
    assert (mask == Label.LV_CAVITY).sum() == 9 * 9 - 4
    assert mask[10, 5] == mask[14, 9] == Label.LV_CAVITY
    assert {dict(sample.extra)["labels"] for sample in samples.values()} == {"cavity"}
    assert not np.asarray(Image.open(report.dataset / "masks" / samples[4].file)).any()


def test_the_facts_of_the_set_are_written_as_they_are_for_its_masks(official, tmp_path):
    facts = read_dataset_facts(prepare_sunnybrook(official, tmp_path / "set").dataset)
    assert (facts.licence, facts.unknown) == ("CC0-1.0", ())
    assert facts.outline_rule.startswith("pixel inside where at least half")
    assert not any("contour line" in limit for limit in facts.limits)  # that of the PNG pairs
    assert "fillPoly" in PAIRS.outline_rule


def test_negatives_can_be_left_out(official, tmp_path):
    report = prepare_sunnybrook(official, tmp_path / "set", negatives=False)
    assert (report.images, report.empty) == (4, 0)


def test_a_patient_table_supplies_names_and_people(official, tmp_path):
    old = official / "TrainingDataDICOM" / "SCD0003701"
    old.rename(old.with_name("SCD9999901"))
    (official / "scd_patientdata.csv").write_text(
        "PatientID,OriginalID,Gender,Age,Pathology\nSCD9999901,SC-N-2,Female,63,Normal\n"
    )
    (sample, *_) = read_manifest(prepare_sunnybrook(official, tmp_path / "set").dataset)
    assert (sample.pathology, sample.sex, sample.age) == ("Normal", "Female", 63)
    assert dict(sample.extra)["scd_id"] == "SCD9999901"


def test_another_series_beside_the_cine_changes_nothing(official, tmp_path):
    for number in range(1, 6):
        path = official / "TrainingDataDICOM" / "SCD0003701" / "LAX" / f"IM-0002-{number:04d}.dcm"
        dicom_image(path, number, series="1.2.3.5")
    assert prepare_sunnybrook(official, tmp_path / "set").images == 6


def test_a_larger_series_without_the_contoured_images_is_not_taken(official, tmp_path):
    for number in range(13, 33):
        path = official / "TrainingDataDICOM" / "SCD0003701" / "OTHER" / f"{number}.dcm"
        dicom_image(path, number, series="1.2.3.5")
    report = prepare_sunnybrook(official, tmp_path / "set")
    assert {sample.slice_index for sample in read_manifest(report.dataset)} == {0, 1, 2}
    assert report.images == 6


def test_two_series_that_fit_alike_are_refused(official, tmp_path):
    for number in range(1, 13):
        path = official / "TrainingDataDICOM" / "SCD0003701" / "TWIN" / f"{number}.dcm"
        dicom_image(path, number, series="1.2.3.5")
    with pytest.raises(DatasetError, match="found 2 alike"):
        prepare_sunnybrook(official, tmp_path / "set")


def test_a_patient_without_dicom_is_left_out_and_named(official, tmp_path):
    contour(official / "TrainingDataContours" / "SC-HYP-01", 3, 4.0)
    report = prepare_sunnybrook(official, tmp_path / "set")
    assert report.patients == 1
    (issue,) = report.issues
    assert issue.code == "no-dicom"
    assert "SC-HYP-01" in issue.text


def test_a_patient_outside_the_official_sets_is_refused(official, tmp_path):
    contour(official / "TrainingDataContours" / "SC-N-99", 3, 4.0)
    with pytest.raises(DatasetError, match="SC-N-99"):
        prepare_sunnybrook(official, tmp_path / "set")


def test_a_source_of_neither_layout_is_refused(tmp_path):
    (tmp_path / "source").mkdir()
    with pytest.raises(DatasetError, match="found neither"):
        prepare_sunnybrook(tmp_path / "source", tmp_path / "set")
    with pytest.raises(DatasetError, match="found none"):
        prepare_sunnybrook(tmp_path / "absent", tmp_path / "set")


def test_an_existing_folder_stays_unless_told(official, tmp_path):
    target = tmp_path / "set"
    prepare_sunnybrook(official, target)
    before = (target / "manifest.csv").read_bytes()
    with pytest.raises(UsageError, match="--overwrite"):
        prepare_sunnybrook(official, target)
    assert prepare_sunnybrook(official, target, negatives=False, overwrite=True).images == 4
    assert (target / "manifest.csv").read_bytes() != before
    assert len(list((target / "images").iterdir())) == 4


def test_a_folder_that_is_no_data_set_is_never_replaced(official, tmp_path):
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter.txt").write_text("words")
    with pytest.raises(UsageError, match=r"no manifest\.csv"):
        prepare_sunnybrook(official, target, overwrite=True)
    assert (target / "chapter.txt").read_text() == "words"


def test_a_failure_leaves_nothing_behind(official, tmp_path):
    next(official.rglob("8.dcm")).write_bytes(b"no image")
    (tmp_path / "out").mkdir()
    with pytest.raises(Exception, match=r"8\.dcm"):
        prepare_sunnybrook(official, tmp_path / "out" / "set")
    assert not list((tmp_path / "out").iterdir())


def test_progress_ends_at_the_total(official, tmp_path):
    seen: list[tuple[int, int]] = []
    prepare_sunnybrook(official, tmp_path / "set", progress=lambda *step: seen.append(step))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_one_dicom_image_is_read_with_its_plane(tmp_path):
    dicom_image(tmp_path / "7.dcm", 7)
    pixels, plane = read_dicom_frame(tmp_path / "7.dcm")
    assert (pixels == pixels_of(7)).all()
    assert plane is not None
    assert plane.origin_mm == (0.0, 0.0, 6.5)
    header = read_frame_header(tmp_path / "7.dcm")
    assert (header.instance_number, header.series_uid, header.plane) == (7, "1.2.3.4", plane)


@pytest.mark.data
def test_the_png_pairs_are_copied_byte_for_byte_with_empty_frames(data_dir, tmp_path):
    source = data_dir / "sunnybrook"
    report = prepare_sunnybrook(
        source, tmp_path / "set", dicom=data_dir / "sunnybrook-dicom", as_distributed=True
    )
    assert not (report.dataset / "outlines").exists()
    # 805 pairs; 6 + 8 + 0 frames without a contour in the three studies
    assert (report.images, report.patients, report.empty, report.with_spacing) == (819, 45, 14, 3)
    samples = read_manifest(report.dataset)
    with (source / "manifest.csv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    for sample in samples:
        if dict(sample.extra)["empty"] == "1":
            assert sample.file not in rows
            continue
        assert sample.split == rows[sample.file]["official_set"]
        assert sample.slice_index == int(rows[sample.file]["slice_index"])
        for kind in ("images", "masks"):
            old, new = (
                hashlib.sha256((folder / kind / sample.file).read_bytes()).digest()
                for folder in (source, report.dataset)
            )
            assert old == new
    spaced = {
        sample.patient_id: sample for sample in samples if sample.pixel_spacing_mm is not None
    }
    assert {p: (c.pixel_spacing_mm, c.slice_spacing_mm) for p, c in spaced.items()} == {
        "SC-HF-I-01": (1.367188, 10.0),
        "SC-HF-I-02": (1.367188, 10.0),
        "SC-HF-I-04": (1.2891, 8.0),
    }


@pytest.mark.data
def test_the_official_layout_agrees_with_the_png_pairs(data_dir, tmp_path):
    pairs, source = data_dir / "sunnybrook", tmp_path / "official"
    patient, scd_id = "SC-HF-I-04", "SCD0000301"
    deep = source / "contours" / patient / "contours-manual" / "IRCCI-expert"
    shutil.copytree(pairs / "contours" / patient, deep)
    shutil.copytree(data_dir / "sunnybrook-dicom" / scd_id, source / "dicom" / scd_id)
    report = prepare_sunnybrook(source, tmp_path / "set")
    with (pairs / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["patient_id"] == patient]
    samples = {sample.file: sample for sample in read_manifest(report.dataset)}
    assert set(samples) == {row["file"] for row in rows}
    dice, offset = [], []
    for row in rows:
        sample = samples[row["file"]]
        assert (sample.phase, sample.slice_index) == (row["phase"], int(row["slice_index"]))
        new, old = (
            [np.asarray(Image.open(folder / kind / sample.file)) for kind in ("images", "masks")]
            for folder in (report.dataset, pairs)
        )
        assert (new[0] == old[0]).all()
        a, b = old[1] > 0, new[1] == Label.LV_CAVITY
        dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
        offset.append(np.mean(np.nonzero(a), axis=1) - np.mean(np.nonzero(b), axis=1))
    # The PNG masks include the contour line: a rim of half a pixel all round.
    assert np.mean(dice) > 0.96
    assert np.abs(np.mean(offset, axis=0)).max() < 0.05


@pytest.fixture(scope="module")
def outlined(data_dir, tmp_path_factory):
    """The PNG pairs of two patients as a data set with masks of the experts' outlines."""
    source, pairs = tmp_path_factory.mktemp("pairs"), data_dir / "sunnybrook"
    with (pairs / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["patient_id"] in ("SC-N-06", "SC-N-03")]
    for kind in ("images", "masks", "epi_masks"):
        (source / kind).mkdir()
        for row in rows:
            if (pairs / kind / row["file"]).is_file():
                shutil.copyfile(pairs / kind / row["file"], source / kind / row["file"])
    shutil.copytree(pairs / "contours" / "SC-N-03", source / "contours" / "SC-N-03")
    with (source / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return source, prepare_sunnybrook(source, tmp_path_factory.mktemp("set") / "set").dataset


@pytest.mark.data
def test_masks_hold_cavity_and_myocardium_without_the_line(outlined):
    (source, dataset), excess, rims = outlined, [], []
    for sample in read_manifest(dataset):
        mask = np.asarray(Image.open(dataset / "masks" / sample.file))
        drawn = np.asarray(Image.open(source / "masks" / sample.file)) > 0
        labels = dict(sample.extra)["labels"]
        assert labels == ("cavity+myocardium" if sample.phase == "ED" else "cavity")
        assert (mask == Label.LV_MYOCARDIUM).any() == (sample.phase == "ED")
        area = (mask == Label.LV_CAVITY).sum()
        excess.append(drawn.sum() - area)
        rims.append(np.sqrt(np.pi * area))  # half a pixel all round a disc
    assert min(excess) > 0
    assert np.mean(excess) == pytest.approx(np.mean(rims), rel=0.2)


@pytest.mark.data
def test_contour_files_go_before_recovered_outlines(outlined):
    _, dataset = outlined
    sources = {
        (sample.patient_id, outline.source)
        for sample in read_manifest(dataset)
        for outline in read_outlines(outlines_path(dataset, sample.file))
    }
    assert sources == {("SC-N-03", "contour file"), ("SC-N-06", "recovered from the mask")}


@pytest.mark.data
def test_a_repair_moves_the_outlines_of_its_patient_and_says_so(outlined):
    source, dataset = outlined
    for sample in read_manifest(dataset):
        said = dict(sample.extra).get("repair")
        assert bool(said) == (sample.patient_id == "SC-N-06")
        if said:
            mask = np.asarray(Image.open(dataset / "masks" / sample.file)) == Label.LV_CAVITY
            drawn = np.asarray(Image.open(source / "masks" / sample.file)) > 0
            step = np.mean(np.nonzero(mask), axis=1) - np.mean(np.nonzero(drawn), axis=1)
            k = sample.slice_index
            assert step == pytest.approx([15 - 3 * k, 14 - k], abs=0.3)
            assert said == f"contours moved by {14 - k} columns and {15 - 3 * k} rows"
