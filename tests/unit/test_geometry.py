"""Planes by hand: numbers that can be checked in the head, spacings never equal."""

from __future__ import annotations

import numpy as np
import pytest
from geometry_maker import mm_to_index

from lvseg.errors import GeometryError, IrregularStackError, UnknownSpacingError
from lvseg.geometry import (
    Plane,
    affine,
    are_parallel,
    disc_thickness_mm,
    gaps,
    index_to_mm,
    lps_to_ras,
    normal,
    planes_from_affine,
    same_plane,
    slice_positions_mm,
    slice_spacing_mm,
    sort_order,
)

LEFT, BACK, HEAD = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
SPACING = (1.5, 0.8)  # between rows, between columns


def axial(height, *, spacing=SPACING, origin=(10.0, 20.0), thickness=None):
    """A plane whose rows run to the left and follow each other to the back; normal to the head."""
    return Plane((*origin, float(height)), BACK, LEFT, spacing, thickness)


def test_a_pixel_stands_at_rows_down_and_columns_along():
    # row 2: 20 + 2 x 1.5 = 23 to the back; column 5: 10 + 5 x 0.8 = 14 to the left
    place = index_to_mm(axial(-3), np.array([[2.0, 5.0]]))
    assert place.tolist() == [[14.0, 23.0, -3.0]]
    assert mm_to_index(axial(-3), place).tolist() == [[2.0, 5.0]]


def test_the_normal_is_column_step_cross_row_step():
    # left x back = head
    assert normal(axial(0)).tolist() == list(HEAD)
    # a coronal slice: columns to the left, rows to the feet: left x (-head) = back
    coronal = Plane((0.0, 0.0, 0.0), (0.0, 0.0, -1.0), LEFT, SPACING)
    assert normal(coronal).tolist() == list(BACK)


def test_a_slice_is_the_same_where_a_tool_has_rounded_it():
    # 0.35 mm to the left is less than half of 0.8 mm, which only a tool that rounds may be off by
    beside = axial(0, origin=(10.35, 20.0))
    assert not same_plane(axial(0), beside)
    assert same_plane(axial(0), beside, within_px=0.5)
    assert not same_plane(axial(0), axial(0, origin=(10.45, 20.0)), within_px=0.5)
    assert not same_plane(axial(0), axial(0.2), within_px=0.5)  # along the normal: another slice
    assert not same_plane(axial(0), axial(0, spacing=(1.5, 0.85)), within_px=0.5)
    turned = Plane((10.0, 20.0, 0.0), LEFT, BACK, SPACING)
    assert not same_plane(axial(0), turned, within_px=0.5)


def test_positions_run_along_the_normal_and_order_follows_them():
    planes = [axial(7), axial(-3), axial(2)]
    assert slice_positions_mm(planes).tolist() == [7, -3, 2]
    assert sort_order(planes).tolist() == [1, 2, 0]


def test_slabs_reach_halfway_to_each_neighbour_and_gaps_count():
    # positions 0, 8, 18, 38: distances 8, 10, 20, median 10
    # (10 + 8) / 2 = 9, (8 + 10) / 2 = 9, (10 + 20) / 2 = 15, (20 + 10) / 2 = 15
    assert disc_thickness_mm([axial(z) for z in (0, 8, 18, 38)]).tolist() == [9, 9, 15, 15]


def test_the_open_side_of_an_outermost_slice_takes_half_the_median_distance():
    # positions 0, 30, 39, 48: distances 30, 9, 9, median 9: the first slice stands for
    # 9 / 2 = 4.5 outside and 30 / 2 = 15 inside, not for 15 on both sides
    assert disc_thickness_mm([axial(z) for z in (0, 30, 39, 48)]).tolist() == [19.5, 19.5, 9, 9]


def test_two_slices_share_their_one_distance():
    assert disc_thickness_mm([axial(1), axial(8)]).tolist() == [7, 7]


def test_slice_thickness_changes_no_slab():
    thin, thick = ([axial(z, thickness=t) for z in (0, 8, 18)] for t in (1.0, 30.0))
    assert disc_thickness_mm(thin).tolist() == disc_thickness_mm(thick).tolist() == [8.5, 9, 9.5]


@pytest.mark.parametrize("question", [disc_thickness_mm, slice_spacing_mm])
def test_one_slice_has_no_distance_and_none_is_made_up(question):
    with pytest.raises(UnknownSpacingError, match="two slices"):
        question([axial(0, thickness=8.0)])


