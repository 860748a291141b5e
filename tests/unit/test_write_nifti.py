"""NIfTI files: shape and affine of a NIfTI source, geometry of a DICOM one, equal bytes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lvseg.cine import Cine, Mask, Source
from lvseg.errors import GeometryMismatchError, UsageError
from lvseg.geometry import Grid, Plane
from lvseg.read import read_mask, read_study
from lvseg.write import write_cine_nifti, write_mask

ARRAY = Source(format="array", name="made")


def _planes(*heights_mm: float) -> tuple[Plane, ...]:
    """Axial slices: columns to the left of the patient, rows to the back, heights to the head."""
    return tuple(
        Plane((10.0, 20.0, z), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.5, 1.25), 6.0)
        for z in heights_mm
    )


def _labels(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)).reshape(shape) % 3 == 0).astype(np.uint8)


def test_a_stack_becomes_column_row_slice_phase_in_ras(tmp_path: Path) -> None:
    labels = _labels(2, 3, 4, 5)
    mask = Mask(labels, (0, 1), grid=Grid.of(labels, planes=_planes(0.0, 8.0, 16.0)))
    path = tmp_path / "mask.nii.gz"
    assert write_mask(mask, path, ARRAY, times_ms=(0.0, 40.0)) == ()
    image = nib.load(path)
    assert image.shape == (5, 4, 3, 2)
    data = np.asanyarray(image.dataobj)
    assert data.dtype == np.uint8
    assert data[3, 2, 1, 0] == labels[0, 1, 2, 3]
    # LPS (10, 20, 0) is RAS (-10, -20, 0); a column step is 1.25 mm to the left = -1.25 in RAS
    expected = [[-1.25, 0, 0, -10], [0, -1.5, 0, -20], [0, 0, 8, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.affine, expected, atol=1e-6)
    np.testing.assert_allclose(image.get_qform(), expected, atol=1e-5)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 1)
    assert image.header.get_xyzt_units() == ("mm", "msec")
    assert image.header.get_zooms() == (1.25, 1.5, 8.0, 40.0)


def _source_file(path: Path, how: str) -> Path:
    """A 4D file: steps of 1.7, 1.9 and 9 units, 0.04 units of time."""
    matrix = np.diag([1.7, 1.9, -9.0, 1.0])
    image = nib.Nifti1Image(np.zeros((18, 17, 3, 2), np.int16), None)
    image.header["pixdim"][1:5] = [1.7, 1.9, 9.0, 0.04]
    image.header["descrip"] = b"Doe^Jane"
    image.header.set_xyzt_units("mm", "sec")
    if how == "metres":
        matrix[:3] /= 1000
        image.header["pixdim"][1:4] /= 1000
        image.header.set_xyzt_units("meter", "sec")
    if how == "no sizes":
        image.header["pixdim"][1:4] = 1
    if how in ("sform", "metres"):
        image.header.set_sform(matrix, code=2)
    if how == "qform":
        image.header.set_qform(matrix, code=3)
    path.write_bytes(image.to_bytes())
    return path


@pytest.mark.parametrize("how", ["sform", "qform", "metres", "sizes only", "no sizes"])
def test_the_mask_of_a_nifti_says_what_its_source_says(tmp_path: Path, how: str) -> None:
    path = _source_file(tmp_path / "cine.nii", how)
    cine = read_study(path).short_axis()
    labels = np.zeros(cine.shape, np.uint8)
    write_mask(Mask(labels, (0, 1)), tmp_path / "m.nii.gz", cine.source, times_ms=cine.times_ms)
    before, after = nib.load(path), nib.load(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.header.get_zooms() == before.header.get_zooms()
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()
    for code in ("sform_code", "qform_code"):
        assert int(after.header[code]) == int(before.header[code])
    assert b"Doe" not in after.to_bytes()
    mask = read_mask(tmp_path / "m.nii.gz")
    assert mask.pixel_spacing_mm == cine.pixel_spacing_mm
    assert mask.slice_spacing_mm == cine.slice_spacing_mm
    assert (mask.pixel_spacing_mm is None) == (how == "no sizes")  # never 1


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (5, 4, 3, 2), (5, 4, 1), (5, 4, 1, 2)])
def test_a_nifti_source_gives_shape_and_affine(tmp_path: Path, shape: tuple[int, ...]) -> None:
    columns, rows, slices, phases = (*shape, 1, 1)[:4]
    labels = _labels(phases, slices, rows, columns)
    matrix = np.array([[1.1, 0.2, 0, 3], [-0.3, 1.4, 0, 5], [0, 0, -9, 7], [0, 0, 0, 1.0]])
    source = Source(format="nifti", name="a", affine_ras=matrix, shape=shape)
    write_mask(Mask(labels, tuple(range(phases))), tmp_path / "m.nii", source)
    image = nib.load(tmp_path / "m.nii")
    assert image.shape == shape
    np.testing.assert_allclose(image.affine, matrix, atol=1e-6)
    expected = labels.transpose(3, 2, 1, 0).reshape(shape)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), expected)


def test_labels_of_another_shape_than_the_source_are_refused(tmp_path: Path) -> None:
    source = Source(format="nifti", name="a", affine_ras=np.eye(4), shape=(4, 5, 3))
    with pytest.raises(GeometryMismatchError, match=r"\(4, 5, 3\), found \(5, 4, 3, 1\)"):
        write_mask(Mask(_labels(1, 3, 4, 5), (0,)), tmp_path / "m.nii.gz", source)
    assert list(tmp_path.iterdir()) == []


def test_a_flat_affine_of_the_source_is_kept(tmp_path: Path) -> None:
    matrix = np.diag([1.1, 1.2, 0.0, 1.0])
    source = Source(format="nifti", name="a", affine_ras=matrix, shape=(5, 4))
    write_mask(Mask(_labels(1, 1, 4, 5), (0,)), tmp_path / "m.nii.gz", source)
    np.testing.assert_allclose(nib.load(tmp_path / "m.nii.gz").affine, matrix, atol=1e-6)


def test_an_irregular_stack_is_written_with_a_warning(tmp_path: Path) -> None:
    mask = Mask(
        _labels(1, 4, 4, 5),
        (0,),
        grid=Grid.of(_labels(1, 4, 4, 5), planes=_planes(0.0, 8.0, 16.0, 32.0)),
    )
    (issue,) = write_mask(mask, tmp_path / "m.nii.gz", ARRAY)
    assert (issue.code, issue.severity) == ("irregular-affine", "warning")
    # least squares of 0 8 16 32 over -1.5 -0.5 0.5 1.5: (48 + 4) / 5 = 10.4; start 14 - 15.6
    step = nib.load(tmp_path / "m.nii.gz").affine[:3, 2:]
    np.testing.assert_allclose(step, [[0, -10], [0, -20], [10.4, -1.6]], atol=1e-6)
    # fitted -1.6 8.8 19.2 29.6 against 0 8 16 32: the worst is 3.2
    assert "3.2 mm" in issue.text


def test_unknown_geometry_claims_no_coordinate_system(tmp_path: Path) -> None:
    mask = Mask(
        _labels(1, 3, 4, 5), (0,), grid=Grid.of(_labels(1, 3, 4, 5), pixel_spacing_mm=(1.5, 1.25))
    )
    (issue,) = write_mask(mask, tmp_path / "m.nii.gz", ARRAY)
    header = nib.load(tmp_path / "m.nii.gz").header
    assert issue.code == "no-affine"
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
    assert header.get_xyzt_units()[0] == "unknown"


def test_equal_masks_give_equal_bytes_under_any_name(tmp_path: Path) -> None:
    mask = Mask(
        _labels(2, 3, 4, 5),
        (0, 1),
        grid=Grid.of(_labels(2, 3, 4, 5), planes=_planes(0.0, 8.0, 16.0)),
    )
    for name in ("a.nii.gz", "b.nii.gz"):
        write_mask(mask, tmp_path / name, ARRAY)
    first = (tmp_path / "a.nii.gz").read_bytes()
    assert first == (tmp_path / "b.nii.gz").read_bytes()
    assert first[3:8] == bytes(5)  # no file name flag, time 0 (RFC 1952, section 2.3)


def test_a_picture_mask_is_a_png(tmp_path: Path) -> None:
    write_mask(Mask(_labels(1, 1, 4, 5), (0,)), tmp_path / "m.png", ARRAY)
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mask\.mha"):
        write_mask(Mask(_labels(1, 1, 4, 5), (0,)), tmp_path / "mask.mha", ARRAY)


@pytest.mark.parametrize(("shift", "kind"), [(0.0, np.int16), (0.25, np.float32)])
def test_a_cine_keeps_its_values(tmp_path: Path, shift: float, kind: type) -> None:
    frames = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5) + np.float32(shift)
    cine = Cine(
        frames, ARRAY, grid=Grid.of(frames, planes=_planes(0.0, 8.0, 16.0)), times_ms=(10.0, 52.0)
    )
    assert write_cine_nifti(cine, tmp_path / "c.nii.gz") == ()
    image = nib.load(tmp_path / "c.nii.gz")
    assert image.get_data_dtype() == kind
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), frames.transpose(3, 2, 1, 0))
    assert float(image.header["pixdim"][4]) == 42.0


def test_a_cine_of_one_phase_is_3d(tmp_path: Path) -> None:
    cine = Cine(
        np.ones((1, 3, 4, 5), np.float32),
        ARRAY,
        grid=Grid.of(np.ones((1, 3, 4, 5), np.float32), planes=_planes(0.0, 8.0, 16.0)),
    )
    write_cine_nifti(cine, tmp_path / "c.nii.gz")
    assert nib.load(tmp_path / "c.nii.gz").shape == (5, 4, 3)
