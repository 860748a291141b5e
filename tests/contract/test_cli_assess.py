"""`lvseg assess`: every kind of mask becomes a full result that names its reader and its origin."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from command_line import Ended
from tiny_model import write_tiny_model

from lvseg.cine import Cine, Mask
from lvseg.phantom import Truth
from lvseg.read import read_mask, read_study

READER = "Anna Ray"


@pytest.fixture(scope="module")
def segmented(phantom_dicom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of segment with two structures and the text files; read only."""
    from lvseg.cli import main

    root = tmp_path_factory.mktemp("segmented")
    model = write_tiny_model(root / "model", thresholds=(0.5, 0.35))
    formats = "nifti,seg-nrrd,itk-snap,png,contours,sunnybrook,dicom-seg,dicom-sr,report"
    options = ["-o", root / "out", "--model", model, "--formats", formats, "-q", "--json"]
    assert main(["segment", str(phantom_dicom), *map(str, options)]) == 0
    return root / "out" / "heart"


def header(path: Path) -> Any:
    return pydicom.dcmread(path)


def told_by(program: str, path: Path) -> list[str]:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    told = subprocess.run([program, path], capture_output=True, text=True, check=False)
    return (told.stdout + told.stderr).splitlines()


@pytest.mark.parametrize(
    "name", ["segmentation.nii.gz", "segmentation.dcm", "contours.json", "contours"]
)
def test_every_kind_of_mask_gives_the_numbers_it_came_with(
    segmented: Path,
    phantom_dicom: Path,
    tmp_path: Path,
    lvseg_command: Callable[..., Ended],
    name: str,
) -> None:
    before = json.loads((segmented / "measurements.json").read_text("utf-8"))
    ended = lvseg_command(
        "assess", segmented / name, "--cine", phantom_dicom, "-o", tmp_path, "--reader", READER,
        "--json",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    (entry,) = ended.document["studies"]
    found = entry["measurements"]
    assert Path(entry["folder"]).name == segmented.name  # the folder is called as segment's
    written = {path.name for path in Path(entry["folder"]).iterdir()}
    assert written == {path.name for path in segmented.iterdir()} - {"contours"}
    for key in ("edv_ml", "esv_ml", "ef_percent", "mass_g", "area_px", "ed_phase"):
        assert found[key] == before[key], key
    assert (found["reader"], found["version"], found["parent"]) == (READER, 1, 0)
    assert (before["reader"], before["version"], before["parent"]) == (None, 0, None)
    assert found["model"] is None


def test_a_segmentation_of_slicer_gives_ed_and_es(
    segmented: Path, phantom_dicom: Path, tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    before = json.loads((segmented / "measurements.json").read_text("utf-8"))
    path = segmented / "segmentation.seg.nrrd"
    ended = lvseg_command("assess", path, "--cine", phantom_dicom, "-o", tmp_path, "--json")
    assert ended.status == 0, ended.err
    found = ended.document["studies"][0]["measurements"]
    for key in ("edv_ml", "esv_ml", "ef_percent", "mass_g", "ed_phase", "es_phase"):
        assert found[key] == before[key], key
    assert (found["reader"], found["version"], found["parent"]) == (None, 1, 0)


def test_an_edit_is_in_every_file_and_a_second_one_follows(
    segmented: Path, phantom_dicom: Path, tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    image = nib.load(segmented / "segmentation.nii.gz")
    labels = np.asarray(image.dataobj).copy()
    labels[:, :, 2, 0] = 0
    labels[40:60, 40:60, 2, 0] = 1
    nib.Nifti1Image(labels, image.affine, dtype=np.uint8).to_filename(tmp_path / "edited.nii.gz")
    call = ("assess", tmp_path / "edited.nii.gz", "--cine", phantom_dicom, "-o", tmp_path / "out")
    ended = lvseg_command(*call, "--reader", READER, "--predecessor", segmented, "--json")
    assert ended.status == 0, ended.err
    out = tmp_path / "out" / "heart"
    cine = read_study(phantom_dicom).short_axis()
    expected = np.zeros(cine.shape[2:], np.uint8)
    expected[40:60, 40:60] = 1
    for name in ("segmentation.nii.gz", "segmentation.dcm", "contours.json"):
        np.testing.assert_array_equal(read_mask(out / name, like=cine).labels[0, 2], expected)

    seg, report = header(out / "segmentation.dcm"), header(out / "report.dcm")
    old_seg, old_report = header(segmented / "segmentation.dcm"), header(segmented / "report.dcm")
    assert {each.SegmentAlgorithmType for each in seg.SegmentSequence} == {"SEMIAUTOMATIC"}
    assert {each.SegmentAlgorithmType for each in old_seg.SegmentSequence} == {"AUTOMATIC"}
    assert str(seg.ContentCreatorName).rstrip("^") == READER
    sources = {item.ReferencedSOPInstanceUID for item in seg.SourceImageSequence}
    assert old_seg.SOPInstanceUID in sources
    series = {item.SeriesInstanceUID for item in seg.ReferencedSeriesSequence}
    assert old_seg.SeriesInstanceUID in series
    assert old_seg.SOPInstanceUID != seg.SOPInstanceUID
    assert old_seg.SeriesInstanceUID != seg.SeriesInstanceUID
    # a model's result has the date of its study, a reader's that of the reading
    assert (old_seg.ContentDate, old_seg.ContentTime) == (old_seg.StudyDate, old_seg.StudyTime)
    assert seg.ContentDate > old_seg.ContentDate
    assert (report.ContentDate, report.ContentTime) == (seg.ContentDate, seg.ContentTime)
    (study,) = report.PredecessorDocumentsSequence
    assert study.StudyInstanceUID == report.StudyInstanceUID
    (of_series,) = study.ReferencedSeriesSequence
    (document,) = of_series.ReferencedSOPSequence
    assert document.ReferencedSOPInstanceUID == old_report.SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in old_report
    assert report.VerificationFlag == "UNVERIFIED"
    people = [item for item in report.ContentSequence if item.ValueType == "PNAME"]
    assert [str(item.PersonName).rstrip("^") for item in people] == [READER]
    assert READER in (out / "report.html").read_text("utf-8")

    again = lvseg_command(
        "assess", out / "segmentation.dcm", "--cine", phantom_dicom, "-o", tmp_path / "third",
        "--reader", "B. Second", "--json",
    )  # fmt: skip
    found = again.document["studies"][0]["measurements"]
    assert (found["version"], found["parent"], found["reader"]) == (2, 1, "B. Second")


def test_the_checker_finds_no_more_than_in_the_objects_of_segment(
    segmented: Path, phantom_dicom: Path, tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    call = ("assess", segmented / "segmentation.dcm", "--cine", phantom_dicom, "-o", tmp_path)
    for number, options in enumerate(
        [("--reader", READER), ("--reader", "Ray^Anna^^Dr", "--verify", "A clinic"), ()]
    ):
        ended = lvseg_command(*call, *options, "--overwrite", "--json")
        assert ended.status == 0, ended.err
        for name in ("segmentation.dcm", "report.dcm"):
            found = told_by("dciodvfy", tmp_path / "heart" / name)
            assert found == told_by("dciodvfy", segmented / name), (number, name)
    report = header(tmp_path / "heart" / "report.dcm")
    assert not [item for item in report.ContentSequence if item.ValueType == "PNAME"]


def test_a_report_is_verified_when_the_reader_asks(
    segmented: Path, phantom_dicom: Path, tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    call = ("assess", segmented / "segmentation.dcm", "--cine", phantom_dicom, "-o", tmp_path)
    ended = lvseg_command(*call, "--reader", "Ray^Anna", "--verify", "A clinic")
    assert ended.status == 0, ended.err
    report = header(tmp_path / "heart" / "report.dcm")
    assert report.VerificationFlag == "VERIFIED"
    (observer,) = report.VerifyingObserverSequence
    assert str(observer.VerifyingObserverName) == "Ray^Anna"
    assert observer.VerifyingOrganization == "A clinic"
    assert str(observer.VerificationDateTime) == report.ContentDate + report.ContentTime
    shown = told_by("dsrdump", tmp_path / "heart" / "report.dcm")
    assert any("Person Observer Name" in line and "Ray^Anna" in line for line in shown)


def test_contours_of_two_phases_are_measured_in_these_two(
    segmented: Path,
    phantom: tuple[Cine, Mask, Truth],
    phantom_dicom: Path,
    tmp_path: Path,
    lvseg_command: Callable[..., Ended],
) -> None:
    before = json.loads((segmented / "measurements.json").read_text("utf-8"))
    ed, es = before["ed_phase"], before["es_phase"]
    phases, kept = phantom[0].shape[0], tmp_path / "kept"
    kept.mkdir()
    for path in (segmented / "contours").iterdir():
        if (int(path.name.split("-")[2]) - 1) % phases in (ed, es):  # numbered slice by slice
            shutil.copy(path, kept / path.name)
    ended = lvseg_command(
        "assess",
        kept,
        "--cine",
        phantom_dicom,
        "-o",
        tmp_path / "out",
        "--reader",
        READER,
        "--json",
    )
    assert ended.status == 0, ended.err
    found = ended.document["studies"][0]["measurements"]
    assert found["phase_index"] == sorted((ed, es))
    assert (found["edv_ml"], found["esv_ml"]) == (before["edv_ml"], before["esv_ml"])
    assert (found["version"], found["parent"]) == (1, None)
    assert "phases-not-outlined" in {each["code"] for each in found["quality"]["findings"]}
    out = tmp_path / "out" / "heart"
    assert nib.load(out / "segmentation.nii.gz").shape[3] == phases
    assert told_by("dciodvfy", out / "segmentation.dcm") == ["Segmentation"]
    ended = lvseg_command("measure", out / "segmentation.dcm", "--cine", phantom_dicom, "--json")
    assert ended.document["ef_percent"] == before["ef_percent"]
    ended = lvseg_command("measure", kept, "--cine", phantom_dicom, "--json")
    assert ended.document["ef_percent"] == before["ef_percent"]


def test_wrong_use_is_refused_in_one_line(
    segmented: Path, phantom_dicom: Path, tmp_path: Path, lvseg_command: Callable[..., Ended]
) -> None:
    call = ("assess", segmented / "segmentation.dcm", "--cine", phantom_dicom, "-o", tmp_path)
    for options, words in (
        (("--verify", "A clinic"), "--reader"),
        (("--reader", " "), "--reader"),
        (("--reader", "x" * 100), "--reader"),
        (("--reader", READER, "--predecessor", tmp_path), "predecessor"),
    ):
        ended = lvseg_command(*call, *options)
        assert ended.status == 2
        assert words in ended.err
        assert ended.err.count("\n") == 1
    assert lvseg_command(*call).status == 0
    ended = lvseg_command(*call)
    assert ended.status == 2
    assert "--overwrite" in ended.err
    other = (*call[2:-1], tmp_path / "other")
    ended = lvseg_command("assess", tmp_path / "none.nii.gz", *other, "--json")
    assert ended.status == 3
    assert ended.document["studies"] == []
