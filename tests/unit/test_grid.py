"""Grid and box: the geometry of a stack, and rectangles in its plane."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvseg.cine import Cine, Mask, Source
from lvseg.errors import GeometryMismatchError
from lvseg.geometry import Box, Grid, Plane

SOURCE = Source("array", "drawn")


def planes_at(*heights: float, x: float = 3.0) -> tuple[Plane, ...]:
    return tuple(Plane((x, -4.0, z), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.5, 0.8)) for z in heights)


def cine_on(grid: Grid, phases: int = 3) -> Cine:
    return Cine(np.zeros((phases, *grid.shape), np.float32), SOURCE, grid)


def mask_on(grid: Grid, phases: tuple[int, ...] = (0, 2)) -> Mask:
    return Mask(np.zeros((len(phases), *grid.shape), np.uint8), phases, grid)


def test_a_grid_takes_its_size_from_the_last_three_axes() -> None:
    assert Grid.of(np.zeros((7, 2, 5, 4))).shape == (2, 5, 4)
    assert Grid(rows=5, columns=4, slices=2).shape == (2, 5, 4)


def test_a_grid_of_another_size_than_the_array_is_refused() -> None:
    with pytest.raises(GeometryMismatchError, match=r"\(2, 5, 4\).*\(2, 4, 5\)"):
        Cine(np.zeros((3, 2, 5, 4), np.float32), SOURCE, Grid(4, 5, 2))


def test_a_mask_is_on_its_cine() -> None:
    grid = Grid(5, 4, 2, planes_at(0, 9))
    mask_on(grid).on(cine_on(grid))
    mask_on(Grid(5, 4, 2)).on(cine_on(grid))  # a mask of unknown place fits by its size


@pytest.mark.parametrize(
    "other",
    [
        Grid(4, 5, 2),  # turned
        Grid(5, 4, 3),  # a slice more
        Grid(5, 4, 2, planes_at(0, 9, x=3.2)),  # 0.2 mm beside it
        Grid(5, 4, 2, planes_at(9, 0)),  # the other way round
    ],
)
def test_a_mask_elsewhere_is_not_on_the_cine(other: Grid) -> None:
    with pytest.raises(GeometryMismatchError, match="expected a mask on the cine"):
        mask_on(other).on(cine_on(Grid(5, 4, 2, planes_at(0, 9))))


def test_a_mask_of_a_phase_that_the_cine_lacks_is_not_on_it() -> None:
    grid = Grid(5, 4, 2)
    with pytest.raises(GeometryMismatchError, match="phases up to 3"):
        mask_on(grid, (0, 3)).on(cine_on(grid, phases=3))


def test_the_box_around_what_is_true() -> None:
    flags = np.zeros((2, 6, 9), bool)
    flags[0, 2, 3] = flags[1, 4, 7] = True
    # rows 2 to 4, columns 3 to 7
    assert Box.around(flags) == Box(top=2, left=3, rows=3, columns=5)
    assert Box.around(np.zeros((6, 9), bool)) is None


def test_a_box_grows_and_is_clipped() -> None:
    grown = Box(2, 3, 3, 5).grow(4, 4)
    assert grown == Box(-2, -1, 11, 13)
    assert Box(2, 3, 3, 5).grow(1, 0) == Box(1, 3, 5, 5)
    assert grown.clip(6, 9) == Box(0, 0, 6, 9)
    assert Box(8, 1, 3, 3).clip(6, 9).rows == 0


def test_a_centred_box() -> None:
    # five rows around row 7 are 5 to 9; four columns around column 7.5 are 6 to 9
    assert Box.centred(7, 7.5, 5, 4) == Box(5, 6, 5, 4)
    assert Box(5, 6, 5, 4).centre == (7, 7.5)


def test_a_crop_outside_the_image_is_filled() -> None:
    image = np.arange(6).reshape(2, 3)
    assert Box(-1, 1, 3, 3).crop(image, fill=9).tolist() == [[9, 9, 9], [1, 2, 9], [4, 5, 9]]


boxes = st.builds(
    Box, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 12), st.integers(1, 12)
)


@settings(derandomize=True)
@given(boxes, st.integers(1, 9), st.integers(1, 8))
def test_pasting_a_crop_changes_nothing(box: Box, rows: int, columns: int) -> None:
    image = np.arange(2.0 * rows * columns).reshape(2, rows, columns)
    again = image.copy()
    box.paste(box.crop(image, fill=-1), again)
    assert np.array_equal(again, image)


@settings(derandomize=True)
@given(boxes, st.integers(1, 9), st.integers(1, 8))
def test_pasting_touches_the_box_only(box: Box, rows: int, columns: int) -> None:
    image = np.zeros((rows, columns))
    box.paste(np.ones((box.rows, box.columns)), image)
    inside = box.clip(rows, columns)
    assert image.sum() == inside.rows * inside.columns
    assert Box.around(image > 0) == (inside if inside.rows and inside.columns else None)
