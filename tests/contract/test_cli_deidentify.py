"""segment --deidentify: codes in place of names, in files, on the terminal and in JSON."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
from command_line import Ended


def test_codes_stand_for_names_and_the_table_tells_whose(
    tmp_path: Path, phantom_dicom: Path, tiny_model: Path, lvseg_command: Callable[..., Ended]
) -> None:
    ward = tmp_path / "ward-seven" / "Quux_Zelda"
    shutil.copytree(phantom_dicom, ward)
    (tmp_path / "ward-seven" / "Corge").mkdir()
    out, table = tmp_path / "out", tmp_path / "apart" / "codes.csv"
    common = ("--model", tiny_model, "--deidentify", "--code-table", table, "--json")
    sources = (ward, tmp_path / "ward-seven" / "Corge")
    ended = lvseg_command("segment", *sources, "-o", out, *common)
    done, failed = ended.document["studies"]
    assert (ended.status, done["exit"], failed["exit"]) == (4, 0, 3)
    code = done["source"]
    assert done["folder"] == str(out / code)
    assert failed["source"] == "source-2"
    for text in (ended.out, ended.err, *map(str, out.rglob("*"))):
        assert not any(word in text for word in ("ward-seven", "Zelda", "Corge"))
    dataset = pydicom.dcmread(out / code / "segmentation.dcm")
    assert (dataset.PatientID, dataset.PatientIdentityRemoved) == (code, "YES")
    with table.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "code": code,
        "source": str(ward),
        "study_instance_uid": str(dataset.StudyInstanceUID),
    }


def test_a_table_without_codes_is_wrong_usage(
    tmp_path: Path, phantom_dicom: Path, lvseg_command: Callable[..., Ended]
) -> None:
    table = tmp_path / "codes.csv"
    ended = lvseg_command("segment", phantom_dicom, "-o", tmp_path / "o", "--code-table", table)
    assert ended.status == 2
    assert "--deidentify" in ended.err
    assert not table.exists()
