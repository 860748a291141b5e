"""NIfTI in: axes, geometry and what a header leaves unknown."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lvseg.cine import Cine
from lvseg.errors import ReadError
from lvseg.geometry import index_to_mm, slice_spacing_mm
from lvseg.read import find_studies, list_series, read_study

#: index (i, j, k) -> RAS mm; steps 1.5, 1.25 and 9 mm, turned by 30 degrees about z.
TURN = np.radians(30)
AFFINE = np.array(
    [
        [1.5 * np.cos(TURN), -1.25 * np.sin(TURN), 0, 10],
        [1.5 * np.sin(TURN), 1.25 * np.cos(TURN), 0, -20],
        [0, 0, 9, 30],
        [0, 0, 0, 1],
    ]
)


def volume(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 997).astype(np.int16).reshape(shape)


def write(
    path: Path, data: np.ndarray, affine: np.ndarray | None = AFFINE, **header: object
) -> Path:
    image = nib.Nifti1Image(data, affine)
    units = header.pop("units", ("mm", "msec"))
    image.header.set_xyzt_units(*units)
    if "zooms" in header:
        image.header.set_zooms(header.pop("zooms"))
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def set_pixdim(path: Path, sizes: tuple[float, ...]) -> None:
    """Write pixdim[1:4] (nifti1.h: floats from byte 80 on); nibabel would repair zeros."""
    content = bytearray(path.read_bytes())
    content[80:92] = struct.pack("<3f", *sizes)
    path.write_bytes(content)


def cine_of(path: Path) -> Cine:
    return read_study(path).short_axis()


def codes(cine: Cine) -> list[str]:
    return [issue.code for issue in cine.issues]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_4d_file_keeps_every_voxel_in_its_place(tmp_path: Path, ending: str) -> None:
    data = volume(20, 18, 3, 4)
    path = write(tmp_path / f"patient{ending}", data, zooms=(1.5, 1.25, 9.0, 38.0))
    cine = cine_of(path)
    assert cine.shape == (4, 3, 18, 20)
    assert cine.frames[3, 2, 17, 5] == data[5, 17, 2, 3]
    np.testing.assert_array_equal(cine.frames, data.transpose(3, 2, 1, 0))
    assert cine.times_ms == (0.0, 38.0, 76.0, 114.0)
    assert cine.source.name == "patient"
    assert cine.source.shape == (20, 18, 3, 4)
    assert cine.source.affine_ras is not None
    np.testing.assert_allclose(cine.source.affine_ras, AFFINE, atol=1e-5)


def test_planes_are_the_affine_in_lps(tmp_path: Path) -> None:
    cine = cine_of(write(tmp_path / "a.nii", volume(20, 18, 3)))
    assert cine.planes is not None
    assert cine.pixel_spacing_mm == pytest.approx((1.25, 1.5))
    assert slice_spacing_mm(cine.planes) == pytest.approx(9)
    # voxel (i, j, k) = (4, 7, 2): RAS by the affine, LPS with the first two signs turned
    ras = AFFINE @ [4, 7, 2, 1]
    point = index_to_mm(cine.planes[2], np.array([[7.0, 4.0]]))[0]
    np.testing.assert_allclose(point, [-ras[0], -ras[1], ras[2]], atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((20, 18), (1, 1, 18, 20)),
        ((20, 18, 3), (1, 3, 18, 20)),
        ((20, 18, 3, 1), (1, 3, 18, 20)),
        ((20, 18, 1, 4), (4, 1, 18, 20)),
        ((20, 18, 3, 4, 1), (4, 3, 18, 20)),
    ],
)
def test_dimensions(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    cine = cine_of(write(tmp_path / "a.nii", volume(*shape)))
    assert cine.shape == expected
    assert cine.source.shape == shape


def test_scaling_is_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(volume(20, 18, 2), AFFINE)
    image.header.set_slope_inter(2.5, -7)
    nib.save(image, tmp_path / "a.nii")
    raw = np.asarray(nib.load(tmp_path / "a.nii").dataobj)
    cine = cine_of(tmp_path / "a.nii")
    np.testing.assert_allclose(cine.frames[0], raw.transpose(2, 1, 0), rtol=1e-6)
    assert cine.frames.min() == -7


def test_without_codes_only_the_spacing_is_known(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", volume(20, 18, 3), None, zooms=(1.5, 1.25, 9.0))
    cine = cine_of(path)
    assert cine.planes is None
    assert cine.pixel_spacing_mm == pytest.approx((1.25, 1.5))
    assert cine.slice_spacing_mm == pytest.approx(9)
    assert codes(cine) == ["no-orientation"]


@pytest.mark.parametrize("zooms", [(1.0, 1.0, 1.0), (0.0, 1.25, 9.0)])
def test_default_or_absent_sizes_stay_unknown(tmp_path: Path, zooms: tuple[float, ...]) -> None:
    nib.save(nib.Nifti1Image(volume(20, 18, 3), None), tmp_path / "a.nii")
    set_pixdim(tmp_path / "a.nii", zooms)
    cine = cine_of(tmp_path / "a.nii")
    assert cine.pixel_spacing_mm is None
    assert cine.slice_spacing_mm is None
    assert codes(cine) == ["no-spacing"]


def test_a_quaternion_without_sizes_gives_no_spacing(tmp_path: Path) -> None:
    image = nib.Nifti1Image(volume(20, 18, 3), None)
    image.set_qform(AFFINE, code=1)
    nib.save(image, tmp_path / "a.nii")
    set_pixdim(tmp_path / "a.nii", (0.0, 0.0, 0.0))
    cine = cine_of(tmp_path / "a.nii")
    assert (cine.planes, cine.pixel_spacing_mm) == (None, None)


def test_a_quaternion_is_enough(tmp_path: Path) -> None:
    image = nib.Nifti1Image(volume(20, 18, 3), None)
    image.set_qform(AFFINE, code=1)
    nib.save(image, tmp_path / "a.nii")
    cine = cine_of(tmp_path / "a.nii")
    assert cine.pixel_spacing_mm == pytest.approx((1.25, 1.5))
    assert cine.planes is not None


def test_a_sheared_affine_gives_no_millimetres(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[:3, 1] = 1.25 * (AFFINE[:3, 0] / 1.5 * 0.6 + AFFINE[:3, 1] / 1.25 * 0.8)
    image = nib.Nifti1Image(volume(20, 18, 3), None)
    image.set_sform(sheared, code=1)
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "a.nii")
    cine = cine_of(tmp_path / "a.nii")
    assert cine.planes is None
    assert (cine.pixel_spacing_mm, cine.slice_spacing_mm) == (None, None)
    assert codes(cine) == ["sheared-affine"]


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000.0), ("micron", 0.001), ("mm", 1.0)])
def test_units_of_length(tmp_path: Path, unit: str, factor: float) -> None:
    affine = AFFINE.copy()
    affine[:3] /= factor
    cine = cine_of(write(tmp_path / "a.nii", volume(20, 18, 3), affine, units=(unit, "sec")))
    assert cine.pixel_spacing_mm == pytest.approx((1.25, 1.5), rel=1e-5)
    assert cine.issues == ()


def test_an_unknown_unit_is_taken_as_mm_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", volume(20, 18, 3, 2), units=("unknown", "unknown"))
    cine = cine_of(path)
    assert cine.pixel_spacing_mm == pytest.approx((1.25, 1.5))
    assert codes(cine) == ["unit-assumed"]
    assert cine.times_ms is None


def test_seconds_become_milliseconds(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.nii", volume(20, 18, 3, 3), zooms=(1.5, 1.25, 9.0, 0.04), units=("mm", "sec")
    )
    assert cine_of(path).times_ms == pytest.approx((0, 40, 80))


def test_nifti_2(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(volume(20, 18, 3), AFFINE), tmp_path / "a.nii")
    assert cine_of(tmp_path / "a.nii").shape == (1, 3, 18, 20)


def test_several_files_are_several_studies_with_names_of_their_own(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        write(tmp_path / patient / "ED.nii.gz", volume(20, 18, 3))
    write(tmp_path / "other.nii", volume(20, 18, 3))
    refs = find_studies(tmp_path)
    assert [ref.name for ref in refs] == ["other", "p1-ED", "p2-ED"]
    assert read_study(refs[1]).short_axis().source.location.endswith("ED.nii.gz")
    assert len(list_series(tmp_path)) == 3


def refused(path: Path, *words: str) -> None:
    with pytest.raises(ReadError) as caught:
        read_study(path)
    for word in (*words, str(path)):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nan_is_refused(tmp_path: Path) -> None:
    data = volume(20, 18, 3).astype(np.float32)
    data[3, 3, 1] = np.nan
    refused(write(tmp_path / "a.nii", data), "NaN")


def test_colour_and_complex_are_refused(tmp_path: Path) -> None:
    rgb = np.zeros((20, 18, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    refused(write(tmp_path / "rgb.nii", rgb), "colour")
    refused(write(tmp_path / "c.nii", np.ones((20, 18, 3), np.complex64)), "complex")


def test_five_dimensions_are_refused(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.nii", volume(20, 18, 3, 2, 2)), "dimensions")


def test_tiny_images_are_refused(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.nii", volume(20, 15, 3)), "16 pixels")


def test_broken_gzip_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", volume(20, 18, 3))
    path.write_bytes(path.read_bytes()[:-40])
    refused(path, "gzip")
    path.write_bytes(gzip.compress(b"hello"))
    refused(path, "NIfTI")


def test_a_truncated_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", volume(20, 18, 3))
    path.write_bytes(path.read_bytes()[:-100])
    refused(path, "part of one")
    path.write_bytes(b"text")
    refused(path, "NIfTI")


def test_a_spacing_given_for_a_nifti_is_not_used(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", volume(20, 18, 3))
    cine = read_study(path, spacing_mm=3.0).short_axis()
    assert cine.pixel_spacing_mm == pytest.approx((1.25, 1.5))
    assert codes(cine) == ["spacing-ignored"]
