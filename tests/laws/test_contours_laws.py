"""Laws of contour areas and of the share of each pixel inside a contour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvseg.contours import area_px, centroid_px, coverage, fill

SHAPE = (24, 31)
law = settings(derandomize=True, deadline=None, max_examples=30)


@st.composite
def stars(draw: st.DrawFn) -> np.ndarray:
    """A polygon without crossings, well inside the image."""
    count = draw(st.integers(3, 24))
    radii = draw(st.lists(st.floats(0.7, 7.5), min_size=count, max_size=count))
    turn = draw(st.floats(0, 6))
    angles = turn + 2 * np.pi * np.arange(count) / count
    centre = np.array([draw(st.floats(9, 20)), draw(st.floats(9, 14))])
    return centre + np.array(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@law
@given(stars())
def test_shares_add_up_to_the_shoelace_area(polygon):
    assert coverage(polygon, SHAPE).sum() == pytest.approx(area_px(polygon), abs=1e-9)


@law
@given(stars())
def test_the_centre_of_the_shares_is_near_the_centre_of_the_polygon(polygon):
    share = coverage(polygon, SHAPE)
    rows, columns = np.indices(SHAPE)
    found = [(share * axis).sum() / share.sum() for axis in (columns, rows)]
    # Within a pixel the mass is taken to be at its centre, so boundary pixels may shift it a bit.
    assert found == pytest.approx(centroid_px(polygon), abs=0.35)


@law
@given(stars(), st.integers(-4, 4), st.integers(-3, 3))
def test_moving_by_whole_pixels_moves_the_shares(polygon, right, down):
    wide = (SHAPE[0] + 20, SHAPE[1] + 20)
    here = coverage(polygon + 10, wide)
    there = coverage(polygon + 10 + np.array([right, down]), wide)
    assert np.allclose(np.roll(here, (down, right), (0, 1)), there, atol=1e-9)


@law
@given(stars(), st.integers(0, 23))
def test_start_and_direction_of_a_contour_change_nothing(polygon, start):
    same = np.roll(polygon[::-1], start, axis=0)
    assert np.allclose(coverage(polygon, SHAPE), coverage(same, SHAPE), atol=1e-9)


@law
@given(stars())
def test_a_point_added_on_an_edge_changes_nothing(polygon):
    more = np.insert(polygon, 1, (polygon[0] + polygon[1]) / 2, axis=0)
    assert np.allclose(coverage(polygon, SHAPE), coverage(more, SHAPE), atol=1e-9)


@law
@given(stars())
def test_transposing_the_points_transposes_the_shares(polygon):
    turned = coverage(polygon[:, ::-1], SHAPE[::-1])
    assert np.allclose(coverage(polygon, SHAPE), turned.T, atol=1e-9)


@law
@given(stars())
def test_shares_match_a_slow_count_of_points_inside(polygon):
    # 20 x 20 sample points a pixel, each tested by counting the edges a ray to the right crosses.
    fine = 20
    y = (np.arange(SHAPE[0] * fine) + 0.5) / fine - 0.5
    x = (np.arange(SHAPE[1] * fine) + 0.5) / fine - 0.5
    inside = np.zeros((len(y), len(x)), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crossed = (y0 > y) != (y1 > y)
        at = x0 + (y[crossed] - y0) * (x1 - x0) / (y1 - y0)
        inside[crossed] ^= x[None] < at[:, None]
    slow = inside.reshape(SHAPE[0], fine, SHAPE[1], fine).mean(axis=(1, 3))
    assert np.abs(coverage(polygon, SHAPE) - slow).max() < 0.1


@law
@given(stars(), st.floats(-25, 25), st.floats(-25, 25))
def test_what_lies_outside_the_image_is_cut_off(polygon, right, down):
    moved = polygon + np.array([right, down])
    wide = coverage(moved + 40, (SHAPE[0] + 80, SHAPE[1] + 80))[40:-40, 40:-40]
    assert np.allclose(coverage(moved, SHAPE), wide, atol=1e-9)


@law
@given(stars())
def test_a_filled_pixel_is_at_least_half_inside(polygon):
    share, mask = coverage(polygon, SHAPE), fill(polygon, SHAPE)
    assert set(np.unique(mask)) <= {0, 1}
    assert (share[mask == 1] > 0.4999).all()
    assert (share[mask == 0] < 0.5).all()
