"""Laws of going to the model's grid and back."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lvseg.cine import Cine, Source
from lvseg.geometry import Box, Grid
from lvseg.modelcard import InputSpec
from lvseg.preprocess import (
    crop,
    find_box,
    locator_frames,
    normalise,
    prepare,
    resample,
    restore,
    source_box,
)

SPEC = InputSpec(spacing_mm=1.3, crop_px=48)
LAW = settings(derandomize=True, deadline=None, max_examples=25)
sides = st.integers(20, 70)


def _blob(rows: int, columns: int, row: float, column: float, radii: tuple[float, float]):
    y, x = np.mgrid[:rows, :columns]
    return ((y - row) / radii[0]) ** 2 + ((x - column) / radii[1]) ** 2 < 1


def everywhere(restored, prepared, box):
    """What was restored of one channel on the whole source grid, ``[T, Z, Y, X]``."""
    frames = np.zeros(prepared.source.shape, np.float32)
    source_box(prepared, box).paste(restored[0], frames)
    return frames


@LAW
@given(st.integers(40, 70), st.integers(40, 70), st.floats(0.8, 2.4), st.floats(0.8, 2.4))
def test_the_way_back_returns_to_the_shape_and_place(rows, columns, spacing_row, spacing_column):
    """A blob prepared, cut, passed through unchanged and restored lies where it was."""
    truth = _blob(rows, columns, rows / 2, columns / 2, (rows / 4, columns / 4))
    cine = Cine(
        truth[None, None].astype(np.float32),
        Source("array", "x"),
        grid=Grid.of(
            truth[None, None].astype(np.float32), pixel_spacing_mm=(spacing_row, spacing_column)
        ),
    )
    prepared = prepare(cine, SPEC)
    box = find_box(prepared, (locator_frames(prepared)[:, 0] > 0.5).astype(np.float32))
    restored = everywhere(restore(crop(prepared, box), prepared, box), prepared, box)[0, 0] > 0.5
    assert restored.shape == truth.shape
    overlap = 2 * (restored & truth).sum() / (restored.sum() + truth.sum())
    assert overlap > 0.88
    for axis in (0, 1):
        centre = [np.argwhere(image)[:, axis].mean() for image in (restored, truth)]
        assert abs(centre[0] - centre[1]) < 0.35


@LAW
@given(sides, sides, st.integers(-20, 40), st.integers(-20, 40), st.integers(0, 2**31))
def test_cut_and_restore_keep_every_pixel_inside(rows, columns, top, left, seed):
    frames = np.random.default_rng(seed).random((2, 2, rows, columns)).astype(np.float32)
    prepared = prepare(Cine(frames, Source("array", "x")), SPEC)
    box = Box(top, left, 48, 48)
    ones = np.ones((4, 1, 48, 48), np.float32)
    inside = restore(ones, prepared, box)
    rows_in = max(0, min(rows, top + 48) - max(0, top))
    columns_in = max(0, min(columns, left + 48) - max(0, left))
    assert inside.sum() == 4 * rows_in * columns_in


@LAW
@given(st.integers(0, 2**31), st.floats(0.1, 50), st.floats(-100, 100))
def test_normalising_forgets_gain_and_offset(seed, gain, offset):
    frames = np.random.default_rng(seed).random((2, 3, 24, 20)).astype(np.float32)
    changed = (frames * gain + offset).astype(np.float32)
    tolerance = 1e-4 + 1e-6 * (gain + abs(offset)) / gain * 10
    np.testing.assert_allclose(normalise(frames, SPEC), normalise(changed, SPEC), atol=tolerance)


@LAW
@given(st.integers(0, 2**31))
def test_normalised_values_are_within_0_and_1_and_slices_are_independent(seed):
    frames = np.random.default_rng(seed).normal(size=(2, 3, 24, 20)).astype(np.float32)
    result = normalise(frames, SPEC)
    assert 0 <= result.min() <= result.max() <= 1
    np.testing.assert_array_equal(result[:, 1:2], normalise(frames[:, 1:2], SPEC))


@LAW
@given(sides, sides, st.integers(-80, 120), st.integers(-20, 40), st.floats(0.6, 2.4))
def test_nothing_is_lost_outside_the_region(rows, columns, top, left, spacing):
    """What the whole resampled frame says outside the region of a window is nothing."""
    frames = np.zeros((2, 2, rows, columns), np.float32)
    cine = Cine(frames, Source("array", "x"), grid=Grid.of(frames, pixel_spacing_mm=(spacing, 1.3)))
    prepared = prepare(cine, SPEC)
    box = Box(top, left, 48, 48)
    grid = np.zeros((1, *prepared.sides), np.float32)
    grid[0, max(0, top) : max(0, top + 48), max(0, left) : max(0, left + 48)] = 1
    back = (1 / prepared.factors[0], 1 / prepared.factors[1])
    whole = resample(grid, back, prepared.shape)[0]
    found = everywhere(restore(np.ones((4, 1, 48, 48), np.float32), prepared, box), prepared, box)
    np.testing.assert_allclose(found[1, 1], whole, atol=1e-6)
