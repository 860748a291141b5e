"""Stacks put together by place and time: the odd studies that scanners and archives hand over.

The heart of the maker has slices 9 mm apart, thickness 8 mm, spacing 1.5 x 1.25 mm; a frame of
phase t at position z holds the pixels of ``read_maker.pixels(t, z)``, so that every frame in the
wrong place or order shows.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless
from read_maker import (
    COLUMN,
    NORMAL,
    ROW,
    SIDE,
    SPACING,
    STEP_MM,
    enhanced,
    expected,
    image,
    pixels,
    save,
    stack,
    study_of,
    to_bytes,
)
from scipy.spatial.transform import Rotation

from lvseg.cine import Cine, Mask
from lvseg.errors import NotACineError
from lvseg.geometry import disc_thickness_mm, slice_positions_mm, tilt_degrees
from lvseg.measurement import measure
from lvseg.read import list_series, read_study
from lvseg.read.stack import LEFT_VENTRICLE_AXIS

SLICES, PHASES = 9, 8


def cine_of(datasets: list[Dataset]) -> Cine:
    return study_of(datasets).short_axis()


def codes(cine: Cine) -> dict[str, str]:
    return {issue.code: issue.severity for issue in cine.issues}


def texts(cine: Cine, code: str) -> list[str]:
    return [issue.text for issue in cine.issues if issue.code == code]


def position_of(dataset: Dataset) -> int:
    return int((dataset.InstanceNumber - 1) // 100)


def phase_of(dataset: Dataset) -> int:
    return int((dataset.InstanceNumber - 1) % 100)


def assert_whole(cine: Cine, slices: int = SLICES, phases: int = PHASES) -> None:
    np.testing.assert_array_equal(cine.frames, expected(slices, phases))
    assert cine.complete
    assert not {code for code, severity in codes(cine).items() if severity == "error"}


def moved(datasets: list[Dataset], **changes: object) -> list[Dataset]:
    """The same images as other objects, with other elements."""
    for dataset in datasets:
        dataset.SOPInstanceUID += ".9"
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)
    return datasets


def shifted(dataset: Dataset, along_mm: float) -> None:
    origin = np.array(dataset.ImagePositionPatient, float) + along_mm * NORMAL
    dataset.ImagePositionPatient = [float(value) for value in origin]


def tilted(dataset: Dataset, degrees: float) -> None:
    """Turn an image about the row direction through its middle."""
    turn = Rotation.from_rotvec(np.radians(degrees) * ROW)
    cosines = np.array(dataset.ImageOrientationPatient, float)
    row, column = cosines[:3], cosines[3:]
    half = (SIDE - 1) / 2
    middle = np.array(dataset.ImagePositionPatient, float)
    middle = middle + half * (SPACING[1] * row + SPACING[0] * column)
    row, column = turn.apply(row), turn.apply(column)
    origin = middle - half * (SPACING[1] * row + SPACING[0] * column)
    dataset.ImagePositionPatient = [float(value) for value in origin]
    dataset.ImageOrientationPatient = [float(value) for value in (*row, *column)]


# A. The series says nothing


def by_slice(dataset: Dataset) -> str:
    return f"1.2.4.{position_of(dataset)}"


SERIES = {
    "slice": by_slice,
    "phase": lambda dataset: f"1.2.4.{phase_of(dataset)}",
    "file": lambda dataset: f"1.2.4.{dataset.InstanceNumber}",
    "breath-hold of three": lambda dataset: f"1.2.4.{position_of(dataset) // 3}",
    "odd and even": lambda dataset: f"1.2.4.{position_of(dataset) % 2}",
    "half of the phases": lambda dataset: f"1.2.4.{phase_of(dataset) // 4}",
}


@pytest.mark.parametrize("how", SERIES)
def test_one_series_for_each(how: str, tmp_path: Path) -> None:
    datasets = stack(SLICES, PHASES)
    for dataset in datasets:
        dataset.SeriesInstanceUID = SERIES[how](dataset)
        dataset.AcquisitionTime = f"10{position_of(dataset):02d}00"
    random.Random(5).shuffle(datasets)
    folder = save(datasets, tmp_path)
    assert_whole(read_study(folder).short_axis())
    rows = list_series(folder)
    assert all(row.chosen for row in rows)
    assert "9 parallel slices x 8 phases" in rows[0].reason


def test_the_sequence_name_may_vary() -> None:
    datasets = stack(SLICES, PHASES)
    for dataset in datasets:
        late = position_of(dataset) > 4
        dataset.SeriesInstanceUID = by_slice(dataset)
        dataset.SequenceName = "*fl2d1_12" if late else "*tfi2d1_15"
    assert_whole(cine_of(datasets))


def test_a_narrower_matrix_is_put_on_the_frame_of_the_others() -> None:
    datasets = stack(SLICES, PHASES)
    for dataset in datasets:
        dataset.SeriesInstanceUID = by_slice(dataset)
        if position_of(dataset) > 5:
            narrow = np.frombuffer(dataset.PixelData, np.uint16).reshape(SIDE, SIDE)[:, 4:]
            dataset.PixelData, dataset.Columns = narrow.tobytes(), SIDE - 4
            origin = np.array(dataset.ImagePositionPatient, float) + 4 * SPACING[1] * ROW
            dataset.ImagePositionPatient = [float(value) for value in origin]
    cine = cine_of(datasets)
    wanted = expected(SLICES, PHASES)
    wanted[:, 6:, :, :4] = 0
    np.testing.assert_array_equal(cine.frames, wanted)
    assert cine.complete
    assert codes(cine)["frame-adapted"] == "info"
    assert cine.planes is not None
    origins = [plane.origin_mm for plane in cine.planes]
    np.testing.assert_allclose(np.diff(origins, axis=0), np.tile(NORMAL * STEP_MM, (8, 1)))


def test_a_field_of_view_turned_by_90_degrees_is_turned_back() -> None:
    datasets = stack(SLICES, PHASES)
    for dataset in datasets:
        dataset.SeriesInstanceUID = by_slice(dataset)
        if position_of(dataset) == 4:
            grey = np.frombuffer(dataset.PixelData, np.uint16).reshape(SIDE, SIDE)
            corner = np.array(dataset.ImagePositionPatient, float) + ROW * SPACING[1] * (SIDE - 1)
            dataset.PixelData = np.ascontiguousarray(grey[:, ::-1].T).tobytes()
            dataset.ImagePositionPatient = [float(value) for value in corner]
            dataset.ImageOrientationPatient = [float(value) for value in (*COLUMN, *-ROW)]
            dataset.PixelSpacing = list(SPACING[::-1])
    cine = cine_of(datasets)
    assert_whole(cine)
    assert cine.planes is not None
    np.testing.assert_allclose(cine.planes[4].origin_mm, NORMAL * STEP_MM * 4 + [5, 6, 7])
    assert cine.planes[4].pixel_spacing_mm == SPACING
    assert cine.source.instances is not None
    assert not cine.source.instances[0][4].same_pixels


def test_images_of_one_anonymised_frame_of_reference_each_are_one_stack() -> None:
    datasets = stack(SLICES, PHASES)
    for number, dataset in enumerate(datasets):
        dataset.FrameOfReferenceUID = f"1.2.7.{number}"
    cine = cine_of(datasets)
    assert_whole(cine)
    assert "frames-of-reference" not in codes(cine)


def test_frames_of_reference_that_fit_one_grid_are_one_stack_with_a_finding() -> None:
    datasets = stack(SLICES, PHASES)
    for dataset in datasets:
        dataset.FrameOfReferenceUID = f"1.2.7.{position_of(dataset) // 3}"
    cine = cine_of(datasets)
    assert_whole(cine)
    assert codes(cine)["frames-of-reference"] == "warning"


def test_a_stack_that_is_not_whole_gives_no_volume() -> None:
    datasets = [d for d in stack(SLICES, PHASES) if position_of(d) != 4 or phase_of(d) < 3]
    cine = cine_of(datasets)
    assert not cine.complete
    labels = np.ones((PHASES, SLICES - 1, SIDE, SIDE), np.uint8)
    values = measure(Mask(labels, tuple(range(PHASES)), cine.grid))
    assert (values.edv_ml, values.ef_percent) == (None, None)
    assert "incomplete-stack" in {issue.code for issue in values.issues}


# B. One tolerance


def test_a_slightly_tilted_slice_is_measured_in_its_own_plane() -> None:
    datasets = stack(SLICES, PHASES)
    for dataset in datasets:
        if position_of(dataset) == 4:
            tilted(dataset, 2.0)
    cine = cine_of(datasets)
    assert_whole(cine)
    assert codes(cine)["tilted-slices"] == "warning"
    assert cine.planes is not None
    assert tilt_degrees(cine.planes[0], cine.planes[4]) == pytest.approx(2.0)
    # turned about its middle: the middles stay 9 mm apart, whatever the corners do
    np.testing.assert_allclose(cine.grid.disc_thickness_mm(), STEP_MM, atol=0.02)
    corners = disc_thickness_mm(cine.planes)
    assert np.abs(corners - STEP_MM).max() > 0.2


def test_a_largely_tilted_slice_is_left_out_whatever_its_series() -> None:
    datasets = stack(SLICES, PHASES)
    for dataset in datasets:
        dataset.SeriesInstanceUID = by_slice(dataset)
        if position_of(dataset) == 4:
            tilted(dataset, 8.0)
    cine = cine_of(datasets)
    assert cine.shape[1] == SLICES - 1
    assert not cine.complete
    assert codes(cine)["reangled-slice"] == "error"
    assert "angle of 8.0 degrees" in texts(cine, "reangled-slice")[0]


@pytest.mark.parametrize("degrees", [0.02, 0.3, 0.9, 2.0, 6.0])
def test_a_second_stack_at_a_small_angle_is_another_stack(degrees: float) -> None:
    second = moved(stack(SLICES, PHASES), SeriesInstanceUID="1.2.5", AcquisitionTime="103000")
    for dataset in second:
        tilted(dataset, degrees)
    cine = cine_of([*stack(SLICES, PHASES), *second])
    assert_whole(cine)
    assert codes(cine)["several-stacks"] == "warning"
    assert cine.planes is not None
    assert tilt_degrees(cine.planes[0], cine.planes[-1]) == pytest.approx(0, abs=1e-4)


# C. Orientation against the axis of the heart


def view(right: np.ndarray, down: np.ndarray, slices: int) -> list[Dataset]:
    """Another view of the same study, 8 mm apart, all slices in one series."""
    across = np.cross(right, down)
    made = stack(slices, PHASES, SeriesInstanceUID="1.2.6")
    for dataset in made:
        place = across * 8.0 * position_of(dataset) - [40, 40, 40]
        dataset.ImagePositionPatient = [float(value) for value in place]
        dataset.ImageOrientationPatient = [float(value) for value in (*right, *down)]
        dataset.SOPInstanceUID += ".6"
    return made


X, Y, Z = np.eye(3)
VIEWS = {"axial": (X, Y, 68), "coronal": (X, -Z, 48), "sagittal": (Y, -Z, 50)}


@pytest.mark.parametrize("name", VIEWS)
def test_a_longer_stack_of_another_view_loses_against_the_short_axis(name: str) -> None:
    right, down, _ = VIEWS[name]
    assert_whole(cine_of([*stack(SLICES, PHASES), *view(right, down, 18)]))


@pytest.mark.parametrize("name", VIEWS)
def test_another_view_alone_is_refused_with_its_angle(name: str, tmp_path: Path) -> None:
    right, down, degrees = VIEWS[name]
    folder = save(view(right, down, 9), tmp_path)
    with pytest.raises(NotACineError, match=f"{degrees} degrees from a usual short axis"):
        read_study(folder)
    (row,) = list_series(folder)
    assert not row.chosen
    assert f"{degrees} degrees" in row.reason


def turned_away(degrees: float) -> list[Dataset]:
    """Short-axis slices whose normal is so many degrees from the usual axis."""
    axis = np.array(LEFT_VENTRICLE_AXIS) / np.linalg.norm(LEFT_VENTRICLE_AXIS)
    side = np.cross(axis, X) / np.linalg.norm(np.cross(axis, X))
    turn = Rotation.from_rotvec(np.radians(degrees) * side)
    right = turn.apply(side)
    down = turn.apply(np.cross(axis, side))
    return view(right, down, 5)


@pytest.mark.parametrize(
    ("degrees", "severity"), [(0.0, None), (17.0, None), (34.0, None), (38.0, "error")]
)
def test_what_only_the_angle_speaks_against_is_measured_with_an_error(
    degrees: float, severity: str | None
) -> None:
    cine = cine_of(turned_away(degrees))
    assert cine.complete
    assert codes(cine).get("not-short-axis") == severity
    if severity:
        assert f"{degrees:.0f} degrees" in texts(cine, "not-short-axis")[0]


def test_beyond_the_reach_of_a_short_axis_a_stack_is_refused() -> None:
    with pytest.raises(NotACineError, match="47 degrees"):
        cine_of(turned_away(47.0))


# D. Repeats


def again(positions: set[int], along_mm: float = 0.0, **changes: object) -> list[Dataset]:
    """Some slices acquired once more, 3 grey levels brighter."""
    made = [d for d in stack(SLICES, PHASES) if position_of(d) in positions]
    later = {"SeriesInstanceUID": "1.2.5", "SeriesNumber": 12, "AcquisitionTime": "101500"}
    for dataset in moved(made, **later, **changes):
        dataset.PixelData = (np.frombuffer(dataset.PixelData, np.uint16) + 3).tobytes()
        shifted(dataset, along_mm)
    return made


@pytest.mark.parametrize("along_mm", [0.0, 1.0, -4.0])
def test_three_slices_acquired_again_in_one_later_series_are_used(along_mm: float) -> None:
    cine = cine_of([*stack(SLICES, PHASES), *again({4, 5, 6}, along_mm)])
    wanted = expected(SLICES, PHASES)
    wanted[:, 4:7] += 3
    np.testing.assert_array_equal(cine.frames, wanted)
    assert cine.complete
    found = [issue for issue in cine.issues if issue.code == "reacquired-slice"]
    assert [issue.slice for issue in found] == [4, 5, 6]
    assert "series 12 at 10:15:00 and series 4 at 10:00:00" in found[0].text
    assert f"{abs(along_mm):.1f} mm apart" in found[0].text


def test_a_later_acquisition_that_lacks_phases_is_not_used() -> None:
    late = [d for d in again({4}) if phase_of(d) < 5]
    cine = cine_of([*stack(SLICES, PHASES), *late])
    assert_whole(cine)
    assert "the earlier was kept" in texts(cine, "reacquired-slice")[0]


def test_two_acquisitions_without_any_order_give_no_volume() -> None:
    late = again({4, 5}, 1.0)
    for dataset in late:
        dataset.AcquisitionTime, dataset.SeriesNumber = "100000", 4
    cine = cine_of([*stack(SLICES, PHASES), *late])
    assert not cine.complete
    assert codes(cine)["repeat-order-unknown"] == "error"


@pytest.mark.parametrize("offset_mm", [2.0, 3.0, 4.5])
@pytest.mark.parametrize("one_series_a_slice", [False, True])
def test_rest_and_stress_are_two_stacks_and_the_one_at_rest_is_measured(
    offset_mm: float, one_series_a_slice: bool
) -> None:
    stress = again(set(range(SLICES)), offset_mm)
    for dataset in stress:
        dataset.AcquisitionTime = f"10{25 + position_of(dataset):02d}00"
    both = [*stack(SLICES, PHASES), *stress]
    for dataset in both if one_series_a_slice else []:
        dataset.SeriesInstanceUID += f".{position_of(dataset)}"
    cine = cine_of(both)
    assert_whole(cine)
    assert "25 minutes later (stress?), the earlier was taken" in texts(cine, "several-stacks")[0]


# E. Headers held against each other


def test_instance_numbers_at_random_yield_to_acquisition_times() -> None:
    datasets = stack(SLICES, PHASES, TriggerTime=None)
    numbers = np.random.default_rng(3).permutation(len(datasets)) + 1
    for dataset, number in zip(datasets, numbers, strict=True):
        dataset.AcquisitionTime = f"1000{position_of(dataset):02d}.{phase_of(dataset) * 100:03d}000"
        dataset.InstanceNumber = int(number)
    cine = cine_of(datasets)
    assert_whole(cine)
    assert cine.source.order_rule == "AcquisitionTime"
    assert codes(cine)["phase-order-contradicted"] == "warning"


def test_a_clock_that_contradicts_the_trigger_times_is_a_finding() -> None:
    datasets = stack(SLICES, PHASES)
    for dataset in datasets:  # the clock runs backwards in the beat
        late = (PHASES - phase_of(dataset)) * 40
        dataset.AcquisitionTime = f"1000{position_of(dataset):02d}.{late:03d}000"
    cine = cine_of(datasets)
    assert_whole(cine)
    assert cine.source.order_rule == "TriggerTime"
    (text,) = texts(cine, "phase-order-contradicted")
    assert text.startswith("AcquisitionTime contradicts the order of TriggerTime")


def test_a_clock_that_begins_anywhere_in_the_beat_contradicts_nothing() -> None:
    datasets = stack(SLICES, PHASES)
    for dataset in datasets:
        turned = (phase_of(dataset) + 3) % PHASES * 40
        dataset.AcquisitionTime = f"1000{position_of(dataset):02d}.{turned:03d}000"
    cine = cine_of(datasets)
    assert_whole(cine)
    assert "phase-order-contradicted" not in codes(cine)


def test_instance_numbers_at_random_and_nothing_else_give_no_volume() -> None:
    datasets = stack(SLICES, PHASES, TriggerTime=None)
    numbers = np.random.default_rng(3).permutation(len(datasets)) + 1
    for dataset, number in zip(datasets, numbers, strict=True):
        dataset.InstanceNumber = int(number)
    cine = cine_of(datasets)
    assert not cine.complete
    assert codes(cine)["phase-order-unknown"] == "error"


@pytest.mark.parametrize("element", ["AcquisitionTime", "ContentTime"])
def test_without_instance_numbers_the_clock_orders_the_phases(element: str) -> None:
    datasets = stack(SLICES, PHASES, TriggerTime=None)
    for dataset in datasets:
        clock = f"1000{position_of(dataset):02d}.{phase_of(dataset) * 40:03d}000"
        setattr(dataset, element, clock)
        dataset.add_new("InstanceNumber", "IS", "")
    cine = cine_of(datasets)
    assert_whole(cine)
    assert cine.source.order_rule == element


@pytest.mark.parametrize("modality", [None, "OT"])
def test_the_class_of_the_object_stands_in_for_the_modality(modality: str | None) -> None:
    cine = cine_of(stack(SLICES, PHASES, Modality=modality))
    assert_whole(cine)
    assert codes(cine)["modality-contradicted"] == "warning"


def test_cosines_of_two_decimals_are_made_orthonormal() -> None:
    # the orientation of a real study: 0.77038 0.618446 0.155046, -0.15161 0.41389 -0.897613
    right = np.array([0.77038, 0.618446, 0.155046])
    down = np.array([-0.15161, 0.41389, -0.897613])
    across = np.cross(right, down)
    datasets = stack(SLICES, PHASES)
    for dataset in datasets:
        place = across * STEP_MM * position_of(dataset)
        dataset.ImagePositionPatient = [float(value) for value in place]
        rounded = np.round([*right, *down], 2)
        dataset.ImageOrientationPatient = [float(value) for value in rounded]
    cine = cine_of(datasets)
    assert_whole(cine)
    assert codes(cine)["cosines-rounded"] == "warning"
    assert cine.planes is not None
    plane = cine.planes[0]
    pair = np.array([plane.row_step, plane.column_step])
    np.testing.assert_allclose(pair @ pair.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(pair, [down, right], atol=0.01)
    # 9 mm along the true normal, at most 0.6 degrees (cosine 0.99995) from the rounded one
    np.testing.assert_allclose(np.diff(slice_positions_mm(cine.planes)), STEP_MM, atol=0.001)


@pytest.mark.parametrize("spacing", [2000.0, 0.00137, 1e-6, 1e6, 33.0])
def test_a_pixel_spacing_that_no_scanner_writes_gives_pixels_and_no_millimetres(
    spacing: float, tmp_path: Path
) -> None:
    folder = save(stack(SLICES, PHASES, PixelSpacing=[spacing, spacing]), tmp_path)
    cine = read_study(folder).short_axis()
    np.testing.assert_array_equal(cine.frames, expected(SLICES, PHASES))
    assert (cine.planes, cine.pixel_spacing_mm, cine.slice_spacing_mm) == (None, None, None)
    assert codes(cine)["implausible-spacing"] == "error"
    (text,) = texts(cine, "implausible-spacing")
    assert f"found {spacing:.4g} x {spacing:.4g} mm in the DICOM headers" in text
    (row,) = list_series(folder)
    assert (row.chosen, row.pixel_spacing_mm) == (True, None)
    assert "implausible-spacing" in row.reason


def test_a_slice_distance_and_a_field_of_view_are_held_to_the_same_rule() -> None:
    far = stack(SLICES, PHASES)
    for dataset in far:  # 9 m from slice to slice
        dataset.ImagePositionPatient = [1000 * v for v in dataset.ImagePositionPatient]
    # 128 pixels of 9.5 mm: 1216 mm across
    wide = stack(SLICES, PHASES, PixelSpacing=[9.5, 9.5])
    for dataset in wide:
        grey = np.frombuffer(dataset.PixelData, np.uint16).reshape(SIDE, SIDE)
        dataset.PixelData, dataset.Columns = np.tile(grey, 4).tobytes(), 4 * SIDE
    for datasets, named in (
        (far, "slice distance of 0.1 to 100 mm, found 9000 mm"),
        (wide, "field of view of at most 1000 mm, found 32 x 128 pixels of 9.5 x 9.5 mm"),
    ):
        cine = cine_of(datasets)
        assert cine.planes is None
        assert named in texts(cine, "implausible-spacing")[0]


def test_a_voxel_of_exactly_one_cubic_millimetre_is_a_finding() -> None:
    for spacing, severity in (([1.25, 0.8], "warning"), ([1.25, 0.81], None)):
        datasets = stack(SLICES, PHASES, PixelSpacing=spacing, SliceThickness=1)
        for dataset in datasets:  # 1 mm from slice to slice
            dataset.ImagePositionPatient = [float(v) for v in NORMAL * position_of(dataset)]
        cine = cine_of(datasets)
        assert_whole(cine)
        assert codes(cine).get("unit-voxel") == severity


@pytest.mark.parametrize("spacing", [0.0, -1.5, 1e300])
def test_a_pixel_spacing_that_is_none_is_refused_by_name(spacing: float) -> None:
    named = f"pixel spacing of 0.1 to 10 mm, found {spacing:.4g} x {spacing:.4g} mm"
    with pytest.raises(NotACineError, match=re.escape(named)):
        cine_of(stack(SLICES, PHASES, PixelSpacing=[spacing, spacing]))


def test_a_believable_stack_goes_before_one_that_is_not() -> None:
    odd = moved(stack(12, PHASES, PixelSpacing=[2000.0, 2000.0]), SeriesInstanceUID="1.2.5")
    cine = cine_of([*odd, *stack(SLICES, PHASES)])
    assert_whole(cine)
    assert "implausible-spacing" not in codes(cine)


def test_images_of_the_stack_without_a_believable_place_leave_it_incomplete() -> None:
    datasets = stack(SLICES, PHASES)
    for dataset in datasets:
        if position_of(dataset) == 8:
            dataset.PixelSpacing = [2000.0, 2000.0]
    cine = cine_of(datasets)
    assert cine.shape[1] == SLICES - 1
    assert not cine.complete
    assert codes(cine)["images-without-place"] == "error"


def restated(datasets: list[Dataset], folder: Path, real: str, stated: str) -> Path:
    """Files in one transfer syntax whose meta information names another."""
    folder.mkdir()
    for number, dataset in enumerate(datasets):
        dataset.file_meta.TransferSyntaxUID = real
        data = to_bytes(dataset)
        old, new = (uid.encode() + b"\0" * (len(uid) % 2) for uid in (real, stated))
        at = data.index(old)
        size = int.from_bytes(data[at - 2 : at], "little")
        assert size == len(old)
        group = int.from_bytes(data[140:144], "little") + len(new) - len(old)
        head = data[:140] + group.to_bytes(4, "little") + data[144 : at - 2]
        data = head + len(new).to_bytes(2, "little") + new + data[at + size :]
        (folder / f"{number}.dcm").write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("real", "stated"),
    [
        (ImplicitVRLittleEndian, ExplicitVRLittleEndian),
        (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        (ExplicitVRLittleEndian, JPEGLSLossless),
    ],
)
def test_the_data_decide_the_transfer_syntax(real: str, stated: str, tmp_path: Path) -> None:
    folder = restated(stack(SLICES, PHASES), tmp_path / "study", str(real), str(stated))
    cine = read_study(folder).short_axis()
    assert_whole(cine)
    assert codes(cine)["transfer-syntax-contradicted"] == "warning"


def multi_frame(position: int, **timing: object) -> Dataset:
    """One file a slice: all phases as frames of a classic MR image."""
    frames = np.stack([pixels(t, position) for t in range(PHASES)])
    made = image(0, position, pixels=frames[0], TriggerTime=None, NumberOfFrames=PHASES, **timing)
    made.PixelData = frames.tobytes()
    return made


def test_classic_multi_frame_takes_its_times_from_the_frame_time() -> None:
    timing = {"FrameTime": 40.0, "FrameIncrementPointer": 0x00181063}
    cine = cine_of([multi_frame(z, **timing) for z in range(SLICES)])
    assert_whole(cine)
    assert cine.source.order_rule == "FrameTime"
    assert cine.times_ms == tuple(40.0 * t for t in range(PHASES))
    steps = [0.0, 40, 40, 40, 50, 50, 50, 50]
    timing = {"FrameTimeVector": steps, "FrameIncrementPointer": 0x00181065}
    cine = cine_of([multi_frame(z, **timing) for z in range(SLICES)])
    assert cine.times_ms == (0, 40, 80, 120, 170, 220, 270, 320)


def test_multi_frame_without_a_time_for_each_frame_is_refused() -> None:
    with pytest.raises(NotACineError, match="multi-frame without a place for each frame"):
        cine_of([multi_frame(z) for z in range(SLICES)])


# K. Slices with differing numbers of phases


def with_fewer(phases: int, beat_ms: float) -> list[Dataset]:
    """Slices 4 and 5 with fewer phases of a ramp: grey = 80 x place in the beat (0 to 1)."""
    made = []
    for z in range(SLICES):
        count = phases if z in (4, 5) else PHASES
        for t in range(count):
            grey = np.full((SIDE, SIDE), round(840 * t / count), np.uint16)
            length = beat_ms if z in (4, 5) else 400.0
            made.append(
                image(t, z, pixels=grey, TriggerTime=t * length / count, NominalInterval=length)
            )
    return made


def test_slices_of_a_whole_beat_are_interpolated_to_the_common_phases() -> None:
    cine = cine_of(with_fewer(6, 300.0))
    assert cine.complete
    assert cine.shape[:2] == (PHASES, SLICES)
    # 8 phases of 6: phase 1 lies at 0.75 of image 1 (140): 105, as it is in the other slices;
    # phase 7 lies at 5.25, between image 5 (700) and, across the cycle, image 0 (0): 525
    np.testing.assert_allclose(cine.frames[:7, 4, 0, 0], 105.0 * np.arange(7), atol=1e-3)
    assert cine.frames[7, 4, 0, 0] == pytest.approx(525)
    np.testing.assert_array_equal(cine.frames[:, 3, 0, 0], 105.0 * np.arange(8))
    found = [issue for issue in cine.issues if issue.code == "phases-resampled"]
    assert [(issue.slice, issue.severity) for issue in found] == [(4, "warning"), (5, "warning")]
    assert "6 phases where 8 are usual" in found[0].text
    assert cine.times_ms == tuple(50.0 * t for t in range(PHASES))


@pytest.mark.parametrize("interval", [None, 600.0])
def test_slices_that_do_not_show_a_whole_beat_are_left_out(interval: float | None) -> None:
    datasets = with_fewer(6, 300.0)
    for dataset in datasets:
        if position_of(dataset) in (4, 5):
            dataset.NominalInterval = interval
    cine = cine_of(datasets)
    assert not cine.complete
    assert cine.shape[1] == SLICES - 2
    assert codes(cine)["incomplete-slice"] == "error"


# Other images that lie in the same planes


def test_velocity_images_do_not_replace_a_slice() -> None:
    magnitude = again({4})
    phase = moved(again({4}), ImageType=["ORIGINAL", "PRIMARY", "P"])
    assert_whole(cine_of([*stack(SLICES, PHASES), *magnitude, *phase]))


def test_a_tagged_cine_does_not_replace_slices() -> None:
    tagged = again({3, 4, 5}, SequenceVariant="SP", SequenceName="*fl2d1r2_tag")
    assert_whole(cine_of([*stack(SLICES, PHASES), *tagged]))


def test_perfusion_in_the_planes_of_the_cine_changes_nothing() -> None:
    dynamics = again({3, 4, 5})
    for dataset in dynamics:
        dataset.TriggerTime = 500.0 + 0.5 * phase_of(dataset)
        dataset.AcquisitionTime = f"1010{phase_of(dataset):02d}"
    assert_whole(cine_of([*stack(SLICES, PHASES), *dynamics]))


def test_one_enhanced_object_for_each_slice_is_one_stack() -> None:
    made = []
    for z in range(3):
        whole = enhanced(3, 4)
        groups = whole.PerFrameFunctionalGroupsSequence
        frames = np.frombuffer(whole.PixelData, np.uint16).reshape(12, SIDE, SIDE)
        whole.PerFrameFunctionalGroupsSequence = groups[4 * z : 4 * z + 4]
        whole.PixelData, whole.NumberOfFrames = frames[4 * z : 4 * z + 4].tobytes(), 4
        whole.SOPInstanceUID, whole.SeriesInstanceUID = f"1.2.3.77.{z}", f"1.2.3.7.{z}"
        made.append(whole)
    cine = cine_of(made)
    assert cine.complete
    assert cine.shape == (4, 3, SIDE, SIDE)
