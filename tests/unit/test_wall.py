"""Thickness and closedness of the wall, by hand and on shapes with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvseg.wall import open_shares, thickness_mm


def ring(spacing, inner, outer, centre=(60.2, 59.7), shape=(130, 121), stretch=1.0):
    """Cavity and cavity with wall: circles of these radii in mm, or ellipses around them."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    away = np.hypot((y - centre[0]) * spacing[0] / stretch, (x - centre[1]) * spacing[1])
    return away <= inner, away <= outer


def test_the_border_is_counted_side_by_side():
    cavity = np.zeros((1, 4, 5), bool)
    cavity[0, 1:3, 1:4] = True  # 2 x 3 pixels: 10 sides
    wall = np.zeros_like(cavity)
    assert open_shares(cavity, wall).tolist() == [1.0]
    wall[0, 0, 1:4] = True  # above: 3 sides
    wall[0, 1:3, 4] = True  # right: 2 sides
    assert open_shares(cavity, wall).tolist() == [0.5]
    wall = np.ones_like(cavity) & ~cavity
    assert open_shares(cavity, wall).tolist() == [0.0]


def test_an_empty_slice_has_no_border_and_the_edge_of_the_image_is_open():
    cavity = np.zeros((2, 3, 3), bool)
    cavity[1] = True
    shares = open_shares(cavity, np.zeros_like(cavity))
    assert np.isnan(shares[0])
    assert shares[1] == 1.0


@pytest.mark.parametrize("spacing", [(1.3, 1.3), (1.1, 1.7)])
@pytest.mark.parametrize(("inner", "wall"), [(25.0, 9.0), (12.0, 9.0), (25.0, 5.0), (18.0, 20.0)])
def test_between_two_circles_the_wall_is_the_difference_of_their_radii(spacing, inner, wall):
    found = thickness_mm(*ring(spacing, inner, inner + wall), spacing)
    assert found == pytest.approx(wall, rel=0.02)


def test_where_the_wall_is_uneven_the_mean_of_the_chords_is_found():
    # circles of 20 and 30 mm whose centres lie 4 mm apart: along the direction a the wall is
    # about 10 + 4 cos(a), and the mean over all directions 10
    spacing = (1.2, 1.0)
    cavity = ring(spacing, 20.0, 30.0, centre=(60, 62))[0]
    outer = ring(spacing, 20.0, 30.0, centre=(60, 58))[1]
    assert thickness_mm(cavity, outer, spacing) == pytest.approx(10.0, rel=0.03)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.floats(10, 22), st.floats(4, 14), st.floats(0.7, 1.3), st.floats(58, 62), st.floats(1, 3))
def test_thickness_scales_with_the_pixel_and_ignores_turns(inner, wall, stretch, centre, factor):
    spacing = (1.3, 1.1)
    found = ring(spacing, inner, inner + wall, (centre, 60.0), stretch=stretch)
    here = thickness_mm(*found, spacing)
    larger = (spacing[0] * factor, spacing[1] * factor)
    assert thickness_mm(*found, larger) == pytest.approx(here * factor)
    turned = (np.rot90(each) for each in found)
    assert thickness_mm(*turned, spacing[::-1]) == pytest.approx(here, rel=0.01)
