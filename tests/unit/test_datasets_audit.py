"""The audit of a data set folder finds each fault that is put in, and only that."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import read_maker
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from lvseg.cli.check import audit_text
from lvseg.datasets import check, prepare_sunnybrook
from lvseg.datasets.identifiers import burnt_in_text, looks_like, metadata_kinds
from lvseg.errors import DatasetError
from lvseg.manifest import DatasetFacts, Sample, manifest_text, read_manifest, write_dataset_facts

SHAPE = (48, 56)
FACTS = DatasetFacts("Blobs", "CC0-1.0", "none", "nowhere", ("No hearts.",), "whole pixels")
GROUPS = ("training", "training", "test", "test")


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(20, 220, (8, 8))
    return np.kron(coarse, np.ones((6, 7))).astype(np.uint8)


def blob() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[20:30, 22:34] = 255
    return mask


def save(dataset: Path, kind: str, file: str, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(dataset / kind / file)


def rewrite(dataset: Path, change) -> None:
    """Replace the manifest, leaks and all."""
    samples = [change(sample) for sample in read_manifest(dataset)]
    (dataset / "manifest.csv").write_text(manifest_text(samples))


@pytest.fixture
def dataset(tmp_path):
    """Four patients of two images, two in each split, balanced."""
    folder = tmp_path / "set"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    samples = []
    for number, split in enumerate(GROUPS):
        for index in range(2):
            file = f"p{number}-{index}.png"
            save(folder, "images", file, picture(10 * number + index))
            save(folder, "masks", file, blob())
            sex, age = ("Female", 61.0) if number % 2 else ("Male", 57.0)
            samples.append(Sample(file, f"p{number}", split, pathology="Normal", sex=sex, age=age))
    (folder / "manifest.csv").write_text(manifest_text(samples))
    write_dataset_facts(FACTS, folder)
    return folder


def codes(dataset: Path) -> dict[str, str]:
    return {issue.code: issue.severity for issue in check(dataset).issues}


def test_a_clean_data_set_has_no_findings(dataset):
    audit = check(dataset)
    assert audit.issues == ()
    assert (audit.ok, audit.exit_code) == (True, 0)
    assert (audit.images, audit.patients, audit.empty) == (8, 4, 0)


def test_the_document_is_json_with_the_balance(dataset):
    document = json.loads(json.dumps(check(dataset).document()))
    assert document["ok"] is True
    assert document["balance"]["training"] == {
        "patients": 2,
        "images": 4,
        "pathology": {"Normal": 2},
        "sex": {"Female": 1, "Male": 1},
        "age": {"mean": 59.0, "min": 57.0, "max": 61.0},
    }


def test_missing_and_unlisted_files(dataset):
    (dataset / "images" / "p0-0.png").unlink()
    (dataset / "masks" / "p1-0.png").unlink()
    save(dataset, "images", "new.png", picture(99))
    save(dataset, "masks", "other.png", blob())
    assert codes(dataset) == {
        "missing-image": "error",
        "missing-mask": "error",
        "unlisted-image": "warning",
        "unlisted-mask": "warning",
    }
    assert check(dataset).exit_code == 3


def test_broken_pictures(dataset):
    (dataset / "images" / "p0-0.png").write_bytes(b"no picture")
    (dataset / "masks" / "p1-0.png").write_bytes(b"no picture")
    save(dataset, "images", "p2-0.png", np.full(SHAPE, 9, np.uint8))
    save(dataset, "masks", "p3-0.png", blob()[:, :-1])
    assert codes(dataset) == {
        "unreadable-image": "error",
        "unreadable-mask": "error",
        "constant-image": "error",
        "size-mismatch": "error",
    }


def test_broken_masks(dataset):
    soft = blob()
    soft[20, 22] = 100
    save(dataset, "masks", "p0-0.png", soft)
    save(dataset, "masks", "p1-0.png", 255 - blob())
    assert codes(dataset) == {"mask-values": "error", "full-mask": "error"}


def test_masks_of_0_and_1_are_accepted(dataset):
    save(dataset, "masks", "p0-0.png", blob() // 255)
    assert codes(dataset) == {}


def test_masks_of_labels_are_accepted(dataset, scar):
    both = blob() // 255
    both[:3, :4] = scar
    save(dataset, "masks", "p0-0.png", both)
    assert codes(dataset) == {}
    save(dataset, "masks", "p0-0.png", both * 2)
    assert codes(dataset) == {"mask-values": "error"}


def test_empty_masks_are_fine_when_marked(dataset):
    save(dataset, "masks", "p0-0.png", blob() * 0)
    assert codes(dataset) == {"empty-mask": "warning"}
    mark = {"p0-0.png": "1"}
    rewrite(dataset, lambda c: replace(c, extra=(("empty", mark.get(c.file, "")),)))
    assert codes(dataset) == {}
    assert check(dataset).empty == 1
    rewrite(dataset, lambda c: replace(c, extra=(("empty", "1"),)))
    assert codes(dataset) == {"not-empty": "error"}


def test_a_patient_on_both_sides_of_a_split(dataset):
    rewrite(dataset, lambda c: replace(c, split="test") if c.file == "p0-0.png" else c)
    assert codes(dataset)["patient-in-two-splits"] == "error"


def test_equal_pictures(dataset):
    save(dataset, "images", "p1-0.png", picture(0))  # p0 and p1 share a split
    assert codes(dataset) == {"same-pixels-two-patients": "warning"}
    save(dataset, "images", "p1-0.png", picture(10))
    save(dataset, "images", "p3-0.png", picture(0))
    found = codes(dataset)
    assert found["same-pixels-two-patients"] == "error"
    assert found["image-in-two-splits"] == "error"


def test_equal_pictures_of_one_patient(dataset):
    save(dataset, "images", "p1-1.png", picture(10))
    assert codes(dataset) == {"same-pixels": "warning"}


def test_nearly_equal_pictures_of_two_patients(dataset):
    noise = np.random.default_rng(3).normal(0, 4, SHAPE)
    similar = np.clip(picture(0) * 0.9 + 12 + noise, 0, 255).astype(np.uint8)
    save(dataset, "images", "p1-0.png", similar)
    assert codes(dataset) == {"near-duplicates": "warning"}
    save(dataset, "images", "p1-0.png", picture(10))
    save(dataset, "images", "p3-0.png", similar)
    assert codes(dataset) == {"near-duplicates": "error"}


def test_nearly_equal_pictures_of_one_patient_are_expected(dataset):
    save(dataset, "images", "p1-1.png", np.clip(picture(10) + 1, 0, 255))
    assert codes(dataset) == {}


def test_metadata_in_a_picture_is_reported_by_kind_only(dataset):
    note = PngInfo()
    note.add_text("Patient", "Jane Roe")
    path = dataset / "masks" / "p0-0.png"
    Image.fromarray(blob()).save(path, pnginfo=note)
    (issue,) = check(dataset).issues
    assert (issue.code, issue.severity) == ("picture-metadata", "error")
    assert "Jane" not in issue.text


def test_kinds_of_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x013B] = "somebody"
    for name in ("a.png", "a.jpg"):
        Image.fromarray(blob()).save(tmp_path / name, exif=exif)
        assert metadata_kinds((tmp_path / name).read_bytes()) == ("EXIF",)
    software = PngInfo()
    software.add_text("Software", "a program")
    Image.fromarray(blob()).save(tmp_path / "b.png", pnginfo=software)
    assert metadata_kinds((tmp_path / "b.png").read_bytes()) == ()
    assert metadata_kinds(b"") == metadata_kinds(b"\x89PNG\r\n\x1a\n\0") == ()


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Roe_Jane_1", ("name",)),
        ("ROE^JANE", ("name",)),
        ("scan-1957-03-24", ("date",)),
        ("scan_19570324", ("date",)),
        ("24.03.1957", ("date",)),
        ("SC-HF-NI-11-IM-0001-0227.png", ()),
        ("p03_12.png", ()),
        ("image_20991399", ()),
        ("1.2.840.1957032411", ()),
    ],
)
def test_names_and_dates_are_recognised_by_their_look(text, kinds):
    assert looks_like(text) == kinds


def test_personal_file_names_and_columns_are_counted_not_quoted(dataset):
    for kind in ("images", "masks"):
        (dataset / kind / "p0-0.png").rename(dataset / kind / "Roe_Jane_19570324.png")
    rename = {"p0-0.png": "Roe_Jane_19570324.png"}
    rewrite(
        dataset, lambda c: replace(c, file=rename.get(c.file, c.file), extra=(("BirthDate", "x"),))
    )
    assert codes(dataset) == {"file-name-identifier": "warning", "personal-column": "warning"}
    assert not any("Jane" in issue.text for issue in check(dataset).issues)


def test_unbalanced_splits(dataset):
    old = {"test": ("Hypertrophy", "Female", 80.0)}
    rewrite(
        dataset,
        lambda c: (
            replace(c, pathology=old[c.split][0], sex=old[c.split][1], age=old[c.split][2])
            if c.split in old
            else c
        ),
    )
    assert codes(dataset) == {
        "unbalanced-pathology": "warning",
        "unbalanced-sex": "warning",
        "unbalanced-age": "warning",
    }


def test_facts_that_are_not_stated_are_named(dataset):
    write_dataset_facts(replace(FACTS, licence="unknown", limits=()), dataset)
    (issue,) = check(dataset).issues
    assert (issue.code, issue.severity) == ("unknown-facts", "info")
    assert "does not state licence, limits:" in issue.text
    (dataset / "dataset.json").unlink()
    assert codes(dataset) == {"unknown-facts": "info"}
    assert check(dataset).ok
    (dataset / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        check(dataset)


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"manifest\.csv"):
        check(tmp_path)


@pytest.mark.data
def test_the_sunnybrook_set_has_no_errors(data_dir, tmp_path):
    report = prepare_sunnybrook(
        data_dir / "sunnybrook", tmp_path / "set", dicom=data_dir / "sunnybrook-dicom"
    )
    audit = check(report.dataset)
    assert audit.ok, audit.issues
    assert "unknown-facts" not in {issue.code for issue in audit.issues}
    assert (audit.images, audit.patients, audit.empty) == (819, 45, 14)
    assert {split: part.patients for split, part in audit.balance.items()} == {
        "training": 15,
        "validation": 15,
        "online": 15,
    }


def text_on(image: np.ndarray, text: str, size: int = 12) -> np.ndarray:
    """A picture with white text in its upper left corner, as viewers export them."""
    drawn = Image.fromarray(image)
    ImageDraw.Draw(drawn).text((3, 3), text, fill=255, font=ImageFont.load_default(size))
    return np.asarray(drawn).astype(np.float32)


@pytest.mark.parametrize("size", [10, 12, 16])
def test_burnt_in_text_is_seen_and_anatomy_is_none(size: int) -> None:
    smooth = Image.fromarray(picture(1) // 2).resize((120, 100), Image.Resampling.BICUBIC)
    plain = np.asarray(smooth)
    assert not burnt_in_text(plain.astype(np.float32))
    assert burnt_in_text(text_on(plain, "JANE DOE 1950", size))
    assert not burnt_in_text(np.zeros((20, 24), np.float32))


def test_text_on_a_picture_is_a_warning(dataset):
    written = text_on(picture(0) // 2, "DOE7788", 10).astype(np.uint8)
    save(dataset, "images", "p0-0.png", written)
    (issue,) = [each for each in check(dataset).issues if each.code == "burnt-in-text"]
    assert (issue.severity, "p0-0.png" in issue.text) == ("warning", True)


def test_tags_of_files_beside_the_pictures_are_errors(dataset):
    private = read_maker.image(PatientName="Doe^Jane", InstitutionName="SECRET")
    private.private_block(0x0011, "SECRET", create=True).add_new(1, "LO", "SECRET")
    inner = pydicom.Dataset()
    inner.OperatorsName = "SECRET"
    private.RequestAttributesSequence = [inner]
    private.BurnedInAnnotation = "YES"
    (dataset / "raw").mkdir()
    (dataset / "raw" / "a.dcm").write_bytes(read_maker.to_bytes(private))
    nifti = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4))
    nifti.header["descrip"] = b"SECRET"
    nibabel.save(nifti, dataset / "raw" / "b.nii.gz")
    issues = [each for each in check(dataset).issues if each.code == "identifying-tag"]
    told = " ".join(each.text for each in issues)
    for part in ("PatientName", "InstitutionName", "OperatorsName", "private tags", "burnt-in"):
        assert part in told
    assert "the field descrip" in told
    assert "SECRET" not in told
    assert {each.severity for each in issues} == {"error"}


def test_files_without_identifiers_or_broken_ones_are_no_tags(dataset):
    (dataset / "a.dcm").write_bytes(b"\0" * 128 + b"DICM broken")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), dataset / "b.nii")
    assert [each for each in check(dataset).issues if each.code == "identifying-tag"] == []


def test_people_read_sentences_and_no_python(dataset):
    text = audit_text(check(dataset))
    assert "2 patients with 4 images; pathology: 2 Normal; sex: 1 Female, 1 Male; age 57" in text
    assert not set("{}[]'") & set(text)