@pytest.mark.parametrize("question", [disc_thickness_mm, slice_spacing_mm])
@pytest.mark.parametrize("heights", [(0, 8, 8.05), (0, 16, 8), (0, 10, 0)])
def test_slices_at_one_place_or_out_of_order_are_refused(question, heights):
    with pytest.raises(IrregularStackError, match="in order"):
        question([axial(z) for z in heights])


def test_slices_at_an_angle_are_refused():
    tilted = Plane((10.0, 20.0, 9.0), (0.0, 0.8, 0.6), LEFT, SPACING)
    assert not are_parallel([axial(0), tilted])
    with pytest.raises(IrregularStackError, match="angle"):
        slice_positions_mm([axial(0), tilted])


def test_directions_written_with_few_digits_are_still_parallel():
    rounded = Plane((10.0, 20.0, 9.0), (0.0, 1.0, 0.0005), LEFT, SPACING)
    assert are_parallel([axial(0), rounded])


def test_one_spacing_within_the_writing_error_of_positions_and_no_further():
    assert slice_spacing_mm([axial(z) for z in (0, 9.98, 20)]) == pytest.approx(10)
    with pytest.raises(IrregularStackError, match=r"9.80 to 10.20"):
        slice_spacing_mm([axial(z) for z in (0, 9.8, 20)])


def test_a_gap_is_more_than_one_and_a_half_usual_distances():
    # distances 8, 8, 12.5, 8: 12.5 > 1.5 x 8 = 12 after slice 2; 11.9 is none
    assert gaps([axial(z) for z in (0, 8, 16, 28.5, 36.5)]) == (2,)
    assert gaps([axial(z) for z in (0, 8, 16, 27.9, 35.9)]) == ()
    assert gaps([axial(0), axial(50)]) == ()  # two slices: nothing is usual


def test_affine_counts_column_row_slice():
    expected = [[0.8, 0, 0, 10], [0, 1.5, 0, 20], [0, 0, 9, -4], [0, 0, 0, 1]]
    matrix = affine([axial(-4), axial(5), axial(14)])
    assert matrix.tolist() == expected
    planes = planes_from_affine(np.array(expected, float), 3)
    assert [plane.origin_mm for plane in planes] == [(10, 20, -4), (10, 20, 5), (10, 20, 14)]
    assert planes[0].pixel_spacing_mm == SPACING
    # RAS: left and back change sign, head stays
    assert lps_to_ras(matrix)[:3, 3].tolist() == [-10, -20, -4]


@pytest.mark.parametrize(
    "planes",
    [
        [axial(0), axial(8), axial(20)],  # unequal distances
        [axial(0), axial(8, origin=(11.0, 20.0)), axial(16)],  # one slice shifted in its plane
        [axial(0), axial(8, spacing=(1.5, 0.9)), axial(16)],  # one slice of another pixel size
    ],
    ids=["distances", "shift", "pixels"],
)
def test_a_stack_without_one_affine_is_told_so(planes):
    with pytest.raises(IrregularStackError):
        affine(planes)


def test_a_lone_slice_takes_its_thickness_as_the_third_step():
    assert np.linalg.norm(affine([axial(0, thickness=6.0)])[:3, 2]) == 6


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"row_step": (0.0, 2.0, 0.0)}, "unit direction"),
        ({"row_step": (0.6, 0.8, 0.0)}, "perpendicular"),
        ({"pixel_spacing_mm": (0.0, 1.0)}, "positive pixel spacing"),
        ({"pixel_spacing_mm": (1.0, -1.0)}, "positive pixel spacing"),
        ({"origin_mm": (0.0, float("nan"), 0.0)}, "finite"),
        ({"pixel_spacing_mm": (1.0, float("inf"))}, "finite"),
    ],
)
def test_no_invalid_plane_can_be_built(change, what):
    parts = {"origin_mm": (0.0, 0.0, 0.0), "row_step": BACK, "column_step": LEFT}
    with pytest.raises(GeometryError, match=what):
        Plane(**({**parts, "pixel_spacing_mm": SPACING} | change))


def test_sheared_and_flat_affines_have_no_planes():
    sheared = np.diag([0.8, 1.5, 9.0, 1.0])
    sheared[0, 1] = 0.4
    with pytest.raises(GeometryError, match="perpendicular"):
        planes_from_affine(sheared, 2)
    with pytest.raises(GeometryError, match="positive length"):
        planes_from_affine(np.diag([0.8, 0.0, 9.0, 1.0]), 2)
