"""Any images and masks to a data set folder."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lvseg.datasets import prepare_images
from lvseg.datasets.identifiers import metadata_kinds
from lvseg.datasets.images import mask_values, patient_of
from lvseg.errors import DatasetError, ReadError, UsageError
from lvseg.labels import Label
from lvseg.manifest import read_manifest
from lvseg.read import picture_labels

SHAPE = (12, 15)


def picture(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def blob(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[4:8, 5:10] = 255
    return mask


@pytest.fixture
def folders(tmp_path):
    """Ten patients of two images each; masks end in _mask."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    for patient in range(10):
        for number in range(2):
            stem = f"p{patient:02d}_{number}"
            Image.fromarray(picture(10 * patient + number)).save(images / f"{stem}.png")
            Image.fromarray(blob()).save(masks / f"{stem}_mask.png")
    return images, masks


@pytest.mark.parametrize(
    ("stem", "patient"),
    [
        ("p03_12", "p03"),
        ("SC-HF-I-01-IM-0001-0048", "SC-HF-I-01-IM-0001"),
        ("p03", "p03"),
        ("p 3 7", "p 3"),
        ("_7", "_7"),
    ],
)
def test_the_patient_is_what_stands_before_the_last_group(stem, patient):
    assert patient_of(stem) == patient


def test_a_pattern_names_the_patient():
    stem = "site2-p03-ED-7"
    assert patient_of(stem, re.compile(r"p\d+")) == "p03"
    assert patient_of(stem, re.compile(r"(site\d)-p")) == "site2"
    assert patient_of(stem, re.compile(r"q\d+")) is None


def test_masks_of_0_and_1_and_of_0_and_255_mean_the_same():
    for values in ([0, 1], [0, 255], [0, 128]):
        grey = np.array([values], np.float32)
        assert mask_values(picture_labels(grey, Path("m.png"))).tolist() == [[0, 255]]
    assert mask_values(np.zeros((1, 2), np.uint8)).tolist() == [[0, 0]]


def test_masks_of_several_labels_stay_as_they_are(folders, tmp_path, scar):
    both = blob() // 255
    both[0:2, 0:3] = scar
    assert mask_values(both).tolist() == both.tolist()
    Image.fromarray(both).save(folders[1] / "p03_1_mask.png")
    report = prepare_images(*folders, tmp_path / "set")
    assert report.issues == ()
    assert (np.asarray(Image.open(report.dataset / "masks" / "p03_1.png")) == both).all()


def test_pairs_become_a_data_set_split_by_patient(folders, tmp_path):
    report = prepare_images(*folders, tmp_path / "set", spacing_mm=1.3, seed=5)
    assert (report.images, report.patients, report.layout) == (20, 10, "images")
    assert sum(report.splits.values()) == 20
    samples = read_manifest(report.dataset)  # refuses a patient in two splits
    assert {sample.split for sample in samples} == {"training", "validation", "test"}
    assert {sample.pixel_spacing_mm for sample in samples} == {1.3}
    for sample in samples:
        patient, number = sample.file.removesuffix(".png").split("_")
        assert sample.patient_id == patient
        kept = np.asarray(Image.open(report.dataset / "images" / sample.file))
        assert (kept == picture(10 * int(patient[1:]) + int(number))).all()
        assert (np.asarray(Image.open(report.dataset / "masks" / sample.file)) == blob()).all()


def test_the_same_seed_gives_the_same_bytes(folders, tmp_path):
    texts = [
        (prepare_images(*folders, tmp_path / name, seed=seed).dataset / "manifest.csv").read_text()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert texts[0] == texts[1] != texts[2]


def test_unknown_spacing_stays_unknown(folders, tmp_path):
    samples = read_manifest(prepare_images(*folders, tmp_path / "set").dataset)
    assert {sample.pixel_spacing_mm for sample in samples} == {None}
    with pytest.raises(UsageError, match="spacing"):
        prepare_images(*folders, tmp_path / "other", spacing_mm=0.0)


def test_unmatched_files_are_listed_and_refused(folders, tmp_path):
    images, masks = folders
    (masks / "p03_1_mask.png").unlink()
    Image.fromarray(blob()).save(masks / "p99_0.png")
    with pytest.raises(DatasetError, match=r"p03_1\.png.*p99_0\.png"):
        prepare_images(images, masks, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_mask_of_another_size_is_refused(folders, tmp_path):
    Image.fromarray(blob((12, 16))).save(folders[1] / "p03_1_mask.png")
    with pytest.raises(DatasetError, match="p03_1"):
        prepare_images(*folders, tmp_path / "set")


def test_a_colour_photo_is_refused(folders, tmp_path):
    colours = np.stack([picture(seed) for seed in (1, 2, 3)], axis=-1)
    Image.fromarray(colours).save(folders[0] / "p03_1.png")
    with pytest.raises(ReadError):
        prepare_images(*folders, tmp_path / "set")


def test_a_pattern_that_misses_a_file_is_refused(folders, tmp_path):
    with pytest.raises(DatasetError, match="2 of 20"):
        prepare_images(*folders, tmp_path / "set", patient=r"p0[0-8]")
    with pytest.raises(UsageError, match="regular expression"):
        prepare_images(*folders, tmp_path / "set", patient="(")


def test_masks_of_another_tool_are_asked_about_and_taken_by_what_is_said(folders, tmp_path):
    both = blob() // 255 * 3
    both[0:2, 0:3] = 4
    Image.fromarray(both).save(folders[1] / "p03_1_mask.png")
    with pytest.raises(ReadError, match=r"found 0, 3, 4 in .*p03_1_mask.*--label cavity=VALUE"):
        prepare_images(*folders, tmp_path / "set")
    said = {3: Label.LV_CAVITY, 255: Label.LV_CAVITY}
    report = prepare_images(*folders, tmp_path / "set", label_values=said)
    assert report.issues == ()
    kept = np.asarray(Image.open(report.dataset / "masks" / "p03_1.png"))
    assert (kept == np.where(both == 3, 255, 0)).all()


def test_grey_masks_are_cut_and_reported(folders, tmp_path):
    soft = blob()
    soft[4, 5:10] = [30, 60, 90, 110, 127]
    Image.fromarray(soft).save(folders[1] / "p03_1_mask.png")
    report = prepare_images(*folders, tmp_path / "set")
    assert [issue.code for issue in report.issues] == ["mask-values"]
    kept = np.asarray(Image.open(report.dataset / "masks" / "p03_1.png"))
    assert (kept > 0).sum() == 3 * 5


def test_sixteen_bit_images_are_scaled_and_metadata_stays_behind(folders, tmp_path):
    deep = picture(1).astype(np.uint16) * 16
    note = PngInfo()
    note.add_text("Comment", "somebody")
    Image.fromarray(deep).save(folders[0] / "p03_1.png", pnginfo=note)
    assert metadata_kinds((folders[0] / "p03_1.png").read_bytes()) == ("text",)
    report = prepare_images(*folders, tmp_path / "set")
    kept = report.dataset / "images" / "p03_1.png"
    assert metadata_kinds(kept.read_bytes()) == ()
    assert (np.asarray(Image.open(kept)).min(), np.asarray(Image.open(kept)).max()) == (0, 255)


def test_images_that_are_all_patients_of_their_own_are_pointed_out(folders, tmp_path):
    report = prepare_images(*folders, tmp_path / "set", patient=".+")
    assert [issue.code for issue in report.issues] == ["one-image-a-patient"]


def test_one_folder_for_both_is_refused(folders, tmp_path):
    with pytest.raises(UsageError, match="two folders"):
        prepare_images(folders[0], folders[0], tmp_path / "set")
