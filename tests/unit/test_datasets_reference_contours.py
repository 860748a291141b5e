"""Volumes of expert contours, phases by area, and the frames left empty."""

from __future__ import annotations

from pathlib import Path

import pytest
from reference_volumes import reference_volumes

from lvseg.datasets.contours import (
    ImageIndex,
    empty_frames,
    endocardial_contours,
    index_images,
    label_phases,
)
from lvseg.errors import DatasetError
from lvseg.geometry import Plane

PHASES = 5


def stack_of(slices: int) -> ImageIndex:
    """Image number 5 z + t + 1 is slice z, phase t; slices 7.5 mm apart."""
    place = {z * PHASES + t + 1: (z, t) for z in range(slices) for t in range(PHASES)}
    planes = tuple(
        Plane((0.0, 0.0, 7.5 * z), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.25, 1.5))
        for z in range(slices)
    )
    return ImageIndex(place, {number: Path(f"{number}.dcm") for number in place}, planes)


def test_the_larger_contour_of_a_slice_is_end_diastole():
    place = stack_of(3).place
    # slice 0: images 3 (phase 2) and 5 (phase 4); slice 1: 8 and 10; slice 2: only 14 (phase 3),
    # one step from both 2 and 4: ED. Image 13 (phase 2) would be ES.
    assert label_phases({3: 40.0, 5: 70.0, 8: 35.0, 10: 60.0, 14: 20.0}, place) == {
        5: "ED",
        3: "ES",
        10: "ED",
        8: "ES",
        14: "ED",
    }
    assert label_phases({3: 40.0, 5: 70.0, 13: 20.0}, place)[13] == "ES"


def test_the_last_phase_is_a_neighbour_of_the_first():
    # ED lies at phase 4, ES at phase 2; phase 0 is one step after 4 and two before 2.
    assert label_phases({3: 40.0, 5: 70.0, 6: 50.0}, stack_of(2).place)[6] == "ED"


def test_three_contours_on_a_slice_are_refused():
    with pytest.raises(DatasetError, match="slice 0"):
        label_phases({1: 1.0, 2: 2.0, 3: 3.0}, stack_of(1).place)


def test_empty_frames_know_their_distance_to_the_last_contour():
    # ED (phase 4) on slices 1 and 2 of five, ES (phase 1) on slice 2 only.
    contoured = {10: "ED", 15: "ED", 12: "ES"}
    found = {
        (frame.image_number, frame.slice, frame.name): frame.distance_from_contoured
        for frame in empty_frames(stack_of(5), contoured)
    }
    assert found == {
        (5, 0, "ED"): 1,
        (20, 3, "ED"): 1,
        (25, 4, "ED"): 2,
        (2, 0, "ES"): 2,
        (7, 1, "ES"): 1,
        (17, 3, "ES"): 1,
        (22, 4, "ES"): 2,
    }


def test_only_endocardial_files_count_and_one_an_image(tmp_path):
    deep = tmp_path / "contours-manual" / "IRCCI-expert"
    deep.mkdir(parents=True)
    for kind in ("i", "o", "p1"):
        (deep / f"IM-0001-0048-{kind}contour-manual.txt").write_text("1 1\n2 1\n2 2\n")
    found = endocardial_contours(tmp_path)
    assert list(found) == [48]
    (tmp_path / "IM-0002-0048-icontour-manual.txt").write_text("1 1\n2 1\n2 2\n")
    with pytest.raises(DatasetError, match="two for image 48"):
        endocardial_contours(tmp_path)


def test_a_folder_without_contours_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="found none"):
        reference_volumes(tmp_path, tmp_path)


@pytest.mark.data
@pytest.mark.parametrize(
    ("patient", "scd_id", "slices", "empty"),
    [
        ("SC-HF-I-01", "SCD0000101", range(2, 11), {8, 19, 28, 39, 228, 239}),
        ("SC-HF-I-02", "SCD0000201", range(2, 11), {7, 20, 27, 40, 227, 240, 247, 260}),
        ("SC-HF-I-04", "SCD0000301", range(10), set()),
    ],
)
def test_the_three_studies_with_contours(data_dir, patient, scd_id, slices, empty):
    contours = data_dir / "sunnybrook" / "contours" / patient
    dicom = data_dir / "sunnybrook-dicom" / scd_id
    volumes = reference_volumes(contours, dicom)
    assert volumes.slices("ED") == tuple(slices)
    assert volumes.slices("ES") == tuple(slices)
    numbers = {frame.image_number for frame in volumes.frames}
    assert numbers == set(endocardial_contours(contours))
    # EDV by the plain sum: area times the distance of the slices (10, 10 and 8 mm).
    step_mm = 8.0 if scd_id == "SCD0000301" else 10.0
    plain_ml = sum(frame.area_mm2 for frame in volumes.of("ED")) * step_mm / 1000
    assert volumes.edv_ml == pytest.approx(plain_ml, rel=1e-3)
    assert volumes.esv_ml < volumes.edv_ml
    expected = 100 * (1 - volumes.esv_ml / volumes.edv_ml)
    assert volumes.ef_percent == pytest.approx(expected)
    drawn = {frame.image_number: frame.name for frame in volumes.frames}
    found = empty_frames(index_images(dicom, drawn), drawn)
    assert {frame.image_number for frame in found} == empty


@pytest.mark.data
def test_contours_of_another_study_are_refused(data_dir):
    contours = data_dir / "sunnybrook" / "contours" / "SC-HF-I-02"
    with pytest.raises(DatasetError, match="is this the study"):
        reference_volumes(contours, data_dir / "sunnybrook-dicom" / "SCD0000301")
