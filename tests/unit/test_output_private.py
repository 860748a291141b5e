"""What is written names no person, institution or folder of a machine; a code hides the rest."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from nifti_maker import grey
from nifti_maker import save as save_nifti
from read_maker import save, stack
from seg_maker import result_of, study

from lvseg.errors import NotACineError
from lvseg.output import OutputOptions, write_study
from lvseg.pipeline import assess
from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.read import StudyRef, coded, find_studies, read_study

#: A text of each kind; the first ones a DICOM result must hold (PS3.3 C.7.1.1, C.7.2.1).
REQUIRED = {
    "PatientName": "Quux^Zelda",
    "PatientID": "MRN-815-4711",
    "PatientBirthDate": "19480229",
    "AccessionNumber": "ACC-90210",
    "StudyID": "SID-31337",
    "StudyDate": "20190817",
    "ReferringPhysicianName": "Grault^Corge",
}
OTHERS = {
    "InstitutionName": "Waldo Clinic",
    "StationName": "PLUGHSTATION",
    "PatientComments": "xyzzy comment",
    "DeviceSerialNumber": "SERIAL-112358",
    "SeriesDescription": "sax cine MRN-815-4711 Zelda",
}
#: Words of all of these, of the folders that hold the study, and of the machine.
WORDS = ("Quux", "Zelda", "4711", "19480229", "90210", "31337", "20190817", "Grault", "Waldo")
WORDS += ("PLUGH", "xyzzy", "112358", "ward-seven", "nodename")


@pytest.fixture
def heart(tmp_path: Path) -> Path:
    """A DICOM study in folders that say whose it is and where."""
    suppress_pydicom_warnings()
    folder = tmp_path / "ward-seven" / "Quux_Zelda"
    study(folder)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        for keyword, value in {**REQUIRED, **OTHERS}.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    return folder


def found_in(folder: Path, words: tuple[str, ...], *, dicom: bool) -> list[tuple[str, str]]:
    """(file, word) wherever the name or the content of a file holds a word; packed ones unpacked.

    :param dicom: look into DICOM files too.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        if path.suffix == ".dcm" and not dicom:
            content = b""
        text = f"{path.relative_to(folder)}\n".encode() + content
        found += [(path.name, word) for word in words if word.lower().encode() in text.lower()]
    return found


def written(ref: StudyRef, folder: Path) -> Path:
    cine = read_study(ref).short_axis()
    result = assess(cine, result_of(cine).mask)
    formats = ("nifti", "png", "contours", "dicom-seg", "dicom-sr", "report")
    write_study(result, folder / ref.name, OutputOptions(formats), ref)
    return folder / ref.name


def test_a_result_names_nobody_but_where_dicom_requires_it(heart: Path, tmp_path: Path) -> None:
    (ref,) = find_studies(heart)
    folder = written(ref, tmp_path / "out")
    assert found_in(folder, (*WORDS, str(tmp_path)), dicom=False) == []
    seg = pydicom.dcmread(folder / "segmentation.dcm")
    assert {keyword: str(seg.get(keyword)) for keyword in REQUIRED} == REQUIRED
    others = ("Waldo", "PLUGH", "xyzzy", "112358", "sax cine", "ward-seven")
    assert found_in(folder, others, dicom=True) == []


def test_under_a_code_nothing_names_anybody(heart: Path, tmp_path: Path) -> None:
    (ref,) = (coded(each) for each in find_studies(heart))
    assert ref.name.startswith("study-")
    assert coded(ref) == ref
    folder = written(ref, tmp_path / "out")
    assert found_in(folder, (*WORDS, str(tmp_path)), dicom=True) == []
    for name in ("segmentation.dcm", "report.dcm"):
        dataset = pydicom.dcmread(folder / name)
        assert (str(dataset.PatientName), dataset.PatientID) == (ref.name, ref.name)
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.DeidentificationMethod
        assert {str(dataset.get(keyword)) for keyword in list(REQUIRED)[2:]} == {""}
    source = pydicom.dcmread(next(iter(heart.iterdir())))
    assert dataset.StudyInstanceUID == source.StudyInstanceUID
    assert json.loads((folder / "measurements.json").read_text())["study"]["source"] == ref.name


@pytest.mark.parametrize("pair", [False, True])
def test_a_coded_nifti_is_called_by_its_code(tmp_path: Path, pair: bool) -> None:
    folder = tmp_path / "ward-seven"
    folder.mkdir()
    for name in ("ED_Zelda", "ES_Zelda") if pair else ("Zelda",):
        save_nifti(folder / f"{name}.nii.gz", grey(24, 20, 5))
    (ref,) = (coded(each) for each in find_studies(folder))
    cine = read_study(ref).short_axis()
    labels = np.zeros(cine.shape, np.uint8)
    labels[:, 1:4, 8:12, 9:15] = 1
    result = assess(cine, result_of(cine, labels).mask)
    write_study(result, tmp_path / "out" / ref.name, None, ref)
    assert found_in(tmp_path / "out", ("Zelda", "ward-seven", str(tmp_path)), dicom=True) == []


def test_the_error_of_a_coded_study_names_no_file(tmp_path: Path) -> None:
    source = save(stack(1, 3), tmp_path / "ward-seven" / "Zelda")
    (ref,) = find_studies(source)
    with pytest.raises(NotACineError, match="Zelda"):
        read_study(ref)
    with pytest.raises(NotACineError) as caught:
        read_study(coded(ref))
    assert coded(ref).name in str(caught.value)
    assert "Zelda" not in str(caught.value)
    assert "ward-seven" not in str(caught.value)


def test_codes_are_the_same_for_the_same_study_and_differ_else(tmp_path: Path) -> None:
    one, other = save(stack(), tmp_path / "a"), save(stack(StudyInstanceUID="1.9"), tmp_path / "b")
    codes = [coded(find_studies(each)[0]).name for each in (one, one, other)]
    assert codes[0] == codes[1] != codes[2]
