"""DICOM written from a cine: valid by an independent checker, true to the cine, repeatable."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from enhanced_export import EXPORTS, write_enhanced_cine
from lvseg.cine import Cine, Source
from lvseg.errors import GeometryError, UsageError
from lvseg.geometry import Grid, Plane
from lvseg.phantom.dicom_export import write_dicom_cine

SOURCE = Source(format="array", name="made")
ROW, COLUMN = (0.0, 0.6, -0.8), (1.0, 0.0, 0.0)  # column x row = (0, 0.8, 0.6)


def _cine(heights_mm: tuple[float, ...] = (0.0, 9.0, 18.0)) -> Cine:
    planes = tuple(
        Plane((-40.0, 0.8 * h - 30, 0.6 * h + 10), ROW, COLUMN, (1.5, 1.25), 7.0)
        for h in heights_mm
    )
    shape = (2, len(planes), 6, 5)
    frames = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return Cine(
        frames,
        SOURCE,
        grid=Grid.of(frames, planes=planes),
        times_ms=(0.0, 400.0),
        view="short-axis",
    )


def _numbers(values: object) -> list[float]:
    return [float(value) for value in values]  # type: ignore[attr-defined]


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize("heights", [(0.0, 9.0, 18.0), (0.0, 9.0, 27.0), (0.0,)])
def test_dciodvfy_finds_no_fault(
    tmp_path: Path, enhanced: bool, heights: tuple[float, ...]
) -> None:
    checker = shutil.which("dciodvfy")
    if checker is None:
        if os.environ.get("CI") == "true":
            pytest.fail("dciodvfy (Debian package dicom3tools) is missing in CI")
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    for path in EXPORTS[enhanced](_cine(heights), tmp_path):
        told = subprocess.run([checker, path], capture_output=True, text=True, check=False)
        lines = (told.stdout + told.stderr).splitlines()
        assert lines == ["EnhancedMRImage" if enhanced else "MRImage"]


def test_each_frame_is_a_file_with_its_place_and_time(tmp_path: Path) -> None:
    cine = _cine()
    paths = write_dicom_cine(cine, tmp_path)
    assert [path.name for path in paths] == [f"{n:04d}.dcm" for n in range(1, 7)]
    dataset = pydicom.dcmread(paths[3])  # number 4 = slice 1, phase 1: two phases a slice
    np.testing.assert_array_equal(dataset.pixel_array, cine.frames[1, 1])
    assert dataset.pixel_array.dtype == np.uint16
    # (-40, 0.8 * 9 - 30, 0.6 * 9 + 10)
    assert _numbers(dataset.ImagePositionPatient) == pytest.approx([-40, -22.8, 15.4])
    assert _numbers(dataset.ImageOrientationPatient) == [*COLUMN, *ROW]
    assert _numbers(dataset.PixelSpacing) == [1.5, 1.25]
    assert float(dataset.SliceThickness) == 7
    assert float(dataset.SpacingBetweenSlices) == pytest.approx(9)
    assert float(dataset.SliceLocation) == pytest.approx(-24 + 6 + 9)  # -30*.8 + 10*.6 + 9
    assert float(dataset.TriggerTime) == 400
    assert (dataset.NominalInterval, dataset.HeartRate) == (800, 75)  # 400 / 1 * 2; 60000 / 800
    assert dataset.CardiacNumberOfImages == 2
    assert (dataset.TemporalPositionIdentifier, dataset.InstanceNumber) == (2, 4)


def test_enhanced_frames_carry_their_place_and_time(tmp_path: Path) -> None:
    cine = _cine()
    (path,) = write_enhanced_cine(cine, tmp_path)
    dataset = pydicom.dcmread(path)
    np.testing.assert_array_equal(dataset.pixel_array[3], cine.frames[1, 1])
    frame = dataset.PerFrameFunctionalGroupsSequence[3]
    position = frame.PlanePositionSequence[0].ImagePositionPatient
    assert _numbers(position) == pytest.approx([-40, -22.8, 15.4])
    assert frame.CardiacSynchronizationSequence[0].NominalCardiacTriggerDelayTime == 400
    assert list(frame.FrameContentSequence[0].DimensionIndexValues) == [2, 2]
    measures = frame.PixelMeasuresSequence[0]
    assert _numbers(measures.PixelSpacing) == [1.5, 1.25]


def test_an_irregular_stack_states_no_slice_spacing(tmp_path: Path) -> None:
    paths = write_dicom_cine(_cine((0.0, 9.0, 27.0)), tmp_path)
    assert "SpacingBetweenSlices" not in pydicom.dcmread(paths[0])


def test_unknown_times_are_left_out(tmp_path: Path) -> None:
    known = _cine()
    cine = Cine(known.frames, SOURCE, grid=Grid.of(known.frames, planes=known.planes))
    dataset = pydicom.dcmread(write_dicom_cine(cine, tmp_path / "a")[0])
    assert not {"TriggerTime", "NominalInterval", "HeartRate"} & set(dataset.dir())
    frame = pydicom.dcmread(write_enhanced_cine(cine, tmp_path / "b")[0])
    assert "CardiacSynchronizationSequence" not in frame.PerFrameFunctionalGroupsSequence[0]


def test_uids_repeat_with_the_seed_and_differ_without(tmp_path: Path) -> None:
    first = write_dicom_cine(_cine(), tmp_path / "a", seed=3)
    again = write_dicom_cine(_cine(), tmp_path / "b", seed=3)
    other = write_dicom_cine(_cine(), tmp_path / "c", seed=4)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    one, two = (pydicom.dcmread(paths[0]) for paths in (first, other))
    assert one.StudyInstanceUID != two.StudyInstanceUID
    everything = [pydicom.dcmread(path).SOPInstanceUID for path in (*first, *other)]
    assert len(set(everything)) == len(everything)
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in everything)


def test_frames_that_are_not_whole_numbers_are_scaled_together(tmp_path: Path) -> None:
    known = _cine((0.0, 9.0))
    cine = Cine(
        known.frames / 8 - 3, SOURCE, grid=Grid.of(known.frames / 8 - 3, planes=known.planes)
    )
    frames = [pydicom.dcmread(p).pixel_array for p in write_dicom_cine(cine, tmp_path)]
    # 120 steps from 0 to 119 become 0 to 4095
    assert (min(f.min() for f in frames), max(f.max() for f in frames)) == (0, 4095)
    assert frames[0][0, 1] == round(4095 / 119)


def test_no_geometry_no_dicom(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="no geometry"):
        write_dicom_cine(Cine(np.ones((1, 1, 4, 5), np.float32), SOURCE), tmp_path)


def test_a_patient_id_that_dicom_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="64 characters"):
        write_dicom_cine(_cine(), tmp_path, patient_id="x" * 65)
