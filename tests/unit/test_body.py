"""Body size: what the header says, what a sheet and options add, and what is divided by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lvseg.body import BodySettings, indexed, subject_of
from lvseg.errors import UsageError
from lvseg.measurement import measure
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.phantom.dicom_export import write_dicom_cine
from lvseg.read import read_study
from lvseg.sheet import read_sheet
from lvseg.subject import UNKNOWN, Subject, bsa_m2

KNOWN = Subject("F", 54.0, 165.0, 60.0)


def test_both_formulas_give_the_published_numbers() -> None:
    # Mosteller: sqrt(180 x 80 / 3600) = sqrt(4); Du Bois: 0.007184 x 43.161 x 6.439
    assert bsa_m2(180.0, 80.0) == 2.0
    assert bsa_m2(180.0, 80.0, "du-bois") == pytest.approx(1.9964, abs=1e-4)


def test_volumes_and_mass_are_divided_by_the_surface() -> None:
    labels = np.zeros((2, 3, 12, 14), np.uint8)
    labels[0, :, 3:9, 3:11], labels[1, :, 4:8, 4:10] = 2, 2
    labels[0, :, 4:8, 4:10], labels[1, :, 5:7, 5:9] = 1, 1
    values = measure(labels, pixel_spacing_mm=(5.0, 4.0), slice_spacing_mm=10.0)
    # 3 slices x 24 pixels of 20 mm2 x 10 mm = 14.4 ml; ES 3 x 8 = 4.8 ml; wall 24 pixels at ED
    assert (values.edv_ml, values.esv_ml) == (pytest.approx(14.4), pytest.approx(4.8))
    assert values.mass_g == pytest.approx(14.4 * 1.05)
    found = indexed(values, replace(KNOWN, height_cm=180.0, weight_kg=80.0))
    assert found.bsa_m2 == 2.0
    assert found.edv_ml_per_m2 == pytest.approx(7.2)
    assert found.esv_ml_per_m2 == pytest.approx(2.4)
    assert found.sv_ml_per_m2 == pytest.approx(4.8)
    assert found.mass_g_per_m2 == pytest.approx(7.56)
    assert "Mosteller" in found.methods["body_surface"]
    assert found.issues == values.issues
    other = indexed(values, KNOWN, "du-bois")
    assert "Du Bois" in other.methods["body_surface"]


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        (UNKNOWN, "Height and weight are not known"),
        (Subject(height_cm=170.0), "Weight is not known"),
        (Subject(weight_kg=70.0), "Height is not known"),
    ],
)
def test_what_is_missing_is_said(subject: Subject, words: str) -> None:
    labels = np.ones((2, 3, 4, 5), np.uint8)
    labels[1, 1] = 0
    values = measure(labels, pixel_spacing_mm=(2.0, 3.0), slice_spacing_mm=8.0)
    found = indexed(values, subject)
    (issue,) = set(found.issues) - set(values.issues)
    assert (issue.code, issue.severity) == ("unknown-body-size", "info")
    assert words in issue.text
    assert (found.bsa_m2, found.edv_ml_per_m2) == (None, None)
    nothing = measure(np.zeros((1, 1, 4, 5), np.uint8))
    assert indexed(nothing, subject) == nothing


def test_the_header_goes_before_what_is_given(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("study;sex;height_cm;group\nheart;m;181,5;a\n", "utf-8")
    settings = BodySettings(covariates=str(sheet), sex="F", height_cm=150.0, weight_kg=70.0)
    assert subject_of(UNKNOWN, settings, "heart") == (Subject("M", None, 181.5, 70.0), ())
    assert subject_of(UNKNOWN, settings, "other")[0] == Subject("F", None, 150.0, 70.0)
    stated = Subject(None, 60.0, 180.9, None)
    assert subject_of(stated, settings, "heart") == (Subject("M", 60.0, 180.9, 70.0), ())


def test_a_contradiction_is_told_and_the_header_believed() -> None:
    found, (issue,) = subject_of(KNOWN, BodySettings(sex="M", weight_kg=80.0), "heart")
    assert found == KNOWN
    assert (issue.code, issue.severity) == ("body-size-differs", "warning")
    assert "sex and weight" in issue.text


def test_what_nobody_can_have_is_not_used() -> None:
    stated = Subject("F", 54.0, 16500.0, 1.0)  # 165 written as metres; a placeholder
    found, issues = subject_of(stated, BodySettings(height_cm=165.0), "heart")
    assert found == Subject("F", 54.0, 165.0, None)
    assert [issue.code for issue in issues] == ["implausible-body-size"] * 2
    for given in ({"height_cm": 1.65}, {"weight_kg": 600.0}, {"age_years": 200.0}):
        with pytest.raises(UsageError, match="expected"):
            subject_of(UNKNOWN, BodySettings(**given), "heart")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("study,height_cm\nheart,1.65\n", "height_cm of heart"),
        ("study,weight_kg\nheart,heavy\n", "weight_kg of heart"),
        ("study,sex\nheart,x\n", "F or M"),
        ("name,sex\nheart,F\n", "one column 'study'"),
        ("study,sex,sex\nheart,F,M\n", "names of its own"),
        ("study,sex\nheart,F\nheart,M\n", "heart twice"),
        ("study,sex\nheart,F,3\n", "2 cells in row 2"),
        ("", "one column 'study'"),
    ],
)
def test_a_broken_sheet_is_refused(tmp_path: Path, text: str, words: str) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(text, "utf-8")
    with pytest.raises(UsageError, match=words):
        subject_of(UNKNOWN, BodySettings(covariates=str(sheet)), "heart")


def test_a_sheet_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"study\n\xff\n")
    for name in ("a.csv", "none.csv"):
        with pytest.raises(UsageError, match="sheet"):
            read_sheet(tmp_path / name)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (
            {"PatientSex": "F", "PatientAge": "054Y", "PatientSize": "1.65", "PatientWeight": "60"},
            Subject("F", 54.0, 165.0, 60.0),
        ),
        ({"PatientSex": "O", "PatientAge": "018M", "PatientSize": "0"}, Subject(None, 1.5)),
        # the birthday of the year of the study is still to come
        ({"PatientBirthDate": "19400102", "PatientSex": "M"}, Subject("M", 59.0)),
        ({"PatientBirthDate": "1940", "PatientAge": "old"}, UNKNOWN),
        ({}, UNKNOWN),
    ],
)
def test_the_header_is_read(tmp_path: Path, stated: dict[str, str], expected: Subject) -> None:
    import pydicom
    from pydicom import config

    options = PhantomOptions(phases=2, slices=3, rows=64, columns=56, pixel_spacing_mm=(3.1, 2.9))
    write_dicom_cine(beating_ventricle(options)[0], tmp_path)  # studied on 1 January 2000
    with config.disable_value_validation():
        for path in tmp_path.iterdir():
            dataset = pydicom.dcmread(path)
            for name in ("PatientSex", "PatientAge", "PatientBirthDate"):
                dataset.pop(name, None)
            for name, value in stated.items():
                setattr(dataset, name, value)
            dataset.save_as(path)
        found = read_study(tmp_path).short_axis().subject
    assert found == expected
