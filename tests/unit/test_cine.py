"""What can be built is valid: shapes, numbers, order, geometry."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lvseg.cine import Cine, Mask, Source, Study
from lvseg.errors import GeometryError, GeometryMismatchError, NotACineError, ReadError
from lvseg.geometry import Grid, Plane

SOURCE = Source("array", "x")


def planes_at(*heights, spacing=(1.5, 0.8)):
    return tuple(
        Plane((0.0, 0.0, float(z)), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), spacing) for z in heights
    )


def cine(shape=(3, 2, 5, 4), **parts):
    frames = np.zeros(shape, np.float32)
    times = {"times_ms": parts.pop("times_ms")} if "times_ms" in parts else {}
    grid = {"grid": Grid.of(frames, **parts)} if parts else {}
    return Cine(frames, SOURCE, **grid, **times)


def mask(shape=(3, 2, 5, 4), **parts):
    labels = np.zeros(shape, np.uint8)
    phases = parts.pop("phases", tuple(range(shape[0])))
    return Mask(labels, phases, Grid.of(labels, **parts))


@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4), (0, 2, 5, 4), (1, 1, 5, 0)])
def test_frames_have_four_axes_and_none_is_empty(shape):
    with pytest.raises(ReadError, match=r"phase, slice, row, column"):
        cine(shape)
    with pytest.raises(GeometryMismatchError, match=r"phase, slice, row, column"):
        Mask(np.zeros(shape, np.uint8), tuple(range(shape[0])))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_pixel_that_is_no_number_is_refused(value):
    frames = np.zeros((1, 1, 5, 4), np.float32)
    frames[0, 0, 3, 2] = value
    with pytest.raises(ReadError, match="finite"):
        Cine(frames, SOURCE)


@pytest.mark.parametrize("times", [(0.0, 40.0, 40.0), (0.0, 80.0, 40.0)])
def test_phase_times_ascend(times):
    assert cine(times_ms=(0.0, 40.0, 80.0)).times_ms == (0.0, 40.0, 80.0)
    with pytest.raises(ReadError, match="ascending"):
        cine(times_ms=times)


def test_counts_must_fit():
    with pytest.raises(GeometryMismatchError, match="3 phase times, found 2"):
        cine(times_ms=(0.0, 1.0))
    with pytest.raises(GeometryMismatchError, match="2 planes, found 3"):
        cine(planes=planes_at(0, 8, 16))
    with pytest.raises(GeometryMismatchError, match="2 planes, found 3"):
        mask(planes=planes_at(0, 8, 16))
    with pytest.raises(GeometryMismatchError, match="3 frame indices, found 2"):
        mask(phases=(0, 1))


@pytest.mark.parametrize("index", [(0, 1, 1), (-1, 0, 1)])
def test_each_phase_of_a_mask_is_named_once(index):
    with pytest.raises(GeometryMismatchError, match="each phase once"):
        mask(phases=index)


@pytest.mark.parametrize("make", [cine, mask])
@pytest.mark.parametrize(
    "spacing",
    [
        {"pixel_spacing_mm": (1.0, 0.0)},
        {"pixel_spacing_mm": (float("nan"), 1.0)},
        {"slice_spacing_mm": -8.0},
        {"slice_spacing_mm": 0.0},
    ],
)
def test_a_spacing_is_above_zero_or_unknown(make, spacing):
    assert make().pixel_spacing_mm is None
    assert make().slice_spacing_mm is None
    with pytest.raises(GeometryError, match=r"expected a (pixel spacing|slice distance)"):
        make(**spacing)


@pytest.mark.parametrize("make", [cine, mask])
def test_spacings_of_planes_win(make):
    placed = make(planes=planes_at(0, 9), pixel_spacing_mm=(7.0, 7.5), slice_spacing_mm=3.0)
    assert (placed.pixel_spacing_mm, placed.slice_spacing_mm) == ((1.5, 0.8), 9.0)
    moved = dataclasses.replace(placed.grid, planes=planes_at(0, 5, spacing=(2.0, 1.1)))
    assert (moved.pixel_spacing_mm, moved.slice_spacing_mm) == ((2.0, 1.1), 5.0)


def test_an_irregular_stack_has_no_single_slice_spacing():
    assert cine((1, 3, 5, 4), planes=planes_at(0, 8, 20)).slice_spacing_mm is None
    assert cine((1, 1, 5, 4), planes=planes_at(0)).slice_spacing_mm is None


@pytest.mark.parametrize(
    "labels", [np.full((1, 1, 2, 2), 255), np.full((1, 1, 2, 2), -1), np.full((1, 1, 2, 2), 0.5)]
)
def test_labels_are_background_or_cavity(labels):
    """A 0/255 picture used as labels would otherwise measure as a mask without cavity."""
    with pytest.raises(GeometryError, match="labels"):
        Mask(labels, (0,))
    with pytest.raises(GeometryError, match="labels"):
        Mask(np.full((1, 1, 2, 2), 255, np.uint8), (0,))


def test_a_boolean_mask_is_taken():
    assert Mask(np.ones((1, 1, 2, 2), bool), (0,)).labels.dtype == np.uint8


def test_arrays_inside_are_float32_and_uint8_and_read_only():
    made = Cine(np.arange(40.0).reshape(1, 2, 5, 4), SOURCE)
    assert made.frames.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        made.frames[0, 0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        mask().labels[0, 0, 0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.frames = made.frames  # type: ignore[misc]


def test_shape_is_phases_slices_rows_columns():
    assert cine((3, 2, 5, 4)).shape == (3, 2, 5, 4)


def test_a_study_without_cine_says_so():
    assert Study((cine(),)).short_axis().shape == (3, 2, 5, 4)
    with pytest.raises(NotACineError, match="short-axis"):
        Study(()).short_axis()
