"""Body size and reference ranges on the command line: in the JSON, the report and the SR."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from command_line import Ended

SHIPPED = "healthy-hearts-2024-smooth"
PERSON = ("--sex", "M", "--age", "54", "--height-cm", "180", "--weight-kg", "80")


@pytest.fixture
def segment(
    lvseg_command: Callable[..., Ended], phantom_dicom: Path, tiny_model: Path, tmp_path: Path
) -> Callable[..., Ended]:
    def run(*options: object) -> Ended:
        call = ("segment", phantom_dicom, "-o", tmp_path / "out", "--model", tiny_model, "--json")
        return lvseg_command(*call, "--overwrite", *options)

    return run


def test_what_is_given_stands_in_every_file(segment: Callable[..., Ended], tmp_path: Path) -> None:
    ended = segment(*PERSON, "--reference-ranges", SHIPPED)
    assert ended.status == 0, ended.err
    found = ended.document["studies"][0]["measurements"]
    assert found["bsa_m2"] == 2.0
    assert found["edv_ml_per_m2"] == pytest.approx(found["edv_ml"] / 2, abs=0.01)
    assert found["mass_g_per_m2"] is None
    assert found["reference"]["ages"] == [50, 59]
    low, high = 109, 227
    edv = found["reference"]["ranges"]["edv_ml"]
    assert edv == {"low": low, "high": high, "inside": low <= found["edv_ml"] <= high}
    assert "Mosteller" in found["conventions"]["body_surface"]

    page = (tmp_path / "out" / "heart" / "report.html").read_text("utf-8")
    assert "109 to 227" in page
    assert "not checked against the authors" in page.replace("&#39;", "'")
    report = pydicom.dcmread(tmp_path / "out" / "heart" / "report.dcm")
    numbers = [item for item in walk(report) if item.ValueType == "NUM"]
    by_unit: dict[str, dict[str, float]] = {}
    for item in numbers:
        value = item.MeasuredValueSequence[0]
        unit = value.MeasurementUnitsCodeSequence[0].CodeValue
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        by_unit.setdefault(unit, {})[name] = float(value.NumericValue)
    assert by_unit["m2"] == {"Body Surface Area": 2.0}
    assert found["edv_ml_per_m2"] in by_unit["ml/m2"].values()


def walk(item: pydicom.Dataset) -> list[pydicom.Dataset]:
    found = [item]
    for each in item.get("ContentSequence", ()):
        found += walk(each)
    return found


def test_without_a_table_there_are_no_ranges_and_without_a_size_no_index(
    segment: Callable[..., Ended],
) -> None:
    found = segment().document["studies"][0]["measurements"]
    assert found["bsa_m2"] is None
    assert found["edv_ml_per_m2"] is None
    assert found["reference"] is None
    codes = {each["code"] for each in found["quality"]["findings"]}
    assert "unknown-body-size" in codes
    assert "no-reference" not in codes


def test_a_sheet_knows_the_studies_by_name(segment: Callable[..., Ended], tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("study,sex,age_years,height_cm,weight_kg\nheart,F,71,165,60\n", "utf-8")
    ended = segment("--covariates", sheet, "--bsa", "du-bois", "--reference-ranges", SHIPPED)
    assert ended.status == 0, ended.err
    found = ended.document["studies"][0]["measurements"]
    # 0.007184 x 165^0.725 x 60^0.425 = 1.659
    assert found["bsa_m2"] == pytest.approx(1.659, abs=0.001)
    assert found["reference"]["sex"] == "F"
    assert not [name for name in found["reference"]["ranges"] if name.endswith("per_m2")]


def test_a_sheet_serves_the_table_and_the_body_size_of_a_batch(
    lvseg_command: Callable[..., Ended], phantom_dicom: Path, tiny_model: Path, tmp_path: Path
) -> None:
    places = [tmp_path / ward / "heart" for ward in ("north", "south")]
    for place in places:
        shutil.copytree(phantom_dicom, place)
    call = ("segment", *places, "-o", tmp_path / "out", "--model", tiny_model, "--json")
    first = lvseg_command(*call)
    assert first.status == 0, first.err
    names = [each["study"] for each in first.document["studies"]]
    assert len(set(names)) == 2
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(f"study,group,height_cm,weight_kg\n{names[1]},case,180,80\n", "utf-8")
    # the result of the other study does not depend on the sheet, and stands
    refused = lvseg_command(*call, "--covariates", sheet)
    assert [each["exit"] for each in refused.document["studies"]] == [0, 2]
    ended = lvseg_command(*call, "--covariates", sheet, "--overwrite")
    assert ended.status == 0, ended.err
    found = [each["measurements"] for each in ended.document["studies"]]
    assert [each["bsa_m2"] for each in found] == [None, 2.0]
    assert found[1]["settings"]["body"]["covariates"] == "sheet.csv"
    assert ended.document["without_row"] == [names[0]]
    rows = (tmp_path / "out" / "cohort.csv").read_text("utf-8").splitlines()
    assert rows[0].startswith("study,group,height_cm,weight_kg,")
    assert rows[2].startswith(f"{names[1]},case,180,80,")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--height-cm", "1.8"), "height"),
        (("--age", "-1"), "age"),
        (("--reference-ranges", "mine"), SHIPPED),
        (("--covariates", "none.csv"), "none.csv"),
        (("--sex", "X"), "--sex"),
    ],
)
def test_what_cannot_be_is_refused(
    segment: Callable[..., Ended], options: tuple[str, ...], words: str
) -> None:
    ended = segment(*options)
    assert ended.status == 2
    assert words in ended.err
    assert ended.err.count("\n") == 1


def test_assess_takes_the_same(
    segment: Callable[..., Ended],
    lvseg_command: Callable[..., Ended],
    phantom_dicom: Path,
    tmp_path: Path,
) -> None:
    assert segment().status == 0
    mask = tmp_path / "out" / "heart" / "segmentation.dcm"
    call = ("assess", mask, "--cine", phantom_dicom, "-o", tmp_path / "again", "--json")
    ended = lvseg_command(*call, *PERSON, "--reference-ranges", SHIPPED)
    assert ended.status == 0, ended.err
    found = ended.document["studies"][0]["measurements"]
    assert found["bsa_m2"] == 2.0
    assert found["reference"]["table"] == SHIPPED
