"""DICOM Segmentations: valid by an independent checker, each frame with its slice, phase, image."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from seg_maker import HEIGHTS_MM, PATIENT, card, drawn_cine, labels_of, planes, result_of, study

from lvseg.cine import Cine, InstanceRef
from lvseg.errors import GeometryMismatchError
from lvseg.geometry import Grid
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.pydicom_settings import suppress_pydicom_warnings
from lvseg.read import read_source_headers
from lvseg.write.dicom import repaired_header
from lvseg.write.segmentation import SegOptions, write_segmentations

SEGMENT, PHASE, POSITION = 0x0062000B, 0x00209128, 0x00200032


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cine, dict[str, Dataset]]:
    return study(tmp_path_factory.mktemp("classic"))


def written(
    tmp_path: Path, cine: Cine, source_headers: dict[str, Dataset], **more: Any
) -> tuple[Dataset, tuple[Issue, ...]]:
    """One cine object, read with pydicom."""
    options = more.pop("options", None)
    paths, issues = write_segmentations(result_of(cine, **more), tmp_path, source_headers, options)
    assert [path.name for path in paths] == ["segmentation.dcm"]
    return pydicom.dcmread(paths[0]), issues


def checker() -> str:
    found = shutil.which("dciodvfy")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("dciodvfy (Debian package dicom3tools) is missing in CI")
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    return found


def told_by(program: str, path: Path) -> list[str]:
    told = subprocess.run([program, path], capture_output=True, text=True, check=False)
    return (told.stdout + told.stderr).splitlines()


@pytest.mark.parametrize("enhanced", [False, True])
def test_dciodvfy_finds_no_fault(tmp_path: Path, enhanced: bool) -> None:
    program = checker()
    cine, source_headers = study(tmp_path / "in", enhanced=enhanced)
    likely = np.random.default_rng(5).random(cine.shape, np.float32)
    full = result_of(cine, probabilities={Label.LV_CAVITY: likely})
    empty = result_of(cine, np.zeros(cine.shape, np.uint8), card=None)
    jobs = (full, SegOptions()), (full, SegOptions("ed-es")), (full, SegOptions("all", True))
    for number, (result, options) in enumerate([*jobs, (empty, SegOptions())]):
        paths, issues = write_segmentations(result, tmp_path / str(number), source_headers, options)
        assert issues == ()
        for path in paths:
            assert told_by(program, path) == ["Segmentation"]


@pytest.mark.parametrize("slices", [3, 1])
def test_dciodvfy_on_equal_distances_and_one_slice(tmp_path: Path, slices: int) -> None:
    program = checker()
    cine, source_headers = study(tmp_path / "in", drawn_cine(planes((0.0, 9.0, 18.0))))
    assert cine.planes is not None
    assert cine.source.instances is not None
    instances = tuple(phase[:slices] for phase in cine.source.instances)
    frames = cine.frames[:, :slices]
    cut = replace(
        cine,
        frames=frames,
        grid=Grid.of(frames, planes=cine.planes[:slices]),
        source=replace(cine.source, instances=instances),
    )
    paths, issues = write_segmentations(
        result_of(cut), tmp_path, source_headers, SegOptions("ed-es")
    )
    assert issues == ()
    for path in paths:
        assert told_by(program, path) == ["Segmentation"]


def test_the_distance_of_slices_stands_for_an_unknown_thickness(tmp_path: Path) -> None:
    cine, source_headers = study(tmp_path / "in", drawn_cine(planes(thickness=None)))
    dataset, issues = written(tmp_path, cine, source_headers)
    assert [issue.code for issue in issues] == ["dicom-tag-repaired"]
    assert "Slice Thickness (0018,0050)" in issues[0].text
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    # 8.5, 9, 17.5 and 8.5 mm apart: the median is (8.5 + 9) / 2
    assert measures.SliceThickness == pytest.approx(8.75)
    assert "SpacingBetweenSlices" not in measures
    assert told_by(checker(), tmp_path / "segmentation.dcm") == ["Segmentation"]


@pytest.mark.parametrize("enhanced", [False, True])
def test_each_frame_says_its_slice_its_phase_and_its_image(tmp_path: Path, enhanced: bool) -> None:
    cine, source_headers = study(tmp_path / "in", enhanced=enhanced)
    labels = labels_of(cine)
    dataset, issues = written(tmp_path, cine, source_headers)
    assert issues == ()
    pointers = [item.DimensionIndexPointer for item in dataset.DimensionIndexSequence]
    assert pointers == [SEGMENT, PHASE, POSITION]
    assert "DimensionOrganizationType" not in dataset
    at, indices = set(), set()
    for groups, pixels in zip(
        dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True
    ):
        content = groups.FrameContentSequence[0]
        origin = [float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient]
        # the planes lie at (-40, 0.8 h - 30, 0.6 h + 10)
        z = HEIGHTS_MM.index(round((origin[2] - 10) / 0.6, 6))
        t = content.TemporalPositionIndex - 1
        np.testing.assert_allclose(origin, (-40, 0.8 * HEIGHTS_MM[z] - 30, origin[2]), atol=1e-9)
        assert list(content.DimensionIndexValues) == [1, t + 1, z + 1]
        (image,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert cine.source.instances is not None
        assert cine.source.instances[t][z] == InstanceRef(
            image.ReferencedSOPClassUID,
            image.ReferencedSOPInstanceUID,
            image.get("ReferencedFrameNumber"),
        )
        assert image.SpatialLocationsPreserved == "YES"
        np.testing.assert_array_equal(pixels, labels[t, z])
        at.add((t, z))
        indices.add(tuple(content.DimensionIndexValues))
    assert len(at) == len(indices) == dataset.NumberOfFrames
    full = {(int(t), int(z)) for t, z in np.argwhere(labels.any(axis=(2, 3)))}
    # phase 2 has no cavity, slices 0 and 4 have none: one empty frame for each
    assert at == full | {(2, 0), (0, 0), (0, 4)}
    moments = {
        item.FrameContentSequence[0].TemporalPositionIndex: item.FrameContentSequence[0].get(
            "CardiacCyclePosition"
        )
        for item in dataset.PerFrameFunctionalGroupsSequence
    }
    assert moments == {1: "END_DIASTOLE", 2: None, 3: None, 4: "END_SYSTOLE"}
    (series,) = dataset.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == cine.source.series_uid
    assert len(series.ReferencedInstanceSequence) == (1 if enhanced else len(at))


def test_another_library_finds_every_frame_by_its_image(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]]
) -> None:
    cine, source_headers = classic
    written(tmp_path, cine, source_headers)
    seg = highdicom.seg.segread(tmp_path / "segmentation.dcm")
    assert seg.are_dimension_indices_unique([SEGMENT, PHASE, POSITION])
    assert not seg.are_dimension_indices_unique([SEGMENT, POSITION])
    for z in range(len(HEIGHTS_MM)):
        uids = [phase[z].sop_instance_uid for phase in cine.source.instances or ()]
        found = seg.get_pixels_by_source_instance(
            uids, segment_numbers=[1], assert_missing_frames_are_empty=True
        )
        np.testing.assert_array_equal(found[..., 0], labels_of(cine)[:, z])


def test_patient_study_and_place_are_those_of_the_source(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]]
) -> None:
    cine, source_headers = classic
    first, _ = written(tmp_path / "a", cine, source_headers)
    source = next(iter(source_headers.values()))
    assert first.PatientID == PATIENT
    for keyword in (
        *("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "StudyDate"),
        *("StudyTime", "AccessionNumber", "StudyID", "FrameOfReferenceUID", "Rows", "Columns"),
    ):
        assert first[keyword].value == source[keyword].value, keyword
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert first[keyword].value != source[keyword].value
        assert first[keyword].value.startswith("2.25.")
    assert (first.Manufacturer, first.ManufacturerModelName) == ("lvseg", "tiny")
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID


def test_the_same_mask_gives_the_same_bytes_and_another_mask_other_uids(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]]
) -> None:
    cine, source_headers = classic
    first, _ = written(tmp_path / "a", cine, source_headers)
    written(tmp_path / "b", cine, source_headers)
    name = "segmentation.dcm"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (first.ContentDate, first.ContentTime) == (first.StudyDate, first.StudyTime)
    labels = labels_of(cine).copy()
    labels[0, 0, 0, 0] ^= 1
    other, _ = written(tmp_path / "c", cine, source_headers, labels=labels)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert first[keyword].value != other[keyword].value


def test_an_undated_study_has_a_date_that_is_visibly_none(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]]
) -> None:
    cine, source_headers = classic
    undated = {uid: Dataset(header) for uid, header in source_headers.items()}
    for header in undated.values():
        header.StudyDate = header.StudyTime = ""
    dataset, _ = written(tmp_path, cine, undated)
    assert (dataset.ContentDate, dataset.ContentTime) == ("19000101", "000000")
    assert "InstanceCreationDate" not in dataset


def test_the_segment_is_coded_and_names_its_algorithm(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]]
) -> None:
    dataset, _ = written(tmp_path, *classic)
    (segment,) = dataset.SegmentSequence
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodingSchemeDesignator, kind.CodeValue) == ("SCT", "277066005")
    category = segment.SegmentedPropertyCategoryCodeSequence[0]
    assert category.CodeValue == codes.cid7150.AnatomicalStructure.value == "91723000"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == card().name
    assert re.fullmatch(r"7 \(lvseg [\d.]+\)", algorithm.AlgorithmVersion)
    assert segment.SegmentLabel == "left ventricle cavity"


def test_two_phases_are_two_ordinary_volumes(tmp_path: Path) -> None:
    cine, source_headers = study(tmp_path / "in", drawn_cine(planes((0.0, 9.0, 18.0, 27.0))))
    labels = labels_of(cine)
    paths, issues = write_segmentations(
        result_of(cine), tmp_path, source_headers, SegOptions("ed-es")
    )
    assert issues == ()
    assert [path.name for path in paths] == ["segmentation_ed.dcm", "segmentation_es.dcm"]
    series = set()
    for path, phase in zip(paths, (0, 3), strict=True):
        seg = highdicom.seg.segread(path)
        series.add(seg.SeriesInstanceUID)
        assert seg.DimensionOrganizationType == "3D"
        pointers = [item.DimensionIndexPointer for item in seg.DimensionIndexSequence]
        assert pointers == [SEGMENT, POSITION]
        assert "TemporalPositionIndex" not in str(seg)
        volume = seg.get_volume(combine_segments=True)
        assert volume.spacing == pytest.approx((9.0, 1.5, 1.25))
        # its slices may run the other way: z = 0.6 h + 10
        heights = [(volume.affine @ (k, 0, 0, 1))[2] / 0.6 - 10 / 0.6 for k in range(4)]
        order = [round(height / 9.0) for height in heights]
        np.testing.assert_array_equal(volume.array, labels[phase][order])
    assert len(series) == 2


def test_unknown_phases_give_one_object_of_all(tmp_path: Path) -> None:
    cine, source_headers = study(tmp_path / "in")
    result = result_of(cine, labels_of(cine)[1:2], phases=(1,))
    paths, issues = write_segmentations(result, tmp_path, source_headers, SegOptions("ed-es"))
    assert [path.name for path in paths] == ["segmentation.dcm"]
    assert [issue.code for issue in issues] == ["phases-unknown"]
    dataset = pydicom.dcmread(paths[0])
    # one phase: an ordinary volume, each frame drawn on an image of phase 1
    assert len(dataset.DimensionIndexSequence) == 2
    images = {
        groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for groups in dataset.PerFrameFunctionalGroupsSequence
    }
    assert images == {item.sop_instance_uid for item in (cine.source.instances or ())[1]}


def test_fractions_are_the_probabilities_themselves(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]]
) -> None:
    cine, source_headers = classic
    likely = np.random.default_rng(5).random(cine.shape, np.float32)
    options = SegOptions(fractional=True)
    dataset, issues = written(
        tmp_path, cine, source_headers, probabilities={Label.LV_CAVITY: likely}, options=options
    )
    assert issues == ()
    assert (dataset.SegmentationType, dataset.SegmentationFractionalType) == (
        *("FRACTIONAL", "PROBABILITY"),
    )
    assert dataset.MaximumFractionalValue == 255
    stored = dataset.pixel_array.reshape(cine.shape)  # nothing is empty: phase by phase
    np.testing.assert_array_equal(stored, np.rint(likely * 255))

    dataset, issues = written(tmp_path, cine, source_headers, options=options)
    assert dataset.SegmentationType == "BINARY"
    assert [issue.code for issue in issues] == ["no-probabilities"]


def test_without_dicom_images_nothing_is_written(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]]
) -> None:
    cine, source_headers = classic
    bare = replace(cine, grid=replace(cine.grid, planes=None))
    for result, headers in (
        (result_of(drawn_cine()), {}),
        (result_of(cine), {}),
        (result_of(bare), source_headers),
    ):
        paths, issues = write_segmentations(result, tmp_path / "out", headers)
        assert paths == ()
        assert [(item.code, item.severity) for item in issues] == [("no-dicom-source", "info")]
    assert not (tmp_path / "out").exists()


def test_a_mask_of_another_grid_is_refused(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]]
) -> None:
    cine, source_headers = classic
    result = result_of(cine)
    other = replace(result, mask=result_of(drawn_cine(planes((0.0, 9.0)))).mask)
    with pytest.raises(GeometryMismatchError, match="mask on the cine"):
        write_segmentations(other, tmp_path, source_headers)


def changed(source_headers: dict[str, Dataset], **values: Any) -> dict[str, Dataset]:
    """The headers with other values; None takes a tag away."""
    result = {}
    for uid, header in source_headers.items():
        copy = Dataset()
        copy.update(header)
        for keyword, value in values.items():
            if value is None:
                del copy[keyword]
            elif isinstance(value, tuple):  # (VR, value): whatever the dictionary says
                copy[keyword] = pydicom.DataElement(
                    pydicom.datadict.tag_for_keyword(keyword),
                    *value,
                    validation_mode=pydicom.config.IGNORE,
                )
            else:
                copy[keyword].value = value
        result[uid] = copy
    return result


ODD = [
    ("PatientName", None, "", "is absent: written empty"),
    ("PatientID", None, "", "is absent: written empty"),
    ("PatientBirthDate", None, "", "is absent: written empty"),
    ("StudyDate", None, "", "is absent: written empty"),
    ("AccessionNumber", None, "", "is absent: written empty"),
    ("StudyID", None, "", "is absent: written empty"),
    ("ReferringPhysicianName", None, "", "is absent: written empty"),
    ("PatientBirthDate", ("DA", "00000000"), "", "is not valid: written empty"),
    ("StudyDate", ("DA", "1998.03.07"), "19980307", "is not valid: repaired"),
    ("StudyDate", ("DA", "20110231"), "", "is not valid: written empty"),  # no such day
    ("StudyTime", ("TM", "12:30:00"), "123000", "is not valid: repaired"),
    ("StudyTime", ("LO", "noonish"), "", "is not valid: written empty"),
    ("PatientSex", ("CS", "male"), "M", "is not valid: repaired"),
    ("PatientSex", ("CS", "?"), "", "is not valid: written empty"),
    ("PatientName", ("PN", "Phantom^\x07Odd\x1b"), "Phantom^Odd", "is not valid: repaired"),
    ("PatientName", ("UN", b"Phantom^Odd "), "Phantom^Odd", ""),
    ("PatientID", ("LO", "ODD" * 30), "ODD" * 30, "is not valid: kept"),
    ("PatientID", ("LO", "OD\x00D\n"), "ODD", "is not valid: repaired"),
    ("PatientIdentityRemoved", ("CS", "YES"), None, "names no method: left out"),
    ("DeidentificationMethod", ("LO", "x" * 70), "x" * 64, "is not valid: repaired"),
    ("StudyInstanceUID", ("UI", "1.2.099.4"), "1.2.099.4", "is not valid: kept"),
]


IDS = [f"{keyword}-{number}" for number, (keyword, *_) in enumerate(ODD)]


@pytest.mark.parametrize(("keyword", "found", "kept", "told"), ODD, ids=IDS)
def test_an_odd_tag_is_repaired_kept_or_left_out_and_told(
    classic: tuple[Cine, dict[str, Dataset]], keyword: str, found: Any, kept: str | None, told: str
) -> None:
    cine, source_headers = classic
    suppress_pydicom_warnings()
    dataset, issues = repaired_header(changed(source_headers, **{keyword: found}), cine)
    assert dataset.get(keyword) == kept
    if not told:
        assert issues == ()
        return
    (issue,) = issues
    tag = pydicom.tag.Tag(keyword)
    assert f"({tag.group:04x},{tag.element:04x}) of the source {told}" in issue.text
    assert issue.code == ("dicom-tag-kept" if "kept" in told else "dicom-tag-repaired")
    assert issue.severity == "info"
    if isinstance(found, tuple):
        assert str(found[1]) not in issue.text


def test_a_source_with_every_fault_still_gives_a_valid_object(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]]
) -> None:
    cine, source_headers = classic
    faults = {keyword: found for keyword, found, _, told in ODD if "kept" not in told}
    dataset, issues = written(tmp_path, cine, changed(source_headers, **faults))
    assert len({issue.text for issue in issues}) == len(issues) > 6
    assert dataset.PatientID == "ODD"
    np.testing.assert_array_equal(dataset.pixel_array.max(axis=(1, 2))[:1], [0])
    lines = told_by(checker(), tmp_path / "segmentation.dcm")
    assert not [line for line in lines if line.startswith("Error")]


def test_private_and_broken_elements_do_no_harm(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]]
) -> None:
    cine, source_headers = classic
    odd = changed(source_headers)
    for header in odd.values():
        header.private_block(0x0011, "ODD MAKER", create=True).add_new(1, "LO", "junk")
        inner = Dataset()
        inner.CodeValue = "113100"
        inner.private_block(0x0011, "ODD MAKER", create=True).add_new(1, "LO", "junk")
        header.DeidentificationMethodCodeSequence = [inner]
    dataset, issues = written(tmp_path, cine, odd)
    assert "DeidentificationMethodCodeSequence" not in dataset
    assert not any(element.tag.is_private for element in dataset)
    assert [issue.code for issue in issues] == ["dicom-tag-repaired"]
    for header in odd.values():
        del header.DeidentificationMethodCodeSequence[0][0x00111001]
        del header.DeidentificationMethodCodeSequence[0][0x00110010]
    dataset, issues = written(tmp_path, cine, odd)
    assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert issues == ()


#: Identifying elements that no result needs, with a text that stands nowhere else.
NOT_COPIED = {
    "PatientComments": "LT",
    "OtherPatientNames": "PN",
    "PatientAddress": "LO",
    "PatientMotherBirthName": "PN",
    "PatientTelephoneNumbers": "SH",
    "IssuerOfPatientID": "LO",
    "StudyDescription": "LO",
    "SeriesDescription": "LO",
    "ProtocolName": "LO",
    "InstitutionName": "LO",
    "InstitutionAddress": "ST",
    "InstitutionalDepartmentName": "LO",
    "StationName": "SH",
    "DeviceSerialNumber": "LO",
    "OperatorsName": "PN",
    "PerformingPhysicianName": "PN",
    "RequestingPhysician": "PN",
    "ImageComments": "LT",
}


def test_a_result_holds_what_dicom_requires_and_nothing_else(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]]
) -> None:
    cine, source_headers = classic
    told = {
        keyword: (vr, f"SECRET-{number}") for number, (keyword, vr) in enumerate(NOT_COPIED.items())
    }
    odd = changed(source_headers, **told, PatientAge=("AS", "077Y"))
    for header in odd.values():
        inner = Dataset()
        inner.PatientID = "SECRET-OTHER"
        header.OtherPatientIDsSequence = [inner]
    dataset, _ = written(tmp_path, cine, odd)
    for path in tmp_path.glob("*.dcm"):
        assert b"SECRET" not in path.read_bytes()
    assert "PatientAge" not in dataset
    assert dataset.PatientID == next(iter(source_headers.values())).PatientID


def test_a_frame_of_reference_is_made_or_chosen(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]]
) -> None:
    cine, source_headers = classic
    missing = changed(source_headers, FrameOfReferenceUID=None)
    first, issues = written(tmp_path, cine, missing)
    second, _ = written(tmp_path, cine, missing)
    assert ["absent" in issue.text for issue in issues] == [True]
    assert first.FrameOfReferenceUID == second.FrameOfReferenceUID  # results of a study share it
    assert first.FrameOfReferenceUID.startswith("2.25.")
    for number, header in enumerate(missing.values()):
        header.add_new("FrameOfReferenceUID", "UI", f"1.2.{number + 1}")
    dataset, issues = written(tmp_path, cine, missing)
    assert dataset.FrameOfReferenceUID == "1.2.1"
    # 4 phases of 5 slices
    assert ["(20 values)" in issue.text for issue in issues] == [True]


def test_invalid_uids_of_images_are_referred_to_as_they_are(tmp_path: Path) -> None:
    cine, source_headers = study(tmp_path / "in")
    instances = cine.source.instances
    assert instances is not None
    odd_uid = "1.2.007.3"
    renamed = (
        (replace(instances[0][0], sop_instance_uid=odd_uid), *instances[0][1:]),
        (replace(instances[1][0], sop_instance_uid=""), *instances[1][1:]),
        *instances[2:],
    )
    cine = replace(cine, source=replace(cine.source, instances=renamed))
    source_headers[odd_uid] = source_headers.pop(instances[0][0].sop_instance_uid)
    labels = np.ones(cine.shape, np.uint8)
    dataset, issues = written(tmp_path, cine, source_headers, labels=labels)
    groups = dataset.PerFrameFunctionalGroupsSequence
    image = groups[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert image.ReferencedSOPInstanceUID == odd_uid
    assert len(groups[5].DerivationImageSequence) == 0  # phase 1, slice 0: there is no UID
    assert [issue.code for issue in issues] == ["dicom-tag-kept", "dicom-tag-repaired"]
    assert "in 1 object(s)" in issues[0].text
    assert not any(odd_uid in issue.text for issue in issues)


def test_a_header_without_originals_still_names_the_study(
    classic: tuple[Cine, dict[str, Dataset]],
) -> None:
    cine, _ = classic
    header, issues = repaired_header({}, cine)
    assert header.StudyInstanceUID == cine.source.study_uid
    assert header.SeriesInstanceUID == cine.source.series_uid
    assert header.PatientID == ""
    assert {issue.severity for issue in issues} == {"info"}


def test_the_log_says_no_name(
    tmp_path: Path,
    classic: tuple[Cine, dict[str, Dataset]],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    cine, source_headers = classic
    caplog.set_level("DEBUG")
    written(tmp_path, cine, changed(source_headers, PatientName="ODDNAME"))
    assert "ODDNAME" not in caplog.text
    assert not [warning for warning in recwarn if "ODDNAME" in str(warning.message)]


def test_a_failed_write_leaves_nothing(
    tmp_path: Path, classic: tuple[Cine, dict[str, Dataset]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Dataset, "save_as", broken)
    with pytest.raises(OSError, match="disk full"):
        write_segmentations(result_of(classic[0]), tmp_path, classic[1])
    assert list(tmp_path.iterdir()) == []


def test_headers_come_from_wherever_the_cine_did(tmp_path: Path) -> None:
    from lvseg.read import find_studies, read_study

    cine, source_headers = study(tmp_path / "in")
    wanted = {item.sop_instance_uid for phase in cine.source.instances or () for item in phase}
    assert set(source_headers) == wanted
    assert not any("PixelData" in header for header in source_headers.values())
    assert all(header.PatientID == PATIENT for header in source_headers.values())
    (ref,) = find_studies(tmp_path / "in")
    archive = Path(shutil.make_archive(str(tmp_path / "study"), "zip", tmp_path / "in"))
    for source, of in ((ref, cine), (archive, read_study(archive).short_axis())):
        found = read_source_headers(source, of)
        assert set(found) == wanted
        assert not any("PixelData" in header for header in found.values())
    assert read_source_headers(tmp_path / "in", drawn_cine()) == {}
    # an object that is gone is missing from the answer
    next((tmp_path / "in").glob("0003.dcm")).unlink()
    assert len(read_source_headers(tmp_path / "in", cine)) == len(wanted) - 1
