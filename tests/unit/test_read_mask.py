"""Masks in: labels 0 and 1, on the grid of their cine."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from read_maker import image, to_bytes

from lvseg.cine import Cine, Source
from lvseg.errors import GeometryMismatchError, ReadError
from lvseg.geometry import Grid
from lvseg.read import read_mask

AFFINE = np.diag([1.5, 1.25, 9.0, 1.0])


def labels(*shape: int) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 3 == 0).astype(np.uint8).reshape(shape)


def write(path: Path, data: np.ndarray) -> Path:
    picture = nib.Nifti1Image(data, AFFINE)
    picture.header.set_xyzt_units("mm", "sec")
    nib.save(picture, path)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_nifti_labels_keep_their_place(tmp_path: Path, dtype: type) -> None:
    data = labels(20, 18, 3, 4)
    mask = read_mask(write(tmp_path / "m.nii.gz", data.astype(dtype)))
    np.testing.assert_array_equal(mask.labels, data.transpose(3, 2, 1, 0))
    assert mask.phases == (0, 1, 2, 3)
    assert mask.pixel_spacing_mm == pytest.approx((1.25, 1.5))
    assert mask.planes is not None


def test_an_empty_mask_is_a_mask(tmp_path: Path) -> None:
    mask = read_mask(write(tmp_path / "m.nii", np.zeros((20, 18, 3), np.uint8)))
    assert mask.labels.sum() == 0


@pytest.mark.parametrize("values", [[0, 1, 2], [0, 255], [0, 0.5], [-1, 0]])
def test_other_labels_are_refused(tmp_path: Path, values: list[float]) -> None:
    data = np.resize(np.array(values, np.float32), (20, 18, 3))
    with pytest.raises(ReadError, match="labels 0 and 1"):
        read_mask(write(tmp_path / "m.nii", data))


@pytest.mark.parametrize("white", [255, 200, 128, 1])
def test_black_and_white_pictures(tmp_path: Path, white: int) -> None:
    data = labels(20, 24)
    Image.fromarray((data * white).astype(np.uint8)).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png")
    np.testing.assert_array_equal(mask.labels[0, 0], data)
    assert mask.pixel_spacing_mm is None


def test_grey_below_half_is_black(tmp_path: Path) -> None:
    data = labels(20, 24) * 255
    data[data == 0] = 127
    Image.fromarray(data.astype(np.uint8)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png").labels[0, 0], labels(20, 24))


def test_a_mask_takes_the_geometry_of_its_cine(tmp_path: Path) -> None:
    cine = Cine(
        np.zeros((4, 3, 18, 20), np.float32),
        Source("array", "x"),
        grid=Grid.of(
            np.zeros((4, 3, 18, 20), np.float32),
            pixel_spacing_mm=(1.1, 1.3),
            slice_spacing_mm=7.0,
            complete=False,
        ),
    )
    mask = read_mask(write(tmp_path / "m.nii", labels(20, 18, 3, 4)), like=cine)
    assert (mask.pixel_spacing_mm, mask.slice_spacing_mm) == ((1.1, 1.3), 7.0)
    assert (mask.planes, mask.complete) == (None, False)
    assert read_mask(write(tmp_path / "s.nii", labels(20, 18, 3)), like=cine).phases == (0,)
    for shape in ((20, 18, 2, 4), (18, 20, 3, 4), (20, 18, 3, 2)):
        with pytest.raises(GeometryMismatchError, match="like the cine"):
            read_mask(write(tmp_path / "w.nii", labels(*shape)), like=cine)


def test_a_dicom_image_and_the_rest_are_refused(tmp_path: Path) -> None:
    (tmp_path / "image.dcm").write_bytes(to_bytes(image()))
    with pytest.raises(ReadError, match="found DICOM of modality MR"):
        read_mask(tmp_path / "image.dcm")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ReadError, match="something else"):
        read_mask(tmp_path / "a.txt")
    with pytest.raises(ReadError, match="folder"):
        read_mask(tmp_path)
    with pytest.raises(ReadError, match="check the path"):
        read_mask(tmp_path / "none.nii")
