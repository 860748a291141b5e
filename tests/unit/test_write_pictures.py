"""PNG masks and overlays, looked at pixel by pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mask_maker import with_myocardium
from PIL import Image

from lvseg.cine import Cine, Mask, Source
from lvseg.errors import GeometryMismatchError
from lvseg.labels import Label
from lvseg.write.pictures import (
    montage,
    picture_overlay,
    write_overlay,
    write_picture,
    write_picture_mask,
)


def study(phases=3, slices=5, rows=90, columns=110, *, format_="nifti", cavity=True):
    rng = np.random.default_rng(7)
    frames = rng.uniform(10, 20, (phases, slices, rows, columns)).astype(np.float32)
    labels = np.zeros(frames.shape, np.uint8)
    if cavity:
        labels[:, :, 30:50, 40:65] = 1
    frames += 100 * labels
    cine = Cine(frames, Source(format_, "drawn"))
    return cine, Mask(labels, tuple(range(phases)))


def red(pixels):
    """Where a line was drawn: red well above green."""
    return pixels[..., 0].astype(int) - pixels[..., 1] > 60


def read(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def test_a_picture_mask_is_0_and_255_in_the_size_of_the_source(tmp_path):
    _, mask = study(1, 1, 37, 53)
    write_picture_mask(mask, tmp_path / "a_mask.png")
    pixels = read(tmp_path / "a_mask.png")
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, mask.labels[0, 0] * 255)


def test_a_stack_is_no_picture(tmp_path):
    with pytest.raises(GeometryMismatchError, match="3 phases of 5 slices"):
        write_picture_mask(study()[1], tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_grey_and_colour_pictures_come_back(tmp_path, shape):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    write_picture(tmp_path / "a.png", pixels)
    assert np.array_equal(read(tmp_path / "a.png"), pixels)
    with pytest.raises(GeometryMismatchError, match="expected a picture"):
        write_picture(tmp_path / "b.png", np.zeros((4, 6, 2), np.uint8))


def test_a_picture_overlay_keeps_the_size_and_draws_on_the_edge(tmp_path):
    cine, mask = study(1, 1, format_="picture")
    write_overlay(cine, mask, tmp_path / "a_overlay.png")
    pixels = read(tmp_path / "a_overlay.png")
    assert pixels.shape == (90, 110, 3)
    rows, columns = np.nonzero(red(pixels))
    # the cavity fills rows 30 to 49 and columns 40 to 64: the line runs within a pixel of them
    assert (rows.min(), rows.max()) in {(29, 50), (30, 49), (29, 49), (30, 50)}
    assert (columns.min(), columns.max()) in {(39, 65), (40, 64), (39, 64), (40, 65)}
    assert not red(pixels)[33:46, 44:61].any()


def test_a_montage_shows_every_slice_of_the_phase(tmp_path):
    cine, mask = study()
    pixels = montage(cine, mask, phase=1, title="end-diastole", tile_px=120)
    # 5 tiles: 3 columns x 2 rows, 2 px between tiles, a head of 120 / 8 = 15 px
    assert pixels.shape == (15 + 2 * 122 - 2, 3 * 122 - 2, 3)
    drawn = red(pixels)
    for index in range(5):
        top, left = 15 + index // 3 * 122, index % 3 * 122
        assert drawn[top : top + 120, left : left + 120].sum() > 100
    assert not drawn[137:, 244:].any()  # the sixth place is empty


def test_ed_and_es_of_a_study_show_the_same_crop():
    cine, mask = study()
    labels = mask.labels.copy()
    labels[2, :, :40] = 0
    smaller = Mask(labels, mask.phases)
    assert montage(cine, smaller, phase=0).shape == montage(cine, smaller, phase=2).shape
    assert red(montage(cine, smaller, phase=0)).sum() > red(montage(cine, smaller, phase=2)).sum()


@pytest.mark.parametrize("place", [(slice(0, 9), slice(0, 8)), (slice(81, 90), slice(100, 110))])
def test_a_heart_at_the_border_is_drawn_too(place):
    cine, _ = study(cavity=False)
    labels = np.zeros(cine.shape, np.uint8)
    labels[(slice(None), slice(None), *place)] = 1
    assert red(montage(cine, Mask(labels, (0, 1, 2)), phase=0)).any()


def test_an_empty_mask_and_a_flat_image_are_drawn_without_a_line():
    cine, mask = study(cavity=False)
    assert not red(montage(cine, mask, phase=0)).any()
    flat = Cine(np.zeros((1, 1, 1, 1), np.float32), Source("picture", "dot"))
    assert picture_overlay(flat, Mask(np.zeros((1, 1, 1, 1), np.uint8), (0,))).shape == (1, 1, 3)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        write_overlay(*study(), tmp_path / name, phase=2, title="end-systole")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_phase_or_grid_that_does_not_fit_is_refused():
    cine, mask = study()
    with pytest.raises(GeometryMismatchError, match="found phase 3"):
        montage(cine, mask, phase=3)
    with pytest.raises(GeometryMismatchError, match="found phase 1"):
        montage(cine, Mask(mask.labels[:2], (0, 2)), phase=1)
    with pytest.raises(GeometryMismatchError, match="a mask on the cine"):
        montage(cine, study(rows=91)[1], phase=0)


def test_every_outer_boundary_is_drawn_in_the_colour_of_its_label():
    cine, mask = study(1, 1, format_="picture")
    labels = mask.labels.copy()
    labels[0, 0, 50:80, 40:65] = Label.LV_MYOCARDIUM  # below the cavity, which ends at row 49
    pixels = picture_overlay(cine, replace(mask, labels=labels)).astype(int)
    blue = pixels[..., 2] - pixels[..., 0] > 60
    assert red(pixels)[28:51].any()
    assert not red(pixels)[55:].any()
    assert blue[78:82].any()
    # the epicardium goes round the cavity too, under the line of the cavity
    assert not blue[:45].any()
    assert red(pixels)[48:52, 45:60].any()
    assert not blue[48:52, 45:60].any()


def test_a_wall_all_around_has_two_outlines_and_no_third():
    cine, mask = study(1, 1, format_="picture")
    both = picture_overlay(cine, with_myocardium(mask, 8)).astype(int)
    line = both[40]  # a row through both structures
    blue, reds = line[:, 2] - line[:, 0] > 60, red(both)[40]
    strokes = lambda on: int((np.diff(on.astype(int)) == 1).sum())  # noqa: E731
    assert (strokes(blue), strokes(reds)) == (2, 2)
