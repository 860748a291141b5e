"""The heart crop and the grey-level window, and that overlay and report show the same of both."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lvseg.cine import Cine, Mask, Source
from lvseg.display import GreyWindow, heart_box, heart_crop
from lvseg.geometry import Box, Grid
from lvseg.report.sprites import sprite_sheets
from lvseg.write.pictures import montage, picture_overlay


def mask_with(rows: slice, columns: slice, size=(200, 300), spacing_mm=None) -> Mask:
    labels = np.zeros((1, 1, *size), np.uint8)
    labels[0, 0, rows, columns] = 1
    return Mask(labels, (0,), Grid.of(labels, pixel_spacing_mm=spacing_mm))


def test_the_crop_is_square_in_mm_around_the_middle_of_the_heart():
    # 40 rows of 2 mm, 50 columns of 1 mm: 80 mm, with the margins 80 * 2.1 = 168 mm
    box = heart_box(mask_with(slice(80, 120), slice(130, 180), spacing_mm=(2.0, 1.0)))
    # 84 rows and 168 columns around row 100 and column 155
    assert box == Box(58, 71, 84, 168)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.tuples(st.integers(20, 90), st.integers(20, 90)),
    st.tuples(st.floats(0.5, 3), st.floats(0.5, 3)),
    st.data(),
)
def test_every_crop_is_square_in_mm_and_holds_the_heart(size, spacing_mm, data):
    rows, columns = (
        sorted(data.draw(st.lists(st.integers(0, length), min_size=2, max_size=2, unique=True)))
        for length in size
    )
    mask = mask_with(slice(*rows), slice(*columns), size, spacing_mm)
    box = heart_box(mask)
    down_mm, right_mm = spacing_mm
    assert abs(box.rows * down_mm - box.columns * right_mm) < max(spacing_mm)
    assert box.top <= rows[0] < rows[1] <= box.bottom
    assert box.left <= columns[0] < columns[1] <= box.right
    # inside the image along each side on which it fits, over its middle otherwise
    for start, length, limit in ((box.top, box.rows, size[0]), (box.left, box.columns, size[1])):
        assert 0 <= start <= limit - length if length <= limit else start == (limit - length) // 2


def test_without_a_spacing_the_crop_is_square_in_pixels():
    # 50 * 2.1 = 105 around row 100 and column 155
    assert heart_box(mask_with(slice(80, 120), slice(130, 180))) == Box(47, 102, 105, 105)


def test_all_phases_and_slices_share_the_crop():
    labels = np.zeros((2, 2, 200, 300), np.uint8)
    labels[0, 0, 80:100, 130:150] = 1
    labels[1, 1, 100:120, 150:180] = 1
    assert heart_box(Mask(labels, (0, 1))) == Box(47, 102, 105, 105)


def test_a_crop_moves_into_the_image_from_its_border():
    # 30 rows: 30 * 2.1 = 63, at least 72 pixels
    assert heart_box(mask_with(slice(0, 30), slice(280, 300))) == Box(0, 228, 72, 72)


def test_a_crop_larger_than_the_image_stands_over_its_middle():
    # 60 * 2.1 = 126, but no more than the longer side
    box = heart_box(mask_with(slice(0, 60), slice(0, 10), size=(60, 80)))
    assert box == Box(-10, 0, 80, 80)


def test_without_a_heart_the_crop_is_the_middle_of_the_image():
    nothing = slice(0, 0)
    assert heart_box(mask_with(nothing, nothing)) == Box(0, 50, 200, 200)
    stretched = heart_box(mask_with(nothing, nothing, spacing_mm=(1.0, 0.5)))
    assert stretched == Box(25, 0, 150, 300)  # 150 mm


def test_a_crop_is_as_dark_outside_the_image_as_its_darkest_pixel():
    frames = np.full((2, 1, 20, 30), 5.0, np.float32)
    frames[1, 0, 0, 0] = 1.0
    crop = heart_crop(Cine(frames, Source("array", "small")), 0, Box(-5, -5, 40, 40))
    assert crop.shape == (2, 40, 40)
    assert (crop[:, :5] == 1).all()
    assert (crop[0, 5:25, 5:35] == 5).all()


def test_black_and_white_are_percentiles_of_the_middle_of_the_crop():
    crop = np.full((1, 50, 60), 1000.0, np.float32)  # fat around
    crop[0, 10:40, 12:48] = np.linspace(0, 100, 30 * 36).reshape(30, 36)
    window = GreyWindow.of(crop)
    assert (window.low, window.high) == pytest.approx((1.0, 99.7), abs=1e-3)


def test_grey_runs_from_black_to_white_and_stops_there():
    pixels = np.array([-50, 10, 20, 30, 400], np.float32)
    # 255 / 20 a step of 1: (20 - 10) * 12.75 = 127.5, half to even
    assert GreyWindow(10.0, 30.0).apply(pixels).tolist() == [0, 0, 128, 255, 255]
    assert GreyWindow(7.0, 7.0).apply(pixels).tolist() == [0] * 5


def study(spacing_mm=(2.3, 1.4)) -> tuple[Cine, Mask]:
    """Smooth images with a bright disc, so that JPEG loses little; cavity in slice 1 alone."""
    rows, columns = np.mgrid[:96, :150]
    disc = np.clip(28 - np.hypot((rows - 50) * 1.6, columns - 80), 0, 12)
    frames = np.stack([[2 * rows + columns + 9 * disc * (2 + phase)] * 2 for phase in range(3)])
    labels = np.zeros(frames.shape, np.uint8)
    labels[:, 1, 38:62, 60:100] = 1
    grid = Grid.of(frames, pixel_spacing_mm=spacing_mm)
    cine = Cine(frames.astype(np.float32), Source("nifti", "smooth"), grid)
    return cine, Mask(labels, (0, 1, 2), grid)


def test_overlay_and_report_show_the_same_crop_in_the_same_greys():
    cine, mask = study()
    sprites = sprite_sheets(cine, heart_box(mask))
    edge = sprites.edge_px
    sheet = np.asarray(Image.open(BytesIO(base64.b64decode(sprites.images[0].split(",")[1]))))
    for phase in range(3):
        x, y = sprites.corner_px(phase)
        in_report = sheet[y : y + edge, x : x + edge].astype(int)
        overlay = montage(cine, mask, phase=phase, tile_px=edge)
        in_overlay = overlay[edge // 8 : edge // 8 + edge, :edge, 0].astype(int)
        away = np.abs(in_report - in_overlay)[25:]  # below the words
        assert in_overlay[25:].std() > 40
        assert away.mean() < 1.5
        assert away.max() < 20


def test_a_single_image_keeps_its_size_and_takes_the_greys_of_the_heart():
    cine, mask = study()
    frames = cine.frames[:1, :1].copy()
    one = Cine(frames, Source("picture", "one"))
    around = Mask(mask.labels[:1, 1:].copy(), (0,))
    shown = picture_overlay(one, around)
    window = GreyWindow.of(heart_crop(one, 0, heart_box(around)))
    assert np.array_equal(shown[:30, :, 1], window.apply(frames[0, 0, :30]))  # above the contour
