"""Pictures in: grey values as stored, no millimetres unless stated."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lvseg.bounds import ReadingLimits
from lvseg.errors import LabelMapError, LimitError, NotACineError, ReadError, UsageError
from lvseg.read import find_studies, list_series, read_picture, read_study

GREY = (np.arange(20 * 24).reshape(20, 24) % 251).astype(np.uint8)


def save(path: Path, values: np.ndarray, **options: object) -> Path:
    Image.fromarray(values).save(path, **options)
    return path


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_8_and_16_bits_are_read_as_stored(tmp_path: Path, ending: str) -> None:
    np.testing.assert_array_equal(read_picture(save(tmp_path / f"a{ending}", GREY)), GREY)
    deep = GREY.astype(np.uint16) * 257
    values = read_picture(save(tmp_path / f"b{ending}", deep))
    np.testing.assert_array_equal(values, deep)
    assert values.dtype == np.float32


def test_a_picture_is_one_phase_and_one_slice_without_geometry(tmp_path: Path) -> None:
    cine = read_study(save(tmp_path / "ed.png", GREY)).short_axis()
    assert cine.shape == (1, 1, 20, 24)
    assert (cine.planes, cine.pixel_spacing_mm, cine.slice_spacing_mm) == (None, None, None)
    assert cine.times_ms is None
    assert cine.source.name == "ed"
    assert cine.source.format == "picture"


def test_a_stated_spacing_is_taken(tmp_path: Path) -> None:
    path = save(tmp_path / "ed.png", GREY)
    assert read_study(path, spacing_mm=1.4).short_axis().pixel_spacing_mm == (1.4, 1.4)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="above 0"):
            read_study(path, spacing_mm=wrong)


@pytest.mark.parametrize("spacing", [2000.0, 1e-6])
def test_a_spacing_that_no_picture_of_a_heart_has_is_unknown(
    tmp_path: Path, spacing: float
) -> None:
    cine = read_study(save(tmp_path / "ed.png", GREY), spacing_mm=spacing).short_axis()
    assert cine.pixel_spacing_mm is None
    (issue,) = cine.issues
    assert (issue.code, issue.severity) == ("implausible-spacing", "error")
    assert f"found {spacing:.4g} x {spacing:.4g} mm as the spacing of the picture" in issue.text
    assert "correct --spacing" in issue.text


def test_grey_stored_as_colour_is_grey(tmp_path: Path) -> None:
    rgb = np.stack([GREY] * 3, axis=2)
    np.testing.assert_array_equal(read_picture(save(tmp_path / "a.png", rgb)), GREY)
    rgba = np.dstack([rgb, np.full_like(GREY, 255)])
    np.testing.assert_array_equal(read_picture(save(tmp_path / "b.png", rgba)), GREY)
    jpeg = read_picture(save(tmp_path / "c.jpg", rgb, quality=95))
    assert np.abs(jpeg - GREY).mean() < 6
    palette = Image.fromarray(GREY).convert("P")
    palette.save(tmp_path / "d.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "d.png"), GREY)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
def test_a_colour_photo_is_refused(tmp_path: Path, ending: str) -> None:
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    photo = np.dstack([ramp, ramp.T, 255 - ramp])
    path = save(tmp_path / f"photo{ending}", photo)
    with pytest.raises(NotACineError, match="colour") as caught:
        read_study(path)
    assert str(path) in str(caught.value)
    with pytest.raises(NotACineError):
        read_picture(path)


@pytest.mark.parametrize("shape", [(1, 1), (15, 40), (40, 15)])
def test_a_tiny_picture_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    with pytest.raises(ReadError, match="too small"):
        read_study(save(tmp_path / "a.png", np.ones(shape, np.uint8)))


def test_several_pages_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY), Image.fromarray(GREY)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ReadError, match="2 pages"):
        read_picture(tmp_path / "a.tif")


def test_a_rotation_for_display_is_recorded_and_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", GREY, exif=exif)
    cine = read_study(path).short_axis()
    np.testing.assert_array_equal(cine.frames[0, 0], GREY)
    assert [issue.code for issue in cine.issues] == ["exif-rotation"]


def test_a_decompression_bomb_is_refused_before_it_unfolds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", GREY)
    with pytest.raises(LimitError, match="at most 479 pixels in a frame, found 480"):
        read_study(path, limits=ReadingLimits(frame_pixels=479))  # one less than 20 x 24
    read_study(path, limits=ReadingLimits(frame_pixels=480))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow itself refuses above twice that
    with pytest.raises(ReadError, match="at most"):
        read_picture(path)


def test_broken_pictures_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GREY)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ReadError, match="PNG, JPEG or TIFF"):
        read_study(path)
    path.write_text("no picture")
    with pytest.raises(ReadError, match="PNG, JPEG or TIFF"):
        read_study(path)


def test_nan_in_a_float_tiff_is_refused(tmp_path: Path) -> None:
    values = np.ones((20, 24), np.float32)
    values[3, 4] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ReadError, match="NaN"):
        read_study(tmp_path / "a.tif")


@pytest.mark.parametrize("greys", [[0, 255], [0, 1, 2, 3], [7, 80, 81, 200, 255]])
@pytest.mark.parametrize("ending", [".png", ".nii.gz"])
def test_an_image_of_two_to_five_greys_is_a_label_map(
    tmp_path: Path, greys: list[int], ending: str
) -> None:
    path, values = tmp_path / f"a{ending}", np.resize(np.array(greys, np.uint8), (90, 64))
    if ending == ".png":
        save(path, values)
    else:
        nib.save(nib.Nifti1Image(values[..., None], np.diag([1.5, 1.5, 8, 1])), path)
    with pytest.raises(LabelMapError, match=f"values {', '.join(map(str, greys))}") as caught:
        read_study(path)
    assert str(path) in str(caught.value)
    (row,) = list_series(path)
    assert (row.chosen, row.score) == (False, 0)
    assert "label map" in row.reason


def test_a_label_map_of_few_pixels_is_told_and_a_flat_image_is_read(tmp_path: Path) -> None:
    values = np.zeros((128, 128), np.uint8)
    values[61, 63] = 1  # one pixel in sixteen thousand
    with pytest.raises(LabelMapError):
        read_study(save(tmp_path / "a.png", values))
    for flat in (0, 90):
        read_study(save(tmp_path / "b.png", np.full((20, 24), flat, np.uint8)))


def test_six_greys_are_an_image(tmp_path: Path) -> None:
    values = np.resize(np.arange(6, dtype=np.uint8), (90, 64))
    np.testing.assert_array_equal(
        read_study(save(tmp_path / "a.png", values)).short_axis().frames[0, 0], values
    )


def test_each_picture_of_a_folder_is_a_study(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg", "c.tif"):
        save(tmp_path / name, GREY)
    assert [ref.name for ref in find_studies(tmp_path)] == ["a", "b", "c"]
    save(tmp_path / "a.png", GREY)
    assert len({ref.name for ref in find_studies(tmp_path)}) == 4
