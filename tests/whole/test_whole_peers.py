"""DICOM SEG and SR before other people's programs: a validator, DCMTK, highdicom and Orthanc.

Three real studies go through the command line with the shipped model; ten phantoms carry their true
mask, so that they are quick.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from peers import (
    PHANTOMS,
    Orthanc,
    differences,
    on_grid,
    running_orthanc,
    told,
    tool,
    write_phantom,
)

from lvseg import model_store
from lvseg.cine import Cine
from lvseg.cli import main
from lvseg.labels import Label
from lvseg.measurement import measure
from lvseg.modelcard import ModelCard
from lvseg.read import read_mask, read_source_headers, read_study
from lvseg.results import StudyResult
from lvseg.write.segmentation import SegOptions, write_segmentations
from lvseg.write.structured_report import write_structured_report

# Invalid UIDs of a source stand in our references to it: pydicom says so whenever it reads one.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")

STUDIES = ("SCD0000101", "SCD0000201", "SCD0000301")
#: What dciodvfy says at the end when it found invalid values.
SUMMARY = "Error - Dicom dataset contains invalid data values for Value Representations"


@dataclass(frozen=True)
class Made:
    """A study and what we made of it; ``figures`` as in measurements.json."""

    source: Path
    cine: Cine
    labels: np.ndarray
    segmentation: Path
    report: Path
    figures: dict[str, float | None]

    @property
    def results(self) -> tuple[Path, Path]:
        return self.segmentation, self.report

    def broken_uids(self) -> set[str]:
        """UIDs of the source that break the standard; ours repeat them, to match it."""
        uids = {self.cine.source.study_uid, self.cine.source.series_uid}
        uids |= {ref.sop_instance_uid for row in self.cine.source.instances or () for ref in row}
        return {uid for uid in uids if uid and not pydicom.uid.UID(uid, validation_mode=0).is_valid}


def phantom(name: str, folder: Path) -> tuple[Path, StudyResult]:
    truth = write_phantom(name, folder / "dicom")
    cine = read_study(folder / "dicom").short_axis()
    mask = on_grid(truth, cine)
    measured = measure(mask)
    card = ModelCard.from_json((model_store.locate(model_store.DEFAULT) / "card.json").read_text())
    issues = (*cine.issues, *measured.issues)
    return folder / "dicom", StudyResult(cine, mask, measured, issues, card)


def of_phantom(name: str, folder: Path) -> Made:
    source, result = phantom(name, folder)
    source_headers = read_source_headers(source, result.cine)
    ((segmentation,), _) = write_segmentations(result, folder, source_headers)
    write_structured_report(result, folder / "report.dcm", source_headers, [segmentation])
    values = result.measurements
    figures = {"edv_ml": values.edv_ml, "esv_ml": values.esv_ml, "ef_percent": values.ef_percent}
    labels = result.mask.labels
    return Made(source, result.cine, labels, segmentation, folder / "report.dcm", figures)


def of_study(source: Path, folder: Path) -> Made:
    formats = "nifti,dicom-seg,dicom-sr"
    command = ["segment", str(source), "-o", str(folder), "--formats", formats, "--quiet"]
    assert main(command) == 0
    (out,) = folder.iterdir()
    document = json.loads((out / "measurements.json").read_text())
    image = nibabel.load(out / "segmentation.nii.gz")
    labels = np.asarray(image.dataobj).transpose(3, 2, 1, 0)
    figures = {key: document[key] for key in ("edv_ml", "esv_ml", "ef_percent")}
    cine = read_study(source).short_axis()
    return Made(source, cine, labels, out / "segmentation.dcm", out / "report.dcm", figures)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


def faults(path: Path, broken: set[str]) -> list[str]:
    """Errors of dciodvfy but for invalid UIDs of the source, repeated word for word."""
    _, lines = told(tool("dciodvfy", "dicom3tools"), path)
    assert any(line in ("Segmentation", "EnhancedSR", "ComprehensiveSR") for line in lines), lines
    errors = [line for line in lines if line.startswith("Error")]
    own = [line for line in errors if not any(f"<{uid}>" in line for uid in broken)]
    return [line for line in own if not (line == SUMMARY and len(own) < len(errors))]


def check_validator(case: Made) -> None:
    for path in case.results:
        assert faults(path, case.broken_uids()) == []


@pytest.mark.parametrize("name", ["tilted", "missing-slices", "odd-tags", "enhanced"])
def test_the_validator_accepts_one_object_a_phase_and_fractions(tmp_path: Path, name: str) -> None:
    source, result = phantom(name, tmp_path)
    source_headers = read_source_headers(source, result.cine)
    cine = result.cine
    broken = Made(source, cine, result.mask.labels, source, source, {}).broken_uids()
    pair, _ = write_segmentations(result, tmp_path, source_headers, SegOptions(phases="ed-es"))
    assert [path.name for path in pair] == ["segmentation_ed.dcm", "segmentation_es.dcm"]
    write_structured_report(result, tmp_path / "report.dcm", source_headers, pair)
    scores = result.mask.labels.astype(np.float32) * 0.8
    scored = StudyResult(
        cine,
        result.mask,
        result.measurements,
        (),
        result.card,
        probabilities={Label.LV_CAVITY: scores},
    )
    options = SegOptions(fractional=True)
    ((fractions,), _) = write_segmentations(scored, tmp_path / "parts", source_headers, options)
    for path in (*pair, tmp_path / "report.dcm", fractions):
        assert faults(path, broken) == []
        assert dumped(path) == []
    highdicom.seg.segread(fractions)


def dumped(path: Path) -> list[str]:
    """What dcmdump complains about."""
    code, lines = told(tool("dcmdump", "dcmtk"), path)
    assert code == 0, lines[-3:]
    return [line for line in lines if line[:2] in ("W:", "E:", "F:")]


def check_dcmtk(case: Made) -> None:
    for path in case.results:
        assert dumped(path) == []
    code, lines = told(tool("dsrdump", "dcmtk"), case.report)
    assert code == 0, lines
    told_ml = [line.split('"')[3] for line in lines if "Left Ventricular ED Volume" in line]
    known_ml = [] if case.figures["edv_ml"] is None else [case.figures["edv_ml"]]
    assert [float(text) for text in told_ml] == pytest.approx(known_ml, abs=0.011)


def check_highdicom(case: Made) -> None:
    segmentation = highdicom.seg.segread(case.segmentation)
    present = np.unique(case.labels[case.labels > 0]).tolist()
    assert list(segmentation.segment_numbers) == present
    report = highdicom.sr.srread(case.report)
    groups = highdicom.sr.MeasurementReport.from_sequence([report.content[0]])
    assert groups.get_image_measurement_groups() or case.figures["edv_ml"] is None


def check_frames(case: Made) -> None:
    """Each frame says which image it was drawn on; put there, the frames are the mask."""
    place = {
        (ref.sop_instance_uid, ref.frame): (t, z)
        for t, row in enumerate(case.cine.source.instances or ())
        for z, ref in enumerate(row)
    }
    dataset = pydicom.dcmread(case.segmentation)
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    found = np.zeros_like(case.labels)
    for frame, values in zip(dataset.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        t, z = place[image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")]
        position = [float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient]
        np.testing.assert_allclose(position, case.cine.planes[z].origin_mm, atol=0.01)
        segment = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found[t, z][values > 0] = segment
    np.testing.assert_array_equal(found, case.labels)
    alone = read_mask(case.segmentation)
    assert alone.labels.sum() == case.labels.sum()


def numbers(item: pydicom.Dataset) -> Iterator[tuple[str, float]]:
    """(code of the name, value) of every number in a content tree."""
    if item.get("ValueType") == "NUM":
        value = item.MeasuredValueSequence[0]
        yield item.ConceptNameCodeSequence[0].CodeValue, float(value.NumericValue)
    for child in item.get("ContentSequence", []):
        yield from numbers(child)


def check_figures(case: Made) -> None:
    found = dict(numbers(pydicom.dcmread(case.report)))
    # LOINC: left ventricular volume at end-diastole and end-systole, ejection fraction by MR
    codes = {"edv_ml": "8821-1", "esv_ml": "8823-7", "ef_percent": "8811-2"}
    for key, value in case.figures.items():
        if value is None:
            assert codes[key] not in found
        else:
            assert found[codes[key]] == pytest.approx(value, abs=0.011)


def check_orthanc(case: Made, server: Orthanc) -> None:
    server.send(case.source, *case.results)
    held = server.instances()
    sent = [path for path in case.source.iterdir() if path.is_file()]
    studies, patients = set(), set()
    for path in [*sent, *case.results]:
        before = pydicom.dcmread(path)
        identity = held[str(before.SOPInstanceUID)]
        after = pydicom.dcmread(
            pydicom.filebase.DicomBytesIO(server.get(f"/instances/{identity}/file"))
        )
        assert differences(before, after) == []
        if path in case.results or path == sent[0]:
            studies.add(server.json(f"/instances/{identity}/study")["ID"])
            patients.add(server.json(f"/instances/{identity}/patient")["ID"])
    assert (len(studies), len(patients)) == (1, 1)
    study = server.json(f"/studies/{studies.pop()}")
    kinds = [server.json(f"/series/{key}")["MainDicomTags"]["Modality"] for key in study["Series"]]
    assert sorted(kinds) == ["MR", "SEG", "SR"]


def check_all(case: Made, server: Orthanc, *, valid_source: bool) -> None:
    assert (case.broken_uids() == set()) == valid_source
    check_validator(case)
    check_dcmtk(case)
    check_highdicom(case)
    check_frames(case)
    check_figures(case)
    check_orthanc(case, server)


@pytest.mark.parametrize("name", PHANTOMS)
def test_other_programs_take_the_results_of_a_phantom(
    tmp_path: Path, server: Orthanc, name: str
) -> None:
    check_all(of_phantom(name, tmp_path), server, valid_source=name != "odd-tags")


@pytest.mark.data
@pytest.mark.parametrize("name", STUDIES)
def test_other_programs_take_the_results_of_a_real_study(
    data_dir: Path, tmp_path: Path, server: Orthanc, name: str
) -> None:
    source = data_dir / "sunnybrook-dicom" / name / "dicom"
    check_all(of_study(source, tmp_path), server, valid_source=False)
