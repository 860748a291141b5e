"""What identifies a patient is struck out of descriptions, names of studies and places."""

from __future__ import annotations

from pathlib import Path

import pytest
from read_maker import image, save, stack

from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.read import find_studies, list_series, read_study
from lvseg.read.identifiers import identifiers, names_patient, without


@pytest.mark.parametrize(
    ("description", "told"),
    [
        ("Doe cine sa", "*** cine sa"),
        ("sa_JANE_1", "sa_***_1"),
        ("cine PID-0815 sa", "cine *** sa"),
        ("cine ACC77 19500131", "cine *** ***"),
        ("cine of St Mary Hospital", "cine of ***"),
        ("cinedoejane", "cinedoe***"),  # short words count when they stand alone
        ("cine sa stack", "cine sa stack"),
    ],
)
def test_a_description_is_told_without_identifiers(
    tmp_path: Path, description: str, told: str
) -> None:
    who = {
        "PatientID": "PID-0815",
        "AccessionNumber": "ACC77",
        "PatientBirthDate": "19500131",
        "InstitutionName": "St Mary Hospital",
        "SeriesDescription": description,
    }
    (row,) = list_series(save(stack(3, 4, **who), tmp_path))
    assert row.description == told


def test_words_by_hand() -> None:
    assert identifiers("Li^Bo", ("A", "7", " B12 ")) == ("B12", "Bo", "Li")
    assert without("slice of Li", ("Li",)) == "slice of ***"
    assert identifiers("Anonymous^Patient", ("unknown",)) == ()
    assert not names_patient("SCD0000101", "SCD0000101")
    assert not names_patient("anonymous/phantom", "Anonymous")
    assert names_patient("x/MUELLER_a", "Mueller^Eva")


@pytest.mark.parametrize("folder", ["Doe_Jane", "2024/jane doe/dicom", "x-DOE"])
def test_a_folder_with_the_name_of_the_patient_names_no_study(tmp_path: Path, folder: str) -> None:
    source = save(stack(), tmp_path / folder)
    (ref,) = find_studies(source)
    assert ref.name.startswith("study-")
    assert ref.parts == (ref.name,)
    cine = read_study(ref).short_axis()
    for text in (ref.name, ref.location, cine.source.name, cine.source.location):
        assert "doe" not in text.lower()
        assert "jane" not in text.lower()
    assert find_studies(save(stack(), tmp_path / "plain"))[0].name == "plain"


def test_a_code_in_place_of_a_name_may_name_a_study(tmp_path: Path) -> None:
    for name in ("SCD01", "", "Anonymous"):
        source = save(stack(PatientName=name), tmp_path / f"SCD01-Anonymous-{name or 'none'}")
        assert find_studies(source)[0].name == source.name


def test_a_description_is_one_line_of_some_letters(tmp_path: Path) -> None:
    suppress_pydicom_warnings()
    text = "\x1b[31mred\ncine " + "x" * 10_000
    (row, *_) = list_series(save([image(SeriesDescription=text)], tmp_path))
    assert row.description.startswith("\ufffd[31mred cine x")
    assert len(row.description) <= 200
    assert "\n" not in row.description
