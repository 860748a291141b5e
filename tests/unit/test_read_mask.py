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
from lvseg.labels import Label
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


def of(values: list[float], *shape: int) -> np.ndarray:
    """An array that holds these values in turn."""
    return np.resize(np.array(values, np.float32), shape)


@pytest.mark.parametrize(
    ("values", "listed"),
    [
        ([0, 1, 2, 3], "found 0, 1, 2, 3 in"),
        ([0, 3], "found 0, 3 in"),
        ([0, 1, 255], "found 0, 1, 255 in"),
        ([-1, 0], "found -1, 0 in"),
        (list(range(12)), "found 0, 1, 2, 3, 4, 5, 6, 7, ... in"),
    ],
)
def test_labels_of_another_tool_are_listed_and_asked_about(
    tmp_path: Path, values: list[float], listed: str
) -> None:
    with pytest.raises(ReadError, match=r"labels 0, 1 \(cavity\), 2 \(myocardium\), ") as caught:
        read_mask(write(tmp_path / "m.nii", of(values, 20, 18, 3)))
    assert listed in str(caught.value)
    assert "say which value is the cavity with --label cavity=VALUE" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_blurred_mask_is_no_mask_whatever_is_said_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "m.nii", of([0, 0.5], 20, 18, 3))
    for said in (None, {1: Label.LV_CAVITY}):
        with pytest.raises(ReadError, match="whole numbers"):
            read_mask(path, label_values=said)


def test_0_and_255_alone_leave_no_doubt_in_any_file(tmp_path: Path) -> None:
    data = labels(20, 18, 3)
    mask = read_mask(write(tmp_path / "m.nii", data * 255))
    np.testing.assert_array_equal(mask.labels[0], data.transpose(2, 1, 0))


@pytest.mark.parametrize("value", [1, 2, 3, 255, 65535])
def test_the_value_that_was_named_is_the_cavity_and_all_others_are_background(
    tmp_path: Path, value: int
) -> None:
    data = of([0, 1, 2, 3, 255, 65535], 20, 18, 3)
    mask = read_mask(write(tmp_path / "m.nii", data), label_values={value: Label.LV_CAVITY})
    np.testing.assert_array_equal(mask.labels[0], (data == value).transpose(2, 1, 0))
    flat = data[:, :, 0].T.astype(np.uint16)
    Image.fromarray(flat).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", label_values={value: Label.LV_CAVITY})
    np.testing.assert_array_equal(mask.labels[0, 0], flat == value)


@pytest.mark.parametrize("values", [[0, 3], [0, 1, 2, 3], [0, 85, 170, 255], [0, 100]])
def test_a_picture_with_labels_of_another_tool_is_not_black_and_white(
    tmp_path: Path, values: list[float]
) -> None:
    Image.fromarray(of(values, 20, 24).astype(np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(ReadError, match="--label cavity=VALUE") as caught:
        read_mask(tmp_path / "m.png")
    assert f"found {', '.join(map(str, values))} in" in str(caught.value)


def test_a_black_and_white_picture_may_have_a_blurred_edge(tmp_path: Path) -> None:
    y, x = np.mgrid[:32, :32]
    edge = np.clip((10 - np.hypot(x - 15, y - 15)) * 60 + 128, 0, 255).astype(np.uint8)
    Image.fromarray(edge).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png").labels[0, 0], edge >= 128)


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
