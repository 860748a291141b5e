"""DICOM SR: the content tree read back, what it refers to, and what real validators say."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from card_maker import card_with
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from read_maker import NAME, enhanced, stack, study_of

from lvseg.cine import Cine, Mask, Source
from lvseg.geometry import Grid
from lvseg.intervals import with_intervals
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.measurement import measure
from lvseg.modelcard import InputSpec, Intervals, ModelCard, OutputSpec, TrainingData
from lvseg.read import read_source_headers, read_study
from lvseg.results import StudyResult
from lvseg.write.dicom import attributes, code_of, coded_entry
from lvseg.write.structured_report import VALUES, write_structured_report

ENHANCED_SR = "1.2.840.10008.5.1.4.1.1.88.22"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
CARD = ModelCard(
    name="lv-test",
    version="3",
    sha256="ab" * 32,
    input=InputSpec(spacing_mm=1.4),
    output=OutputSpec(threshold=0.6),
    training=TrainingData(name="none", citation="", licence="", patients=(), split="none"),
    parameters=1,
    intended_use="tests",
)
#: Cavity pixels of each phase, in each of three slices.
PIXELS = (100, 90, 60, 42, 50, 80, 95, 99)


def cine_of(datasets: list[Dataset]) -> tuple[Cine, dict[str, Dataset]]:
    """A cine and the headers it was read from."""
    cine = study_of(datasets).short_axis()
    return cine, {dataset.SOPInstanceUID: dataset for dataset in datasets}


def result_of(cine: Cine, **changes: Any) -> StudyResult:
    labels = np.zeros(cine.shape, np.uint8)
    for phase in range(cine.shape[0]):
        flat = labels[phase].reshape(cine.shape[1], -1)
        flat[:, : PIXELS[phase % 8]] = 1
    mask = Mask(labels, tuple(range(cine.shape[0])), grid=Grid.of(labels, planes=cine.planes))
    mask = replace(mask, grid=replace(mask.grid, complete=changes.pop("complete", True)))
    values = measure(mask, times_ms=cine.times_ms, heart_rate_bpm=cine.heart_rate_bpm)
    noticed = changes.pop("findings", ())
    whole = StudyResult(cine, mask, values, (*values.issues, *noticed), CARD)
    return replace(whole, **changes)


def walled(cine: Cine) -> StudyResult:
    """A result with a wall, by a model whose card states the errors of its values.

    Cavities of 6 x 6 pixels at phase 0, 4 x 6 later, in walls of 2 pixels: 10 x 10 - 6 x 6 = 64.
    """
    plain = result_of(cine)
    labels = np.zeros(cine.shape, np.uint8)
    labels[:, :, 4:14, 5:15] = 2
    labels[0, :, 6:12, 7:13] = 1
    labels[1:, :, 7:11, 7:13] = 1
    intervals = Intervals(
        edv_percent=(-10.0, 25.0), ef_points=(2.0, 8.0), mass_percent=(-20.0, 25.0), studies=44
    )
    made_by = card_with(intervals)
    mask = replace(plain.mask, labels=labels)
    values = measure(mask, times_ms=cine.times_ms, heart_rate_bpm=cine.heart_rate_bpm)
    values, _ = with_intervals(values, made_by, ())
    return replace(plain, mask=mask, measurements=values, issues=values.issues, card=made_by)


def headers(**changes: Any) -> list[Dataset]:
    return stack(3, 8, **{"HeartRate": 75, "PatientID": "TEST-0001", **changes})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResult, Path]:
    cine, source_headers = cine_of(headers())
    noticed = (Issue("uneven-stack", "warning", "One slice differs.", 2, 5),)
    result = result_of(cine, issues=noticed)
    path = tmp_path_factory.mktemp("sr") / "report.dcm"
    write_structured_report(result, path, source_headers)
    return result, path


def items(dataset: Dataset) -> Iterator[Dataset]:
    """Every content item, depth first."""
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from items(item)


def name(item: Dataset) -> tuple[str, str]:
    code = item.ConceptNameCodeSequence[0]
    return code.CodeValue, code.CodingSchemeDesignator


def numbers(dataset: Dataset) -> dict[tuple[str, str], tuple[float, str]]:
    """Code of the name -> (value, UCUM unit); of several the last."""
    found = {}
    for item in items(dataset):
        if item.ValueType == "NUM":
            measured = item.MeasuredValueSequence[0]
            unit = measured.MeasurementUnitsCodeSequence[0]
            assert unit.CodingSchemeDesignator == "UCUM"
            found[name(item)] = (float(measured.NumericValue), unit.CodeValue)
    return found


def groups(dataset: Dataset) -> list[Dataset]:
    return [item for item in items(dataset) if name(item) == ("125007", "DCM")]


def texts(dataset: Dataset, code: str) -> list[str]:
    return [item.TextValue for item in items(dataset) if name(item) == (code, "DCM")]


# Values -----------------------------------------------------------------------------------------


def test_values_have_the_codes_and_units_of_the_standard(plain: tuple[StudyResult, Path]) -> None:
    found = numbers(pydicom.dcmread(plain[1]))
    # 1 pixel: 1.5 x 1.25 = 1.875 mm2; slabs of 9 mm; three slices: 0.050625 ml
    # EDV 100 x 0.050625 = 5.0625, ESV 42 x 0.050625 = 2.12625, SV 2.93625 ml, EF 58 %
    assert found["8821-1", "LN"] == (5.06, "ml")
    assert found["8823-7", "LN"] == (2.13, "ml")
    assert found["90096001", "SCT"] == (2.94, "ml")
    assert found["8811-2", "LN"] == (58.0, "%")
    assert found["8867-4", "LN"] == (75.0, "{H.B.}/min")
    # 2.93625 x 75 / 1000 = 0.2202
    assert found["82799009", "SCT"] == (0.22, "l/min")
    # steps of 40 ms: fall (42 - 90) x 0.050625 / 0.08 s = -30.375, rise (95 - 50) x ... = 28.48
    assert found["122616", "DCM"] == (30.4, "ml/s")
    assert found["122618", "DCM"] == (28.5, "ml/s")


def test_the_codes_are_those_of_the_dictionary() -> None:
    terms = {field: (code.value, code.scheme_designator) for field, code, _, _ in VALUES}
    known = {
        "edv_ml": codes.cid3468.LeftVentricularEDVolume,
        "esv_ml": codes.cid3469.LeftVentricularESVolume,
        "sv_ml": codes.cid3835.StrokeVolume,
        "ef_percent": codes.cid3833.LeftVentricularEjectionFractionByMR,
        "mass_g": codes.cid12203.LeftVentricleMass,
        "heart_rate_bpm": codes.LN.HeartRate,
        "cardiac_output_l_min": codes.cid12239.CardiacOutput,
        "peak_ejection_rate_ml_s": codes.DCM.PeakEjectionRate,
        "peak_filling_rate_ml_s": codes.DCM.PeakFillingRate,
    }
    assert terms == {field: (code.value, code.scheme_designator) for field, code in known.items()}


def test_every_phase_has_its_volume_number_and_time(plain: tuple[StudyResult, Path]) -> None:
    result, path = plain
    dataset = pydicom.dcmread(path)
    volumes = [item for item in items(dataset) if name(item) == ("118565006", "SCT")]
    values = [float(item.MeasuredValueSequence[0].NumericValue) for item in volumes]
    assert values == [round(volume, 2) for volume in result.measurements.volume_ml or ()]
    order = [numbers(item)["126073", "DCM"] for item in volumes]
    assert order == [(phase + 1, "1") for phase in range(8)]
    times = [numbers(item)["122666", "DCM"] for item in volumes]
    # 10 ms and 40 ms a phase; the middle one of slices 0.5 ms apart
    assert times == [(10.5 + 40 * phase, "ms") for phase in range(8)]
    points = [[i.ConceptCodeSequence[0].CodeMeaning for i in items(v) if "ConceptCodeSequence" in i]
              for v in volumes]  # fmt: skip
    assert points == [["End diastole"], [], [], ["End Systole"], [], [], [], []]


def test_what_is_unknown_is_absent_and_never_zero(tmp_path: Path) -> None:
    cine, source_headers = cine_of(headers(HeartRate=None, TriggerTime=None))
    result = result_of(cine)
    assert cine.times_ms is None
    write_structured_report(result, tmp_path / "a.dcm", source_headers)
    found = numbers(pydicom.dcmread(tmp_path / "a.dcm"))
    assert set(found) == {
        *(("8821-1", "LN"), ("8823-7", "LN"), ("90096001", "SCT"), ("8811-2", "LN")),
        *(("118565006", "SCT"), ("126073", "DCM")),
    }
    assert all(value > 0 for value, _ in found.values())


def test_a_result_without_volumes_says_so(tmp_path: Path) -> None:
    cine, source_headers = cine_of(headers())
    result = result_of(cine, complete=False)
    assert result.measurements.volume_ml is None
    write_structured_report(result, tmp_path / "a.dcm", source_headers)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    assert numbers(dataset) == {("8867-4", "LN"): (75.0, "{H.B.}/min")}
    assert len(groups(dataset)) == 1
    verdict = [i for i in items(dataset) if name(i) == ("verdict", "99LVSEG")]
    assert [i.ConceptCodeSequence[0].CodeValue for i in verdict] == ["fail"]
    assert any("[incomplete-stack]" in text for text in texts(dataset, "121106"))


# Who, what and how ------------------------------------------------------------------------------


def test_the_report_says_what_made_it_and_for_what(plain: tuple[StudyResult, Path]) -> None:
    dataset = pydicom.dcmread(plain[1])
    assert name(dataset) == ("126000", "DCM")  # Imaging Measurement Report
    assert dataset.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert set(texts(dataset, "111001")) == {"lv-test"}
    assert set(texts(dataset, "111003")) == {"3"}
    assert {f"SHA-256 {'ab' * 32}", "threshold 0.6"} <= set(texts(dataset, "111002"))
    assert texts(dataset, "121013") == ["lvseg"]  # Device Observer Name
    comments = texts(dataset, "121106")
    assert sum("research use only" in text for text in comments) == 1
    assert "Warning: One slice differs. (slice 3, phase 6) [uneven-stack]" in comments
    assert any("papillary muscles: counted as cavity" in text for text in comments)
    assert not any("base end" in text for text in comments)
    procedure = next(i for i in items(dataset) if name(i) == ("121058", "DCM"))
    assert procedure.ConceptCodeSequence[0].CodeMeaning == "Cardiac MRI"
    assert (dataset.CompletionFlag, dataset.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert (dataset.Modality, dataset.Manufacturer) == ("SR", "lvseg")
    scheme = dataset.CodingSchemeIdentificationSequence[0]
    assert scheme.CodingSchemeDesignator == "99LVSEG"


@pytest.mark.parametrize(
    ("severity", "verdict"), [("info", "pass"), ("warning", "review"), ("error", "fail")]
)
def test_the_verdict_is_coded(tmp_path: Path, severity: Any, verdict: str) -> None:
    cine, source_headers = cine_of(headers())
    result = result_of(cine, issues=(Issue("x", severity, "A test."),))
    write_structured_report(result, tmp_path / "a.dcm", source_headers)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    (found,) = [item for item in items(dataset) if name(item) == ("verdict", "99LVSEG")]
    assert found.ConceptCodeSequence[0].CodeValue == verdict == result.verdict


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    cine, source_headers = cine_of(headers())
    for file in ("a.dcm", "b.dcm"):
        write_structured_report(result_of(cine), tmp_path / file, source_headers)
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()


def test_tracking_uids_stay_and_object_uids_are_those_of_the_content(tmp_path: Path) -> None:
    cine, source_headers = cine_of(headers())
    read = []
    for file, issues in (("a.dcm", ()), ("b.dcm", (Issue("x", "info", "Another."),))):
        write_structured_report(result_of(cine, findings=issues), tmp_path / file, source_headers)
        read.append(pydicom.dcmread(tmp_path / file))
    tracked = [
        [item.UID for item in items(dataset) if name(item) == ("112040", "DCM")] for dataset in read
    ]
    assert tracked[0] == tracked[1]
    assert len(set(tracked[0])) == len(groups(read[0])) == 2
    assert read[0].SOPInstanceUID != read[1].SOPInstanceUID
    assert read[0].SeriesInstanceUID != read[1].SeriesInstanceUID


def test_without_a_model_the_program_is_the_algorithm(tmp_path: Path) -> None:
    cine, source_headers = cine_of(headers())
    write_structured_report(result_of(cine, card=None), tmp_path / "a.dcm", source_headers)
    assert set(texts(pydicom.dcmread(tmp_path / "a.dcm"), "111001")) == {"lvseg"}


def test_highdicom_reads_it_as_a_measurement_report(plain: tuple[StudyResult, Path]) -> None:
    report = highdicom.sr.srread(plain[1])
    assert isinstance(report, highdicom.sr.EnhancedSR)
    function, volumes = report.content.get_image_measurement_groups()
    assert function.tracking_identifier == "Left ventricle"
    assert function.finding_type == codes.SCT.LeftVentricle
    (edv,) = function.get_measurements(name=codes.LN.LeftVentricularEDVolume)
    assert (edv.value, edv.unit.value) == (5.06, "ml")
    assert edv.method.value == "122503"
    (papillary,) = function.get_qualitative_evaluations()
    assert papillary.value == codes.DCM.PapillaryMuscleIncluded
    assert len(volumes.get_measurements(name=codes.SCT.Volume)) == 8


# Belonging --------------------------------------------------------------------------------------


def evidence(dataset: Dataset) -> dict[str, dict[str, str]]:
    """Series -> {SOP instance: SOP class}, of one study."""
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == dataset.StudyInstanceUID
    return {
        series.SeriesInstanceUID: {
            item.ReferencedSOPInstanceUID: item.ReferencedSOPClassUID
            for item in series.ReferencedSOPSequence
        }
        for series in study.ReferencedSeriesSequence
    }


def test_patient_study_and_every_image_are_those_of_the_source(
    plain: tuple[StudyResult, Path],
) -> None:
    dataset = pydicom.dcmread(plain[1])
    assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == ENHANCED_SR
    assert (dataset.PatientName, dataset.PatientID) == (NAME, "TEST-0001")
    assert dataset.StudyInstanceUID == "1.2.3"
    assert "FrameOfReferenceUID" not in dataset
    assert "Rows" not in dataset
    (images,) = evidence(dataset).values()
    assert set(evidence(dataset)) == {"1.2.3.4"}
    assert images == {
        f"1.2.3.{z + 1}.{t + 1}": "1.2.840.10008.5.1.4.1.1.4" for z in range(3) for t in range(8)
    }
    # they stand in the evidence alone, not one by one in the content
    assert not [item for item in items(dataset) if item.ValueType == "IMAGE"]


def test_an_enhanced_source_is_referred_to_once(tmp_path: Path) -> None:
    cine, source_headers = cine_of([enhanced(3, 8)])
    write_structured_report(result_of(cine), tmp_path / "a.dcm", source_headers)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    assert evidence(dataset) == {"1.2.3.4": {"1.2.3.77": "1.2.840.10008.5.1.4.1.1.4.1"}}


def segmentation(file: Path, number: int, labels: Sequence[Label] = (Label.LV_CAVITY,)) -> Path:
    """What the report needs of a DICOM SEG: who it is, and what its segments are."""
    dataset = Dataset()
    dataset.SOPClassUID = SEGMENTATION
    dataset.SOPInstanceUID = f"1.2.3.900.{number}"
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = f"1.2.3.900{number}"
    dataset.SegmentSequence = [
        attributes(
            SegmentNumber=place, SegmentedPropertyTypeCodeSequence=[coded_entry(code_of(label))]
        )
        for place, label in enumerate(labels, start=1)
    ]
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.save_as(file, enforce_file_format=True)
    return file


def references(dataset: Dataset) -> list[tuple[str, int]]:
    found = [i.ReferencedSOPSequence[0] for i in items(dataset) if name(i) == ("121191", "DCM")]
    return [(item.ReferencedSOPInstanceUID, item.ReferencedSegmentNumber) for item in found]


def test_the_volumes_of_a_cine_refer_to_its_segment(tmp_path: Path) -> None:
    cine, source_headers = cine_of(headers())
    file = segmentation(tmp_path / "segmentation.dcm", 1)
    write_structured_report(result_of(cine), tmp_path / "a.dcm", source_headers, [file])
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    assert references(dataset) == [("1.2.3.900.1", 1)]
    function, volumes = groups(dataset)
    assert references(function) == []
    assert volumes.ContentTemplateSequence[0].TemplateIdentifier == "1411"
    assert len([item for item in items(volumes) if name(item) == ("118565006", "SCT")]) == 8
    (series,) = [item.UID for item in items(volumes) if name(item) == ("121232", "DCM")]
    assert series == "1.2.3.4"
    assert evidence(dataset)["1.2.3.9001"] == {"1.2.3.900.1": SEGMENTATION}
    group = highdicom.sr.srread(tmp_path / "a.dcm").content.get_volumetric_roi_measurement_groups()
    assert [each.referenced_segment is not None for each in group] == [True]


def test_segments_of_end_diastole_and_end_systole_have_their_own_volume(tmp_path: Path) -> None:
    cine, source_headers = cine_of(headers())
    files = [segmentation(tmp_path / f"s_{m}.dcm", n) for n, m in ((1, "ed"), (2, "es"))]
    write_structured_report(result_of(cine), tmp_path / "a.dcm", source_headers, files)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    _, diastole, systole, curve = groups(dataset)
    assert (references(diastole), references(systole)) == (
        [("1.2.3.900.1", 1)],
        [("1.2.3.900.2", 1)],
    )
    assert numbers(diastole)["118565006", "SCT"] == (5.06, "ml")
    assert numbers(systole)["118565006", "SCT"] == (2.13, "ml")
    assert numbers(systole)["126073", "DCM"] == (4, "1")
    assert len([item for item in items(curve) if name(item) == ("118565006", "SCT")]) == 8
    assert set(evidence(dataset)) == {"1.2.3.4", "1.2.3.9001", "1.2.3.9002"}


BOTH = (Label.LV_CAVITY, Label.LV_MYOCARDIUM)


def test_the_mass_is_told_and_belongs_to_its_segment(tmp_path: Path) -> None:
    cine, source_headers = cine_of(headers())
    file = segmentation(tmp_path / "segmentation.dcm", 1, BOTH)
    write_structured_report(walled(cine), tmp_path / "a.dcm", source_headers, [file])
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    function, volumes, wall = groups(dataset)
    # 64 pixels of 1.875 mm2 in three slabs of 9 mm: 3.24 ml; 1.05 g/ml: 3.402 g
    assert numbers(function)["18087-7", "LN"] == (3.40, "g")
    assert numbers(wall)["18087-7", "LN"] == (3.40, "g")
    assert references(volumes) == [("1.2.3.900.1", 1)]
    assert references(wall) == [("1.2.3.900.1", 2)]
    assert numbers(wall)["126073", "DCM"] == (1, "1")  # end-diastole is phase 0
    assert ("18087-7", "LN") not in numbers(volumes)


def test_the_mass_goes_with_the_segment_of_end_diastole_alone(tmp_path: Path) -> None:
    cine, source_headers = cine_of(headers())
    files = [segmentation(tmp_path / f"s_{m}.dcm", n, BOTH) for n, m in ((1, "ed"), (2, "es"))]
    write_structured_report(walled(cine), tmp_path / "a.dcm", source_headers, files)
    found = [group for group in groups(pydicom.dcmread(tmp_path / "a.dcm")) if references(group)]
    assert [references(group)[0] for group in found if ("18087-7", "LN") in numbers(group)] == [
        ("1.2.3.900.1", 2)
    ]


def test_intervals_stand_beside_their_values_and_in_words(tmp_path: Path) -> None:
    cine, source_headers = cine_of(headers())
    result = walled(cine)
    write_structured_report(result, tmp_path / "a.dcm", source_headers)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    reach = {
        name(item): [numbers(item).get((code, "SCT")) for code in ("371885007", "371886008")]
        for item in items(groups(dataset)[0])
        if item.ValueType == "NUM" and "ContentSequence" in item
    }
    # EDV 36 px x 0.050625 ml = 1.8225 ml: from 1.8225 / 1.25 = 1.458 to 1.8225 / 0.9 = 2.025
    assert reach["8821-1", "LN"] == [(0.36, "ml"), (0.20, "ml")]
    # 3.402 g: from 3.402 / 1.25 = 2.7216 to 3.402 / 0.8 = 4.2525
    assert reach["18087-7", "LN"] == [(0.68, "g"), (0.85, "g")]
    # EF 33.33 %, too large by 2 to 8 points: 25.33 to 31.33 % does not hold it, words alone tell
    assert ("8811-2", "LN") not in reach
    (told,) = [text for text in texts(dataset, "121106") if "intervals, from" in text]
    assert told.startswith("90 % intervals, from the errors on 44 studies: ")
    assert "25.33 to 31.33 %" in told
    assert "1.46 to 2.02 ml" in told or "1.46 to 2.03 ml" in told
    assert reach.get(("8823-7", "LN"), [None, None]) == [None, None]  # the card states none of ESV


def test_images_of_several_series_are_named_one_by_one(tmp_path: Path) -> None:
    datasets = headers()
    for dataset in datasets[:8]:  # the first slice
        dataset.SeriesInstanceUID = "1.2.3.5"
    cine, source_headers = cine_of(datasets)
    file = segmentation(tmp_path / "segmentation.dcm", 1)
    write_structured_report(result_of(cine), tmp_path / "a.dcm", source_headers, [file])
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    assert {uid: len(images) for uid, images in evidence(dataset).items()} == {
        "1.2.3.5": 8,
        "1.2.3.4": 16,
        "1.2.3.9001": 1,
    }
    assert len([item for item in items(dataset) if name(item) == ("121233", "DCM")]) == 24
    assert not [item for item in items(dataset) if name(item) == ("121232", "DCM")]


@pytest.mark.parametrize("format_", ["nifti", "picture", "array"])
def test_without_a_dicom_source_nothing_is_written(tmp_path: Path, format_: Any) -> None:
    cine, source_headers = cine_of(headers())
    other = replace(cine, source=Source(format_, "a"))
    issues = write_structured_report(result_of(other), tmp_path / "a.dcm", source_headers)
    assert [(issue.code, issue.severity) for issue in issues] == [("no-dicom-source", "info")]
    assert list(tmp_path.iterdir()) == []


def test_without_the_original_headers_nothing_is_written(tmp_path: Path) -> None:
    cine, _ = cine_of(headers())
    issues = write_structured_report(result_of(cine), tmp_path / "a.dcm", {})
    assert [issue.code for issue in issues] == ["no-dicom-source"]
    assert list(tmp_path.iterdir()) == []


ODD: dict[str, dict[str, Any]] = {
    "no patient": {"PatientName": None, "PatientID": None, "PatientBirthDate": None},
    "leading zeros": {"StudyInstanceUID": "1.2.03", "SeriesInstanceUID": "1.2.3.04"},
    "a date that is none": {"StudyDate": "2020-1-1", "PatientBirthDate": "19500000"},
    "a sex that is none": {"PatientSex": "unknown"},
    "umlauts": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "T\xe4st^J\xfcrgen"},
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_headers_give_a_readable_report(tmp_path: Path, odd: str) -> None:
    with pydicom.config.disable_value_validation():
        cine, source_headers = cine_of(headers(**ODD[odd]))
        issues = write_structured_report(result_of(cine), tmp_path / "a.dcm", source_headers)
        dataset = pydicom.dcmread(tmp_path / "a.dcm")
        assert dataset.StudyInstanceUID == ODD[odd].get("StudyInstanceUID", "1.2.3")
        assert dataset.PatientName == (ODD[odd].get("PatientName", NAME) or "")
        assert numbers(dataset)["8811-2", "LN"] == (58.0, "%")
        assert set(evidence(dataset)) == {ODD[odd].get("SeriesInstanceUID", "1.2.3.4")}
    assert all(issue.severity == "info" for issue in issues)
    assert not any("Doe" in issue.text or "rgen" in issue.text for issue in issues)


@pytest.mark.data
def test_of_a_real_study_only_its_own_uids_are_invalid(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "sunnybrook-dicom" / "SCD0000301"
    if not folder.is_dir():
        pytest.skip(f"missing: {folder.name} of sunnybrook-dicom")
    cine = read_study(folder).short_axis()
    source_headers = read_source_headers(folder, cine)
    issues = write_structured_report(result_of(cine), tmp_path / "a.dcm", source_headers)
    with pydicom.config.disable_value_validation():
        assert "dicom-tag-kept" in {issue.code for issue in issues}
        dataset = pydicom.dcmread(tmp_path / "a.dcm")
        assert numbers(dataset)["8867-4", "LN"] == (65.0, "{H.B.}/min")
        assert sum(len(images) for images in evidence(dataset).values()) == 200
    found = complaints("dciodvfy", "dicom3tools", str(tmp_path / "a.dcm"))
    assert [
        line for line in found if "Leading zeroes" not in line and "invalid data" not in line
    ] == []
    assert complaints("dsrdump", "dcmtk", str(tmp_path / "a.dcm")) == ()


# Validators -------------------------------------------------------------------------------------


def validator(program: str, package: str) -> str:
    """The path of a validator; in continuous integration it must be there."""
    found = shutil.which(program)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"missing: {program} (apt-get install {package})")
        pytest.skip(f"missing: {program} ({package})")
    return found


@cache
def complaints(program: str, package: str, *arguments: str) -> tuple[str, ...]:
    ended = subprocess.run(
        [validator(program, package), *arguments], capture_output=True, text=True, check=False
    )
    lines = (ended.stderr + ended.stdout).splitlines()
    return tuple(line for line in lines if line.startswith(("Error", "E:", "F:")))


@pytest.fixture(
    scope="module", params=["images", "cine segment", "ed and es", "no volumes", "wall"]
)
def any_report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("any")
    cine, source_headers = cine_of(headers())
    if request.param == "cine segment":
        files = [segmentation(folder / "segmentation.dcm", 1)]
    elif request.param == "ed and es":
        files = [segmentation(folder / f"s_{m}.dcm", n) for n, m in ((1, "ed"), (2, "es"))]
    else:
        files = []
    noticed = (Issue("uneven-stack", "warning", "One slice differs.", 2, 5),)
    result = result_of(cine, issues=noticed, complete=request.param != "no volumes")
    if request.param == "wall":
        files, result = [segmentation(folder / "segmentation.dcm", 1, BOTH)], walled(cine)
    write_structured_report(result, folder / "report.dcm", source_headers, files)
    return folder / "report.dcm"


def test_dciodvfy_has_no_complaint(any_report: Path) -> None:
    assert complaints("dciodvfy", "dicom3tools", str(any_report)) == ()


def test_every_relationship_is_allowed_in_an_enhanced_sr(any_report: Path) -> None:
    # dsrdump reads the tree against the table of relationships (PS3.3 A.35.2.3.1.2)
    assert complaints("dsrdump", "dcmtk", str(any_report)) == ()


def test_the_validators_do_complain(tmp_path: Path) -> None:
    cine, source_headers = cine_of(headers())
    write_structured_report(result_of(cine), tmp_path / "a.dcm", source_headers)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    del dataset.CompletionFlag
    volume = next(item for item in items(dataset) if name(item) == ("118565006", "SCT"))
    volume.ContentSequence[-1].RelationshipType = "HAS OBS CONTEXT"
    dataset.save_as(tmp_path / "b.dcm")
    assert complaints("dciodvfy", "dicom3tools", str(tmp_path / "b.dcm"))
    assert complaints("dsrdump", "dcmtk", str(tmp_path / "b.dcm"))
