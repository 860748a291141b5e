"""Laws of planes: any orientation, unequal spacings, any order."""

from __future__ import annotations

import numpy as np
import pytest
from geometry_maker import mm_to_index
from hypothesis import given, settings
from hypothesis import strategies as st

from lvseg.errors import IrregularStackError
from lvseg.geometry import (
    Plane,
    affine,
    disc_thickness_mm,
    gaps,
    index_to_mm,
    lps_to_ras,
    normal,
    planes_from_affine,
    slice_positions_mm,
    slice_spacing_mm,
    sort_order,
)

LAW = settings(derandomize=True, deadline=None, max_examples=30)


@st.composite
def directions(draw):
    """Two random perpendicular unit vectors: row step and column step."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return tuple(matrix[0].tolist()), tuple(matrix[1].tolist())


@st.composite
def stacks(draw, *, regular=False):
    """Parallel planes in ascending order, random distances (or one), rows finer than columns."""
    row, column = draw(directions())
    count = draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = np.full(count, rng.uniform(3, 12)) if regular else rng.uniform(3, 12, count)
    start = rng.uniform(-200, 200, 3)
    along = np.cross(column, row)
    spacing = (draw(st.floats(0.5, 1.4)), draw(st.floats(1.5, 3.0)))
    return tuple(
        Plane(tuple((start + place * along).tolist()), row, column, spacing)
        for place in np.cumsum(steps)
    )


@LAW
@given(stacks(), st.integers(0, 2**32 - 1))
def test_index_to_mm_and_back_is_the_identity(planes, seed):
    points = np.random.default_rng(seed).uniform(-50, 300, (20, 2))
    np.testing.assert_allclose(mm_to_index(planes[0], index_to_mm(planes[0], points)), points)


@LAW
@given(stacks(), st.integers(0, 2**32 - 1))
def test_a_point_off_the_plane_has_the_index_of_its_foot(planes, seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 300, (20, 2))
    lifted = index_to_mm(planes[0], points) + rng.uniform(-40, 40, (20, 1)) * normal(planes[0])
    np.testing.assert_allclose(mm_to_index(planes[0], lifted), points)


@LAW
@given(stacks(), st.integers(0, 2**32 - 1))
def test_steps_between_pixels_are_as_long_as_the_spacing(planes, seed):
    point = np.random.default_rng(seed).uniform(0, 300, 2)
    corner, below, right = index_to_mm(planes[0], point + np.array([[0, 0], [1, 0], [0, 1]]))
    rows_mm, columns_mm = planes[0].pixel_spacing_mm
    assert np.linalg.norm(below - corner) == pytest.approx(rows_mm)
    assert np.linalg.norm(right - corner) == pytest.approx(columns_mm)


@LAW
@given(st.integers(0, 2**32 - 1))
def test_lps_to_ras_to_lps_is_the_identity_and_keeps_lengths(seed):
    matrix = np.eye(4)
    matrix[:3] = np.random.default_rng(seed).normal(size=(3, 4))
    np.testing.assert_array_equal(lps_to_ras(lps_to_ras(matrix)), matrix)
    np.testing.assert_array_equal(lps_to_ras(matrix)[2:], matrix[2:])
    np.testing.assert_array_equal(lps_to_ras(matrix)[:2], -matrix[:2])


@LAW
@given(stacks(), st.integers(0, 2**32 - 1))
def test_sorting_puts_any_order_right_and_twice_changes_nothing(planes, seed):
    shuffled = [planes[i] for i in np.random.default_rng(seed).permutation(len(planes))]
    ordered = [shuffled[i] for i in sort_order(shuffled)]
    assert ordered == list(planes)
    assert sort_order(ordered).tolist() == list(range(len(planes)))


@LAW
@given(stacks())
def test_slabs_cover_the_stack_and_half_the_usual_distance_beyond_each_end(planes):
    positions = slice_positions_mm(planes)
    usual = np.median(np.diff(positions))
    assert disc_thickness_mm(planes).sum() == pytest.approx(positions[-1] - positions[0] + usual)


@LAW
@given(stacks())
def test_slabs_belong_to_their_slices_whichever_end_comes_first(planes):
    np.testing.assert_allclose(disc_thickness_mm(planes[::-1]), disc_thickness_mm(planes)[::-1])


@LAW
@given(stacks())
def test_slices_out_of_order_have_no_slabs_and_no_spacing(planes):
    if len(planes) < 3:
        return
    swapped = (planes[1], planes[0], *planes[2:])
    for question in (disc_thickness_mm, slice_spacing_mm):
        with pytest.raises(IrregularStackError, match="in order"):
            question(swapped)


@LAW
@given(stacks(regular=True))
def test_planes_become_an_affine_and_the_same_planes_again(planes):
    matrix = affine(planes)
    back = planes_from_affine(matrix, len(planes))
    for found, wanted in zip(back, planes, strict=True):
        np.testing.assert_allclose(found.origin_mm, wanted.origin_mm, atol=1e-9)
        np.testing.assert_allclose(found.row_step, wanted.row_step, atol=1e-12)
        np.testing.assert_allclose(found.column_step, wanted.column_step, atol=1e-12)
        np.testing.assert_allclose(found.pixel_spacing_mm, wanted.pixel_spacing_mm)
    np.testing.assert_allclose(affine(back), matrix, atol=1e-9)


@LAW
@given(stacks(regular=True), st.integers(0, 2**32 - 1))
def test_the_affine_and_the_planes_put_a_pixel_at_the_same_place(planes, seed):
    """The affine counts (column, row, slice), the planes (row, column): the order must not slip."""
    rng = np.random.default_rng(seed)
    index = int(rng.integers(len(planes)))
    row, column = rng.uniform(0, 200, 2)
    by_affine = affine(planes) @ [column, row, index, 1]
    by_plane = index_to_mm(planes[index], np.array([[row, column]]))[0]
    np.testing.assert_allclose(by_affine[:3], by_plane, atol=1e-8)


@LAW
@given(stacks(regular=True), st.integers(0, 100))
def test_a_slice_left_out_is_a_gap_at_its_place(planes, seed):
    if len(planes) < 6:
        assert gaps(planes) == ()
        return
    missing = 1 + seed % (len(planes) - 2)
    assert gaps(planes[:missing] + planes[missing + 1 :]) == (missing - 1,)
